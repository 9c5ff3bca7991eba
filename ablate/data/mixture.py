"""The rows of one arm: which stream each row column draws from, and the batches of a step.

Column j of step s of a text stream is row number s * R + j of that stream's order in every arm, whatever
the other columns hold; media streams number their own rows densely. Everything is a function of the
step, so neither workers, nor ranks, nor a resumed run can change it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.data.batch import NO_DOCUMENT, UNSCORED, Batch, MediaBatch
from ablate.data.controls import Moments, noise, repeated_rows
from ablate.data.decoded import DecodedMedia
from ablate.data.errors import DataError
from ablate.data.media_rows import MediaRows, RowDocuments, Shown
from ablate.data.text_rows import Ints, RowArrays, TextRows
from ablate.recipe.schema import Match, without_media
from ablate.seeding import stream_rng


@dataclass(frozen=True)
class StepCounts:
    """What the rows of one step hold, over all microbatches of all ranks that this process prepared."""

    text_tokens: int = 0
    caption_tokens: int = 0
    media_positions: int = 0
    scored_positions: int = 0
    positions: int = 0
    repeated_tokens: int = 0

    def __add__(self, other: "StepCounts") -> "StepCounts":
        return StepCounts(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        """The counts, in the order of the fields."""
        return (
            self.text_tokens,
            self.caption_tokens,
            self.media_positions,
            self.scored_positions,
            self.positions,
            self.repeated_tokens,
        )


@dataclass(frozen=True)
class Step:
    """One optimiser step's rows on one rank."""

    number: int
    microbatches: list[Batch]
    counts: StepCounts
    row_digests: dict[str, bytes]
    """`stream/column` to the digest of the tokens in that column: text, or captions and where they stand. A
    media stream whose control holds other tokens by design has a name of its own."""
    skips: dict[str, int]
    """`stream/reason` to how often it happened in this step."""


@dataclass(frozen=True)
class _Read:
    """Media of some documents as they were read."""

    values: np.ndarray | None
    features: np.ndarray | None
    present: NDArray[np.bool_]


def _placed(values: np.ndarray | None, places: int) -> Tensor | None:
    """``values`` [items, ...] followed by zeros up to ``places`` items."""
    if values is None:
        return None
    held = torch.zeros((places, *values.shape[1:]), dtype=torch.from_numpy(values[:0]).dtype)
    held[: len(values)] = torch.from_numpy(values)
    return held


@dataclass(frozen=True)
class Columns:
    """Which row columns each stream fills."""

    per_microbatch: dict[str, int]
    """Stream to its rows in a microbatch, text streams first."""
    text_streams: tuple[str, ...]
    microbatches: int
    """Microbatches of the global batch."""
    match: Match

    @property
    def rows(self) -> int:
        """Rows of one microbatch."""
        return sum(self.per_microbatch.values())

    def numbers(self, stream: str, microbatch: int) -> Ints:
        """The columns that ``stream`` fills in one microbatch, int64[rows of the stream].

        Text columns are numbered over the whole batch in the way every arm numbers them: with
        substitution a microbatch of r rows has columns m*r to (m+1)*r, some of them handed to media; with
        `text_tokens` only text rows are numbered so, and media columns count apart from 0.
        """
        before = 0
        for name, rows in self.per_microbatch.items():
            if name == stream:
                break
            before += rows
        count = self.per_microbatch[stream]
        if stream not in self.text_streams:
            return np.arange(microbatch * count, (microbatch + 1) * count)
        period = self.rows
        if self.match == "text_tokens":
            period = sum(self.per_microbatch[name] for name in self.text_streams)
        return microbatch * period + before + np.arange(count)

    @property
    def text_period(self) -> int:
        """R: how far a text stream's row numbers advance in one step."""
        rows = self.rows
        if self.match == "text_tokens":
            rows = sum(self.per_microbatch[name] for name in self.text_streams)
        return rows * self.microbatches


class Readable(Protocol):
    """Items by number: decoded media, or a frozen encoder's features of them."""

    def get(self, indices: NDArray[np.int64]) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """Values [n, ...], and bool[n]: whether each is there."""
        ...


@dataclass
class MediaItemSource:
    """One modality of a media stream."""

    decoded: DecodedMedia
    places: int
    """Item places of one microbatch."""
    instead: Moments | None = None
    """What a `noise` or `blank` control shows."""
    features: Readable | None = None
    """Cached features of a frozen encoder."""
    with_values: bool = True
    """Whether the media themselves are read: for an encoder to see, or a loss to regress."""


@dataclass
class MediaSource:
    """A media stream's rows and its media."""

    rows: MediaRows
    items: dict[str, MediaItemSource]
    """By modality; see `Medium.name`."""
    max_skips: int


@dataclass
class Mixture:
    """All rows of one arm and seed."""

    columns: Columns
    text: Mapping[str, TextRows]
    media: Mapping[str, MediaSource]
    context_length: int
    failed: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    """Stream to the media that did not decode, as far as this process has seen."""

    def step(self, number: int, rank: int = 0, ranks: int = 1) -> Step:
        """Step ``number`` (from 0) as rank ``rank`` of ``ranks`` runs it: every ranks-th microbatch."""
        batches: list[Batch] = []
        counts = StepCounts()
        digests: dict[str, bytes] = {}
        skips: dict[str, int] = {}
        for microbatch in range(rank, self.columns.microbatches, ranks):
            batch, found = self._microbatch(number, microbatch, digests, skips)
            batches.append(batch)
            counts = counts + found
        return Step(number, batches, counts, digests, skips)

    def _microbatch(
        self, step: int, microbatch: int, digests: dict[str, bytes], skips: dict[str, int]
    ) -> tuple[Batch, StepCounts]:
        parts: list[RowArrays] = []
        media: dict[str, MediaBatch] = {}
        counts = StepCounts()
        for stream in self.columns.per_microbatch:
            columns = self.columns.numbers(stream, microbatch)
            if stream in self.media and self.media[stream].rows.control == "repeat_text":
                rows = self._repeated(stream, step, columns)
                found = StepCounts(repeated_tokens=int((rows.document != NO_DOCUMENT).sum()))
            elif stream in self.text:
                rows = self.text[stream].rows(step * self.columns.text_period + columns)
                found = StepCounts(text_tokens=int((rows.document != NO_DOCUMENT).sum()))
            else:
                first_row = sum(len(part.tokens) for part in parts)
                rows, items, found = self._media_rows(stream, step, columns, first_row, skips)
                media |= items
            for column, tokens in zip(columns.tolist(), rows.tokens, strict=True):
                digests[f"{self._rows_of(stream)}/{column}"] = hashlib.blake2b(
                    tokens.tobytes(), digest_size=8
                ).digest()
            scored = int((rows.labels != UNSCORED).sum())
            counts = counts + found + StepCounts(scored_positions=scored, positions=rows.tokens.size)
            parts.append(rows)
        stacked = {
            name: torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
            for name in ("tokens", "labels", "document", "position")
        }
        return Batch(**stacked, media=media), counts

    def _rows_of(self, stream: str) -> str:
        """Name under which the rows of ``stream`` are digested: runs that share it must hold the same."""
        control = self.media[stream].rows.control if stream in self.media else None
        # These two hold other tokens in the media's rows by design.
        return f"{stream}.{control}" if control in ("captions_only_refill", "repeat_text") else stream

    def _repeated(self, stream: str, step: int, columns: Ints) -> RowArrays:
        """Text rows that the arm has read before, in the place of the media rows ``columns``."""
        kept = [
            (name, int(column))
            for microbatch in range(self.columns.microbatches)
            for name in self.columns.text_streams
            for column in self.columns.numbers(name, microbatch)
        ]
        per_step = {
            name: count * self.columns.microbatches
            for name, count in self.columns.per_microbatch.items()
            if name in self.media
        }
        # Media streams are numbered one after another, so that no two repeat the same row.
        before = sum(count for name, count in per_step.items() if name < stream)
        total = sum(per_step.values())
        parts = []
        for number in repeated_rows(step * total + before + columns, step, len(kept), total).tolist():
            name, column = kept[number % len(kept)]
            row = (number // len(kept)) * self.columns.text_period + column
            parts.append(self.text[name].rows(np.asarray([row])))
        return RowArrays(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("tokens", "labels", "document", "position")
            )
        )

    def _media_rows(
        self, stream: str, step: int, columns: Ints, first_row: int, skips: dict[str, int]
    ) -> tuple[RowArrays, dict[str, MediaBatch], StepCounts]:
        source = self.media[stream]
        advance = self.columns.per_microbatch[stream] * self.columns.microbatches
        found = source.rows.documents(step * advance + columns)
        read = {} if without_media(source.rows.control) else self._read(stream, found, skips)
        attended = {
            name: read[name].present if name in read else np.zeros(len(shown.item), dtype=bool)
            for name, shown in found.media.items()
        }
        laid = source.rows.assemble(found, len(columns), attended)
        if laid.captions_cut:
            skips[f"{stream}/caption_cut"] = skips.get(f"{stream}/caption_cut", 0) + laid.captions_cut
        batches = {
            name: self._media_batch(source.items[name], one, laid.slots[name], laid.before[name], first_row)
            for name, one in read.items()
        }
        media_positions = sum(slots.size for slots in laid.slots.values())
        filled = sum(int(attended[name].sum()) * slots.shape[1] for name, slots in laid.slots.items())
        # A stream without captions has none, though each of its documents begins with BOS.
        attended_places = int((laid.rows.document != NO_DOCUMENT).sum())
        caption_tokens = 0 if source.rows.captions is None else attended_places - filled
        counts = StepCounts(caption_tokens=caption_tokens, media_positions=media_positions)
        return laid.rows, batches, counts

    def _read(self, stream: str, found: RowDocuments, skips: dict[str, int]) -> dict[str, _Read]:
        """The media of some documents, or what their control shows instead."""
        rows = self.media[stream].rows
        read = {}
        for name, shown in found.media.items():
            source = self.media[stream].items[name]
            present = np.ones(len(shown.item), dtype=bool)
            values = features = None
            if source.with_values:
                values, present = source.decoded.get(shown.shown)
                self._count_failures(stream, source.decoded, shown.shown[~present], skips)
                if source.instead is not None:
                    values = self._without_content(rows, name, found, shown, values, source.instead)
            if source.features is not None:
                features, known = source.features.get(shown.shown)
                if not source.with_values:
                    present = known
                    self._count_failures(stream, source.decoded, shown.shown[~present], skips)
            read[name] = _Read(values, features, present)
        return read

    def _without_content(
        self,
        rows: MediaRows,
        name: str,
        found: RowDocuments,
        shown: Shown,
        values: np.ndarray,
        instead: Moments,
    ) -> np.ndarray:
        """What a `noise` or `blank` control shows in the place of ``values``."""
        mean, std = instead
        shape = values.shape[1:]
        made = np.empty(values.shape, dtype=np.float32)
        epochs = found.epoch[shown.document].tolist()
        for place, (epoch, item) in enumerate(zip(epochs, shown.item.tolist(), strict=True)):
            if rows.control == "blank":
                made[place] = mean
            else:
                rng = stream_rng(rows.seed, f"control/noise/{name}", epoch, item)
                made[place] = noise(shape, mean, std, rng)
        if values.dtype == np.uint8:
            return np.clip(np.rint(made), 0, 255).astype(np.uint8)
        return made.astype(values.dtype)

    def _media_batch(
        self, source: MediaItemSource, read: _Read, laid: Ints, laid_before: Ints, first_row: int
    ) -> MediaBatch:
        """``read`` in a fixed number of places; those without an attended item point past the microbatch."""
        count = len(read.present)
        beyond = self.columns.rows * self.context_length
        slots = np.full((source.places, laid.shape[1]), beyond, dtype=np.int64)
        filled = slots[:count]
        filled[read.present] = laid[read.present] + first_row * self.context_length
        before = np.zeros(source.places, dtype=np.int64)
        before[:count] = laid_before + first_row * self.context_length
        present = torch.zeros(source.places, dtype=torch.bool)
        present[:count] = torch.from_numpy(read.present)
        return MediaBatch(
            _placed(read.values, source.places),
            torch.from_numpy(slots),
            torch.from_numpy(before),
            present,
            _placed(read.features, source.places),
        )

    def _count_failures(
        self, stream: str, decoded: DecodedMedia, failed: NDArray[np.int64], skips: dict[str, int]
    ) -> None:
        if not len(failed):
            return
        source = self.media[stream]
        skips[f"{stream}/decode"] = skips.get(f"{stream}/decode", 0) + len(failed)
        known = self.failed.setdefault(stream, set())
        known.update((decoded.spec.modality, item) for item in failed.tolist())
        if len(known) > source.max_skips:
            sample = int(failed[0])
            raise DataError(
                f"stream {stream!r}: {decoded.errors.get(sample, f'item {sample} does not decode')}; "
                f"{len(known)} failed and streams.{stream}.max_skips allows {source.max_skips}: "
                "mend the shard or raise the limit"
            )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """``batch`` with every tensor on ``device``."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else move(tensor)

    media = {
        name: MediaBatch(
            moved(item.values),
            move(item.slots),
            move(item.before),
            move(item.present),
            moved(item.features),
        )
        for name, item in batch.media.items()
    }
    return Batch(
        move(batch.tokens), move(batch.labels), move(batch.document), move(batch.position), media=media
    )
