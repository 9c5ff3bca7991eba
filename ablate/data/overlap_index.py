"""The n-grams of test items, and where they occur in other text: exactly, in time linear in that text.

Words of the items are numbered; a word that no item has is 0, so memory grows with the items and not with the
training text. An n-gram is found by a polynomial hash of its words' numbers and then compared word by word:
no hash decides a match.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ablate.data.overlap_words import words_of

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_GOLDEN = 0x9E3779B97F4A7C15
_FACTOR = np.uint64(0xD1342543DE82EF95)
_CHUNK = 1 << 18
"""N-grams that are compared word by word at a time."""


class GramIndex:
    """The n-grams of some texts.

    A text of ``ngram`` words or more has all its runs of so many words; one with fewer, but at least
    ``shortest``, has the run of all its words; a shorter one has none, as too little to tell by.
    """

    def __init__(self, texts: Sequence[str], ngram: int, shortest: int) -> None:
        self._numbers: dict[str, int] = {}
        self.words, self.starts = self._numbered(texts)
        """int32[words]: all words of the texts by number, and int64[texts + 1]: where each text begins."""
        sizes = np.diff(self.starts)
        self.too_short: NDArray[np.bool_] = sizes < min(shortest, ngram)
        """bool[texts]: whether a text has no n-gram."""
        self.lengths: NDArray[np.int32] = _gram_lengths(self.starts, ngram, shortest)
        """int32[words]: words of the n-gram that begins at each word; 0 where none does."""
        self.gram: Ints = np.full(len(self.words), -1, dtype=np.int64)
        """int64[words]: number of the n-gram that begins at each word, equal n-grams having one number."""
        self.count = 0
        """Number of different n-grams."""
        self._tables: dict[int, _Table] = {}
        salt = 0
        while not self._number_grams(salt):
            salt += 1

    def _numbered(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], Ints]:
        starts, found = [0], []
        for text in texts:
            own = words_of(text)
            for word in own:
                self._numbers.setdefault(word, len(self._numbers) + 1)
            found.append(self.number(own))
            starts.append(starts[-1] + len(own))
        words = np.concatenate(found) if found else np.zeros(0, dtype=np.int32)
        return words, np.array(starts, dtype=np.int64)

    def number(self, words: Sequence[str]) -> NDArray[np.int32]:
        """The number of each word; 0 for one that no item has."""
        known = self._numbers.get
        return np.array([known(word, 0) for word in words], dtype=np.int32)

    def _number_grams(self, salt: int) -> bool:
        """Number all n-grams and make their tables; False if two different ones share a hash."""
        self._mixed = _scattered(len(self._numbers) + 1, salt)
        self._tables, self.count = {}, 0
        for length, hashes in _rolling(self._mixed[self.words], _used(self.lengths)):
            places = np.flatnonzero(self.lengths == length)
            unique, first, inverse = np.unique(hashes[places], return_index=True, return_inverse=True)
            if not _equal(self.words, places, self.words, places[first][inverse], length):
                return False
            self.gram[places] = self.count + inverse
            self._tables[length] = _Table(unique, places[first], self.count)
            self.count += len(unique)
        return True

    def find(self, documents: Sequence[NDArray[np.int32]]) -> tuple[Ints, Ints]:
        """Every n-gram of the index that occurs in ``documents``: (its number, which document), each pair
        once, sorted by document and then by number.

        Args:
            documents: words of each as `number` gives them.
        """
        # A 0 stands between documents: no n-gram of the index holds it.
        stream = np.concatenate([np.zeros(1, dtype=np.int32), *_spaced(documents)])
        ends = np.cumsum([len(words) + 1 for words in documents])
        grams, places = [], []
        for length, hashes in _rolling(self._mixed[stream], list(self._tables)):
            table = self._tables[length]
            at = np.flatnonzero(table.may_hold(hashes))
            row = np.minimum(np.searchsorted(table.hashes, hashes[at]), len(table.hashes) - 1)
            same = table.hashes[row] == hashes[at]
            at, row = at[same], row[same]
            same = _same_words(stream, at, self.words, table.places[row], length)
            grams.append(table.offset + row[same])
            places.append(at[same])
        if not grams:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        document = np.searchsorted(ends, np.concatenate(places), side="left")
        pairs = np.unique(document * np.int64(self.count) + np.concatenate(grams))
        return pairs % self.count, pairs // self.count


class _Table:
    """The n-grams of one length: sorted hashes, one place of each, and a filter that knows most others."""

    def __init__(self, hashes: Hashes, places: Ints, offset: int) -> None:
        self.hashes, self.places, self.offset = hashes, places, offset
        bits = min(26, max(12, len(hashes).bit_length() + 3))
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, dtype=bool)
        self._filter[hashes >> self._shift] = True

    def may_hold(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Whether each of ``hashes`` may be in the table: a no is certain."""
        found: NDArray[np.bool_] = self._filter[hashes >> self._shift]
        return found


def _gram_lengths(starts: Ints, ngram: int, shortest: int) -> NDArray[np.int32]:
    sizes = np.diff(starts)
    size = np.repeat(sizes, sizes)
    place = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
    whole = (size < ngram) & (size >= shortest) & (place == 0)
    return np.where(place <= size - ngram, ngram, np.where(whole, size, 0)).astype(np.int32)


def _used(lengths: NDArray[np.int32]) -> list[int]:
    return [int(length) for length in np.unique(lengths) if length]


def _scattered(count: int, salt: int) -> Hashes:
    """The finaliser of SplitMix64 (Steele et al. 2014) of 0 .. ``count`` - 1, other for each ``salt``."""
    with np.errstate(over="ignore"):
        mixed = np.arange(count, dtype=np.uint64) + np.uint64(_GOLDEN * (salt + 1) % (1 << 64))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _rolling(values: Hashes, lengths: Sequence[int]) -> Iterator[tuple[int, Hashes]]:
    """For each of ``lengths``, in rising order, the hash of every run of so many ``values``."""
    hashes = values.copy()
    for length in range(1, max(lengths, default=0) + 1):
        if length > 1:
            hashes = hashes[:-1] * _FACTOR
            hashes += values[length - 1 :]
        if length in lengths:
            # The high bits of a product mix best; they are what the filter reads.
            yield length, hashes


def _spaced(documents: Sequence[NDArray[np.int32]]) -> Iterator[NDArray[np.int32]]:
    gap = np.zeros(1, dtype=np.int32)
    return chain.from_iterable((words, gap) for words in documents)


def _same_words(
    left: NDArray[np.int32], at: Ints, right: NDArray[np.int32], place: Ints, length: int
) -> NDArray[np.bool_]:
    """Whether the ``length`` words of ``left`` from each of ``at`` are those of ``right`` from ``place``."""
    same = np.ones(len(at), dtype=bool)
    steps = np.arange(length)
    for begin in range(0, len(at), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        same[part] = (left[at[part, None] + steps] == right[place[part, None] + steps]).all(axis=1)
    return same


def _equal(left: NDArray[np.int32], at: Ints, right: NDArray[np.int32], place: Ints, length: int) -> bool:
    return bool(_same_words(left, at, right, place, length).all())
