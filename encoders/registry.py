"""Encoders by name, imported only when built. A new encoder is one file and one line here."""

import difflib
import importlib
from dataclasses import asdict, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from encoders.base import Encoder

ENCODERS: dict[str, str] = {
    "patches": "encoders.patches:Patches",
    "vit": "encoders.vit:ViT",
    "open_clip": "encoders.open_clip_tower:OpenClipTower",
    "tubelets": "encoders.tubelets:Tubelets",
    "frames": "encoders.frames:Frames",
    "mel_patches": "encoders.mel_patches:MelPatches",
    "mel_conv": "encoders.mel_conv:MelConv",
    "series_patches": "encoders.series_patches:SeriesPatches",
}
"""Name to `module:Class`."""


class UnknownEncoderError(ValueError):
    """The name is not registered; the message lists the known ones and the nearest."""


def encoder_class(name: str) -> type[Encoder]:
    """The class registered as ``name``.

    Raises:
        UnknownEncoderError: no encoder has that name.
    """
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownEncoderError(
            f"no encoder is called {name!r}; known: {', '.join(sorted(ENCODERS))}.{hint}"
        )
    module, _, attribute = ENCODERS[name].partition(":")
    found: type[Encoder] = getattr(importlib.import_module(module), attribute)
    return found


def build_encoder(settings: dict[str, Any], width: int) -> Encoder:
    """Build the encoder that ``settings`` (its `name` and the fields of its Config) describe.

    Args:
        width: width of the tokens it shall return.

    Raises:
        UnknownEncoderError: no encoder has that name.
        ValueError: a value that the encoder's Config refuses.
    """
    cls = encoder_class(str(settings["name"]))
    config = cls.Config(**{key: value for key, value in settings.items() if key != "name"})
    return cls(config, width)  # type: ignore[call-arg]


def complete_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with every default of the encoder's Config filled in.

    Raises:
        UnknownEncoderError: no encoder has that name.
        ValueError: a key that the Config lacks, a value of another type, or one that the Config refuses.
    """
    cls = encoder_class(str(settings["name"]))
    hints = get_type_hints(cls.Config)
    known = [item.name for item in fields(cls.Config)]
    given = {key: value for key, value in settings.items() if key != "name"}
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{settings['name']} has no setting {key!r}; known: {', '.join(known)}.{hint}")
        if not _fits(value, hints[key]):
            raise ValueError(f"{settings['name']}.{key} is {value!r}; use {_wording(hints[key])}")
    return {"name": settings["name"], **asdict(cls.Config(**given))}


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(value, bool):
        return hint is bool
    kind = get_origin(hint) or hint
    return isinstance(value, int | float if kind is float else kind)


def _wording(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(item) for item in get_args(hint))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(hint, "a mapping")
