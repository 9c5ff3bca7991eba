"""Simulation: the formulas are those of the instrument, and its error rates are what they should be."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom, binomtest, bootstrap

from ablate.stats.rate import Rate
from ablate.stats.simulation import (
    NORMAL,
    POPULATIONS,
    SIZES,
    SimulationError,
    bootstrap_intervals,
    check_against_instrument,
    draw_studies,
    judge_studies,
    residual_population,
    simulate,
    simulate_family,
)

BY_NAME = {one.name: one for one in POPULATIONS}


@pytest.fixture(scope="module")
def normal():
    return simulate(NORMAL, 5, studies=2000)


def test_over_five_normal_differences_the_t_interval_covers_as_often_as_it_says(normal):
    assert 0.94 <= normal.coverage95.value <= 0.96
    low, high = binom.ppf([0.025, 0.975], 2000, 0.90)
    assert low <= normal.coverage90.count <= high


def test_over_five_normal_differences_zero_is_rejected_as_often_as_alpha_says(normal):
    low, high = binom.ppf([0.025, 0.975], 2000, 0.05)
    assert low <= normal.rejections.count <= high
    assert normal.rejections.count + normal.coverage95.count == 2000


def test_false_claims_are_at_most_alpha(normal):
    most = binom.ppf(0.975, 2000, 0.05)
    assert 0 < normal.false_claims.count <= most
    assert 0 < normal.equivalent_above.count <= most
    assert 0 < normal.equivalent_below.count <= most


def test_skewed_differences_are_covered_less_often_and_the_bootstrap_over_seeds_covers_least():
    skewed = simulate(BY_NAME["skewed"], 5, studies=2000)
    assert 0.86 < skewed.coverage95.value < 0.91
    assert skewed.bootstrap95.value < skewed.coverage95.value - 0.05
    # Gains with a long right tail: most samples lie low, so that equivalence is claimed from above.
    assert skewed.equivalent_above.interval[0] > 0.05 > skewed.equivalent_below.interval[1]


def test_a_percentile_bootstrap_over_five_seeds_is_too_narrow(normal):
    assert normal.bootstrap95.interval[1] < 0.90


@given(
    arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 12)), elements=st.floats(-3, 3, width=32))
)
@settings(max_examples=40, deadline=None)
def test_the_formulas_over_arrays_are_those_of_the_instrument(gains):
    check_against_instrument(gains, 1.25, judge_studies(gains, 1.25), tolerance=1e-12)


@pytest.mark.parametrize("population", POPULATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("n", [2, 5, 20])
def test_drawn_studies_get_the_numbers_and_verdicts_of_the_instrument(population, n):
    gains = draw_studies(population, n, 60, seed=3)
    for margin in (0.05, 0.6):
        scaled = margin * population.sd
        check_against_instrument(gains, scaled, judge_studies(gains, scaled), tolerance=1e-12)


def test_a_formula_that_drifts_from_the_instrument_stops_the_simulation():
    gains = draw_studies(NORMAL, 5, 20, seed=0)
    found = judge_studies(gains, 1.0)
    for change in (
        {"p_difference": found.p_difference * 1.001},
        {"half90": found.half95},
        {"claimed": ~found.claimed},
        {"equivalent": ~found.equivalent},
    ):
        with pytest.raises(SimulationError, match="one of them has changed"):
            check_against_instrument(gains, 1.0, dataclasses.replace(found, **change), tolerance=1e-9)


def test_a_study_without_variance_has_no_interval_and_claims_nothing():
    found = judge_studies(np.array([[0.25, 0.25, 0.25], [0.0, 0.0, 0.0], [0.1, 0.3, 0.2]]), 1.0)
    assert not found.claimed[:2].any()
    assert not found.equivalent[:2].any()
    assert not found.covers(0.25, found.half95)[:1].any()
    assert np.isfinite(found.half95).tolist() == [False, False, True]


def test_tied_studies_are_counted_apart_and_are_in_no_coverage():
    found = simulate(BY_NAME["discrete"], 2, studies=2000)
    assert found.no_interval > 50
    assert found.coverage95.of == found.bootstrap95.of == 2000 - found.no_interval
    assert found.rejections.of == found.false_claims.of == 2000


@pytest.mark.parametrize("population", POPULATIONS, ids=lambda one: one.name)
def test_every_population_has_mean_zero_and_the_stated_sd(population):
    uniforms = (np.arange(200_000) + 0.5) / 200_000
    values = population.quantile(uniforms)
    assert abs(values.mean()) < 0.001 * population.sd
    assert values.std() == pytest.approx(population.sd, rel=0.02)


def test_discrete_differences_are_multiples_of_one_item():
    values = draw_studies(BY_NAME["discrete"], 5, 200, seed=1) * 256
    assert np.array_equal(values, np.round(values))


def test_a_row_is_drawn_again_without_the_others_and_more_studies_extend_it():
    few, more = draw_studies(NORMAL, 5, 10, seed=0), draw_studies(NORMAL, 5, 30, seed=0)
    assert np.array_equal(few, more[:10])
    assert simulate(NORMAL, 3, studies=100) == simulate(NORMAL, 3, studies=100)
    assert not np.array_equal(few, draw_studies(NORMAL, 5, 10, seed=1))
    assert not np.allclose(few.ravel()[:8], draw_studies(NORMAL, 8, 1, seed=0).ravel())


def test_residuals_are_the_centred_differences_and_say_that_they_are_no_new_evidence():
    population = residual_population([0.01, 0.03, -0.01, 0.05])
    drawn = draw_studies(population, 5, 200, seed=0)
    assert {round(value, 12) for value in drawn.ravel()} == {-0.03, -0.01, 0.01, 0.03}
    assert population.sd == pytest.approx(np.std([0.01, 0.03, -0.01, 0.05]))
    assert "no evidence beyond those pairs" in population.meaning


@pytest.mark.parametrize("bad", [[], [0.1], [0.1, 0.1], [0.1, float("nan")]])
def test_differences_without_variance_are_no_population(bad):
    with pytest.raises(ValueError, match="two finite differences"):
        residual_population(bad)


@pytest.mark.parametrize(("n", "studies"), [(1, 10), (5, 0)])
def test_a_simulation_of_nothing_is_refused(n, studies):
    with pytest.raises(ValueError, match="two pairs a study"):
        simulate(NORMAL, n, studies)


def test_the_margin_is_the_one_that_normal_studies_of_this_size_decide_with_power_080():
    drawn = draw_studies(NORMAL, 5, 4000, seed=11)
    decided = judge_studies(drawn, simulate(NORMAL, 5, studies=20).margin).equivalent.sum()
    assert binomtest(int(decided), 4000, 0.8).pvalue > 0.001


def test_the_bootstrap_is_the_exact_one_up_to_resampling():
    """Over three seeds the 27 resamples can be listed."""
    gains = np.array([[0.0, 1.0, 5.0]])
    means = sorted(np.mean(one) for one in itertools.product(gains[0], repeat=3))
    low, high = bootstrap_intervals(gains, np.random.default_rng(0))
    # The exact 2.5% and 97.5% points are the extremes, which have probability 1/27 each.
    assert low[0] == pytest.approx(means[0])
    assert high[0] == pytest.approx(means[-1])


def test_the_bootstrap_agrees_with_scipy_within_monte_carlo_error():
    gains = draw_studies(NORMAL, 8, 60, seed=5)
    low, high = bootstrap_intervals(gains, np.random.default_rng(0))
    theirs = bootstrap(
        (gains,), np.mean, axis=1, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert np.abs((low - theirs.low) / width).mean() < 0.03
    assert abs(((low - theirs.low) / width).mean()) < 0.015
    assert abs(((high - theirs.high) / width).mean()) < 0.015


def test_holm_keeps_the_error_of_a_family_and_without_it_the_error_grows():
    one, eight = simulate_family(1, 5, studies=2000), simulate_family(8, 5, studies=2000)
    assert one.any_claim == one.any_unadjusted
    assert eight.any_unadjusted.interval[0] > 0.2
    assert 0 < eight.any_claim.count <= binom.ppf(0.975, 2000, 0.05)


@given(st.integers(0, 400), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_the_interval_of_a_rate_is_clopper_and_pearsons(count, of):
    rate = Rate(min(count, of), of)
    exact = binomtest(rate.count, of).proportion_ci(method="exact")
    assert rate.interval == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert rate.interval[0] <= rate.value <= rate.interval[1]


def test_a_rate_without_trials_has_no_value():
    assert Rate(0, 0).value is None
    assert Rate(0, 0).interval is None


def test_the_sizes_of_the_issue_are_simulated():
    assert {2, 3, 5, 8, 10, 17, 20} == set(SIZES)
