"""One schedule for all executors: order, what is tried again and what is not, runs of other drivers."""

import itertools
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from works import Scripted

from ablate.bench.executors import blank_record, trivial_jobs
from ablate.executors.events import Elsewhere, Event, Failed, Finished, Lost, Started
from ablate.executors.job import Job
from ablate.executors.local import LocalExecutor
from ablate.executors.schedule import RETRIES, Unshared, run_jobs


class AtOnce:
    """An executor whose jobs end as they are told to, in any order, without a process."""

    reports = True

    def __init__(self, slots: int, script: dict[int, str], order: list[int]) -> None:
        self.slots, self.script, self.order = slots, dict(script), itertools.cycle(order)
        self.running: list[Job] = []
        self.most = 0
        self.cancelled = False

    def fits(self, job: Job) -> bool:
        return len(self.running) < self.slots

    def submit(self, job: Job) -> Started:
        self.running.append(job)
        self.most = max(self.most, len(self.running))
        return Started(job, 0)

    def wait(self, timeout: float | None) -> list[Event]:
        job = self.running.pop(next(self.order) % len(self.running))
        todo = self.script.get(job.seed, "")
        self.script[job.seed] = todo[1:]
        if todo[:1] == "k":
            return [Lost(job, "gone")]
        if todo[:1] == "b":
            return [Elsewhere(job, "another driver")]
        return [Failed(job, "it raised") if todo[:1] == "r" else Finished(job, blank_record(job))]

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        pass


class HeldFor(Unshared):
    """Another driver that holds the runs of some seeds for a number of looks."""

    def __init__(self, looks: dict[int, int]) -> None:
        self.looks = dict(looks)
        self.failures: list[tuple[int, int]] = []

    def holder(self, job: Job) -> str:
        left = self.looks.get(job.seed, 0)
        self.looks[job.seed] = left - 1
        return "another driver" if left > 0 else ""

    def failed(self, job: Job, error: str, attempts: int) -> None:
        self.failures.append((job.seed, attempts))


@given(
    slots=st.integers(1, 4),
    script=st.dictionaries(st.integers(0, 7), st.text("kbr", max_size=5)),
    looks=st.dictionaries(st.integers(0, 7), st.integers(0, 3)),
    order=st.lists(st.integers(0, 9), min_size=1, max_size=9),
)
def test_every_run_ends_once_whatever_happens_to_it(
    slots: int, script: dict[int, str], looks: dict[int, int], order: list[int]
) -> None:
    jobs = trivial_jobs(8)
    executor, states = AtOnce(slots, script, order), HeldFor(looks)
    events = list(run_jobs(jobs, executor, states, look_every=0.0))
    ends = {event.job.seed: event for event in events if isinstance(event, Finished | Failed)}
    assert len(ends) == sum(isinstance(event, Finished | Failed) for event in events) == 8
    assert executor.most <= slots
    assert executor.cancelled
    for seed, end in ends.items():
        done = script.get(seed, "")
        ours = done.replace("b", "")
        lost_first = len(ours) - len(ours.lstrip("k"))
        fails = lost_first > RETRIES or ours[lost_first : lost_first + 1] == "r"
        assert isinstance(end, Failed) == fails, (done, end)
    assert sorted(states.failures) == sorted(
        (seed, end.attempts) for seed, end in ends.items() if isinstance(end, Failed)
    )


def test_runs_start_in_the_order_given() -> None:
    events = run_jobs(trivial_jobs(6), AtOnce(2, {}, [1, 0]))
    assert [event.job.seed for event in events if isinstance(event, Started)] == list(range(6))


def test_a_run_that_waits_for_room_is_not_overtaken() -> None:
    class Narrow(AtOnce):
        def fits(self, job: Job) -> bool:
            return not self.running if job.seed == 2 else super().fits(job)

    events = list(run_jobs(trivial_jobs(5), Narrow(3, {}, [0])))
    assert [event.job.seed for event in events if isinstance(event, Started)] == list(range(5))
    wide = next(at for at, event in enumerate(events) if isinstance(event, Started) and event.job.seed == 2)
    assert {event.job.seed for event in events[:wide] if isinstance(event, Finished)} == {0, 1}


def test_a_run_held_elsewhere_does_not_hold_up_those_after_it() -> None:
    events = list(run_jobs(trivial_jobs(4), AtOnce(1, {}, [0]), HeldFor({0: 3}), look_every=0.0))
    ended = [event.job.seed for event in events if isinstance(event, Finished)]
    assert ended.index(0) > 0
    assert sorted(ended) == [0, 1, 2, 3]
    assert [event.job.seed for event in events if isinstance(event, Elsewhere)] == [0]


def test_two_arms_that_are_one_run_are_not_at_it_together() -> None:
    first = trivial_jobs(1)[0]
    jobs = [first, replace(first, arm="twin")]
    events = list(run_jobs(jobs, AtOnce(2, {}, [0]), look_every=0.0))
    assert [(type(event), event.job.arm) for event in events] == [
        (Started, "sleep"),
        (Elsewhere, "twin"),
        (Finished, "sleep"),
        (Started, "twin"),
        (Finished, "twin"),
    ]


def test_a_lost_process_is_tried_again_and_an_error_is_not(tmp_path: Path) -> None:
    work = Scripted(tmp_path, ((0, "k"), (1, "r"), (2, "kkkkkk")))
    with closing(LocalExecutor(2, work)) as executor:
        events = list(run_jobs(trivial_jobs(4), executor))
    finished = {event.job.seed for event in events if isinstance(event, Finished)}
    failed = {event.job.seed: event for event in events if isinstance(event, Failed)}
    assert finished == {0, 3}
    assert [work.attempts(seed) for seed in range(4)] == [2, 1, 1 + RETRIES, 1]
    assert failed[1].error == "seed 1 cannot be run"
    assert "SIGKILL" in failed[2].error
    assert failed[2].attempts == 1 + RETRIES


def test_a_run_that_turns_out_busy_is_looked_at_again(tmp_path: Path) -> None:
    work = Scripted(tmp_path, ((0, "bb"),))
    with closing(LocalExecutor(1, work)) as executor:
        events = list(run_jobs(trivial_jobs(2), executor, look_every=0.05))
    assert {event.job.seed for event in events if isinstance(event, Finished)} == {0, 1}
    assert {event.holder for event in events if isinstance(event, Elsewhere)} == {"process 7 on elsewhere"}
    assert work.attempts(0) == 3


def test_nothing_is_asked_of_the_store_while_runs_elsewhere_are_waited_for_in_vain() -> None:
    began = time.monotonic()
    states = HeldFor({0: 3})
    list(run_jobs(trivial_jobs(1), AtOnce(1, {}, [0]), states, look_every=0.05))
    assert time.monotonic() - began >= 2 * 0.05, "it looked more often than it was told to"
