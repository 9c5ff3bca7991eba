"""Words as overlap is counted in: what is left of a text without case, punctuation and spacing.

Test items and training text are read by the same function. The rule is that of Brown et al. 2020 (GPT-3,
appendix C): lower case, no punctuation. Apostrophes are dropped (`don't` is `dont`), as are signs that nobody
sees within a word (soft hyphens, joiners, byte order marks); every other sign parts words. A script that puts
no spaces between words gives one word a clause: an n-gram there is longer than it says.
"""

import re
import unicodedata

_DROPPED = str.maketrans("", "", "'\u2018\u2019\u201b\u02bc\u00ad\u200c\u200d\u2060\ufeff")
"""Apostrophes, and the soft hyphen, zero-width (non-)joiner, word joiner and byte order mark. A zero-width
space parts words, as it does in the scripts that use it."""
_ASCII = bytes(byte if byte < 128 and chr(byte).isalnum() else ord(" ") for byte in range(256))


def words_of(text: str) -> list[str]:
    """The words of ``text`` in order: runs of letters, marks and digits, case-folded, in the form NFKC."""
    if text.isascii():
        return text.lower().encode("ascii").translate(_ASCII, b"'").decode("ascii").split()
    return _words(unicodedata.normalize("NFKC", text).casefold().translate(_DROPPED))


def _words(text: str) -> list[str]:
    # `\w` holds no combining marks, which vowels are in many scripts.
    marks = "".join(sorted(sign for sign in set(text) if unicodedata.category(sign).startswith("M")))
    pattern = rf"(?:[^\W_]|[{marks}])+" if marks else r"[^\W_]+"
    return re.findall(pattern, text)
