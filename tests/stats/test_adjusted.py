"""A declared control variate in a study: whose values it takes, and when a verdict rests on it."""

from dataclasses import replace

import numpy as np
import pytest
from fabricated import BITS, header, run

from ablate.record import CurvePoint, RunRecord
from ablate.report.load import StudyHeader
from ablate.stats.adjusted import adjusted_estimate
from ablate.stats.contrasts import Contrast, contrasts
from ablate.stats.covariate import adjust
from ablate.stats.paired import PairedSample

PAIRS, FURTHER = 8, 30


def study(**changes: object) -> tuple[list[RunRecord], StudyHeader]:
    """Baseline scores that vary over seeds, and an arm that is better by 0.02 on average."""
    random = np.random.Generator(np.random.PCG64(3))
    base = 1.0 + 0.05 * random.normal(size=PAIRS + FURTHER)
    own = base[:PAIRS] - 0.02 - 0.9 * (base[:PAIRS] - 1.0) + 0.002 * random.normal(size=PAIRS)
    records = [
        run("text", seed, {BITS: value}, curve=[CurvePoint(10, 1, 1, 2 * value, None, 0.1)])
        for seed, value in enumerate(base)
    ]
    records += [run("image", seed, {BITS: value}) for seed, value in enumerate(own)]
    plan = header(records, {BITS: 0.01}, primary=BITS, seeds=list(range(PAIRS)), covariate="score")
    further = list(range(PAIRS, PAIRS + FURTHER))
    return records, replace(plan, baseline_seeds=further, **changes)  # type: ignore[arg-type]


def total(records: list[RunRecord], plan: StudyHeader, rests: bool = False) -> Contrast:
    return next(one for one in contrasts(records, plan, rests_on_adjusted=rests) if one.kind == "total")


def test_the_primary_interval_stays_the_plain_one_unless_the_locked_plan_says_otherwise() -> None:
    records, plan = study()
    plain = total(records, replace(plan, covariate="", baseline_seeds=[]))
    beside, primary = total(records, plan), total(records, plan, rests=True)
    assert beside.adjusted is not None
    assert (beside.interval95, beside.p_values) == (plain.interval95, plain.p_values)
    assert beside.verdict == plain.verdict == "inconclusive"
    assert primary.interval95 == beside.adjusted.interval95
    assert primary.verdict == "helps"
    assert primary.claimed_gain == pytest.approx(0.02, abs=0.02)
    assert "rest on the gain adjusted" in primary.note


def test_the_covariate_is_the_baselines_of_each_pair_and_of_the_further_seeds() -> None:
    records, plan = study()
    found = total(records, plan)
    base = [one.scores[BITS].value for one in records if one.arm == "text"]
    assert found.adjusted == adjust(found.sample.gains.tolist(), base[:PAIRS], base[PAIRS:], margin=0.01)
    loss = total(records, replace(plan, covariate="loss@0.25"))
    assert loss.adjusted is not None
    assert found.adjusted is not None
    assert loss.adjusted.slope == pytest.approx(found.adjusted.slope / 2)
    assert loss.adjusted.interval95 == pytest.approx(found.adjusted.interval95)


def test_a_slope_that_was_fixed_is_the_one_used() -> None:
    records, plan = study(covariate_slope=-0.5)
    found = total(records, plan).adjusted
    assert found is not None
    assert (found.slope, found.fixed) == (-0.5, True)


def test_a_missing_further_run_leaves_the_declared_verdict_open_and_is_named() -> None:
    records, plan = study()
    lost = total([one for one in records if one.seed != 20], plan, rests=True)
    assert lost.adjusted is None
    assert lost.verdict == "inconclusive"
    assert "text, seed 20, has no record" in lost.note
    early = total(records, replace(plan, covariate="loss@0.05"))
    assert "logged no loss up to step 5" in early.not_adjusted


def test_a_baseline_that_was_trained_otherwise_tells_nothing_of_the_mean() -> None:
    records, plan = study()
    odd = [replace(one, resolved={"steps": 7}) if one.seed == 20 else one for one in records]
    assert "seed 20, was trained or scored otherwise" in total(odd, plan).not_adjusted


def test_a_study_without_a_covariate_has_none() -> None:
    _, plan = study()
    sample = PairedSample((0, 1, 2), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    assert adjusted_estimate(sample, {}, replace(plan, covariate=""), BITS, None) == (None, "")
