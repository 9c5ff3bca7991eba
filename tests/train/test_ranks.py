"""Several ranks train what one trains: the same rows, the same account, the same losses but for rounding."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rank_bodies
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from ablate.budget.plan import plan_study
from ablate.data.mixture import Step, StepCounts
from ablate.executors.job import Job
from ablate.materials import Materials, build_mixture
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import TrainConfig
from ablate.record import RunRecord
from ablate.study import training
from ablate.study.identity import resolved_arm, run_identity
from ablate.study.run import execute
from ablate.study.store import Store
from ablate.study.training import PRELOAD
from ablate.train import ranks
from ablate.train.account import Account, is_digest_step
from ablate.train.ranks import Rank, RankError, node_ranks, refuse_unable, run_ranks

TWO = node_ranks(TrainConfig(devices=2), 0, "", 0)
SHORT = ("train.log_every=5", "train.learning_rate=3.0e-3")


def job_of(materials: Materials, recipe: object, folder: Path, cache: Path, arm: str = "image") -> Job:
    plan = next(plan for plan in plan_study(materials) if plan.arm.name == arm)
    identity = run_identity(materials, plan, 0)
    return Job(recipe, arm, 0, folder, cache, 1, identity)  # type: ignore[arg-type]


def without_times(record: RunRecord) -> RunRecord:
    """``record`` without what may differ: times, provenance, identity, and what is rounded."""
    resolved = {**record.resolved, "train": {**record.resolved["train"], "ranks": 0, "strategy": ""}}
    return replace(
        record,
        identity="",
        recipe_digest="",
        resolved=resolved,
        spent=replace(record.spent, wall_seconds=0.0),
        curve=[replace(point, loss=0.0, media_loss=0.0) for point in record.curve],
        scores={},
        final_weights="",
        provenance={},
    )


def weights_of(job: Job) -> dict[str, np.ndarray]:
    return load_file(Store(job.store).folder(job.identity) / "model" / "model.safetensors")


def test_two_ranks_end_like_one_also_when_one_of_them_was_killed_on_the_way(
    prepared: Callable[..., Materials], tiny: Callable[..., object], cache: Path, tmp_path: Path
) -> None:
    jobs = [
        job_of(prepared(*SHORT, *more), tiny(*SHORT, *more), tmp_path, cache)
        for more in ((), ("train.devices=2",))
    ]
    alone = execute(jobs[0])
    killed: list[int] = []

    def kill_one(_progress: object) -> None:
        (victim,) = (child for child in multiprocessing.active_children() if child.name == "rank1")
        if not killed:
            killed.append(victim.pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(RankError, match="rank 1 of 2 of this run ended with signal SIGKILL"):
        execute(jobs[1], kill_one)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("rank")]
    assert (Store(tmp_path).folder(jobs[1].identity) / "checkpoint.ckpt").exists()
    together = execute(jobs[1])

    assert without_times(together) == without_times(alone)
    assert together.pairing.text_rows == alone.pairing.text_rows
    assert together.provenance["devices"] == 2
    for name in ("loss", "media_loss"):
        curves = [[getattr(point, name) for point in one.curve] for one in (together, alone)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-5)
    one, two = (weights_of(job) for job in jobs)
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-4


def test_sharded_weights_end_like_whole_ones(
    prepared: Callable[..., Materials],
    tiny: Callable[..., object],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On CPUs sharding serves nothing and is refused, but that it trains the same can be seen there."""
    monkeypatch.setattr(training, "refuse_unable", lambda *_: None)
    sharded = ("train.devices=2", "train.strategy=fsdp")
    jobs = [
        job_of(prepared(*SHORT, *more), tiny(*SHORT, *more), tmp_path, cache, "text")
        for more in ((), sharded)
    ]
    alone, together = (execute(job) for job in jobs)
    assert without_times(together) == without_times(alone)
    assert [point.loss for point in together.curve] == pytest.approx(
        [point.loss for point in alone.curve], rel=1e-5
    )
    one, two = (weights_of(job) for job in jobs)
    assert max(float(np.abs(one[name] - two[name]).max()) for name in one) < 1e-4


def test_a_run_in_one_process_keeps_its_identity_and_one_over_two_is_another(
    prepared: Callable[..., Materials],
) -> None:
    def resolved(*more: str) -> dict[str, object]:
        materials = prepared(*more)
        return resolved_arm(materials, plan_study(materials)[0])["train"]

    alone = resolved()
    assert not {"devices", "nodes", "strategy", "ranks"} & alone.keys()
    assert resolved("train.strategy=fsdp") == alone
    assert resolved("train.devices=2") == {**alone, "ranks": 2, "strategy": "ddp"}
    assert resolved("train.nodes=2") == resolved("train.devices=2")


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_ranks_rows_are_those_of_the_global_batch(materials: Materials, number: int) -> None:
    arm = next(one for one in expand_arms(materials.recipe) if one.name == "image")
    mixture = build_mixture(materials, arm, 0)
    whole, parts = mixture.step(number), [mixture.step(number, rank, 2) for rank in range(2)]
    assert not parts[0].row_digests.keys() & parts[1].row_digests.keys()
    assert parts[0].row_digests | parts[1].row_digests == whole.row_digests
    assert parts[0].counts + parts[1].counts == whole.counts


@given(
    st.integers(1, 4),
    st.lists(st.lists(st.binary(min_size=8, max_size=8), min_size=4, max_size=4), min_size=1, max_size=40),
    st.sets(st.integers(1, 40)),
)
def test_the_account_does_not_depend_on_how_many_ranks_read_the_rows_nor_when_they_tell(
    number: int, rows: list[list[bytes]], told: set[int]
) -> None:
    counts = StepCounts(text_tokens=7)

    def step(at: int, columns: range) -> Step:
        digests = {f"text/{column}": rows[at][column] for column in columns}
        return Step(at, [], counts, digests, {"text/cut": len(columns)})

    alone, several = Account(), [Account() for _ in range(number)]
    for at in range(len(rows)):
        alone.enter(step(at, range(4)))
        alone.settle([alone.part])
        for rank, account in enumerate(several):
            account.enter(step(at, range(rank, 4, number)))
        if at + 1 in told or at + 1 == len(rows) or is_digest_step(at + 1):
            parts = [account.part for account in several]
            for account in several:
                account.settle(parts)
    for account in several:
        assert account.proof() == alone.proof()
        assert Account.from_state(account.state_dict()) == alone


def test_the_first_rank_is_heard_and_its_result_returned() -> None:
    seen: list[str] = []
    assert run_ranks(rank_bodies.tells_its_number, TWO, seen.append, preload=PRELOAD) == 0
    assert seen == ["rank 0 of 2"]


def test_a_killed_rank_ends_the_others_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "GRACE", 0.1)
    with pytest.raises(RankError, match=r"rank 1 of 2 .* SIGKILL.*go on from the last checkpoint"):
        run_ranks(rank_bodies.one_is_killed, TWO, preload=PRELOAD)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("rank")]


def test_the_error_that_the_other_ranks_followed_is_the_one_raised() -> None:
    """A rank that lost its fellow says only that the connection closed."""
    with pytest.raises(rank_bodies.TellingError, match="shard 7 is damaged"):
        run_ranks(rank_bodies.one_errs, TWO, preload=PRELOAD)


def test_ranks_end_when_the_other_nodes_have_given_up() -> None:
    pids: list[int] = []
    with pytest.raises(RankError, match="given this run up"):
        run_ranks(rank_bodies.hangs, TWO, pids.append, preload=PRELOAD, goes_on=lambda: not pids)
    assert not is_alive(pids[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_no_rank_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PIDS": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, rank_bodies.__file__], env=environment)
    assert until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.wait()
    pids = [int(path.name) for path in tmp_path.iterdir()]
    assert until(lambda: not any(is_alive(pid) for pid in pids), seconds=5)


def test_what_this_machine_cannot_run_is_refused_before_anything_starts() -> None:
    two = TrainConfig(devices=2)
    refuse_unable(two, "cpu", 0, 1)
    refuse_unable(TrainConfig(strategy="fsdp"), "cpu", 0, 1)
    with pytest.raises(RankError, match=r"train\.strategy is fsdp.*no GPU here"):
        refuse_unable(replace(two, strategy="fsdp"), "cpu", 0, 1)
    with pytest.raises(RankError, match=r"train\.devices is 2, and the GPUs .* are 1"):
        refuse_unable(two, "cuda", 1, 1)
    with pytest.raises(RankError, match=r"train\.nodes is 2.*started on 1.*torchrun --nnodes 2"):
        refuse_unable(TrainConfig(nodes=2), "cpu", 0, 1)


def test_ranks_are_numbered_node_by_node() -> None:
    config = TrainConfig(devices=3, nodes=2)
    second = node_ranks(config, 1, "first", 9)
    assert second == [Rank(number, 3, 2, "first", 9) for number in (3, 4, 5)]
    assert [(rank.node, rank.local, rank.ranks) for rank in second] == [(1, 0, 6), (1, 1, 6), (1, 2, 6)]
