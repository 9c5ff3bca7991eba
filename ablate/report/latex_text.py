"""Text for LaTeX: escaped, measured, and broken where it would not fit."""

import re
import unicodedata
from functools import lru_cache

ASCII = {
    "\\": "\\textbackslash{}",
    "{": "\\{",
    "}": "\\}",
    "$": "\\char36{}",
    "%": "\\%",
    "&": "\\&",
    "#": "\\#",
    "_": "\\_",
    "^": "\\^{}",
    "~": "\\~{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "\\char34{}",
    "`": "{`}",
    "'": "{'}",
}
"""What TeX would interpret, or its font lacks. Quotes in braces make no ligature. The dollar is asked for by
its place, because its command takes it from a font that a small installation does not have."""

SYMBOLS = {
    "−": "$-$",
    "±": "$\\pm$",
    "×": "$\\times$",
    "÷": "$\\div$",
    "·": "$\\cdot$",
    "•": "$\\bullet$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "≠": "$\\neq$",
    "≈": "$\\approx$",
    "∞": "$\\infty$",
    "→": "$\\rightarrow$",
    "←": "$\\leftarrow$",
    "∈": "$\\in$",
    "√": "$\\surd$",
    "∑": "$\\sum$",
    "°": "$^{\\circ}$",
    "²": "$^{2}$",
    "³": "$^{3}$",
    "µ": "$\\mu$",
    "…": "\\ldots{}",
    "–": "--{}",
    "—": "---{}",
    "‘": "`{}",
    "’": "'{}",
    "“": "``{}",
    "”": "''{}",
    "\xa0": "~",
    "‑": "-{}",
    "ß": "\\ss{}",
    "æ": "\\ae{}",
    "Æ": "\\AE{}",
    "œ": "\\oe{}",
    "Œ": "\\OE{}",
    "ø": "\\o{}",
    "Ø": "\\O{}",
    "å": "\\aa{}",
    "Å": "\\AA{}",
    "ł": "\\l{}",
    "Ł": "\\L{}",
    "§": "$\\mathsection$",
}

ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining character to the accent command of the default font encoding."""

GREEK = re.compile(
    "alpha|beta|[gG]amma|[dD]elta|epsilon|zeta|eta|[tT]heta|iota|kappa|[lL]ambda|mu|nu|[xX]i|[pP]i|rho|"
    "[sS]igma|tau|[uU]psilon|[pP]hi|chi|[pP]si|[oO]mega"
)
"""Commands of Greek letters."""

LATIN_CAPITALS = dict(
    zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True),
    ο="o",
)
"""Greek letters that TeX has no command for, because they are Latin ones."""

WIDTHS = (
    dict.fromkeys("ijl!',.:;[]`", 0.31)
    | dict.fromkeys("frst()_I ", 0.40)
    | dict.fromkeys('acegz0123456789/?"$*ovxy–{}\\^~', 0.53)
    | dict.fromkeys("bdhknpquJS", 0.56)
    | dict.fromkeys("FLZEPw", 0.72)
    | dict.fromkeys("ABCDGHKNOQRTUVXY+-=<>&@", 0.79)
    | dict.fromkeys("mM%#", 0.92)
    | {"W": 1.03, "|": 0.28}
)
"""Em of cmr10, rounded up to classes; a hyphen may be set as a minus."""

OTHER = 0.85
"""Em of any other character that is set as itself."""

_PLAIN = re.compile(r"[A-Za-z0-9 .,:;/()+=!?@*\[\]]*")
_MINUS = re.compile(r"(?<![\w.)\]-])-(?=\.?\d)")
_PIECES = re.compile(r"[^\s/._\-]*[/._\-]+|[^\s/._\-]+")
_IS_NUMBER = re.compile(r"[\[(<>~]*[+-]?\.?\d[\d.,e+-]*%?[\]),;]*")


def escape(text: str) -> str:
    """``text`` on one line, such that TeX sets every character of it and interprets none.

    A hyphen before a number is a minus. What the default fonts of pdflatex lack is written as ``[U+XXXX]``.
    """
    text = " ".join(text.split())
    if _PLAIN.fullmatch(text) and not re.search(r"[!?]`", text):
        return text
    marked = _MINUS.sub("−", text)
    written = "".join(map(_character, marked))
    # Two hyphens in a row would become one dash.
    return re.sub(r"-(?=-)", "-{}", written) if "--" in marked else written


@lru_cache(maxsize=4096)
def _character(character: str) -> str:
    if character in ASCII:
        return ASCII[character]
    if " " <= character <= "~":
        return character
    if character in SYMBOLS:
        return SYMBOLS[character]
    if character in LATIN_CAPITALS:
        return f"$\\mathrm{{{LATIN_CAPITALS[character]}}}$"
    return _greek(character) or _accented(character) or f"[U+{ord(character):04X}]"


def _greek(character: str) -> str:
    size, _, name = unicodedata.name(character, "").removeprefix("GREEK ").partition(" LETTER ")
    if character == "ς":
        return "$\\varsigma$"
    if size not in ("SMALL", "CAPITAL") or not "\u0391" <= character <= "\u03c9":
        return ""
    name = name.replace("LAMDA", "LAMBDA").lower()
    name = name.capitalize() if size == "CAPITAL" else name
    return f"$\\{name}$" if GREEK.fullmatch(name) else ""


def _accented(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return f"\\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return ""


def text_width(text: str) -> float:
    """Width of ``text`` in em of Computer Modern at ten points, rather too much than too little."""
    widths = [WIDTHS.get(character) for character in text]
    if None not in widths:
        return sum(widths)  # type: ignore[arg-type]
    return sum(_character_width(character) for character in text)


@lru_cache(maxsize=4096)
def _character_width(character: str) -> float:
    if character in WIDTHS:
        return WIDTHS[character]
    written = _character(character)
    return sum(WIDTHS.get(part, OTHER) for part in written) if written.startswith("[U+") else OTHER


def pieces(text: str) -> list[str]:
    """The parts of ``text`` that a line may end after: words, numbers whole, names at / . _ and -."""
    found: list[str] = []
    for word in text.split():
        found += [word] if _IS_NUMBER.fullmatch(word) else _PIECES.findall(word)
    return found


def breakable(text: str, width: float) -> str:
    """``text`` escaped, with places to break a line in words that are wider than ``width`` em."""
    if text_width(text) <= width:
        return escape(text)
    return " ".join(_broken(word, width) for word in text.split())


def _broken(word: str, width: float) -> str:
    if text_width(word) <= width:
        return escape(word)
    return "\\allowbreak{}".join(escape(part) for piece in pieces(word) for part in _cut(piece, width))


def _cut(piece: str, width: float) -> list[str]:
    """``piece`` in parts that fit, cut anywhere if need be."""
    if text_width(piece) <= width:
        return [piece]
    parts, part, used = [], "", 0.0
    for character in piece:
        wide = _character_width(character)
        if part and used + wide > width:
            parts.append(part)
            part, used = "", 0.0
        part, used = part + character, used + wide
    return [*parts, part]
