"""What the command line prints of a sweep."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ablate.show import console, count_shown, duration_shown, titled_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ablate.executors.events import Event
    from ablate.study.plans import StudyPlan
    from ablate.study.standing import Standing
    from ablate.study.study import Places
    from ablate.sweep.plan import SweepPlan

MOST_NAMED = 20
"""Runs that a line names."""
LOOK_SECONDS = 2.0
"""Least time between two looks at how the runs of a sweep stand."""


def show_points(plan: "SweepPlan") -> None:
    """The mixtures in whole rows, and what each is there for."""
    if not plan.points:
        return
    streams = list(plan.points[0].shares)
    table = titled_table(f"{plan.sweep.name}: mixtures, in whole rows", "arm", *streams, "asked", "roles")
    for point in plan.points:
        asked = " ".join(f"{share:.3g}" for share in point.asked.values())
        shares = (f"{share:.4g}" for share in point.shares.values())
        table.add_row(point.arm, *shares, asked, ", ".join(point.roles))
    console().print(table)


def show_sweep_plan(plan: "SweepPlan", store: Path, slots: int) -> None:
    """Runs, FLOPs, time and disk of the whole sweep, and what sharing saves."""
    from ablate.sweep.plan import free_bytes, sweep_bytes, sweep_seconds

    table = titled_table(
        f"{plan.sweep.name}: settings", "setting", "arms", "seeds", "runs", "FLOPs", "finished"
    )
    for one in plan.settings:
        if one.prepared is None:
            table.add_row(one.name, "cannot be run", "", "", "", "")
            continue
        own = [cell for cell in plan.cells if cell.setting == one.name]
        table.add_row(
            one.name,
            str(len(one.prepared.plans)),
            str(len(one.recipe.seeds)),
            str(len(own)),
            count_shown(sum(cell.flops for cell in own)),
            str(sum(cell.finished for cell in own)),
        )
    out = console()
    out.print(table)
    distinct = list(plan.distinct.values())
    planned, once = (sum(cell.flops for cell in cells) for cells in (plan.cells, distinct))
    left = [cell for cell in distinct if not cell.finished]
    missing = sum(cell.flops for cell in left)
    out.print(
        f"{len(plan.cells)} runs, {len(distinct)} distinct: sharing saves {count_shown(planned - once)} of "
        f"{count_shown(planned)} FLOPs. Finished before: {len(distinct) - len(left)} runs, "
        f"{count_shown(once - missing)} FLOPs. To train: {len(left)} runs, {count_shown(missing)} FLOPs."
    )
    _show_trials(plan)
    took = duration_shown(sweep_seconds(plan) / slots)
    needed, free = sweep_bytes(plan, slots), free_bytes(store)
    short = "; the disk has less" if needed > free else ""
    out.print(
        f"About {took} with {slots} at a time, before scoring; {_bytes(needed)} of disk for models and "
        f"checkpoints ({_bytes(free)} free{short}). Nothing was trained."
    )


def _show_trials(plan: "SweepPlan") -> None:
    """Trials of tuning, which come first."""
    if not plan.trials:
        return
    distinct = {cell.identity: cell for cell in plan.trials}
    left = [cell for cell in distinct.values() if not cell.finished]
    waiting = "; which runs follow is known when they have ended" if left else ""
    once, missing = (sum(cell.flops for cell in cells) for cells in (distinct.values(), left))
    console().print(
        f"Tuning comes first, with as many trials for every arm: {len(plan.trials)} trials, {len(distinct)} "
        f"distinct, {count_shown(once)} FLOPs; to train: {len(left)} trials, {count_shown(missing)} "
        f"FLOPs{waiting}."
    )


def show_locks(plan: "SweepPlan", places: "Places") -> None:
    """Lock the plan of every setting that can be run."""
    from ablate.study.study import lock_study

    for one in plan.settings:
        if one.prepared is not None:
            print(lock_study(one.prepared.header, places.results / one.name))


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def show_problems(plan: "SweepPlan") -> bool:
    """Name on stderr the settings that cannot be run, and why; whether there are any."""
    out = Console(stderr=True, soft_wrap=True)
    bad = [one for one in plan.settings if one.problem]
    for one in bad:
        out.print(Text(f"ablate: setting {one.name} cannot be run: {one.problem}"))
    return bool(bad)


def show_diverged(found: "Standing") -> bool:
    """Name on stderr the runs that diverged, of which no average is made; whether there are any."""
    named = [f"{study} {run.arm} seed {run.seed}" for study, run in found.diverged]
    if named:
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        said = f"ablate: diverged, and in no average: {', '.join(named[:MOST_NAMED])}{more}"
        Console(stderr=True, soft_wrap=True).print(Text(said))
    return bool(named)


class SweepDisplay:
    """What `ablate status` shows of the sweep, live, and a line for every run that ends."""

    def __init__(self, name: str, studies: "Sequence[StudyPlan]", store: Path, stage: str = "") -> None:
        from ablate.study.index import Index
        from ablate.study.standing import standing

        self.name, self.studies, self.index = name, studies, Index(store)
        self.found = standing(studies, self.index)
        self.looked = time.monotonic()
        self.pause = LOOK_SECONDS
        self.total = self.found.total.runs
        self.ended = sum(self.found.total.states[state] for state in ("finished", "diverged"))
        self.console = console()
        said = f"{self.ended} of {self.total} distinct runs are finished already; " if self.ended else ""
        self.console.print(f"{name}{stage and f', {stage}'}: {said}{self.total - self.ended} to train")
        self.live = Live(
            console=self.console,
            get_renderable=self.shown,
            auto_refresh=self.console.is_terminal,
            refresh_per_second=1,
            transient=True,
        )

    def __enter__(self) -> "SweepDisplay":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def shown(self) -> "RenderableType":
        """Settings by states, what runs now, FLOPs done and the time that is left; in a large store it is
        looked up less often."""
        from ablate.show_status import status_shown
        from ablate.study.standing import standing

        began = time.monotonic()
        if began - self.looked > self.pause:
            self.index.refresh()
            self.found = standing(self.studies, self.index)
            self.looked = time.monotonic()
            self.pause = max(LOOK_SECONDS, 20 * (self.looked - began))
        return status_shown(self.name, self.found)

    def see(self, event: "Event") -> None:
        """Show one event of the pool."""
        from ablate.executors.events import Failed, Finished, Lost

        job = event.job
        run = f"{job.recipe.study} {job.arm} seed {job.seed}"
        if isinstance(event, Finished):
            took = duration_shown(event.record.spent.wall_seconds)
            self._ended(f"{run}: {event.record.status}, {took}")
        elif isinstance(event, Lost):
            self.console.print(Text(f"{run}: {event.how}; it goes on from its checkpoint"))
        elif isinstance(event, Failed):
            self._ended(f"{run}: failed")

    def _ended(self, line: str) -> None:
        self.ended += 1
        self.console.print(Text(f"[{self.ended}/{self.total}] {line}"))
