"""Sequential results of a contrast, as a report reads them."""

import dataclasses
import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.paired import PairedSample, estimate
from ablate.stats.sequential import Looks, boundaries, sequential_result

PLANS = [
    Looks("group_sequential", (5, 10, 15, 20), "obrien_fleming"),
    Looks("group_sequential", (3, 5, 8), "pocock"),
    Looks("anytime", (2, 20)),
]

plans = st.sampled_from(PLANS)
gains_in_order = st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=20).filter(
    lambda gains: min(np.std(gains[:n]) for n in range(2, len(gains) + 1)) > 1e-3
)


def studies(count, pairs, mean, seed):
    return np.random.default_rng(seed).normal(mean, 1.0, (count, pairs))


def upper_bound(probability, count):
    """What a simulated rate of at most ``probability`` stays below, but for one time in 100,000."""
    return stats.binom.ppf(1 - 1e-5, count, probability) / count


@given(st.lists(st.floats(-3, 3, width=32), min_size=5, max_size=5).filter(lambda g: np.std(g) > 1e-3))
def test_one_look_is_the_fixed_design(gains):
    found = sequential_result(np.array(gains), 0.8, Looks("group_sequential", (5,), "obrien_fleming"))
    fixed = estimate(PairedSample(tuple(range(5)), tuple(gains), (0.0,) * 5), 0.8)
    assert found.p_difference == pytest.approx(stats.ttest_1samp(gains, 0.0).pvalue, rel=1e-9)
    assert found.p_equivalence == pytest.approx(fixed.p_equivalence, rel=1e-9)
    assert found.interval95 == pytest.approx(fixed.interval95, abs=1e-9)
    assert found.interval90 == pytest.approx(fixed.interval90, abs=1e-9)
    assert (found.look, found.pairs_used, found.boundary, found.remark) == (1, 5, 0.05, "")


def test_pairs_between_looks_wait_for_the_next_look_and_the_remark_says_so():
    gains = studies(1, 20, 0.5, 1)[0]
    plan = PLANS[0]
    found, at_look = sequential_result(gains[:13], 0.8, plan), sequential_result(gains[:10], 0.8, plan)
    assert dataclasses.replace(found, remark="") == at_look
    assert found.pairs_used == 10
    assert found.remark == "3 pairs after look 2, at 10, not used before the next look, at 15"


def test_pairs_beyond_the_last_look_have_no_alpha_left_and_are_not_used():
    gains = studies(1, 9, 0.5, 2)[0]
    found = sequential_result(gains, 0.8, PLANS[1])
    assert dataclasses.replace(found, remark="") == sequential_result(gains[:8], 0.8, PLANS[1])
    assert found.remark == "1 pair beyond the last look, at 8, not used"


def test_the_anytime_rule_uses_every_pair_and_goes_on_beyond_the_plan():
    gains = studies(1, 24, 0.5, 3)[0]
    found = sequential_result(gains, 0.8, Looks("anytime", (5, 10)))
    assert (found.look, found.pairs_used, found.remark) == (2, 24, "")
    assert found.evidence > sequential_result(gains[:12], 0.8, Looks("anytime", (5, 10))).evidence
    assert found.boundary is None


@pytest.mark.parametrize("gains", [[], [0.3], [0.3, 0.2, 0.4, 0.1]])
def test_before_the_first_look_nothing_is_claimed(gains):
    found = sequential_result(np.array(gains), 0.8, PLANS[0])
    assert (found.look, found.pairs_used) == (0, 0)
    assert found.p_difference is found.p_equivalence is found.interval95 is found.interval90 is None
    assert f"{len(gains)} pair" in found.remark
    assert "first look is at 5" in found.remark


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("gain", [0.0, 0.1, 0.1 + 1e-17])
def test_equal_differences_give_no_test_and_no_nan(plan, gain):
    found = sequential_result(np.full(5, gain), 0.8, plan)
    assert found.p_difference is found.p_equivalence is found.interval95 is found.evidence is None
    assert "all 5 differences are equal" in found.remark


def test_differences_that_rounding_tells_apart_are_equal():
    reference = np.array([0.1, 0.2, 0.3, 0.7, 0.9])
    gains = (reference + 0.1) - reference
    assert len(set(gains)) > 1
    assert sequential_result(gains, 0.8, PLANS[0], size=1.0).p_difference is None
    noise = np.array([1e-17, -2e-17, 0.0, 3e-17, 1e-17])
    assert sequential_result(noise, 0.8, PLANS[0], size=1.0).p_difference is None


def test_a_first_look_without_variance_claims_nothing_and_later_ones_go_on():
    gains = np.array([0.5, 0.5, 0.5, 0.4, 0.6])
    found = sequential_result(gains, 0.8, PLANS[1])
    assert found.look == 2
    assert 0 < found.p_difference < 1
    assert "equal differences at look 1" in found.remark
    assert 0 < sequential_result(gains, 0.8, PLANS[2]).p_difference < 1


def test_intervals_that_so_few_pairs_cannot_bound_are_none_with_the_reason():
    found = sequential_result(np.array([0.3, 0.1, 0.2]), 0.8, Looks("anytime", (2,)))
    assert found.interval95 is None
    assert found.interval90 is not None
    assert found.remark == "the 95% confidence sequence is unbounded at so few pairs"


def test_looks_that_contradict_each_other_leave_an_empty_sequence():
    gains = np.concatenate([10.0 + 0.1 * studies(1, 8, 0.0, 4)[0], np.full(60, -0.1), np.full(60, 0.1)])
    found = sequential_result(gains, None, Looks("anytime", (2,)))
    assert found.interval95 is None
    assert "empty" in found.remark
    assert found.p_equivalence is None


def test_evidence_beyond_floating_point_is_still_a_number():
    found = sequential_result(1.0 + 1e-9 * studies(1, 300, 0.0, 5)[0], None, Looks("anytime", (2,)))
    assert 1e300 < found.evidence < math.inf
    assert 0.0 <= found.p_difference < 1e-300


@settings(deadline=None)
@given(plans, gains_in_order, st.floats(0.05, 4))
def test_p_values_never_rise_and_do_not_depend_on_the_unit_or_the_direction(plan, gains, margin):
    gains = np.array(gains)
    found = [sequential_result(gains[:n], margin, plan) for n in range(5, gains.size + 1)]
    for earlier, later in itertools.pairwise(found):
        assert later.p_difference <= earlier.p_difference
        assert later.p_equivalence <= earlier.p_equivalence
    scaled = sequential_result(-8.0 * gains, 8.0 * margin, plan)
    assert scaled.p_difference == pytest.approx(found[-1].p_difference, rel=1e-9)
    assert scaled.p_equivalence == pytest.approx(found[-1].p_equivalence, rel=1e-9)
    if found[-1].interval95 is not None:
        low, high = found[-1].interval95
        assert scaled.interval95 == pytest.approx((-8 * high, -8 * low), rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(plans, gains_in_order, st.floats(0.05, 4))
def test_intervals_and_p_values_say_the_same(plan, gains, margin):
    """Where no earlier look decided, the p value is below 0.05 only with the latest look's interval."""
    found = sequential_result(np.array(gains), margin, plan)
    inner = found.interval90 if plan.rule == "group_sequential" else found.interval95
    if found.interval95 is None or inner is None:
        return
    low, high = found.interval95
    if low > 1e-9 or high < -1e-9:
        assert found.p_difference < 0.05 + 1e-9
    if -margin < inner[0] - 1e-9 and inner[1] + 1e-9 < margin:
        assert found.p_equivalence < 0.05 + 1e-9
    earlier = [n for n in plan.at if n < found.pairs_used]
    if plan.rule == "anytime" or not earlier:
        assert (found.p_difference < 0.05) == (low > 0 or high < 0)
        assert (found.p_equivalence < 0.05) == (-margin < inner[0] and inner[1] < margin)


@pytest.mark.parametrize("plan", PLANS)
def test_the_intervals_of_all_looks_together_cover_the_gain(plan):
    count = 500
    missed95 = missed90 = 0
    for gains in studies(count, plan.at[-1], 0.4, 6):
        seen = [sequential_result(gains[:n], None, plan) for n in plan.at]
        both = [(r.interval95, r.interval90) for r in seen if r.interval95 and r.interval90]
        missed95 += any(not low <= 0.4 <= high for (low, high), _ in both)
        missed90 += any(not low <= 0.4 <= high for _, (low, high) in both)
    assert missed95 / count <= upper_bound(0.05, count)
    assert missed90 / count <= upper_bound(0.10, count)
    if plan.rule == "group_sequential":
        assert missed95 / count >= stats.binom.ppf(1e-5, count, 0.05) / count


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("mean", [-0.8, 0.8])
def test_a_gain_at_the_margin_is_called_equivalent_by_at_most_alpha(plan, mean):
    count = 500
    found = [sequential_result(g, 0.8, plan).p_equivalence for g in studies(count, plan.at[-1], mean, 7)]
    assert np.mean(np.array(found) < 0.05) <= upper_bound(0.05, count)


@pytest.mark.parametrize("plan", PLANS)
def test_without_an_effect_a_difference_is_claimed_by_at_most_alpha(plan):
    count = 500
    found = [sequential_result(g, 0.8, plan).p_difference for g in studies(count, plan.at[-1], 0.0, 8)]
    assert np.mean(np.array(found) < 0.05) <= upper_bound(0.05, count)


def test_a_contrast_costs_milliseconds_once_the_boundaries_are_there():
    plan = Looks("group_sequential", tuple(range(2, 21)), "pocock")
    sequential_result(studies(1, 20, 0.0, 9)[0], 0.8, plan)
    started = time.perf_counter()
    for gains in studies(60, 20, 0.0, 10):
        sequential_result(gains, 0.8, plan)
    assert time.perf_counter() - started < 6.0


def test_boundaries_are_one_a_look():
    found = boundaries(PLANS[0])
    assert len(found) == 4
    assert list(found) == sorted(found)
    assert boundaries(PLANS[0], 0.05, 1)[0] == pytest.approx(boundaries(PLANS[0], 0.10, 2)[0] / 2)
    with pytest.raises(ValueError, match="anytime has no boundaries"):
        boundaries(PLANS[2])


@pytest.mark.parametrize(
    ("rule", "at", "spending", "message"),
    [
        ("weekly", (5,), "pocock", "rule is one of group_sequential, anytime, not 'weekly'"),
        ("anytime", (), None, "at least one"),
        ("anytime", [2, 3], None, "`at` is a tuple"),
        ("anytime", (1, 5), None, "2 pairs or more, a whole number, not 1"),
        ("anytime", (5.5,), None, "not 5.5"),
        ("anytime", (True, 5), None, "not True"),
        ("group_sequential", (5, 5), "pocock", "increase, and 5 follows 5"),
        ("group_sequential", (10, 5), "pocock", "increase, and 5 follows 10"),
        ("group_sequential", (5, 10), None, "spending is one of obrien_fleming, pocock, not None"),
        ("group_sequential", (5, 10), "haybittle", "not 'haybittle'"),
        ("group_sequential", (5, 500), "pocock", "500 pairs are more than the 200"),
        ("anytime", (5, 10), "pocock", "anytime spends no alpha"),
    ],
)
def test_a_plan_that_is_none_is_refused_and_the_fault_named(rule, at, spending, message):
    with pytest.raises(ValueError, match=message):
        Looks(rule, at, spending)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gains_and_margins_are_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        sequential_result(np.array([0.1, bad, 0.2]), 0.8, PLANS[0])
    with pytest.raises(ValueError, match="margin"):
        sequential_result(np.array([0.1, 0.3]), bad, PLANS[0])
