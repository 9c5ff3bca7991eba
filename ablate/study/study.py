"""A study: all runs of a recipe, trained where they are missing, and its folder of results."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ablate.budget.plan import Plan, plan_study
from ablate.executors.events import Event, Failed
from ablate.executors.job import Job
from ablate.executors.schedule import Executor
from ablate.materials import Materials, prepare, refuse_undecodable
from ablate.recipe.load import dump_recipe, recipe_digest
from ablate.recipe.schema import Recipe
from ablate.record import RunRecord
from ablate.report.load import StudyError, StudyHeader, write_header
from ablate.report.registration import LOCK_FILE, lock_plan
from ablate.report.sweep_file import SWEEP_FILE
from ablate.study.dispatch import dispatch
from ablate.study.identity import run_identity
from ablate.study.index import Index
from ablate.study.plans import PlannedRun, StudyPlan, announced
from ablate.study.provenance import provenance
from ablate.study.run import relabel
from ablate.study.screened import read_exclusions
from ablate.study.store import Store, StoreError, disk_errors, tasks_digest


@dataclass(frozen=True)
class Places:
    """Where a study reads and writes."""

    store: Path
    """Records and checkpoints by identity, shared by studies."""
    cache: Path
    """Everything derived from the data."""
    results: Path
    """The study's own folder."""


@dataclass(frozen=True)
class Prepared:
    """A study before its runs: which are there, and which are to be trained."""

    recipe: Recipe
    materials: Materials
    plans: list[Plan]
    finished: "EndedRuns"
    jobs: list[Job]
    header: StudyHeader
    planned: StudyPlan
    """All runs, as the store keeps them for `ablate status`."""


@dataclass(frozen=True)
class EndedRun:
    """A run of a study that has its record."""

    plan: Plan
    seed: int
    identity: str

    @property
    def name(self) -> str:
        """What its files are called in the study's results."""
        return f"{self.plan.arm.name}-seed{self.seed}"


@dataclass(frozen=True)
class EndedRuns:
    """The runs of a study that have ended.

    Their records are read one at a time, as they are asked for: those of a large sweep are more than memory
    holds.
    """

    store: Store
    materials: Materials
    recipe: Recipe
    runs: Sequence[EndedRun]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunRecord]:
        for run in self.runs:
            record = self.store.record(run.identity)
            if record is None:
                raise StoreError(
                    f"{self.store.folder(run.identity)}: the record was there and is gone; run again"
                )
            yield relabel(record, self.recipe, run.plan, self.materials)


def prepare_study(recipe: Recipe, places: Places, threads: int) -> Prepared:
    """Index the data, plan every arm, and look up the runs that have ended.

    Jobs come seed by seed, so that pairs are complete as early as they can be.

    Raises:
        StudyError: the folder of results holds a sweep; or the recipe names a screen that cannot be read, is
            of something else, or that its primary endpoint did not pass.
    """
    if (places.results / SWEEP_FILE).exists():
        raise StudyError(
            f"{places.results}: holds a sweep, whose report and this study's would replace one another; name "
            "another folder with --results, or give the recipe another name, as in study=NAME"
        )
    materials = prepare(recipe, places.cache)
    refuse_undecodable(materials)
    plans = plan_study(materials)
    return look_up(recipe, materials, plans, places, threads, planned_header(recipe, materials, plans))


def look_up(
    recipe: Recipe,
    materials: Materials,
    plans: list[Plan],
    places: Places,
    threads: int,
    header: StudyHeader,
    index: Index | None = None,
) -> Prepared:
    """Which runs of ``plans`` have ended, and which are to be trained.

    Args:
        index: that of the store, where many studies are looked up; read if left out.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    index = index or Index(places.store)
    tasks = tasks_digest(materials.digests)
    runs: list[PlannedRun] = []
    ended: list[EndedRun] = []
    jobs: list[Job] = []
    for seed in [*recipe.seeds, *recipe.endpoints.baseline_seeds]:
        of_seed = plans if seed in recipe.seeds else [p for p in plans if p.arm.name == recipe.baseline]
        for plan in of_seed:
            identity = run_identity(materials, plan, seed)
            runs.append(PlannedRun(plan.arm.name, seed, identity, plan.steps, plan.ledger.total_flops))
            entry = index.entry(identity)
            if entry is not None and entry.is_scored(tasks):
                ended.append(EndedRun(plan, seed, identity))
            else:
                jobs.append(Job(recipe, plan.arm.name, seed, places.store, places.cache, threads, identity))
    index.flush()
    finished = EndedRuns(Store(places.store), materials, recipe, ended)
    planned = StudyPlan(recipe.study, header.recipe_digest, tasks, runs)
    return Prepared(recipe, materials, plans, finished, jobs, header, planned)


def planned_header(recipe: Recipe, materials: Materials, plans: list[Plan]) -> StudyHeader:
    """What the report must know beyond the records, with what the recipe's screen excludes.

    Raises:
        StudyError: see `prepare_study`.
    """
    header = header_of(recipe, plans)
    if not recipe.endpoints.screen:
        return header
    screen, excluded = read_exclusions(recipe, materials, plans)
    return dataclasses.replace(header, screen=screen, screened=excluded)


def header_of(recipe: Recipe, plans: list[Plan]) -> StudyHeader:
    """What the recipe and its plans say of a study; see `planned_header` for what its screen says."""
    controls = {
        name: [plan.arm.name for plan in plans if plan.arm.mirrors == name]
        for name, arm in recipe.arms.items()
        if arm.controls
    }
    return StudyHeader(
        study=recipe.study,
        question=recipe.question,
        baseline=recipe.baseline,
        seeds=list(recipe.seeds),
        arms=[plan.arm.name for plan in plans],
        primary=recipe.endpoints.primary,
        margins=dict(recipe.endpoints.margins),
        match=recipe.budget.match,
        note=recipe.note,
        recipe_digest=recipe_digest(recipe),
        controls=controls,
        recipe=dump_recipe(recipe),
        rule=recipe.stopping.rule,
        looks=looks_of(recipe),
        spending=recipe.stopping.spending,
        ladder={plan.arm.name: plan.arm.budget_share for plan in plans if plan.arm.budget_share != 1.0},
        differences={name: list(parts) for name, parts in recipe.endpoints.differences.items()},
        covariate=recipe.endpoints.covariate,
        covariate_slope=recipe.endpoints.covariate_slope,
        baseline_seeds=list(recipe.endpoints.baseline_seeds),
    )


def lock_study(header: StudyHeader, results: Path) -> str:
    """Lock the plan of a study into its folder of results; what was done, in words.

    Raises:
        StudyError: there are runs already, or another plan is locked.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with disk_errors(results):
        new = lock_plan(header, results, now=now, commit=provenance()["commit"])
    return f"{'Locked' if new else 'Locked already'}: {results / LOCK_FILE}"


def looks_of(recipe: Recipe) -> list[int]:
    """Numbers of seeds at which a study that may stop is looked at; none where it may not."""
    if recipe.stopping.rule == "fixed":
        return []
    return list(recipe.stopping.looks) or list(range(2, len(recipe.seeds) + 1))


def run_study(
    prepared: Prepared,
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
) -> list[Failed]:
    """Train what is missing and publish every record into the results folder; the runs that failed.

    A record is published as soon as its run has ended, so that nothing finished is lost.

    Args:
        executor: where runs are trained; ``slots`` processes of this machine if left out.
    """
    store = Store(places.store)
    with announced([prepared.planned], places.store):
        open_results(prepared, places)
        with disk_errors(places.results):
            return dispatch(
                prepared.jobs,
                slots,
                see,
                executor,
                publish=lambda event: store.publish(event.record, places.results),
            )


def open_results(prepared: Prepared, places: Places) -> None:
    """Make the folder of results what ``prepared`` says: its header and the records that are there alone."""
    store = Store(places.store)
    with disk_errors(places.results):
        write_header(prepared.header, places.results)
        for record in prepared.finished:
            store.publish(record, places.results)
        _set_aside(places.results, {run.name for run in prepared.finished.runs})


def _set_aside(results: Path, kept: set[str]) -> None:
    """Move what an earlier form of the study left into `displaced/`: tables are made of one recipe."""
    for room, suffix in (("records", ".json"), ("items", ".parquet")):
        for path in (results / room).glob(f"*{suffix}"):
            if path.stem not in kept:
                (results / "displaced" / room).mkdir(parents=True, exist_ok=True)
                path.replace(results / "displaced" / room / path.name)
