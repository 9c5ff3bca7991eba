"""The interval of chance, against the binomial distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ablate.stats.binomial import chance_interval


@given(st.integers(1, 300), st.floats(0.05, 0.9), st.integers(1, 20))
def test_a_count_is_inside_exactly_when_neither_one_sided_test_rejects_it(questions, chance, runs):
    low, high = chance_interval(questions, chance, runs)
    tail = 0.05 / runs / 2
    for count in {
        0,
        questions,
        round(low * questions),
        round(high * questions),
        round(low * questions) - 1,
    } | {round(high * questions) + 1}:
        if 0 <= count <= questions:
            accepted = all(
                binomtest(count, questions, chance, alternative=side).pvalue > tail
                for side in ("less", "greater")
            )
            assert (low <= count / questions <= high) == accepted


def test_all_runs_stay_inside_together_as_often_as_stated():
    low, high = chance_interval(256, 0.125, runs=9)
    accuracy = np.random.default_rng(0).binomial(256, 0.125, size=(20_000, 9)) / 256
    assert np.mean(((accuracy >= low) & (accuracy <= high)).all(axis=1)) >= 0.95


def test_more_runs_widen_the_interval():
    one, nine = chance_interval(256, 0.125, 1), chance_interval(256, 0.125, 9)
    assert nine[0] < one[0] < 0.125 < one[1] < nine[1]
    assert one == (22 / 256, 43 / 256)


@pytest.mark.parametrize("bad", [(0, 0.5, 1), (10, 0.0, 1), (10, 1.0, 1), (10, 0.5, 0)])
def test_numbers_out_of_range_are_refused(bad):
    with pytest.raises(ValueError):
        chance_interval(*bad)
