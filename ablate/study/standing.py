"""Where a study stands, from its plan and the store alone: states by arm, FLOPs done, time left."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ablate.study.index import Index
from ablate.study.lease import Held, held
from ablate.study.liveness import file_time
from ablate.study.plans import PlannedRun, StudyPlan
from ablate.study.states import Failure, RunState, read_failure, unended_state
from ablate.study.store import Store

ENDED: tuple[RunState, ...] = ("finished", "diverged")
_FINISHED: tuple[RunState, float] = ("finished", 1.0)


@dataclass
class Tally:
    """Runs by state, and FLOPs."""

    states: Counter[RunState] = field(default_factory=Counter)
    planned: int = 0
    """Training FLOPs of all runs."""
    done: float = 0.0
    """Those of runs that have ended, and of the steps of running ones."""

    @property
    def runs(self) -> int:
        """All of them."""
        return self.states.total()

    def add(self, state: RunState, flops: int, share: float) -> None:
        """Count one run of ``flops``, of which ``share`` are done."""
        self.states[state] += 1
        self.planned += flops
        self.done += share * flops


@dataclass(frozen=True)
class Running:
    """A run that somebody trains now."""

    study: str
    run: PlannedRun
    held: Held


@dataclass(frozen=True)
class Failed:
    """A run that failed and that nobody is trying again."""

    study: str
    run: PlannedRun
    failure: Failure


@dataclass(frozen=True)
class Standing:
    """Where one study, or a sweep of several, stands."""

    total: Tally
    """Of distinct runs: those of one identity and the same tasks count once, FLOPs of one identity once."""
    arms: dict[tuple[str, str], Tally]
    """(study, arm) to its runs, those it shares included."""
    running: list[Running]
    failed: list[Failed]
    diverged: list[tuple[str, PlannedRun]]
    unscored: int
    """Distinct runs that have ended and are yet to be scored on this study's tasks; they count as planned."""
    seconds_left: float | None
    """At the rate of what runs now, or of one run at a time at the rate of those that have ended; None if
    neither is known."""

    @property
    def is_finished(self) -> bool:
        """Whether every run has ended."""
        return all(not count or state in ENDED for state, count in self.total.states.items())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to wait for: every run has ended, or failed and is not tried again."""
        return all(not count or state in (*ENDED, "failed") for state, count in self.total.states.items())

    @property
    def went_wrong(self) -> bool:
        """Whether a run failed or diverged."""
        return bool(self.total.states["failed"] or self.total.states["diverged"])


def standing(plans: Sequence[StudyPlan], index: Index) -> Standing:
    """Where ``plans`` stand. Records are read only where the index does not know them.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    survey = _Survey(index)
    for plan in plans:
        survey.add(plan)
    index.flush()
    return survey.standing()


class _Survey:
    """Goes over plans, run by run; a run that several share is looked at once."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.store = Store(index.root)
        self.now = file_time(index.root)
        self.total = Tally()
        self.arms: dict[tuple[str, str], Tally] = {}
        self.running: list[Running] = []
        self.failed: list[Failed] = []
        self.diverged: list[tuple[str, PlannedRun]] = []
        self.unscored: set[str] = set()
        self.seen: dict[str, dict[str, tuple[RunState, float]]] = {}
        self.counted: set[str] = set()
        self.flops = self.seconds = 0.0

    def add(self, plan: StudyPlan) -> None:
        known = self.seen.setdefault(plan.tasks, {})
        arms = {
            arm: self.arms.setdefault((plan.study, arm), Tally())
            for arm in dict.fromkeys(run.arm for run in plan.runs)
        }
        for run in plan.runs:
            identity = run.identity
            first = identity not in known
            if first:
                known[identity] = self._look(plan, run)
            state, share = known[identity]
            arms[run.arm].add(state, run.flops, share)
            if first:
                # Studies of other tasks share its training, and have its scoring to themselves.
                self.total.add(state, 0 if identity in self.counted else run.flops, share)
                self.counted.add(identity)

    def standing(self) -> Standing:
        left = self.total.planned - self.total.done
        rate = sum(_rates(self.running)) or (self.flops / self.seconds if self.seconds else 0.0)
        return Standing(
            self.total,
            self.arms,
            self.running,
            self.failed,
            self.diverged,
            len(self.unscored),
            left / rate if rate else None,
        )

    def _look(self, plan: StudyPlan, run: PlannedRun) -> tuple[RunState, float]:
        """State of a run, noted, and the share of its training that is known to be done."""
        entry = self.index.entry(run.identity)
        if entry is None:
            return self._unended(plan, run)
        if entry.status == "diverged":
            self.diverged.append((plan.study, run))
            return "diverged", 1.0
        self.flops += entry.flops
        self.seconds += entry.seconds
        if entry.tasks == plan.tasks:
            return _FINISHED
        self.unscored.add(run.identity)
        return "planned", 1.0

    def _unended(self, plan: StudyPlan, run: PlannedRun) -> tuple[RunState, float]:
        folder = self.store.folder(run.identity)
        state = unended_state(folder, self.now)
        if state == "running":
            holder = held(folder, self.now)
            if holder is not None:  # it may have let go since
                self.running.append(Running(plan.study, run, holder))
                return state, min(1.0, holder.step / holder.steps) if holder.steps else 0.0
        elif state == "failed":
            failure = read_failure(folder)
            if failure is not None:
                self.failed.append(Failed(plan.study, run, failure))
        return state, 0.0


def _rates(running: list[Running]) -> list[float]:
    """FLOPs a second of each run that is under way, as it says."""
    return [
        one.run.flops * (1 - one.held.step / one.held.steps) / one.held.seconds_left
        for one in running
        if one.held.steps > one.held.step and one.held.seconds_left
    ]
