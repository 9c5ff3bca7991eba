"""What a report says, in order, before it is written in any format.

Markdown, LaTeX and HTML are made of one `Document`: a number that stands in one of them stands in all.
"""

from dataclasses import dataclass
from typing import Any

from ablate.record import RunRecord
from ablate.report.analysis import Analysis
from ablate.report.compute import compute_table
from ablate.report.contrast_tables import contrast_table, precision_table
from ablate.report.covariate_table import adjusted_legend, adjusted_table
from ablate.report.curves import curve_caption
from ablate.report.effect_tables import decomposition_table, equivalent_table, missing_parts
from ablate.report.forest import legible, plotted
from ablate.report.load import StudyHeader
from ablate.report.sentences import (
    DECOMPOSITION,
    EQUIVALENTS,
    LEGEND,
    PRECISION,
    coverage_legend,
    looks_legend,
    verdict_sentences,
)
from ablate.report.tables import (
    Table,
    chance_table,
    endpoint_places,
    missing_table,
    score_table,
    screened_out_table,
    skip_table,
)
from ablate.report.tuning_table import edge_sentences, settings_table, tuning_sentences, tuning_table
from ablate.report.waterfall import primary_only, waterfall_caption
from ablate.stats.samples import index_runs
from ablate.stats.slope import missing_ladder


@dataclass(frozen=True)
class Section:
    """A table under a title. All text is plain; each format escapes it."""

    key: str
    """Its name in anchors and file names."""
    title: str
    table: Table
    """Cells as they are shown, rounded."""
    legend: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure, written as `<key>.svg` and `<key>.png` beside the report."""

    key: str
    title: str
    alternative: str
    """What a reader who cannot see it should know."""


@dataclass(frozen=True)
class Document:
    """A report, format aside."""

    title: str
    question: str
    verdict: list[str]
    """Sentences, one an arm."""
    registration: list[str]
    """Whether a plan was locked, and every deviation from it."""
    parts: list[Section | Picture]
    disclosures: list[str]
    provenance: str
    kind: str = "Study"
    """What is reported on, above its title."""

    @property
    def sections(self) -> list[Section]:
        return [part for part in self.parts if isinstance(part, Section)]

    @property
    def pictures(self) -> list[Picture]:
        return [part for part in self.parts if isinstance(part, Picture)]


def compose(study: Analysis) -> Document:
    """The report of a study, verdict first."""
    header, found = study.header, study.contrasts
    parts: list[Section | Picture] = [
        *_judged(study),
        *_effects(study),
        *_beside(study),
        *_spent(study),
    ]
    return Document(
        title=header.study,
        question=header.question,
        verdict=[
            *(verdict_sentences(found, header) or ["No arm is contrasted with the baseline."]),
            *(edge_sentences(study.tuning) if study.tuning else []),
            *([DEVIATES] if study.registration.deviations else []),
        ],
        registration=study.registration.sentences(),
        parts=[part for part in parts if isinstance(part, Picture) or part.table.rows],
        disclosures=[*disclosures(header, study.records), *_missing_inputs(study)],
        provenance=provenance(header, study.records),
    )


def _missing_inputs(study: Analysis) -> list[str]:
    """What the report could have said with more runs or files, in sentences."""
    items = "" if study.items else "no item scores were read, so that test items are not resampled"
    return [sentence for sentence in (missing_ladder(study.header), items) if sentence]


def _judged(study: Analysis) -> list[Section | Picture]:
    """What the verdict rests on."""
    runs = index_runs(study.records)
    confirmatory = [one for one in study.contrasts if one.confirmatory]
    missing = missing_table(runs, study.header, study.contrasts)
    for fault in study.tuning_faults:
        missing.add(["tuning", fault])
    for fault in study.faults:
        missing.add(["item scores", fault])
    none = "None of these is in an average."
    if study.tuning_faults:
        none += " Runs named under tuning are, and are not what the recipe says that they are."
    if study.faults:
        none = (
            "None of these runs and pairs is in an average. Item scores named here are in no interval over "
            "items; the score in the record of such a run stands, and is in the averages."
        )
    title = "Confirmatory contrasts"
    if not study.registration.confirmatory:
        title = "Contrasts of the plan (not confirmatory, see Plan)"
    family = f"P values are adjusted after Holm over these {len(confirmatory)} contrasts. {LEGEND}"
    legend = " ".join([family, *looks_legend(study.header), *coverage_legend(study.contrasts)])
    parts: list[Section | Picture] = [
        Section("missing", "Missing and refused", missing, none),
        Section("confirmatory", title, contrast_table(confirmatory), legend),
    ]
    if study.contrasts:
        parts.append(Picture("forest", "Forest plot of the contrasts", _forest_alternative(study)))
    return parts


def _effects(study: Analysis) -> list[Section | Picture]:
    """What the effect is made of, and what it is worth in text."""
    places = endpoint_places(study.contrasts)
    parts: list[Section | Picture] = []
    if study.decompositions:
        table = decomposition_table(study.decompositions, places)
        legend = " ".join([DECOMPOSITION, *missing_parts(study.decompositions)])
        parts.append(Section("decomposition", "What the effect is made of", table, legend))
        own = primary_only(study.decompositions)
        if any(one.parts for one in own):
            parts.append(Picture("decomposition", "Parts of the effect", waterfall_caption(own)))
    table = equivalent_table(study.equivalents, places)
    parts.append(Section("equivalents", "Effects in tokens of text", table, EQUIVALENTS))
    return parts


def _beside(study: Analysis) -> list[Section | Picture]:
    """What stands beside the verdict."""
    runs, header, places = index_runs(study.records), study.header, endpoint_places(study.contrasts)
    found = study.contrasts
    confirmatory = [one for one in study.contrasts if one.confirmatory]
    exploratory = [one for one in study.contrasts if not one.confirmatory]
    loose = (
        f"P values are adjusted after Benjamini and Hochberg over these {len(exploratory)} contrasts; these "
        "suggest, and do not confirm. A verdict needs a margin."
    )
    beside_chance = "Placebo arms beside chance" if header.controls else "The baseline beside chance"
    luck = "Binomial interval of guessing, 95% over all runs shown of an endpoint together (Bonferroni)."
    return [
        Section(
            "covariate", "Control variate", adjusted_table(found, header), adjusted_legend(found, header)
        ),
        Section("precision", "Beside the primary interval", precision_table(confirmatory), PRECISION),
        Section("screened", "Screened out", screened_out_table(header), _screen_legend(header)),
        Section("exploratory", "Exploratory contrasts", contrast_table(exploratory), loose),
        Section("scores", "Scores", score_table(runs, header, places)),
        Section("chance", beside_chance, chance_table(runs, header, places), luck),
    ]


def _screen_legend(header: StudyHeader) -> str:
    return (
        f"Endpoints that did not pass the screen before the study (digest {header.screen[:12]}, see ablate "
        "screen): their contrasts are exploratory, without a verdict, and Holm does not count them."
    )


def _spent(study: Analysis) -> list[Section | Picture]:
    """What the arms cost, and how they learned."""
    runs, header = index_runs(study.records), study.header
    spent = f"Held equal: {header.match}. A range is smallest to largest over seeds."
    curves: list[Section | Picture] = []
    if any(record.curve for record in study.records):
        curves = [
            Picture("loss_flops", "Training loss over FLOPs", curve_caption(study.records, header, "flops")),
            Picture(
                "loss_tokens",
                "Training loss over text tokens",
                curve_caption(study.records, header, "text_tokens"),
            ),
        ]
    return [
        *_trained(study),
        Section("compute", "Compute", compute_table(runs, header), spent),
        *curves,
        Section("skips", "Skipped or cut", skip_table(runs, header)),
    ]


def _trained(study: Analysis) -> list[Section | Picture]:
    """In which settings arms were trained otherwise, and how these were tuned."""
    alike = "All other settings of train are the same for all arms."
    parts: list[Section | Picture] = [
        Section("settings", "Trained otherwise", settings_table(study.settings), alike)
    ]
    if study.tuning is not None:
        digits = endpoint_places(study.contrasts).get(study.tuning.design.endpoint, 4)
        said = " ".join(tuning_sentences(study.tuning))
        parts.append(Section("tuning", "Tuning", tuning_table(study.tuning, digits), said))
    return parts


DEVIATES = "The study deviates from the plan that was locked for it, see Plan: nothing here is confirmatory."


def _forest_alternative(study: Analysis) -> str:
    """The plot in words: its numbers stand in the tables of contrasts."""
    drawn = sum(len(legible(rows)) for rows in plotted(study.contrasts, study.header).values())
    return (
        f"{drawn} contrasts, on the primary endpoint and on those with a margin, with 95% and 90% intervals; "
        "the tables of contrasts hold the numbers."
    )


def disclosures(header: StudyHeader, records: list[RunRecord]) -> list[str]:
    """What a reader of the table must know: the recipe's note, the records' notes, borrowed records."""
    said = [header.note] if header.note else []
    said += _record_notes(records)
    for name, own in (("study", header.study), ("recipe_digest", header.recipe_digest)):
        others: dict[str, int] = {}
        for record in records:
            value = str(getattr(record, name))
            if value != own:
                others[value] = others.get(value, 0) + 1
        words = "study" if name == "study" else "recipe digest"
        said += [
            f"{count} records were made under {words} {value}" for value, count in sorted(others.items())
        ]
    return said


def _record_notes(records: list[RunRecord]) -> list[str]:
    """Each note of the records once: bare if every finished run carries it, else with its arms."""
    finished = {(record.arm, record.seed) for record in records if record.status == "finished"}
    carriers: dict[str, dict[tuple[str, int], None]] = {}
    for record in records:
        for note in record.notes:
            carriers.setdefault(note, {})[record.arm, record.seed] = None
    said = []
    for note, runs in carriers.items():
        shared = finished and finished <= runs.keys()
        arms = ", ".join(dict.fromkeys(arm for arm, _ in runs))
        said.append(note if shared else f"{note} ({arms})")
    return said


def provenance(header: StudyHeader, records: list[RunRecord]) -> str:
    """Commit, versions and device of the records on one line; up to three values where they differ."""
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        for key, value in _flat(record.provenance):
            seen.setdefault(key, {})[value] = None
    parts = [f"{len(records)} records", f"recipe {header.recipe_digest}"]
    for key, values in sorted(seen.items()):
        few = len(values) <= 3
        parts.append(f"{key} {' or '.join(values)}" if few else f"{key} of {len(values)} different values")
    return ", ".join(parts) + "."


def _flat(found: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as (key, text), without what every run has of its own: times and weights."""
    flat: list[tuple[str, str]] = []
    for key, value in found.items():
        if any(word in key for word in ("start", "finish", "time", "seconds", "weights")):
            continue
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key} ")
        else:
            flat.append((prefix + key, str(value)))
    return flat
