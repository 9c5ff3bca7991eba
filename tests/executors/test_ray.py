"""Runs on a Ray cluster of two nodes on this machine; and addresses at which there is none."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from works import Environment, Scripted

from ablate.bench.executors import ExecutorBench, Sleep, timed, trivial_jobs
from ablate.executors.environment import CHECKOUT
from ablate.executors.events import Failed, Finished, Lost, Started
from ablate.executors.ray import ClusterError, Needs, RayExecutor, pack
from ablate.executors.ray_probe import (
    ANSWER_SECONDS,
    AUTH_MODE,
    CONNECT_SECONDS,
    RayAddressError,
    check_address,
)
from ablate.executors.schedule import run_jobs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("needs", "node", "runs"),
    [
        (Needs(1), {"CPU": 4.0}, 4),
        (Needs(3), {"CPU": 4.0}, 1),
        (Needs(2, 0.25), {"CPU": 64.0, "GPU": 2.0}, 8),
        (Needs(2, 1 / 3), {"CPU": 64.0, "GPU": 1.0}, 3),
        (Needs(1, 0.5), {"CPU": 64.0}, 0),
        (Needs(1, 0.0, 3 << 30), {"CPU": 64.0, "memory": float(10 << 30)}, 3),
    ],
)
def test_a_node_has_room_for_as_many_runs_as_its_scarcest_resource_allows(
    needs: Needs, node: dict[str, float], runs: int
) -> None:
    assert pack([needs] * runs, [node])
    assert not pack([needs] * (runs + 1), [node])


def test_a_run_of_several_devices_has_gpus_of_its_own_on_one_node() -> None:
    one, node = Needs(2, 0.5), {"CPU": 64.0, "GPU": 4.0}
    assert one.of(3) == Needs(6, 3.0)
    assert Needs(2).of(3) == Needs(6)
    assert pack([one, one, one.of(3)], [node])
    assert not pack([one, one, one, one.of(3)], [node])
    assert not pack([one.of(3)], [{"CPU": 64.0, "GPU": 2.0}] * 2), "no run is spread over nodes"
    assert pack([one, one.of(2), one.of(2)], [{"CPU": 64.0, "GPU": 2.0}] * 3), "the widest is placed first"


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:", ":6379", "ray://10.0.0.1:10001", "h:70000"])
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(RayAddressError, match=re.escape("10.0.0.1:6379")):
        check_address(address)


def test_an_address_that_does_not_answer_is_named_at_once_with_what_to_do() -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(RayAddressError, match=f"{address}: no Ray cluster answers.*ray start"):
            check_address(address)
    assert time.monotonic() - began < 20


def test_a_port_that_is_not_rays_is_named_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    assert CONNECT_SECONDS + ANSWER_SECONDS <= 20
    monkeypatch.setattr("ablate.executors.ray_probe.ANSWER_SECONDS", 0.5)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RayAddressError, match=f"{address}: no Ray cluster answers"):
            check_address(address)


GUARDED = """
import sys
from ablate.bench.ray_cluster import small_cluster
with small_cluster(1, 1) as cluster:
    print(cluster.address, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_cluster_that_wants_a_token_is_given_this_machines_and_else_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4, encoding="utf-8")
    monkeypatch.delenv(AUTH_MODE, raising=False)
    around = {**os.environ, "HOME": str(home), AUTH_MODE: "token", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED], env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        address = started.stdout.readline().strip()
        monkeypatch.setenv("HOME", str(home))
        assert check_address(address) == {AUTH_MODE: "token"}
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr("ablate.executors.ray_probe.ANSWER_SECONDS", 6.0)
        with pytest.raises(RayAddressError, match=r"wants a token.*copy ~/\.ray/auth_token"):
            check_address(address)
        started.communicate("")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ablate.bench.ray_cluster import small_cluster

    # Tests of this folder are importable by their workers as they are by the tests themselves.
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before])
    with small_cluster() as started:
        yield started
    os.environ["PYTHONPATH"] = before


@pytest.mark.slow
def test_runs_of_a_cluster_are_tried_again_when_lost_and_run_beside_the_drivers_code(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(RayExecutor(cluster.address, Sleep(0.25), Needs(1))) as executor:
        list(run_jobs(trivial_jobs(4), executor))  # workers start
        found = timed("ray", executor, ExecutorBench(16, 0.25, 4))
        assert 1.0 <= found.value < 2.0, "four slots of two nodes"
    with closing(RayExecutor(cluster.address, Environment(), Needs(1), slots=1)) as executor:
        ended = list(run_jobs(trivial_jobs(1), executor))[-1]
        assert isinstance(ended, Finished)
        around = ended.record.provenance
        assert around["folder"] == str(tmp_path)
        assert around["code"] == str(CHECKOUT / "ablate") == str(ROOT / "ablate")
        assert around["OMP_NUM_THREADS"] == "1"
        executor.work = Scripted(tmp_path, ((0, "k"), (1, "r")))
        events = list(run_jobs(trivial_jobs(3), executor))
        assert [event.job.seed for event in events if isinstance(event, Lost)] == [0]
        assert [event.error for event in events if isinstance(event, Failed)] == ["seed 1 cannot be run"]
        assert {event.job.seed for event in events if isinstance(event, Finished)} == {0, 2}
    with pytest.raises(ClusterError, match=r"64 CPUs.*2 CPUs"):
        RayExecutor(cluster.address, Sleep(0.0), Needs(64))


@pytest.mark.slow
def test_a_run_whose_node_dies_is_tried_on_another(cluster: Any, tmp_path: Path) -> None:
    work = Scripted(tmp_path, seconds=3.0)
    with closing(RayExecutor(cluster.address, work, Needs(1))) as executor:
        lost: list[int] = []
        ended: list[int] = []
        started = 0
        for event in run_jobs(trivial_jobs(4), executor):
            started += isinstance(event, Started)
            if started == 4 and len(cluster.worker_nodes) == 2:
                wait_for_files(tmp_path, 4)
                cluster.remove_node(sorted(cluster.worker_nodes, key=str)[0], allow_graceful=False)
            if isinstance(event, Lost):
                lost.append(event.job.seed)
            if isinstance(event, Finished):
                ended.append(event.job.seed)
    assert len(lost) == 2, "a node of two CPUs"
    assert sorted(ended) == [0, 1, 2, 3]


def wait_for_files(folder: Path, count: int) -> None:
    end = time.monotonic() + 30
    while len(list(folder.glob("sleep-*"))) < count and time.monotonic() < end:
        time.sleep(0.05)


def test_without_ray_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayAddressError, match=re.escape("pip install -c constraints.txt -e '.[ray]'")):
        RayExecutor("local", Sleep(0.0), Needs(1))
