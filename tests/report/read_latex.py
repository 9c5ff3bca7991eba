"""Reads the tables of a LaTeX report back, for tests: rows under columns, text unescaped."""

import re

from ablate.report.latex_text import ASCII, SYMBOLS

_BACK = {code: character for character, code in [*SYMBOLS.items(), *ASCII.items()]} | {
    "$-$": "-",
    "\\allowbreak{}": "",
    "-{}": "-",
    "{}": "",
}
_TOKEN = re.compile("|".join(re.escape(code) for code in sorted(_BACK, key=len, reverse=True)))


def latex_tables(text):
    """Key to rows, the first of them the column names; blocks of columns are put side by side again."""
    tables = {}
    for key, body in re.findall(r"% begin table (\S+)\n(.*?)\n% end table \1", text, re.DOTALL):
        blocks = re.findall(r"\\begin\{(tabular|longtable)\}(.*?)\\end\{\1\}", body, re.DOTALL)
        tables[key] = _beside([_rows(inner) for _, inner in blocks])
    return tables


def _rows(inner):
    head = re.search(r"\\toprule\n(.*?) \\\\\n\\midrule", inner, re.DOTALL)[1]
    start = "\\endlastfoot\n" if "\\endlastfoot" in inner else "\\midrule\n"
    rows = inner.split(start, 1)[1].replace("\\bottomrule\n", "").split(" \\\\\n")
    return [_cells(row) for row in [head, *rows] if row.strip()]


def _cells(row):
    return [plain(cell) for cell in re.split(r"(?<!\\) ?& ?", row)]


def plain(latex):
    """The text that ``latex`` shows."""
    text = _TOKEN.sub(lambda found: _BACK[found[0]], latex)
    return re.sub(r"\[U\+([0-9A-F]{4,6})\]", lambda found: chr(int(found[1], 16)), text)


def _beside(blocks):
    rows = blocks[0]
    for block in blocks[1:]:
        repeated = 0
        while block[0][repeated] == rows[0][repeated]:
            repeated += 1
        assert [row[:repeated] for row in block] == [row[:repeated] for row in rows]
        rows = [left + right[repeated:] for left, right in zip(rows, block, strict=True)]
    return rows
