"""The test items of a study, one row each: what an arm gains on it, and what every arm scored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ablate.report.items import ItemScores
from ablate.report.load import StudyHeader
from ablate.report.tables import ABSENT, Cell, Table, number, run_names
from ablate.stats.contrasts import Contrast

MOST_ITEMS = 2_000
"""Rows that a page holds; those with the largest gains, whatever their sign."""

MOST_ARMS = 10
"""Arms whose scores stand in the table; of more, the baseline, the arm, and its controls."""

PLACES = 3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ItemTable:
    """The items of one contrast, for the page."""

    title: str
    legend: str
    table: Table
    """`item`, `cluster` where there are clusters, `weight` where they differ, `gain`, `grounding` where it
    was measured, then the mean score of each arm. Arms may be called as a column is: titles repeat, then."""
    total: int
    """Items that were scored; the table holds at most `MOST_ITEMS` of them."""
    arms: dict[int, str] = field(default_factory=dict)
    """Column to the arm whose runs alone are behind it."""
    cluster: int | None = None
    """The column of clusters."""


def item_contrast(found: Sequence[Contrast], endpoint: str) -> Contrast | None:
    """The contrast that items are listed for: the first arm with media against the baseline, else the first
    arm; None where there is none on ``endpoint`` with a complete pair."""
    totals = [one for one in found if one.kind == "total" and one.endpoint == endpoint and one.sample.seeds]
    return next((one for one in totals if one.media), totals[0] if totals else None)


def item_table(scores: ItemScores, found: Sequence[Contrast], header: StudyHeader) -> ItemTable | None:
    """One row an item for the contrast of `item_contrast`; None where nothing can be compared.

    An item's score is its value over its weight. Its gain is the mean over the contrast's complete pairs
    whose item scores are there, oriented so that positive means that the arm is better; weighted by
    weight, the gains average to the contrast's. A score that is not a number is shown as absent, and so is
    every mean that would need it.
    """
    contrast = item_contrast(found, scores.endpoint)
    seeds = _paired(scores, contrast)
    if contrast is None or not seeds or not scores.items:
        return None
    gain = _gain(scores, contrast, seeds)
    # The largest first; items without a gain last; items of one size in their own order.
    size = np.where(np.isfinite(gain), np.abs(gain), -1.0)
    chosen = np.argsort(-size, kind="stable")[:MOST_ITEMS]
    columns: list[tuple[str, list[Cell]]] = [("item", [scores.items[place] for place in chosen])]
    if len(np.unique(scores.clusters)) < len(scores.items):
        columns.append(("cluster", [scores.subsets[place] for place in chosen]))
    if len(np.unique(scores.weights)) > 1:
        columns.append(("weight", [f"{weight:g}" for weight in scores.weights[chosen]]))
    columns.append(("gain", _numbers(gain[chosen], signed=True)))
    grounding = _grounding(found, contrast)
    if grounding is not None and (pairs := _paired(scores, grounding)):
        columns.append(("grounding", _numbers(_gain(scores, grounding, pairs)[chosen], signed=True)))
    else:
        grounding = None
    first, scored = len(columns), _scored_seeds(scores)
    arms = _shown_arms(scored, contrast, header)
    for arm in arms:
        mean = _mean(scores, arm, scored[arm])
        columns.append((arm, _numbers(mean[chosen], signed=False)))
    rows = [list(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    shown = f"{len(arms)} of {len(scored)} arms" if len(arms) < len(scored) else f"{len(arms)} arms"
    runs = tuple(name for arm in arms for name in run_names([arm], scored[arm]))
    return ItemTable(
        title=f"Items of {contrast.endpoint}",
        legend=_legend(contrast, grounding, seeds, shown),
        table=Table([title for title, _ in columns], rows, [runs] * len(rows)),
        total=len(scores.items),
        arms={first + place: arm for place, arm in enumerate(arms)},
        cluster=1 if columns[1][0] == "cluster" else None,
    )


def _grounding(found: Sequence[Contrast], contrast: Contrast) -> Contrast | None:
    mine = (one for one in found if (one.arm, one.endpoint) == (contrast.arm, contrast.endpoint))
    return next((one for one in mine if one.kind == "grounding"), None)


def _paired(scores: ItemScores, contrast: Contrast | None) -> list[int]:
    """The seeds of the contrast's complete pairs that both arms have item scores for."""
    if contrast is None:
        return []
    return [
        seed
        for seed in contrast.sample.seeds
        if (contrast.arm, seed) in scores.values and (contrast.reference, seed) in scores.values
    ]


def _mean(scores: ItemScores, arm: str, seeds: Sequence[int]) -> Array:
    """Mean score of each item over seeds, float64[items]; NaN without a score in any of them."""
    values = np.mean([scores.values[arm, seed] for seed in seeds], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Array = np.divide(values, scores.weights)
    return mean


def _gain(scores: ItemScores, contrast: Contrast, seeds: Sequence[int]) -> Array:
    """Oriented mean difference of each item over seeds, float64[items]."""
    difference = _mean(scores, contrast.arm, seeds) - _mean(scores, contrast.reference, seeds)
    return difference if contrast.sample.higher_is_better else -difference


def _scored_seeds(scores: ItemScores) -> dict[str, list[int]]:
    """Arm to the seeds that it has item scores for."""
    seeds: dict[str, list[int]] = {}
    for arm, seed in sorted(scores.values):
        seeds.setdefault(arm, []).append(seed)
    return seeds


def _shown_arms(scored: dict[str, list[int]], contrast: Contrast, header: StudyHeader) -> list[str]:
    arms = [arm for arm in header.arms if arm in scored]
    if len(arms) <= MOST_ARMS:
        return arms
    near = {contrast.reference, contrast.arm, *header.controls.get(contrast.arm, [])}
    return [arm for arm in arms if arm in near]


def _numbers(values: Array, signed: bool) -> list[Cell]:
    return [number(value, PLACES, signed) if np.isfinite(value) else ABSENT for value in values.tolist()]


def _legend(contrast: Contrast, grounding: Contrast | None, seeds: Sequence[int], arms: str) -> str:
    pairs = "1 pair" if len(seeds) == 1 else f"{len(seeds)} pairs"
    said = (
        f"Gain: {contrast.arm} against {contrast.reference}, mean over {pairs}, positive where "
        f"{contrast.arm} is better."
    )
    planned = len(contrast.sample.seeds)
    if len(seeds) < planned:
        said += f" {planned - len(seeds)} of {planned} pairs have no item scores and are not in it."
    if grounding is not None:
        said += f" Grounding: {grounding.arm} against {grounding.reference}."
    return (
        f"{said} Then the mean scores over seeds, of {arms}. "
        "One item decides nothing: these are for reading, not for testing."
    )
