"""One of many processes trains a run, which is never lost to one that died, froze or has a wrong clock."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.study.lease import LeasedError, LeaseLostError, claim, held
from ablate.study.liveness import Holder, file_time, this_process

ROOT = Path(__file__).parents[2]
ELSEWHERE = Holder("another-node", os.getpid(), "another-boot/pid:[1]", 1)

CLAIMS = """
import pathlib, sys, time
from ablate.study.lease import LeasedError, LeaseLostError, claim
folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
(folder / f"ready.{sys.argv[3]}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    with claim(folder, seconds=seconds) as lease:
        print("won", flush=True)
        sys.stdin.readline()
        lease.check()
        (folder / "record").write_text("written")
except LeasedError:
    print("leased", flush=True)
except LeaseLostError:
    print("lost", flush=True)
"""


@contextmanager
def processes(folder: Path, count: int, seconds: float = 60.0) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that claim ``folder`` at one moment; a line to its input makes a holder write its record."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CLAIMS, str(folder), str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen([*command, str(number)], **pipes) for number in range(count)]
    try:
        assert wait_until(lambda: len(list(folder.glob("ready.*"))) == count)
        (folder / "go").touch()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def age(folder: Path, seconds: float) -> None:
    """As if the leases of ``folder`` had not been renewed for ``seconds``."""
    for path in folder.glob("lease.*.json"):
        then = file_time(folder) - seconds
        os.utime(path, (then, then))


def test_of_eight_processes_one_gets_the_lease_and_when_it_is_killed_another_has_it_at_once(
    tmp_path: Path,
) -> None:
    with processes(tmp_path, 8) as racing:
        said = [line_of(process) for process in racing]
        assert sorted(said) == ["leased"] * 7 + ["won"]
        winner = racing[said.index("won")]
        seen = held(tmp_path)
        assert seen is not None
        assert seen.pid == winner.pid
        with (
            pytest.raises(LeasedError, match=f"process {winner.pid} on {this_process().host}"),
            claim(tmp_path),
        ):
            pass
        winner.kill()
        # Not waited for: a dead process whose parent has not looked holds nothing either.
        assert wait_until(lambda: held(tmp_path) is None, 5)
        with claim(tmp_path) as lease:
            lease.check()
    assert not list(tmp_path.glob("*lease*"))
    assert not (tmp_path / "record").exists()


def test_a_process_suspended_beyond_its_lease_writes_nothing(tmp_path: Path) -> None:
    with processes(tmp_path, 1, seconds=0.5) as (process,):
        assert line_of(process) == "won"
        process.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: held(tmp_path) is None, 10)
        with claim(tmp_path) as lease:
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate("write\n")
            assert out.strip() == "lost"
            lease.check()
    assert not (tmp_path / "record").exists()
    assert not list(tmp_path.glob("*lease*"))


def test_a_holder_that_ends_lets_go_whether_it_failed_or_not(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(tmp_path):
        raise KeyboardInterrupt
    assert held(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_renewed_and_says_how_far_the_run_is(tmp_path: Path) -> None:
    with claim(tmp_path, seconds=0.3) as lease:
        lease.progress(3, 60, float("nan"), 12.5)
        time.sleep(0.5)  # longer than it stands
        seen = held(tmp_path)
    assert seen is not None
    assert (seen.step, seen.steps, seen.loss, seen.seconds_left) == (3, 60, None, 12.5)
    assert seen.age < 0.3


def test_a_lease_of_another_node_ends_by_age_alone(tmp_path: Path) -> None:
    with claim(tmp_path, ELSEWHERE):
        with pytest.raises(LeasedError, match="another-node"), claim(tmp_path):
            pass
        age(tmp_path, 59)
        assert held(tmp_path) is not None
        age(tmp_path, 61)
        assert held(tmp_path) is None
        with claim(tmp_path) as lease:
            lease.check()


def test_a_lease_from_the_future_stands_until_its_holder_was_silent_since_it_was_seen(tmp_path: Path) -> None:
    with claim(tmp_path, ELSEWHERE):
        age(tmp_path, -3600)  # the clock of the file system was set back by an hour
        with pytest.raises(LeasedError, match="another-node"), claim(tmp_path):
            pass
        seen = held(tmp_path)
        assert seen is not None, "it counts from now on"
        assert seen.age < 30
        age(tmp_path, 61)
        with claim(tmp_path) as lease:
            lease.check()


@pytest.mark.parametrize("since", ["1999-01-01T00:00:00+00:00", "2199-01-01T00:00:00+00:00", "yesterday"])
def test_what_the_clock_of_a_node_says_does_not_matter(tmp_path: Path, since: str) -> None:
    with claim(tmp_path, ELSEWHERE):
        path = tmp_path / "lease.1.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"since": since}))
        seen = held(tmp_path)
        assert seen is not None
        assert seen.since == since
        assert seen.age < 30
        age(tmp_path, 61)
        assert held(tmp_path) is None


def test_a_process_with_the_number_of_a_dead_one_is_another(tmp_path: Path) -> None:
    here = this_process()
    assert here.boot, "this node does not say which one it is"
    with claim(tmp_path, here):
        assert held(tmp_path) is not None
    with claim(tmp_path, Holder(here.host, here.pid, here.boot, here.born + 1)):
        assert held(tmp_path) is None
    with claim(tmp_path, Holder(here.host, here.pid, "another boot", here.born + 1)):
        assert held(tmp_path) is not None, "numbers of processes of another node mean nothing here"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"seconds": "long", "pid": -1, "host": 3}', b"\xff" * 40]
)
def test_a_lease_that_cannot_be_understood_is_somebodys_until_it_is_old(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "lease.7.json").write_bytes(content)
    with pytest.raises(LeasedError, match="an unknown host"), claim(tmp_path):
        pass
    age(tmp_path, 61)
    with claim(tmp_path) as lease:
        assert [path.name for path in sorted(tmp_path.glob("lease*"))] == ["lease.8.json"]
        lease.check()
    assert list(tmp_path.iterdir()) == []


def test_where_files_have_one_name_only_a_lease_is_taken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    with claim(tmp_path) as lease:
        lease.check()
        with pytest.raises(LeasedError), claim(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_threads_that_race_for_an_expired_lease_take_it_once(tmp_path: Path) -> None:
    for _ in range(5):
        with claim(tmp_path, ELSEWHERE) as old, ExitStack() as stack:
            age(tmp_path, 61)
            won: list[object] = []
            barrier = threading.Barrier(6)

            def race(barrier: threading.Barrier = barrier, won: list = won, stack: ExitStack = stack) -> None:
                barrier.wait()
                with suppress(LeasedError):
                    won.append(stack.enter_context(claim(tmp_path)))

            threads = [threading.Thread(target=race) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            with pytest.raises(LeaseLostError):
                old.check()


def test_a_holder_that_wakes_after_its_lease_was_taken_and_renewed_may_not_write(tmp_path: Path) -> None:
    with claim(tmp_path, ELSEWHERE) as old:
        age(tmp_path, 61)
        with claim(tmp_path) as lease:
            lease.check()
            with pytest.raises(LeaseLostError):
                old.check()
            lease.check()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["claim", "silence", "check", "release"]), st.integers(0, 2)), max_size=14
    )
)
def test_whatever_happens_at_most_one_may_write(steps: list[tuple[str, int]]) -> None:
    """Three processes, of which one may write: the last that claimed the lease and has not let go of it."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        leases = {}
        owner: int | None = None
        silent = False
        for what, who in steps:
            if what == "claim" and who not in leases:
                opened = stack.enter_context(ExitStack())
                if owner is None or silent:
                    leases[who] = (opened, opened.enter_context(claim(folder, ELSEWHERE)))
                    owner, silent = who, False
                else:
                    with pytest.raises(LeasedError):
                        opened.enter_context(claim(folder, ELSEWHERE))
            elif what == "silence":
                age(folder, 61)
                silent = owner is not None
            elif what == "check" and who in leases:
                if who == owner:
                    leases[who][1].check()
                    silent = False
                else:
                    with pytest.raises(LeaseLostError):
                        leases[who][1].check()
            elif what == "release" and who in leases:
                leases.pop(who)[0].close()
                owner = None if who == owner else owner
            assert (held(folder) is not None) == (owner is not None and not silent)
