"""Sequential plans keep their error rate when every look is taken."""

import pytest
from scipy.stats import binom

from ablate.stats.sequential import Looks
from ablate.stats.sequential_simulation import EVERY, FOUR, PLANS, _check, simulate_looks
from ablate.stats.simulation import NORMAL, POPULATIONS, SimulationError, draw_studies

STUDIES = 2000
MOST = binom.ppf(0.99, STUDIES, 0.05)


@pytest.mark.parametrize("plan", PLANS, ids=lambda one: f"{one.rule}-{one.spending}-{len(one.at)}")
def test_peeking_at_every_look_up_to_twenty_keeps_alpha(plan):
    found = simulate_looks(NORMAL, plan, STUDIES)
    assert len(found.rejections) == len(plan.at)
    assert all(0 <= rate.count <= MOST for rate in found.rejections)
    assert found.rejections[-1].count > 0
    assert 0 < found.equivalent_above.count <= MOST
    assert 0 < found.equivalent_below.count <= MOST
    # The plain t test under the same peeking does not keep it.
    assert found.peeking[-1].interval[0] > 0.10


def test_claims_only_grow_from_look_to_look():
    found = simulate_looks(NORMAL, PLANS[0], 500)
    counts = [rate.count for rate in found.rejections]
    assert counts == sorted(counts)


def test_tied_differences_at_early_looks_claim_nothing_and_do_not_fail():
    discrete = next(one for one in POPULATIONS if one.name == "discrete")
    assert simulate_looks(discrete, Looks("anytime", EVERY), 300).rejections[0].count == 0


def test_an_anytime_plan_that_skips_looks_is_refused():
    with pytest.raises(ValueError, match="every number of pairs"):
        simulate_looks(NORMAL, Looks("anytime", FOUR), 10)


@pytest.mark.parametrize("plan", [PLANS[0], PLANS[-1]], ids=lambda one: one.rule)
def test_a_rule_that_drifts_from_the_instrument_stops_the_simulation(plan):
    certain = draw_studies(NORMAL, 20, 1, seed=0)[0] + 10.0
    _check(certain, None, plan, claimed=True)
    with pytest.raises(SimulationError, match="one of them has changed"):
        _check(certain, None, plan, claimed=False)
