"""The files of a recipe, its ``base:`` variants and command-line overrides, merged key by key."""

import os
import typing
from pathlib import Path
from typing import Any

from ablate.recipe.checks import names_a_command_or_address
from ablate.recipe.errors import Problem, RecipeError, Report, nearest
from ablate.recipe.wording import shown
from ablate.recipe.yaml_source import COMMAND_LINE, fail, parse

MAX_BYTES = 1 << 20


def read_text(path: Path, where: str = "", key: str = "") -> str:
    """The text of a recipe file. ``where`` and ``key`` name the line that asked for it, if one did."""
    where = where or str(path)
    try:
        if not path.is_file():
            found = f"{path} is a folder or device" if path.exists() else f"no file {path}"
            siblings = [item.name for item in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
            raise fail(where, key, found, "a recipe file (YAML)", nearest(path.name, siblings))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise fail(where, key, f"{path} cannot be read: {error.strerror}", "a readable file") from error
    if len(data) > MAX_BYTES:
        raise fail(where, key, f"{path} has more than {MAX_BYTES} bytes", "a recipe file (YAML)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}"
        raise fail(where, key, found, "UTF-8", "save the file as UTF-8") from error


def read_chain(path: Path, seen: Report, chain: tuple[Path, ...]) -> dict[str, Any]:
    """The content of ``path`` merged over its bases. ``chain`` holds the files that led here."""
    where, key = (seen.origin("base"), "base") if chain else (str(path), "")
    real = Path(os.path.realpath(path))
    if real in chain:
        circle = " -> ".join(item.name for item in (*chain, real))
        raise fail(where, key, f"a circle of bases: {circle}", "a base that does not lead back here")
    text = read_text(path, where, key)
    raw = parse(text, str(path), "", seen)
    if raw is None:
        raise fail(str(path), "", "an empty file", "a mapping of keys to values")
    if not isinstance(raw, dict):
        raise fail(str(path), "", f"{shown(raw)} at the top", "a mapping of keys to values")
    if "base" not in raw:
        return raw
    base = raw.pop("base")
    if not isinstance(base, str) or not base or names_a_command_or_address(base):
        raise fail(seen.origin("base"), "base", shown(base), "the path of another recipe file")
    mine = {name: origin for name, origin in seen.origins.items() if name != "base"}
    merged = read_chain(path.parent / base, seen, (*chain, real))
    seen.origins |= mine
    merge(merged, raw, "")
    return merged


def read_override(override: str, seen: Report) -> dict[str, Any]:
    """One ``key.path=value`` as nested dicts; empty if it was refused."""
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        found = f"the override {override!r}"
        seen.problems.append(Problem(COMMAND_LINE, key, found, "key.path=value", "such as model.layers=4"))
        return {}
    for end in range(1, len(names) + 1):
        seen.origins.setdefault(".".join(names[:end]), COMMAND_LINE)
    path = ".".join(names)
    seen.origins[path] = COMMAND_LINE
    try:
        value = parse(text, COMMAND_LINE, path, seen) if text.strip() else ""
    except RecipeError as error:
        seen.problems += error.problems
        seen.bad.add(path)
        return {}
    for name in reversed(names):
        value = {name: value}
    return typing.cast(dict[str, Any], value)


def merge(under: dict[str, Any], over: dict[str, Any], key: str) -> None:
    """Lay ``over`` upon ``under``: dicts merge, null removes, everything else replaces."""
    for name, value in over.items():
        if value is None and name in under:
            del under[name]
        elif isinstance(value, dict) and isinstance(under.get(name), dict):
            merge(under[name], value, f"{key}{name}.")
        else:
            under[name] = value
