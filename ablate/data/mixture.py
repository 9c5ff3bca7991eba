"""The rows of one arm: which stream each row column draws from, and the batches of a step.

Column j of step s of a text stream is row number s * R + j of that stream's order in every arm, whatever
the other columns hold; media streams number their own rows densely. Everything is a function of the
step, so neither workers, nor ranks, nor a resumed run can change it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.data.batch import NO_DOCUMENT, UNSCORED, Batch, MediaBatch
from ablate.data.errors import DataError
from ablate.data.images import DecodedImages
from ablate.data.media_rows import MediaRows
from ablate.data.text_rows import Ints, RowArrays, TextRows
from ablate.recipe.schema import Match


@dataclass(frozen=True)
class StepCounts:
    """What the rows of one step hold, over all microbatches of all ranks that this process prepared."""

    text_tokens: int = 0
    caption_tokens: int = 0
    media_positions: int = 0
    scored_positions: int = 0
    positions: int = 0

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
        )


@dataclass(frozen=True)
class Step:
    """One optimiser step's rows on one rank."""

    number: int
    microbatches: list[Batch]
    counts: StepCounts
    row_digests: dict[str, bytes]
    """`stream/column` to the digest of the tokens in that column: text, or captions and where they stand."""
    skips: dict[str, int]
    """`stream/reason` to how often it happened in this step."""


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


@dataclass
class MediaSource:
    """A media stream's rows and its decoded media."""

    rows: MediaRows
    images: DecodedImages
    item_shape: tuple[int, ...]
    places: int
    """Media places of one microbatch."""
    max_skips: int


@dataclass
class Mixture:
    """All rows of one arm and seed."""

    columns: Columns
    text: Mapping[str, TextRows]
    media: Mapping[str, MediaSource]
    context_length: int
    failed: dict[str, set[int]] = field(default_factory=dict)
    """Stream to the samples that did not decode, as far as this process has seen."""

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
            if stream in self.text:
                rows = self.text[stream].rows(step * self.columns.text_period + columns)
                found = StepCounts(text_tokens=int((rows.document != NO_DOCUMENT).sum()))
            else:
                first_row = sum(len(part.tokens) for part in parts)
                rows, item, found = self._media_rows(stream, step, columns, first_row, skips)
                # A `captions_only` control has nothing to encode: its slots are padding already.
                if self.media[stream].rows.control != "captions_only":
                    media[stream] = item
            for column, tokens in zip(columns.tolist(), rows.tokens, strict=True):
                digests[f"{stream}/{column}"] = hashlib.blake2b(tokens.tobytes(), digest_size=8).digest()
            scored = int((rows.labels != UNSCORED).sum())
            counts = counts + found + StepCounts(scored_positions=scored, positions=rows.tokens.size)
            parts.append(rows)
        stacked = {
            name: torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
            for name in ("tokens", "labels", "document", "position")
        }
        return Batch(**stacked, media=media), counts

    def _media_rows(
        self, stream: str, step: int, columns: Ints, first_row: int, skips: dict[str, int]
    ) -> tuple[RowArrays, MediaBatch, StepCounts]:
        source = self.media[stream]
        advance = self.columns.per_microbatch[stream] * self.columns.microbatches
        items = source.rows.items(step * advance + columns)
        control = source.rows.control
        values = torch.zeros((source.places, *source.item_shape), dtype=torch.uint8)
        attended = np.zeros(len(items.row), dtype=bool)
        if control != "captions_only":
            decoded, attended = source.images.get(items.shown)
            values[: len(items.row)] = torch.from_numpy(decoded)
            self._count_failures(stream, items.shown[~attended], skips)
        laid = source.rows.assemble(items, len(columns), attended)
        if laid.captions_cut:
            skips[f"{stream}/caption_cut"] = skips.get(f"{stream}/caption_cut", 0) + laid.captions_cut
        # Places without an attended item point one past the end of the microbatch.
        beyond = self.columns.rows * self.context_length
        slots = np.full((source.places, source.rows.tokens_per_item), beyond, dtype=np.int64)
        filled = slots[: len(items.row)]
        filled[attended] = laid.slots[attended] + first_row * self.context_length
        present = torch.zeros(source.places, dtype=torch.bool)
        present[: len(items.row)] = torch.from_numpy(attended)
        media_positions = len(items.row) * source.rows.tokens_per_item
        used = int((laid.rows.document != NO_DOCUMENT).sum())
        caption_tokens = used - int(attended.sum()) * source.rows.tokens_per_item
        counts = StepCounts(caption_tokens=caption_tokens, media_positions=media_positions)
        return laid.rows, MediaBatch(values, torch.from_numpy(slots), present), counts

    def _count_failures(self, stream: str, failed: NDArray[np.int64], skips: dict[str, int]) -> None:
        if not len(failed):
            return
        source = self.media[stream]
        skips[f"{stream}/decode"] = skips.get(f"{stream}/decode", 0) + len(failed)
        known = self.failed.setdefault(stream, set())
        known.update(failed.tolist())
        if len(known) > source.max_skips:
            sample = int(failed[0])
            raise DataError(
                f"stream {stream!r}: {source.images.errors.get(sample, f'sample {sample} does not decode')}; "
                f"{len(known)} samples failed and streams.{stream}.max_skips allows {source.max_skips}: "
                "mend the shard or raise the limit"
            )


def to_device(batch: Batch, device: torch.device) -> Batch:
    """``batch`` with every tensor on ``device``."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    media = {
        name: MediaBatch(move(item.values), move(item.slots), move(item.present))
        for name, item in batch.media.items()
    }
    return Batch(
        move(batch.tokens), move(batch.labels), move(batch.document), move(batch.position), media=media
    )
