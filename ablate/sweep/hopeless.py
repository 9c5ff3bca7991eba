"""Arms that get no further seeds, by a rule that was locked before the first run.

An arm that is looked at once, after a stated number of seeds, and stopped where the whole interval of its
mean gain lies below a stated value cannot become a false `helps`: stopping only takes chances away. It claims
nothing afterwards either; Holm goes on counting it.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from scipy import stats

from ablate.recipe.schema import Recipe
from ablate.recipe.sweep_schema import HopelessConfig
from ablate.record import RunRecord
from ablate.report.load import StudyError, StudyHeader
from ablate.report.registration import LOCK_FILE, locked_plan
from ablate.stats.contrasts import contrasts


def refuse_unlocked(header: StudyHeader, folder: Path) -> None:
    """Refuse a rule that is not in the locked plan of the study in ``folder``.

    Raises:
        StudyError: no plan is locked there, or one with another rule.
    """
    plan = locked_plan(folder)
    if plan is None:
        raise StudyError(
            f"{folder / LOCK_FILE}: sweep.hopeless stops arms early, which only a locked plan may do; lock "
            "it before the first run with `ablate sweep FILE --lock`"
        )
    if plan.get("hopeless", {}) != header.hopeless:
        raise StudyError(
            f"{folder / LOCK_FILE}: the locked rule for hopeless arms is {plan.get('hopeless', {})}, the "
            f"sweep's is {header.hopeless}; a rule is not changed after it was locked"
        )


def hopeless_arms(records: Sequence[RunRecord], header: StudyHeader, rule: HopelessConfig) -> dict[str, str]:
    """The arms that ``rule`` stops, with their controls, and why, from the seeds up to its look.

    An arm of which one of these pairs is missing, diverged or refused goes on: what is not known is not
    hopeless.
    """
    seeds = header.seeds[: rule.after_seeds]
    looked = dataclasses.replace(header, seeds=seeds, stopped={}, rule="fixed", looks=[])
    runs = [record for record in records if record.seed in seeds]
    found: dict[str, str] = {}
    for one in contrasts(runs, looked) if runs else []:
        if one.kind != "total" or one.endpoint != header.primary or not one.complete:
            continue
        estimate = one.estimate
        if estimate.mean_gain is None or estimate.sd is None or estimate.n < 2:
            continue
        quantile = float(stats.t.ppf(0.5 + rule.confidence / 2, estimate.n - 1))
        half = quantile * estimate.sd / estimate.n**0.5
        low, high = estimate.mean_gain - half, estimate.mean_gain + half
        if high < rule.below:
            why = (
                f"stopped after {estimate.n} seeds by the rule of the plan: the {rule.confidence:.3g} "
                f"interval of the gain of {one.arm} at {header.primary}, {low:+.4g} to {high:+.4g}, "
                f"lay below {rule.below:g}"
            )
            found |= dict.fromkeys([one.arm, *header.controls.get(one.arm, [])], why)
    return found


def rule_of(rule: HopelessConfig | None) -> dict[str, float]:
    """The rule as a header states it."""
    return {} if rule is None else {name: float(value) for name, value in dataclasses.asdict(rule).items()}


def first_seeds(recipe: Recipe, rule: HopelessConfig | None) -> list[int]:
    """The seeds that every arm is trained on."""
    return list(recipe.seeds) if rule is None else list(recipe.seeds[: rule.after_seeds])
