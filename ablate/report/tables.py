"""The rows of a report: contrasts, scores, chance, missing runs, skips.

Each Markdown table shows rounded text; the CSV of the same rows holds the same numbers unrounded.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ablate.record import RunRecord
from ablate.report.load import StudyHeader
from ablate.stats.binomial import chance_interval
from ablate.stats.contrasts import Contrast
from ablate.stats.paired import Interval
from ablate.stats.samples import ordered_endpoints

Cell = str | int | float | bool | None

ABSENT = "–"
"""What a Markdown cell shows where there is no number."""


@dataclass(frozen=True)
class Table:
    """Rows under column names. None is an absent value; strings are text, escaped when written."""

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    sources: list[tuple[str, ...]] = field(default_factory=list)
    """The runs behind each row, as `<arm>-seed<k>`; one entry a row, or none at all."""

    def add(self, row: list[Cell], sources: Iterable[str] = ()) -> None:
        """Append a row and the runs that it was made of."""
        self.rows.append(row)
        self.sources.append(tuple(sources))


def endpoint_places(contrasts: Sequence[Contrast]) -> dict[str, int]:
    """Endpoint to decimal places that show two digits of its margin, or of its smallest difference sd."""
    scales: dict[str, float] = {}
    for contrast in contrasts:
        scale = contrast.margin or contrast.estimate.sd
        if scale:
            scales[contrast.endpoint] = min(scale, scales.get(contrast.endpoint, math.inf))
    endpoints = dict.fromkeys(contrast.endpoint for contrast in contrasts)
    return {
        name: min(8, max(3, 1 - math.floor(math.log10(scales[name])))) if name in scales else 4
        for name in endpoints
    }


def number(value: float | None, places: int, signed: bool = False) -> str:
    """``value`` with a fixed number of decimals; a rounded zero has no sign."""
    if value is None or not math.isfinite(value):
        return ABSENT if value is None else str(value)
    rounded = round(value, places) + 0.0
    return f"{rounded:+.{places}f}" if signed and rounded else f"{rounded:.{places}f}"


def interval_text(interval: Interval | None, places: int) -> str:
    """``[low, high]`` with signs."""
    if interval is None:
        return ABSENT
    return f"[{number(interval[0], places, True)}, {number(interval[1], places, True)}]"


def p_text(p: float | None) -> str:
    """A p value with three decimals, or ``<0.001``."""
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def run_names(arms: Iterable[str], seeds: Iterable[int]) -> list[str]:
    """What the records of ``arms`` and ``seeds`` are called, arm by arm."""
    counted = list(seeds)
    return [f"{arm}-seed{seed}" for arm in arms for seed in counted]


Runs = Mapping[tuple[str, int], RunRecord]


def score_of(runs: Runs, arm: str, seed: int, endpoint: str) -> tuple[float | None, str]:
    """The score of a run, or None and why there is none."""
    run = runs.get((arm, seed))
    if run is None:
        return None, "no record"
    score = run.scores.get(endpoint)
    if score is None:
        return None, "diverged" if run.status == "diverged" else "not scored"
    return (score.value, "") if math.isfinite(score.value) else (None, str(score.value))


def score_table(runs: Runs, header: StudyHeader, places: Mapping[str, int]) -> Table:
    """Every seed's score per endpoint and arm; mean and sd only where no seed is missing."""
    table = Table(["endpoint", "arm", *(f"seed {seed}" for seed in header.seeds), "mean", "sd"])
    for endpoint in ordered_endpoints(runs.values(), header):
        digits = places.get(endpoint, 4)
        for arm in header.arms:
            found = [score_of(runs, arm, seed, endpoint) for seed in header.seeds]
            values = [value for value, _ in found if value is not None]
            shown: list[Cell] = [why or number(value, digits) for value, why in found]
            mean, sd = mean_and_sd(values) if len(values) == len(found) else (None, None)
            row: list[Cell] = [endpoint, arm, *shown, number(mean, digits), number(sd, digits)]
            table.add(row, run_names([arm], (seed for seed in header.seeds if (arm, seed) in runs)))
    return table


def mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) of ``values``; None where they are undefined."""
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def score_rows(runs: Runs, header: StudyHeader) -> Table:
    """One row per endpoint, arm and planned seed, unrounded; missing scores say why."""
    table = Table(["endpoint", "arm", "seed", "value", "items", "chance", "higher_is_better", "missing"])
    for endpoint in ordered_endpoints(runs.values(), header):
        for arm in header.arms:
            for seed in header.seeds:
                value, why = score_of(runs, arm, seed, endpoint)
                run = runs.get((arm, seed))
                score = run.scores.get(endpoint) if run else None
                known: list[Cell] = (
                    [score.items, score.chance, score.higher_is_better] if score else [None] * 3
                )
                table.rows.append([endpoint, arm, seed, value, *known, why])
    return table


def chance_table(runs: Runs, header: StudyHeader, places: Mapping[str, int]) -> Table:
    """Accuracies of the baseline and the placebo arms beside the binomial interval of chance.

    Endpoints that are primary or have a margin, whose metric is an accuracy with a chance level. The
    interval is Bonferroni-corrected over all the runs of the endpoint that the table shows.
    """
    controls = [name for names in header.controls.values() for name in names]
    arms = [arm for arm in header.arms if arm == header.baseline or arm in controls]
    table = Table(["endpoint", "arm", "questions", "chance", "interval", "runs", "scores", "within"])
    for endpoint in dict.fromkeys([header.primary, *header.margins]):
        if not (endpoint.split("/")[1:2] or [""])[0].startswith("accuracy"):
            continue
        shown = {
            arm: [score for seed in header.seeds if (score := _guessable(runs, arm, seed, endpoint))]
            for arm in arms
        }
        total, digits = sum(map(len, shown.values())), places.get(endpoint, 4)
        for arm, scores in shown.items():
            # Runs of one arm are scored on the same items; a differing count gets a row of its own.
            for items, chance in dict.fromkeys((items, chance) for _, items, chance in scores):
                low, high = chance_interval(items, chance, total)
                values = [value for value, *task in scores if task == [items, chance]]
                inside = sum(low <= value <= high for value in values)
                bounds = f"{number(low, digits)} to {number(high, digits)}"
                listed = " ".join(number(value, digits) for value in values)
                row: list[Cell] = [endpoint, arm, items, number(chance, digits), bounds, len(values), listed]
                scored = [seed for seed in header.seeds if _guessable(runs, arm, seed, endpoint)]
                table.add([*row, f"{inside} of {len(values)}"], run_names([arm], scored))
    return table


def _guessable(runs: Runs, arm: str, seed: int, endpoint: str) -> tuple[float, int, float] | None:
    """Value, items and chance of a score that a guess could have made."""
    value, _ = score_of(runs, arm, seed, endpoint)
    if value is None:
        return None
    score = runs[arm, seed].scores[endpoint]
    if score.chance is None or not 0 < score.chance < 1 or score.items < 1:
        return None
    return value, score.items, score.chance


def missing_table(runs: Runs, header: StudyHeader, contrasts: Sequence[Contrast]) -> Table:
    """Runs that are not there or diverged, and pairs that were refused. None of them is in an average."""
    table = Table(["what", "reason"])
    for arm in header.arms:
        for seed in header.seeds:
            run = runs.get((arm, seed))
            if run is None:
                table.rows.append([f"{arm}, seed {seed}", "no record"])
            elif run.status == "diverged":
                last = f" after step {run.curve[-1].step}" if run.curve else ""
                table.rows.append([f"{arm}, seed {seed}", f"diverged{last}"])
            else:
                bad = {
                    name: score.value for name, score in run.scores.items() if not math.isfinite(score.value)
                }
                table.rows.extend([f"{arm}, seed {seed}, {name}", f"score {bad[name]}"] for name in bad)
    table.rows.extend(["pair refused", reason] for reason in refusals(contrasts))
    return table


def refusals(contrasts: Sequence[Contrast]) -> list[str]:
    """Why pairs were refused, each reason once."""
    lost = (exclusion for contrast in contrasts for exclusion in contrast.excluded)
    return list(dict.fromkeys(exclusion.reason for exclusion in lost if exclusion.refused))


def screened_out_table(header: StudyHeader) -> Table:
    """Endpoints with a margin that did not pass the study's screen."""
    table = Table(["endpoint", "margin", "why it confirms nothing"])
    for endpoint, why in header.screened.items():
        table.add([endpoint, f"{header.margins[endpoint]:g}", why])
    return table


def skip_table(runs: Runs, header: StudyHeader) -> Table:
    """What runs skipped or cut, per arm and reason: the fewest and the most over seeds."""
    table = Table(["arm", "skipped or cut", "count a run"])
    for arm in header.arms:
        found = [run for seed in header.seeds if (run := runs.get((arm, seed)))]
        for reason in sorted({reason for run in found for reason in run.skips}):
            counts = [run.skips.get(reason, 0) for run in found]
            low, high = min(counts), max(counts)
            if high:
                table.rows.append([arm, reason, f"{low:,}" if low == high else f"{low:,} to {high:,}"])
    return table
