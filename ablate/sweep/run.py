"""A sweep, run: every distinct run once, published into every setting that has it."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.executors.events import Event, Failed, Finished
from ablate.executors.job import Job
from ablate.executors.schedule import Executor
from ablate.recipe.sweep_schema import HopelessConfig
from ablate.record import RunRecord
from ablate.report.load import StudyError, load_records
from ablate.report.sweep_file import SweepFile, read_sweep, write_sweep
from ablate.study.dispatch import dispatch
from ablate.study.plans import announced
from ablate.study.run import is_scored, relabel
from ablate.study.store import Store, disk_errors
from ablate.study.study import Places, Prepared, look_up, open_results
from ablate.sweep.hopeless import first_seeds, hopeless_arms, refuse_unlocked
from ablate.sweep.load import sweep_digest
from ablate.sweep.plan import SettingPlan, SweepPlan, sweep_file


@dataclass(frozen=True)
class _Place:
    """One name of a run: an arm of a setting."""

    setting: SettingPlan
    prepared: Prepared
    job: Job


_Wanted = dict[tuple[str, str], list[_Place]]
"""Runs by `Job.run_and_tasks`, with all their names."""


def run_sweep(
    plan: SweepPlan,
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
) -> list[Failed]:
    """Train what is missing of every setting, in one pool, and publish every record; the runs that failed.

    Runs of one identity are trained once, whichever settings and arms they belong to. They come seed by seed,
    so that every contrast has its first pairs as early as it can. With a rule for hopeless arms, all arms are
    trained on the seeds up to its look, and only those that it leaves on the rest.

    Args:
        executor: where runs are trained; ``slots`` processes of this machine if left out.

    Raises:
        StudyError: there is a rule for hopeless arms, and no setting's locked plan holds it.
    """
    rule = plan.sweep.config.hopeless
    ready = list(_ready(plan))
    if rule is not None:
        for setting, prepared in ready:
            refuse_unlocked(prepared.header, _places(places, setting).results)
    with announced(plan.planned, places.store, sweep=(plan.sweep.name, sweep_digest(plan.sweep))):
        with disk_errors(places.results):
            file = sweep_file(plan)
            _set_aside(file, places.results)
            write_sweep(file, places.results)
        for setting, prepared in ready:
            open_results(prepared, _places(places, setting))
        first = {one.name: set(first_seeds(prepared.recipe, rule)) for one, prepared in ready}
        wanted = _missing(ready, lambda one, seed: seed in first[one])
        failures = _train(wanted, places, slots, see, executor)
        if rule is not None:
            ready = [(setting, _going_on(setting, prepared, places, rule)) for setting, prepared in ready]
            later = _missing(ready, lambda one, seed: seed not in first[one])
            failures += _train(later, places, slots, see, executor)
            wanted |= later
        if failures:
            with disk_errors(places.results):
                write_sweep(dataclasses.replace(file, failed=_failed(failures, wanted)), places.results)
    return failures


def _failed(failures: Collection[Failed], wanted: _Wanted) -> dict[str, str]:
    """Every name of the runs that failed, to why, in one line."""
    found = {}
    for failure in failures:
        lines = failure.error.strip().splitlines() or ["no reason was given"]
        why = lines[-1] if lines[0].startswith("Traceback") else " ".join(lines)
        for place in wanted[failure.job.run_and_tasks]:
            found[f"{place.setting.name}/{place.job.arm}, seed {place.job.seed}"] = why
    return found


def _set_aside(file: SweepFile, results: Path) -> None:
    """Move settings that an earlier form of the sweep left into `displaced/`, and back those that return."""
    try:
        before = [one.folder for one in read_sweep(results).settings]
    except StudyError:
        return
    now, aside = [one.folder for one in file.settings], results / "displaced"
    moves = [(results / name, aside / name) for name in before if name not in now]
    moves += [(aside / name, results / name) for name in now]
    for source, target in moves:
        if source.is_dir() and not target.exists():
            target.parent.mkdir(exist_ok=True)
            source.replace(target)


def _ready(plan: SweepPlan) -> Iterator[tuple[SettingPlan, Prepared]]:
    return ((one, one.prepared) for one in plan.settings if one.prepared is not None)


def _missing(ready: Collection[tuple[SettingPlan, Prepared]], of: Callable[[str, int], bool]) -> _Wanted:
    """Every missing run, of the settings' seeds that are wanted, with all its names, by identity, seed by
    seed."""
    found: _Wanted = defaultdict(list)
    named = [_Place(setting, prepared, job) for setting, prepared in ready for job in prepared.jobs]
    seeds = list(dict.fromkeys(place.job.seed for place in named))
    for place in sorted(named, key=lambda place: seeds.index(place.job.seed)):
        if of(place.setting.name, place.job.seed):
            found[place.job.run_and_tasks].append(place)
    return found


def _train(
    wanted: _Wanted,
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None,
) -> list[Failed]:
    store = Store(places.store)
    jobs = [named[0].job for named in wanted.values()]

    def publish(event: Finished) -> None:
        _publish(store, places, wanted[event.job.run_and_tasks], event.record)

    with disk_errors(places.results):
        return dispatch(jobs, slots, see, executor, publish)


def _publish(store: Store, places: Places, named: list[_Place], ended: RunRecord) -> None:
    """Put the record of a run into every study that has it, under the name that it has there.

    Args:
        ended: as its own job gave it, should the store hold the scores of other tasks by now.
    """
    stored = store.record(named[0].job.identity)
    for place in named:
        arms = {each.arm.name: each for each in place.prepared.plans}
        materials = place.prepared.materials
        own = stored if stored is not None and is_scored(stored, materials) else ended
        record = relabel(own, place.job.recipe, arms[place.job.arm], materials)
        store.publish(record, _places(places, place.setting).results)


def _going_on(setting: SettingPlan, prepared: Prepared, places: Places, rule: HopelessConfig) -> Prepared:
    """``prepared`` without the later seeds of hopeless arms, and the folder of results likewise.

    A later seed of such an arm that another study has trained stays in the store: nothing is claimed of it.
    """
    own = _places(places, setting)
    header = dataclasses.replace(prepared.header, stopped={})
    stopped = hopeless_arms(load_records(own.results, header), header, rule)
    first = set(first_seeds(prepared.recipe, rule))
    threads = next((job.threads for job in prepared.jobs), 1)
    now = look_up(
        prepared.recipe,
        prepared.materials,
        prepared.plans,
        own,
        threads,
        dataclasses.replace(header, stopped=stopped),
    )
    ended = [run for run in now.finished.runs if run.seed in first or run.plan.arm.name not in stopped]
    left = dataclasses.replace(
        now,
        finished=dataclasses.replace(now.finished, runs=ended),
        jobs=[job for job in now.jobs if job.seed not in first and job.arm not in stopped],
    )
    open_results(left, own)
    return left


def _places(places: Places, setting: SettingPlan) -> Places:
    """Where the study of one setting reads and writes."""
    return dataclasses.replace(places, results=places.results / setting.name)
