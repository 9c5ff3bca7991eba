"""`ablate run` and `ablate sweep`, started once a node: the first leads, the others follow."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_study import Ran

from ablate.study import nodes
from ablate.study.nodes import Node, leading

SHORT = ["seeds=[0]", "arms.image.controls=[]", "train.log_every=5"]
"""Overrides that leave two runs of a second."""
ONE_RUN = ["seeds=[0]", "arms.image=null", "train.log_every=5"]


def as_node(monkeypatch: pytest.MonkeyPatch, number: int, count: int) -> None:
    for name, value in torchrun(number, count).items():
        monkeypatch.setenv(name, value)


def torchrun(number: int, count: int, port: int = 29500) -> dict[str, str]:
    """What torchrun --nnodes COUNT --nproc-per-node 1 puts into the environment on node NUMBER."""
    return {
        "GROUP_RANK": str(number),
        "GROUP_WORLD_SIZE": str(count),
        "RANK": str(number),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def started(folder: Path, recipe: Path, cache: Path, environment: dict[str, str], *more: str) -> Any:
    words = ["run", str(recipe), *ONE_RUN, *more, "--store", str(folder / "store"), "--cache", str(cache)]
    words += ["--results", str(folder / "results"), "--slots", "1", "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "ablate.cli", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def record_of(folder: Path) -> dict[str, Any]:
    """The record without what may differ between two ways of starting the same ranks."""
    record: dict[str, Any] = json.loads((folder / "results" / "records" / "text-seed0.json").read_text())
    del record["provenance"], record["recipe_digest"], record["seal"]
    del record["spent"]["wall_seconds"]
    return record


def test_two_nodes_of_one_rank_end_like_one_node_of_two(tiny_file: Path, cache: Path, tmp_path: Path) -> None:
    together = started(tmp_path / "one", tiny_file, cache, {}, "train.devices=2")
    out, errors = together.communicate(timeout=120)
    assert together.returncode == 0, errors
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first, second = (
        started(tmp_path / "two", tiny_file, cache, torchrun(number, 2, port), "train.nodes=2")
        for number in range(2)
    )
    out, errors = first.communicate(timeout=120)
    assert first.returncode == 0, errors
    assert "text" in out
    said, errors = second.communicate(timeout=30)
    assert (second.returncode, said) == (0, ""), "the report is printed by the first node alone"
    assert errors.splitlines() == ["ablate: node 1 of 2: text seed 0"]
    one, two = (record_of(tmp_path / name) for name in ("one", "two"))
    assert one["pairing"]["text_rows"]
    assert two == one


def test_a_recipe_of_two_nodes_started_on_one_is_refused_with_the_command_that_starts_it(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path, tmp_path: Path
) -> None:
    ran = ablate("run", tiny_file, "train.nodes=2", "--store", tmp_path / "store", "--cache", cache)
    assert ran.code == 2
    assert "train.nodes is 2, and this command was started on 1" in ran.err
    assert "srun --nodes 2 --ntasks-per-node 1" in ran.err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_a_launch_of_more_nodes_than_a_recipe_asks_for_is_refused_on_each_of_them(
    number: int,
    ablate: Callable[..., Ran],
    tiny_file: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_node(monkeypatch, number, 3)
    ran = ablate("run", tiny_file, "--store", tmp_path / "store", "--cache", cache)
    assert ran.code == 2
    assert "started on 3 nodes, and train.nodes is 1; start it once, on one node" in ran.err
    ran = ablate("run", tiny_file, "train.nodes=2", "--store", tmp_path / "store", "--cache", cache)
    assert ran.code == 2
    assert "train.nodes is 2, and this command was started on 3" in ran.err
    assert not (tmp_path / "store").exists()


def test_another_node_of_a_sweep_follows_and_prints_nothing(
    ablate: Callable[..., Ran],
    tiny_file: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "BEAT", 0.02)
    as_node(monkeypatch, 1, 2)
    sweep = tmp_path / "sweep.yaml"
    across = "\nsweep: {across: {wide: {one: {}, two: {train.nodes: 2}}}}\n"
    sweep.write_text(tiny_file.read_text() + across, encoding="utf-8")
    with leading(tmp_path / "store", Node(0, 2, "127.0.0.1", "none-127.0.0.1-29500")):
        time.sleep(0.05)
    ran = ablate("sweep", sweep, "--store", tmp_path / "store", "--cache", cache)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_setting_that_cannot_be_trained_here_is_left_out_and_named_and_the_others_go_on(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep.yaml"
    across = "\nsweep: {across: {wide: {one: {}, two: {train.nodes: 2}}}}\n"
    sweep.write_text(tiny_file.read_text() + across, encoding="utf-8")
    places = ("--store", tmp_path / "store", "--cache", cache, "--results", tmp_path / "results")
    ran = ablate("sweep", sweep, *SHORT, *places)
    assert ran.code == 1
    assert "train.nodes is 2, and this command was started on 1" in ran.err
    trained = sorted(path.parent.parent.name for path in (tmp_path / "results").glob("*/records/*.json"))
    assert len(trained) == 2
    assert len(set(trained)) == 1


def test_plans_are_made_where_runs_could_not_start_and_say_so(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path, tmp_path: Path
) -> None:
    sharded = ("train.devices=2", "train.strategy=fsdp")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(tiny_file.read_text() + "\nsweep: {across: {all: {one: {}}}}\n", encoding="utf-8")
    store = ("--store", tmp_path / "store")
    for words in (("check", tiny_file), ("plan", tiny_file), ("sweep", sweep, "--dry-run", *store)):
        ran = ablate(*words, *sharded, "--cache", cache)
        said = " ".join(ran.out.split())
        assert ran.code == 0, ran.err
        assert "Note: its runs could not start as this command was: train.strategy is fsdp" in said, words
        assert "Note" not in ablate(*words, "--cache", cache).out
    ran = ablate("run", tiny_file, *sharded, "--cache", cache, *store)
    assert ran.code == 2
    assert "there is no GPU here" in ran.err
    assert not (tmp_path / "store").exists()


def test_a_cluster_of_ray_is_not_asked_for_several_nodes(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path
) -> None:
    ran = ablate("run", tiny_file, "train.nodes=2", "--executor", "ray", "--cache", cache)
    assert ran.code == 2
    assert "a task of a Ray cluster runs on one node" in ran.err


def test_runs_of_several_nodes_go_one_at_a_time(
    ablate: Callable[..., Ran], tiny_file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_node(monkeypatch, 0, 2)
    ran = ablate(
        "run", tiny_file, "train.nodes=2", "--slots", 2, "--store", tmp_path / "store", "--cache", cache
    )
    assert ran.code == 2
    assert "--slots 2, and a run of several nodes has all of them to itself" in ran.err
