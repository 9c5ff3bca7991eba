"""Contrasts as rows: what a verdict rests on, what stands beside it, and all of it for machines."""

from collections.abc import Callable, Sequence

from ablate.report.tables import (
    ABSENT,
    Cell,
    Table,
    endpoint_places,
    interval_text,
    number,
    p_text,
    run_names,
)
from ablate.stats.contrasts import Contrast
from ablate.stats.coverage import measured_coverage
from ablate.stats.paired import Interval


def contrast_sources(contrast: Contrast) -> list[str]:
    """The runs behind a contrast: both arms of its complete pairs."""
    return run_names((contrast.arm, contrast.reference), contrast.sample.seeds)


def contrast_table(contrasts: Sequence[Contrast]) -> Table:
    """Contrasts for reading: gain, the intervals and adjusted p values that the verdict rests on, verdict."""
    places = endpoint_places(contrasts)
    columns = ["endpoint", "contrast", "verdict", "n", "mean gain", "95% CI", "90% CI"]
    table = Table([*columns, "p differs", "p equivalent", "margin", "kind", "note"])
    for contrast in contrasts:
        found, digits = contrast.estimate, places[contrast.endpoint]
        row: list[Cell] = [
            contrast.endpoint,
            f"{contrast.arm} vs {contrast.reference}",
            contrast.printed_verdict or ABSENT,
            pairs_text(contrast),
            number(found.mean_gain, digits, signed=True),
            interval_text(contrast.interval95, digits),
            interval_text(contrast.interval90, digits),
            p_text(contrast.p_difference_adjusted),
            p_text(contrast.p_equivalence_adjusted),
            ABSENT if contrast.margin is None else f"{contrast.margin:g}",
            contrast.kind,
            contrast.note,
        ]
        table.add(row, contrast_sources(contrast))
    return table


def precision_table(contrasts: Sequence[Contrast]) -> Table:
    """What stands beside the primary interval: unpaired and bootstrap intervals, both sources of variance,
    the sign-flip test, what could have been seen, and what an unpaired design would have taken."""
    places = endpoint_places(contrasts)
    columns = [
        "endpoint",
        "contrast",
        "n",
        "sd",
        "Welch 95%",
        "r",
        "bootstrap 95%",
        "s.e. seeds",
        "s.e. items",
    ]
    columns += ["p sign flip", "detectable at 80%", "at 90%", "unpaired seeds"]
    columns += ["coverage of t 95%, normal", "skewed"]
    table = Table(columns)
    for contrast in contrasts:
        found, digits = contrast.estimate, places[contrast.endpoint]
        precision, items = contrast.precision, contrast.items
        unpaired = precision.unpaired if precision else None
        row: list[Cell] = [
            contrast.endpoint,
            f"{contrast.arm} vs {contrast.reference}",
            pairs_text(contrast),
            number(found.sd, digits + 1),
            interval_text(found.welch95, digits),
            number(found.correlation, 2, signed=True),
            interval_text(items.interval95 if items else None, digits),
            number(items.se_seeds if items else None, digits + 1),
            number(items.se_items if items else None, digits + 1),
            p_text(precision.sign_flip.p_value if precision else None),
            number(precision.detectable80 if precision else None, digits),
            number(precision.detectable90 if precision else None, digits),
            ABSENT if unpaired is None else f"{unpaired.seeds} ({unpaired.more:+d})",
            number(_coverage(contrast, "normal"), 3),
            number(_coverage(contrast, "skewed"), 3),
        ]
        table.add(row, contrast_sources(contrast))
    return table


def pairs_text(contrast: Contrast) -> str:
    """The pairs of a contrast; of how many, and which seeds lack, where some do."""
    if contrast.complete:
        return str(contrast.estimate.n)
    planned = contrast.estimate.n + len(contrast.excluded)
    seeds = ", ".join(str(exclusion.seed) for exclusion in contrast.excluded)
    return f"{contrast.estimate.n} of {planned} (without {seeds})"


CONTRAST_COLUMNS: dict[str, Callable[[Contrast], Cell]] = {
    "arm": lambda one: one.arm,
    "reference": lambda one: one.reference,
    "kind": lambda one: one.kind,
    "endpoint": lambda one: one.endpoint,
    "planned_confirmatory": lambda one: one.confirmatory,
    "higher_is_better": lambda one: one.sample.higher_is_better,
    "n": lambda one: one.estimate.n,
    "seeds": lambda one: " ".join(map(str, one.sample.seeds)),
    "missing_seeds": lambda one: " ".join(str(lost.seed) for lost in one.excluded),
    "mean_gain": lambda one: one.estimate.mean_gain,
    "sd": lambda one: one.estimate.sd,
    "ci95_low": lambda one: _end(one.interval95, 0),
    "ci95_high": lambda one: _end(one.interval95, 1),
    "ci90_low": lambda one: _end(one.interval90, 0),
    "ci90_high": lambda one: _end(one.interval90, 1),
    "welch95_low": lambda one: _end(one.estimate.welch95, 0),
    "welch95_high": lambda one: _end(one.estimate.welch95, 1),
    "bootstrap95_low": lambda one: _end(one.items.interval95 if one.items else None, 0),
    "bootstrap95_high": lambda one: _end(one.items.interval95 if one.items else None, 1),
    "se_seeds": lambda one: one.items.se_seeds if one.items else None,
    "se_items": lambda one: one.items.se_items if one.items else None,
    "correlation": lambda one: one.estimate.correlation,
    "p_difference": lambda one: one.p_values[0],
    "p_equivalence": lambda one: one.p_values[1],
    "p_difference_adjusted": lambda one: one.p_difference_adjusted,
    "p_equivalence_adjusted": lambda one: one.p_equivalence_adjusted,
    "p_sign_flip": lambda one: one.precision.sign_flip.p_value if one.precision else None,
    "adjustment": lambda one: "holm" if one.confirmatory else "benjamini_hochberg",
    "family": lambda one: one.family,
    "margin": lambda one: one.margin,
    "detectable_80": lambda one: one.precision.detectable80 if one.precision else None,
    "detectable_90": lambda one: one.precision.detectable90 if one.precision else None,
    "unpaired_seeds": lambda one: (
        one.precision.unpaired.seeds if one.precision and one.precision.unpaired else None
    ),
    "coverage_normal": lambda one: _coverage(one, "normal"),
    "coverage_skewed": lambda one: _coverage(one, "skewed"),
    "pairs_to_detect": lambda one: one.seeds_to_decide.detect if one.seeds_to_decide else None,
    "pairs_to_equivalence": lambda one: one.seeds_to_decide.equivalent if one.seeds_to_decide else None,
    "look": lambda one: one.sequential.look if one.sequential else None,
    "verdict": lambda one: one.printed_verdict,
    "note": lambda one: one.note,
}
"""Column of contrasts.csv to what stands in it, unrounded."""


def contrast_rows(contrasts: Sequence[Contrast]) -> Table:
    """Every contrast for machines, one row each, unrounded."""
    table = Table(list(CONTRAST_COLUMNS))
    for contrast in contrasts:
        table.add([value(contrast) for value in CONTRAST_COLUMNS.values()], contrast_sources(contrast))
    return table


def _coverage(contrast: Contrast, population: str) -> float | None:
    """The coverage measured for t intervals over as many pairs, were the differences so distributed; None
    where the interval is a sequential one."""
    has_t = contrast.estimate.interval95 and not contrast.sequential
    found = measured_coverage(contrast.estimate.n) if has_t else None
    return found.rates[population].value if found else None


def _end(interval: Interval | None, place: int) -> float | None:
    return None if interval is None else interval[place]
