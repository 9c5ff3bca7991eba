"""Markdown and CSV, escaped, and files written whole."""

import csv
import io
import math
import re

from ablate.report.tables import ABSENT, Cell, Table


def markdown_text(text: str) -> str:
    """``text`` with everything that Markdown or HTML would interpret escaped, on one line."""
    if re.fullmatch(r"[A-Za-z0-9/%]*", text):
        return text
    text = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # Between letters an underscore is only itself; elsewhere it may begin emphasis.
    text = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", text)
    return re.sub(r"^([#+=-]|\d+[.)])(?=\s|$)", r"\\\1", text)


def markdown_table(table: Table) -> str:
    """``table`` as a GitHub table; every cell is escaped."""
    lines = [table.columns, ["---"] * len(table.columns)]
    lines += [[_shown(cell) for cell in row] for row in table.rows]
    escaped = [lines[1] if at == 1 else [markdown_text(cell) for cell in row] for at, row in enumerate(lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped) + "\n"


def _shown(cell: Cell) -> str:
    return ABSENT if cell is None else str(cell)


def csv_text(table: Table) -> str:
    """``table`` as CSV (RFC 4180, with line feeds). Absent values are empty.

    Text that a spreadsheet would run as a formula is prefixed with an apostrophe (OWASP, "CSV
    Injection"); numbers are written as they are, in full precision.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in table.columns])
    writer.writerows([csv_cell(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def csv_cell(cell: Cell) -> str:
    """One value as CSV text, see `csv_text`."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if not isinstance(cell, str):
        return repr(cell)
    return f"'{cell}" if re.match(r"\s*[=+\-@\t\r\n]", cell) else cell
