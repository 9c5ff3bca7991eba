"""What a report says, in order, before it is written in any format.

Markdown, LaTeX and HTML are made of one `Document`: a number that stands in one of them stands in all.
"""

from dataclasses import dataclass
from typing import Any, Literal

from ablate.record import RunRecord
from ablate.report.compute import compute_table
from ablate.report.load import StudyHeader
from ablate.report.sentences import LEGEND, verdict_sentences
from ablate.report.tables import (
    Table,
    chance_table,
    contrast_table,
    endpoint_places,
    missing_table,
    score_table,
    skip_table,
)
from ablate.stats.contrasts import Contrast, index_runs


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

    key: Literal["forest", "decomposition", "loss_flops", "loss_tokens"]
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

    @property
    def sections(self) -> list[Section]:
        return [part for part in self.parts if isinstance(part, Section)]

    @property
    def pictures(self) -> list[Picture]:
        return [part for part in self.parts if isinstance(part, Picture)]


def compose(header: StudyHeader, records: list[RunRecord], found: list[Contrast]) -> Document:
    """The report of a study, verdict first."""
    runs, places = index_runs(records), endpoint_places(found)
    confirmatory = [one for one in found if one.confirmatory]
    exploratory = [one for one in found if not one.confirmatory]
    family = f"P values are adjusted after Holm over these {len(confirmatory)} contrasts. {LEGEND}"
    loose = "P values are not adjusted; these suggest, and do not confirm. A verdict needs a margin."
    luck = "Binomial interval of guessing, 95% over all runs shown of an endpoint together (Bonferroni)."
    spent = f"Held equal: {header.match}. A range is smallest to largest over seeds."
    parts: list[Section | Picture] = [
        Section(
            "missing",
            "Missing and refused",
            missing_table(runs, header, found),
            "None of these is in an average.",
        ),
        Section("confirmatory", "Confirmatory contrasts", contrast_table(confirmatory), family),
        Picture("forest", "Forest plot of the contrasts", _forest_alternative(found)),
        Section("exploratory", "Exploratory contrasts", contrast_table(exploratory), loose),
        Section("scores", "Scores", score_table(runs, header, places)),
        Section("chance", "Placebo arms beside chance", chance_table(runs, header, places), luck),
        Section("compute", "Compute", compute_table(runs, header), spent),
        Section("skips", "Skipped or cut", skip_table(runs, header)),
    ]
    return Document(
        title=header.study,
        question=header.question,
        verdict=verdict_sentences(found, header) or ["No arm is contrasted with the baseline."],
        registration=[],
        parts=[part for part in parts if isinstance(part, Picture) or part.table.rows],
        disclosures=disclosures(header, records),
        provenance=provenance(header, records),
    )


def _forest_alternative(found: list[Contrast]) -> str:
    """The plot in words: its numbers stand in the tables of contrasts."""
    return f"{len(found)} contrasts with their 95% and 90% intervals; the tables beside it hold the numbers."


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
