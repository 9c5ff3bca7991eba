"""The sign-flip test, against scipy, Fisher's example and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.permutation import DRAWS, EXACT_PAIRS, sign_flip

DARWIN = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
"""Differences in height of 15 pairs of maize, crossed less self-fertilised, in eighths of an inch
(Fisher 1935, *The Design of Experiments*, section 17)."""


def by_scipy(gains, resamples=np.inf):
    return stats.permutation_test(
        (np.asarray(gains),), np.mean, permutation_type="samples", n_resamples=resamples, rng=1
    ).pvalue


def test_fishers_randomisation_test_of_darwins_maize():
    """Of the 32768 patterns, 863 have a sum of at least 314 and 863 one of at most -314 (section 21)."""
    found = sign_flip(np.array(DARWIN))
    assert found.exact
    assert found.p_value == pytest.approx(2 * 863 / 32768, abs=1e-12)
    assert found.smallest == 2 / 32768


@given(st.lists(st.integers(-256, 256), min_size=2, max_size=9).filter(any))
def test_exact_p_values_are_those_of_scipy_whatever_the_ties(counts):
    """Differences of accuracies over 256 items, many equal or zero."""
    gains = np.array(counts) / 256
    assert sign_flip(gains).p_value == pytest.approx(by_scipy(gains), abs=1e-12)


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12), st.sampled_from([1e-6, 3.0, -1.0]))
def test_the_unit_and_the_direction_of_the_endpoint_do_not_matter(gains, factor):
    values = np.array(gains, dtype=np.float64)
    assert sign_flip(values * factor).p_value == sign_flip(values).p_value


def test_five_pairs_cannot_give_less_than_a_sixteenth_and_say_so():
    found = sign_flip(np.array([0.8, 0.81, 0.82, 0.83, 0.84]))
    assert found.p_value == found.smallest == 0.0625
    assert "cannot give a p below 0.0625" in found.remark
    assert sign_flip(np.full(6, 0.8)).p_value == 0.03125
    assert sign_flip(np.full(6, 0.8)).remark == ""


def test_a_pair_without_a_difference_adds_no_evidence():
    found = sign_flip(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.0]))
    assert found.p_value == found.smallest == 0.0625
    assert "6 pairs, 1 of them without a difference" in found.remark


def test_no_pair_one_pair_and_no_difference_at_all_claim_nothing():
    assert sign_flip(np.array([])).p_value is None
    assert sign_flip(np.array([0.5])).p_value == 1.0
    assert sign_flip(np.zeros(40)).p_value == 1.0
    assert sign_flip(np.zeros(40)).remark == "every difference is zero"


@pytest.mark.parametrize("gains", [[0.1, float("nan")], [float("inf")], [[0.1, 0.2]]])
def test_differences_that_are_no_numbers_are_refused(gains):
    with pytest.raises(ValueError, match="finite"):
        sign_flip(np.array(gains))


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.45])
def test_many_pairs_agree_with_more_draws_by_scipy_within_monte_carlo_error(shift):
    gains = np.random.default_rng(2).normal(shift, 1.0, 40)
    found, expected = sign_flip(gains), by_scipy(gains, 50_000)
    assert not found.exact
    # scipy doubles the smaller tail, which is noisier than counting both.
    error = np.sqrt(expected * (1 - expected) / DRAWS + expected * (2 - expected) / 50_000)
    assert found.p_value == pytest.approx(expected, abs=4 * error + 2 / DRAWS)


def test_a_sampled_p_is_never_zero_and_always_the_same():
    gains = np.full(30, 1.0) + np.arange(30) / 100
    assert sign_flip(gains).p_value == sign_flip(gains).smallest == 1 / (DRAWS + 1)
    noise = np.random.default_rng(4).normal(size=EXACT_PAIRS + 1)
    assert sign_flip(noise) == sign_flip(noise.copy())


@pytest.mark.parametrize("pairs", [6, EXACT_PAIRS + 4])
def test_it_keeps_its_level_under_differences_with_heavy_tails(pairs):
    """2000 studies of symmetric differences without a mean or a variance (Cauchy)."""
    studies = 2000
    gains = np.random.default_rng(6).standard_cauchy(size=(studies, pairs))
    rejected = sum(sign_flip(row).p_value <= 0.05 for row in gains)
    assert 0 < rejected <= stats.binom.ppf(0.99, studies, 0.05)
