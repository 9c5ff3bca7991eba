"""Recipe values as the types of the schema, checked one at a time by OmegaConf's structured configs.

A value that is not of its type is reported and replaced by a stand-in, so that every error of a recipe is
found at once.
"""

import contextlib
import dataclasses
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any, Literal, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.recipe.errors import Report, listed, nearest
from ablate.recipe.interpolation import unmasked
from ablate.recipe.schema import Recipe
from ablate.recipe.wording import described, shown
from ablate.recipe.yaml_source import REFUSED


def typed_fields(cls: type, raw: Any, key: str, seen: Report) -> dict[str, Any]:
    """The fields of the dataclass ``cls`` that ``raw`` gives, typed; stand-ins for what is wrong."""
    hints = typing.get_type_hints(cls)
    items = {item.name: item for item in dataclasses.fields(cls)}
    prefix = f"{key}." if key else ""
    if not isinstance(raw, dict):
        if raw is not REFUSED:
            seen.report(key, shown(raw), f"a mapping with keys of {listed(items)}")
        seen.bad.add(key)
        return {name: _stand_in(hints[name]) for name, item in items.items() if not _has_default(item)}
    for name in raw:
        if name not in items:
            hint = nearest(name, items)
            if not key and name == "base":
                hint = "base belongs into the recipe file"
            seen.report(f"{prefix}{name}", f"the unknown key {name!r}", listed(items), hint)
            if near := re.search(r"'(.+)'", hint):
                seen.bad.add(f"{prefix}{near[1]}")
    values: dict[str, Any] = {}
    for name, item in items.items():
        if name in raw:
            values[name] = _typed(hints[name], raw[name], f"{prefix}{name}", seen)
        elif not _has_default(item):
            if seen.trusts(f"{prefix}{name}"):
                found = "nothing: the key is missing"
                seen.report(f"{prefix}{name}", found, described(hints[name]), f"add {name}:")
            values[name] = _stand_in(hints[name])
    return values


def _has_default(item: "dataclasses.Field[Any]") -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _typed(hint: Any, value: Any, key: str, seen: Report) -> Any:
    """``value`` as the type ``hint``; a stand-in, reported, if it is not."""
    hint = _block(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        values = typed_fields(hint, value, key, seen)
        try:
            return hint(**values)
        except ValueError as error:
            seen.report(key, str(error), f"what {hint.__name__} accepts")
            return None
    if value is REFUSED:
        seen.bad.add(key)
        return _stand_in(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict and arguments[1] is Any and isinstance(value, dict):
        return value  # `_selected` types it
    if origin is dict and isinstance(value, dict):
        return {name: _typed(arguments[1], item, f"{key}.{name}", seen) for name, item in value.items()}
    if origin is list and isinstance(value, list):
        return [_typed(arguments[0], item, f"{key}.{i}", seen) for i, item in enumerate(value)]
    refusal = _refusal(hint, value)
    if refusal is None:
        try:
            holder = _holder(hint)
            OmegaConf.update(holder, "value", value, merge=False)
            typed = OmegaConf.to_container(holder)["value"]  # type: ignore[index,call-overload]
            if not _usable(typed):
                refusal = "numbers must be finite, whole ones below 2**63"
            else:
                return unmasked(typed)
        except (OmegaConfBaseException, ValueError, TypeError, OverflowError):
            refusal = _type_hint(hint, value)
    seen.report(key, shown(value), described(hint), refusal)
    return _stand_in(hint)


def _block(hint: Any) -> Any:
    """The dataclass of a block that may be left out, `Block | None`: a block that is there is one."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        (first, *others) = typing.get_args(hint)
        if dataclasses.is_dataclass(first) and others == [type(None)]:
            return first
    return hint


@functools.cache
def _holder(hint: Any) -> DictConfig:
    """A structured config with the one field ``value``, for OmegaConf to check values against."""
    holder: DictConfig = OmegaConf.structured(dataclasses.make_dataclass("Holder", [("value", hint)]))
    return holder


def _refusal(hint: Any, value: Any) -> str | None:
    """Why a conversion that OmegaConf would make in silence is not made; None if it may."""
    if isinstance(value, str) and value == "???":
        return "fill in the value"
    if hint is str and isinstance(value, bool | float):
        return "quote it if it is meant as text"
    if hint is bool and not isinstance(value, bool | str):
        return ""
    if value is None and type(None) not in typing.get_args(hint):
        return "null removes a key that the base gives, and there is none to remove"
    return None


def _type_hint(hint: Any, value: Any) -> str:
    if hint is int and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if typing.get_origin(hint) is Literal and isinstance(value, str):
        return nearest(value, [str(item) for item in typing.get_args(hint)])
    return ""


def _usable(value: Any) -> bool:
    """Whether every number in ``value`` is finite and small enough for 64 bits."""
    if isinstance(value, Mapping):
        return all(map(_usable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_usable, value))
    return not isinstance(value, int | float) or (
        math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63
    )


def _stand_in(hint: Any) -> Any:
    """Some value of the type ``hint``, to go on with after a problem."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return hint(
            **{f.name: _stand_in(hints[f.name]) for f in dataclasses.fields(hint) if not _has_default(f)}
        )
    if origin is Literal:
        return typing.get_args(hint)[0]
    if origin in (Union, types.UnionType):
        return _stand_in(typing.get_args(hint)[0])
    return (origin or hint)() if (origin or hint) in (str, int, float, bool, list, dict, tuple) else None


def complete(recipe: Recipe, seen: Report) -> Recipe:
    """``recipe`` with encoder and task settings typed and completed, and mixtures in stream order."""
    streams = {}
    for name, stream in recipe.streams.items():
        encoder = stream.encoder
        if encoder:
            encoder = _selected(encoder, "name", _encoder_config, f"streams.{name}.encoder", seen)
        also = {
            modality: _selected(settings, "name", _encoder_config, f"streams.{name}.also.{modality}", seen)
            for modality, settings in stream.also.items()
        }
        streams[name] = dataclasses.replace(stream, encoder=encoder, also=also)
    tasks = {
        name: _selected(task, "kind", _task_config, f"tasks.{name}", seen)
        for name, task in recipe.tasks.items()
    }
    place = {name: i for i, name in enumerate(streams)}
    arms = {
        name: dataclasses.replace(
            arm, mixture=dict(sorted(arm.mixture.items(), key=lambda item: place.get(item[0], len(place))))
        )
        for name, arm in recipe.arms.items()
    }
    return dataclasses.replace(recipe, streams=streams, tasks=tasks, arms=arms)


def _encoder_config(name: str) -> type:
    from encoders.registry import encoder_class

    return encoder_class(name).Config


def _task_config(kind: str) -> type:
    from ablate.tasks.registry import task_class

    config: type = task_class(kind).Config
    return config


def _selected(
    settings: dict[str, Any], selector: str, config_of: Callable[[str], type], key: str, seen: Report
) -> dict[str, Any]:
    """``settings`` typed by the dataclass that ``settings[selector]`` names, its defaults filled in."""
    name = settings.get(selector)
    if name is REFUSED or key in seen.bad:
        return {}
    if not isinstance(name, str) or not name:
        found = "nothing: the key is missing" if selector not in settings else shown(name)
        seen.report(f"{key}.{selector}", found, f"the {selector} of a registered one, see `ablate list`")
        return {}
    try:
        config = config_of(name)
    except (ValueError, ImportError) as error:
        seen.report(f"{key}.{selector}", repr(name), str(error))
        return {selector: name}
    given = {item: value for item, value in settings.items() if item != selector}
    values = typed_fields(config, given, key, seen)
    # What the dataclass itself refuses is reported by the checks, unless a stand-in is to blame.
    with contextlib.suppress(ValueError):
        values = dataclasses.asdict(config(**values))
    if seen.trusts(key) and not _usable(values):
        seen.report(key, "a number out of range", "finite numbers, whole ones below 2**63")
    return {selector: name, **unmasked(values)}
