"""A store knows what is planned in it, and one name belongs to one recipe while it runs."""

import json
import os
import time
from pathlib import Path

import pytest

from ablate.bench.store import made_up_record
from ablate.study.index import Index
from ablate.study.lease import claim
from ablate.study.liveness import LEASE_SECONDS, Holder, sign_content
from ablate.study.plans import (
    PlannedRun,
    StudyBusyError,
    StudyPlan,
    announced,
    planned_studies,
    read_plan,
    read_plans,
    write_plan,
)
from ablate.study.standing import Standing, standing
from ablate.study.states import keep_record, write_failure
from ablate.study.store import Store, StoreError, tasks_digest

RECORD = made_up_record()
TASKS = tasks_digest(RECORD.data_digests)


def plan_of(
    study: str = "quickstart", digest: str = "a" * 32, runs: int = 6, tasks: str = TASKS
) -> StudyPlan:
    planned = [PlannedRun("text" if n % 2 else "image", n // 2, f"{n:032x}", 60, 1000) for n in range(runs)]
    return StudyPlan(study, digest, tasks, planned)


def finish(store: Path, number: int, **changes: object) -> None:
    import dataclasses

    folder = Store(store).folder(f"{number:032x}")
    folder.mkdir(parents=True, exist_ok=True)
    keep_record(Store(store), dataclasses.replace(RECORD, identity=f"{number:032x}", **changes))


def stand(store: Path, *plans: StudyPlan) -> Standing:
    return standing(plans, Index(store))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_plan(plan_of(), tmp_path)
    assert read_plan("quickstart", tmp_path) == plan_of()


def test_a_sweep_is_read_by_its_settings_and_a_study_alone(tmp_path: Path) -> None:
    for study in ("share.small.x1", "share.small.x2", "shares", "share_all"):
        write_plan(plan_of(study), tmp_path)
    assert [plan.study for plan in read_plans("share", tmp_path)] == ["share.small.x1", "share.small.x2"]
    assert [plan.study for plan in read_plans("share.small", tmp_path)] == [
        "share.small.x1",
        "share.small.x2",
    ]
    assert [plan.study for plan in read_plans("share.small.x1", tmp_path)] == ["share.small.x1"]


@pytest.mark.parametrize("name", ["nothing", "../plans/quickstart", "", ".", "a\x1b[2Jb"])
def test_an_unknown_name_is_answered_with_those_that_are_planned(tmp_path: Path, name: str) -> None:
    write_plan(plan_of(), tmp_path)
    with pytest.raises(StoreError, match="planned in this store: quickstart") as refused:
        read_plans(name, tmp_path)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        {"plan_format": 2},
        {"columns": ["arm"]},
        {"runs": [["text", 0, "../../etc", 60, 1]]},
        {"runs": [["text", 0]]},
        {"runs": 3},
        {"study": "other"},
        {"tasks": None},
    ],
)
def test_a_plan_that_is_none_is_refused_by_its_file(tmp_path: Path, change: dict[str, object]) -> None:
    write_plan(plan_of(), tmp_path)
    path = tmp_path / "plans" / "quickstart.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreError, match=r"quickstart\.json: not a plan"):
        read_plan("quickstart", tmp_path)


def test_two_recipes_of_one_name_do_not_run_at_one_time(tmp_path: Path) -> None:
    ours, other = plan_of(digest="a" * 32), plan_of(digest="b" * 32)
    with announced([ours], tmp_path):
        with announced([ours], tmp_path):
            pass  # the same recipe from two terminals
        with (
            pytest.raises(StudyBusyError, match="run there from another recipe"),
            announced([other], tmp_path),
        ):
            pass
        assert read_plan("quickstart", tmp_path) == ours, "a recipe that is refused replaces no plan"
        with announced([plan_of("quickstart.small", "b" * 32)], tmp_path):
            pass  # a name that goes on is another name
    with announced([other], tmp_path):
        assert read_plan("quickstart", tmp_path) == other
    assert planned_studies(tmp_path) == ["quickstart", "quickstart.small"]
    assert not list((tmp_path / "plans").glob("*.driver"))


def test_a_driver_that_was_killed_stands_in_nobodys_way(tmp_path: Path) -> None:
    from ablate.study.liveness import this_process

    write_plan(plan_of(), tmp_path)
    here = this_process()
    dead = Holder(here.host, here.pid, here.boot, here.born + 1)
    path = tmp_path / "plans" / f"quickstart.{'0' * 16}.driver"
    path.write_bytes(sign_content("0" * 16, dead, LEASE_SECONDS, {"recipe_digest": "b" * 32}))
    with announced([plan_of()], tmp_path):
        assert not path.exists()


def test_a_driver_whose_sign_is_from_the_future_is_not_taken_for_dead(tmp_path: Path) -> None:
    with announced([plan_of(digest="a" * 32)], tmp_path):
        (sign,) = (tmp_path / "plans").glob("*.driver")
        then = sign.stat().st_mtime + 3600
        os.utime(sign, (then, then))
        with pytest.raises(StudyBusyError), announced([plan_of(digest="b" * 32)], tmp_path):
            pass
        assert sign.exists()


def test_a_driver_that_was_stopped_for_long_signs_again_when_it_goes_on(tmp_path: Path) -> None:
    with announced([plan_of(digest="a" * 32)], tmp_path, seconds=0.4):
        (sign,) = (tmp_path / "plans").glob("*.driver")
        sign.unlink()  # by a driver that took it for dead
        end = time.monotonic() + 10
        while not sign.exists() and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(StudyBusyError), announced([plan_of(digest="b" * 32)], tmp_path):
            pass
    assert not list((tmp_path / "plans").glob("*.driver"))


def test_a_run_that_settings_score_on_other_tasks_has_ended_when_it_is_scored_on_all(tmp_path: Path) -> None:
    finish(tmp_path, 0)
    found = stand(tmp_path, plan_of("items.few", runs=1), plan_of("items.many", runs=1, tasks="other tasks"))
    assert not found.is_finished
    assert found.total.states == {"finished": 1, "planned": 1}
    assert (found.total.planned, found.unscored) == (1000, 1), "trained once, scored twice"


def test_a_sweep_is_the_settings_that_it_was_last_planned_with(tmp_path: Path) -> None:
    both = [plan_of("ladder.small"), plan_of("ladder.large")]
    with announced(both, tmp_path, sweep=("ladder", "a" * 32)):
        assert {one.study for one in read_plans("ladder", tmp_path)} == {"ladder.small", "ladder.large"}
    with announced(both[:1], tmp_path, sweep=("ladder", "b" * 32)):
        pass
    assert [one.study for one in read_plans("ladder", tmp_path)] == ["ladder.small"]
    assert planned_studies(tmp_path) == ["ladder.large", "ladder.small"]


def test_two_sweeps_of_one_name_do_not_run_at_one_time(tmp_path: Path) -> None:
    with announced([plan_of("ladder.small")], tmp_path, sweep=("ladder", "a" * 32)):
        with announced([plan_of("ladder.small")], tmp_path, sweep=("ladder", "a" * 32)):
            pass  # the same sweep from two terminals
        with (
            pytest.raises(StudyBusyError, match="'ladder' is being run"),
            announced([plan_of("ladder.large")], tmp_path, sweep=("ladder", "b" * 32)),
        ):
            pass
        assert planned_studies(tmp_path) == ["ladder.small"]
    assert not list((tmp_path / "plans").glob("*.driver"))


def test_every_state_is_counted_and_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(tmp_path, 0)
    finish(tmp_path, 1, status="diverged")
    write_failure(store.folder(f"{2:032x}"), "out of memory")
    for number in (3, 4):
        store.folder(f"{number:032x}").mkdir(parents=True)
    (store.folder(f"{4:032x}") / "checkpoint.ckpt").touch()
    with claim(store.folder(f"{3:032x}")) as lease:
        lease.progress(15, 60, 2.0, 30.0)
        lease.renew()
        found = stand(tmp_path, plan_of())
    states = dict.fromkeys(("finished", "diverged", "failed", "running", "interrupted", "planned"), 1)
    assert found.total.states == states
    assert found.arms["quickstart", "image"].states == {"finished": 1, "failed": 1, "interrupted": 1}
    assert (found.total.planned, found.total.done) == (6000, 2000 + 1000 * 15 / 60)
    assert [one.held.step for one in found.running] == [15]
    assert [one.failure.error for one in found.failed] == ["out of memory"]
    assert [run.seed for _, run in found.diverged] == [0]
    # What runs does 750 FLOPs in 30 s.
    assert found.seconds_left == pytest.approx((6000 - 2250) / (750 / 30))
    assert found.went_wrong
    assert not found.is_finished


def test_where_nothing_runs_the_rate_is_that_of_finished_runs(tmp_path: Path) -> None:
    finish(tmp_path, 0)
    rate = RECORD.spent.total_flops / RECORD.spent.wall_seconds
    assert stand(tmp_path, plan_of()).seconds_left == pytest.approx(5000 / rate)
    assert stand(tmp_path / "empty", plan_of()).seconds_left is None


def test_a_run_that_two_settings_share_counts_once_in_the_whole(tmp_path: Path) -> None:
    finish(tmp_path, 0)
    found = stand(tmp_path, plan_of("share.x1"), plan_of("share.x2", runs=8))
    assert found.total.runs == 8
    assert found.arms["share.x1", "image"].states["finished"] == 1
    assert found.arms["share.x2", "image"].states["finished"] == 1
    assert found.total.states["finished"] == 1


def test_a_run_that_is_only_to_be_scored_again_is_planned_and_costs_no_training(tmp_path: Path) -> None:
    finish(tmp_path, 0)
    found = stand(tmp_path, plan_of(runs=1, tasks="other tasks"))
    assert found.total.states == {"planned": 1}
    assert (found.unscored, found.total.done) == (1, 1000)
    assert not found.is_finished
