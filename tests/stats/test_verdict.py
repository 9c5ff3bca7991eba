"""The verdict rule and Holm's adjustment."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablate.stats.paired import PairedSample, estimate
from ablate.stats.verdict import holm, judge


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
