"""Fair tuning: every arm gets the same grid and the same number of trials, before the seeds that decide.

A trial is an ordinary run: an arm with other settings of `train`, from a seed of its own. It goes through the
store as every run does. What was picked is no part of the recipe's digest: the recipe says how to pick.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablate.budget.plan import Plan, plan_study
from ablate.data.documents import document_digest
from ablate.executors.events import Event, Failed
from ablate.executors.job import Job
from ablate.executors.schedule import Executor
from ablate.materials import Materials
from ablate.recipe.endpoint_checks import confirmatory_tasks
from ablate.recipe.load import recipe_digest
from ablate.recipe.schema import Arm, ArmConfig, BudgetConfig, Recipe, TunedRecipe
from ablate.recipe.tune_checks import grid_points
from ablate.record import RunRecord, write_record
from ablate.report.tuning import (
    TUNING_FOLDER,
    Tuning,
    TuningDesign,
    judge_trials,
    trial_name,
    write_tuning,
)
from ablate.study.dispatch import dispatch
from ablate.study.identity import run_identity
from ablate.study.plans import PlannedRun, StudyPlan, announced
from ablate.study.run import is_scored, relabel
from ablate.study.store import Store, disk_errors, run_name, tasks_digest
from ablate.study.study import Places


class TuningError(ValueError):
    """Tuning that cannot be planned, or that picked nothing; says why and what to do."""


@dataclass(frozen=True)
class PlannedTrial:
    """One run of the tuning stage."""

    arm: str
    """The arm that is tuned; the run is that of `plan.arm`."""
    point: int
    """Number of the point of the grid, from 0."""
    seed: int
    plan: Plan
    identity: str

    @property
    def flops(self) -> int:
        """Training FLOPs that it is planned to spend."""
        return self.plan.ledger.total_flops


@dataclass(frozen=True)
class TuningPlan:
    """The tuning stage of a study."""

    recipe: Recipe
    """As it was written."""
    materials: Materials
    design: TuningDesign
    trials: list[PlannedTrial]
    """Seed by seed, arm by arm: the first seed of every point is there as early as it can be."""


def plan_tuning(recipe: Recipe, materials: Materials) -> TuningPlan:
    """What ``recipe.tune`` asks for; without a grid there is no trial.

    Args:
        recipe: as loaded, with arms that were not tuned yet.
        materials: of ``recipe``.

    Raises:
        TuningError: the development endpoint's task holds items that a confirmatory endpoint is scored on, or
            a tuning seed is a seed of the study.
        PlanError: a trial's share of the budget does not pay for a step.
    """
    points = grid_points(recipe.tune.grid)
    stated = recipe.tune
    design = TuningDesign(stated.endpoint, list(stated.seeds), points, list(recipe.arms), stated.budget_share)
    if not points:
        return TuningPlan(recipe, materials, design, [])
    both = sorted(set(recipe.seeds) & set(stated.seeds))
    if both:
        raise TuningError(
            f"{recipe.study}: seeds {', '.join(map(str, both))} are for tuning and for the study (more seeds "
            "count on from the largest); choose other tune.seeds"
        )
    refuse_shared_items(materials)
    # Settings that may be tuned cost nothing: one plan holds for all points.
    first = dataclasses.replace(materials, recipe=trial_recipe(materials.recipe, 0))
    plans = dict(zip(recipe.arms, plan_study(first), strict=True))
    trials = []
    for seed in stated.seeds:
        for point in range(len(points)):
            for arm, plan in plans.items():
                own = dataclasses.replace(plan, arm=_trial_arm(recipe, arm, point, plan.arm))
                trials.append(PlannedTrial(arm, point, seed, own, run_identity(materials, own, seed)))
    return TuningPlan(recipe, materials, design, trials)


def trial_recipe(recipe: Recipe, point: int) -> Recipe:
    """``recipe`` as its trials at a point of the grid, numbered from 0, are run: its arms without controls
    and ladder, with the settings of the point, on the tuning seeds, at the share of the budget."""
    settings = grid_points(recipe.tune.grid)[point]
    arms = {
        trial_name(name, point): ArmConfig(dict(arm.mixture), [], arm.media_loss, arm.train | settings)
        for name, arm in recipe.arms.items()
    }
    return dataclasses.replace(
        recipe,
        arms=arms,
        baseline=trial_name(recipe.baseline, point),
        seeds=list(recipe.tune.seeds),
        ladder=[],
        budget=_share_of(recipe.budget, recipe.tune.budget_share),
    )


def _trial_arm(recipe: Recipe, arm: str, point: int, planned: Arm) -> Arm:
    """The arm that `expand_arms` makes of a trial's recipe."""
    settings = grid_points(recipe.tune.grid)[point]
    return dataclasses.replace(planned, name=trial_name(arm, point), train=recipe.arms[arm].train | settings)


def _share_of(budget: BudgetConfig, share: float) -> BudgetConfig:
    if share == 1.0:
        return budget
    return dataclasses.replace(
        budget,
        steps=max(1, round(budget.steps * share)) if budget.steps else 0,
        flops=budget.flops * share,
        text_tokens=budget.text_tokens * share,
    )


def refuse_shared_items(materials: Materials) -> None:
    """Refuse a development endpoint on items by which the study is judged, whatever their tasks are called.

    Raises:
        TuningError: names the tasks, how many items they share, and one of these.
    """
    recipe = materials.recipe
    name = recipe.tune.endpoint.partition("/")[0]
    own = {document_digest(text): label for label, text in materials.tasks[name].texts()}
    for other in confirmatory_tasks(recipe):
        shared = [
            own[digest]
            for _, text in materials.tasks[other].texts()
            if (digest := document_digest(text)) in own
        ]
        if shared:
            raise TuningError(
                f"{recipe.study}: tune.endpoint {recipe.tune.endpoint} is scored on {len(set(shared))} items "
                f"of {other}, by which the study is judged (such as {shared[0]}); what is picked on them is "
                f"too good on them: give the task {name} other files"
            )


def trial_job(plan: TuningPlan, trial: PlannedTrial, places: Places, threads: int) -> Job:
    """A trial as it is handed to a worker."""
    recipe = trial_recipe(plan.recipe, trial.point)
    name = trial.plan.arm.name
    return Job(recipe, name, trial.seed, places.store, places.cache, threads, trial.identity)


def tuning_jobs(plan: TuningPlan, places: Places, threads: int) -> list[Job]:
    """The trials that are still to be run, each distinct run once.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    store, seen, jobs = Store(places.store), set[str](), []
    for trial in plan.trials:
        if trial.identity not in seen and _record(plan, trial, store) is None:
            jobs.append(trial_job(plan, trial, places, threads))
        seen.add(trial.identity)
    return jobs


def _record(plan: TuningPlan, trial: PlannedTrial, store: Store) -> RunRecord | None:
    """The record of a trial under its own name, if it has ended and is scored on the study's tasks."""
    found = store.record(trial.identity)
    if found is None or not is_scored(found, plan.materials):
        return None
    return relabel(found, trial_recipe(plan.recipe, trial.point), trial.plan, plan.materials)


def finished_trials(plan: TuningPlan, places: Places) -> dict[tuple[str, int, int], RunRecord]:
    """Arm, point and seed to the record of every trial that has ended, under its own name.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    store = Store(places.store)
    found = {(one.arm, one.point, one.seed): _record(plan, one, store) for one in plan.trials}
    return {key: record for key, record in found.items() if record is not None}


def run_trials(
    plans: Sequence[TuningPlan],
    jobs: Sequence[Job],
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
    sweep: tuple[str, str] | None = None,
) -> list[Failed]:
    """Train the trials of ``plans`` that are missing, each distinct one once; those that failed.

    `ablate status STUDY.tuning` tells of them meanwhile.

    Args:
        plans: of one study, or of the settings of a sweep.
        jobs: of all of them, see `tuning_jobs`.
        executor: where runs are trained; ``slots`` processes of this machine if left out.
        sweep: name and digest of the sweep, see `announced`.
    """
    distinct: dict[tuple[str, str], Job] = {}
    for job in jobs:
        distinct.setdefault(job.run_and_tasks, job)
    planned = [planned_trials(plan) for plan in plans]
    with announced(planned, places.store, sweep=sweep), disk_errors(places.results):
        return dispatch(list(distinct.values()), slots, see, executor)


def planned_trials(plan: TuningPlan) -> StudyPlan:
    """The trials as `ablate status` reads of them, under the name `STUDY.tuning`."""
    runs = [
        PlannedRun(one.plan.arm.name, one.seed, one.identity, one.plan.steps, one.flops)
        for one in plan.trials
    ]
    tasks = tasks_digest(plan.materials.digests)
    return StudyPlan(f"{plan.recipe.study}.{TUNING_FOLDER}", recipe_digest(plan.recipe), tasks, runs)


def judge_stored(plan: TuningPlan, places: Places) -> Tuning:
    """What the trials in the store pick; nothing is written, so that a dry run may ask."""
    return judge_trials(plan.recipe.study, plan.design, finished_trials(plan, places))


def conclude(plan: TuningPlan, places: Places) -> Tuning:
    """Judge the trials that have ended; write tuning.json and their records into the folder of results."""
    runs = finished_trials(plan, places)
    tuning = judge_trials(plan.recipe.study, plan.design, runs)
    with disk_errors(places.results):
        _publish(list(runs.values()), places.results / TUNING_FOLDER)
        write_tuning(tuning, places.results)
    return tuning


def _publish(records: list[RunRecord], folder: Path) -> None:
    """Make `records/` of ``folder`` these and no others; what another grid left goes to `displaced/`."""
    own, aside = folder / "records", folder / "displaced" / "records"
    own.mkdir(parents=True, exist_ok=True)
    for record in records:
        write_record(record, own / f"{run_name(record)}.json")
    for path in own.glob("*.json"):
        if path.stem not in {run_name(record) for record in records}:
            aside.mkdir(parents=True, exist_ok=True)
            path.replace(aside / path.name)


def tuned(recipe: Recipe, tuning: Tuning) -> TunedRecipe:
    """``recipe`` with what was picked for its arms; controls and ladder follow their arm.

    Raises:
        TuningError: an arm has no pick.
    """
    if tuning.unpicked:
        said = "; ".join(f"{arm}: {why}" for arm, why in tuning.unpicked.items())
        raise TuningError(f"{recipe.study}: tuning picked nothing for {said}; the study was not begun")
    fields = {item.name: getattr(recipe, item.name) for item in dataclasses.fields(Recipe)}
    return TunedRecipe(**fields, picks=tuning.settings())
