"""Values and types of a recipe in words, for messages."""

import dataclasses
import json
import types
import typing
from typing import Any, Literal, Union

from ablate.recipe.errors import listed
from ablate.recipe.interpolation import unmasked


def described(hint: Any) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return listed(str(item) or "'' (nothing)" for item in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(described(item) for item in arguments)
    if origin in (list, tuple):
        words = described(arguments[0]) if arguments else "values"
        return f"a list of {words}s" if words.endswith("number") else f"a list of {words}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a mapping"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, str(hint))


def shown(value: Any) -> str:
    """What was found, with its type, short."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    kinds = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    text = repr(unmasked(value)) if isinstance(value, str) else json.dumps(value)
    return f"{text if len(text) <= 100 else text[:97] + '...'} ({kinds[type(value)]})"
