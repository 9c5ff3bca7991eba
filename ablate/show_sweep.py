"""What the command line prints of a sweep."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ablate.show import console, count_shown, duration_shown, titled_table

if TYPE_CHECKING:
    from ablate.executors.events import Event
    from ablate.study.study import Places
    from ablate.sweep.plan import SweepPlan


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


class SweepDisplay:
    """A live table of a sweep: a line per setting with its runs by state, and what runs now."""

    def __init__(self, plan: "SweepPlan") -> None:
        self.plan = plan
        self.console = console()
        self.cells = {
            name: [cell for cell in plan.cells if cell.setting == name]
            for name in (one.name for one in plan.settings if one.prepared is not None)
        }
        self.states = {cell.identity: "finished" if cell.finished else "planned" for cell in plan.cells}
        self.left: dict[str, float] = {}
        done = sum(state == "finished" for state in self.states.values())
        said = f"{done} of {len(self.states)} distinct runs are finished already; " if done else ""
        self.console.print(f"{plan.sweep.name}: {said}{len(self.states) - done} to train")
        self.live = Live(
            console=self.console, get_renderable=self.table, refresh_per_second=1, transient=True
        )

    def __enter__(self) -> "SweepDisplay":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def table(self) -> Table:
        """Settings by states."""
        shown = titled_table(
            self.plan.sweep.name,
            "setting",
            "planned",
            "running",
            "finished",
            "diverged",
            "failed",
            "FLOPs done",
        )
        for name, cells in self.cells.items():
            states = Counter(self.states[cell.identity] for cell in cells)
            done = sum(cell.flops for cell in cells if self.states[cell.identity] in ("finished", "diverged"))
            share = done / max(1, sum(cell.flops for cell in cells))
            counts = (
                str(states[state]) for state in ("planned", "running", "finished", "diverged", "failed")
            )
            shown.add_row(name, *counts, f"{share:.0%}")
        return shown

    def see(self, event: "Event") -> None:
        """Show one event of the pool."""
        from ablate.executors.events import Failed, Finished, Lost, Started

        job = event.job
        if isinstance(event, Started):
            self.states[job.identity] = "running"
        elif isinstance(event, Finished):
            self.states[job.identity] = event.record.status
            took = duration_shown(event.record.spent.wall_seconds)
            self._say(f"{job.recipe.study} {job.arm} seed {job.seed}: {event.record.status}, {took}")
        elif isinstance(event, Lost):
            self._say(
                f"{job.recipe.study} {job.arm} seed {job.seed}: {event.how}; it goes on from its checkpoint"
            )
        elif isinstance(event, Failed):
            self.states[job.identity] = "failed"
            self._say(f"{job.recipe.study} {job.arm} seed {job.seed}: failed")

    def _say(self, line: str) -> None:
        done = sum(state not in ("planned", "running") for state in self.states.values())
        self.console.print(Text(f"[{done}/{len(self.states)}] {line}"))
