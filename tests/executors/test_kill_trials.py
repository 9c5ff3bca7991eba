"""Two of the trials of `kill_trials.py`, which runs more of them, and on a Ray cluster too."""

import random
from pathlib import Path
from typing import Any

import pytest
from kill_trials import RECIPE, Trial, run_trial, undisturbed, what_remains

OVERRIDES = ("seeds=[0]", "budget.steps=300", "arms.image.controls=[]")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trial") / "trial.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def reference(recipe: Path, cache: Path) -> dict[str, Any]:
    return undisturbed(recipe, recipe.parent / "undisturbed", cache, OVERRIDES)


@pytest.mark.slow
def test_a_study_killed_in_mid_run_goes_on_to_the_same_weights_losses_and_scores(
    recipe: Path, reference: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    trial = Trial(recipe, tmp_path / "trial", cache, OVERRIDES, slots=1)
    trial.folder.mkdir()
    trial.start()
    try:
        while not list(trial.folder.glob("store/*/*/checkpoint.ckpt")) and trial.wait(0.05):
            pass
        trial.kill("driver", random.Random(0))
        assert not trial.seen, "killed too late to show anything"
        trial.finish()
    finally:
        trial.stop()
    assert (trial.folder / "driver.log").read_text().count("trial: 2 to train") == 2
    assert what_remains(trial.folder / "results") == reference["remains"]


@pytest.mark.slow
def test_a_worker_killed_at_any_moment_costs_no_run_and_changes_none(
    recipe: Path, reference: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    trial = Trial(recipe, tmp_path / "trial", cache, OVERRIDES, slots=1)
    remains = run_trial(trial, ["worker"], random.Random(0), reference["seconds"])
    assert remains == reference["remains"]
