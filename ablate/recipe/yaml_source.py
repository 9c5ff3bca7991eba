"""YAML text as plain values, read by the 1.2 core rules: ``1e-3`` is a number, ``no`` is text.

Recipes are input from strangers: no YAML tag builds an object, and what a document may unfold to is bounded.
"""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from ablate.recipe.errors import Problem, RecipeError, Report

COMMAND_LINE = "command line"
MAX_NODES = 20_000
MAX_DEPTH = 40

REFUSED = object()
"""Stands for a value that was already reported."""

_SCALARS: list[tuple[str, str, str]] = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL", "~nN"),
]
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Composes nodes by the rules of `_SCALARS`; it is never asked to construct an object."""


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represented_text(dumper: _Dumper, text: str) -> yaml.Node:
    # Only double quotes escape the line breaks of Unicode, which a folded scalar would lose.
    return dumper.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represented_text)
for _cls in (_Loader, _Dumper):
    _cls.yaml_implicit_resolvers = {}
    for _name, _pattern, _first in _SCALARS:
        _cls.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile("^$"), [""])
_Dumper.add_implicit_resolver(f"{_TAG}null", re.compile("^$"), [""])


def dumped(content: dict[str, Any]) -> str:
    """``content`` as YAML that `parse` reads as the same values."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def fail(where: str, key: str, found: str, allowed: str, hint: str = "") -> RecipeError:
    """A problem that ends the reading: what follows it cannot be understood."""
    return RecipeError([Problem(where, key, found, allowed, hint)])


def parse(text: str, where: str, key: str, seen: Report) -> Any:
    """YAML ``text`` as dicts, lists and scalars; the lines of its keys go to ``seen.origins``."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark and where != COMMAND_LINE else where
        why = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise fail(
            place, key, f"not YAML: {why}", "YAML", "quote text that has `: `, `#` or brackets"
        ) from error
    except RecursionError as error:
        raise fail(where, key, "YAML nested too deeply", f"at most {MAX_DEPTH} levels") from error
    return None if node is None else _Nodes(where, seen).plain(node, key, 0)


@dataclass
class _Nodes:
    """Turns composed YAML nodes into plain values, refusing what a recipe may not hold."""

    where: str
    seen: Report
    visited: int = 0

    def line(self, node: yaml.Node) -> str:
        if self.where == COMMAND_LINE:
            return self.where
        return f"{self.where}:{node.start_mark.line + 1}"

    def refuse(self, node: yaml.Node, key: str, found: str, allowed: str, hint: str = "") -> Any:
        self.seen.problems.append(Problem(self.line(node), key, found, allowed, hint))
        self.seen.bad.add(key)
        return REFUSED

    def plain(self, node: yaml.Node, key: str, depth: int) -> Any:
        self.visited += 1
        # An alias may repeat a block, and aliases of aliases multiply; count what they unfold to.
        if self.visited > MAX_NODES or depth > MAX_DEPTH:
            allowed = f"at most {MAX_NODES} values, {MAX_DEPTH} levels deep"
            raise fail(self.line(node), key, "too many values, or an alias within itself", allowed)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self.mapping(node, key, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.plain(item, f"{key}.{i}", depth + 1) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith(_TAG):
            try:
                return _scalar(node.tag.removeprefix(_TAG), node.value)
            except ValueError as error:
                return self.refuse(node, key, f"{node.value[:80]!r} ({error})", "a plain value")
        tag = node.tag.replace(_TAG, "!!")
        return self.refuse(node, key, f"the YAML tag {tag}", "plain values: a recipe builds no objects")

    def mapping(self, node: yaml.MappingNode, key: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                self.refuse(name_node, key, "a key that is a list or mapping", "text keys")
                continue
            try:
                name = _scalar("str", name_node.value)
            except ValueError as error:
                self.refuse(name_node, key, f"the key {name_node.value!r} ({error})", "text keys")
                continue
            path = f"{key}.{name}" if key else name
            if name == "<<":
                self.refuse(name_node, path, "a YAML merge key", "plain keys", "use base: for a variant")
            elif name in result:
                first = self.seen.origins.get(path, self.where)
                found = f"the key {name!r} a second time (first at {first})"
                self.refuse(name_node, path, found, "each key once")
            else:
                self.seen.origins[path] = self.line(name_node)
                result[name] = self.plain(value_node, path, depth + 1)
        return result


def _scalar(kind: str, text: str) -> Any:
    """The value of a YAML scalar of the type ``kind``.

    Raises:
        ValueError: it is none, or holds what no text file may (NUL, half a surrogate pair).
    """
    if "\x00" in text:
        raise ValueError("a NUL character")
    text.encode("utf-8")
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(re.sub(r"\.(inf|nan)", r"\1", text.lower()))
    raise ValueError(f"the YAML tag !!{kind} is not read here")
