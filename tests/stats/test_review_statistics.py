"""What a report says has to agree with itself: signs, intervals, families and labels."""

import dataclasses

import numpy as np
import pytest
from fabricated import ACCURACY, header, runs

from ablate.report.calibration_page import Simulation, sentences
from ablate.report.contrast_tables import CONTRAST_COLUMNS
from ablate.report.sentences import coverage_legend, looks_legend, verdict_sentences
from ablate.stats.calibration import PlantedPower
from ablate.stats.contrasts import Contrast, contrasts
from ablate.stats.power import seeds_to_decide
from ablate.stats.rate import Rate
from ablate.stats.simulation import NORMAL, POPULATIONS, simulate
from ablate.stats.verdict import benjamini_hochberg, holm

SEQUENTIAL = (
    {"rule": "group_sequential", "looks": [5, 10], "spending": "pocock"},
    {"rule": "anytime", "looks": list(range(2, 11))},
)


def total(gains, margin=0.05, arms=("other",), **changes) -> Contrast:
    """The contrast of the first arm; further arms swing wildly and claim nothing."""
    base = np.full(len(gains), 0.5)
    noise = np.resize([0.3, -0.3], len(gains))
    values = {"text": list(base)} | {arm: list(base + noise) for arm in arms}
    values[arms[0]] = list(base + np.array(gains))
    records = runs(values)
    return contrasts(records, header(records, {ACCURACY: margin}, **changes))[0]


@pytest.mark.parametrize("rule", SEQUENTIAL, ids=lambda rule: rule["rule"])
def test_a_claim_has_the_sign_of_the_look_that_made_it(rule):
    up = [0.30, 0.31, 0.29, 0.30, 0.31]
    turned = [*up, -0.70, -0.72, -0.69, -0.70, -0.71]
    assert total(up, **rule).verdict == "helps"
    later = total(turned, **rule)
    assert later.estimate.mean_gain < 0
    assert later.verdict == "helps"
    assert total([-gain for gain in turned], **rule).verdict == "hurts"


def test_a_verdict_that_the_latest_interval_does_not_show_says_so():
    rule = SEQUENTIAL[0]
    gains = [0.1, 0.101, 0.099, 0.1, 0.102, -0.2, 0.3, -0.1, 0.2, -0.25]
    found = total(gains, **rule)
    assert found.verdict == "helps"
    assert found.interval95[0] < 0
    assert "decided at an earlier look" in found.note
    assert "earlier look" not in total(gains[:5], **rule).note
    same = total([gain - 0.1 for gain in gains], **rule)
    assert same.verdict == "equivalent"
    assert "decided at an earlier look" in same.note


def test_equivalence_lost_to_adjustment_says_so():
    gains = [0.045, -0.03, 0.05, -0.04, 0.01]
    alone, among = total(gains), total(gains, arms=tuple("abcdefgh"))
    assert alone.verdict == "equivalent"
    assert -0.05 < among.interval90[0] < among.interval90[1] < 0.05
    assert among.verdict == "inconclusive"
    assert "within the margin before adjustment over 8 contrasts" in among.note


def test_the_sentence_of_an_equivalent_arm_gives_the_interval_inside_the_margin():
    gains = [0.045, -0.03, 0.05, -0.04, 0.01]
    one = total(gains)
    assert one.interval95[1] > 0.05
    records = runs({"text": [0.5] * 5, "other": [0.5 + gain for gain in gains]})
    (said,) = verdict_sentences([one], header(records))
    assert "equivalent" in said
    assert f"90% interval {one.interval90[0]:+.3f} to {one.interval90[1]:+.3f}" in said
    assert "95%" not in said


def test_pairs_that_are_there_already_are_not_asked_for_again():
    told = seeds_to_decide(0.012, 0.02, margin=0.025, pairs=8)
    assert told.equivalent <= 8 < told.detect
    assert f"about {told.equivalent} pairs, no more than there are, would show equivalence" in told.words
    assert f"about {told.detect} pairs would detect" in told.words
    gains = [0.0, 0.03, -0.02, 0.04, 0.01, 0.035, -0.01, 0.02, 0.03, -0.015]
    early = total(gains, 0.01, **SEQUENTIAL[1])
    assert early.verdict == "inconclusive"
    assert "were their number fixed" in early.note
    assert "were their number fixed" not in total(gains, 0.01).note


def test_a_lost_run_makes_no_other_p_smaller():
    p_values = [0.01, 0.02, 0.04, 0.3]
    for adjust in (holm, benjamini_hochberg):
        whole, lacking = adjust(p_values), adjust([*p_values[:3], None])
        assert lacking[3] is None
        assert all(less >= more for less, more in zip(lacking[:3], whole[:3], strict=True))


def test_no_coverage_of_t_intervals_is_told_of_sequential_ones():
    gains = [0.1, 0.101, 0.099, 0.1, 0.102]
    assert coverage_legend([total(gains)])
    assert CONTRAST_COLUMNS["coverage_normal"](total(gains)) > 0.9
    early = total(gains, **SEQUENTIAL[1])
    assert coverage_legend([early]) == []
    assert CONTRAST_COLUMNS["coverage_normal"](early) is None


def test_numbers_without_allowance_for_looks_are_named():
    records = runs({"text": [0.5] * 5, "other": [0.6] * 5})
    (said,) = looks_legend(header(records, **SEQUENTIAL[1]))
    assert "makes no allowance for looks" in said
    assert "take the place of the paired t interval" in said


def test_arms_of_one_planted_study_are_not_counted_as_studies():
    simulated = [simulate(one, 5, 50) for one in (NORMAL, POPULATIONS[1])]
    simulation = Simulation(simulated, [], [], 50, 0)
    one = PlantedPower("planted", "image", ACCURACY, True, 3, Rate(2, 2))
    said = sentences(None, [one], simulation)[1]
    assert "In 2 of 2 disjoint planted studies of 3 seeds" in said
    assert "95% interval" in said
    both = sentences(None, [one, dataclasses.replace(one, arm="audio")], simulation)[1]
    assert "In 4 of 4 arms and endpoints of disjoint planted studies of 3 seeds" in both
    assert "95% interval" not in both
