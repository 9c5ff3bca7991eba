"""A stopping rule is stated whole, before the run."""

from pathlib import Path

import pytest
import yaml

from ablate.recipe import stopping_checks
from ablate.recipe.errors import RecipeError
from ablate.recipe.load import load_recipe
from ablate.stats import sequential
from ablate.study.until import stages, with_rule

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"


@pytest.mark.parametrize(
    ("stopping", "seeds", "said"),
    [
        ({"rule": "fixed", "looks": [2, 3]}, [0, 1, 2], "none with rule fixed"),
        ({"rule": "group_sequential"}, [0, 1, 2], "the numbers of seeds at which you will look"),
        ({"rule": "group_sequential", "looks": [3, 2]}, [0, 1, 2], "numbers of seeds that rise, from 2 on"),
        ({"rule": "group_sequential", "looks": [1, 3]}, [0, 1, 2], "numbers of seeds that rise, from 2 on"),
        ({"rule": "group_sequential", "looks": [2, 3]}, [0, 1, 2, 3], "looks that end at 4"),
        ({"rule": "group_sequential", "looks": [5, 201]}, list(range(201)), "looks up to 200 seeds"),
        ({"rule": "group_sequential"}, [0, 1], "for instance [2]"),
        ({"rule": "group_sequential"}, [0, 1, 2, 3, 4], "for instance [2, 5]"),
        ({"rule": "anytime"}, [0], "2 seeds or more"),
        ({"rule": "sometimes"}, [0, 1], "anytime"),
        ({"spending": "haybittle"}, [0, 1], "pocock"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(stopping: dict[str, object], seeds: list[int], said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(
            QUICKSTART, [f"stopping={yaml.safe_dump(stopping, default_flow_style=True)}", f"seeds={seeds}"]
        )
    assert "stopping" in str(refused.value)
    assert said in str(refused.value)


def test_a_recipe_allows_as_many_looks_as_boundaries_are_computed_for() -> None:
    assert stopping_checks.MOST_PAIRS == sequential.MOST_PAIRS


def test_a_study_run_until_decided_without_a_rule_of_its_own_is_anytime_valid(tmp_path: Path) -> None:
    recipe = with_rule(load_recipe(QUICKSTART), 5, "quickstart.yaml")
    assert recipe.seeds == [0, 1, 2, 3, 4]
    assert recipe.stopping.rule == "anytime"
    assert [len(stage.seeds) for stage in stages(recipe, tmp_path)] == [2, 3, 4, 5]


def test_the_stages_of_a_group_sequential_study_are_its_looks(tmp_path: Path) -> None:
    stopping = "stopping={rule: group_sequential, looks: [2, 3]}"
    recipe = with_rule(load_recipe(QUICKSTART, [stopping]), 0, "quickstart.yaml")
    assert [stage.seeds for stage in stages(recipe, tmp_path)] == [[0, 1], [0, 1, 2]]


def test_fewer_seeds_than_the_recipe_has_are_the_first_of_them() -> None:
    assert with_rule(load_recipe(QUICKSTART), 2, "quickstart.yaml").seeds == [0, 1]
