"""`init_from`: the folder gives the shapes, the recipe states what it states, and nothing else moves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.recipe.errors import RecipeError
from ablate.recipe.initial import digested, stated_shapes
from ablate.recipe.load import dump_recipe, load_recipe, recipe_digest, resolve_paths
from ablate.recipe.schema import ModelConfig, Recipe

SHAPELESS = ("model.layers=null", "model.width=null", "model.heads=null")
START = (*SHAPELESS, "model.init_from=models/base")


def test_a_recipe_without_it_keeps_its_digest_and_its_text(tiny: Callable[..., Recipe]) -> None:
    plain = tiny()
    assert recipe_digest(tiny("model.init_from=''")) == recipe_digest(plain)
    assert "init_from" not in dump_recipe(plain)


def test_the_digest_of_a_model_from_before_there_was_such_a_key_still_holds() -> None:
    shapes = {"layers": 1, "width": 32, "heads": 2, "kv_heads": 0, "mlp_width": 0, "context_length": 256}
    rest = {"tied": True, "rope_theta": 10000.0, "norm_eps": 1e-5, "document_mask": True}
    assert digested(ModelConfig(layers=1, width=32, heads=2)) == shapes | rest


def test_only_written_shapes_are_stated_defaults_included(tiny: Callable[..., Recipe]) -> None:
    assert stated_shapes(tiny(*START).model) == {}
    default = ModelConfig().layers
    assert stated_shapes(tiny(*START, f"model.layers={default}").model) == {"layers": default}
    assert stated_shapes(tiny(*START, "model.tied=true", "model.kv_heads=0").model) == {"tied": True}


def test_stating_a_shape_that_the_folder_gives_is_the_same_study(tiny: Callable[..., Recipe]) -> None:
    plain = recipe_digest(tiny(*START))
    assert recipe_digest(tiny(*START, "model.layers=12")) == plain
    assert recipe_digest(tiny(*START, "model.context_length=32")) != plain
    assert recipe_digest(tiny(*SHAPELESS, "model.init_from=models/other")) != plain
    assert recipe_digest(tiny(*SHAPELESS)) != plain


@pytest.mark.parametrize("more", [(), ("model.layers=6", "model.tied=false"), ("model.context_length=null",)])
def test_it_is_written_out_as_it_was_read(
    tiny: Callable[..., Recipe], more: tuple[str, ...], tmp_path: Path
) -> None:
    recipe = tiny(*START, *more)
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "again.yaml")
    assert again == recipe
    assert recipe_digest(again) == recipe_digest(recipe)


def test_shapes_that_do_not_fit_the_defaults_are_left_to_the_folder(tiny: Callable[..., Recipe]) -> None:
    assert tiny(*START, "model.heads=5").model.heads == 5
    with pytest.raises(RecipeError, match=r"a multiple of model\.heads"):
        tiny(*SHAPELESS, "model.heads=5")


def test_the_data_root_may_hold_the_model(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny(*SHAPELESS, "model.init_from=${data_root}/base")
    assert resolve_paths(recipe, tmp_path).model.init_from == f"{tmp_path}/base"


@pytest.mark.parametrize("address", ["https://huggingface.co/a/b", "hf://a/b", "pipe: cat x"])
def test_an_address_is_refused(tiny: Callable[..., Recipe], address: str) -> None:
    with pytest.raises(RecipeError, match=r"model\.init_from\n.*\n.*a path of a local file"):
        tiny(*SHAPELESS, f"model.init_from='{address}'")
