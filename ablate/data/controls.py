"""Placebos at the level of the data: what stands in the place of a sample's own media."""

import numpy as np
from numpy.typing import NDArray

from ablate.data.errors import DataError
from ablate.recipe.schema import Control
from ablate.seeding import stream_rng

REPEAT_LAG = 32
"""Steps that `repeat_text` lets pass before it repeats a row, where media rows are as many as text rows."""

KEEPS_AND_CHANGES: dict[Control, tuple[str, str]] = {
    "captions_only": (
        "rows, captions, their places and their order; steps and schedule; is charged for the encoders",
        "media places are padding that nothing attends to; no loss on media",
    ),
    "captions_only_refill": (
        "rows, captions and their order; steps and schedule; is charged for the encoders",
        "no media places: more captions fill the rows, so captions recur sooner; no loss on media",
    ),
    "shuffled": (
        "rows, captions, their places and order, the media shown in an epoch; the loss on media",
        "every place shows the medium of another sample, redrawn each epoch, never its own nor a copy",
    ),
    "noise": (
        "rows, captions, their places and order; the loss on media",
        "media are Gaussian noise with the stream's mean and variance per channel, redrawn at each visit",
    ),
    "blank": (
        "rows, captions, their places and order; the loss on media",
        "media are constant: the stream's mean per channel",
    ),
    "repeat_text": (
        "rows of text, their places and order; steps and schedule; is charged for the encoders",
        "media rows hold text rows that the arm has read already; no captions, no loss on media",
    ),
}
"""Control to what it keeps of the arm it mirrors, and what it changes."""


def noise(
    shape: tuple[int, ...], mean: NDArray[np.float32], std: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian noise float32[shape]; ``mean`` and ``std`` broadcast against it."""
    drawn: NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32) * std + mean
    return drawn


def repeated_rows(media_rows: NDArray[np.int64], step: int, kept: int, media: int) -> NDArray[np.int64]:
    """Which of its own text rows a `repeat_text` control reads in the place of media rows.

    Rows are counted densely: an arm that keeps K text rows a step has read (s + 1) * K of them by step s.

    Args:
        media_rows: dense numbers of the media rows, int64[rows].
        step: the step they belong to, from 0.
        kept: text rows of a step.
        media: media rows of a step.

    Returns:
        int64[rows]: dense numbers of text rows, each read in this step or before. With as many media rows
        as text rows every row recurs once, `REPEAT_LAG` steps later.
    """
    late = media_rows - REPEAT_LAG * media
    found: NDArray[np.int64] = np.where(late >= 0, late, media_rows) % ((step + 1) * kept)
    return found


def derangement(digests: NDArray[np.uint64], seed: int, stream: str, epoch: int) -> NDArray[np.int64]:
    """For every sample, the one whose media it is shown with, so that nobody keeps their own or a copy.

    Samples are put into an order drawn from (seed, epoch) in which copies of one medium stand together,
    and every sample takes the media a fixed distance ahead, at least as far as the largest group of
    copies. So the multiset of media shown is untouched: only the pairing is broken.

    Args:
        digests: content digest of each sample's media, uint64[samples].

    Returns:
        int64[samples]: a permutation without a fixed digest.

    Raises:
        DataError: one medium makes up more than half of the samples, so that no derangement exists.
    """
    _, group = np.unique(digests, return_inverse=True)
    sizes = np.bincount(group)
    largest = int(sizes.max())
    if 2 * largest > len(digests):
        raise DataError(
            f"stream {stream!r}: one medium makes up {largest} of {len(digests)} samples, so "
            "`shuffled` cannot give every sample another one; remove copies, or drop the control"
        )
    rng = stream_rng(seed, f"control/shuffled/{stream}", epoch)
    order = np.lexsort((rng.permutation(len(digests)), rng.permutation(len(sizes))[group]))
    shift = int(rng.integers(largest, len(digests) - largest + 1))
    partner = np.empty(len(digests), dtype=np.int64)
    partner[order] = np.roll(order, -shift)
    return partner
