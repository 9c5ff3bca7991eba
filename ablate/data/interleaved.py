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
    number: NDArray[np.uint64]
    """Which piece of its sample."""
    positions: NDArray[np.int64]
    """Text tokens and media positions of each piece, without BOS."""
    items: NDArray[np.int64]
    """Media of each piece."""


def cut_documents(
    samples: MediaSamples, captions: CaptionTokens, tokens_per_item: int, room: int, most_items: int
) -> Pieces:
    """Cut every document where a row is full: text between any two tokens, media never.

    Args:
        room: positions of a row without its BOS.
        most_items: media that a row may hold.

    Only a document's last piece ends with the end token.
    """
    segments: list[list[Segment]] = []
    sample_of: list[int] = []
    numbers: list[int] = []
    item = 0
    for sample in range(len(samples)):
        coded = samples.segments[samples.segment_first[sample] : samples.segment_first[sample + 1]].tolist()
        whole: list[Segment] = []
        for code in coded:
            if code < 0:
                whole.append(Segment(item - code - 1, -1))
                continue
            text = int(captions.first[sample]) + code
            # Each text was tokenised with an end token; only the document's own end keeps it.
            whole.append(Segment(int(captions.offsets[text]), int(captions.offsets[text + 1]) - 1))
        last = int(captions.offsets[captions.first[sample + 1]])
        whole.append(Segment(last - 1, last))
        pieces = _cut(whole, tokens_per_item, room, most_items)
        segments += pieces
        sample_of += [sample] * len(pieces)
        numbers += range(len(pieces))
        item += sum(code < 0 for code in coded)
    items = [sum(segment.is_medium for segment in piece) for piece in segments]
    lengths = [
        sum(tokens_per_item if segment.is_medium else segment.end - segment.begin for segment in piece)
        for piece in segments
    ]
    return Pieces(
        segments,
        np.asarray(sample_of, dtype=np.int64),
        np.asarray(numbers, dtype=np.uint64),
        np.asarray(lengths, dtype=np.int64),
        np.asarray(items, dtype=np.int64),
    )


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
