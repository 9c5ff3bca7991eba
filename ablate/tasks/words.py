"""Word lists: which bytes of a text, and which items of a task, belong to the words of a list.

A word is a run of letters, marks and digits, with apostrophes inside it; it is compared case-folded and in
composed form (NFC). Its bytes are its own and those of the one space before it, if there is one: a byte-level
BPE writes the two as one token, and a rule that left the space to nobody would take a larger share from short
words than from long ones. A form is of a list if the list has it: `dogs` is not found under `dog`. Only a
possessive is: `dog's`, unless listed itself, counts whole where `dog` does. Nothing else is stemmed.

The bits of a token are spread evenly over its bytes. Tokens that share a character are taken together.
"""

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ablate.tasks.base import MetricInfo
from ablate.tasks.errors import TaskError

WORD_RULES = 1
"""Raised whenever the same lists would select other bytes; part of the digest of a task with word lists."""

OTHER = "other"
"""Bytes of the words that no list has."""
BOTH, NEITHER = "both", "neither"
"""Items with words of more than one list, and of none."""

LIST_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
MAX_LIST_BYTES = 16 << 20
MOST_LISTS = 100

_SHOWN = 8
"""Words that a message names at most."""

# The closed classes of English (determiners, pronouns, prepositions, conjunctions, auxiliaries, particles)
# and their contractions; by form, so `may` the month and `like` the verb are among them.
_FUNCTION_WORDS = """
a an the this that these those some any no every each either neither all both half several few many much
more most less least little enough such what which whose another other others i me my mine myself you your
yours yourself yourselves he him his himself she her hers herself it its itself we us our ours ourselves
they them their theirs themselves one ones oneself who whom whoever whomever whichever whatever somebody
someone something anybody anyone anything everybody everyone everything nobody none nothing about above
across after against along alongside amid among amongst around as at before behind below beneath beside
besides between beyond by despite down during except for from in inside into like near of off on onto out
outside over past per since through throughout till to toward towards under underneath unlike until unto up
upon versus via with within without and but or nor so yet if because although though unless whereas while
whilst whether than lest once when whenever where wherever why how am is are was were be been being have has
had having do does did doing done will would shall should can could may might must ought cannot not there
i'm you're he's she's it's we're they're that's there's here's who's what's where's how's let's i've you've
we've they've who've i'd you'd he'd she'd it'd we'd they'd who'd i'll you'll he'll she'll it'll we'll
they'll that'll who'll isn't aren't wasn't weren't haven't hasn't hadn't don't doesn't didn't won't wouldn't
shan't shouldn't can't couldn't mayn't mightn't mustn't needn't oughtn't ain't
"""

BUILTIN: dict[str, frozenset[str]] = {"builtin:function": frozenset(_FUNCTION_WORDS.split())}
"""What a recipe may name in the place of a file: English function words."""


@dataclass(frozen=True)
class WordLists:
    """Disjoint lists of words, in the recipe's order."""

    words: dict[str, frozenset[str]]
    """Name to words, folded (see `folded`). No word is in two lists."""

    @functools.cached_property
    def place(self) -> dict[str, int]:
        """Word to the place of its list, from 0."""
        return {word: place for place, words in enumerate(self.words.values()) for word in words}

    @property
    def names(self) -> list[str]:
        return list(self.words)

    @property
    def classes(self) -> list[str]:
        """Names of the classes of `byte_classes`, from 1: the lists, then `OTHER`."""
        return [*self.words, OTHER]

    @functools.cached_property
    def _seen(self) -> dict[str, int | None]:
        return {}

    def list_of(self, word: str) -> int | None:
        """Place of the list that has ``word`` as it stands in a text; None if none has it."""
        if word not in self._seen:
            whole = folded(word)
            found = self.place.get(whole)
            self._seen[word] = self.place.get(whole.removesuffix("'s")) if found is None else found
        return self._seen[word]

    def byte_classes(self, text: str) -> NDArray[np.int16]:
        """Class int16[bytes] of every byte of ``text`` in UTF-8: 0 outside words, else the place from 1 in
        `classes`."""
        found = np.zeros(len(text.encode("utf-8")), dtype=np.int16)
        at = byte = 0
        for start, stop in word_spans(text):
            place = self.list_of(text[start:stop])
            first = byte + len(text[at:start].encode("utf-8"))
            byte = first + len(text[start:stop].encode("utf-8"))
            at = stop
            opens = first - 1 if start and text[start - 1] == " " else first
            found[opens:byte] = len(self.words) + 1 if place is None else place + 1
        return found

    def class_bytes(self, text: str) -> list[int]:
        """UTF-8 bytes of ``text`` in each of `classes`."""
        counts = np.bincount(self.byte_classes(text), minlength=len(self.words) + 2)
        return [int(count) for count in counts[1:]]

    def group(self, text: str) -> str:
        """The list whose words ``text`` holds, `BOTH` if it holds words of more than one, `NEITHER` if of
        none."""
        places = {self.list_of(text[start:stop]) for start, stop in word_spans(text)} - {None}
        if len(places) > 1:
            return BOTH
        return self.names[next(place for place in places if place is not None)] if places else NEITHER


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and stop, in characters, of each word of ``text``."""
    for match in _word_pattern().finditer(text):
        yield match.span()


def folded(word: str) -> str:
    """``word`` as it is compared: case-folded, composed, with a straight apostrophe."""
    return unicodedata.normalize("NFC", word.replace("\u2019", "'").casefold())


@functools.cache
def _word_pattern() -> re.Pattern[str]:
    # `\w` lacks combining marks, which would cut a decomposed or Indic word in two; and has the underscore,
    # which marks emphasis in plain text.
    marks = "".join(f"{chr(first)}-{chr(last)}" for first, last in _mark_ranges())
    part = rf"[^\W_]++(?:[{marks}]++[^\W_]*+)*+"
    return re.compile(rf"{part}(?:['\u2019]{part})*+")


def _mark_ranges() -> list[tuple[int, int]]:
    """First and last code points of every stretch of combining marks."""
    found: list[tuple[int, int]] = []
    for point in range(0x300, sys.maxunicode + 1):
        if unicodedata.category(chr(point)).startswith("M"):
            first = found.pop()[0] if found and found[-1][1] == point - 1 else point
            found.append((first, point))
    return found


def check_words(words: Mapping[str, str]) -> None:
    """Refuse a setting `words` that no file could mend.

    Raises:
        TaskError: a name is unusable or reserved, a path is empty, or a built-in list is unknown.
    """
    if len(words) > MOST_LISTS:
        raise TaskError(f"words names {len(words)} lists; at most {MOST_LISTS}")
    for name, source in words.items():
        if not LIST_NAME.fullmatch(name):
            raise TaskError(f"words: the list name {name!r} is not letters, digits, `_`, `-`; at most 100")
        if name in (OTHER, BOTH, NEITHER):
            raise TaskError(f"words: the list name {name!r} stands for words outside the lists; take another")
        if not source.strip():
            raise TaskError(f"words.{name} is empty; give a file of words, or one of {', '.join(BUILTIN)}")
        if source.partition(":")[0] == "builtin" and source not in BUILTIN:
            raise TaskError(f"words.{name} is {source!r}; built in: {', '.join(BUILTIN)}")


def read_word_lists(task: str, words: Mapping[str, str]) -> WordLists | None:
    """The lists that the setting ``words`` of ``task`` names; None without any.

    A file is UTF-8 text with one word a line; what follows a `#` is a comment.

    Raises:
        TaskError: a file cannot be read or holds no words, a line is not one word, or a word is in two
            lists.
    """
    if not words:
        return None
    lists = {name: BUILTIN.get(source) or _read_list(task, name, source) for name, source in words.items()}
    names = list(lists)
    for place, name in enumerate(names):
        for other in names[:place]:
            if shared := lists[name] & lists[other]:
                raise TaskError(
                    f"task {task!r}: words.{other} and words.{name} share {_some(shared)}; a word's bits are "
                    "counted once: take these out of one of the two"
                )
    return WordLists(lists)


def _read_list(task: str, name: str, source: str) -> frozenset[str]:
    where = f"task {task!r}: words.{name}: {source}"
    path = Path(source)
    try:
        if not path.is_file():
            raise TaskError(f"{where}: no such file; give UTF-8 text with one word a line")
        if path.stat().st_size > MAX_LIST_BYTES:
            raise TaskError(f"{where}: larger than {MAX_LIST_BYTES >> 20} MiB; a word list is shorter")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TaskError(f"{where}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{where}: not UTF-8 (byte {error.start}); convert it, for instance with iconv"
        ) from error
    found = set()
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if not _word_pattern().fullmatch(word):
            raise TaskError(
                f"{where}:{number}: {word!r:.60} is not one word (letters and digits, apostrophes inside); "
                "one word a line, other columns and phrases of several words removed"
            )
        found.add(folded(word))
    if not found:
        raise TaskError(f"{where}: holds no words; write one a line or leave the list out")
    return frozenset(found)


def _some(words: frozenset[str]) -> str:
    few = ", ".join(repr(word) for word in sorted(words)[:_SHOWN])
    return few if len(words) <= _SHOWN else f"{len(words)} words, such as {few}"


def digest_settings(settings: dict[str, Any], lists: WordLists | None) -> dict[str, Any]:
    """``settings`` of a task for its digest: the lists by content, and nothing said where there are none,
    so that a task without word lists is what it was before there were any."""
    rest = {key: value for key, value in settings.items() if key != "words"}
    if lists is None:
        return rest
    held = {name: sorted(words) for name, words in lists.words.items()}
    return rest | {"words": [WORD_RULES, held]}


@runtime_checkable
class Decodes(Protocol):
    """A tokenizer that gives text back."""

    def decode(self, ids: Sequence[int]) -> str: ...


class TokenBytes:
    """How many bytes of a text each of its tokens stands for, learned by decoding them."""

    def __init__(self, tokenizer: Any) -> None:
        if not isinstance(tokenizer, Decodes):
            raise TaskError("words: the tokenizer has no `decode`, so the bytes of its tokens are unknown")
        self._decode = tokenizer.decode
        self._alone: dict[int, str] = {}

    def runs(self, text: str, tokens: Sequence[int], where: str) -> list[tuple[int, int]]:
        """(tokens, bytes) of each run of ``tokens``, whose bytes add up to those of ``text``.

        A run is one token, or as many as it takes to hold whole characters and a byte at least.

        Raises:
            TaskError: the tokens do not give ``text`` back.
        """
        pieces = [self._piece(token) for token in tokens]
        # A character that is split over tokens decodes to more characters than one, so equality proves
        # that none is.
        if all(pieces) and "".join(pieces) == text:
            return [(1, len(piece.encode("utf-8"))) for piece in pieces]
        return self._split(text, tokens, where)

    def _piece(self, token: int) -> str:
        if token not in self._alone:
            self._alone[token] = self._decode([token])
        return self._alone[token]

    def _split(self, text: str, tokens: Sequence[int], where: str) -> list[tuple[int, int]]:
        """As `runs`, with each run decoded after the one before it: some tokenizers drop the space that
        opens a text."""
        found: list[tuple[int, int]] = []
        before: list[int] = []
        run: list[int] = []
        said, at = "", 0
        for place, token in enumerate(tokens):
            run.append(token)
            piece = self._decode([*before, *run])[len(said) :]
            if not at and piece.startswith(" ") and not text.startswith(piece):
                piece = piece[1:]  # a space that the tokenizer puts before every text
            # An unfinished character decodes to U+FFFD; one in the text itself only makes a longer run.
            if place + 1 < len(tokens) and (not piece or piece.endswith("\ufffd")):
                continue
            if not text.startswith(piece, at):
                break
            if piece or not found:
                found.append((len(run), len(piece.encode("utf-8"))))
            else:
                found[-1] = (found[-1][0] + len(run), found[-1][1])
            at += len(piece)
            before, run = run, []
            said = self._decode(before)
        if at != len(text) or run:
            raise TaskError(
                f"{where}: the tokenizer does not give the text back from character {at} on "
                f"({text[at : at + 20]!r}), so words cannot be found among its tokens; use a lossless "
                "tokenizer, or write the text in the form (NFC) that it normalises to"
            )
        return found


def bits_by_class(
    classes: NDArray[np.int16], runs: Sequence[tuple[int, int]], bits: Sequence[float], count: int
) -> list[float]:
    """Bits of the bytes of each class 1 .. ``count`` - 1, those of a run spread evenly over its bytes.

    Args:
        classes: class int16[bytes] of each byte, below ``count``.
        runs: (tokens, bytes) of each run; the bytes add up to ``len(classes)``.
        bits: bits of each token.
    """
    sizes = np.array([size for _, size in runs])
    starts = np.cumsum([0, *(tokens for tokens, _ in runs)])[:-1]
    paid = np.add.reduceat(np.asarray(bits, dtype=np.float64), starts)
    owner = np.repeat(np.arange(len(runs)), sizes)
    held = np.bincount(owner * count + classes, minlength=len(runs) * count).reshape(len(runs), count)
    # The share first: a run that lies in one class has share 1.0, and its bits stay what they are.
    spread = paid[:, None] * (held / sizes[:, None])
    return [fsum(spread[:, place]) for place in range(1, count)]


def item_groups(task: str, lists: WordLists | None, texts: Sequence[str]) -> list[str]:
    """The group of each item by the words of its text (see `WordLists.group`); empty without lists.

    Raises:
        TaskError: no item has words of a list.
    """
    if lists is None:
        return []
    seen = {lists.list_of(text[start:stop]) for text in set(texts) for start, stop in word_spans(text)}
    for place, name in enumerate(lists.names):
        if place not in seen:
            raise TaskError(missing_words(task, name, "item"))
    return [lists.group(text) for text in texts]


def missing_words(task: str, name: str, where: str) -> str:
    """What to say of a list that selects nothing."""
    return (
        f"task {task!r}: no {where} holds a word of words.{name}, so there is nothing to score; "
        "check the list's language and forms (`dogs` is not found under `dog`), or leave it out"
    )


def group_metrics(metrics: Mapping[str, MetricInfo], groups: Sequence[str]) -> list[str]:
    """`metric.group` for every metric and every group that has items; groups in alphabetical order."""
    return [f"{metric}.{group}" for metric in metrics for group in sorted(set(groups))]
