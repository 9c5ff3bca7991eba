"""What a sweep will run, cost and share, before anything is trained."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ablate.budget.plan import Plan, plan_study
from ablate.executors.job import Job
from ablate.materials import Materials, prepare, refuse_undecodable
from ablate.recipe.schema import Recipe
from ablate.report.load import HEADER_FILE, StudyError
from ablate.report.sweep_file import Point, Setting, SweepFile
from ablate.study.estimate import estimate_seconds
from ablate.study.index import Index
from ablate.study.plans import StudyPlan
from ablate.study.study import Places, Prepared, look_up, planned_header
from ablate.study.tuning import (
    PlannedTrial,
    TuningPlan,
    judge_stored,
    plan_tuning,
    planned_trials,
    tuned,
    tuning_jobs,
)
from ablate.sweep.design import DesignError
from ablate.sweep.hopeless import rule_of
from ablate.sweep.load import SettingRecipe, Sweep, checked
from ablate.sweep.mixtures import stratified_point, sweep_points, text_of_streams, with_mixtures

_BYTES_KEPT = 4
"""Of a parameter in a finished run: its fp32 weight."""
_BYTES_RUNNING = 12
"""Of a parameter in a checkpoint: the weight and two moments of AdamW."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    setting: str
    arm: str
    seed: int
    identity: str
    flops: int
    """Training FLOPs that it is planned to spend."""
    finished: bool


@dataclass(frozen=True)
class SettingPlan:
    """One setting: a study that is ready to run, or why it cannot be."""

    setting: SettingRecipe
    recipe: Recipe
    """With the arms of the mixtures, unless those could not be made."""
    prepared: Prepared | None
    """As long as trials are missing, with the settings that arms have before they are tuned: what runs cost
    is known, which runs they are is not."""
    problem: str = ""
    tuning: TuningPlan | None = None
    """The trials that come first; None where nothing is tuned."""
    trials: list[Job] = field(default_factory=list)
    """Those that are still to be run."""

    @property
    def name(self) -> str:
        """The setting's name."""
        return self.setting.name


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that is ready to run."""

    sweep: Sweep
    points: list[Point]
    settings: list[SettingPlan]
    cells: list[Cell]
    trials: list[Cell]
    """Trials of the settings that are tuned."""

    @property
    def planned(self) -> list[StudyPlan]:
        """The runs of every setting that can be run."""
        return [one.prepared.planned for one in self.settings if one.prepared is not None]

    @property
    def planned_trials(self) -> list[StudyPlan]:
        """The trials of every setting that is tuned."""
        return [planned_trials(one.tuning) for one in self.settings if one.tuning is not None]

    @property
    def distinct(self) -> dict[str, Cell]:
        """Identity to the first cell that has it: what is trained once."""
        found: dict[str, Cell] = {}
        for cell in self.cells:
            found.setdefault(cell.identity, cell)
        return found


def plan_sweep(
    sweep: Sweep,
    places: Places,
    threads: int,
    trials_over: bool = False,
    refuse: Callable[[Recipe], None] = lambda recipe: None,
) -> SweepPlan:
    """Index the data, make the mixtures, plan every setting, and look up the runs that have ended.

    A setting whose data or budget are refused is kept with its problem; the others go on.

    Args:
        trials_over: no trial will be run any more: a setting that lacks one cannot be run.
        refuse: raises a ValueError for a setting whose runs cannot be trained here.

    Raises:
        DesignError: the mixtures cannot be made in whole rows.
        StudyError: the folder of results holds a study.
        ValueError: no setting can be run; says why the first cannot.
    """
    if (places.results / HEADER_FILE).exists():
        raise StudyError(
            f"{places.results}: holds a study, whose report and this sweep's would replace one another; name "
            "another folder with --results, or give the sweep another name, as in study=NAME"
        )
    points: list[Point] = []
    settings: list[SettingPlan] = []
    index = Index(places.store)
    for setting in sweep.settings:
        try:
            refuse(setting.recipe)
            materials = prepare(_reading_all(setting.recipe, sweep), places.cache)
            points = points or _points(sweep, materials)
            materials, recipe = _with_points(sweep, setting, points, materials)
            refuse_undecodable(materials)
            settings.append(_planned(sweep, setting, recipe, materials, places, threads, index, trials_over))
        except DesignError:
            raise
        except (ValueError, OSError) as error:
            settings.append(SettingPlan(setting, setting.recipe, None, str(error)))
    if all(one.prepared is None for one in settings):
        raise ValueError(f"{sweep.name}: no setting can be run: {settings[0].problem}")
    cells = [cell for one in settings if one.prepared is not None for cell in _cells(one, one.prepared)]
    trials = [cell for one in settings if one.tuning is not None for cell in _trial_cells(one, one.tuning)]
    return SweepPlan(sweep, points, settings, cells, trials)


def _reading_all(recipe: Recipe, sweep: Sweep) -> Recipe:
    """``recipe`` with an arm that reads every stream of the simplex: what is prepared is what arms read, and
    the mixtures are made once it is known how much text each stream has."""
    mixture = sweep.config.mixture
    return recipe if mixture is None else with_mixtures(recipe, mixture, [stratified_point(mixture, recipe)])


def _points(sweep: Sweep, materials: Materials) -> list[Point]:
    mixture = sweep.config.mixture
    if mixture is None:
        return []
    return sweep_points(mixture, sweep.recipe, text_of_streams(materials, mixture.streams))


def _with_points(
    sweep: Sweep, setting: SettingRecipe, points: list[Point], materials: Materials
) -> tuple[Materials, Recipe]:
    """The setting with the arms of the mixtures."""
    recipe, mixture = setting.recipe, sweep.config.mixture
    if mixture is None:
        return materials, recipe
    recipe = checked(with_mixtures(recipe, mixture, points), setting.name)
    # The paths of these are resolved; the arms are what was missing.
    resolved = dataclasses.replace(materials.recipe, arms=recipe.arms)
    return dataclasses.replace(materials, recipe=resolved), recipe


def _planned(
    sweep: Sweep,
    setting: SettingRecipe,
    recipe: Recipe,
    materials: Materials,
    places: Places,
    threads: int,
    index: Index,
    trials_over: bool,
) -> SettingPlan:
    """One setting with its plans, what was picked for its arms, and the runs that have ended.

    Raises:
        TuningError: tuning is refused, or picked nothing and no trial is left to be run.
    """
    tuning, trials = None, list[Job]()
    if recipe.tune.grid:
        tuning = plan_tuning(recipe, materials)
        trials = tuning_jobs(tuning, places, threads)
        if trials_over or not trials:
            picks = judge_stored(tuning, places)
            recipe = tuned(recipe, picks)
            materials = dataclasses.replace(materials, recipe=tuned(materials.recipe, picks))
    plans = plan_study(materials)
    rule = rule_of(sweep.config.hopeless)
    header = dataclasses.replace(planned_header(recipe, materials, plans), hopeless=rule)
    prepared = look_up(recipe, materials, plans, places, threads, header, index)
    return SettingPlan(setting, recipe, prepared, "", tuning, trials)


def _cells(setting: SettingPlan, prepared: Prepared) -> Iterator[Cell]:
    missing = {job.identity for job in prepared.jobs}
    for run in prepared.planned.runs:
        finished = not setting.trials and run.identity not in missing
        yield Cell(setting.name, run.arm, run.seed, run.identity, run.flops, finished)


def _trial_cells(setting: SettingPlan, tuning: TuningPlan) -> Iterator[Cell]:
    missing = {job.identity for job in setting.trials}
    for one in tuning.trials:
        finished = one.identity not in missing
        yield Cell(setting.name, one.plan.arm.name, one.seed, one.identity, one.flops, finished)


def sweep_file(plan: SweepPlan) -> SweepFile:
    """What the sweep's report reads of ``plan``."""
    sweep, config = plan.sweep, plan.sweep.config
    distinct = plan.distinct.values()
    return SweepFile(
        sweep=sweep.name,
        question=sweep.recipe.question,
        note=sweep.recipe.note,
        baseline=sweep.recipe.baseline,
        components=list(config.mixture.streams) if config.mixture else [],
        points=plan.points,
        settings=[_setting(one) for one in plan.settings],
        planned_runs=len(plan.cells),
        distinct_runs=len(distinct),
        planned_flops=float(sum(cell.flops for cell in plan.cells)),
        distinct_flops=float(sum(cell.flops for cell in distinct)),
        model=config.mixture.model if config.mixture else "",
        hopeless=rule_of(config.hopeless),
    )


def _setting(one: SettingPlan) -> Setting:
    base = _baseline(one.prepared) if one.prepared else None
    return Setting(
        name=one.name,
        levels=one.setting.levels,
        study=one.recipe.study,
        folder=one.name,
        baseline_flops=float(base.ledger.total_flops) if base else 0.0,
        parameters=base.ledger.parameters["backbone"] if base else 0,
        problem=one.problem,
    )


def _baseline(prepared: Prepared) -> Plan:
    return next(plan for plan in prepared.plans if plan.arm.name == prepared.recipe.baseline)


def sweep_seconds(plan: SweepPlan) -> float:
    """Seconds of training that are missing, one run after another, from one real microbatch of every arm.

    Where settings differ in `train.devices`, a run counts by its share of the devices of the widest, beside
    which others of its kind find room.
    """
    total, seen = 0.0, set[str]()
    widest = max(one.recipe.train.devices for one in plan.settings)
    for one in plan.settings:
        if one.prepared is None:
            continue
        share = one.recipe.train.devices / widest
        prepared = one.prepared
        trials = [] if one.tuning is None else _missing_trials(one, one.tuning, seen)
        needed = {job.arm for job in prepared.jobs if job.identity not in seen}
        needed |= {trial.arm for trial in trials}
        plans = [
            each for each in prepared.plans if each.arm.name in needed or _is_mirrored(each, needed, prepared)
        ]
        seconds = estimate_seconds(prepared.materials, plans) if needed else {}
        for job in prepared.jobs:
            if job.identity not in seen:
                seen.add(job.identity)
                total += share * seconds[job.arm]
        for trial in trials:
            seen.add(trial.identity)
            total += share * seconds[trial.arm] * one.recipe.tune.budget_share
    return total


def _missing_trials(setting: SettingPlan, tuning: TuningPlan, seen: set[str]) -> list[PlannedTrial]:
    """Trials of ``setting`` that are still to be run, each distinct one once, but for those in ``seen``."""
    missing = {job.identity for job in setting.trials} - seen
    return list({trial.identity: trial for trial in tuning.trials if trial.identity in missing}.values())


def _is_mirrored(plan: Plan, needed: set[str], prepared: Prepared) -> bool:
    """Whether a control that is needed takes the rate of this arm."""
    return any(each.arm.mirrors == plan.arm.name for each in prepared.plans if each.arm.name in needed)


def sweep_bytes(plan: SweepPlan, slots: int) -> int:
    """Bytes that the store will grow by: models of missing runs, and checkpoints of those that run at a time.

    Records and item scores come on top, some tens of kilobytes a run.
    """
    models: dict[str, int] = {}
    for one in plan.settings:
        if one.prepared is not None:
            arms = {each.arm.name: each for each in one.prepared.plans}
            models |= {job.identity: _parameters(arms[job.arm]) for job in one.prepared.jobs}
        if one.tuning is not None:
            missing = {job.identity for job in one.trials}
            models |= {
                trial.identity: _parameters(trial.plan)
                for trial in one.tuning.trials
                if trial.identity in missing
            }
    largest = sorted(models.values(), reverse=True)[:slots]
    return _BYTES_KEPT * sum(models.values()) + _BYTES_RUNNING * sum(largest)


def _parameters(plan: Plan) -> int:
    return sum(plan.ledger.parameters.values())


def free_bytes(store: Path) -> int:
    """Bytes that are free where the store lies, or will lie."""
    import shutil

    while not store.exists() and store != store.parent:
        store = store.parent
    return shutil.disk_usage(store).free
