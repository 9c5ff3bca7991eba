"""What an executor itself costs: runs that only sleep, against the ideal time for the slots given."""

import math
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ablate.bench.measurement import Measurement
from ablate.budget.ledger import Ledger
from ablate.executors.events import Finished
from ablate.executors.job import Job, Report
from ablate.executors.schedule import Executor, run_jobs
from ablate.recipe.schema import BudgetConfig, EndpointsConfig, Recipe
from ablate.record import Pairing, RunRecord


@dataclass(frozen=True)
class Sleep:
    """The work of a trivial run: it sleeps, which needs no core."""

    seconds: float

    def __call__(self, job: Job, report: Report) -> RunRecord:
        time.sleep(self.seconds)
        return blank_record(job)


@dataclass(frozen=True)
class ExecutorBench:
    """What is timed."""

    runs: int = 64
    seconds: float = 2.0
    slots: int = 4

    @property
    def ideal(self) -> float:
        """Seconds that the runs take where starting and ending one takes no time."""
        return math.ceil(self.runs / self.slots) * self.seconds


def blank_record(job: Job) -> RunRecord:
    """The record of a run that did nothing."""
    nothing = Ledger(0, {}, 0, 0, 0, 0, 0, 0, 0, 0.0)
    return RunRecord(
        identity=job.identity,
        study=job.recipe.study,
        arm=job.arm,
        seed=job.seed,
        status="finished",
        control=None,
        mirrors=None,
        recipe_digest="",
        resolved={},
        data_digests={},
        pairing=Pairing("", {}),
        planned=nothing,
        spent=nothing,
        skips={},
        curve=[],
        scores={},
        final_weights="",
        provenance={},
    )


def trivial_jobs(runs: int) -> list[Job]:
    """Jobs for a `Work` that reads neither recipe nor data."""
    recipe = Recipe(
        study="trivial",
        question="",
        seeds=list(range(runs)),
        streams={},
        arms={},
        baseline="sleep",
        endpoints=EndpointsConfig("", {}),
        tasks={},
        budget=BudgetConfig(match="flops"),
    )
    nowhere = Path("nowhere")
    return [Job(recipe, "sleep", seed, nowhere, nowhere, 1, f"{seed:032x}") for seed in range(runs)]


def measure_local(bench: ExecutorBench) -> list[Measurement]:
    """Runs under `local`, the start of its server included."""
    from ablate.executors.local import LocalExecutor

    return [timed("local", LocalExecutor(bench.slots, Sleep(bench.seconds)), bench)]


def measure_ray(bench: ExecutorBench) -> list[Measurement]:
    """Runs under `ray` on two nodes of this machine, the start of workers included, that of the cluster not.

    Raises:
        RayAddressError: Ray is not installed.
    """
    from ablate.bench.ray_cluster import small_cluster
    from ablate.executors.ray import Needs, RayExecutor

    with small_cluster(2, math.ceil(bench.slots / 2)) as cluster:
        executor = RayExecutor(cluster.address, Sleep(bench.seconds), Needs(1), bench.slots)
        return [timed("ray, 2 nodes", executor, bench)]


def timed(name: str, executor: Executor, bench: ExecutorBench) -> Measurement:
    """Seconds for all runs under ``executor``, whose work is `Sleep`, to the last event; it is closed.

    Raises:
        ValueError: a run did not finish, so that there is nothing to time.
    """
    with closing(executor):
        began = time.monotonic()
        events = list(run_jobs(trivial_jobs(bench.runs), executor))
        took = time.monotonic() - began
    finished = sum(isinstance(event, Finished) for event in events)
    if finished != bench.runs:
        raise ValueError(f"{name}: {finished} of {bench.runs} runs finished: {events[-1]}")
    what = f"{name}: {bench.runs} runs of {bench.seconds:g} s in {bench.slots} slots"
    return Measurement(what, round(took, 3), "s", bench.ideal)
