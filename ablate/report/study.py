"""From the folder of a study to its report, and from two folders to their agreement."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure

from ablate.record import RunRecord
from ablate.report.analysis import Analysis, analyse, read_study
from ablate.report.compute import compute_rows
from ablate.report.contrast_tables import contrast_rows
from ablate.report.curves import curve_figure
from ablate.report.document import Document, compose
from ablate.report.effect_tables import decomposition_rows, equivalent_rows
from ablate.report.figures import png, svg
from ablate.report.forest import forest_figure
from ablate.report.latex import latex
from ablate.report.load import StudyHeader, load_records, read_header
from ablate.report.markdown import markdown
from ablate.report.page import page
from ablate.report.page_items import item_table
from ablate.report.registration import read_registration
from ablate.report.screen import SCREEN_FILE, screen_text
from ablate.report.screen_document import compose_screen, screen_rows
from ablate.report.tables import (
    ABSENT,
    Table,
    endpoint_places,
    interval_text,
    mean_and_sd,
    number,
    refusals,
    score_of,
    score_rows,
)
from ablate.report.text import csv_text
from ablate.report.waterfall import primary_only, waterfall_figure
from ablate.stats.contrasts import Contrast
from ablate.stats.samples import index_runs
from ablate.whole_file import write_whole

SUMMARY_COLUMNS = ("arm", "scores", "gain vs baseline", "gain vs controls", "verdict")
"""What the cells of `summary_rows` are."""

SUMMARY_WIDTHS = (19, 15, 17, 20, 13)
"""Most characters in a line of each cell: 84 in all, which leaves 16 of 100 for a table's borders."""


OPTIONAL = {
    "decomposition.csv",
    "equivalents.csv",
    *(
        f"{key}.{form}"
        for key in ("forest", "decomposition", "loss_flops", "loss_tokens")
        for form in ("svg", "png")
    ),
}
"""Files that a report has only where there is something to put into them."""


@dataclass(frozen=True)
class RenderedStudy:
    """A report, and what it was made of."""

    study: Analysis
    files: dict[str, str | bytes]
    """File name to content: tables as Markdown, LaTeX, HTML and CSV, figures as SVG and PNG."""

    @property
    def header(self) -> StudyHeader:
        return self.study.header

    @property
    def records(self) -> list[RunRecord]:
        return self.study.records

    @property
    def contrasts(self) -> list[Contrast]:
        return self.study.contrasts

    @property
    def refusals(self) -> list[str]:
        """Why pairs were refused, each reason once; empty in a sound study."""
        return refusals(self.contrasts)


def render_study(folder: Path) -> RenderedStudy:
    """Render the study in ``folder`` from its header and records, and write the files beside them.

    A state of the records that had not been looked at is logged first, where there is a plan to hold it
    against.

    Raises:
        StudyError: no header or records, or they contradict each other.
        RecordError: a record cannot be read, or two disagree.
    """
    rendered = render(read_study(folder, looked_at=datetime.now(UTC).isoformat(timespec="seconds")))
    for name in OPTIONAL - rendered.files.keys():
        (folder / name).unlink(missing_ok=True)
    for name, content in rendered.files.items():
        write_whole(folder / name, content)
    return rendered


def render(study: Analysis) -> RenderedStudy:
    """The report of a study, in memory; the same records give the same files."""
    header = study.header
    is_screen = header.purpose == "screen"
    document = compose_screen(study) if is_screen else compose(study)
    figures = draw(study, document)
    spreadsheets = {
        name: csv_text(table) for name, table in _tables(study).items() if table.rows or name not in OPTIONAL
    }
    scores = None if is_screen else study.items.get(header.primary)
    items = item_table(scores, study.contrasts, header) if scores else None
    vectors = {key: vector for key, (vector, _) in figures.items()}
    files: dict[str, str | bytes] = {
        "table.md": markdown(document),
        "table.tex": latex(document),
        "report.html": page(document, vectors, study.records, spreadsheets, header.recipe, items),
        **spreadsheets,
    }
    for key, (vector, raster) in figures.items():
        files |= {f"{key}.svg": vector, f"{key}.png": raster}
    if is_screen:
        files[SCREEN_FILE] = screen_text(study.screening, header, study.records)
    return RenderedStudy(study, files)


def _tables(study: Analysis) -> dict[str, Table]:
    """File name to the numbers of a report, for machines."""
    header, runs = study.header, index_runs(study.records)
    spent = {"scores.csv": score_rows(runs, header), "compute.csv": compute_rows(runs, header)}
    if header.purpose == "screen":
        return {"screen.csv": screen_rows(study.screening, header), **spent}
    return {
        "contrasts.csv": contrast_rows(study.contrasts),
        "decomposition.csv": decomposition_rows(study.decompositions),
        "equivalents.csv": equivalent_rows(study.equivalents),
        **spent,
    }


def draw(study: Analysis, document: Document) -> dict[str, tuple[str, bytes]]:
    """Every picture of ``document`` by its key, as SVG and as PNG of one figure."""
    figures: dict[str, Callable[[], Figure]] = {
        "forest": lambda: forest_figure(study.contrasts, study.header),
        "decomposition": lambda: waterfall_figure(primary_only(study.decompositions)),
        "loss_flops": lambda: curve_figure(study.records, study.header, "flops"),
        "loss_tokens": lambda: curve_figure(study.records, study.header, "text_tokens"),
    }
    drawn: dict[str, tuple[str, bytes]] = {}
    for picture in document.pictures:
        figure = figures[picture.key]()
        title = f"{picture.title}, {study.header.study}"
        drawn[picture.key] = (svg(figure, title, picture.alternative), png(figure, title))
    return drawn


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
    return [gain, interval_text(one.interval95, places)] if one.interval95 else [gain]


def _control_lines(one: Contrast, places: int) -> list[str]:
    name = one.reference.removeprefix(f"{one.arm}.")
    gain = number(one.estimate.mean_gain, places, signed=True)
    return [f"{name} {gain}", interval_text(one.interval95, places)]


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
    records = load_records(folder, header)
    registration = read_registration(folder, header, records)
    return {
        (one.arm, one.reference, one.endpoint): (
            one.verdict if one.verdict == "equivalent" else one.printed_verdict,
            one.confirmatory,
        )
        for one in analyse(header, records, registration).contrasts
        if one.verdict is not None
    }
