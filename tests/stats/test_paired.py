"""Paired inference against scipy, statsmodels and a textbook."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from ablate.stats.paired import PairedSample, estimate
from ablate.stats.power import half_width

SLEEP_FIRST = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
SLEEP_SECOND = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)
"""Extra hours of sleep with two drugs (Student 1908, Biometrika 6:1)."""

scores = st.lists(
    st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32)), min_size=3, max_size=12
).filter(lambda pairs: np.std([a - b for a, b in pairs]) > 1e-3 and np.std(pairs, axis=0).min() > 1e-3)


def sample(treated, reference, higher=True):
    return PairedSample(tuple(range(len(treated))), tuple(treated), tuple(reference), higher)


@given(scores, st.floats(0.01, 2.0))
def test_every_number_is_that_of_scipy_and_statsmodels(pairs, margin):
    treated, reference = np.array(pairs).T
    found = estimate(sample(treated, reference), margin)
    paired = stats.ttest_rel(treated, reference)
    welch = stats.ttest_ind(treated, reference, equal_var=False).confidence_interval(0.95)
    assert found.mean_gain == pytest.approx((treated - reference).mean(), abs=1e-12)
    assert found.sd == pytest.approx(np.std(treated - reference, ddof=1), rel=1e-9)
    assert found.interval95 == pytest.approx(tuple(paired.confidence_interval(0.95)), abs=1e-9)
    assert found.interval90 == pytest.approx(tuple(paired.confidence_interval(0.90)), abs=1e-9)
    assert found.welch95 == pytest.approx(tuple(welch), abs=1e-8)
    assert found.correlation == pytest.approx(stats.pearsonr(treated, reference).statistic, abs=1e-9)
    assert found.p_difference == pytest.approx(paired.pvalue, abs=1e-9)
    assert found.p_equivalence == pytest.approx(
        ttost_paired(treated, reference, -margin, margin)[0], abs=1e-9
    )


def test_students_sleep_data_give_the_published_interval():
    found = estimate(sample(SLEEP_SECOND, SLEEP_FIRST))
    assert found.mean_gain == pytest.approx(1.58)
    assert found.interval95 == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert found.p_difference == pytest.approx(0.002833, abs=1e-6)
    assert found.welch95 == pytest.approx((-0.2054832, 3.3654832), abs=1e-7)


@given(scores)
def test_turning_the_endpoint_round_turns_the_gain_round_and_nothing_else(pairs):
    treated, reference = np.array(pairs).T
    up, down = (
        estimate(sample(treated, reference), 0.1),
        estimate(sample(treated, reference, higher=False), 0.1),
    )
    assert down.mean_gain == -up.mean_gain
    assert down.interval95 == pytest.approx((-up.interval95[1], -up.interval95[0]))
    assert down.welch95 == pytest.approx((-up.welch95[1], -up.welch95[0]))
    assert (down.p_difference, down.p_equivalence) == pytest.approx((up.p_difference, up.p_equivalence))
    assert down.correlation == pytest.approx(up.correlation)


def test_fewer_bits_per_byte_are_a_gain():
    assert estimate(sample([1.9, 1.8], [2.0, 2.1], higher=False)).mean_gain == pytest.approx(0.2)


def test_one_pair_has_a_difference_and_no_interval():
    found = estimate(sample([0.9], [0.2]), 0.05)
    assert found.mean_gain == pytest.approx(0.7)
    assert found.interval95 is found.interval90 is found.welch95 is found.sd is None
    assert found.p_difference is found.p_equivalence is None
    assert "one pair" in found.remark


def test_no_pair_has_nothing():
    found = estimate(sample([], []), 0.05)
    assert found.n == 0
    assert found.mean_gain is None
    assert found.remark


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_equal_differences_have_no_t_interval_even_when_rounding_tells_them_apart(shift):
    reference = [0.1, 0.2, 0.3, 0.7]
    treated = [value + shift for value in reference]
    found = estimate(sample(treated, reference), 0.05)
    assert found.mean_gain == pytest.approx(shift)
    assert found.interval95 is found.p_difference is found.p_equivalence is None
    assert "equal" in found.remark
    assert found.welch95 is not None


def test_arms_that_all_tie_give_no_interval_and_no_nan():
    found = estimate(sample([0.125] * 5, [0.125] * 5), 0.05)
    assert (found.mean_gain, found.sd) == (0.0, 0.0)
    assert found.welch95 is found.correlation is found.interval90 is None


def test_two_pairs_have_no_correlation():
    found = estimate(sample([0.1, 0.3], [0.2, 0.5]))
    assert found.correlation is None
    assert found.interval95 is not None


def test_an_arm_without_variance_has_no_correlation():
    assert estimate(sample([0.1, 0.3, 0.2], [0.5, 0.5, 0.5])).correlation is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match=r"seed 1: .* not both finite"):
        sample([0.1, bad], [0.2, 0.3])


def test_a_seed_makes_one_pair():
    with pytest.raises(ValueError, match="repeat"):
        PairedSample((1, 1), (0.1, 0.2), (0.3, 0.4))
    with pytest.raises(ValueError, match="2 treated and 1 reference"):
        PairedSample((1, 2), (0.1, 0.2), (0.3,))


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan, math.inf])
def test_a_margin_is_positive_and_finite(margin):
    with pytest.raises(ValueError, match="margin"):
        estimate(sample([0.1, 0.3], [0.2, 0.5]), margin)


def test_five_pairs_give_the_half_width_that_the_design_states():
    assert half_width(5, 0.007) == pytest.approx(0.009, abs=0.0005)
    found = estimate(sample(SLEEP_SECOND, SLEEP_FIRST))
    assert half_width(10, found.sd, 0.90) == pytest.approx((found.interval90[1] - found.interval90[0]) / 2)


def test_the_paired_interval_covers_as_often_as_it_says_whatever_the_correlation():
    rng = np.random.default_rng(11)
    for correlation in (-0.9, 0.0, 0.9):
        covariance = [[1.0, correlation], [correlation, 1.0]]
        studies = rng.multivariate_normal([0.3, 0.0], covariance, size=(2000, 5))
        found = [estimate(sample(study[:, 0], study[:, 1])).interval95 for study in studies]
        covered = np.mean([low <= 0.3 <= high for low, high in found])
        assert 0.94 <= covered <= 0.96
