"""A report as a LaTeX article that compiles as it stands: pdflatex, and packages that every TeX has.

Each table stands between ``% begin table <key>`` and ``% end table <key>`` and can be pasted into a paper
that loads `PACKAGES`. Column widths are reckoned here, from the widths of Computer Modern, so that nothing
runs off the page: a table is set upright if it fits, else on a landscape page, else in blocks of columns,
each of which repeats the columns that name the row.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ablate.report.document import Document, Picture, Section
from ablate.report.latex_text import breakable, escape, pieces, text_width
from ablate.report.tables import ABSENT, Cell

PACKAGES = "array,booktabs,graphicx,longtable,pdflscape"
"""What the article and its tables load, from Debian's texlive-latex-base and texlive-latex-recommended."""

MARGIN_MM = 20
PORTRAIT, LANDSCAPE = ((side - 2 * MARGIN_MM) * 72.27 / 25.4 for side in (210, 297))
"""Width of the text in points, on A4 paper upright and lying."""

GAP = 3.0
"""Points on either side of a column."""

SIZES = {"small": (9.25, 11.0), "footnotesize": (8.5, 9.5), "scriptsize": (8.0, 8.0)}
"""Size to points that one em of cmr10 takes in it (small letters are relatively wider), and between lines."""

WIDEST = 150.0
"""Points from which the text of a column is wrapped rather than the page turned."""

LONGEST_PIECE, LONGEST_NUMBER = 70.0, 150.0
"""Points that a name, and a number, may ask for unbroken."""

SHARE = 0.75
"""Share of a page up to which a table is kept together."""

_NUMBER = re.compile(r"[\[(<>~]*[+-]?\.?\d")


@dataclass(frozen=True)
class _Column:
    """One column as text, with the widths in points that it would like and that it needs."""

    cells: list[str]
    """The title first."""
    liked: float
    needed: float
    numbers: bool


@dataclass(frozen=True)
class _Block:
    """Columns that stand side by side, and how wide each is."""

    columns: list[_Column]
    widths: list[float]


@dataclass(frozen=True)
class _Layout:
    blocks: list[_Block]
    size: str
    landscape: bool


def latex(document: Document) -> str:
    """``document`` as an article.

    Pictures are taken from `<key>.png` beside the article where there is one. All text is escaped; what
    pdflatex cannot set is written as ``[U+XXXX]``.
    """
    parts = [
        "\\documentclass[10pt,a4paper]{article}",
        f"\\usepackage[margin={MARGIN_MM}mm]{{geometry}}",
        f"\\usepackage{{{PACKAGES}}}",
        "\\sloppy",
        f"\\title{{{_prose(document.title)}}}",
        "\\author{}\n\\date{}",
        "\\begin{document}\n\\maketitle",
        _prose(document.question),
        "\\section*{Verdict}",
        *map(_prose, document.verdict),
    ]
    if document.registration:
        parts += ["\\section*{Registration}", *map(_prose, document.registration)]
    parts += [_picture(part) if isinstance(part, Picture) else _section(part) for part in document.parts]
    parts += ["\\clearpage\n\\section*{Disclosures}", _bullets(document.disclosures)]
    parts += ["\\section*{Provenance}", _prose(document.provenance), "\\end{document}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(text: str) -> str:
    return breakable(text, 15.0)


def _bullets(lines: list[str]) -> str:
    if not lines:
        return "None."
    items = "\n".join(f"\\item[$\\bullet$] {_prose(line)}" for line in lines)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"


def _picture(picture: Picture) -> str:
    name = f"{picture.key}.png"
    size = "width=\\linewidth,height=0.8\\textheight,keepaspectratio"
    return (
        "\\begin{figure}[htbp]\n\\centering\n"
        f"\\IfFileExists{{{name}}}{{\\includegraphics[{size}]{{{name}}}}}"
        f"{{({escape(name)} is not beside this file.)}}\n"
        f"\\caption{{{_prose(picture.title)}. {_prose(picture.alternative)}}}\n\\end{{figure}}"
    )


def _section(section: Section) -> str:
    """A table between its markers."""
    key = re.sub(r"[^A-Za-z0-9_-]", "-", section.key)
    rows: list[Sequence[Cell]] = [section.table.columns, *section.table.rows]
    shown = [[_shown(cell) for cell in row] for row in rows]
    lines = [f"% begin table {key}", f"% \\usepackage{{{PACKAGES}}}"]
    layout = _layout([[row[at] for row in shown] for at in range(len(section.table.columns))])
    if layout.landscape:
        lines.append("\\begin{landscape}")
    for at, block in enumerate(layout.blocks):
        part = f" ({at + 1} of {len(layout.blocks)})" if len(layout.blocks) > 1 else ""
        label = f"\\label{{tab:{key}}}" if at == 0 else ""
        legend = section.legend if at == len(layout.blocks) - 1 else ""
        lines.append(_block(block, f"{_prose(section.title)}{part}{label}", legend, layout))
    if layout.landscape:
        lines.append("\\end{landscape}")
    return "\n".join([*lines, f"% end table {key}"])


def _shown(cell: Cell) -> str:
    return ABSENT if cell is None else str(cell)


def _layout(columns: list[list[str]]) -> _Layout:
    """The largest setting in which all columns stand side by side, or blocks of columns.

    Upright a table has to fit without wrapping much; lying, names wrap before numbers do.
    """
    for size in ("small", "footnotesize"):
        measured = [_measured(cells, size, whole=False) for cells in columns]
        if sum(min(one.liked, WIDEST) for one in measured) <= _room(measured, PORTRAIT):
            return _Layout([_Block(measured, _widths(measured, PORTRAIT))], size, False)
    for size, whole in (("footnotesize", True), ("scriptsize", True), ("scriptsize", False)):
        measured = [_measured(cells, size, whole) for cells in columns]
        if sum(one.needed for one in measured) <= _room(measured, LANDSCAPE):
            return _Layout([_Block(measured, _widths(measured, LANDSCAPE))], size, True)
    blocks = [_Block(block, _widths(block, LANDSCAPE)) for block in _blocks(measured)]
    return _Layout(blocks, "scriptsize", True)


def _measured(cells: list[str], size: str, whole: bool) -> _Column:
    """A column in points; ``whole``: cells of numbers ask not to be wrapped, intervals among them."""
    em, _ = SIZES[size]
    widths = [_widths_of(cell) for cell in cells]
    told = [cell for cell in cells[1:] if cell not in ("", ABSENT)]
    numbers = bool(told) and all(_NUMBER.match(cell) for cell in told)
    liked = em * max(line for line, _ in widths) * 1.02 + 1.0
    needed = em * max(piece for _, piece in widths) * 1.02 + 1.0
    if numbers and whole:
        needed = max([needed, *(em * line * 1.02 + 1.0 for line, _ in widths[1:])])
    cap = LONGEST_NUMBER if numbers else LONGEST_PIECE
    return _Column(cells, liked, min(needed, cap, liked), numbers)


@lru_cache(maxsize=65_536)
def _widths_of(text: str) -> tuple[float, float]:
    """Width of a cell on one line, and of its longest piece, in em."""
    return text_width(text), max(map(text_width, pieces(text)), default=0.0)


def _room(columns: Sequence[_Column], width: float) -> float:
    """Points that are left for text: the outer columns have no gap at the margin."""
    return width - 2 * GAP * (len(columns) - 1)


def _widths(columns: Sequence[_Column], width: float) -> list[float]:
    """What each column needs, and of what is left a share in proportion to what it would like more."""
    needed, liked = [one.needed for one in columns], [one.liked for one in columns]
    if sum(liked) <= _room(columns, width):
        return liked
    wishes = [min(like, max(WIDEST, need)) - need for like, need in zip(liked, needed, strict=True)]
    left = _room(columns, width) - sum(needed)
    if 0 < sum(wishes) < left:
        # All have what they would like up to `WIDEST`; the rest goes to those that want more.
        needed = [need + wish for need, wish in zip(needed, wishes, strict=True)]
        left -= sum(wishes)
        wishes = [like - need for like, need in zip(liked, needed, strict=True)]
    share = max(0.0, min(1.0, left / sum(wishes))) if sum(wishes) > 0 else 0.0
    return [need + share * wish for need, wish in zip(needed, wishes, strict=True)]


def _blocks(columns: list[_Column]) -> list[list[_Column]]:
    """Columns in groups that fit a landscape page, each beginning with those that name the row."""
    named = 0
    while named < min(2, len(columns) - 1) and not columns[named].numbers:
        named += 1
    keys, found, block = columns[:named], [], columns[:named]
    for one in columns[named:]:
        grown = [*block, one]
        if len(block) > len(keys) and sum(each.needed for each in grown) > _room(grown, LANDSCAPE):
            found.append(block)
            grown = [*keys, one]
        block = grown
    return [*found, block]


def _block(block: _Block, caption: str, legend: str, layout: _Layout) -> str:
    em, leading = SIZES[layout.size]
    count = len(block.columns[0].cells)
    rows = [[one.cells[at] for one in block.columns] for at in range(count)]
    head, *body = (_row(row, block.widths, em) for row in rows)
    sides = ("raggedleft" if one.numbers else "raggedright" for one in block.columns)
    spec = "".join(
        f">{{\\{side}\\arraybackslash}}p{{{width:.1f}pt}}"
        for side, width in zip(sides, block.widths, strict=True)
    )
    lines = sum(_lines(row, block.widths, em) for row in rows)
    page = PORTRAIT if layout.landscape else LANDSCAPE
    said = f"\\par\\smallskip\n{{\\footnotesize\\raggedright {_prose(legend)}\\par}}\n" if legend else ""
    begin = f"\\setlength{{\\tabcolsep}}{{{GAP:g}pt}}\\{layout.size}\n"
    if lines * leading <= SHARE * page:
        table = [
            f"\\begin{{table}}[htbp]\n\\centering\n\\caption{{{caption}}}\n{begin}\\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            f"\\toprule\n{head}\n\\midrule",
            *body,
            f"\\bottomrule\n\\end{{tabular}}\n{said}\\end{{table}}",
        ]
        return "\n".join(table)
    again = "\\caption[]{(continued)}\\\\"
    table = [
        f"\\begingroup\n\\setlength{{\\LTcapwidth}}{{\\linewidth}}{begin}\\begin{{longtable}}{{@{{}}{spec}@{{}}}}",
        f"\\caption{{{caption}}}\\\\\n\\toprule\n{head}\n\\midrule\n\\endfirsthead",
        f"{again}\n\\toprule\n{head}\n\\midrule\n\\endhead",
        "\\bottomrule\n\\endlastfoot",
        *body,
        f"\\end{{longtable}}\n\\endgroup\n{said}",
    ]
    return "\n".join(table)


def _row(cells: Sequence[str], widths: Sequence[float], em: float) -> str:
    text = " & ".join(_cell(cell, round(width / em, 2)) for cell, width in zip(cells, widths, strict=True))
    # After the end of a row an asterisk or a bracket would belong to it.
    return f"{'{}' if text[:1] in ('[', '*') else ''}{text} \\\\"


@lru_cache(maxsize=65_536)
def _cell(text: str, width: float) -> str:
    return breakable(text, width)


def _lines(cells: Sequence[str], widths: Sequence[float], em: float) -> float:
    """Lines that a row takes, at most."""
    return max(1.0 + em * _widths_of(cell)[0] // width for cell, width in zip(cells, widths, strict=True))
