"""Power and numbers of pairs, against statsmodels, published tables and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from ablate.stats import power
from ablate.stats.paired import PairedSample, estimate
from ablate.stats.power import (
    detectable_difference,
    detection_power,
    half_width,
    largest_sd,
    pairs_to_detect,
    seeds_needed,
    seeds_to_decide,
    tost_power,
    unpaired_seeds,
)


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
    assert power._owen_power(subjects - 2, low, high, 0.05) == pytest.approx(published, abs=1e-6)


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


def power_by_adaptive_quadrature(pairs, effect, alpha, low=None):
    """Power of the t test at an effect in sds, or of two one-sided tests within ``low`` and ``effect``."""
    df, root = pairs - 1, math.sqrt(pairs)
    high = effect * root
    if low is None:
        critical = stats.t.ppf(1 - alpha / 2, df)
        value = lambda u: stats.norm.cdf(high - critical * u) + stats.norm.cdf(-high - critical * u)  # noqa: E731
    else:
        critical = stats.t.ppf(1 - alpha, df)
        value = lambda u: max(  # noqa: E731
            0.0, stats.norm.cdf(high - critical * u) - stats.norm.cdf(low * root + critical * u)
        )
    density = stats.chi(df, scale=1 / math.sqrt(df)).pdf
    bends = sorted(min(8.0, max(0.0, high / critical + step / critical)) for step in (-9, -3, 0, 3, 9))
    return integrate.quad(lambda u: density(u) * value(u), 0, 9, points=bends, limit=500, epsabs=1e-11)[0]


@pytest.mark.parametrize("pairs", [2, 3, 4, 6])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12, 0.05 / 200])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 2.0])
def test_few_pairs_and_the_strictest_step_of_holm_are_exact_too(pairs, alpha, share):
    """The critical value of two pairs at 0.00025 is 2546: the tests' power is a cliff in the sd."""
    effect = share * stats.t.ppf(1 - alpha / 2, pairs - 1) / math.sqrt(pairs)
    expected = power_by_adaptive_quadrature(pairs, effect, alpha)
    assert detection_power(pairs, 1.0, effect, alpha) == pytest.approx(expected, abs=1e-8)
    for shift in (0.0, 0.3 * effect):
        expected = power_by_adaptive_quadrature(pairs, effect - shift, alpha, low=-effect - shift)
        assert tost_power(pairs, 1.0, effect, shift, alpha) == pytest.approx(expected, abs=1e-8)


@given(st.integers(2, 100), st.sampled_from([0.5, 0.8, 0.9]), st.sampled_from([0.05, 0.05 / 12]))
def test_the_minimum_detectable_effect_is_that_of_statsmodels(pairs, power, alpha):
    found = detectable_difference(pairs, 0.007, power, alpha)
    seen = TTestPower().power(found / 0.007, pairs, alpha, alternative="two-sided")
    assume(math.isfinite(seen))  # scipy's noncentral t gives NaN in the far tail
    assert seen == pytest.approx(power, abs=1e-6)
    assert found == pytest.approx(detectable_difference(pairs, 1.0, power, alpha) * 0.007, rel=1e-12)


def test_the_minimum_detectable_effect_of_cohens_tables():
    """A paired t test of 34 pairs sees half an sd with power 0.80, 44 pairs with 0.90 (G*Power 3.1)."""
    assert detectable_difference(34, 1.0, 0.80) <= 0.5 < detectable_difference(33, 1.0, 0.80)
    assert detectable_difference(44, 1.0, 0.90) <= 0.5 < detectable_difference(43, 1.0, 0.90)
    assert pairs_to_detect(1.0, 0.5) == 34
    assert pairs_to_detect(1.0, -0.5, power=0.9) == 44


@given(st.floats(0.02, 5.0), st.sampled_from([0.06, 0.3, 0.8, 0.95]), st.sampled_from([0.05, 0.004]))
def test_pairs_to_detect_is_the_smallest_number(difference, power, alpha):
    pairs = pairs_to_detect(1.0, difference, power, alpha)
    assert detection_power(pairs, 1.0, difference, alpha) >= power
    assert pairs == 2 or detection_power(pairs - 1, 1.0, difference, alpha) < power


def test_a_difference_out_of_reach_has_no_number_of_pairs():
    assert pairs_to_detect(1.0, 1e-4) is None
    assert pairs_to_detect(1.0, 0.0) is None


def test_an_inconclusive_contrast_is_told_both_numbers_the_plausible_one_first():
    small = seeds_to_decide(gain=0.004, sd=0.01, margin=0.005)
    assert (small.detect, small.equivalent) == (pairs_to_detect(0.01, 0.004), seeds_needed(0.01, 0.005))
    assert small.plausible == "equivalent"
    assert small.words.startswith(f"about {small.equivalent} pairs would show equivalence")
    large = seeds_to_decide(gain=-0.02, sd=0.03, margin=0.005, alpha=0.05 / 12)
    assert large.plausible == "detect"
    assert large.words.startswith(f"about {large.detect} pairs would detect")
    assert f"about {large.equivalent} pairs" in large.words


def test_without_a_margin_or_a_difference_only_the_other_claim_has_a_number():
    assert seeds_to_decide(0.01, 0.02, margin=None).equivalent is None
    assert "equivalence" not in seeds_to_decide(0.01, 0.02, margin=None).words
    still = seeds_to_decide(0.0, 0.02, margin=0.01)
    assert still.detect is None
    assert "none to detect" in still.words
    assert "more than 1000000 pairs" in seeds_to_decide(1e-7, 0.02, margin=0.01).words


@given(st.integers(3, 12), st.floats(-0.95, 0.95), st.floats(0.2, 5.0))
def test_the_unpaired_design_is_the_smallest_whose_welch_interval_is_as_narrow(pairs, correlation, ratio):
    sd = math.sqrt(1.0 + ratio**2 - 2.0 * correlation * ratio)
    design = unpaired_seeds(pairs, sd, 1.0, ratio)
    assert design.more == design.seeds - pairs

    def welch(seeds):
        shape = np.linspace(-1.0, 1.0, seeds)
        shape /= shape.std(ddof=1)
        interval = stats.ttest_ind(shape, ratio * shape, equal_var=False).confidence_interval(0.95)
        return (interval.high - interval.low) / 2

    target = half_width(pairs, sd)
    assert welch(design.seeds) <= target * (1 + 1e-9)
    assert design.seeds == 2 or welch(design.seeds - 1) > target * (1 - 1e-9)


def test_pairing_of_the_designs_first_pilot_saves_seeds_and_of_the_second_does_not():
    """Correlation 0.89: unpaired, the variance would be nine times as large. None or negative: it
    would be no larger, with more degrees of freedom."""
    strong = unpaired_seeds(5, math.sqrt(2 - 2 * 0.89), 1.0, 1.0)
    assert strong == (24, 19)
    assert unpaired_seeds(5, math.sqrt(2.0), 1.0, 1.0).more < 0
    assert unpaired_seeds(5, math.sqrt(2 + 2 * 0.96), 1.0, 1.0).more < 0


def test_the_unpaired_design_of_a_sample_whose_welch_interval_is_the_paired_one():
    """At the sample's own number of seeds the half-width is that of `PairedEstimate.welch95`."""
    first, second = np.random.default_rng(3).normal(size=(2, 8))
    found = estimate(PairedSample(tuple(range(8)), tuple(first), tuple(second)))
    welch = (found.welch95[1] - found.welch95[0]) / 2
    # A paired study of 8 whose interval is as wide as Welch's gives 8 seeds back.
    sd = welch / half_width(8, 1.0)
    design = unpaired_seeds(8, sd * (1 + 1e-9), first.std(ddof=1), second.std(ddof=1))
    assert (design.seeds, design.more) == (8, 0)


def test_arms_that_do_not_vary_have_no_unpaired_design():
    assert unpaired_seeds(5, 0.0, 1.0, 1.0) is None
    assert unpaired_seeds(5, 0.1, 0.0, 0.0) is None
    assert unpaired_seeds(5, 1e-6, 1.0, 1.0) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: detectable_difference(1, 1.0),
        lambda: detectable_difference(5, 0.0),
        lambda: detectable_difference(5, 1.0, power=0.05),
        lambda: detectable_difference(5, 1.0, power=1.0),
        lambda: pairs_to_detect(0.0, 0.1),
        lambda: pairs_to_detect(1.0, math.nan),
        lambda: pairs_to_detect(1.0, 0.1, power=0.01),
        lambda: seeds_to_decide(0.1, 1.0, margin=0.0),
        lambda: unpaired_seeds(1, 1.0, 1.0, 1.0),
        lambda: unpaired_seeds(5, 1.0, -1.0, 1.0),
        lambda: unpaired_seeds(5, 1.0, math.nan, 1.0),
    ],
)
def test_designs_refuse_what_makes_no_sense(call):
    with pytest.raises(ValueError):
        call()
