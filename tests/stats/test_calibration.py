"""Calibration by real runs: disjoint studies, judged as any study is, and nothing counted twice."""

import dataclasses
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from ablate.report.load import load_records, read_header
from ablate.stats.calibration import (
    CalibrationError,
    calibrate_aa,
    disjoint,
    planted_power,
    shape,
    whole_aa,
)
from ablate.stats.coverage import COVERAGE_FILE, measured_coverage
from ablate.stats.paired import estimate
from ablate.stats.simulation import POPULATIONS, SIZES, simulate
from ablate.stats.verdict import judge

ROOT = Path(__file__).parents[2]


def aa_records(gains, base=None):
    """Runs of `text` and `other` whose bits per byte differ by -gain."""
    base = np.linspace(2.0, 2.1, len(gains)) if base is None else base
    return runs({"text": list(base), "other": [b - g for b, g in zip(base, gains, strict=True)]}, BITS)


def aa_header(records, margin=0.01, **changes):
    return header(records, {BITS: margin} if margin else {}, primary=BITS, **changes)


SURE = [0.10, 0.11, 0.12]
UNSURE = [-0.10, 0.02, 0.05]


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(1, 12))
def test_every_seed_is_in_one_study_or_left_over(seeds, n):
    parts, left = disjoint(seeds, n)
    assert [seed for part in parts for seed in part] + left == seeds
    assert all(len(part) == n for part in parts)
    assert len(left) < n


def test_claims_are_counted_over_disjoint_studies_and_left_over_seeds_are_named():
    records = aa_records([*SURE, *UNSURE, *UNSURE, 0.1, 0.2])
    found = calibrate_aa(records, aa_header(records), 3)
    assert [one.sample.seeds for one in found.studies] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert found.left_over == (9, 10)
    assert (found.rejections.count, found.rejections.of) == (1, 3)
    assert found.verdicts == {"helps": 1, "inconclusive": 2}
    assert (found.coverage.count, found.coverage.of) == (2, 3)
    assert found.incomplete == ()
    assert len(found.p_values) == 3


def test_studies_follow_the_planned_order_of_the_seeds():
    records = aa_records([*SURE, *UNSURE])
    plan = aa_header(records, seeds=[5, 4, 3, 2, 1, 0])
    assert [sorted(one.sample.seeds) for one in calibrate_aa(records, plan, 3).studies] == [
        [3, 4, 5],
        [0, 1, 2],
    ]


def test_each_study_is_judged_alone_by_the_code_that_judges_studies():
    """Another endpoint with a margin would halve alpha by Holm; an A/A study is one contrast."""
    rng = np.random.default_rng(4)
    records = [
        dataclasses.replace(one, scores=one.scores | run("x", 0, {ACCURACY: 0.5}).scores)
        for one in aa_records(rng.normal(0.0, 0.02, 40))
    ]
    plan = header(records, {BITS: 0.01, ACCURACY: 0.05}, primary=BITS)
    found = calibrate_aa(records, plan, 5)
    for one in found.studies:
        alone = estimate(one.sample, 0.01)
        assert one.estimate == alone
        assert one.verdict == judge(alone.mean_gain, alone.p_difference, alone.p_equivalence)


def test_a_rejection_inside_the_margin_is_no_claim():
    records = aa_records([0.0010, 0.0011, 0.0012])
    found = calibrate_aa(records, aa_header(records), 3)
    assert (found.rejections.count, found.claims.count) == (1, 0)
    assert found.verdicts == {"equivalent": 1}


def test_without_a_margin_rejections_are_counted_and_there_are_no_verdicts():
    records = aa_records([*SURE, *UNSURE])
    found = calibrate_aa(records, aa_header(records, margin=None), 3)
    assert (found.claims.count, found.claims.of) == (1, 2)
    assert found.verdicts == {}


def test_the_welch_interval_stands_beside_and_rejects_less_where_pairs_correlate():
    records = aa_records(SURE, base=[1.0, 2.0, 3.0])
    found = calibrate_aa(records, aa_header(records), 3)
    assert (found.rejections.count, found.welch_rejections.count) == (1, 0)


def test_a_study_without_variance_claims_nothing_and_is_in_no_coverage():
    records = aa_records([0.5, 0.5, 0.5, *UNSURE], base=[1.0, 2.0, 4.0, 1.0, 2.0, 4.0])
    found = calibrate_aa(records, aa_header(records), 3)
    assert found.no_interval == 1
    assert (found.rejections.count, found.rejections.of) == (0, 2)
    assert found.coverage.of == 1


@pytest.mark.parametrize("fault", ["missing", "diverged", "refused", "nan"])
def test_a_study_that_lacks_a_pair_is_named_and_not_counted(fault):
    records = aa_records([*SURE, *UNSURE])
    plan = aa_header(records)
    place = next(i for i, one in enumerate(records) if (one.arm, one.seed) == ("other", 1))
    if fault == "missing":
        del records[place]
    elif fault == "diverged":
        records[place] = dataclasses.replace(records[place], status="diverged", scores={})
    elif fault == "refused":
        pairing = dataclasses.replace(records[place].pairing, backbone_init="another")
        records[place] = dataclasses.replace(records[place], pairing=pairing)
    else:
        records[place] = run("other", 1, {BITS: float("nan")})
    found = calibrate_aa(records, plan, 3)
    assert [one.sample.seeds for one in found.studies] == [(3, 4, 5)]
    (lost,) = found.incomplete
    assert [exclusion.seed for exclusion in lost.excluded] == [1]
    said = {"missing": "no record", "diverged": "diverged", "refused": "initial backbones", "nan": "nan"}
    assert said[fault] in lost.note
    assert found.rejections.of == 1


def test_a_study_with_media_a_control_or_three_arms_is_no_aa_study():
    media = runs({"text": [1.0, 1.1], "image": [1.0, 1.2]}, BITS)
    with pytest.raises(CalibrationError, match="image is a control or holds media"):
        calibrate_aa(media, aa_header(media), 2)
    three = runs({"text": [1.0, 1.1], "a": [1.0, 1.2], "b": [1.0, 1.2]}, BITS)
    with pytest.raises(CalibrationError, match="text, a, b"):
        calibrate_aa(three, aa_header(three), 2)
    with pytest.raises(ValueError, match="two seeds"):
        calibrate_aa(three, aa_header(three), 1)


def test_two_hundred_exchangeable_pairs_reject_as_often_as_alpha_says():
    rng = np.random.default_rng(0)
    records = aa_records(rng.normal(0.0, 0.02, 200), base=rng.normal(2.0, 0.03, 200))
    found = calibrate_aa(records, aa_header(records), 2)
    low, high = binom.ppf([0.005, 0.995], 100, 0.05)
    assert low <= found.rejections.count <= high
    whole = whole_aa(records, aa_header(records))
    assert whole.estimate.n == 200
    assert whole.estimate.sd == pytest.approx(0.02, rel=0.15)


def test_shape_sees_skew_and_says_why_it_is_silent():
    rng = np.random.default_rng(1)
    skewed, normal = shape(rng.exponential(size=100).tolist()), shape(rng.normal(size=100).tolist())
    assert skewed.skewness > 1.0
    assert skewed.shapiro_p < 0.001
    assert abs(normal.skewness) < 0.6
    assert normal.shapiro_p > 0.01
    assert shape([1.0, 2.0]).remark == "2 differences have no shape: it takes four"
    assert shape([1.0] * 5).shapiro_p is None


def planted_records(**changes):
    values = PLANTED | changes
    return [
        dataclasses.replace(one, scores={ACCURACY: one.scores[ACCURACY]})
        for one in runs({arm: [*scores, *scores[:1]] for arm, scores in values.items()})
    ]


def test_the_planted_effect_is_seen_in_every_disjoint_study():
    records = planted_records()
    (found,) = planted_power(records, header(records), 3, "fabricated")
    assert (found.arm, found.endpoint, found.planted) == ("image", ACCURACY, True)
    assert (found.claimed.count, found.claimed.of, found.left_over) == (2, 2, ())
    (five,) = planted_power(records, header(records), 5, "fabricated")
    assert (five.claimed.count, five.claimed.of, five.left_over) == (1, 1, (5,))


def test_a_gain_that_the_shuffled_control_shares_is_not_counted_as_seen():
    records = planted_records(**{"image.shuffled": [0.92, 0.95, 0.90, 0.96, 0.92]})
    (found,) = planted_power(records, header(records), 3, "fabricated")
    assert (found.claimed.count, found.claimed.of) == (0, 2)


def test_a_planted_study_without_a_shuffled_control_sees_nothing():
    records = [one for one in planted_records() if one.control != "shuffled"]
    (found,) = planted_power(records, header(records), 3, "fabricated")
    assert (found.claimed.count, found.claimed.of) == (0, 2)


def test_a_planted_study_with_a_missing_control_run_is_named_and_not_counted():
    records = planted_records()
    plan = header(records)
    kept = [one for one in records if (one.arm, one.seed) != ("image.shuffled", 4)]
    (found,) = planted_power(kept, plan, 3, "fabricated")
    assert (found.claimed.count, found.claimed.of) == (1, 1)
    assert found.incomplete == ("seed 4: image.shuffled has no record",)


def test_a_study_in_which_nothing_is_planted_is_refused():
    records = aa_records([*SURE, *UNSURE])
    with pytest.raises(CalibrationError, match="no planted study"):
        planted_power(records, aa_header(records), 3, "aa")


def test_the_published_planted_study_sees_each_modality_and_claims_no_other():
    folder = ROOT / "results" / "planted_all"
    plan = read_header(folder)
    found = planted_power(load_records(folder, plan), plan, 3, plan.study)
    own = {(one.arm, one.endpoint) for one in found if one.planted}
    assert own == {(m, f"planted_{m}/accuracy") for m in ("image", "audio", "video", "sensor")}
    assert all(one.claimed.count == one.claimed.of == 1 for one in found if one.planted)
    others = [one for one in found if not one.planted]
    assert len(others) == 12
    assert all(one.claimed.count == 0 for one in others)


def coverage_file():
    return json.loads(resources.files("ablate.stats").joinpath(COVERAGE_FILE).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("population", "n"), [("normal", 5), ("discrete", 3)])
def test_a_measured_coverage_is_simulated_again_to_the_same_count(population, n):
    raw = coverage_file()
    found = simulate(
        next(one for one in POPULATIONS if one.name == population), n, raw["studies"], raw["seed"]
    )
    rate = measured_coverage(n).rates[population]
    assert rate == found.coverage95


def test_every_interval_finds_the_coverage_of_the_nearest_number_of_pairs():
    assert measured_coverage(1) is None
    assert measured_coverage(0) is None
    nearest = {n: measured_coverage(n).simulated_n for n in (2, 4, 5, 6, 13, 14, 19, 500)}
    assert nearest == {2: 2, 4: 3, 5: 5, 6: 5, 13: 10, 14: 17, 19: 20, 500: 20}
    assert "nearest to 4" in measured_coverage(4).text
    assert "nearest" not in measured_coverage(5).text
    assert "0.886 (skewed)" in measured_coverage(5).text


def test_the_measured_coverage_holds_every_population_and_size_once():
    rows = [(row["population"], row["n"]) for row in coverage_file()["rows"]]
    assert len(rows) == len(set(rows))
    assert set(rows) >= {(one.name, n) for one in POPULATIONS for n in SIZES}
