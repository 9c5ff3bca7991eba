"""Gains against compute: seeds are the replicates, and nothing is said beyond the range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, ttest_1samp

from ablate.stats.compute_trend import TrendError, fit_trend, fit_two_factors

FLOPS = [1e12, 4e12, 16e12, 64e12]


def ladder(rng, seeds=4, slope=-0.01, noise=0.002, shift=0.01):
    """Seeds differ in level and slope; the noise halves from rung to rung."""
    x = np.log2(FLOPS) - np.log2(FLOPS[0])
    own = shift * rng.standard_normal(seeds) + np.outer(x, slope + 0.001 * rng.standard_normal(seeds))
    return 0.05 + own + noise * rng.standard_normal((4, seeds)) / 2.0 ** np.arange(4)[:, None]


def test_the_slope_is_the_mean_of_the_slopes_of_seeds():
    gains = ladder(np.random.default_rng(0), seeds=3)
    found = fit_trend(FLOPS, gains)
    slopes = [np.polyfit(np.log2(FLOPS), column, 1)[0] for column in gains.T]
    assert found.slope.per_seed == pytest.approx(slopes)
    assert found.slope.estimate.p_difference == pytest.approx(ttest_1samp(slopes, 0).pvalue)
    assert found.statement.startswith("between 1e+12 and 6.4e+13 FLOPs the gain falls by 0.0")
    assert "per doubling" in found.statement


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_of_slope_and_line_hold_the_truth_as_often_as_they_say(seeds):
    rng = np.random.default_rng(seeds)
    studies, slope, line, false, missed = 150, 0, 0, 0, 0
    for _ in range(studies):
        gains = ladder(rng, seeds)
        found = fit_trend(FLOPS, gains)
        low, high = found.slope.estimate.interval95
        slope += low <= -0.01 <= high
        bottom, top = found.rungs[1].fitted_interval
        line += bottom <= 0.05 - 0.02 <= top
        false += found.curvature.p_difference < 0.05
        missed += "no line passes" in found.statement
    for count in (slope, line, studies - false):
        assert binom.ppf(0.002, studies, 0.95) <= count <= binom.ppf(0.998, studies, 0.95)
    # The noise of these rungs differs, so that a line is called an average more often than in 5%.
    assert missed <= binom.ppf(0.998, studies, 0.12)


def test_a_line_that_holds_is_called_an_average_in_one_study_of_twenty():
    rng = np.random.default_rng(41)
    gains = (0.01 * np.arange(4.0)[:, None] + 0.01 * rng.standard_normal((4, 3)) for _ in range(300))
    called = sum("no line passes" in fit_trend(FLOPS, one).statement for one in gains)
    assert called <= binom.ppf(0.99, 300, 0.05)


def test_a_step_is_no_line_and_the_values_at_its_ends_are_not_stated():
    """results/ladder_planted: a threshold, whose line would end above an accuracy of 1."""
    rng = np.random.default_rng(43)
    step = np.array([0.0, 0.0, 0.85, 0.9])[:, None] + 0.03 * rng.standard_normal((4, 3))
    found = fit_trend(FLOPS, step)
    assert "the gain rises" in found.statement
    assert "no line passes through the rungs" in found.statement or "not linear" in found.statement
    assert "on the line" not in found.statement
    crossed = fit_two_factors([1e6] * 3 + [4e6] * 3, [1e12, 4e12, 16e12] * 2, step[[0, 1, 2, 0, 1, 2]])
    assert "no such sum passes through the rungs" in crossed.statement


def test_steadier_rungs_weigh_more_and_narrow_the_slope():
    rng = np.random.default_rng(1)
    found = fit_trend(FLOPS, ladder(rng, seeds=8, noise=0.05, shift=0.0))
    weights = [rung.weight for rung in found.rungs]
    assert weights == sorted(weights)
    assert weights[-1] > 4 * weights[0]
    assert all(rung.weight == 1.0 for rung in fit_trend(FLOPS, ladder(rng, seeds=3)).rungs)


def test_no_trend_is_told_where_there_is_none():
    found = fit_trend(FLOPS, ladder(np.random.default_rng(3), slope=0.0, noise=0.01), unit="bits")
    assert "no trend can be told" in found.statement
    assert " bits" in found.statement


def test_a_line_that_misses_what_was_measured_is_called_an_average():
    """A step without a bend: as many rungs above the line as below it."""
    step = np.array([0.0, 0.5, 0.1, 0.6])[:, None] + 0.001 * np.random.default_rng(0).standard_normal((4, 4))
    said = fit_trend(FLOPS, step).statement
    assert "no line passes through the rungs" in said
    assert "and this is an average over the range" in said
    assert "on the line" not in said
    assert "not linear" not in said


def test_a_bend_is_said():
    bent = np.array([0.0, 0.1, 0.1, 0.0])[:, None] + 0.001 * np.random.default_rng(0).standard_normal((4, 4))
    assert "not linear" in fit_trend(FLOPS, bent).statement


@pytest.mark.parametrize(
    ("flops", "gains", "why"),
    [
        (FLOPS[:2], np.ones((2, 5)), "3 amounts of compute, and there are 2"),
        ([1e12] * 4, np.ones((4, 5)), "3 amounts of compute, and there is 1"),
        (FLOPS, np.ones((4, 1)), "2 seeds that ran every rung, and there is 1"),
        (FLOPS, np.where(np.eye(4) > 0, np.nan, 1.0), "2 seeds that ran every rung, and there are none"),
    ],
)
def test_too_few_rungs_or_seeds_tell_nothing(flops, gains, why):
    found = fit_trend(flops, gains)
    assert found.slope is None
    assert why in found.problem
    assert found.statement == f"nothing can be told: {found.problem}"
    assert len(found.rungs) == len(flops)
    with pytest.raises(TrendError, match="no line to read"):
        found.line([flops[0]])


def test_a_seed_with_a_missing_rung_counts_at_its_rungs_and_in_no_line():
    gains = ladder(np.random.default_rng(0), seeds=4)
    gains[2, 1] = np.nan
    found = fit_trend(FLOPS, gains)
    assert found.seeds == (0, 2, 3)
    assert found.incomplete == (1,)
    assert [rung.estimate.n for rung in found.rungs] == [4, 4, 3, 4]
    assert found.slope.per_seed == pytest.approx(fit_trend(FLOPS, gains[:, [0, 2, 3]]).slope.per_seed)
    assert "1 of the seeds did not run every rung" in found.statement


def test_the_line_is_read_within_the_range_only():
    found = fit_trend(FLOPS, ladder(np.random.default_rng(0)))
    for rung, (gain, low, high) in zip(found.rungs, found.line(FLOPS), strict=True):
        assert gain == pytest.approx(rung.fitted)
        assert (low, high) == pytest.approx(rung.fitted_interval)
    with pytest.raises(TrendError, match=r"outside 1e\+12 to 6.4e\+13"):
        found.line([1e14])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_order_of_rungs_and_units_of_flops_and_gains_change_nothing(order, unit, flops):
    gains = ladder(np.random.default_rng(5), seeds=5)
    one = fit_trend(FLOPS, gains)
    other = fit_trend([flops * FLOPS[place] for place in order], unit * gains[list(order)])
    assert np.array(other.slope.per_seed) / unit == pytest.approx(one.slope.per_seed, rel=1e-6)
    assert other.slope.estimate.p_difference == pytest.approx(one.slope.estimate.p_difference, rel=1e-5)


def test_size_and_compute_are_told_apart_where_both_vary():
    sizes, budgets = np.meshgrid([1e6, 4e6, 16e6], [1e12, 4e12, 16e12], indexing="ij")
    sizes, budgets = sizes.ravel(), budgets.ravel()
    truth = 0.01 * np.log2(sizes) - 0.003 * np.log2(budgets)
    rng = np.random.default_rng(0)
    gains = truth[:, None] + 0.02 * rng.standard_normal(5) + 0.001 * rng.standard_normal((9, 5))
    found = fit_two_factors(sizes, budgets, gains)
    assert found.size.estimate.mean_gain == pytest.approx(0.01, abs=0.001)
    assert found.compute.estimate.mean_gain == pytest.approx(-0.003, abs=0.001)
    low, high = found.interaction.estimate.interval95
    assert low < 0 < high
    assert "per doubling of parameters at equal FLOPs" in found.statement


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ([1e6, 4e6, 16e6, 64e6], "rise together"),
        ([1e6] * 4, "only compute varies"),
    ],
)
def test_factors_that_move_together_are_not_told_apart(sizes, why):
    found = fit_two_factors(sizes, FLOPS, ladder(np.random.default_rng(0)))
    assert found.size is None
    assert why in found.problem


@pytest.mark.parametrize(
    ("flops", "gains", "message"),
    [
        (FLOPS, np.ones((3, 2)), r"shape \[rungs, seeds\]"),
        ([0.0, *FLOPS[1:]], np.ones((4, 2)), "above zero"),
        (FLOPS, np.full((4, 2), np.inf), "infinite"),
    ],
)
def test_gains_that_no_trend_can_be_made_of_are_refused(flops, gains, message):
    with pytest.raises(TrendError, match=message):
        fit_trend(flops, gains)
