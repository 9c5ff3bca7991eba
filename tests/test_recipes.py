"""Every shipped recipe loads, says what it costs, and is matched before anything is trained."""

from pathlib import Path

import pytest

from ablate.budget.plan import TOLERANCE, plan_study
from ablate.materials import prepare
from ablate.recipe.load import header_comment, load_recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("**/*.yaml"))


def test_the_recipes_of_the_readme_are_there() -> None:
    assert {"quickstart", "text_vs_image", "aa"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_states_command_cost_and_expected_result(path: Path) -> None:
    said = header_comment(path)
    assert f"ablate run recipes/{path.name}" in said
    assert "Cost:" in said
    assert "Expected:" in said


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_named_as_its_file_and_states_a_question(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.study == path.stem
    assert recipe.question.endswith("?")
    assert len(recipe.seeds) >= 3
    assert recipe.endpoints.primary in recipe.endpoints.margins


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_arm_of_a_recipe_is_matched_within_one_percent(path: Path, shards: Path, cache: Path) -> None:
    own = load_recipe(path).data_root == "planted"
    recipe = load_recipe(path, () if own else (f"data_root={shards}",))
    plans = plan_study(prepare(recipe, cache))
    base = next(plan for plan in plans if plan.arm.name == recipe.baseline).ledger.total_flops
    assert max(abs(plan.ledger.total_flops / base - 1) for plan in plans) <= TOLERANCE


def test_the_cpu_size_of_text_vs_image_is_the_one_its_header_states(shards: Path, cache: Path) -> None:
    path = ROOT / "recipes" / "text_vs_image.yaml"
    said = header_comment(path).replace("\\\n", " ")
    line = next(line for line in said.splitlines() if "study=text_vs_image_cpu" in line)
    words = line.replace('note="', '"note=').split('"')[0].split()
    overrides = [word for word in words if "=" in word and not word.startswith("data_root")]
    recipe = load_recipe(path, [*overrides, f"data_root={shards}"])
    assert recipe.model.width < load_recipe(path).model.width
    assert plan_study(prepare(recipe, cache))[0].steps > 50
