"""A full disk or Ctrl-C costs nothing that was finished, and the same command goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_study import ONE, OwnStudy, Ran, places, snapshot, write_own_study

ROOT = Path(__file__).parents[2]
Run = Callable[..., Ran]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(1 << 12))
    except OSError:
        return filler


def test_a_full_cache_disk_is_named_and_the_same_command_goes_on(
    ablate: Run, own: OwnStudy, small_disk: Path
) -> None:
    cache = small_disk / "cache"
    filler = fill(small_disk)
    command = ["check", own.recipe, "--cache", cache]
    ablate(*command).refuses(str(cache), "the disk is full", "free some space", "what was finished is kept")
    with filler.open("r+b") as some:
        some.truncate((2 << 20) - (1 << 16))  # enough for the digests, too little for all
    ablate(*command).refuses(str(cache), "the disk is full")
    filler.unlink()
    ran = ablate(*command)
    assert (ran.code, ran.err) == (0, "")


def test_a_full_store_disk_costs_no_finished_run_and_the_same_command_goes_on(
    ablate: Run, own: OwnStudy, cache: Path, small_disk: Path, tmp_path: Path
) -> None:
    filler = fill(small_disk)
    with filler.open("r+b") as some:
        some.truncate((2 << 20) - (1 << 19))  # enough for the text arm, too little for the one with pictures
    store, results = small_disk / "store", tmp_path / "results"
    command = ["run", own.recipe, "--store", store, "--results", results, "--cache", cache, *ONE]
    ablate(*command).refuses("image seed 0", f"{store}: the disk is full", "free some space there")
    kept = snapshot(store, "*/*/record.json")
    assert len(kept) == 1
    assert set(snapshot(results, "records/*")) == {"records/text-seed0.json"}
    filler.unlink()
    again = ablate(*command)
    assert (again.code, again.err) == (0, "")
    assert "1 of 2 runs are finished already; 1 to train" in again.out
    assert kept.items() <= snapshot(store, "*/*/record.json").items()
    assert set(snapshot(results, "records/*")) == {"records/text-seed0.json", "records/image-seed0.json"}


def test_a_full_results_disk_is_named_and_the_store_keeps_the_run(
    ablate: Run, own: OwnStudy, cache: Path, small_disk: Path, tmp_path: Path
) -> None:
    filler = fill(small_disk)
    store, results = tmp_path / "store", small_disk / "results"
    command = ["run", own.recipe, "--store", store, "--results", results, "--cache", cache, *ONE]
    ablate(*command).refuses(str(results), "the disk is full")
    with filler.open("r+b") as some:
        some.truncate((2 << 20) - (1 << 13))  # enough for the header, too little for a record
    ablate(*command).refuses(str(results), "the disk is full")
    assert len(snapshot(store, "*/*/record.json")) == 1
    filler.unlink()
    again = ablate(*command)
    assert again.code == 0
    assert "1 of 2 runs are finished already; 1 to train" in again.out
    published = snapshot(results, "*/*")
    assert len(published) == 4
    fill(small_disk)
    ablate(*command).refuses(str(results), "the disk is full")
    assert snapshot(results, "*/*").items() >= published.items()


@dataclass(frozen=True)
class Stopped:
    """A study that was stopped by Ctrl-C after its first run."""

    study: OwnStudy
    folder: Path
    ran: Ran
    left_behind: list[str]
    """Processes of its session that still ran a while later."""
    records: dict[str, bytes]


def alive_in_session(session: int) -> list[str]:
    """Command lines of the running processes of a session; the dead that nobody has buried do not count."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = process.joinpath("stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked
    return found


def wait_until(holds: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    study = write_own_study(folder, folder / "data")
    command = [
        sys.executable,
        "-m",
        "ablate.cli",
        "run",
        study.recipe,
        "seeds=[0, 1]",
        *places(folder, cache),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out, err = folder / "out", folder / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        driver = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            # A shell that runs the tests in the background has them, and so their children, ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            assert wait_until(lambda: snapshot(folder, "results/records/*.json"), 120), err.read_text()
            os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and to its runs
            code = driver.wait(60)
            wait_until(lambda: not alive_in_session(driver.pid), 15)
            left_behind = alive_in_session(driver.pid)
        finally:
            if alive_in_session(driver.pid):
                os.killpg(driver.pid, signal.SIGKILL)
    ran = Ran(code, out.read_text(), err.read_text())
    return Stopped(study, folder, ran, left_behind, snapshot(folder / "store", "*/*/record.json"))


def test_ctrl_c_ends_every_process_with_one_message(stopped: Stopped) -> None:
    assert stopped.ran.code == 130
    stopped.ran.refuses("stopped", "finished runs are kept", "the same command goes on")
    assert stopped.left_behind == []


def test_after_ctrl_c_the_same_command_goes_on_without_training_what_was_finished(
    stopped: Stopped, ablate: Run, cache: Path
) -> None:
    done = len(stopped.records)
    assert 1 <= done < 4
    ran = ablate("run", stopped.study.recipe, "seeds=[0, 1]", *places(stopped.folder, cache))
    assert (ran.code, ran.err) == (0, "")
    assert f"{done} of 4 runs are finished already; {4 - done} to train" in ran.out
    now = snapshot(stopped.folder / "store", "*/*/record.json")
    assert stopped.records.items() <= now.items()
    assert len(now) == 4
