"""Group-sequential t tests: against simulation, against the textbooks' limit, and against themselves."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from ablate.stats.group_sequential import (
    SPENDINGS,
    alpha_of_spent,
    crossing_probabilities,
    nominal_boundaries,
    sequential_p,
    spent,
)

PLANS = [(5,), (2, 3), (3, 6), (5, 10, 15, 20), (4, 5, 6, 7, 8)]
"""Few, so that each one's boundaries are computed once for the whole file."""

plans = st.sampled_from(PLANS)
spendings = st.sampled_from(SPENDINGS)
sides = st.sampled_from([1, 2])
alphas = st.floats(0.0005, 0.6)


def null_p_values(at, studies, seed, side=2, mean=0.0):
    """float64[studies, looks]: nominal p values of plain t tests on normal differences."""
    differences = np.random.default_rng(seed).normal(mean, 1.0, (studies, at[-1]))
    columns = []
    for n in at:
        t = differences[:, :n].mean(1) * math.sqrt(n) / differences[:, :n].std(1, ddof=1)
        columns.append(2 * stats.t.sf(np.abs(t), n - 1) if side == 2 else stats.t.sf(t, n - 1))
    return np.stack(columns, axis=1)


def binomial_bounds(probability, studies):
    """What a simulated rate stays within, but for one time in 100,000."""
    return stats.binom.ppf([5e-6, 1 - 5e-6], studies, probability) / studies


def known_variance_crossings(fractions, z):
    """Two-sided crossing by each look if the variance were known: a rectangle of a multivariate normal."""
    t = np.array(fractions)
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    z = np.asarray(z)
    inside = [
        stats.multivariate_normal(cov=correlation[: k + 1, : k + 1]).cdf(z[: k + 1], lower_limit=-z[: k + 1])
        for k in range(len(z))
    ]
    return 1.0 - np.array(inside)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_with_one_look_the_test_is_the_t_test(spending):
    assert nominal_boundaries((5,), spending, 0.05) == (0.05,)
    rng = np.random.default_rng(3)
    for shift in (0.0, 1.0, 1e4):
        p = float(stats.ttest_1samp(rng.normal(shift, 1.0, 5), 0.0).pvalue)
        assert float(sequential_p((5,), spending, [p])) == p


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("at", [(2, 3, 4, 6), (3, 5, 9), tuple(range(2, 9))])
def test_the_recursion_agrees_with_brute_force_on_the_sphere(at, side):
    """Wide constant boundaries, so that a third of the studies cross and an error would show."""
    studies, nominal = 200_000, 0.12
    p = null_p_values(at, studies, len(at), side)
    crossed = np.logical_or.accumulate(p <= nominal, axis=1).mean(0)
    for expected, found in zip(crossing_probabilities(at, [nominal] * len(at), side), crossed, strict=True):
        low, high = binomial_bounds(expected, studies)
        assert low <= found <= high


@pytest.mark.parametrize("nominal", [(0.3, 0.02), (0.02, 0.3), (0.6, 0.4)])
@pytest.mark.parametrize("n", [2, 3, 8])
def test_one_step_has_the_joint_law_of_two_t_statistics(n, nominal):
    """One-sided, so that both halves of the circle are asked, and with boundaries far apart."""
    studies = 100_000
    p = null_p_values((n, n + 1), studies, n, side=1)
    first, either = crossing_probabilities((n, n + 1), nominal, 1)
    assert first == pytest.approx(nominal[0], abs=1e-12)
    low, high = binomial_bounds(either, studies)
    assert low <= (p <= nominal).any(axis=1).mean() <= high


def test_pococks_constant_is_the_limit_of_many_pairs_and_not_of_few():
    """2.413 for five two-sided looks at 0.05 (Pocock 1977; Jennison and Turnbull 2000, table 2.1)."""
    nominal = [2.0 * ndtr(-2.413)] * 5
    assert known_variance_crossings([0.2, 0.4, 0.6, 0.8, 1.0], [2.413] * 5)[-1] == pytest.approx(
        0.05, abs=2e-4
    )
    few, some, many = (
        crossing_probabilities(tuple(step * look for look in range(1, 6)), nominal, 2, 256)[-1]
        for step in (2, 8, 24)
    )
    assert few - 0.05 > 0.004
    assert few > some > many
    assert many == pytest.approx(0.05, abs=0.0006)


def test_obrien_fleming_boundaries_approach_those_of_known_variance():
    """Five equal looks, two-sided 0.05, Lan and DeMets 1983; a multivariate normal confirms the constants."""
    published = (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)
    fractions = np.arange(1, 6) / 5
    spending = [2.0 * float(spent(t, 0.025, "obrien_fleming")) for t in fractions]
    assert known_variance_crossings(fractions, published) == pytest.approx(spending, abs=2e-5)
    few, more = (
        -ndtri(np.array(nominal_boundaries(tuple(step * k for k in range(1, 6)), "obrien_fleming", 0.05)) / 2)
        for step in (4, 10)
    )
    assert more[0] == pytest.approx(published[0], abs=1e-4)
    assert more == pytest.approx(published, abs=0.01)
    assert (np.abs(more - published) < np.abs(few - published))[2:].all()


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("at", [tuple(range(2, 21)), (5, 10, 15, 20), (5, 6, 7)])
def test_each_look_spends_what_the_plan_lets_it_spend(at, side, spending):
    """20,000 studies without an effect, looked at up to 19 times."""
    studies = 20_000
    p = null_p_values(at, studies, 17 + len(at), side)
    rejected = np.logical_or.accumulate(p <= nominal_boundaries(at, spending, 0.05, side), axis=1).mean(0)
    for n, rate in zip(at, rejected, strict=True):
        low, high = binomial_bounds(side * float(spent(n / at[-1], 0.05 / side, spending)), studies)
        assert low <= rate <= high
    assert rejected[-1] == pytest.approx(0.05, abs=0.0066)


def test_the_plain_t_test_at_every_look_would_not_keep_its_rate():
    """The simulation above can fail: without boundaries, 20 looks reject more than four times too often."""
    p = null_p_values(tuple(range(2, 21)), 5000, 36)
    assert (p <= 0.05).any(axis=1).mean() > 0.2


@pytest.mark.parametrize("spending", SPENDINGS)
def test_the_sequential_p_value_is_a_p_value_at_every_look(spending):
    at, studies = (5, 10, 15, 20), 20_000
    p = null_p_values(at, studies, 5)
    for looks in range(1, 5):
        found = sequential_p(at, spending, p[:, :looks])
        for alpha in (0.01, 0.05, 0.2):
            assert (found <= alpha).mean() <= binomial_bounds(alpha, studies)[1]
    assert (found <= 0.2).mean() >= binomial_bounds(0.2, studies)[0]


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("margin", [0.3, 1.0, 3.0])
def test_a_gain_at_the_margin_is_called_equivalent_by_at_most_alpha_at_any_look(margin, spending):
    """The larger of two one-sided sequential p values; with a wide margin it spends all of its alpha."""
    at, studies = (5, 10, 15, 20), 20_000
    # The same differences from either margin: they lie at the upper one, 2 margins above the lower one.
    upper = 1.0 - null_p_values(at, studies, 6, side=1)
    lower = null_p_values(at, studies, 6, side=1, mean=2.0 * margin)
    for looks in range(1, 5):
        both = [sequential_p(at, spending, p[:, :looks], 1) for p in (upper, lower)]
        rate = (np.maximum(*both) <= 0.05).mean()
        assert rate <= binomial_bounds(float(spent(at[looks - 1] / 20, 0.05, spending)), studies)[1]
    assert margin < 1 or rate >= binomial_bounds(0.05, studies)[0]


@settings(deadline=None)
@given(plans, spendings, sides, st.lists(st.floats(1e-9, 1.0), min_size=5, max_size=5), alphas)
def test_p_is_below_alpha_where_and_only_where_a_look_has_crossed(at, spending, side, nominal, alpha):
    nominal = nominal[: len(at)]
    crossed = [p <= b for p, b in zip(nominal, nominal_boundaries(at, spending, alpha, side), strict=True)]
    found = float(sequential_p(at, spending, nominal, side))
    if abs(found - alpha) > 1e-9:
        assert (found < alpha) == any(crossed)


@settings(deadline=None)
@given(plans, spendings, sides, st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5))
def test_the_sequential_p_value_never_rises_and_never_beats_the_t_test(at, spending, side, nominal):
    found = [float(sequential_p(at, spending, nominal[: k + 1], side)) for k in range(len(at))]
    assert all(later <= earlier for earlier, later in itertools.pairwise(found))
    assert all(0.0 <= p <= 1.0 for p in found)
    floor = 0.0 if min(nominal[: len(at)]) < 2e-12 else min(nominal[: len(at)])
    assert found[-1] >= floor * (1 - 1e-3)


@settings(deadline=None)
@given(plans, spendings, sides, alphas, st.floats(1.001, 1.6))
def test_boundaries_are_nested(at, spending, side, alpha, factor):
    """A larger alpha rejects wherever a smaller one does; without this there is no sequential p value."""
    low = nominal_boundaries(at, spending, alpha, side)
    high = nominal_boundaries(at, spending, alpha * factor, side)
    assert all(a <= b for a, b in zip(low, high, strict=True))


@given(spendings, st.floats(0.01, 1.0), st.floats(1e-6, 1.0))
def test_spending_ends_at_alpha_and_can_be_turned_round(spending, fraction, alpha):
    assert float(spent(1.0, alpha, spending)) == alpha
    used = spent(fraction, alpha, spending)
    assert 0.0 <= float(used) <= alpha * (1 + 1e-12)
    if float(used) > 1e-300:
        assert float(alpha_of_spent(fraction, used, spending)) == pytest.approx(alpha, rel=1e-9)


def test_spending_is_that_of_lan_and_demets():
    assert float(spent(0.5, 0.05, "obrien_fleming")) == pytest.approx(2 - 2 * ndtr(1.959964 / math.sqrt(0.5)))
    assert float(spent(0.5, 0.05, "pocock")) == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))


@given(spendings, st.floats(0.02, 0.98), st.floats(1.001, 1.5), st.floats(1e-4, 0.9), st.floats(1.001, 2.0))
def test_what_a_look_may_spend_grows_with_alpha(spending, fraction, step, alpha, factor):
    later, more = min(1.0, fraction * step), min(1.0, alpha * factor)
    small = spent(later, alpha, spending) - spent(fraction, alpha, spending)
    large = spent(later, more, spending) - spent(fraction, more, spending)
    assert float(large) >= float(small) - 1e-15


def test_a_finer_grid_gives_the_same_crossing_probability():
    at = (5, 7, 10)
    nominal = nominal_boundaries(at, "pocock", 0.05)
    assert crossing_probabilities(at, nominal, 2, 1024)[-1] == pytest.approx(0.05, abs=3e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(ValueError, match="alpha lies between 0 and 1"):
        nominal_boundaries((5, 10), "pocock", alpha)
