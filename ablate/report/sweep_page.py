"""What the report of a sweep says, in order, before it is written in any format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ablate.record import RunRecord
from ablate.report.document import Document, Picture, Section, disclosures, provenance
from ablate.report.sweep_analysis import SweepResult
from ablate.report.sweep_figures import Panel, surface_caption
from ablate.report.sweep_fits import SweepFit
from ablate.report.sweep_sentences import (
    COEFFICIENTS,
    COMPUTE,
    FITS,
    OPTIMA,
    POINTS,
    sweep_sentences,
)
from ablate.report.sweep_tables import (
    candidate_table,
    coefficient_table,
    compute_summary,
    fit_table,
    held_out_table,
    missing_rows,
    optimum_table,
    places_of,
    points_table,
    setting_table,
)
from ablate.report.sweep_trend_figure import trend_caption
from ablate.report.sweep_trends import Ladder, slope_table, trend_sentences, trend_table


@dataclass(frozen=True)
class SweepNumbers:
    """Everything that a sweep's report is made of."""

    result: SweepResult
    fits: Sequence[SweepFit]
    groups: Mapping[str, Sequence[Panel]]
    """Key of a figure to its panels."""
    trends: Sequence[Ladder]


def compose_sweep(numbers: SweepNumbers) -> Document:
    """The report of a sweep, verdict first."""
    result = numbers.result
    parts = [*_measured(numbers), *_fitted(numbers), *_over_compute(numbers), *_spent(numbers)]
    records = [run for one in result.settings for run in one.records]
    first = next((one.header for one in result.settings if one.header), None)
    said = f"{len(records)} records"
    if first is not None and records:
        # The digests of settings' recipes stand in their own reports.
        parts_said = provenance(first, records).split(", ")
        said = ", ".join([f"{len(result.settings)} settings", parts_said[0], *parts_said[2:]])
    return Document(
        title=result.sweep.sweep,
        question=result.sweep.question,
        verdict=[
            *sweep_sentences(result, numbers.fits),
            *trend_sentences(numbers.trends),
            *_deviates(result),
        ],
        registration=_registration(result),
        parts=[part for part in parts if isinstance(part, Picture) or part.table.rows],
        disclosures=_disclosures(result),
        provenance=said,
        kind="Sweep",
    )


def _deviates(result: SweepResult) -> list[str]:
    names = [one.name for one in result.settings if one.registration.deviations]
    return (
        [f"Not confirmatory: {', '.join(names)} deviates from the plan that was locked, see Plan."]
        if names
        else []
    )


def _measured(numbers: SweepNumbers) -> list[Section | Picture]:
    result = numbers.result
    none = "None of these is in an average. A surface is fitted to the cells that are there."
    return [
        Section("missing", "Missing, diverged, refused and stopped", missing_rows(result), none),
        *(
            Picture(key, _figure_title(numbers, at), surface_caption(result, panels))
            for at, (key, panels) in enumerate(numbers.groups.items())
        ),
        Section("points", "Mixtures and arms", points_table(result, primary=True), POINTS),
    ]


def _figure_title(numbers: SweepNumbers, at: int) -> str:
    part = f" ({at + 1} of {len(numbers.groups)})" if len(numbers.groups) > 1 else ""
    return f"Response over the mixtures{part}"


def _fitted(numbers: SweepNumbers) -> list[Section | Picture]:
    fits, places = numbers.fits, places_of(numbers.result)
    predicted = "Found: mean paired gain over the seeds that ran it; the surface was fitted without it."
    rules = dict.fromkeys(fit.surface.rule for fit in fits if fit.surface and fit.surface.rule)
    considered = "Models, and the root mean square error of predicting a mixture that was left out."
    chosen = [f"Chosen: {rule}." for rule in rules]
    return [
        Section("optima", "Optimum", optimum_table(fits, places), OPTIMA),
        Section("fits", "Surfaces", fit_table(fits, places), FITS),
        Section("predictions", "Held-out mixtures", held_out_table(fits, places), predicted),
        Section("coefficients", "Coefficients", coefficient_table(fits, places), COEFFICIENTS),
        Section(
            "models", "Models considered", candidate_table(fits, places), " ".join([considered, *chosen])
        ),
    ]


def _over_compute(numbers: SweepNumbers) -> list[Section | Picture]:
    trends = numbers.trends
    if not trends:
        return []
    places = places_of(numbers.result)
    return [
        Picture("trend", "Effect against compute", trend_caption(trends)),
        Section("slopes", "Trends over compute", slope_table(trends, places), SLOPES),
        Section("trend", "Effects along compute", trend_table(trends, places), TREND),
    ]


TREND = (
    "The gain at every setting with its 95% paired t interval, by rising training FLOPs of a run of the "
    "baseline."
)

SLOPES = (
    "Change of the gain for each doubling, over the seeds that ran every setting: each has a slope of its "
    "own, and intervals and p values are Student's over these, not adjusted. Nothing is said beyond the "
    "range that was measured."
)


def _spent(numbers: SweepNumbers) -> list[Section | Picture]:
    result = numbers.result
    others = "As above, for the other endpoints that have a margin. " + POINTS
    return [
        Section("others", "Other endpoints", points_table(result, primary=False), others),
        Section("compute", "Compute", compute_summary(result), COMPUTE),
        Section("settings", "Settings", setting_table(result), _folders(result)),
    ]


def _folders(result: SweepResult) -> str:
    folders = ", ".join(f"{one.setting.folder}/report.html" for one in result.settings if one.header)
    return (
        f"Each setting is a study with a report of its own, beside this file: {folders}." if folders else ""
    )


def _registration(result: SweepResult) -> list[str]:
    """Whether plans were locked before the runs, once if it is the same for all settings."""
    carriers: dict[str, list[str]] = {}
    for one in result.settings:
        for sentence in one.registration.sentences("ablate sweep FILE") if one.records else ():
            carriers.setdefault(sentence, []).append(one.name)
    there = sum(bool(one.records) for one in result.settings)
    return [
        sentence if len(names) == there else f"Setting {', '.join(names)}: {sentence}"
        for sentence, names in carriers.items()
    ]


def _disclosures(result: SweepResult) -> list[str]:
    """The sweep's note, and what the settings' studies disclose: once if all do, else with the setting."""
    carriers: dict[str, list[str]] = {}
    for one in result.settings:
        if one.header is not None:
            own = replace(one.header, note="")
            for line in disclosures(own, one.records):
                carriers.setdefault(line, []).append(one.name)
    there = sum(one.header is not None for one in result.settings)
    said = [result.sweep.note] if result.sweep.note else []
    for line, names in carriers.items():
        said.append(line if len(names) == there else f"{line} ({', '.join(names)})")
    return said


def named_records(result: SweepResult) -> list[RunRecord]:
    """The records of all settings, each under a name of its own among them."""
    return [
        replace(run, arm=result.run_name(one.name, run.arm)) for one in result.settings for run in one.records
    ]
