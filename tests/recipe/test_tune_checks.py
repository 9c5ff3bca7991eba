"""Arms may differ in settings that leave rows and cost alone; tuning is the same effort for every arm."""

import dataclasses
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.recipe.arms import arm_train, expand_arms
from ablate.recipe.errors import RecipeError
from ablate.recipe.load import dump_recipe, load_recipe, recipe_digest
from ablate.recipe.schema import ARM_SETTINGS, Recipe, TrainConfig, TunedRecipe
from ablate.recipe.tune_checks import MOST_POINTS, grid_points

Tiny = Callable[..., Recipe]

OWN = "arms.image.train={learning_rate: 2.0e-3, schedule: wsd, decay: 0.3}"
TUNE = (
    "tune={grid: {learning_rate: [1.0e-3, 2.0e-3], clip: [0, 1]}, seeds: [7], endpoint: prose/bits_per_byte}"
)


def refused(tiny: Tiny, *overrides: str) -> dict[str, str]:
    with pytest.raises(RecipeError) as error:
        tiny(*overrides)
    return {problem.key: str(problem) for problem in error.value.problems}


def test_an_arm_its_controls_and_its_ladder_train_with_its_own_settings(tiny: Tiny) -> None:
    recipe = tiny(OWN, "arms.text.train={weight_decay: 0.5}", "ladder=[0.5]")
    found = {arm.name: arm_train(recipe, arm) for arm in expand_arms(recipe)}
    image = dataclasses.replace(recipe.train, learning_rate=2e-3, schedule="wsd", decay=0.3)
    text = dataclasses.replace(recipe.train, weight_decay=0.5)
    assert found == {
        **dict.fromkeys(["text", "text.x0.5"], text),
        **dict.fromkeys(["image", "image.captions_only", "image.shuffled"], image),
    }


def test_what_was_picked_goes_over_what_an_arm_states(tiny: Tiny) -> None:
    recipe = tiny(OWN)
    fields = {item.name: getattr(recipe, item.name) for item in dataclasses.fields(Recipe)}
    tuned = TunedRecipe(**fields, picks={"image": {"learning_rate": 5e-3}})
    found = {arm.name: arm_train(tuned, arm) for arm in expand_arms(tuned)}
    assert found["text"] == recipe.train
    assert found["image.shuffled"].learning_rate == 5e-3
    assert found["image.shuffled"].decay == 0.3
    assert recipe_digest(tuned) == recipe_digest(recipe)
    assert dump_recipe(tuned) == dump_recipe(recipe)


def test_arms_may_differ_in_no_setting_that_moves_rows_or_cost() -> None:
    shared = {item.name for item in dataclasses.fields(TrainConfig)} - set(ARM_SETTINGS)
    assert {"rows", "microbatch_rows", "precision", "compile"} <= shared


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [
        ("arms.image.train={rows: 4}", "arms.image.train.rows", "the same for all arms"),
        ("arms.image.train={precision: bf16}", "arms.image.train.precision", "the same for all arms"),
        (
            "arms.image.train={lerning_rate: 1}",
            "arms.image.train.lerning_rate",
            "did you mean 'learning_rate'",
        ),
        ("arms.image.train={learning_rate: fast}", "arms.image.train.learning_rate", "allowed: number"),
        ("arms.image.train={learning_rate: -1}", "arms.image.train.learning_rate", "more than 0"),
        ("arms.image.train={beta1: 1.0}", "arms.image.train.beta1", "less than 1"),
        ("arms.image.train={schedule: linear}", "arms.image.train.schedule", "cosine, wsd"),
        ("arms.image.train={decay: 0.5}", "arms.image.train", "schedule cosine, which has none"),
        ("arms.image.train={schedule: wsd, decay: 0.99}", "arms.image.train", "warmup 0.05 + decay 0.99"),
        ("arms.image.train=[1]", "arms.image.train", "a mapping"),
    ],
)
def test_settings_of_an_arm_are_held_to_what_train_is_held_to(
    tiny: Tiny, written: str, key: str, said: str
) -> None:
    assert said in refused(tiny, written)[key]


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ("tune.seeds=[1, 7]", "tune.seeds", "1, which the study has too"),
        ("tune.seeds=[]", "tune.seeds", "an empty list"),
        ("tune.seeds=[7, 7]", "tune.seeds", "7 more than once"),
        ("tune.seeds=[-7]", "tune.seeds", "0 or more"),
        ("tune.endpoint=planted/accuracy", "tune.endpoint", "by which the study is judged"),
        ("tune.endpoint=planted/probability", "tune.endpoint", "by which the study is judged"),
        ("tune.endpoint=prose/perplexity", "tune.endpoint", "the unknown metric"),
        ("tune.endpoint=''", "tune.endpoint", "nothing"),
        ("tune.budget_share=0", "tune.budget_share", "more than 0, at most 1"),
        ("tune.budget_share=1.5", "tune.budget_share", "more than 0, at most 1"),
        ("tune.grid={learning_rate: [1, 2], rows: [4, 8]}", "tune.grid.rows", "the same for all arms"),
        ("tune.grid={learning_rate: 1, clip: [1, 2]}", "tune.grid.learning_rate", "a list of numbers"),
        ("tune.grid={learning_rate: []}", "tune.grid.learning_rate", "no value"),
        ("tune.grid={learning_rate: [1, 1]}", "tune.grid.learning_rate", "1.0 more than once"),
        ("tune.grid={learning_rate: [1, 0]}", "tune.grid.learning_rate.1", "more than 0"),
        ("tune.grid={learning_rate: [1, high]}", "tune.grid.learning_rate.1", "allowed: number"),
        ("arms.image.train={clip: 2}", "arms.image.train.clip", "tune.grid varies it"),
    ],
)
def test_tuning_that_could_not_be_fair_is_refused(tiny: Tiny, change: str, key: str, said: str) -> None:
    assert said in refused(tiny, TUNE, change)[key]


def test_every_point_has_to_be_one_that_every_arm_can_train_at(tiny: Tiny) -> None:
    grid = "tune.grid={schedule: [cosine, wsd], decay: [0.1, 0.2], learning_rate: null, clip: null}"
    assert "decay 0.1 with schedule cosine" in refused(tiny, TUNE, grid)["tune.grid"]
    long = ["tune.grid={decay: [0.1, 0.7], learning_rate: null, clip: null}", "train.schedule=wsd"]
    assert "(arm image)" in refused(tiny, TUNE, *long, "arms.image.train={warmup: 0.4}")["tune.grid"]
    assert tiny(TUNE, *long).tune.grid == {"decay": [0.1, 0.7]}


def test_one_point_is_no_choice_and_too_many_were_hardly_meant(tiny: Tiny) -> None:
    one = refused(tiny, TUNE, "tune.grid={learning_rate: [1.0e-3], clip: [1]}")
    assert "two points or more" in one["tune.grid"]
    values = [step / 1000 for step in range(1, MOST_POINTS + 2)]
    many = refused(tiny, TUNE, f"tune.grid={{learning_rate: {values}, clip: [1]}}")
    assert f"at most {MOST_POINTS}" in many["tune.grid"]


def test_a_block_without_a_grid_is_no_tuning(tiny: Tiny) -> None:
    assert "nothing to try" in refused(tiny, "tune={seeds: [7]}")["tune.grid"]


def test_the_development_task_of_a_difference_is_refused_too(tiny: Tiny) -> None:
    task = "tasks.other={kind: bits_per_byte, paths: ['${data_root}/text.jsonl'], max_documents: 2}"
    parts = "endpoints.differences={gap: [prose/bits_per_byte, other/bits_per_byte]}"
    said = refused(tiny, TUNE, task, parts, "endpoints.margins.difference/gap=0.1")
    assert "by which the study is judged" in said["tune.endpoint"]


def test_tuning_and_own_settings_survive_being_written_out(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(TUNE, "arms.image.train={beta2: 0.9}", "streams.text.max_tokens=500")
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe_digest(load_recipe(path)) == recipe_digest(recipe)


def test_each_of_the_new_keys_makes_another_recipe_and_their_defaults_none(tiny: Tiny) -> None:
    plain = tiny()
    other = [TUNE, "arms.image.train={beta2: 0.9}", "streams.text.max_tokens=500"]
    assert len({recipe_digest(tiny(one)) for one in other} | {recipe_digest(plain)}) == 4
    same = tiny("arms.image.train={}", "streams.text.max_tokens=0", "tune={}")
    assert recipe_digest(same) == recipe_digest(plain)
    assert not any(word in dump_recipe(same) for word in ("tune", "max_tokens", "picks"))


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.lists(st.integers(), min_size=1, max_size=3, unique=True)
    )
)
def test_the_points_are_all_combinations_each_once(grid: dict[str, list[int]]) -> None:
    points = grid_points(grid)
    if grid:
        assert [tuple(point.values()) for point in points] == list(product(*grid.values()))
        assert all(point.keys() == grid.keys() for point in points)
    else:
        assert points == []
