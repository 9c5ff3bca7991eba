"""Anytime-valid t tests: the closed forms against integrals, the error rates against simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from ablate.stats.anytime import (
    MIXTURE,
    confidence_sequence,
    half_width,
    log_e_value,
    p_difference,
    p_equivalence,
    running_log_e,
)

studies_of_gains = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=12).filter(
    lambda gains: min(np.std(gains[:n]) for n in range(2, len(gains) + 1)) > 1e-3
)


def moments(gains):
    """Mean and sd of the first 2, 3, ... differences; float64[..., looks] of float64[..., n]."""
    gains = np.asarray(gains, dtype=np.float64)
    counts = range(2, gains.shape[-1] + 1)
    return (
        np.stack([gains[..., :n].mean(-1) for n in counts], axis=-1),
        np.stack([gains[..., :n].std(-1, ddof=1) for n in counts], axis=-1),
        np.array(counts, dtype=np.float64),
    )


def simulated(studies, seed, mean=0.0, pairs=20):
    return moments(np.random.default_rng(seed).normal(mean, 1.0, (studies, pairs)))


def upper_bound(probability, studies):
    """What a simulated rate of at most ``probability`` stays below, but for one time in 100,000."""
    return stats.binom.ppf(1 - 1e-5, studies, probability) / studies


@pytest.mark.parametrize("mixture", [0.3, MIXTURE])
@pytest.mark.parametrize(("t", "n"), [(0.0, 2), (1.3, 2), (-4.0, 5), (2.1, 12)])
def test_the_e_value_is_the_mixture_of_noncentral_t_likelihood_ratios(t, n, mixture):
    """With the right Haar prior the likelihood ratio of the data is that of the t statistic."""

    def integrand(effect):
        return stats.nct.pdf(t, n - 1, effect * math.sqrt(n)) * stats.norm.pdf(
            effect, scale=math.sqrt(mixture)
        )

    reach = 8.0 * math.sqrt(mixture)
    ratio = quad(integrand, -reach, reach, points=[0.0, t / math.sqrt(n)], limit=200)[0]
    assert math.exp(log_e_value(t, n, mixture)) == pytest.approx(ratio / stats.t.pdf(t, n - 1), rel=1e-5)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_e_value_has_expectation_one_under_the_null(n):
    """Integrated over the angle of t = sqrt(n - 1) tan(angle), whose density is cos^(n - 2), scaled."""

    def integrand(angle):
        density = math.cos(angle) ** (n - 2)
        return np.array([density, density * math.exp(log_e_value(math.sqrt(n - 1) * math.tan(angle), n))])

    total, weighted = (quad(lambda a, k=k: integrand(a)[k], -math.pi / 2, math.pi / 2)[0] for k in (0, 1))
    assert weighted / total == pytest.approx(1.0, abs=1e-6)


def test_given_the_past_the_next_e_value_is_expected_where_the_last_one_is():
    """The martingale property, from one past whose length, but not its direction, is forgotten."""
    rng = np.random.default_rng(4)
    past = np.array([1.0, 0.3, -0.4, 0.8])
    length = np.sqrt(rng.chisquare(4, 400_000))
    grown = np.column_stack([np.outer(length, past / np.linalg.norm(past)), rng.normal(size=length.size)])
    mean, sd, pairs = moments(grown)
    e = np.exp(running_log_e(mean, sd, pairs))
    error = e[:, -1].std() / math.sqrt(length.size)
    assert e[:, -2].std() < 1e-9
    assert e[:, -1].mean() == pytest.approx(e[0, -2], abs=5 * error)
    assert error < 0.01 * e[0, -2]


def test_no_effect_is_rejected_by_at_most_alpha_at_every_number_of_pairs_up_to_20():
    studies = 20_000
    mean, sd, pairs = simulated(studies, 1)
    for looks in (1, 4, 9, 19):
        p = p_difference(mean[:, :looks], sd[:, :looks], pairs[:looks])
        for alpha in (0.01, 0.05, 0.1):
            assert (p <= alpha).mean() <= upper_bound(alpha, studies)
    # It is no trivial test either: it spends part of its alpha, and sees a large effect.
    assert (p <= 0.05).mean() > 0.01
    mean, sd, pairs = simulated(1000, 2, mean=1.5)
    assert (p_difference(mean, sd, pairs) <= 0.05).mean() > 0.95


def test_all_intervals_together_cover_as_often_as_they_say():
    studies = 20_000
    mean, sd, pairs = simulated(studies, 3, mean=0.7)
    for alpha in (0.05, 0.1):
        low, high = confidence_sequence(mean, sd, pairs, alpha)
        missed = ((low > 0.7) | (high < 0.7)).any(axis=1).mean()
        assert 0 < missed <= upper_bound(alpha, studies)
        assert np.isfinite(low[:, -1]).all()


@pytest.mark.parametrize("margin", [0.3, 1.0, 3.0])
def test_an_effect_at_the_margin_is_called_equivalent_by_at_most_alpha_at_any_look(margin):
    studies = 10_000
    mean, sd, pairs = simulated(studies, 4, mean=-margin)
    for looks in (4, 9, 19):
        p = p_equivalence(mean[:, :looks], sd[:, :looks], pairs[:looks], margin)
        assert (p <= 0.05).mean() <= upper_bound(0.05, studies)


def test_no_effect_is_called_equivalent_when_the_margin_is_wide():
    mean, sd, pairs = simulated(1000, 5)
    assert (p_equivalence(mean, sd, pairs, 1.5) <= 0.05).mean() > 0.95


@given(studies_of_gains, st.floats(0.01, 0.4), st.floats(-2, 2))
def test_a_mean_is_in_the_sequence_where_and_only_where_its_e_values_stay_below_one_over_alpha(
    gains, alpha, null
):
    mean, sd, pairs = moments(gains)
    low, high = confidence_sequence(mean, sd, pairs, alpha)
    largest = float(running_log_e(mean, sd, pairs, null).max())
    if abs(largest + math.log(alpha)) > 1e-6:
        assert (low[-1] < null < high[-1]) == (largest < -math.log(alpha))


@given(studies_of_gains, st.floats(0.01, 0.4), st.floats(0.1, 5))
def test_equivalence_is_claimed_where_and_only_where_the_sequence_lies_inside_the_margin(
    gains, alpha, margin
):
    mean, sd, pairs = moments(gains)
    low, high = confidence_sequence(mean, sd, pairs, alpha)
    p = float(p_equivalence(mean, sd, pairs, margin))
    if abs(p - alpha) > 1e-6:
        assert (p < alpha) == bool(low[-1] > -margin and high[-1] < margin)


@given(studies_of_gains, st.floats(1e-3, 1e3))
def test_p_values_do_not_depend_on_the_unit_and_never_rise(gains, unit):
    mean, sd, pairs = moments(gains)
    for looks in range(2, len(pairs) + 1):
        part = slice(0, looks)
        now = p_difference(mean[part], sd[part], pairs[part])
        assert now <= p_difference(mean[: looks - 1], sd[: looks - 1], pairs[: looks - 1])
        assert p_difference(unit * mean[part], unit * sd[part], pairs[part]) == pytest.approx(now, rel=1e-6)
        assert p_equivalence(unit * mean, unit * sd, pairs, unit) == pytest.approx(
            p_equivalence(mean, sd, pairs, 1.0), rel=1e-6
        )


def test_the_default_mixture_costs_at_most_a_tenth_of_the_width_from_4_to_20_pairs():
    choices = np.geomspace(0.1, 100.0, 400)
    for n in range(4, 21):
        best = min(float(half_width(n, 1.0, 0.05, g)) for g in choices)
        assert float(half_width(n, 1.0, 0.05)) <= 1.1 * best


def test_two_and_three_pairs_cannot_bound_the_mean_at_95_percent():
    assert np.isinf(half_width(np.array([2.0, 3.0]), np.ones(2), 0.05)).all()
    assert math.exp(log_e_value(math.inf, 3)) == pytest.approx(16.0)
    assert math.isfinite(half_width(4, 1.0, 0.05))


def test_a_look_without_variance_is_no_evidence():
    mean, sd, pairs = np.array([0.2, 0.3]), np.array([0.0, 0.17]), np.array([2.0, 3.0])
    assert running_log_e(mean, sd, pairs)[0] == 0.0
    assert np.isinf(half_width(2.0, np.array(0.0), 0.5))
