"""Every arm is tried alike on seeds of their own, and the study that follows trains with the picks."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.budget.plan import plan_study
from ablate.cli import app
from ablate.materials import Materials
from ablate.recipe.load import load_recipe
from ablate.recipe.schema import Recipe
from ablate.report.analysis import read_study
from ablate.report.check import check
from ablate.report.registration import lock_plan, read_registration
from ablate.study.identity import run_identity
from ablate.study.run import execute
from ablate.study.study import Places, header_of, prepare_study
from ablate.study.training import planned
from ablate.study.tuning import (
    TuningError,
    TuningPlan,
    conclude,
    plan_tuning,
    trial_job,
    tuned,
    tuning_jobs,
)

Prepared = Callable[..., Materials]
Tiny = Callable[..., Recipe]

GRID = "{learning_rate: [1.0e-2, 3.0e-3], clip: [1, 0]}"
TUNE = f"tune={{grid: {GRID}, seeds: [7, 9], endpoint: prose/bits_per_byte}}"
SHORT = ["budget.match=positions", "budget.steps=4"]


@pytest.fixture(scope="module")
def plan(tiny: Tiny, prepared: Prepared) -> TuningPlan:
    return plan_tuning(tiny(*SHORT, TUNE), prepared(*SHORT, TUNE))


def identities(materials: Materials, seed: int = 7) -> dict[str, str]:
    return {one.arm.name: run_identity(materials, one, seed) for one in plan_study(materials)}


def test_every_arm_has_the_same_trials_and_no_control_has_any(plan: TuningPlan) -> None:
    tried = {
        arm: sorted((one.point, one.seed) for one in plan.trials if one.arm == arm)
        for arm in ("text", "image")
    }
    assert tried["text"] == tried["image"] == [(point, seed) for point in range(4) for seed in (7, 9)]
    assert len(plan.trials) == len({one.identity for one in plan.trials}) == 16
    assert {one.plan.arm.name for one in plan.trials if one.point == 2} == {"text.trial3", "image.trial3"}
    assert plan.design.points[2] == {"learning_rate": 3e-3, "clip": 1.0}


def test_a_trial_is_the_very_run_of_a_study_with_those_settings_and_that_seed(
    plan: TuningPlan, prepared: Prepared
) -> None:
    plain = identities(prepared(*SHORT, "train.learning_rate=3.0e-3", "train.clip=0"))
    own = {one.arm: one.identity for one in plan.trials if one.point == 3 and one.seed == 7}
    assert own == {arm: plain[arm] for arm in ("text", "image")}


def test_a_worker_plans_the_run_that_the_driver_planned(
    plan: TuningPlan, cache: Path, tmp_path: Path
) -> None:
    trial = next(one for one in plan.trials if one.arm == "image" and one.point == 2)
    _, own = planned(trial_job(plan, trial, Places(tmp_path, cache, tmp_path), 1))
    assert own == trial.plan


def test_a_trial_of_half_the_budget_is_the_run_of_a_ladder(tiny: Tiny, prepared: Prepared) -> None:
    words = [*SHORT, TUNE, "tune.budget_share=0.5"]
    trials = plan_tuning(tiny(*words), prepared(*words)).trials
    found = next(one.identity for one in trials if one.arm == "text" and one.point == 0 and one.seed == 7)
    assert found == identities(prepared(*SHORT, "ladder=[0.5]", "arms.text.train={clip: 1}"))["text.x0.5"]


def test_own_settings_make_other_runs_of_that_arm_and_its_controls_alone(prepared: Prepared) -> None:
    before, after = identities(prepared()), identities(prepared("arms.image.train={beta2: 0.9}"))
    assert {name for name in before if before[name] == after[name]} == {"text"}
    written = identities(prepared("arms.image.train={learning_rate: 1.0e-2}"))
    assert written == before  # what train says already


def test_seeds_that_the_study_would_come_to_are_refused(tiny: Tiny, plan: TuningPlan) -> None:
    grown = dataclasses.replace(plan.recipe, seeds=list(range(8)))
    with pytest.raises(TuningError, match="seeds 7 are for tuning and for the study"):
        plan_tuning(grown, plan.materials)


def test_development_items_by_which_the_study_is_judged_are_refused_under_any_name(
    tiny: Tiny, prepared: Prepared
) -> None:
    task = "tasks.dev={kind: multiple_choice, paths: ['${data_root}/questions.jsonl']}"
    words = [*SHORT, TUNE, task, "tune.endpoint=dev/accuracy"]
    with pytest.raises(TuningError, match=r"scored on \d+ items of planted, by which the study is judged"):
        plan_tuning(tiny(*words), prepared(*words))


def test_without_a_grid_there_is_no_trial(tiny: Tiny, materials: Materials) -> None:
    assert plan_tuning(tiny(), materials).trials == []


def test_nothing_is_picked_before_the_trials_have_ended(
    plan: TuningPlan, cache: Path, tmp_path: Path
) -> None:
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    tuning = conclude(plan, places)
    assert set(tuning.unpicked) == {"text", "image"}
    with pytest.raises(
        TuningError, match=r"picked nothing for text: trials are missing: text\.trial1 seed 7"
    ):
        tuned(plan.recipe, tuning)


def test_a_locked_plan_covers_what_is_tuned(tiny: Tiny, tmp_path: Path) -> None:
    locked, run = (
        header_of(tiny(TUNE, *more), []) for more in ([], ["tune.grid.learning_rate=[1.0e-2, 2.0e-2]"])
    )
    lock_plan(locked, tmp_path, now="2000-01-01T00:00:00+00:00", commit="")
    assert read_registration(tmp_path, locked, []).deviations == ()
    (deviation,) = read_registration(tmp_path, run, []).deviations
    assert deviation == "tune.grid.learning_rate: locked [0.01, 0.003], now [0.01, 0.02]"
    (deviation,) = read_registration(
        tmp_path, header_of(tiny(TUNE, "arms.text.train={beta2: 0.9}"), []), []
    ).deviations
    assert deviation == "arms.text.train.beta2: locked None, now 0.9"


def test_a_study_is_tuned_and_then_run_with_its_picks(tiny_file: Path, cache: Path, tmp_path: Path) -> None:
    words = [
        *SHORT,
        TUNE,
        "tune.grid={learning_rate: [1.0e-4, 1.0e-2], clip: null}",
        "tune.seeds=[7]",
        "seeds=[0]",
    ]
    recipe = load_recipe(tiny_file, [*words, "arms.image.controls=[shuffled]"])
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    first = plan_tuning(recipe, prepare_study(recipe, places, 1).materials)
    for job in tuning_jobs(first, places, 1):
        execute(job)
    assert tuning_jobs(first, places, 1) == []
    picked = conclude(first, places)
    assert picked.settings() == {arm: {"learning_rate": 1e-2} for arm in ("text", "image")}
    after = prepare_study(tuned(recipe, picked), places, 1)
    assert after.header == prepare_study(recipe, places, 1).header
    for job in after.jobs:
        execute(job)

    options = ["--store", str(places.store), "--cache", str(cache), "--results", str(places.results)]
    done = CliRunner().invoke(
        app, ["run", str(tiny_file), *words, "arms.image.controls=[shuffled]", *options]
    )
    assert done.exit_code == 0, done.output
    assert "tiny, tuning: 4 of 4 runs are finished already; 0 to train" in done.output
    assert "tiny: 3 of 3 runs are finished already; 0 to train" in done.output
    study = read_study(places.results)
    assert study.tuning == picked
    assert study.tuning_faults == []
    assert {record.resolved["train"]["learning_rate"] for record in study.records} == {1e-2}
    assert {record.recipe_digest for record in study.records} == {study.header.recipe_digest}
    assert {path.name for path in (places.results / "tuning" / "records").iterdir()} == {
        f"{arm}.trial{number}-seed7.json" for arm in ("text", "image") for number in (1, 2)
    }
    assert check([places.results]) == []
