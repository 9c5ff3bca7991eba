"""Every shipped sweep loads, and has a variant at CPU size in the planted world."""

from pathlib import Path

import pytest

from ablate.recipe.load import header_comment
from ablate.sweep.load import load_sweep

RECIPES = Path(__file__).parents[2] / "recipes"
SWEEPS = sorted((RECIPES / "sweeps").glob("*.yaml"))


def test_the_sweeps_of_the_readme_are_there() -> None:
    names = {path.stem for path in SWEEPS}
    assert {"image_share", "modality_simplex", "ladder", "data_wall"} <= names
    assert {f"{name}_planted" for name in names if not name.endswith("_planted")} <= names


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_loads_and_is_named_after_its_file(path: Path) -> None:
    sweep = load_sweep(path)
    # A study and a sweep of one name would share a folder of results.
    assert sweep.name == path.stem + ("_sweep" if (RECIPES / path.name).exists() else "")
    assert all(setting.recipe.arms[sweep.recipe.baseline] for setting in sweep.settings)
    assert (sweep.recipe.data_root == "planted") == path.stem.endswith("_planted")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_header_of_a_sweep_states_its_command_its_cost_and_what_to_expect(path: Path) -> None:
    comment = header_comment(path)
    assert f"ablate sweep recipes/sweeps/{path.name}" in comment
    assert "Cost: " in comment
    assert "Expected: " in comment
    assert "TODO" not in comment
