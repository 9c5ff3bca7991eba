"""The verdict rule, Holm's adjustment and power."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from ablate.stats import verdict
from ablate.stats.paired import PairedSample, estimate
from ablate.stats.verdict import detection_power, holm, judge, largest_sd, seeds_needed, tost_power


def found(gains, margin):
    return estimate(PairedSample(tuple(range(len(gains))), tuple(gains), (0.0,) * len(gains)), margin)


@given(st.lists(st.floats(-0.25, 0.25, width=32), min_size=2, max_size=8), st.floats(0.01, 0.3))
def test_with_one_contrast_the_rule_is_that_of_the_intervals(gains, margin):
    assume(np.std(gains) > 1e-4)
    result = found(gains, margin)
    (low95, high95), (low90, high90) = result.interval95, result.interval90
    # A bound that touches zero or the margin to rounding may fall on either side.
    assume(min(abs(low95), abs(high95), abs(low90 + margin), abs(high90 - margin)) > 1e-9)
    if -margin < low90 and high90 < margin:
        expected = "equivalent"
    elif low95 > 0:
        expected = "helps"
    else:
        expected = "hurts" if high95 < 0 else "inconclusive"
    (p,), (q,) = holm([result.p_difference]), holm([result.p_equivalence])
    assert judge(result.mean_gain, p, q) == expected


def test_equivalence_wins_ties():
    result = found([0.010, 0.011, 0.012, 0.010, 0.011], margin=0.05)
    assert result.interval95[0] > 0
    assert judge(result.mean_gain, result.p_difference, result.p_equivalence) == "equivalent"


def test_no_p_value_no_claim():
    assert judge(0.7, None, None) == "inconclusive"
    assert judge(None, None, None) == "inconclusive"


def test_exactly_alpha_is_not_enough():
    assert judge(0.1, 0.05, 0.05) == "inconclusive"
    assert judge(0.1, 0.0499, 0.05) == "helps"
    assert judge(-0.1, 0.0499, 0.05) == "hurts"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([]) == []


def test_holm_agrees_with_statsmodels():
    for p_values in (np.random.default_rng(0).uniform(size=(4, 7)) ** 3).tolist():
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-15)


def test_a_contrast_without_a_p_value_still_counts_in_the_family():
    assert holm([0.01, None, None]) == [pytest.approx(0.03), None, None]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_never_makes_a_p_value_smaller_and_keeps_their_order(p_values):
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)


def test_power_of_the_designs_margins():
    assert tost_power(17, 0.007, 0.005) == pytest.approx(0.76, abs=0.005)
    assert seeds_needed(0.007, 0.005, power=0.755) == 17
    assert seeds_needed(0.007, 0.01) == 6


@pytest.mark.parametrize(
    ("cv", "subjects", "published"), [(0.20, 20, 0.834680), (0.25, 28, 0.807439), (0.30, 40, 0.815845)]
)
def test_power_of_two_one_sided_tests_agrees_with_published_crossover_designs(cv, subjects, published):
    """Exact powers of 2x2 crossover designs at a true ratio of 0.95 and margins 0.80 to 1.25, as
    the R package PowerTOST (Labes et al.) prints them."""
    error = math.sqrt(math.log1p(cv**2)) * math.sqrt(2 / subjects)
    low, high = (-math.log(1.25) - math.log(0.95)) / error, (math.log(1.25) - math.log(0.95)) / error
    assert verdict._owen_power(subjects - 2, low, high, 0.05) == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize(("pairs", "margin", "difference"), [(2, 3.0, 0.0), (5, 1.0, 0.0), (8, 1.0, 0.4)])
def test_power_of_two_one_sided_tests_agrees_with_simulation(pairs, margin, difference):
    gains = np.random.default_rng(5).normal(difference, 1.0, size=(200_000, pairs))
    error = gains.std(axis=1, ddof=1) / math.sqrt(pairs)
    half = stats.t.ppf(0.95, pairs - 1) * error
    share = np.mean(np.abs(gains.mean(axis=1)) + half < margin)
    assert tost_power(pairs, 1.0, margin, difference) == pytest.approx(share, abs=0.004)


def test_false_equivalence_at_the_margin_is_alpha_at_most():
    for pairs in (3, 5, 10, 50):
        assert tost_power(pairs, 1.0, 2.0, difference=2.0) <= 0.05 + 1e-9


@given(st.integers(2, 60), st.floats(0.05, 3.0))
def test_detection_power_is_that_of_statsmodels(pairs, effect):
    expected = TTestPower().power(effect, pairs, 0.05, alternative="two-sided")
    assume(math.isfinite(expected))  # scipy's noncentral t gives NaN in the far tail
    assert detection_power(pairs, 1.0, effect) == pytest.approx(expected, abs=1e-8)


@given(st.floats(0.05, 3.0), st.sampled_from([0.6, 0.8, 0.9]))
def test_seeds_needed_is_the_smallest_number_and_also_detects_one_margin(margin, power):
    pairs = seeds_needed(1.0, margin, power)
    assert tost_power(pairs, 1.0, margin) >= power
    assert pairs == 2 or tost_power(pairs - 1, 1.0, margin) < power
    assert margin > 1.0 or power != 0.8 or detection_power(pairs, 1.0, margin) >= power


def test_a_margin_out_of_reach_has_no_number_of_seeds():
    assert seeds_needed(1.0, 1e-4) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: seeds_needed(0.0, 0.1),
        lambda: seeds_needed(math.nan, 0.1),
        lambda: seeds_needed(1.0, 0.0),
        lambda: seeds_needed(1.0, 0.1, power=1.0),
        lambda: tost_power(1, 1.0, 0.1),
        lambda: detection_power(5, 1.0, 0.1, alpha=0.0),
    ],
)
def test_power_refuses_what_makes_no_sense(call):
    with pytest.raises(ValueError):
        call()


def test_false_helps_or_hurts_is_at_most_alpha_over_the_whole_family():
    """2000 studies of 5 seeds and 3 arms that differ in nothing, against one baseline."""
    rng = np.random.default_rng(3)
    false, studies = 0, 2000
    for scores in rng.normal(0.5, 0.01, size=(studies, 4, 5)):
        results = [found(scores[arm] - scores[0], margin=1e-6) for arm in (1, 2, 3)]
        p, q = holm([r.p_difference for r in results]), holm([r.p_equivalence for r in results])
        claims = [judge(r.mean_gain, a, b) for r, a, b in zip(results, p, q, strict=True)]
        false += any(claim != "inconclusive" for claim in claims)
    assert false <= stats.binom.ppf(0.99, studies, 0.05)
    assert false > 0


def test_the_largest_sd_of_the_designs_margins():
    assert largest_sd(17, 0.005, power=tost_power(17, 0.007, 0.005)) == pytest.approx(0.007, rel=1e-8)
    assert largest_sd(17, 0.005) < 0.007
    assert largest_sd(5, 0.01) < 0.007 <= largest_sd(6, 0.01)


@given(
    st.integers(2, 200),
    st.floats(1e-4, 10.0),
    st.sampled_from([0.05, 0.5, 0.8, 0.95]),
    st.sampled_from([0.05, 0.05 / 12]),
)
def test_the_largest_sd_just_has_the_power(pairs, margin, power, alpha):
    sd = largest_sd(pairs, margin, power, alpha)
    assert tost_power(pairs, sd * (1 - 1e-6), margin, alpha=alpha) >= power
    assert tost_power(pairs, sd * (1 + 1e-6), margin, alpha=alpha) < power


@pytest.mark.parametrize(
    ("pairs", "margin", "power", "alpha"),
    [
        (1, 0.1, 0.8, 0.05),
        (0, 0.1, 0.8, 0.05),
        (5, 0.0, 0.8, 0.05),
        (5, math.inf, 0.8, 0.05),
        (5, 0.1, 1.0, 0.05),
        (5, 0.1, 0.0, 0.05),
        (5, 0.1, 0.8, 0.5),
    ],
)
def test_the_largest_sd_refuses_what_makes_no_sense(pairs, margin, power, alpha):
    with pytest.raises(ValueError):
        largest_sd(pairs, margin, power, alpha)
