"""The slope of an endpoint in the logarithm of text tokens, from the baseline at several budgets."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ablate.record import RunRecord
from ablate.stats.paired import Interval, PairedEstimate, PairedSample, estimate
from ablate.stats.pairing import PairingError, check_pair
from ablate.stats.samples import (
    Exclusion,
    StudyDesign,
    endpoint_directions,
    index_runs,
)

Runs = Mapping[tuple[str, int], RunRecord]


@dataclass(frozen=True)
class Slope:
    """How much an endpoint gains from e times as many text tokens. None where it cannot be told."""

    endpoint: str
    arms: tuple[str, ...]
    """The rungs, by text tokens: the baseline and its ladder arms."""
    tokens: tuple[float, ...]
    """Text tokens of each rung, mean over the seeds."""
    seeds: tuple[int, ...]
    """Seeds that ran every rung."""
    per_seed: tuple[float, ...]
    """Least-squares slope of each seed, in the endpoint's unit per ln(text tokens); positive where more
    text is better."""
    estimate: PairedEstimate
    """Their mean (`mean_gain`), sd, t interval and p of zero."""
    curvature: PairedEstimate | None
    """The quadratic least-squares coefficient of each seed in ln(text tokens), positive where returns grow;
    None on two rungs, which any straight line fits."""
    excluded: tuple[Exclusion, ...]
    """Planned seeds that are left out, with the reason."""
    notes: tuple[str, ...]
    """What a reader must know: the check of linearity, repeated text, rungs left out."""

    @property
    def interval95(self) -> Interval | None:
        """Student's interval of the mean slope."""
        return self.estimate.interval95


def missing_ladder(header: StudyDesign) -> str:
    """Why effects cannot be expressed in tokens of text, in a sentence; empty where there is a ladder."""
    if header.ladder:
        return ""
    return (
        f"{header.baseline} was trained at one budget only, so that the worth of text is not known and no "
        "effect can be told in tokens of text; `ladder: [0.5]` in the recipe trains it at half the budget too"
    )


def slopes(records: Sequence[RunRecord], header: StudyDesign) -> list[Slope]:
    """The slope of the primary endpoint and of each one with a margin; empty without a ladder.

    Raises:
        RecordError: as `exchanges`.
    """
    return slopes_of(index_runs(records), endpoint_directions(records), header)


def slopes_of(runs: Runs, directions: Mapping[str, bool], header: StudyDesign) -> list[Slope]:
    stated = dict.fromkeys([header.primary, *header.margins]) if header.ladder else {}
    return [fit_slope(runs, header, endpoint, directions.get(endpoint, True)) for endpoint in stated]


def fit_slope(runs: Runs, header: StudyDesign, endpoint: str, higher_is_better: bool) -> Slope:
    """The slope over the baseline and the rungs of its ladder, seed by seed.

    A rung counts for a seed if it shares initial backbone and text order with the baseline; what it spent
    differs by design. A rung without one usable run is left out and named.
    """
    notes = []
    rungs = [header.baseline]
    for arm in header.ladder:
        if any(not _fault(runs, header, arm, seed, endpoint) for seed in header.seeds):
            rungs.append(arm)
        else:
            notes.append(f"rung {arm} has no usable run and is left out")
    seeds, excluded = _complete_seeds(runs, header, rungs, endpoint)
    sign = 1.0 if higher_is_better else -1.0
    tokens = {arm: mean_tokens(runs, arm, seeds) for arm in rungs}
    rungs.sort(key=lambda arm: tokens[arm])
    slopes: list[float] = []
    bends: list[float] = []
    for seed in seeds:
        x = np.log([runs[arm, seed].spent.text_tokens for arm in rungs])
        y = sign * np.asarray([runs[arm, seed].scores[endpoint].value for arm in rungs], dtype=np.float64)
        # From the first rung on: scores that are all equal have a slope of zero, not of a rounding error.
        y = y - y[0]
        x = x - x.mean()
        slopes.append(float(x @ y / (x @ x)))
        if len(rungs) > 2:
            square = x**2 - (x**2).mean()
            bend = square - (square @ x) / (x @ x) * x
            bends.append(float(bend @ y / (bend @ bend)))
    curvature = _one_sample(seeds, bends) if bends else None
    notes += [_linearity(len(rungs), curvature), *_repeats(runs, rungs, seeds)]
    return Slope(
        endpoint=endpoint,
        arms=tuple(rungs),
        tokens=tuple(tokens[arm] for arm in rungs),
        seeds=tuple(seeds),
        per_seed=tuple(slopes),
        estimate=_one_sample(seeds, slopes),
        curvature=curvature,
        excluded=tuple(excluded),
        notes=tuple(note for note in notes if note),
    )


def _complete_seeds(
    runs: Runs, header: StudyDesign, rungs: Sequence[str], endpoint: str
) -> tuple[list[int], list[Exclusion]]:
    """Seeds that ran every rung, and the others with reasons."""
    seeds, excluded = [], []
    for seed in header.seeds:
        found = dict.fromkeys(_fault(runs, header, arm, seed, endpoint) for arm in rungs)
        faults = [fault for fault in found if fault]
        if len(rungs) < 2:
            faults.append("no slope from one rung")
        if not faults and len({runs[arm, seed].spent.text_tokens for arm in rungs}) < len(rungs):
            faults.append(f"{' and '.join(rungs)} did not all spend different amounts of text")
        if faults:
            excluded.append(Exclusion(seed, f"no slope: {', '.join(faults)}", refused=False))
        else:
            seeds.append(seed)
    return seeds, excluded


def _fault(runs: Runs, header: StudyDesign, arm: str, seed: int, endpoint: str) -> str:
    """Why the run of ``arm`` and ``seed`` is no point of the slope; empty if it is one."""
    run, base = runs.get((arm, seed)), runs.get((header.baseline, seed))
    if run is None:
        return f"{arm} has no record"
    if run.status == "diverged":
        return f"{arm} diverged"
    score = run.scores.get(endpoint)
    if score is None:
        return f"{arm} has no score"
    if not math.isfinite(score.value):
        return f"{arm} scored {score.value}"
    if run.spent.text_tokens < 1:
        return f"{arm} spent no text tokens"
    if base is None or arm == header.baseline:
        return "" if base is not None else f"{header.baseline} has no record"
    try:
        # All that makes a pair but the budget, which the ladder varies.
        check_pair(dataclasses.replace(run, spent=base.spent), base, header.match)
    except PairingError as error:
        return str(error)
    other = base.scores.get(endpoint)
    if other is not None and other.items != score.items:
        return f"{arm} and {header.baseline} were scored on {score.items} and {other.items} items"
    return ""


def mean_tokens(runs: Runs, arm: str, seeds: Sequence[int]) -> float:
    """Mean over ``seeds``; over whatever runs there are where no seed has every rung."""
    spent = [run.spent.text_tokens for (name, seed), run in runs.items() if name == arm and seed in seeds]
    spent = spent or [run.spent.text_tokens for (name, _), run in runs.items() if name == arm]
    return math.fsum(spent) / len(spent) if spent else 0.0


def _one_sample(seeds: Sequence[int], values: Sequence[float]) -> PairedEstimate:
    """Student's inference on the mean of ``values``, one a seed."""
    return estimate(PairedSample(tuple(seeds), tuple(values), (0.0,) * len(values)))


def _linearity(rungs: int, curvature: PairedEstimate | None) -> str:
    if rungs == 2:
        return "two rungs: whether the endpoint is linear in ln(text tokens) is not checked"
    if curvature is None or curvature.mean_gain is None:
        return ""
    said = f"curvature {curvature.mean_gain:+.3g} per squared ln(text tokens)"
    if curvature.interval95 is None:
        return f"{said}, without an interval: {curvature.remark}"
    low, high = curvature.interval95
    straight = "no bend is seen" if low <= 0.0 <= high else "not linear in ln(text tokens)"
    return f"{said}, 95% interval {low:+.3g} to {high:+.3g}: {straight} over {rungs} rungs"


def _repeats(runs: Runs, rungs: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """That a rung's tokens are not all fresh, where its text repeats."""
    said = []
    for arm in rungs:
        epochs = max((runs[arm, seed].spent.text_epochs for seed in seeds), default=0.0)
        if epochs > 1.0:
            said.append(f"{arm} reads its text {epochs:.3g} times: the tokens of that rung are not all fresh")
    return said
