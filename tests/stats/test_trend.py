"""Page's test is exact, ties and all, and says how small its p can get."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from ablate.stats.trend import falls, page_trend

few = st.integers(1, 2).flatmap(
    lambda seeds: st.integers(2, 4).flatmap(
        lambda rungs: arrays.arrays(np.float64, (seeds, rungs), elements=st.integers(0, 3).map(float))
    )
)


@pytest.mark.parametrize(("seeds", "rungs"), [(2, 3), (3, 4), (5, 4), (4, 6)])
def test_without_ties_it_is_scipys_exact_test(seeds, rungs):
    scores = np.random.default_rng(seeds).normal(size=(seeds, rungs)).cumsum(axis=1)
    theirs = stats.page_trend_test(scores, method="exact")
    found = page_trend(scores)
    assert found.statistic == theirs.statistic
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


@settings(max_examples=40)
@given(few)
def test_with_ties_p_is_the_share_of_all_orders_that_rise_as_much(scores):
    ranks = [stats.rankdata(row) for row in scores]
    weights = np.arange(1, scores.shape[1] + 1)
    observed = sum(float(weights @ row) for row in ranks)
    orders = itertools.product(*(itertools.permutations(row) for row in ranks))
    as_much = [sum(float(weights @ np.array(row)) for row in one) >= observed - 1e-9 for one in orders]
    found = page_trend(scores)
    assert found.p_value == pytest.approx(np.mean(as_much), rel=1e-12)
    assert found.p_value >= found.least_p


@pytest.mark.parametrize(("seeds", "rungs", "least"), [(1, 4, 1 / 24), (2, 3, 1 / 36), (3, 4, 1 / 24**3)])
def test_a_perfect_order_has_the_least_p_of_its_shape(seeds, rungs, least):
    found = page_trend(np.tile(np.arange(rungs, dtype=float), (seeds, 1)))
    assert found.p_value == found.least_p == pytest.approx(least)


def test_equal_scores_show_no_trend():
    assert page_trend(np.full((3, 4), 0.5)).p_value == 1.0


def test_a_ladder_of_nine_rungs_over_ten_seeds_is_still_exact():
    scores = np.random.default_rng(0).normal(size=(10, 9))
    assert page_trend(scores).p_value == pytest.approx(
        stats.page_trend_test(scores, method="asymptotic").pvalue, abs=0.01
    )


@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (3, 10)])
def test_a_shape_without_a_trend_is_refused(shape):
    with pytest.raises(ValueError, match="a trend is of one seed or more over 2 to 9 rungs"):
        page_trend(np.zeros(shape))


def test_a_fall_on_every_seed_is_a_fall():
    rng = np.random.default_rng(3)
    scores = np.array([0.5, 0.6, 0.7, 0.62]) + rng.normal(0, 0.01, (5, 4))
    p_values = falls(scores)
    assert p_values[2] < 0.001
    assert min(p_values[:2]) > 0.9
    step = stats.ttest_rel(scores[:, 3], scores[:, 2], alternative="less")
    assert p_values[2] == pytest.approx(step.pvalue)
