"""``${key.path}`` in a recipe, replaced by that key's value; ``${data_root}`` is kept for later.

No resolver runs: OmegaConf's ``oc.env`` would put a secret into a record.
"""

import dataclasses
import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any

from ablate.recipe.errors import Report, nearest
from ablate.recipe.schema import Recipe
from ablate.recipe.yaml_source import REFUSED

DATA_ROOT = "${data_root}"
"""What stands for the data's folder in a `Recipe` until `resolve_paths` replaces it."""

MAX_TEXT = 20_000
"""Longest text that interpolation may build."""

# OmegaConf must not see `${data_root}`: it would take it for an interpolation and skip the type check.
MASK = "\x00data_root\x00"


def interpolated(raw: dict[str, Any], seen: Report) -> dict[str, Any]:
    """``raw`` with every ``${key.path}`` replaced and ``${data_root}`` masked."""
    resolver = _Interpolation(raw, seen)
    return typing.cast(dict[str, Any], resolver.walk(raw, ""))


@dataclass
class _Interpolation:
    """Replaces ``${other.key}`` by that key's value. Runs no resolver: there are none."""

    raw: dict[str, Any]
    seen: Report
    active: list[str] = field(default_factory=list)
    done: dict[str, Any] = field(default_factory=dict)

    def walk(self, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {name: self.walk(item, f"{key}.{name}" if key else name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.walk(item, f"{key}.{i}") for i, item in enumerate(value)]
        return self.text(value, key) if isinstance(value, str) and "${" in value else value

    def text(self, text: str, key: str) -> Any:
        if key not in self.done:
            self.active.append(key)
            self.done[key] = self.substituted(text, key)
            self.active.pop()
        return self.done[key]

    def substituted(self, text: str, key: str) -> Any:
        allowed = "${data_root} and ${key.path} of this recipe"
        parts = re.split(r"\$\{([^{}]*)\}", text)
        values = [self.value(name.strip(), key, allowed) for name in parts[1::2]]
        if any(value is REFUSED for value in values):
            return REFUSED
        if any("${" in part for part in parts[0::2]):
            self.seen.report(key, repr(text), allowed, "an interpolation cannot hold another one")
            return REFUSED
        if len(values) == 1 and parts[0] == parts[2] == "":
            result = values[0]
        else:
            filled = [*map(_as_text, values), ""]
            result = "".join(plain + value for plain, value in zip(parts[0::2], filled, strict=True))
        if isinstance(result, str) and len(result) > MAX_TEXT:
            self.seen.report(key, "an interpolation that grows too long", f"at most {MAX_TEXT} characters")
            return REFUSED
        if isinstance(result, str) and MASK in result and not _admits_data_root(key):
            self.seen.report(
                key, repr(text), "${data_root} only in paths of streams, tasks, tokenizer and model"
            )
            return REFUSED
        return result

    def value(self, name: str, key: str, allowed: str) -> Any:
        if name == "data_root":
            return MASK
        if ":" in name:
            self.seen.report(key, f"the resolver ${{{name}}}", allowed, "write the value itself")
            return REFUSED
        found: Any = self.raw
        for part in name.split("."):
            found = found.get(part, MISSING) if isinstance(found, dict) else MISSING
        if found is MISSING:
            found = _schema_default(name)
        if found is MISSING or isinstance(found, dict | list):
            what = "a block" if found is not MISSING else "no key of this recipe"
            self.seen.report(key, f"${{{name}}}, which is {what}", allowed, nearest(name, self.seen.origins))
            return REFUSED
        if name in self.active:
            circle = " -> ".join([*self.active, name])
            self.seen.report(key, f"a circle of interpolations: {circle}", allowed)
            return REFUSED
        return self.text(found, name) if isinstance(found, str) and "${" in found else found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _schema_default(name: str) -> Any:
    """The default at a key path such as ``model.width``; MISSING if there is none."""
    block, _, key = name.rpartition(".")
    owner: Any = typing.get_type_hints(Recipe).get(block) if block else Recipe
    if not dataclasses.is_dataclass(owner):
        return MISSING
    return next((item.default for item in dataclasses.fields(owner) if item.name == key), MISSING)


def _admits_data_root(key: str) -> bool:
    pattern = r"streams\.[^.]+\.(?:paths|encoder|also)\..+|tasks\..+|tokenizer\.path|model\.init_from"
    return re.fullmatch(pattern, key, re.DOTALL) is not None


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with every text in it changed, as plain dicts, lists and scalars."""
    if isinstance(value, Mapping):
        return {name: mapped(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def unmasked(value: Any) -> Any:
    """``value`` with ``${data_root}`` as it was written."""
    return mapped(value, lambda text: text.replace(MASK, DATA_ROOT))
