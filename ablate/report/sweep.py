"""From the folder of a sweep to its report: the studies of its settings, and what lies across them."""

from dataclasses import dataclass
from pathlib import Path

from ablate.report.document import Document
from ablate.report.figures import png, svg
from ablate.report.latex import latex
from ablate.report.load import HEADER_FILE
from ablate.report.markdown import markdown
from ablate.report.page import page
from ablate.report.study import render_study
from ablate.report.sweep_analysis import SweepResult, read_results
from ablate.report.sweep_figures import panel_groups, surface_figure, surface_panels
from ablate.report.sweep_file import SWEEP_FILE, read_sweep
from ablate.report.sweep_fits import sweep_fits
from ablate.report.sweep_page import SweepNumbers, compose_sweep, named_records
from ablate.report.sweep_tables import coefficient_rows, held_out_rows, missing_rows, points_rows
from ablate.report.sweep_trend_figure import trend_figure
from ablate.report.sweep_trends import slope_rows, sweep_trends, trend_rows
from ablate.report.tables import Table
from ablate.report.text import csv_text
from ablate.whole_file import write_whole

FIGURES = ("surface", "trend")
"""How the names of a sweep's figures begin."""


@dataclass(frozen=True)
class RenderedSweep:
    """A sweep's report, and what it was made of."""

    result: SweepResult
    document: Document
    files: dict[str, str | bytes]
    """File name to content: tables as Markdown, LaTeX, HTML and CSV, figures as SVG and PNG."""


def is_sweep(folder: Path) -> bool:
    """Whether ``folder`` holds a sweep, and not a study."""
    return (folder / SWEEP_FILE).is_file()


def studies_of(folder: Path) -> list[Path]:
    """The folders of the settings of the sweep in ``folder`` that have a record."""
    places = [folder / setting.folder for setting in read_sweep(folder).settings]
    return [one for one in places if (one / HEADER_FILE).is_file() and any((one / "records").glob("*.json"))]


def render_sweep(folder: Path) -> RenderedSweep:
    """Render the sweep in ``folder`` and the study of every setting that has records, and write the files.

    Raises:
        StudyError: no sweep, or a study contradicts itself.
        RecordError: a record cannot be read, or two disagree.
    """
    rendered = render_results(read_results(folder))
    for study in studies_of(folder):
        render_study(study)
    for path in sorted(folder.iterdir()):
        # Figures and tables of an earlier form of the sweep.
        if path.name not in rendered.files and _is_own(path):
            path.unlink()
    for name, content in rendered.files.items():
        write_whole(folder / name, content)
    return rendered


def _is_own(path: Path) -> bool:
    """Whether only a rendering of a sweep makes a file of this name."""
    if path.suffix == ".csv":
        return path.stem in CSV
    return path.suffix in (".svg", ".png") and path.stem.partition("-")[0] in FIGURES


CSV = ("points", "coefficients", "predictions", "slopes", "trend", "missing")
"""Files of the numbers of a sweep, as far as there are rows; named after the section that shows them."""


def sweep_numbers(result: SweepResult) -> SweepNumbers:
    """Surfaces and trends of a sweep, and the panels that its figures have."""
    fits = sweep_fits(result)
    return SweepNumbers(result, fits, panel_groups(surface_panels(result, fits)), sweep_trends(result))


def render_results(result: SweepResult) -> RenderedSweep:
    """The report of a sweep, in memory; the same records give the same files."""
    numbers = sweep_numbers(result)
    fits, groups, trends = numbers.fits, numbers.groups, numbers.trends
    document = compose_sweep(numbers)
    tables: dict[str, Table] = {
        "points": points_rows(result),
        "coefficients": coefficient_rows(fits),
        "predictions": held_out_rows(fits),
        "slopes": slope_rows(trends),
        "trend": trend_rows(trends),
        "missing": missing_rows(result),
    }
    spreadsheets = {f"{name}.csv": csv_text(tables[name]) for name in CSV if tables[name].rows}
    drawn: dict[str, tuple[str, bytes]] = {}
    for picture in document.pictures:
        key = picture.key
        figure = surface_figure(key, result, groups[key]) if key in groups else trend_figure(key, trends)
        title = f"{picture.title}, {result.sweep.sweep}"
        drawn[key] = (svg(figure, title, picture.alternative), png(figure, title))
    vectors = {key: vector for key, (vector, _) in drawn.items()}
    files: dict[str, str | bytes] = {
        "table.md": markdown(document),
        "table.tex": latex(document),
        "report.html": page(document, vectors, named_records(result), spreadsheets, "", None),
        **spreadsheets,
    }
    for key, (vector, raster) in drawn.items():
        files |= {f"{key}.svg": vector, f"{key}.png": raster}
    return RenderedSweep(result, document, files)
