"""Where a run stands is told by its folder alone, whatever killed it."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.bench.store import made_up_record
from ablate.study.lease import claim
from ablate.study.liveness import file_time, this_process
from ablate.study.plans import StudyPlan, write_plan
from ablate.study.states import keep_record, read_failure, run_state, write_failure
from ablate.study.store import Store, StoreError, disk_errors

RECORD = made_up_record()


def test_a_run_goes_from_planned_to_running_to_failed_to_running_to_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.folder(RECORD.identity)
    assert run_state(folder) == "planned"
    folder.mkdir(parents=True)
    assert run_state(folder) == "planned"
    with claim(folder):
        assert run_state(folder) == "running"
    write_failure(folder, "out of memory")
    assert run_state(folder) == "failed"
    with claim(folder):
        assert run_state(folder) == "running"
        keep_record(store, RECORD)
    assert run_state(folder) == "finished"


def test_a_diverged_run_says_so(tmp_path: Path) -> None:
    folder = Store(tmp_path).folder(RECORD.identity)
    folder.mkdir(parents=True)
    keep_record(Store(tmp_path), dataclasses.replace(RECORD, status="diverged"))
    assert run_state(folder) == "diverged"


def test_a_run_that_was_killed_is_interrupted_before_and_after_its_first_checkpoint(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with claim(before):
        then = file_time(before) - 61
        os.utime(before / "lease.1.json", (then, then))
        assert run_state(before) == "interrupted"
    after.mkdir()
    (after / "checkpoint.ckpt").touch()
    assert run_state(after) == "interrupted"


def test_a_failure_says_why_where_and_how_often(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    write_failure(folder, "first")
    write_failure(folder, "x" * 100_000 + "CUDA out of memory")
    failure = read_failure(folder)
    assert failure is not None
    assert (failure.attempts, failure.host) == (2, this_process().host)
    assert failure.error.endswith("CUDA out of memory")
    assert len(failure.error) < 30_000
    assert os.listdir(folder) == ["failure.json"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"error": 3}', b"\xff"])
def test_a_note_of_failure_that_cannot_be_read_is_a_failure_still(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "failure.json").write_bytes(content)
    assert run_state(tmp_path) == "failed"
    failure = read_failure(tmp_path)
    assert failure is not None
    assert "cannot be read" in failure.error


def test_a_failure_that_cannot_be_noted_hides_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    write_failure(tmp_path / "file" / "run", "out of memory")
    assert read_failure(tmp_path / "file" / "run") is None


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A store on a file system that may only be read, with one finished run and one that is planned."""
    store = tmp_path / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(store)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here (it takes root)")
    try:
        Store(store).folder(RECORD.identity).mkdir(parents=True)
        keep_record(Store(store), RECORD)
        (store / "plans").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
        yield store
    finally:
        subprocess.run(["umount", "--lazy", str(store)], check=True)


def test_a_store_that_may_only_be_read_is_named_in_one_message_and_can_be_looked_at(read_only: Path) -> None:
    with pytest.raises(StoreError) as refused:
        write_plan(StudyPlan("quickstart", "0" * 32, "0" * 16, []), read_only)
    assert f"{read_only}: cannot be written (Read-only file system)" in str(refused.value)
    assert run_state(Store(read_only).folder(RECORD.identity)) == "finished"
    assert run_state(Store(read_only).folder("f" * 32)) == "planned"


def test_what_may_not_be_read_elsewhere_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors(tmp_path / "store"):
        raise PermissionError(13, "Permission denied", "/data/photos.tar")
    with pytest.raises(StoreError, match="store: cannot be written"), disk_errors(tmp_path / "store"):
        raise PermissionError(13, "Permission denied", str(tmp_path / "store" / "plans"))
