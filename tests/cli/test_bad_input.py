"""Bad input ends in one message that names the file, key or sample, and costs nothing that was finished."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from own_study import OwnStudy, Ran, write_own_study, write_tar

ROOT = Path(__file__).parents[2]
Run = Callable[..., Ran]
ONE = ["--slots", 1, "--threads", 1]
NOT_UTF8 = "café".encode("latin-1")


def snapshot(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}


def places(folder: Path, cache: Path) -> list[object]:
    return ["--store", folder / "store", "--results", folder / "results", "--cache", cache, *ONE]


def test_the_study_that_is_spoiled_below_is_sound(check: Run) -> None:
    ran = check()
    assert (ran.code, ran.err) == (0, "")
    assert "12 samples, 12 captions" in ran.out


# --- The recipe


def test_every_error_of_a_recipe_is_told_at_once_with_line_and_nearest_name(
    check: Run, own: OwnStudy
) -> None:
    own.rewrite("layers: 1", "layer: 1")
    own.rewrite("rows: 8,", "rows: eight,")
    own.rewrite("pictures: 0.5", "pictures: 0.4")
    ran = check("seeds=[0, x]")
    ran.refuses("4 problems", "command line: seeds.1", "'x' (text)", f"{own.recipe}:", "arms.image.mixture")
    for found, allowed in (
        ("the unknown key 'layer'", "did you mean 'layers'?"),
        ("'eight' (text)", "whole number"),
        ("shares that add up to 0.9", "shares that add up to 1"),
    ):
        assert f"found:   {found}" in ran.err
        assert allowed in ran.err


def test_a_recipe_that_is_not_there_is_named_with_the_nearest_that_is(
    ablate: Run, own: OwnStudy, cache: Path
) -> None:
    missing = own.recipe.with_name("own.yml")
    for command in ("check", "plan", "run"):
        ablate(command, missing, "--cache", cache).refuses(str(missing), "did you mean 'own.yaml'?")


def test_a_recipe_that_is_not_utf8_is_refused(check: Run, own: OwnStudy) -> None:
    own.recipe.write_bytes(own.recipe.read_bytes() + b"note: " + NOT_UTF8)
    check().refuses(str(own.recipe), "not UTF-8", "0xe9", "save the file as UTF-8")


@pytest.mark.parametrize(
    "key", ["streams.text.paths.0", "tasks.prose.paths.0", "data_root", "tokenizer.path"]
)
def test_a_command_or_address_is_neither_run_nor_fetched(key: str, check: Run, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    block, _, place = key.rpartition(".")
    for address in (f"pipe:touch {trap}", "https://example.org/x.jsonl"):
        override = f'{block}=["{address}"]' if place == "0" else f"{key}={address}"
        check(override).refuses(key, address, "nothing is run or fetched")
    assert not trap.exists()


def test_a_secret_of_the_environment_does_not_get_into_a_study(
    check: Run, own: OwnStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_TEST_SECRET", "hunter2")
    own.rewrite("study: own", "study: own\nnote: ${oc.env:ABLATE_TEST_SECRET}")
    ran = check()
    ran.refuses(
        f"{own.recipe}:4: note", "the resolver ${oc.env:ABLATE_TEST_SECRET}", "write the value itself"
    )
    assert "hunter2" not in ran.err + ran.out


def test_shares_have_to_add_up_to_1_and_to_whole_rows(check: Run, own: OwnStudy) -> None:
    check("arms.image.mixture.pictures=0.4").refuses("arms.image.mixture", "add up to 0.9", "add up to 1")
    own.rewrite("text: 0.5, pictures: 0.5", "text: 0.9, pictures: 0.1")
    check().refuses("arms.image.mixture", "nearest shares that work: {text: 0.75, pictures: 0.25}")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_budget_too_small_for_one_step_is_refused_before_anything_is_trained(
    command: str, ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    where = ["--cache", cache] if command == "plan" else places(tmp_path, cache)
    ran = ablate(command, own.recipe, "budget.steps=null", "budget.flops=1000", *where)
    ran.refuses("own: the budget pays for", "raise the budget")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("option", ["--slots", "--threads"])
def test_a_negative_number_of_processes_is_refused(option: str, ablate: Run, own: OwnStudy) -> None:
    ran = ablate("run", own.recipe, option, "-1")
    assert ran.code != 0
    assert option in ran.err


# --- The data


@pytest.mark.parametrize("name", ["text.jsonl", "pictures-000.tar", "heldout.jsonl", "questions.jsonl"])
def test_a_missing_file_is_named(name: str, check: Run, own: OwnStudy) -> None:
    (own.data / name).unlink()
    check().refuses(
        str(own.data / name.replace("000", "*")), "matches no file", "check the path and data_root"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty (0 bytes)"), (bytes(10240), "holds no samples")],
    ids=["bytes", "tar"],
)
def test_an_empty_shard_among_others_is_named(content: bytes, said: str, check: Run, own: OwnStudy) -> None:
    empty = own.data / "pictures-001.tar"
    empty.write_bytes(content)
    check().refuses(str(empty), said, "remove the empty shard")


def test_an_empty_text_file_is_named(check: Run, own: OwnStudy) -> None:
    (own.data / "text.jsonl").write_bytes(b"")
    check().refuses(str(own.data / "text.jsonl"), "holds no documents", "remove the file")


def test_a_truncated_tar_is_named_with_the_last_whole_member(check: Run, own: OwnStudy) -> None:
    whole = own.shard.read_bytes()
    with tarfile.open(own.shard) as tar:
        cut = tar.getmember("0005.jpg").offset_data + 10
    own.shard.write_bytes(whole[:cut])
    check().refuses(str(own.shard), "cut short inside 0005.jpg", "fetch or write it again")


def test_a_text_that_is_not_utf8_is_named_with_its_line(check: Run, own: OwnStudy) -> None:
    path = own.data / "text.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "' + NOT_UTF8 + b'"}\n')
    check().refuses(str(path), "line 61", "not UTF-8 at byte", "iconv -t utf-8")


def test_a_question_that_is_not_utf8_is_named_with_its_line(check: Run, own: OwnStudy) -> None:
    path = own.data / "questions.jsonl"
    path.write_bytes(path.read_bytes() + b'{"question": "' + NOT_UTF8 + b'"}\n')
    check().refuses(f"{path}:9", "not UTF-8", "iconv -t utf-8")


def test_a_caption_that_is_missing_empty_or_not_utf8_is_named_with_its_sample(
    check: Run, own: OwnStudy
) -> None:
    for caption, said in ((None, "no caption"), (b" \n", "caption missing"), (NOT_UTF8, "not UTF-8")):
        own.put("0007.txt", caption)
        check().refuses(str(own.shard), "0007", said)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_a_shard_is_refused_unread(check: Run, own: OwnStudy, tmp_path: Path) -> None:
    own.put("0007.pkl", pickle.dumps(Trap(tmp_path / "ran")))
    check().refuses(str(own.shard), "'0007.pkl'", "can run anything when read", "repack the shard without it")
    assert not (tmp_path / "ran").exists()


def test_a_task_without_items_is_named(check: Run, own: OwnStudy) -> None:
    (own.data / "questions.jsonl").write_text("\n", encoding="utf-8")
    check().refuses("task 'questions' has no items", str(own.data / "questions.jsonl"), "add items")


# --- Pictures that do not decode


def test_check_names_the_pictures_that_do_not_decode(check: Run, own: OwnStudy) -> None:
    own.put("0003.jpg", own.members()["0003.jpg"][:300])
    own.put("0008.jpg", b"not a picture at all")
    ran = check("streams.pictures.max_skips=1")
    ran.refuses("2 of 12 samples do not decode", "max_skips allows 1", "mend the shard or raise the limit")
    for key, why in (("0003", "truncated JPEG"), ("0008", "not a JPEG")):
        (line,) = [line for line in ran.err.splitlines() if line.startswith(f"  {own.shard}: {key}")]
        assert why in line
    assert "2 do not decode" in " ".join(ran.out.split())
    allowed = check("streams.pictures.max_skips=2")
    assert (allowed.code, allowed.err) == (0, "")
    assert "2 do not decode" in " ".join(allowed.out.split())


def test_of_many_damaged_pictures_some_are_named_and_all_are_counted(check: Run, own: OwnStudy) -> None:
    write_tar(
        own.shard, {name: b"-" if name.endswith(".jpg") else data for name, data in own.members().items()}
    )
    ran = check()
    ran.refuses("12 of 12 samples do not decode", "and 2 more")
    assert ran.err.count(f"  {own.shard}: ") == 10


def test_a_damaged_picture_stops_the_runs_that_see_it_and_no_other(
    ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    own.put("0003.jpg", own.members()["0003.jpg"][:300])
    command = ["run", own.recipe, *places(tmp_path, cache)]
    ran = ablate(*command)
    ran.refuses("image seed 0", f"{own.shard}: 0003: corrupt or truncated JPEG", "streams.pictures.max_skips")
    assert set(snapshot(tmp_path / "results", "records/*")) == {"records/text-seed0.json"}
    skipping = ablate(*command, "streams.pictures.max_skips=1")
    assert skipping.code == 0
    assert "1 of 2 runs are finished already" in skipping.out
    assert "pictures/decode" in (tmp_path / "results/table.md").read_text(encoding="utf-8")


# --- Stopped from outside


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
        some.truncate((2 << 20) - (1 << 18))  # enough for the text arm, too little for the one with pictures
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
