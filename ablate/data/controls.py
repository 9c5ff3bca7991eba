"""Placebos at the level of the data: which picture a sample is shown with."""

import numpy as np
from numpy.typing import NDArray

from ablate.data.errors import DataError
from ablate.seeding import stream_rng


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
