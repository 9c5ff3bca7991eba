"""The trials of a sweep's settings, in one pool, before the seeds that decide."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing

from ablate.executors.events import Event, Failed
from ablate.executors.job import Job
from ablate.executors.schedule import Executor
from ablate.report.tuning import Tuning
from ablate.study.dispatch import dispatch
from ablate.study.plans import announced
from ablate.study.store import disk_errors
from ablate.study.study import Places
from ablate.study.tuning import TuningPlan, conclude
from ablate.sweep.plan import SettingPlan, SweepPlan


def tune_sweep(
    plan: SweepPlan,
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
) -> list[Failed]:
    """Train the trials that are missing, each distinct one once, and write what they pick for every setting;
    the trials that failed.

    What is picked is found by planning the sweep anew.

    Args:
        executor: where runs are trained; ``slots`` processes of this machine if left out.
    """
    failures: list[Failed] = []
    tunings = list(_tunings(plan))
    jobs: dict[str, Job] = {}
    for setting, _ in tunings:
        for job in setting.trials:
            jobs.setdefault(job.identity, job)
    with (
        announced(plan.planned_trials, places.store),
        disk_errors(places.results),
        closing(dispatch(list(jobs.values()), slots, executor)) as events,
    ):
        for event in events:
            if isinstance(event, Failed):
                failures.append(event)
            see(event)
    conclude_tuning(plan, places)
    return failures


def conclude_tuning(plan: SweepPlan, places: Places) -> dict[str, Tuning]:
    """Write tuning.json and the records of its trials beside every setting that is tuned; by its name."""
    return {
        setting.name: conclude(tuning, dataclasses.replace(places, results=places.results / setting.name))
        for setting, tuning in _tunings(plan)
    }


def _tunings(plan: SweepPlan) -> Iterator[tuple[SettingPlan, TuningPlan]]:
    return ((one, one.tuning) for one in plan.settings if one.tuning is not None)
