"""Interleaved documents cut into pieces that fit a row: texts and media in the order of the source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.data.captions import CaptionTokens
from ablate.data.media import MediaSamples


@dataclass(frozen=True)
class Segment:
    """A run of text tokens, or one medium."""

    begin: int
    """First token in the caption tokens; of a medium, its number among the items."""
    end: int
    """One past the last token; of a medium, -1."""

    @property
    def is_medium(self) -> bool:
        return self.end < 0


@dataclass(frozen=True)
class Pieces:
    """All interleaved documents of a stream, each cut into one or more pieces."""

    segments: list[list[Segment]]
    """Per piece, in order."""
    sample: NDArray[np.int64]
    """Which sample each piece is of."""
    positions: NDArray[np.int64]
    """Text tokens and media positions of each piece, without BOS."""
    items: NDArray[np.int64]
    """Media of each piece."""
    sample_of_item: NDArray[np.int64]
    """Which sample each medium is of, int64[items]."""
    most_items: int
    """Most media of a row, and so of a piece."""


def cut_documents(
    samples: MediaSamples, captions: CaptionTokens, tokens_per_item: int, room: int, most_items: int
) -> Pieces:
    """Cut every document where a row is full: text between any two tokens, media never.

    Only a document's last piece ends with the end token.

    Args:
        room: positions of a row without its BOS.
        most_items: media that a row may hold; 0 means as many as a row has on average.
    """
    (items,) = samples.items.values()
    first_items = np.searchsorted(items.sample, np.arange(len(samples))).tolist()
    whole = [_segments(samples, captions, sample, first) for sample, first in enumerate(first_items)]
    counts = [sum(segment.is_medium for segment in document) for document in whole]
    if not most_items:
        positions = sum(_length(document, tokens_per_item) + 1 for document in whole)
        average = (room + 1) * sum(counts) / max(1, positions)
        most_items = max(1, min(round(average), room // tokens_per_item))
    cut = [_cut(document, tokens_per_item, room, most_items) for document in whole]
    segments = [piece for pieces in cut for piece in pieces]
    return Pieces(
        segments,
        np.repeat(np.arange(len(cut)), [len(pieces) for pieces in cut]),
        np.asarray([_length(piece, tokens_per_item) for piece in segments], dtype=np.int64),
        np.asarray([sum(segment.is_medium for segment in piece) for piece in segments], dtype=np.int64),
        items.sample,
        most_items,
    )


def _segments(samples: MediaSamples, captions: CaptionTokens, sample: int, first_item: int) -> list[Segment]:
    """A document in one piece; its media are numbered from ``first_item``."""
    whole: list[Segment] = []
    for code in samples.segments[samples.segment_first[sample] : samples.segment_first[sample + 1]].tolist():
        if code < 0:
            whole.append(Segment(first_item - code - 1, -1))
            continue
        text = int(captions.first[sample]) + code
        # Each text was tokenised with an end token; only the document's own end keeps it.
        whole.append(Segment(int(captions.offsets[text]), int(captions.offsets[text + 1]) - 1))
    last = int(captions.offsets[captions.first[sample + 1]])
    return [*whole, Segment(last - 1, last)]


def _length(document: list[Segment], tokens_per_item: int) -> int:
    """Text tokens and media positions."""
    return sum(tokens_per_item if one.is_medium else one.end - one.begin for one in document)


def _cut(whole: list[Segment], tokens_per_item: int, room: int, most_items: int) -> list[list[Segment]]:
    pieces: list[list[Segment]] = [[]]
    left, media = room, 0
    for segment in whole:
        if segment.is_medium:
            if left < tokens_per_item or media == most_items:
                pieces.append([])
                left, media = room, 0
            pieces[-1].append(segment)
            left, media = left - tokens_per_item, media + 1
            continue
        begin = segment.begin
        while begin < segment.end:
            if not left:
                pieces.append([])
                left, media = room, 0
            end = min(segment.end, begin + left)
            pieces[-1].append(Segment(begin, end))
            left -= end - begin
            begin = end
    return [piece for piece in pieces if piece]
