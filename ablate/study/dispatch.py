"""Runs of studies given to an executor, with what the store says of runs that others are training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ablate.executors.events import Event, Failed, Finished
from ablate.executors.job import BusyError, Job, Report
from ablate.executors.local import LocalExecutor
from ablate.executors.placement import (
    cores,
    device_memory,
    places_per_device,
    rank_range,
    runs_here,
    visible_gpus,
)
from ablate.executors.registry import build_executor
from ablate.executors.schedule import Executor, run_jobs
from ablate.recipe.schema import Recipe
from ablate.record import RunRecord
from ablate.study.lease import Held, LeasedError, LeaseLostError, held
from ablate.study.run import execute
from ablate.study.states import write_failure
from ablate.study.store import Store
from ablate.train.callbacks import Progress
from ablate.train.ranks import RankError


def train(job: Job, report: Report) -> RunRecord:
    """What a worker does with a run of a study: train and score it, or return its record.

    Raises:
        BusyError: another process has the run's lease, or took it from this one.
    """
    try:
        return execute(job, report)
    except LeasedError as error:
        raise BusyError(_named(error.held)) from error
    except LeaseLostError as error:
        raise BusyError("another process, which took it over as this one was silent") from error


class StoreStates:
    """What leases and failures in the store say; see `ablate.executors.schedule.RunStates`."""

    def holder(self, job: Job) -> str:
        """Process and host of whoever trains this run."""
        found = held(_folder(job))
        return _named(found) if found else ""

    def progress(self, job: Job) -> Progress | None:
        """What whoever trains this run last said."""
        found = held(_folder(job))
        if found is None or not found.steps:
            return None
        loss = float("nan") if found.loss is None else found.loss
        return Progress(found.step, found.steps, loss, 0.0, found.seconds_left or 0.0)

    def failed(self, job: Job, error: str, attempts: int) -> None:
        """Leave a note in the run's folder."""
        write_failure(_folder(job), error)


def _named(found: Held) -> str:
    return f"process {found.pid} on {found.host}"


def _folder(job: Job) -> Path:
    return Store(job.store).folder(job.identity)


@dataclass(frozen=True)
class Place:
    """Where runs run."""

    executor: Executor
    slots: int
    """Runs at a time; an estimate where a cluster decides."""
    threads: int
    """CPU threads of each run."""


@contextmanager
def open_executor(
    name: str, slots: int, threads: int, address: str, recipes: Sequence[Recipe], cache: Path
) -> Iterator[Place]:
    """The executor called ``name``, to train runs of ``recipes``; it is closed at the end of the block.

    Args:
        slots: runs at a time. 0: as was measured of such runs (`ablate bench slots`), else one per core or
            GPU; under `ray`, as many as fit the cluster.
        threads: of each run; 0 shares the cores among the slots, and is 1 under `ray`.
        address: of a Ray cluster.

    Raises:
        ValueError: see `ablate.executors.registry.build_executor`; or a measurement cannot be read.
        RankError: several runs at a time are asked for, and each is trained by all nodes together.
    """
    here = _runs_at_a_time(slots, recipes, cache, threads)
    ranks = rank_range(recipes)
    if name == "ray":
        most, each = slots, threads or 1
        places = places_per_device(recipes, cache, threads)
    else:
        asked = 1 if _over_nodes(recipes) else slots
        places = places_per_device(recipes, cache, threads, asked)
        room = places * max(1, len(visible_gpus()))
        most, each = asked or room, threads or max(1, cores() // room)
    built = build_executor(name, most, each, address, work=train, places=places, ranks=ranks)
    with closing(built) as executor:
        yield Place(executor, here, each)


def _runs_at_a_time(slots: int, recipes: Sequence[Recipe], cache: Path, threads: int) -> int:
    if not _over_nodes(recipes):
        return slots or runs_here(recipes, cache, threads)
    if slots > 1:
        raise RankError(
            f"--slots {slots}, and a run of several nodes has all of them to itself; leave --slots out, or "
            "set train.nodes=1 and start one command on each node over one --store"
        )
    return 1


def _over_nodes(recipes: Sequence[Recipe]) -> bool:
    """Whether runs are trained by several nodes together, one at a time."""
    return any(recipe.train.nodes > 1 for recipe in recipes)


def dispatch(
    jobs: Sequence[Job],
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
    publish: Callable[[Finished], None] = lambda event: None,
) -> list[Failed]:
    """Train ``jobs``; those that failed. See `ablate.executors.schedule.run_jobs`.

    Args:
        see: shown every event, after it was published.
        executor: where they run, and stays open; ``slots`` processes of this machine if left out.
        publish: given every run that has ended, at once, so that nothing finished is lost.
    """
    if executor is None:
        with closing(LocalExecutor(slots, train, memory=device_memory())) as own:
            return dispatch(jobs, slots, see, own, publish)
    failures: list[Failed] = []
    # Closed whatever happens, a Ctrl-C while a record is shown included: no process outlives its study.
    with closing(run_jobs(jobs, executor, StoreStates())) as events:
        for event in events:
            if isinstance(event, Finished):
                publish(event)
            elif isinstance(event, Failed):
                failures.append(event)
            see(event)
    return failures
