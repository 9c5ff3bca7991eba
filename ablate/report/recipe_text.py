"""The recipe that a header or a lock carries, as YAML from whoever made the study."""

from typing import Any

import yaml

STATED_BLOCKS = frozenset(
    {"study", "question", "note", "seeds", "baseline", "endpoints", "ladder", "stopping", "data_root"}
)
"""Blocks of the recipe that the header states too, or that change no result."""

DEEPEST = 50
"""Blocks within blocks; a recipe has five or so."""


def leaves(recipe: str) -> dict[str, Any] | None:
    """The values of ``recipe`` by dotted key; None where it is no mapping in plain YAML.

    Aliases, by which a short text can stand for a huge one, are none that a dumped recipe has.
    """
    try:
        if not _is_plain(recipe):
            return None
        tree = yaml.safe_load(recipe) or {}
        return _flat(tree, "") if isinstance(tree, dict) else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _is_plain(recipe: str) -> bool:
    depth = 0
    for event in yaml.parse(recipe, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            return False
    return True


def _flat(tree: dict[Any, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict) and value
            else {f"{prefix}{key}": value}
        )
    return found
