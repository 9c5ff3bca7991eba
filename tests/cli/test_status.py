"""`ablate status` says from another terminal where a study stands, and its exit code says it to a script."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_study import Ran

from ablate.bench.store import made_up_record
from ablate.study.lease import claim
from ablate.study.plans import PlannedRun, StudyPlan, write_plan
from ablate.study.states import keep_record, write_failure
from ablate.study.store import Store, tasks_digest

RECORD = made_up_record()
TASKS = tasks_digest(RECORD.data_digests)
Status = Callable[..., Ran]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a study of two arms and two seeds, none of them begun."""
    root = tmp_path / "store"
    runs = [
        PlannedRun(arm, seed, name_of(arm, seed), 60, 10**9) for seed in (0, 1) for arm in ("text", "image")
    ]
    write_plan(StudyPlan("quickstart", "a" * 32, TASKS, runs), root)
    for run in runs:
        Store(root).folder(run.identity).mkdir(parents=True)
    return root


@pytest.fixture
def status(ablate: Callable[..., Ran], store: Path) -> Status:
    """`ablate status` of the study."""
    return lambda *words: ablate("status", *(words or ("quickstart",)), "--store", store)


def name_of(arm: str, seed: int) -> str:
    return f"{arm.encode().hex()}{seed}".rjust(32, "0")


def finish(store: Path, arm: str, seed: int, status: str = "finished") -> None:
    keep_record(Store(store), dataclasses.replace(RECORD, identity=name_of(arm, seed), status=status))


def folder(store: Path, arm: str, seed: int) -> Path:
    return Store(store).folder(name_of(arm, seed))


def test_exit_codes_say_unfinished_finished_and_wrong(status: Status, store: Path) -> None:
    begun = status()
    assert begun.code == 3
    assert "4 runs left. Nothing runs now" in begun.out
    for arm, seed in (("text", 0), ("text", 1), ("image", 0)):
        finish(store, arm, seed)
    write_failure(folder(store, "image", 1), "Traceback\n  File x\nValueError: \x1b[31mno such shard")
    failed = status("quickstart", "--watch")
    assert failed.code == 1, "there is nothing left to wait for"
    assert "image seed 1 failed" in failed.out
    assert "no such shard" in failed.out
    assert "\x1b" not in failed.out
    finish(store, "image", 1)
    ended = status("quickstart", "--watch")
    assert (ended.code, ended.err) == (0, "")
    assert "All runs have ended." in ended.out
    finish(store, "image", 1, "diverged")
    diverged = status()
    assert diverged.code == 1
    assert "Diverged: image seed 1." in diverged.out


def test_what_runs_is_shown_with_its_step_and_where(status: Status, store: Path) -> None:
    with claim(folder(store, "text", 0)) as lease:
        lease.progress(30, 60, 2.5, 10.0)
        lease.renew()
        out = status().out
    assert "text seed 0 │ 30/60 │ 2.500 │" in " ".join(out.split())
    # Half a run of 4 in 10 s.
    assert "4 runs left, about 70 s of training at this rate." in " ".join(out.split())


def test_a_sweep_has_a_line_a_setting_and_its_shared_runs_once(status: Status, store: Path) -> None:
    shared = PlannedRun("text", 0, name_of("text", 0), 60, 10**9)
    for setting in ("small.x1", "small.x2"):
        write_plan(StudyPlan(f"share.{setting}", "a" * 32, TASKS, [shared]), store)
    finish(store, "text", 0)
    ran = status("share")
    assert ran.code == 0
    assert "small.x1" in ran.out
    assert "small.x2" in ran.out
    assert "distinct runs" in ran.out


def test_a_study_that_was_never_planned_is_answered_with_those_that_were(status: Status, store: Path) -> None:
    status("quikstart").refuses("'quikstart'", "planned in this store: quickstart")
    (store / "plans" / "quickstart.json").write_text("{")
    status().refuses("quickstart.json: not a plan")


def test_names_in_a_store_are_text_and_not_markup(status: Status, store: Path) -> None:
    path = store / "plans" / "quickstart.json"
    raw = json.loads(path.read_text())
    raw["runs"][0][0] = "[red]\x1b[2Jt"
    path.write_text(json.dumps(raw))
    out = status().out
    assert "[red]" in out
    assert "\x1b" not in out


def test_status_needs_no_torch(store: Path) -> None:
    program = (
        "import sys; sys.argv = ['ablate', 'status', 'quickstart', '--store', sys.argv[1]]\n"
        "from ablate.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: sys.exit(9 if {'torch', 'pandas'} & set(sys.modules) else stop.code)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store)], check=False, capture_output=True)
    assert done.returncode == 3
