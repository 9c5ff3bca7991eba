"""Mixtures become arms: in whole rows, once each, with the reference mixtures always among them."""

from collections.abc import Callable

import pytest

from ablate.recipe.schema import Recipe
from ablate.recipe.sweep_schema import MixtureConfig
from ablate.report.sweep_file import Point
from ablate.sweep.design import DesignError
from ablate.sweep.mixtures import sweep_points, with_mixtures

STREAMS = ["text", "pictures"]
TOKENS = {"text": 70_000, "pictures": 30_000}


def points(recipe: Recipe, **settings: object) -> dict[str, Point]:
    config = MixtureConfig(STREAMS, "list", **settings)  # type: ignore[arg-type]
    return {point.arm: point for point in sweep_points(config, recipe, TOKENS)}


@pytest.fixture
def wide(tiny: Callable[..., Recipe]) -> Recipe:
    return tiny("train.microbatch_rows=8")


def test_text_only_proportional_and_equal_shares_are_in_every_design(wide: Recipe) -> None:
    found = points(wide, points=[{"pictures": 0.75}])
    assert found["text"].roles == ["baseline", "fit"]
    assert found["pictures2"].roles == ["proportional", "fit"]
    assert found["pictures2"].asked == {"text": 0.7, "pictures": 0.3}
    assert found["pictures2"].shares == {"text": 0.75, "pictures": 0.25}
    assert found["pictures4"].roles == ["stratified", "fit"]
    assert found["pictures6"].roles == ["fit"]


def test_mixtures_that_come_to_the_same_rows_are_one_arm(wide: Recipe) -> None:
    found = points(wide, points=[{"pictures": 0.5}, {"pictures": 0.51}])
    assert found["pictures4"].roles == ["fit", "stratified"]
    assert len(found) == 3


def test_a_reference_outside_of_the_region_is_trained_and_not_fitted(wide: Recipe) -> None:
    found = points(wide, points=[{"pictures": 0.25}], minimum={"text": 0.6})
    assert found["pictures4"].roles == ["stratified"]


def test_held_out_mixtures_differ_from_all_that_are_fitted(wide: Recipe) -> None:
    found = points(wide, points=[{"pictures": 0.5}], held_out=3)
    held_out = [point for point in found.values() if "held_out" in point.roles]
    assert len(held_out) == 3
    assert all(point.roles == ["held_out"] for point in held_out)


def test_more_to_hold_out_than_the_rows_tell_apart_is_refused(tiny: Callable[..., Recipe]) -> None:
    with pytest.raises(DesignError, match="only 1 of 2 mixtures to hold out"):
        points(tiny(), points=[], held_out=2)


def test_only_mixtures_with_media_have_controls_and_a_media_loss(wide: Recipe) -> None:
    config = MixtureConfig(STREAMS, "list", points=[], controls=["shuffled"], media_loss=0.5)
    recipe = with_mixtures(wide, config, sweep_points(config, wide, TOKENS))
    assert recipe.arms["text"] == wide.arms["text"]
    assert recipe.arms["pictures4"].controls == ["shuffled"]
    assert recipe.arms["pictures4"].media_loss == 0.5
    assert list(recipe.arms["pictures4"].mixture) == list(recipe.streams)


def test_an_arm_that_has_the_name_of_another_mixture_is_refused(wide: Recipe) -> None:
    config = MixtureConfig(STREAMS, "list", points=[])
    taken = with_mixtures(wide, config, [Point("pictures4", {}, {"text": 0.25, "pictures": 0.75}, ["fit"])])
    with pytest.raises(DesignError, match="rename the arm"):
        with_mixtures(taken, config, sweep_points(config, wide, TOKENS))
