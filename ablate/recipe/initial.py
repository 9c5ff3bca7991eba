"""Which shapes of a model the recipe states, where `model.init_from` names a folder that gives the rest."""

import dataclasses
from typing import Any

from ablate.recipe.schema import ModelConfig, Recipe, WrittenModel

SHAPES = ("layers", "width", "heads", "kv_heads", "mlp_width", "tied", "rope_theta", "norm_eps")
"""Keys of `ModelConfig` that the folder of `init_from` decides."""

_DEFAULTS = dataclasses.asdict(ModelConfig())


def as_written(recipe: Recipe, raw: dict[str, Any]) -> Recipe:
    """``recipe`` with a `WrittenModel` where it has an `init_from`.

    Args:
        raw: what the recipe was typed from: only there is a default that is written out told from one that is
            not.
    """
    given = raw.get("model")
    if not recipe.model.init_from or not isinstance(given, dict):
        return recipe
    values = dataclasses.asdict(recipe.model)
    stated = tuple(name for name in (*SHAPES, "context_length") if name in given)
    return dataclasses.replace(recipe, model=WrittenModel(**values, stated=stated))


def stated_shapes(model: ModelConfig) -> dict[str, Any]:
    """The shapes that ``model`` states itself; 0 of `kv_heads` and `mlp_width` states nothing."""
    values = {name: getattr(model, name) for name in SHAPES if is_stated(model, name)}
    return {name: value for name, value in values.items() if value or name == "tied"}


def is_stated(model: ModelConfig, key: str) -> bool:
    """Whether the recipe states ``key``; of a model that was not loaded, whether it is no default."""
    if isinstance(model, WrittenModel):
        return key in model.stated
    return bool(getattr(model, key) != _DEFAULTS[key])


def digested(model: ModelConfig) -> dict[str, Any]:
    """The keys of ``model`` that decide a study: no empty `init_from`, and beside one that is given none of
    the shapes, which are the folder's whether stated or not."""
    values = {name: getattr(model, name) for name in _DEFAULTS}
    if not model.init_from:
        del values["init_from"]
        return values
    return {name: value for name, value in values.items() if name not in SHAPES}


def written(model: ModelConfig) -> dict[str, Any]:
    """The keys of ``model`` as a recipe writes them out: what a folder gives stays away unless stated."""
    keys = digested(model)
    if model.init_from and not is_stated(model, "context_length"):
        del keys["context_length"]
    return keys | (stated_shapes(model) if model.init_from else {})
