"""From the folder of a study to its report, and from two folders to their agreement."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.record import RunRecord
from ablate.report.compute import compute_rows, compute_table
from ablate.report.forest import forest_svg
from ablate.report.load import StudyHeader, load_records, read_header
from ablate.report.tables import (
    ABSENT,
    Table,
    chance_table,
    contrast_rows,
    contrast_table,
    endpoint_places,
    interval_text,
    mean_and_sd,
    missing_table,
    number,
    refusals,
    score_of,
    score_rows,
    score_table,
    skip_table,
)
from ablate.report.text import (
    LEGEND,
    csv_text,
    markdown_table,
    markdown_text,
    verdict_sentences,
    write_atomically,
)
from ablate.stats.contrasts import Contrast, contrasts, index_runs

SUMMARY_COLUMNS = ("arm", "scores", "gain vs baseline", "gain vs controls", "verdict")
"""What the cells of `summary_rows` are."""

SUMMARY_WIDTHS = (19, 15, 17, 20, 13)
"""Most characters in a line of each cell: 84 in all, which leaves 16 of 100 for a table's borders."""


@dataclass(frozen=True)
class RenderedStudy:
    """A report, and what it was made of."""

    header: StudyHeader
    records: list[RunRecord]
    contrasts: list[Contrast]
    files: dict[str, str]
    """File name to text: `table.md`, `contrasts.csv`, `scores.csv`, `compute.csv`, `forest.svg`."""

    @property
    def refusals(self) -> list[str]:
        """Why pairs were refused, each reason once; empty in a sound study."""
        return refusals(self.contrasts)


def render_study(folder: Path) -> RenderedStudy:
    """Render the study in ``folder`` from its header and records, and write the files beside them.

    Raises:
        StudyError: no header or records, or they contradict each other.
        RecordError: a record cannot be read, or two disagree.
    """
    header = read_header(folder)
    rendered = render(header, load_records(folder, header))
    for name, text in rendered.files.items():
        write_atomically(folder / name, text)
    return rendered


def render(header: StudyHeader, records: list[RunRecord]) -> RenderedStudy:
    """The report of ``records``, in memory; the same records give the same text."""
    found = contrasts(records, header)
    runs = index_runs(records)
    files = {
        "table.md": document(header, records, found),
        "contrasts.csv": csv_text(contrast_rows(found)),
        "scores.csv": csv_text(score_rows(runs, header)),
        "compute.csv": csv_text(compute_rows(runs, header)),
        "forest.svg": forest_svg(found, header),
    }
    return RenderedStudy(header, records, found, files)


def document(header: StudyHeader, records: list[RunRecord], found: list[Contrast]) -> str:
    """The report as Markdown, verdict first."""
    runs, places = index_runs(records), endpoint_places(found)
    confirmatory = [one for one in found if one.confirmatory]
    exploratory = [one for one in found if not one.confirmatory]
    said = verdict_sentences(found, header) or ["No arm is contrasted with the baseline."]
    verdict = "\n\n".join(markdown_text(sentence) for sentence in said)
    parts = [f"# {markdown_text(header.study)}", markdown_text(header.question), f"**Verdict.** {verdict}"]
    parts += _section(
        "Missing and refused", missing_table(runs, header, found), "None of these is in an average."
    )
    family = f"P values are adjusted after Holm over these {len(confirmatory)} contrasts. {LEGEND}"
    parts += _section("Confirmatory contrasts", contrast_table(confirmatory), family)
    parts += ["![Forest plot of the contrasts](forest.svg)"]
    loose = "P values are not adjusted; these suggest, and do not confirm. A verdict needs a margin."
    parts += _section("Exploratory contrasts", contrast_table(exploratory), loose)
    parts += _section("Scores", score_table(runs, header, places), "")
    luck = "Binomial interval of guessing, 95% over all runs shown of an endpoint together (Bonferroni)."
    parts += _section("Placebo arms beside chance", chance_table(runs, header, places), luck)
    spent = f"Held equal: {header.match}. A range is smallest to largest over seeds."
    parts += _section("Compute", compute_table(runs, header), spent)
    parts += _section("Skipped or cut", skip_table(runs, header), "")
    parts += ["## Disclosures", *_bullets(disclosures(header, records))]
    parts += ["## Provenance", markdown_text(provenance(header, records))]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _section(title: str, table: Table, legend: str) -> list[str]:
    return [f"## {title}", markdown_table(table), legend] if table.rows else []


def _bullets(lines: list[str]) -> list[str]:
    return ["\n".join(f"- {markdown_text(line)}" for line in lines)] if lines else ["None."]


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


def summary_rows(rendered: RenderedStudy) -> list[tuple[str, ...]]:
    """The primary endpoint at a glance: one row an arm, cells as in `SUMMARY_COLUMNS`.

    Cells hold line breaks and fit the `SUMMARY_WIDTHS`, so that a table of them fits 100 columns.
    """
    header = rendered.header
    own = [one for one in rendered.contrasts if one.endpoint == header.primary]
    places = endpoint_places(own).get(header.primary, 4)
    runs = index_runs(rendered.records)
    rows = []
    for arm in header.arms:
        mine = [one for one in own if one.arm == arm]
        against = [one for one in mine if one.reference == header.baseline]
        controls = [one for one in mine if one.kind in ("grounding", "control")]
        cells = (
            [arm],
            [_scores_cell([score_of(runs, arm, seed, header.primary) for seed in header.seeds], places)],
            [line for one in against for line in _gain_lines(one, places)],
            [line for one in controls for line in _control_lines(one, places)],
            [one.printed_verdict for one in against],
        )
        rows.append(tuple(_wrapped(lines, width) for lines, width in zip(cells, SUMMARY_WIDTHS, strict=True)))
    return rows


def _scores_cell(scores: list[tuple[float | None, str]], places: int) -> str:
    if len(scores) <= 6:
        return " ".join(ABSENT if value is None else number(value, places) for value, _ in scores)
    values = [value for value, _ in scores if value is not None]
    if len(values) < len(scores):
        return f"{len(scores) - len(values)} of {len(scores)} missing"
    mean, sd = mean_and_sd(values)
    return f"{number(mean, places)} ± {number(sd, places)}"


def _gain_lines(one: Contrast, places: int) -> list[str]:
    gain = number(one.estimate.mean_gain, places, signed=True)
    return [gain, interval_text(one.estimate.interval95, places)] if one.estimate.interval95 else [gain]


def _control_lines(one: Contrast, places: int) -> list[str]:
    name = one.reference.removeprefix(f"{one.arm}.")
    gain = number(one.estimate.mean_gain, places, signed=True)
    return [f"{name} {gain}", interval_text(one.estimate.interval95, places)]


def _wrapped(lines: list[str], width: int) -> str:
    return "\n".join(part for line in lines for part in textwrap.wrap(line, width))


def verdicts(folder: Path) -> dict[tuple[str, str, str], str]:
    """(arm, reference, endpoint) to the verdict, for every contrast that has one.

    Read from the records of ``folder``, not from a table; nothing is written. A media arm's `helps`
    carries its grounding verdict; `equivalent` comes without the sign, which is noise.
    """
    return {key: said for key, (said, _) in _verdicts(folder).items()}


def compare_verdicts(fresh: Path, committed: Path) -> list[str]:
    """Whether two studies say the same, one line a contrast, each beginning with `agree` or `DIFFER`.

    The confirmatory contrasts come first; the others are marked as exploratory.
    """
    new, old = _verdicts(fresh), _verdicts(committed)
    absent = ("not there", False)
    lines: dict[bool, list[str]] = {True: [], False: []}
    for key in dict.fromkeys([*new, *old]):
        (mine, first), (theirs, second) = new.get(key, absent), old.get(key, absent)
        confirmatory = first or second
        name = f"{key[0]} vs {key[1]} on {key[2]}" + ("" if confirmatory else " (exploratory)")
        same = f"agree: {name}: {mine}"
        other = f"DIFFER: {name}: fresh {mine}, committed {theirs}"
        lines[confirmatory].append(same if mine == theirs else other)
    return lines[True] + lines[False]


def _verdicts(folder: Path) -> dict[tuple[str, str, str], tuple[str, bool]]:
    """The verdicts of a study, and whether they are confirmatory."""
    header = read_header(folder)
    return {
        (one.arm, one.reference, one.endpoint): (
            one.verdict if one.verdict == "equivalent" else one.printed_verdict,
            one.confirmatory,
        )
        for one in contrasts(load_records(folder, header), header)
        if one.verdict is not None
    }
