"""The trials of a sweep's settings, in one pool, before the seeds that decide."""

import dataclasses
from collections.abc import Callable

from ablate.executors.events import Event, Failed
from ablate.executors.schedule import Executor
from ablate.study.study import Places
from ablate.study.tuning import conclude, run_trials
from ablate.sweep.load import sweep_digest
from ablate.sweep.plan import SweepPlan


def tune_sweep(
    plan: SweepPlan,
    places: Places,
    slots: int,
    see: Callable[[Event], None],
    executor: Executor | None = None,
) -> list[Failed]:
    """Train the trials that are missing, each distinct one once, and write tuning.json and the records of its
    trials beside every setting that is tuned; the trials that failed.

    What is picked is found by planning the sweep anew.

    Args:
        executor: where runs are trained; ``slots`` processes of this machine if left out.
    """
    tunings = {one.name: one.tuning for one in plan.settings if one.tuning is not None}
    jobs = [job for one in plan.settings for job in one.trials]
    sweep = (plan.sweep.name, sweep_digest(plan.sweep))
    failures = run_trials(list(tunings.values()), jobs, places, slots, see, executor, sweep)
    for name, tuning in tunings.items():
        conclude(tuning, dataclasses.replace(places, results=places.results / name))
    return failures
