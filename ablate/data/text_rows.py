"""Rows of a text stream: packed, ordered, and read at random.

A document is cut into chunks of at most `context_length - 1` tokens. Each epoch puts the chunks into an
order of its own, and the chunks, each with BOS in front, form one endless virtual stream over all
epochs. A row is a BOS and the next `context_length - 1` places of it; where those begin with a BOS of
their own, the row ends with one place of padding instead. So row n is a function of (seed, n) alone,
every token of an epoch is in exactly one row, and nothing is dropped at the end of an epoch.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.seeding import stream_rng

Ints = NDArray[np.int64]


class Tokens(Protocol):
    """Documents as `ablate.data.token_file.TokenFile` keeps them."""

    @property
    def tokens(self) -> NDArray[Any]:
        """Unsigned integers [tokens]: each document's tokens and an end token."""
        ...

    @property
    def offsets(self) -> NDArray[Any]:
        """int64[documents + 1]: where each document begins."""
        ...


@dataclass(frozen=True)
class RowArrays:
    """Rows as arrays, each int64[rows, context_length]; see `ablate.data.batch.Batch`."""

    tokens: Ints
    labels: Ints
    document: Ints
    position: Ints


def label_next(tokens: Ints, document: Ints) -> Ints:
    """Labels: the following token where it belongs to the same document, else `UNSCORED`."""
    labels = np.full_like(tokens, UNSCORED)
    same = (document[:, 1:] == document[:, :-1]) & (document[:, 1:] != NO_DOCUMENT)
    np.copyto(labels[:, :-1], tokens[:, 1:], where=same)
    return labels


@dataclass(frozen=True)
class _Span:
    """The chunks of one or more epochs in the order in which they are read."""

    begins: int
    """Place in the virtual stream where the span begins."""
    order: Ints
    """Chunk numbers."""
    ends: Ints
    """Where each chunk ends, counted from ``begins``."""


@dataclass(frozen=True)
class _Pieces:
    """The parts of chunks that fill some rows, one after another."""

    row: Ints
    number: Ints
    """How many pieces of the same row come before."""
    length: Ints
    source: Ints
    """Index of the first place in the token file; for a piece that begins with its BOS, one less."""
    has_bos: NDArray[np.bool_]


@dataclass
class TextRows:
    """The rows of one text stream for one seed."""

    tokens: Tokens
    context_length: int
    bos: int
    pad: int
    seed: int
    name: str
    """The stream's name; its order is seeded by `order/<name>`."""
    _spans: dict[tuple[int, int], _Span] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        offsets = np.asarray(self.tokens.offsets, dtype=np.int64)
        capacity = self.context_length - 1
        pieces = -(-np.diff(offsets) // capacity)
        first = np.repeat(np.cumsum(pieces) - pieces, pieces)
        within = np.arange(pieces.sum()) - first
        self._starts = np.repeat(offsets[:-1], pieces) + within * capacity
        ends = np.minimum(self._starts + capacity, np.repeat(offsets[1:], pieces))
        self._lengths = 1 + ends - self._starts
        self.places_per_epoch = int(self._lengths.sum())
        """Places of one epoch in the virtual stream: tokens, and a BOS for every chunk."""

    @property
    def tokens_per_row(self) -> float:
        """Text positions of an average row: all of them, less the padding of rows that open with a BOS."""
        return self.context_length - len(self._lengths) / self.places_per_epoch

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_spans": {}}

    def _span(self, first: int, last: int) -> _Span:
        """The chunks of epochs ``first`` to ``last``."""
        if (first, last) not in self._spans:
            orders = [
                stream_rng(self.seed, f"order/{self.name}", epoch).permutation(len(self._lengths))
                for epoch in range(first, last + 1)
            ]
            order = np.concatenate(orders)
            if len(self._spans) > 1:
                self._spans.clear()
            self._spans[first, last] = _Span(
                first * self.places_per_epoch, order, np.cumsum(self._lengths[order])
            )
        return self._spans[first, last]

    def _pieces(self, numbers: Ints) -> _Pieces:
        """What fills the ``context_length - 1`` places of each row."""
        places = self.context_length - 1
        begin = numbers.astype(np.int64) * places
        last_place = int(begin.max()) + places - 1
        span = self._span(int(begin.min()) // self.places_per_epoch, last_place // self.places_per_epoch)
        begin = begin - span.begins
        first = np.searchsorted(span.ends, begin, side="right")
        last = np.searchsorted(span.ends, begin + places - 1, side="right")
        count = last - first + 1
        row = np.repeat(np.arange(len(numbers)), count)
        number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        rank = first[row] + number
        chunk = span.order[rank]
        chunk_begin = span.ends[rank] - self._lengths[chunk]
        piece_begin = np.maximum(chunk_begin, begin[row])
        piece_end = np.minimum(span.ends[rank], begin[row] + places)
        offset = piece_begin - chunk_begin
        return _Pieces(row, number, piece_end - piece_begin, self._starts[chunk] + offset - 1, offset == 0)

    def rows(self, numbers: Ints) -> RowArrays:
        """The rows with these numbers, in this order."""
        pieces = self._pieces(numbers)
        shape = (len(numbers), self.context_length - 1)
        starts = np.cumsum(pieces.length) - pieces.length
        place = np.arange(shape[0] * shape[1])
        index = place + np.repeat(pieces.source - starts, pieces.length)
        own_bos = starts[pieces.has_bos]
        index[own_bos] = 0
        filled = self.tokens.tokens[index].astype(np.int64)
        filled[own_bos] = self.bos
        # A piece without a BOS of its own opens its row, after the BOS that is put there.
        position = place - np.repeat(starts - ~pieces.has_bos, pieces.length)
        document = np.repeat(pieces.number, pieces.length)
        return self._framed(
            filled.reshape(shape),
            document.reshape(shape),
            position.reshape(shape),
            pieces.has_bos[pieces.number == 0],
        )

    def _framed(self, filled: Ints, document: Ints, position: Ints, opens: NDArray[np.bool_]) -> RowArrays:
        """Put a BOS before each row's places, or padding after those that open with one (``opens``)."""
        shape = (len(filled), self.context_length)
        framed = RowArrays(*(np.empty(shape, dtype=np.int64) for _ in range(4)))
        for out, values, front, back in (
            (framed.tokens, filled, self.bos, self.pad),
            (framed.document, document, 0, NO_DOCUMENT),
            (framed.position, position, 0, 0),
        ):
            out[:, 0], out[:, 1:] = front, values
            out[opens, :-1], out[opens, -1] = values[opens], back
        framed.labels[:] = label_next(framed.tokens, framed.document)
        return framed
