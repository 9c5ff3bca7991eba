"""Placebos: nobody keeps their own picture, nor a copy of it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from ablate.data.controls import before_clipping, derangement, kin
from ablate.data.errors import DataError


@given(st.lists(st.integers(0, 12), min_size=2, max_size=80), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_nobody_keeps_their_own_picture_nor_a_copy(copies: list[int], seed: int, epoch: int) -> None:
    digests = np.asarray(copies, dtype=np.uint64)
    assume(2 * max(copies.count(one) for one in copies) <= len(copies))
    partner = derangement([digests], seed, "pictures", epoch)
    assert (digests[partner] != digests).all()
    assert sorted(partner.tolist()) == list(range(len(copies))), "the multiset of pictures must not change"


def test_partners_are_redrawn_in_every_epoch_and_seed() -> None:
    digests = np.arange(300, dtype=np.uint64)
    first = derangement([digests], 0, "pictures", 0)
    assert np.array_equal(first, derangement([digests], 0, "pictures", 0))
    for other in (derangement([digests], 0, "pictures", 1), derangement([digests], 1, "pictures", 0)):
        assert (first == other).mean() < 0.05


def test_partners_are_spread_over_all_others() -> None:
    """Over many epochs each sample meets nearly every other one: no pairing is left to learn."""
    digests = np.arange(40, dtype=np.uint64)
    met = {int(derangement([digests], 0, "pictures", epoch)[7]) for epoch in range(400)}
    assert len(met) == 39


def test_one_picture_that_is_most_of_the_data_is_refused() -> None:
    with pytest.raises(DataError, match="make up 3 of 5"):
        derangement([np.asarray([1, 1, 1, 2, 3], dtype=np.uint64)], 0, "pictures", 0)


def test_copies_in_any_modality_are_kin() -> None:
    """Two clips with the same sound are kin, and so is a third with the picture of one of them."""
    pictures = np.asarray([1, 2, 2, 4, 5], dtype=np.uint64)
    sounds = np.asarray([7, 7, 8, 9, 10], dtype=np.uint64)
    group = kin([pictures, sounds])
    assert len({*group[:3].tolist()}) == 1
    assert len({*group.tolist()}) == 3


@given(st.floats(1, 254), st.floats(0.02, 0.98))
@settings(max_examples=60, deadline=None)
def test_clipped_noise_has_the_moments_asked_for(mean: float, share: float) -> None:
    """Up to nine tenths of the largest sd that values in 0..255 with this mean can have."""
    std = 0.9 * share * float(np.sqrt(mean * (255 - mean)))
    centre, scale = before_clipping(np.float32([mean]), np.float32([std]))
    # Quantiles instead of draws: where few values are not clipped, the sd of draws scatters by 2%.
    quantiles = ndtri((np.arange(200_000) + 0.5) / 200_000)
    drawn = np.clip(centre[0] + scale[0] * quantiles, 0, 255)
    assert drawn.mean() == pytest.approx(mean, abs=0.02 * std + 0.02)
    assert drawn.std() == pytest.approx(std, rel=0.03)


def test_groups_of_kin_follow_the_media_whatever_their_order() -> None:
    digests = np.asarray([9, 3, 3, 7], dtype=np.uint64)
    assert kin([digests]).tolist() == [2, 0, 0, 1]
