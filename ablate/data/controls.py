"""Placebos at the level of the data: what stands in the place of a sample's own media."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.data.errors import DataError
from ablate.recipe.schema import Control
from ablate.seeding import stream_rng

REPEAT_LAG = 32
"""Steps that `repeat_text` lets pass before it repeats a row, where media rows are as many as text rows."""

Moments = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean and standard deviation by channel; they broadcast against an item."""

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
        "every place shows the medium of another sample, redrawn each epoch, never its own nor a copy; all "
        "modalities of a sample move together",
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
        "media rows hold text rows of earlier steps of the arm; no captions, no loss on media",
    ),
}
"""Control to what it keeps of the arm it mirrors, and what it changes."""


def noise(
    shape: tuple[int, ...], mean: NDArray[np.float32], std: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gaussian noise float32[shape]; ``mean`` and ``std`` broadcast against it."""
    drawn: NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32) * std + mean
    return drawn


def before_clipping(
    mean: NDArray[np.float32], std: NDArray[np.float32], low: float = 0.0, high: float = 255.0
) -> Moments:
    """Mean and standard deviation of the Gaussian that has ``mean`` and ``std`` once clipped to [low, high].

    All are float32 of one shape, in units of the values (0 to 255 for pixels).

    Pixels end at black and white; noise with the moments of the pixels before clipping would have less
    variance after it. Moments of the censored normal: Greene, Econometric Analysis (2012), section 19.3.
    """
    solved = [
        _before_clipping(float(wanted), float(spread), low, high)
        for wanted, spread in zip(mean.flat, std.flat, strict=True)
    ]
    centre, scale = np.asarray(solved, dtype=np.float32).T
    return centre.reshape(mean.shape), scale.reshape(mean.shape)


def _before_clipping(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    from scipy.optimize import least_squares

    if not std or not low < mean < high:
        return mean, std

    def miss(guess: NDArray[np.float64]) -> list[float]:
        got_mean, got_std = _clipped(float(guess[0]), math.exp(float(guess[1])), low, high)
        return [(got_mean - mean) / std, got_std / std - 1.0]

    found = least_squares(miss, [mean, math.log(std)], xtol=1e-12, ftol=1e-12, gtol=1e-12)
    return float(found.x[0]), math.exp(float(found.x[1]))


def _clipped(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Mean and standard deviation of a Gaussian clipped to [low, high]."""
    from scipy.stats import norm

    first, last = (low - mean) / std, (high - mean) / std
    below, above = float(norm.cdf(first)), float(norm.sf(last))
    within = 1.0 - below - above
    rising, falling = std * float(norm.pdf(first)), std * float(norm.pdf(last))
    centre = low * below + high * above + mean * within + rising - falling
    square = low * low * below + high * high * above + (mean * mean + std * std) * within
    square += (low + mean) * rising - (high + mean) * falling
    return centre, math.sqrt(max(0.0, square - centre * centre))


def repeated_rows(media_rows: NDArray[np.int64], step: int, kept: int, media: int) -> NDArray[np.int64]:
    """Which of its own text rows a `repeat_text` control reads in the place of media rows.

    Rows are counted densely: an arm that keeps K text rows a step has read s * K of them before step s.

    Args:
        media_rows: dense numbers of the media rows, int64[rows].
        step: the step they belong to, from 0.
        kept: text rows of a step.
        media: media rows of a step.

    Returns:
        int64[rows]: dense numbers of text rows, each read in an earlier step; in the first step, before
        which nothing was read, in that step. With as many media rows as text rows a row recurs `REPEAT_LAG`
        steps later; the lag grows to that over twice as many steps, whose first half recurs once more.
    """
    lag = min(REPEAT_LAG, (step + 1) // 2)
    found: NDArray[np.int64] = (media_rows - lag * media) % (max(1, step) * kept)
    return found


def kin(labels: Sequence[NDArray[np.uint64]]) -> NDArray[np.int64]:
    """Groups of samples that share a label in one of ``labels``, directly or through other samples.

    Args:
        labels: one array or more, uint64[samples] each: content digests of a modality, for instance.

    Returns:
        int64[samples]: the number of each sample's group, in the order of their least label in the first
        array, so that it does not depend on the order of the samples.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(labels[0])
    rows, columns, total = [], [], count
    for one in labels:
        _, label = np.unique(one, return_inverse=True)
        rows.append(np.arange(count))
        columns.append(total + label)
        total += int(label.max(initial=-1)) + 1
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(total, total))
    component = connected_components(graph, directed=False)[1][:count]
    least = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(least, component, labels[0])
    group: NDArray[np.int64] = np.unique(least[component], return_inverse=True)[1]
    return group


def derangement(
    labels: Sequence[NDArray[np.uint64]], seed: int, stream: str, epoch: int
) -> NDArray[np.int64]:
    """For every sample, the one whose media it is shown with, so that nobody keeps their own or a copy.

    Samples are put into an order drawn from (seed, epoch) in which copies of one medium stand together,
    and every sample takes the media a fixed distance ahead, at least as far as the largest group of
    copies. So the multiset of media shown is untouched: only the pairing is broken.

    Args:
        labels: what must not meet its like again, uint64[samples] each; see `kin`.

    Returns:
        int64[samples]: a permutation that leaves no sample within its own group.

    Raises:
        DataError: one group makes up more than half of the samples, so that no derangement exists.
    """
    group = kin(labels)
    sizes = np.bincount(group)
    largest = int(sizes.max())
    if 2 * largest > len(group):
        raise DataError(
            f"stream {stream!r}: copies of one medium, or the media of one document, make up {largest} of "
            f"{len(group)}, so `shuffled` cannot give every place another one; remove copies, or drop the "
            "control"
        )
    rng = stream_rng(seed, f"control/shuffled/{stream}", epoch)
    order = np.lexsort((rng.permutation(len(group)), rng.permutation(len(sizes))[group]))
    shift = int(rng.integers(largest, len(group) - largest + 1))
    partner = np.empty(len(group), dtype=np.int64)
    partner[order] = np.roll(order, -shift)
    return partner
