"""What is seen of a sweep while it runs."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from ablate.show_sweep import LOOK_SECONDS, SweepDisplay
from ablate.study.lease import claim
from ablate.study.plans import PlannedRun, StudyPlan
from ablate.study.store import Store

RUNS = [PlannedRun(arm, 0, f"{number:032x}", 100, 10**12) for number, arm in enumerate(("text", "image"))]
STUDIES = [
    StudyPlan("wide.small", "digest", "tasks", RUNS),
    StudyPlan("wide.large", "digest", "tasks", RUNS[:1]),
]


def seen(display: SweepDisplay) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(display.shown())
    return out.getvalue()


def test_a_run_that_settings_share_is_one_that_is_left(tmp_path: Path) -> None:
    display = SweepDisplay("wide", STUDIES, tmp_path)
    said = seen(display)
    assert "2 runs left. Nothing runs now" in said
    assert "small" in said
    assert "large" in said


def test_trials_are_named_by_their_setting_and_the_stage_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [
        StudyPlan(f"{plan.study}.tuning", plan.recipe_digest, plan.tasks, plan.runs) for plan in STUDIES
    ]
    display = SweepDisplay("wide", trials, tmp_path, "tuning")
    assert "wide, tuning: 2 to train" in capsys.readouterr().out
    rows = [line.split() for line in seen(display).splitlines()]
    assert {"small.tuning", "large.tuning"} <= {cell for row in rows for cell in row}


def test_what_runs_is_listed_with_its_step_its_loss_and_the_time_of_the_whole(tmp_path: Path) -> None:
    display = SweepDisplay("wide", STUDIES, tmp_path)
    folder = Store(tmp_path).folder(RUNS[1].identity)
    folder.mkdir(parents=True)
    with claim(folder) as lease:
        lease.progress(40, 100, 3.25, 60.0)
        lease.renew()
        assert "40/100" not in seen(display), "a look costs time in a large store, and is not taken at once"
        display.looked = time.monotonic() - LOOK_SECONDS - 1
        said = seen(display)
    assert "40/100" in said
    assert "3.250" in said
    assert "2 runs left, about 2.7 min of training at this rate." in said
