"""From the folder of a study to its report, and from two folders to their agreement."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from ablate.record import RunRecord
from ablate.report.compute import compute_rows
from ablate.report.document import compose
from ablate.report.forest import forest_svg
from ablate.report.load import StudyHeader, load_records, read_header
from ablate.report.markdown import markdown
from ablate.report.tables import (
    ABSENT,
    contrast_rows,
    endpoint_places,
    interval_text,
    mean_and_sd,
    number,
    refusals,
    score_of,
    score_rows,
)
from ablate.report.text import (
    csv_text,
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
        "table.md": markdown(compose(header, records, found)),
        "contrasts.csv": csv_text(contrast_rows(found)),
        "scores.csv": csv_text(score_rows(runs, header)),
        "compute.csv": csv_text(compute_rows(runs, header)),
        "forest.svg": forest_svg(found, header),
    }
    return RenderedStudy(header, records, found, files)


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
