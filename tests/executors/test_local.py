"""Processes of this machine: what they cost, and that none outlives its driver."""

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from works import Environment, Leaving, Scripted, Talkative

from ablate.bench.executors import ExecutorBench, Sleep, timed, trivial_jobs
from ablate.executors.events import Finished, Lost, Started
from ablate.executors.job import Job
from ablate.executors.local import LocalExecutor
from ablate.executors.schedule import run_jobs

ROOT = Path(__file__).parents[2]


def wait_for(holds: "object", seconds: float = 20.0) -> bool:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_sixteen_runs_take_little_longer_than_they_sleep() -> None:
    # The bound leaves room for a busy machine and none for runs one after another, nor for a process that
    # imports torch anew in each of the four rounds.
    with closing(LocalExecutor(4, Sleep(0.0))) as warm:
        list(run_jobs(trivial_jobs(1), warm))
    tries = (timed("local", LocalExecutor(4, Sleep(0.25)), ExecutorBench(16, 0.25, 4)) for _ in range(3))
    found = next((one for one in tries if one.value < 3.0), None)
    assert found is not None, "three times the ideal time, three times in a row"
    assert found.value >= found.reference == 1.0


def test_ideal_time_counts_whole_rounds() -> None:
    assert ExecutorBench(64, 2.0, 4).ideal == 32.0
    assert ExecutorBench(5, 2.0, 4).ideal == math.ceil(5 / 4) * 2.0


def test_runs_see_their_device_and_share_them_evenly() -> None:
    with closing(LocalExecutor(4, Environment(), devices=("5", "6"))) as executor:
        events = list(run_jobs(trivial_jobs(4), executor))
    seen = [
        event.record.provenance["CUDA_VISIBLE_DEVICES"] for event in events if isinstance(event, Finished)
    ]
    assert sorted(seen) == ["5", "5", "6", "6"]


def over_two(job: Job) -> Job:
    return replace(job, recipe=replace(job.recipe, train=replace(job.recipe.train, devices=2)))


def test_runs_of_one_device_and_of_two_each_see_their_own_number() -> None:
    first, second, third = trivial_jobs(3)
    with closing(LocalExecutor(4, Environment(), devices=("5", "6"))) as executor:
        events = list(run_jobs([first, over_two(second), third], executor))
    seen = {
        event.job.seed: event.record.provenance["CUDA_VISIBLE_DEVICES"]
        for event in events
        if isinstance(event, Finished)
    }
    assert seen == {0: "5", 1: "5,6", 2: "5"}
    told = [(type(event), event.job.seed) for event in events]
    assert told.index((Started, 1)) > told.index((Finished, 0)), "it waits until both are free"
    assert told.index((Started, 2)) > told.index((Finished, 1)), "and has both to itself"


def test_a_run_over_two_devices_sees_both() -> None:
    wide = over_two(trivial_jobs(1)[0])
    with closing(LocalExecutor(1, Environment(), devices=("5", "6", "7"))) as executor:
        events = list(run_jobs([wide], executor))
    assert isinstance(events[-1], Finished)
    assert events[-1].record.provenance["CUDA_VISIBLE_DEVICES"] == "5,6"


def test_no_more_runs_at_a_time_than_fit_what_the_first_needed(tmp_path: Path) -> None:
    with closing(LocalExecutor(4, Scripted(tmp_path), memory=1 << 20)) as executor:
        list(run_jobs(trivial_jobs(2), executor))
        assert executor.room.each == 1  # a process needs more than a megabyte


def test_a_run_killed_in_the_middle_of_what_it_says_is_lost_and_tried_again(tmp_path: Path) -> None:
    with closing(LocalExecutor(1, Talkative(tmp_path))) as executor:
        events = []
        for event in run_jobs(trivial_jobs(2), executor):
            events.append(event)
            if isinstance(event, Started) and len(events) == 1:
                assert wait_for(lambda: (tmp_path / "about-to-say").exists())
                time.sleep(0.5)  # it waits for the driver to read on
                os.kill(event.pid, signal.SIGKILL)
    assert [event.job.seed for event in events if isinstance(event, Lost)] == [0]
    assert {event.job.seed for event in events if isinstance(event, Finished)} == {0, 1}


def test_closing_ends_what_is_running(tmp_path: Path) -> None:
    with closing(LocalExecutor(2, Leaving(tmp_path))) as executor:
        events = run_jobs(trivial_jobs(4), executor)
        for _ in range(2):
            next(events)
        assert wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
        pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
        events.close()
    assert wait_for(lambda: all(map(is_gone, pids)), 5)


DRIVER = """
import sys
from pathlib import Path
from works import Leaving
from ablate.bench.executors import trivial_jobs
from ablate.executors.local import LocalExecutor
from ablate.executors.schedule import run_jobs
if __name__ == "__main__":
    list(run_jobs(trivial_jobs(2), LocalExecutor(2, Leaving(Path(sys.argv[1])))))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_runs_end_at_once_when_their_driver_is_killed(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path)], env={**os.environ, "PYTHONPATH": paths}
    )
    try:
        assert wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert wait_for(lambda: all(map(is_gone, pids)), 5), "it sleeps, reports nothing, and would sleep on"
