"""A report as one HTML page that works offline: sorted, filtered and traced to its records in the browser.

A Content-Security-Policy allows the page's own style and script, by their digests, and nothing else: text
of a study that got past the escaping could still run nothing, and nothing leaves the page.
"""

import base64
import functools
import hashlib
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2

from ablate.record import RunRecord
from ablate.report.document import Document, Picture, Section
from ablate.report.inline_svg import inline_svg
from ablate.report.page_items import ItemTable
from ablate.report.page_records import SourceIndex
from ablate.report.tables import ABSENT, Cell, Table

MOST_ROWS = 2_000
"""Rows of a table that the page holds; the CSV files hold all."""

FILTERED_ROWS = 8
"""A table with more rows than these can be filtered."""

PRINTED_ROWS = 100
"""Rows of a table that paper shows; the style sheet says the same."""

WIDE = 40
"""Characters from which a column is wrapped."""

CSV_OF = {"confirmatory": "contrasts.csv", "exploratory": "contrasts.csv"}
"""Section to the file of its numbers, where it is not called as the section is."""

_NUMBER = re.compile(r"[\[<>~\s]*[+-]?[\d,]*\.?\d")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class _Column:
    title: str
    style: str
    """`n` for numbers, `w` for long text; the names of classes of the style sheet."""
    arm: str | None = None
    seed: str | None = None
    """The arm, or the seed, whose runs alone are behind the column."""


@dataclass(frozen=True)
class _TableView:
    """A table as the template wants it."""

    anchor: str
    title: str
    legend: str
    columns: list[_Column]
    rows: list[tuple[list[str], int | None]]
    """Cells, and the number of the runs behind them."""
    total: int
    whole: str
    """Where all rows are, if these are not all."""
    download: str | None
    endpoint: int | None
    cluster: int | None = None
    clusters: Sequence[str] = ()
    items: bool = False

    @property
    def filtered(self) -> bool:
        return len(self.rows) > FILTERED_ROWS


@dataclass(frozen=True)
class _Figure:
    anchor: str
    title: str
    alternative: str
    svg: str


@dataclass(frozen=True)
class _File:
    name: str
    length: str
    json: str


def page(
    document: Document,
    figures: Mapping[str, str],
    records: Sequence[RunRecord],
    downloads: Mapping[str, str],
    recipe: str,
    items: ItemTable | None,
) -> str:
    """``document`` as a page; the same arguments give the same text.

    Args:
        figures: `Picture.key` to SVG. A picture without one is replaced by its description.
        records: those that `Table.sources` name; a source without a record is shown as such.
        downloads: file name to text, offered by the page without a request.
        recipe: YAML, shown folded; empty for none.
        items: a table of test items, or None.

    Raises:
        FigureError: a figure is not SVG.
    """
    index = SourceIndex(records)
    parts: list[_TableView | _Figure] = []
    for place, part in enumerate(document.parts):
        anchor = f"{re.sub('[^A-Za-z0-9]+', '-', part.key)}-{place}"
        if isinstance(part, Picture):
            parts.append(_figure(part, anchor, figures))
        else:
            parts.append(_section(part, anchor, index, downloads))
    if items is not None:
        parts.append(_items(items, index))
    environment, style, script = _sources()
    return environment.get_template("page").render(
        document=document,
        policy=_policy(style, script),
        style=style,
        script=script,
        verdict=[_lead(sentence) for sentence in document.verdict],
        contents=_contents(document, parts, recipe, downloads),
        parts=parts,
        linked=any(
            group is not None for part in parts if isinstance(part, _TableView) for _, group in part.rows
        ),
        printed_rows=PRINTED_ROWS,
        recipe=recipe,
        downloads=[
            _File(name, _length(text), embedded_json(text, raw=True)) for name, text in downloads.items()
        ],
        provenance=embedded_json(index.packed()),
    )


def without_drawings(text: str) -> str:
    """A page but for what its figures draw, which depends on the version of what drew them."""
    return re.sub(r"<svg .*?</svg>", "", text, flags=re.DOTALL)


def printable(value: Any) -> Any:
    """``value``; text without the characters that HTML forbids, each replaced by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def embedded_json(value: Any, raw: bool = False) -> str:
    """``value`` as JSON that stays inert inside a script element: no markup, ASCII only.

    Text is made `printable`, so that it equals what the page shows; ``raw`` text is left as it is.
    """
    text = json.dumps(
        value if raw else _printable_deep(value), allow_nan=False, separators=(",", ":"), ensure_ascii=True
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _printable_deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(key): _printable_deep(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_printable_deep(inner) for inner in value]
    return printable(value)


@functools.cache
def _sources() -> tuple[jinja2.Environment, str, str]:
    """The template, and the style and script that it is filled with."""
    folder = importlib.resources.files("ablate.report") / "page"
    template, style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.html.jinja", "page.css", "page.js")
    )
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"page": template}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment, style, script


def _policy(style: str, script: str) -> str:
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (style, script)
    ]
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "img-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _figure(picture: Picture, anchor: str, figures: Mapping[str, str]) -> _Figure:
    svg = figures.get(picture.key, "")
    drawn = inline_svg(svg, f"{anchor}-", picture.title, picture.alternative) if svg else ""
    return _Figure(anchor, picture.title, picture.alternative, _UNPRINTABLE.sub("\ufffd", drawn))


def _section(section: Section, anchor: str, index: SourceIndex, downloads: Mapping[str, str]) -> _TableView:
    known = CSV_OF.get(section.key, f"{section.key}.csv")
    download = known if known in downloads else None
    whole = f"all are in {download}." if download else "all are in the study's tables beside this page."
    return _view(section.table, anchor, section.title, section.legend, index, download, whole)


def _items(items: ItemTable, index: SourceIndex) -> _TableView:
    whole = "those of largest gain, whatever its sign; all are in items/."
    view = _view(items.table, "items", items.title, items.legend, index, None, whole, items.arms)
    at = items.cluster
    names = sorted({cells[at] for cells, _ in view.rows}) if at is not None else []
    return replace(view, total=items.total, cluster=at, clusters=names, items=True)


def _view(
    table: Table,
    anchor: str,
    title: str,
    legend: str,
    index: SourceIndex,
    download: str | None,
    whole: str,
    arms: Mapping[int, str] | None = None,
) -> _TableView:
    shown = [[_shown(cell) for cell in row] for row in table.rows[:MOST_ROWS]]
    endpoint = table.columns.index("endpoint") if "endpoint" in table.columns else None
    sources = table.sources[:MOST_ROWS] or [()] * len(shown)
    rows = [
        (cells, index.group(runs, cells[endpoint] if endpoint is not None else None))
        for cells, runs in zip(shown, sources, strict=True)
    ]
    columns = []
    for place, name in enumerate(table.columns):
        seed = re.fullmatch(r"seed (-?\d+)", name)
        arm = (arms or {}).get(place)
        style = _style([cells[place] for cells in shown])
        columns.append(_Column(name, style, arm, seed[1] if seed and arm is None else None))
    return _TableView(anchor, title, legend, columns, rows, len(table.rows), whole, download, endpoint)


def _shown(cell: Cell) -> str:
    return ABSENT if cell is None else str(cell)


def _style(cells: Sequence[str]) -> str:
    """How a column is set: as numbers if at least half of what it holds begins with one."""
    told = [cell for cell in cells if cell not in ("", ABSENT)]
    numbers = sum(_NUMBER.match(cell) is not None for cell in told)
    if max(map(len, told), default=0) >= WIDE:
        return "w"
    return "n" if told and 2 * numbers >= len(told) else ""


def _lead(sentence: str) -> tuple[str, str]:
    """A verdict's first words, up to a colon outside parentheses, which are set in bold; nothing if long."""
    found = re.match(r"(?:[^:(]|\([^)]*\)|[:(](?! )){1,80}?:(?= )", sentence)
    return (sentence[: found.end()], sentence[found.end() :]) if found else ("", sentence)


def _contents(
    document: Document, parts: Sequence[_TableView | _Figure], recipe: str, downloads: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Anchor and title of every section after the verdict."""
    found = [("plan", "Plan")] if document.registration else []
    found += [(part.anchor, part.title) for part in parts]
    found.append(("disclosures", "Disclosures"))
    found += [("recipe", "Recipe")] if recipe else []
    return found + ([("downloads", "Data")] if downloads else [])


def _length(text: str) -> str:
    """Lines rather than bytes: how many digits a float is written with depends on the processor."""
    lines = text.count("\n")
    return f"{lines:,} {'line' if lines == 1 else 'lines'}"
