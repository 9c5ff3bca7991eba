"""Encoders by name, imported only when built. A new encoder is one file and one line here."""

import difflib
import importlib
from dataclasses import asdict, fields
from typing import Any

from encoders.base import Encoder

ENCODERS: dict[str, str] = {
    "patches": "encoders.patches:Patches",
    "vit": "encoders.vit:ViT",
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
    """``settings`` with every default of the encoder's Config filled in."""
    cls = encoder_class(str(settings["name"]))
    known = {item.name for item in fields(cls.Config)}
    given = {key: value for key, value in settings.items() if key in known}
    return {"name": settings["name"], **asdict(cls.Config(**given))}
