"""What `ablate generate` prints."""

import sys

_JOINERS = "\u200c\u200d"
"""Zero-width characters that several scripts are written with."""


def shown_text(text: str) -> str:
    """``text`` with every character that a terminal would obey written out, as in `\\x1b`; line feeds and
    tabs stay."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" + _JOINERS else _escaped(letter) for letter in text
    )


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def show_continuation(text: str) -> None:
    """Print ``text``, in whatever encoding the output has."""
    encoding = sys.stdout.encoding or "utf-8"
    print(shown_text(text).encode(encoding, "backslashreplace").decode(encoding))
