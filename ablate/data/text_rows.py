"""Rows of a text stream: packed, ordered, and read at random.

A document is cut into chunks of at most `context_length - 1` tokens. Each epoch puts the chunks into an
order of its own, and the chunks, each with BOS in front, form one endless virtual stream over all
epochs. A row is a BOS and the next `context_length - 1` places of it; where those begin with a BOS of
their own, the row ends with one place of padding instead. So row n is a function of (seed, n) alone,
every token of an epoch is in exactly one row, and nothing is dropped at the end of an epoch.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.data.token_file import TokenFile
from ablate.seeding import stream_rng

Ints = NDArray[np.int64]


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
    labels[:, :-1][same] = tokens[:, 1:][same]
    return labels


def positions_within(starts: NDArray[np.bool_]) -> Ints:
    """Distance of every place from the last start at or before it in its row."""
    place = np.arange(starts.shape[1])
    return place - np.maximum.accumulate(np.where(starts, place, 0), axis=1)


@dataclass(frozen=True)
class _Epoch:
    """One epoch's order of chunks."""

    order: Ints
    ends: Ints
    """Where each chunk in order ends in the epoch's virtual stream."""


@dataclass
class TextRows:
    """The rows of one text stream for one seed."""

    tokens: TokenFile
    context_length: int
    bos: int
    pad: int
    seed: int
    name: str
    """The stream's name; its order is seeded by `order/<name>`."""
    _epochs: dict[int, _Epoch] = field(default_factory=dict, repr=False)

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

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_epochs": {}}

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            order = stream_rng(self.seed, f"order/{self.name}", epoch).permutation(len(self._lengths))
            while len(self._epochs) > 1:  # a batch touches two epochs at most, unless an epoch is tiny
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = _Epoch(order, np.cumsum(self._lengths[order]))
        return self._epochs[epoch]

    def _lookup(self, place: Ints) -> tuple[Ints, Ints]:
        """Token-file index of each virtual place (-1 for a BOS) and a number that identifies its chunk."""
        epochs, within = np.divmod(place, self.places_per_epoch)
        index = np.empty_like(place)
        chunk = np.empty_like(place)
        for epoch in range(int(epochs.min()), int(epochs.max()) + 1):
            here = slice(None) if epochs.min() == epochs.max() else epochs == epoch
            order = self._epoch(epoch)
            rank = np.searchsorted(order.ends, within[here], side="right")
            chosen = order.order[rank]
            offset = within[here] - (order.ends[rank] - self._lengths[chosen])
            index[here] = np.where(offset == 0, -1, self._starts[chosen] + offset - 1)
            chunk[here] = rank + epoch * len(self._lengths)
        return index, chunk

    def rows(self, numbers: Ints) -> RowArrays:
        """The rows with these numbers, in this order."""
        length = self.context_length
        first = numbers.astype(np.int64)[:, None] * (length - 1)
        own_bos = self._lookup(first)[0] == -1
        # A row that begins inside a chunk gets a BOS in place 0; its stream begins at place 1.
        shift = np.where(own_bos, 0, 1)
        place = np.maximum(first + np.arange(length)[None, :] - shift, first)
        index, chunk = self._lookup(place)
        tokens = self.tokens.tokens[np.maximum(index, 0)].astype(np.int64)
        starts = index == -1
        starts[:, 0] = True
        tokens[starts] = self.bos
        document = np.cumsum(starts, axis=1) - 1
        padding = own_bos[:, 0]
        tokens[padding, -1] = self.pad
        document[padding, -1] = NO_DOCUMENT
        starts[padding, -1] = True
        return RowArrays(tokens, label_next(tokens, document), document, positions_within(starts))
