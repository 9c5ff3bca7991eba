"""Nodes of one command find one another in the store, and nobody waits for ever."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablate.executors.job import Job
from ablate.recipe.load import load_recipe
from ablate.study import nodes
from ablate.study.nodes import Node, announced, follow, leading, this_node
from ablate.train.ranks import RankError

TORCHRUN = {
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "1",
    "TORCHELASTIC_RUN_ID": "one/two",
    "MASTER_ADDR": "first",
    "MASTER_PORT": "29500",
}
SRUN = {"SLURM_STEP_NUM_NODES": "4", "SLURM_NODEID": "3", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}
FIRST, SECOND = Node(0, 2, "first", "x"), Node(1, 2, "second", "x")


def until(holds: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "BEAT", 0.02)


@pytest.fixture
def job(tiny_file: Path, tmp_path: Path) -> Job:
    recipe = load_recipe(tiny_file, ["train.nodes=2"])
    return Job(recipe, "text", 0, tmp_path, tmp_path, 1, "ab12")


def test_torchrun_and_srun_say_which_node_this_is() -> None:
    assert this_node(TORCHRUN) == Node(1, 2, "first", "one_two-first-29500")
    found = this_node(SRUN)
    assert (found.number, found.nodes, found.launch) == (3, 4, "17-0")
    assert (this_node({}).number, this_node({}).nodes) == (0, 1)
    # A batch script of Slurm runs on one node, whatever was allocated.
    assert this_node({"SLURM_NNODES": "4", "SLURM_NODEID": "0"}).nodes == 1


@pytest.mark.parametrize(
    "more", [{**TORCHRUN, "LOCAL_WORLD_SIZE": "8"}, {**SRUN, "SLURM_STEP_NUM_TASKS": "32"}]
)
def test_a_command_started_once_for_each_device_is_refused(more: dict[str, str]) -> None:
    with pytest.raises(RankError, match="started 8 times on each node; start it once"):
        this_node(more)


def test_a_node_goes_when_the_first_has_ended(tmp_path: Path) -> None:
    with leading(tmp_path, FIRST):
        pass
    follow(tmp_path, tmp_path, SECOND)


def test_a_node_does_not_wait_for_a_first_one_that_gives_no_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "LOST", 0.1)
    with pytest.raises(RankError, match="no sign of life"):
        follow(tmp_path, tmp_path, SECOND)


def test_a_run_is_lent_to_once_and_what_goes_wrong_there_is_told_to_the_first_node(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent: list[str] = []

    def lend(run: dict[str, object], *_: object) -> None:
        lent.append(str(run["identity"]))
        raise RankError("no GPU here")

    monkeypatch.setattr(nodes, "_lend", lend)
    with leading(tmp_path, FIRST):
        second = threading.Thread(target=follow, args=(tmp_path, tmp_path, SECOND))
        second.start()
        with announced(job, FIRST, tmp_path / "ab" / "ab12", 9) as all_there:
            lost = tmp_path / "nodes" / "x.lost-1.json"
            assert until(lost.exists)
            with pytest.raises(RankError, match="node 1 of 2 left this run: no GPU here"):
                all_there()
    second.join(5)
    assert not second.is_alive()
    assert lent == ["ab12"]


def test_a_run_announced_at_once_names_the_command_it_belongs_to(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(threading.Thread):
        def run(self) -> None:
            time.sleep(0.2)
            super().run()

    monkeypatch.setattr(nodes.threading, "Thread", Late)
    with leading(tmp_path, FIRST), announced(job, FIRST, tmp_path / "ab" / "ab12", 9):
        assert json.loads((tmp_path / "nodes" / "x.run.json").read_text())["token"]


def test_a_run_that_an_older_command_left_behind_is_not_joined(job: Job, tmp_path: Path) -> None:
    """The files of a command that was killed lie there when its like is started again."""
    stale = {"token": "old", "attempt": "old", "arm": "text", "seed": 0}
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "x.run.json").write_text(json.dumps(stale), encoding="utf-8")
    said: list[str] = []
    with leading(tmp_path, FIRST):
        second = threading.Thread(target=follow, args=(tmp_path, tmp_path, SECOND, said.append))
        second.start()
        time.sleep(0.2)
    second.join(5)
    assert said == []


def test_a_node_whose_command_was_killed_does_not_serve_the_next_one(tmp_path: Path) -> None:
    """The next one has nodes of its own; two of one number would train the same ranks."""
    (tmp_path / "nodes").mkdir()
    first = tmp_path / "nodes" / "x.json"

    def lead(token: str, beat: int) -> None:
        first.write_text(json.dumps({"token": token, "beat": beat, "over": False}), encoding="utf-8")

    lead("old", 0)
    second = threading.Thread(target=follow, args=(tmp_path, tmp_path, SECOND))
    second.start()
    time.sleep(0.1)
    lead("old", 1)
    time.sleep(0.1)
    assert second.is_alive()
    lead("new", 0)
    second.join(5)
    assert not second.is_alive()


def test_a_run_of_one_node_is_announced_to_nobody(job: Job, tiny_file: Path, tmp_path: Path) -> None:
    with announced(replace(job, recipe=load_recipe(tiny_file)), FIRST, tmp_path, 9) as all_there:
        assert all_there()
    assert not (tmp_path / "nodes").exists()
