"""The one schedule of all executors: order, retries, and runs that another driver is training."""

import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from ablate.executors.events import Elsewhere, Event, Failed, Lost, Moved, Started
from ablate.executors.job import Job

if TYPE_CHECKING:
    from ablate.train.callbacks import Progress

RETRIES = 2
"""Times that a run is tried again after its process or node was lost."""
LOOK_EVERY = 2.0
"""Seconds between two looks at runs that are elsewhere, or that report through the store."""


class Executor(Protocol):
    """Places to run jobs in, and word of them."""

    @property
    def reports(self) -> bool:
        """Whether `wait` gives `Moved`; if not, the schedule asks the store where runs stand."""

    def refuse(self, ranks: int) -> None:
        """Raise a ValueError if no run of so many devices could ever start."""

    def fits(self, job: Job) -> bool:
        """Whether ``job`` would start at once."""

    def submit(self, job: Job) -> Started:
        """Start a job. What it does is the executor's `Work`."""

    def wait(self, timeout: float | None) -> list[Event]:
        """What happened since, as soon as there is something: `Moved`, or the end of a job by `Finished`,
        `Failed`, `Lost` or `Elsewhere`. Nothing if ``timeout`` seconds pass."""

    def cancel(self) -> None:
        """End every job that is running; their checkpoints stay."""

    def close(self) -> None:
        """`cancel`, and give back what the executor holds."""


class RunStates(Protocol):
    """What the store knows of runs; drivers on one store see one another through it."""

    def holder(self, job: Job) -> str:
        """Who is training this run now, in words; empty if nobody is."""

    def progress(self, job: Job) -> "Progress | None":
        """Where whoever trains this run said it stood, if it was said."""

    def failed(self, job: Job, error: str, attempts: int) -> None:
        """Note that a run failed."""


class Unshared:
    """Runs that no other driver knows of."""

    def holder(self, job: Job) -> str:
        """Nobody else."""
        return ""

    def progress(self, job: Job) -> None:
        """Nothing is said."""

    def failed(self, job: Job, error: str, attempts: int) -> None:
        """Nothing is noted: the event says it."""


def run_jobs(
    jobs: Sequence[Job],
    executor: Executor,
    states: RunStates | None = None,
    *,
    retries: int = RETRIES,
    look_every: float = LOOK_EVERY,
) -> Generator[Event, None, None]:
    """Run ``jobs``, in order, as the executor has room, and say what happens until each has ended.

    A run that has to wait for room is not overtaken: it might never start while smaller ones follow. A
    failing run doesn't stop the others. A run that is lost with its process or node is tried again, from its
    checkpoint, up to ``retries`` times; one that raised is not, as it would raise again. A run that another
    driver holds is left for later and looked at every ``look_every`` seconds: once it is let go
    of, it is submitted, which finds its record or goes on from its checkpoint. Closing the iterator ends
    what is running.
    """
    schedule = _Schedule(jobs, executor, states or Unshared(), retries, look_every)
    try:
        yield from schedule.events()
    finally:
        executor.cancel()


Key = tuple[str, str, str, int]


def _key(job: Job) -> Key:
    """Two arms of a study may be one run: an identity alone does not tell jobs apart."""
    return (job.identity, job.recipe.study, job.arm, job.seed)


class _Schedule:
    def __init__(
        self, jobs: Sequence[Job], executor: Executor, states: RunStates, retries: int, look_every: float
    ) -> None:
        self.executor = executor
        self.states = states
        self.retries = retries
        self.look_every = look_every
        self.waiting = deque(jobs)
        self.running: dict[Key, Job] = {}
        self.elsewhere: dict[Key, Job] = {}
        self.attempts: Counter[Key] = Counter()
        self.looked = time.monotonic()

    def events(self) -> Iterator[Event]:
        while self.waiting or self.running or self.elsewhere:
            yield from self._fill()
            for event in self._wait():
                yield self._seen(event)
            if time.monotonic() - self.looked >= self.look_every:
                yield from self._look()

    def _fill(self) -> Iterator[Event]:
        while self.waiting and self.executor.fits(self.waiting[0]):
            job = self.waiting.popleft()
            if holder := self._holder(job):
                self.elsewhere[_key(job)] = job
                yield Elsewhere(job, holder)
                continue
            self.running[_key(job)] = job
            self.attempts[_key(job)] += 1
            yield self.executor.submit(job)

    def _wait(self) -> list[Event]:
        """Word from the executor; with nothing to hear from it, the time until the next look passes."""
        left = max(0.0, self.looked + self.look_every - time.monotonic())
        if self.running:
            watched = self.elsewhere or self.waiting or not self.executor.reports
            return self.executor.wait(left if watched else None)
        if self.elsewhere or self.waiting:
            time.sleep(left)
        return []

    def _seen(self, event: Event) -> Event:
        """Take note of what the executor said; a run lost too often has failed."""
        if isinstance(event, Moved | Started):
            return event
        job, key = event.job, _key(event.job)
        del self.running[key]
        if any(other.identity == job.identity for other in self.elsewhere.values()):
            self.looked = 0.0
        if isinstance(event, Elsewhere):
            self.attempts[key] -= 1  # it was not ours to try
            self.elsewhere[key] = job
        elif isinstance(event, Lost):
            tried = self.attempts[key]
            if tried <= self.retries:
                self.waiting.appendleft(job)
                return event
            times = f" ({tried} times)" if tried > 1 else ""
            event = Failed(job, f"{event.how}{times}; run the same command again to resume it", tried)
        if isinstance(event, Failed):
            self.states.failed(job, event.error, event.attempts)
        return event

    def _look(self) -> Iterator[Event]:
        """Runs that are elsewhere, and runs of ours that report through the store alone."""
        for key, job in list(self.elsewhere.items()):
            if self._holder(job):
                yield from self._moved(job)
            else:
                del self.elsewhere[key]
                self.waiting.appendleft(job)
        if not self.executor.reports:
            for job in self.running.values():
                yield from self._moved(job)
        self.looked = time.monotonic()

    def _holder(self, job: Job) -> str:
        """Who is at this run: this driver, for another arm that is the same run, or another driver."""
        for other in self.running.values():
            if other.identity == job.identity:
                return f"this study, as {other.arm}"
        return self.states.holder(job)

    def _moved(self, job: Job) -> Iterator[Moved]:
        progress = self.states.progress(job)
        if progress is not None:
            yield Moved(job, progress)
