"""`ablate sweep` under bad input: it goes on where it can, says what it could not do, and the same command
finishes the job."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import forkserver
from pathlib import Path

import pytest
from own_study import ONE, OwnStudy, Ran, snapshot

from ablate.executors.attempt import attempt
from ablate.executors.events import Event, Started
from ablate.executors.job import Job, Report, Work
from ablate.record import RunRecord, read_record
from ablate.study.dispatch import train
from ablate.study.plans import announced

Run = Callable[..., Ran]
ARM = "  image: {mixture: {text: 0.5, pictures: 0.5}}\n"
RATES = """
  across:
    rate:
      low: {train.learning_rate: 1.0e-3}
      high: {train.learning_rate: 2.0e-3}
"""


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    """The server that runs are forked from: it imports torch once, and nothing of a test's own works."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["ablate.study.dispatch"])
    forkserver.ensure_running()


@pytest.fixture
def swept(own: OwnStudy) -> OwnStudy:
    """A sweep over the reader's own files: text alone beside three quarters and a half of text."""
    own.rewrite("study: own", "study: swept")
    own.rewrite(ARM, "")
    own.rewrite("steps: 20", "steps: 2")
    add(own, "sweep:\n  mixture: {streams: [text, pictures], design: list, points: [{pictures: 0.25}]}\n")
    return own


def add(own: OwnStudy, text: str) -> None:
    with own.recipe.open("a", encoding="utf-8") as out:
        out.write(text.lstrip("\n"))


class Here:
    """An executor that trains in this process, one run after another."""

    reports = True

    def __init__(self, work: Work) -> None:
        self.work = work
        self.event: Event | None = None

    def refuse(self, ranks: int) -> None:
        if ranks > 1:
            raise ValueError(f"no node has room for a run of {ranks} devices")

    def fits(self, job: Job) -> bool:
        return self.event is None

    def submit(self, job: Job) -> Started:
        self.event = attempt(self.work, job, lambda progress: None)
        return Started(job, os.getpid())

    def wait(self, timeout: float | None) -> list[Event]:
        found, self.event = self.event, None
        return [found] if found else []

    def cancel(self) -> None:
        self.event = None

    close = cancel


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    """Have runs trained in this process by a work of the test's own."""

    def use(work: Work) -> None:
        monkeypatch.setattr("ablate.study.dispatch.build_executor", lambda *_, **__: Here(work))

    return use


@pytest.fixture
def sweep(ablate: Run, swept: OwnStudy, cache: Path, tmp_path: Path) -> Run:
    """`ablate sweep`, with overrides and options."""
    options = ["--store", tmp_path / "store", "--results", tmp_path / "results", "--cache", cache, *ONE]
    return lambda *words: ablate("sweep", swept.recipe, *words, *options)


def half_written(folder: Path) -> list[str]:
    """Files of ``folder`` that a writer left behind."""
    found = [*folder.rglob("*.partial"), *folder.rglob("*.driver"), *folder.rglob("*lease*")]
    return [str(path) for path in found]


def trained_but_for_mixtures(job: Job, report: Report) -> RunRecord:
    """A quarter of pictures needs more memory than there is; whoever trains a half of them is killed."""
    if job.arm == "pictures1":
        raise MemoryError
    if job.arm == "pictures2":
        os.kill(os.getpid(), signal.SIGKILL)
    return train(job, report)


def out_of_memory(job: Job, report: Report) -> RunRecord:
    """No run fits."""
    raise MemoryError


def test_a_cell_out_of_memory_and_one_that_is_killed_stop_no_other_and_are_made_up_for(
    sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("ablate.study.dispatch.train", trained_but_for_mixtures)
        ran = sweep()
    assert ran.code == 1, ran.err
    for named in ("pictures1 seed 0", "out of memory", "--slots", "pictures2 seed 0", "SIGKILL (3 times)"):
        assert named in ran.err
    assert set(snapshot(tmp_path, "results/all/records/*")) == {"results/all/records/text-seed0.json"}
    said = (tmp_path / "results" / "table.md").read_text(encoding="utf-8")
    for why in ("| failed: out of memory", "SIGKILL (3 times)"):
        assert why in said
    assert half_written(tmp_path) == []
    again = sweep()
    assert (again.code, again.err) == (0, "")
    assert "failed:" not in (tmp_path / "results" / "table.md").read_text(encoding="utf-8")
    assert "1 of 3 distinct runs are finished already; 2 to train" in again.out
    assert not snapshot(tmp_path, "store/*/*/failure.json")


def test_where_every_cell_fails_the_sweep_says_why_and_exits_with_one(
    sweep: Run, here: Callable[[Work], None], tmp_path: Path
) -> None:
    here(out_of_memory)
    ran = sweep()
    assert ran.code == 1, ran.err
    assert ran.err.count("out of memory") == 3
    assert "there is no study" not in ran.err
    assert half_written(tmp_path) == []


def test_a_setting_whose_runs_no_node_has_room_for_is_named_and_the_others_go_on(
    sweep: Run, swept: OwnStudy, here: Callable[[Work], None], tmp_path: Path
) -> None:
    add(swept, "  across: {devices: {one: {}, two: {train.devices: 2}}}\n")
    here(train)
    ran = sweep()
    assert ran.code == 1
    assert "setting two cannot be run: no node has room for a run of 2 devices" in ran.err
    assert len(list((tmp_path / "results" / "one" / "records").glob("*.json"))) == 3
    assert not (tmp_path / "results" / "two").exists()


def test_a_damaged_shard_costs_its_setting_alone_and_a_run_that_diverges_is_shown(
    sweep: Run, swept: OwnStudy, here: Callable[[Work], None], tmp_path: Path
) -> None:
    whole = swept.shard.read_bytes()
    torn = swept.data / "torn.tar"
    torn.write_bytes(whole[: len(whole) // 3])
    add(
        swept,
        """
  across:
    shard:
      sound: {}
      torn: {streams.pictures.paths: ["${data_root}/torn.tar"]}
      wild: {train.learning_rate: 1.0e+30, train.clip: 1.0e+30, budget.steps: 6}
""",
    )
    here(train)
    ran = sweep()
    assert ran.code == 1
    assert ran.err.count("ablate: ") == 2
    assert "diverged, and in no average: swept.wild text seed 0, " in ran.err
    assert "setting torn cannot be run" in ran.err
    assert str(torn) in ran.err
    assert not (tmp_path / "results" / "torn").exists()
    assert len(snapshot(tmp_path, "results/sound/records/*")) == 3
    wild = [read_record(path).status for path in (tmp_path / "results" / "wild" / "records").iterdir()]
    assert wild == ["diverged"] * 3
    table = (tmp_path / "results" / "table.md").read_text(encoding="utf-8")
    assert "diverged" in table
    assert "torn.tar" in table
    assert half_written(tmp_path) == []
    torn.write_bytes(whole)
    again = sweep()
    assert again.code == 1, "what diverged is there still"
    assert again.err.count("ablate: ") == 1
    assert len(snapshot(tmp_path, "results/torn/records/*")) == 3


def test_settings_of_an_earlier_form_are_set_aside_and_return_with_their_level(
    sweep: Run, swept: OwnStudy, here: Callable[[Work], None], tmp_path: Path
) -> None:
    add(swept, RATES)
    here(train)
    assert sweep().code == 0
    before = snapshot(tmp_path / "results", "high/**/*.json")
    assert sweep("sweep.across.rate.high=null").code == 0
    assert not (tmp_path / "results" / "high").exists()
    assert (tmp_path / "results" / "displaced" / "high" / "study.json").exists()
    again = sweep()
    assert "6 of 6 distinct runs are finished already; 0 to train" in again.out
    assert snapshot(tmp_path / "results", "high/**/*.json") == before


def test_settings_with_seeds_of_their_own_are_trained_on_all_of_them(
    sweep: Run, swept: OwnStudy, here: Callable[[Work], None], tmp_path: Path
) -> None:
    add(
        swept,
        """
  hopeless: {after_seeds: 2, below: -1.0e+6}
  across:
    draw:
      one: {seeds: [0, 1, 2]}
      other: {seeds: [5, 6, 7]}
""",
    )
    swept.rewrite("seeds: [0]", "seeds: [0, 1, 2]")
    swept.rewrite("points: [{pictures: 0.25}]", "points: [{pictures: 0.5}]")
    here(train)
    assert sweep("--lock").code == 0
    assert sweep().code == 0
    for name, seeds in (("one", {0, 1, 2}), ("other", {5, 6, 7})):
        records = [read_record(path) for path in (tmp_path / "results" / name / "records").iterdir()]
        assert {record.seed for record in records if record.arm == "text"} == seeds


def test_a_look_after_the_last_seed_of_a_setting_is_refused(sweep: Run, swept: OwnStudy) -> None:
    add(swept, "\n  hopeless: {after_seeds: 2}\n  across: {draw: {few: {seeds: [0, 1]}, many: {}}}\n")
    swept.rewrite("seeds: [0]", "seeds: [0, 1, 2]")
    ran = sweep()
    ran.refuses("sweep.hopeless.after_seeds", "the seeds of few")
    assert ran.code == 2


def test_a_study_and_a_sweep_do_not_share_a_folder(
    ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    study, results = tmp_path / "study.yaml", tmp_path / "results"
    shutil.copy(own.recipe, study)
    own.rewrite(ARM, "")
    add(own, "sweep:\n  across: {rate: {low: {train.learning_rate: 1.0e-3}}}\n")
    options = ["--store", tmp_path / "store", "--results", results, "--cache", cache, *ONE]
    results.mkdir()
    for command, file, found in (("sweep", own.recipe, "study.json"), ("run", study, "sweep.json")):
        (results / found).write_text("{}", encoding="utf-8")
        ran = ablate(command, file, *options)
        ran.refuses(f"{results}: holds a {Path(found).stem}", "--results", "study=NAME")
        assert ran.code == 2
        (results / found).unlink()
    assert not (tmp_path / "store").exists()


def test_another_sweep_of_the_name_waits_or_takes_another(sweep: Run, tmp_path: Path) -> None:
    with announced([], tmp_path / "store", sweep=("swept", "0" * 32)):
        ran = sweep()
    ran.refuses("'swept' is being run there from another recipe", "study=NAME")
    assert ran.code == 2
    assert not (tmp_path / "results").exists()


def test_a_dry_run_writes_to_the_cache_alone(sweep: Run, tmp_path: Path) -> None:
    ran = sweep("--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "own.yaml"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, to fill or to close."""
    folder = tmp_path / "store"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (it takes root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_store_that_is_full_or_read_only_is_named_and_nothing_is_begun(
    sweep: Run, disk: Path, tmp_path: Path
) -> None:
    (disk / "filler").write_bytes(bytes(64 << 10))
    full = sweep()
    full.refuses(f"{disk}: the disk is full", "free some space there")
    (disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    closed = sweep()
    closed.refuses(f"{disk}: cannot be written (Read-only file system)", "name another folder")
    assert (full.code, closed.code) == (2, 2)
    assert half_written(disk) == []
    assert not (tmp_path / "results").exists()


def test_a_ray_address_that_does_not_answer_is_refused_before_any_data_are_read(
    ablate: Run, swept: OwnStudy, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ["--executor", "ray", "--ray-address", address, "--cache", tmp_path / "cache"]
        ran = ablate("sweep", swept.recipe, *options)
    ran.refuses(f"--ray-address {address}: no Ray cluster answers")
    assert ran.code == 2
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("sweep.mixture.degre=2", ["command line: sweep.mixture.degre", "did you mean 'degree'?"]),
        ("sweep.mixture.degree=two", ["command line: sweep.mixture.degree", "whole number"]),
        ("sweep=3", ["3 (whole number)", "a mapping"]),
        ("sweep=null", ["ablate run"]),
        ("sweep.across.rate.low=5", ["command line: sweep.across.rate.low", "a mapping"]),
        ("sweep.across={rate: {../x: {}}}", ["'../x'"]),
        ("study=../x", ["'../x'"]),
        ("sweep.mixture.points=[{pictures: 1.5}]", ["1.5", "add up to 1"]),
        ("sweep.mixture.minimum={pictures: 0.25}", ["leaves out the baseline"]),
        ("sweep.mixture.streams=[pictures, text]", ["first the stream that the baseline reads alone"]),
    ],
)
def test_an_override_that_makes_no_sweep_is_one_message_at_its_key(
    sweep: Run, override: str, named: list[str]
) -> None:
    ran = sweep(override)
    ran.refuses(*named)
    assert ran.code == 2


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_a_sweep_given_to_a_command_of_studies_names_the_right_one(
    ablate: Run, swept: OwnStudy, command: str
) -> None:
    ablate(command, swept.recipe).refuses(f"`ablate sweep {swept.recipe}`")


def test_a_sweep_file_edited_by_hand_is_found_by_the_check(
    sweep: Run, ablate: Run, here: Callable[[Work], None], tmp_path: Path
) -> None:
    here(train)
    assert sweep().code == 0
    results = tmp_path / "results"
    assert ablate("report", "--check", results).code == 0
    path = results / "sweep.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["points"][1]["shares"] = {"text": 0.875, "pictures": 0.125}
    path.write_text(json.dumps(raw), encoding="utf-8")
    found = ablate("report", "--check", results)
    assert found.code == 1
    assert str(results) in found.out
    assert ablate("report", results).code == 0
    table = (results / "table.md").read_text(encoding="utf-8")
    assert "its study is not of this sweep: the mixture of 'pictures1' is another" in table
