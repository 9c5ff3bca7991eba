"""Rows of a media stream: documents of one medium and one caption, packed, ordered, and read at random."""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.data.controls import derangement
from ablate.data.media import CaptionTokens
from ablate.data.text_rows import Ints, RowArrays
from ablate.recipe.schema import Control, Order
from ablate.seeding import stream_rng, stream_seed

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): a bijection that scatters every bit."""
    with np.errstate(over="ignore"):
        mixed = values + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass(frozen=True)
class Items:
    """The documents of some media rows, before the media are read."""

    row: Ints
    """int64[items]: index of the row among those asked for."""
    sample: Ints
    """int64[items]: the sample whose document this is; its caption is in the row."""
    shown: Ints
    """int64[items]: the sample whose media fill the slots: another one in a `shuffled` control."""
    caption: Ints
    """int64[items]: index of the caption of this visit."""
    text_first: NDArray[np.bool_]
    """bool[items]: whether the caption precedes the media."""


@dataclass(frozen=True)
class MediaRowArrays:
    """Media rows, and where their media go."""

    rows: RowArrays
    slots: Ints
    """int64[items, tokens_per_item]: flat places in these rows."""
    captions_cut: int
    """Captions that were longer than the row and lost their end."""


@dataclass(frozen=True)
class _Epoch:
    order: Ints
    caption: Ints
    """Per sample: index of the caption of this visit."""
    text_first: NDArray[np.bool_]
    row_starts: list[int]
    """Rank in `order` at which each row begins, and the end."""
    shown: Ints


@dataclass
class MediaRows:
    """The rows of one media stream for one seed and control."""

    captions: CaptionTokens
    keys: NDArray[np.uint64]
    """uint64[samples]: digest of each sample's key."""
    media_digests: NDArray[np.uint64]
    context_length: int
    tokens_per_item: int
    items_per_row: int
    """Most items in a row; 0 means as many as the median caption lets fit."""
    order: Order
    bos: int
    pad: int
    seed: int
    name: str
    """The stream's name; its order is seeded by `order/<name>`."""
    control: Control | None = None
    _epochs: list[_Epoch] = field(default_factory=list, repr=False)
    _row_ends: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if self.tokens_per_item + 2 > self.context_length:
            raise ValueError(
                f"stream {self.name!r}: an item takes {self.tokens_per_item} positions and a caption at "
                f"least one, but a row has {self.context_length}; raise model.context_length or use "
                "larger patches"
            )
        self._caption_lengths = np.diff(np.asarray(self.captions.offsets, dtype=np.int64))
        self._room = self.context_length - 1 - self.tokens_per_item
        if not self.items_per_row:
            median = float(np.median(np.minimum(self._caption_lengths, self._room)))
            self.items_per_row = max(1, int(self.context_length / (1 + self.tokens_per_item + median)))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_epochs": [], "_row_ends": []}

    def _visit(self, epoch: int, purpose: str) -> NDArray[np.uint64]:
        """A 64-bit draw per sample from (seed, epoch, key): other samples don't move it."""
        return mix64(self.keys ^ np.uint64(stream_seed(self.seed, f"{purpose}/{self.name}", epoch)))

    def _plan(self, epoch: int) -> _Epoch:
        first = np.asarray(self.captions.first, dtype=np.int64)
        count = np.diff(first).astype(np.uint64)
        caption = first[:-1] + (self._visit(epoch, "caption") % count).astype(np.int64)
        if self.order == "mixed":
            text_first = (self._visit(epoch, "document") >> np.uint64(63)).astype(bool)
        else:
            text_first = np.full(len(count), self.order == "text_first")
        order = stream_rng(self.seed, f"order/{self.name}", epoch).permutation(len(count))
        length = 1 + self.tokens_per_item + np.minimum(self._caption_lengths[caption], self._room)
        ends = np.cumsum(length[order]).tolist()
        starts = [0]
        while starts[-1] < len(order):
            begin = starts[-1]
            before = ends[begin - 1] if begin else 0
            starts.append(min(bisect_right(ends, before + self.context_length), begin + self.items_per_row))
        shown = np.arange(len(count))
        if self.control == "shuffled":
            shown = derangement(self.media_digests, self.seed, self.name, epoch)
        return _Epoch(order, caption, text_first, starts, shown)

    def _locate(self, number: int) -> tuple[_Epoch, int]:
        """The epoch that row ``number`` belongs to, and its place in it. Epochs are planned when reached."""
        while not self._row_ends or number >= self._row_ends[-1]:
            plan = self._plan(len(self._epochs))
            self._epochs.append(plan)
            before = self._row_ends[-1] if self._row_ends else 0
            self._row_ends.append(before + len(plan.row_starts) - 1)
        epoch = bisect_right(self._row_ends, number)
        return self._epochs[epoch], number - (self._row_ends[epoch - 1] if epoch else 0)

    def mean_caption_tokens_per_row(self) -> float:
        """Caption positions (BOS and EOS included) of an average row of the first epoch."""
        self._locate(0)
        plan = self._epochs[0]
        kept = np.minimum(self._caption_lengths[plan.caption], self._room)
        return float((1 + kept).sum()) / (len(plan.row_starts) - 1)

    def mean_items_per_row(self) -> float:
        """Items in an average row of the first epoch."""
        self._locate(0)
        return len(self._epochs[0].order) / (len(self._epochs[0].row_starts) - 1)

    def items(self, numbers: Ints) -> Items:
        """The documents of the rows with these numbers, in order."""
        row: list[int] = []
        ranks: list[tuple[_Epoch, int]] = []
        for index, number in enumerate(numbers.tolist()):
            plan, place = self._locate(number)
            for rank in range(plan.row_starts[place], plan.row_starts[place + 1]):
                row.append(index)
                ranks.append((plan, int(plan.order[rank])))
        return Items(
            np.asarray(row, dtype=np.int64),
            np.asarray([sample for _, sample in ranks], dtype=np.int64),
            np.asarray([plan.shown[sample] for plan, sample in ranks], dtype=np.int64),
            np.asarray([plan.caption[sample] for plan, sample in ranks], dtype=np.int64),
            np.asarray([plan.text_first[sample] for plan, sample in ranks], dtype=bool),
        )

    def assemble(self, items: Items, rows: int, attended: NDArray[np.bool_]) -> MediaRowArrays:
        """Lay the documents out: BOS, media and caption in the order drawn, EOS.

        Every text token is scored from the place before it. Where the media are not attended
        (``attended`` bool[items] is False: a `captions_only` control, or a medium that did not decode)
        their places are padding, and the text after them is scored from the text before them; so the same
        tokens are scored, in the same places of the row, whatever becomes of the media.
        """
        shape = (rows, self.context_length)
        tokens = np.full(shape, self.pad, dtype=np.int64)
        labels = np.full(shape, UNSCORED, dtype=np.int64)
        document = np.full(shape, NO_DOCUMENT, dtype=np.int64)
        position = np.zeros(shape, dtype=np.int64)
        slots = np.zeros((len(items.row), self.tokens_per_item), dtype=np.int64)
        cut, at, previous = 0, 0, -1
        for item, row in enumerate(items.row.tolist()):
            at = at if row == previous else 0
            previous = row
            begin, end = (int(self.captions.offsets[items.caption[item] + extra]) for extra in (0, 1))
            cut += end - begin > self._room
            caption = self.captions.tokens[begin : min(end, begin + self._room)]
            text, media = self._places(at, len(caption), bool(items.text_first[item]))
            stop = at + 1 + self.tokens_per_item + len(caption)
            document[row, at:stop] = item
            position[row, at:stop] = np.arange(stop - at)
            tokens[row, at] = self.bos
            tokens[row, text] = caption
            before = text - 1
            if not attended[item]:
                document[row, media] = NO_DOCUMENT
                before = np.concatenate([[at], text[:-1]])
            labels[row, before] = caption
            slots[item] = row * self.context_length + media
            at = stop
        return MediaRowArrays(RowArrays(tokens, labels, document, position), slots, cut)

    def _places(self, at: int, caption_length: int, text_first: bool) -> tuple[Ints, Ints]:
        """Places of the caption's tokens and of the media in a document that begins at ``at``.

        With the text first, the caption's last token (its EOS) comes after the media.
        """
        lead = caption_length - 1 if text_first else 0
        media = np.arange(at + 1 + lead, at + 1 + lead + self.tokens_per_item)
        after = np.arange(media[-1] + 1, media[-1] + 1 + caption_length - lead)
        return np.concatenate([np.arange(at + 1, at + 1 + lead), after]), media
