"""Rows of a media stream: documents of media and text, packed, ordered, and read at random."""

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.data.captions import CaptionTokens
from ablate.data.controls import derangement
from ablate.data.interleaved import Pieces, Segment
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
class Medium:
    """One modality of a stream's documents."""

    name: str
    """Key in the batch: the stream's name, or `<stream>:<modality>` for a further modality."""
    tokens_per_item: int
    digests: NDArray[np.uint64]
    """uint64[items]: content digest of every item of the stream; copies share one."""


@dataclass(frozen=True)
class Shown:
    """The items of one modality in some rows, in the order of their documents."""

    document: Ints
    """int64[items]: index of the document among those of the rows."""
    item: Ints
    """int64[items]: the item whose place this is."""
    shown: Ints
    """int64[items]: the item that fills it: another one in a `shuffled` control."""


@dataclass(frozen=True)
class RowDocuments:
    """The documents of some media rows, before the media are read."""

    row: Ints
    """int64[documents]: index of the row among those asked for."""
    unit: Ints
    """int64[documents]: the sample, or the piece of an interleaved one."""
    epoch: Ints
    """int64[documents]."""
    segments: list[list[Segment]]
    """Per document, what follows its BOS. A medium's number counts the items of the document's modality."""
    media: dict[str, Shown]
    """Modality (see `Medium.name`) to its items."""


@dataclass(frozen=True)
class MediaRowArrays:
    """Media rows, and where their media go."""

    rows: RowArrays
    slots: dict[str, Ints]
    """Modality to int64[items, tokens_per_item]: flat places in these rows."""
    before: dict[str, Ints]
    """Modality to int64[items]: the last attended flat place before each item in its document."""
    captions_cut: int
    """Captions that were longer than the row and lost their end."""


@dataclass(frozen=True)
class _Epoch:
    order: Ints
    """Units in the order in which they are read."""
    caption: Ints
    """Per sample: index of the caption of this visit. Captioned documents only."""
    text_first: NDArray[np.bool_]
    row_starts: list[int]
    """Rank in `order` at which each row begins, and the end."""
    shown: dict[str, Ints]
    """Modality to the item that is shown in each item's place."""


@dataclass
class MediaRows:
    """The rows of one media stream for one seed and control.

    A document is BOS, then media and caption in the order drawn; with ``captions`` None it is BOS and the
    media alone; with ``pieces`` it is what they list.
    """

    captions: CaptionTokens | None
    keys: NDArray[np.uint64]
    """uint64[samples]: digest of each sample's key."""
    media: tuple[Medium, ...]
    context_length: int
    items_per_row: int
    """Most items of a modality in a row; 0 means as many as the median caption lets fit."""
    order: Order
    bos: int
    pad: int
    seed: int
    name: str
    """The stream's name; its order is seeded by `order/<name>`."""
    control: Control | None = None
    pieces: Pieces | None = None
    _epochs: list[_Epoch] = field(default_factory=list, repr=False)
    _row_ends: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.tokens_per_item = sum(medium.tokens_per_item for medium in self.media)
        """Media positions of one captioned document: all its modalities."""
        text = 0 if self.captions is None else 1
        if self.tokens_per_item + 1 + text > self.context_length:
            raise ValueError(
                f"stream {self.name!r}: an item takes {self.tokens_per_item} positions and a caption at "
                f"least one, but a row has {self.context_length}; raise model.context_length or use "
                "larger patches"
            )
        self._room = self.context_length - 1 - self.tokens_per_item
        # A refilled row has as many captions as fit; no caption is cut more than in the arm it mirrors.
        self._refilled = self.control == "captions_only_refill"
        self._caption_lengths: Ints = np.zeros(0, dtype=np.int64)
        if self.captions is not None:
            offsets: Ints = np.asarray(self.captions.offsets, dtype=np.int64)
            self._caption_lengths = offsets[1:] - offsets[:-1]
        if self.pieces is not None:
            self.items_per_row = self.pieces.most_items
        elif not self.items_per_row:
            self.items_per_row = self._items_that_fit()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_epochs": [], "_row_ends": []}

    def _items_that_fit(self) -> int:
        text = 0.0
        if self.captions is not None:
            text = float(np.median(np.minimum(self._caption_lengths, self._room)))
        return max(1, int(self.context_length / (1 + self.tokens_per_item + text)))

    @property
    def units(self) -> int:
        """What an epoch visits once: samples, or pieces of interleaved ones."""
        return len(self.keys) if self.pieces is None else len(self.pieces.segments)

    def _visit(self, epoch: int, purpose: str) -> NDArray[np.uint64]:
        """A 64-bit draw per sample from (seed, epoch, key): other samples don't move it."""
        return mix64(self.keys ^ np.uint64(stream_seed(self.seed, f"{purpose}/{self.name}", epoch)))

    def _plan(self, epoch: int) -> _Epoch:
        order = stream_rng(self.seed, f"order/{self.name}", epoch).permutation(self.units)
        caption = np.zeros(0, dtype=np.int64)
        if self.captions is not None and self.pieces is None:
            first = np.asarray(self.captions.first, dtype=np.int64)
            count = np.diff(first).astype(np.uint64)
            caption = first[:-1] + (self._visit(epoch, "caption") % count).astype(np.int64)
        if self.order == "mixed":
            text_first = (self._visit(epoch, "document") >> np.uint64(63)).astype(bool)
        else:
            text_first = np.full(len(self.keys), self.order == "text_first")
        shown = {medium.name: np.arange(len(medium.digests)) for medium in self.media}
        if self.control == "shuffled":
            # One derangement for all modalities: a clip still goes with its own sound.
            kin = [medium.digests for medium in self.media]
            if self.pieces is not None:
                kin.append(self.pieces.sample_of_item.astype(np.uint64))
            shown = dict.fromkeys(shown, derangement(kin, self.seed, self.name, epoch))
        return _Epoch(order, caption, text_first, self._packed(order, caption), shown)

    def _packed(self, order: Ints, caption: Ints) -> list[int]:
        """Rank at which each row begins, and the end: documents in order, as many as fit."""
        if self.pieces is not None:
            length, items = 1 + self.pieces.positions, self.pieces.items
        else:
            length = np.full(self.units, 1 + self.tokens_per_item, dtype=np.int64)
            if len(caption):
                length = length + np.minimum(self._caption_lengths[caption], self._room)
            items = np.ones(self.units, dtype=np.int64)
        if self._refilled:
            length, items = length - items * self.tokens_per_item, np.zeros_like(items)
        ends, item_ends = np.cumsum(length[order]).tolist(), np.cumsum(items[order]).tolist()
        starts = [0]
        while starts[-1] < len(order):
            begin = starts[-1]
            places, shown = (ends[begin - 1], item_ends[begin - 1]) if begin else (0, 0)
            end = min(
                bisect_right(ends, places + self.context_length),
                bisect_right(item_ends, shown + self.items_per_row),
            )
            if end == begin:
                raise ValueError(f"stream {self.name!r}: document {order[begin]} fits no row")
            starts.append(end)
        return starts

    def _locate(self, number: int) -> tuple[int, int]:
        """The epoch that row ``number`` belongs to, and its place in it. Epochs are planned when reached."""
        while not self._row_ends or number >= self._row_ends[-1]:
            plan = self._plan(len(self._epochs))
            self._epochs.append(plan)
            before = self._row_ends[-1] if self._row_ends else 0
            self._row_ends.append(before + len(plan.row_starts) - 1)
        epoch = bisect_right(self._row_ends, number)
        return epoch, number - (self._row_ends[epoch - 1] if epoch else 0)

    def documents(self, numbers: Ints) -> RowDocuments:
        """The documents of the rows with these numbers, in order."""
        row: list[int] = []
        unit: list[int] = []
        epochs: list[int] = []
        for index, number in enumerate(numbers.tolist()):
            epoch, place = self._locate(number)
            plan = self._epochs[epoch]
            for rank in range(plan.row_starts[place], plan.row_starts[place + 1]):
                row.append(index)
                unit.append(int(plan.order[rank]))
                epochs.append(epoch)
        segments = [self._segments(epoch, one) for epoch, one in zip(epochs, unit, strict=True)]
        media = {medium.name: self._shown(medium, unit, epochs) for medium in self.media}
        row_of, unit_of, epoch_of = (np.asarray(values, dtype=np.int64) for values in (row, unit, epochs))
        return RowDocuments(row_of, unit_of, epoch_of, segments, media)

    def _segments(self, epoch: int, unit: int) -> list[Segment]:
        """What follows the BOS of a document."""
        if self.pieces is not None:
            whole = self.pieces.segments[unit]
            return [segment for segment in whole if not segment.is_medium] if self._refilled else whole
        media = [Segment(unit, -1) for _ in self.media]
        if self.captions is None:
            return media
        plan = self._epochs[epoch]
        begin, end = (int(self.captions.offsets[plan.caption[unit] + extra]) for extra in (0, 1))
        end = min(end, begin + self._room)
        if self._refilled:
            return [Segment(begin, end)]
        # With the text first, the caption's last token (its EOS) comes after the media.
        lead = end - 1 if plan.text_first[unit] else begin
        return [Segment(begin, lead), *media, Segment(lead, end)]

    def _shown(self, medium: Medium, unit: list[int], epochs: list[int]) -> Shown:
        document: list[int] = []
        item: list[int] = []
        if not self._refilled:
            for index, one in enumerate(unit):
                own = [one]
                if self.pieces is not None:
                    own = [segment.begin for segment in self.pieces.segments[one] if segment.is_medium]
                document += [index] * len(own)
                item += own
        shown = [
            int(self._epochs[epochs[index]].shown[medium.name][one])
            for index, one in zip(document, item, strict=True)
        ]
        return Shown(*(np.asarray(values, dtype=np.int64) for values in (document, item, shown)))

    def mean_caption_tokens_per_row(self) -> float:
        """Text positions (BOS and EOS included) of an average row of the first epoch; 0 without captions."""
        if self.captions is None:
            return 0.0
        self._locate(0)
        plan = self._epochs[0]
        if self.pieces is not None:
            media = int(self.pieces.items.sum()) * self.tokens_per_item
            text = int(self.pieces.positions.sum()) - media + self.units
        else:
            text = self.units + int(np.minimum(self._caption_lengths[plan.caption], self._room).sum())
        return float(text) / (len(plan.row_starts) - 1)

    def mean_items_per_row(self) -> float:
        """Items of each modality in an average row of the first epoch."""
        self._locate(0)
        if self._refilled:
            return 0.0
        items = self.units if self.pieces is None else int(self.pieces.items.sum())
        return items / (len(self._epochs[0].row_starts) - 1)

    def assemble(
        self, found: RowDocuments, rows: int, attended: dict[str, NDArray[np.bool_]]
    ) -> MediaRowArrays:
        """Lay the documents out.

        Every text token is scored from the place before it. Where media are not attended
        (``attended[modality]`` bool[items] is False: a `captions_only` control, or a medium that does not
        decode) their places are padding, and the text after is scored from the last attended place before
        them; so the same tokens are scored, in the same places of the row, whatever becomes of the media.
        """
        shape = (rows, self.context_length)
        laid = RowArrays(
            np.full(shape, self.pad, dtype=np.int64),
            np.full(shape, UNSCORED, dtype=np.int64),
            np.full(shape, NO_DOCUMENT, dtype=np.int64),
            np.zeros(shape, dtype=np.int64),
        )
        counts = {medium.name: len(found.media[medium.name].item) for medium in self.media}
        slots = {
            medium.name: np.zeros((counts[medium.name], medium.tokens_per_item), dtype=np.int64)
            for medium in self.media
        }
        whole = MediaRowArrays(
            laid,
            slots,
            {name: np.zeros(count, dtype=np.int64) for name, count in counts.items()},
            self._cut(found),
        )
        placed = dict.fromkeys(slots, 0)
        at, previous = 0, -1
        for index, row in enumerate(found.row.tolist()):
            at = at if row == previous else 0
            previous = row
            at = self._lay(whole, found, index, row, at, placed, attended)
        return whole

    def _lay(
        self,
        whole: MediaRowArrays,
        found: RowDocuments,
        index: int,
        row: int,
        begin: int,
        placed: dict[str, int],
        attended: dict[str, NDArray[np.bool_]],
    ) -> int:
        """Write document ``index`` into ``row`` from place ``begin``; where it ends."""
        laid = whole.rows
        laid.tokens[row, begin] = self.bos
        laid.document[row, begin] = index
        before, at = begin, begin + 1
        turn = 0
        for segment in found.segments[index]:
            if not segment.is_medium:
                assert self.captions is not None
                text = np.asarray(self.captions.tokens[segment.begin : segment.end], dtype=np.int64)
                if not len(text):
                    continue
                end = at + len(text)
                laid.tokens[row, at:end] = text
                laid.document[row, at:end] = index
                laid.labels[row, before] = text[0]
                laid.labels[row, at : end - 1] = text[1:]
                before, at = end - 1, end
                continue
            # The media of a captioned document are of the modalities in turn.
            medium = self.media[turn % len(self.media)]
            turn += 1
            end = at + medium.tokens_per_item
            number = placed[medium.name]
            placed[medium.name] += 1
            whole.slots[medium.name][number] = row * self.context_length + np.arange(at, end)
            whole.before[medium.name][number] = row * self.context_length + before
            if attended[medium.name][number]:
                laid.document[row, at:end] = index
                before = end - 1
            at = end
        laid.position[row, begin:at] = np.arange(at - begin)
        return at

    def _cut(self, found: RowDocuments) -> int:
        if self.captions is None or self.pieces is not None:
            return 0
        captions = [
            self._epochs[epoch].caption[unit]
            for epoch, unit in zip(found.epoch.tolist(), found.unit.tolist(), strict=True)
        ]
        return int((self._caption_lengths[captions] > self._room).sum()) if captions else 0
