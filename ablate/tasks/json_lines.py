"""Items of a task from JSON Lines (plain, gzip or zstd), with file and line in every message."""

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data.content import Inflated, by_content, expand_paths
from ablate.data.errors import DataError
from ablate.tasks.errors import TaskError

MAX_LINE_BYTES = 16 << 20
"""Most bytes of one item."""


@dataclass(frozen=True)
class Line:
    """One item as it stands in its file."""

    path: Path
    file: str
    """The file's name without folders and suffixes, with as many folders as tell it from the others."""
    number: int
    """Line number, from 1."""
    row: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    def value(self, field: str) -> Any:
        """The field's value.

        Raises:
            TaskError: the item lacks it; the fields it has and the nearest are named.
        """
        if field not in self.row:
            near = difflib.get_close_matches(field, list(self.row), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TaskError(f"{self.where}: no field {field!r}; found: {', '.join(self.row)}.{hint}")
        return self.row[field]

    def text(self, field: str) -> str:
        """The field's value, which must be text.

        Raises:
            TaskError: the item lacks it, or it is not text that UTF-8 can hold.
        """
        return self.as_text(self.value(field), field)

    def filled(self, field: str) -> str:
        """The field's value, which must be text that says something.

        Raises:
            TaskError: the item lacks it, it is no text, or it is empty.
        """
        value = self.text(field)
        if not value.strip():
            raise TaskError(f"{self.where}: {field} is empty")
        return value

    def texts(self, field: str) -> list[str]:
        """The field's value, which must be a list of two or more texts, none of them empty.

        Raises:
            TaskError: the item lacks it, or it is anything else.
        """
        value = self.value(field)
        if not isinstance(value, list) or len(value) < 2:
            raise TaskError(f"{self.where}: {field} is not a list of two or more texts: {_short(value)}")
        for index, one in enumerate(value):
            if not self.as_text(one, f"{field}[{index}]").strip():
                raise TaskError(f"{self.where}: {field}[{index}] is empty")
        return value

    def index(self, field: str, count: int) -> int:
        """The field's value, which must be the index of one of ``count`` choices, from 0.

        Raises:
            TaskError: the item lacks it, it is no whole number, or out of range.
        """
        value = self.value(field)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TaskError(
                f"{self.where}: {field} is {_short(value)}; it is the right choice's index, from 0"
            )
        if not 0 <= value < count:
            raise TaskError(
                f"{self.where}: {field} is {value}, but there are {count} choices (0 to {count - 1})"
            )
        return value

    def one_of(self, field: str, allowed: Sequence[str]) -> str:
        """The field's value, which must be one of ``allowed``.

        Raises:
            TaskError: the item lacks it, or it is anything else.
        """
        value = self.text(field)
        if value not in allowed:
            raise TaskError(f"{self.where}: {field} is {_short(value)}; expected {', '.join(allowed)}")
        return value

    def as_text(self, value: Any, field: str) -> str:
        """``value``, which must be text.

        Raises:
            TaskError: it is not text that UTF-8 can hold.
        """
        if not isinstance(value, str):
            raise TaskError(f"{self.where}: {field} is {_short(value)}, not text")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TaskError(f"{self.where}: {field} holds half a surrogate pair: {_short(value)}") from error
        return value

    def identifier(self, field: str) -> str:
        """The item's id: the field's value, or the file and line number where ``field`` is empty.

        Raises:
            TaskError: the item lacks the field, or it is neither text nor a whole number.
        """
        if not field:
            return f"{self.file}:{self.number}"
        value = self.value(field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise TaskError(f"{self.where}: {field} is {_short(value)}; an id is text or a whole number")
        return self.as_text(str(value), field)


def read_json_lines(paths: Sequence[str], cache: Path) -> Iterator[Line]:
    """The items of all files, files in the order of their content digests, so that moving or renaming
    them changes no order. ``paths`` may be globs. Blank lines are no items.

    Raises:
        TaskError: a file is missing, damaged or not UTF-8, or a line is not one JSON object.
    """
    try:
        files = by_content(expand_paths(paths), cache)
        names = short_names(files)
        for path in files:
            for number, raw in _lines(path):
                if raw.strip():
                    yield Line(path, names[path], number, _parse(raw, f"{path}:{number}"))
    except DataError as error:
        raise TaskError(str(error)) from error


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Each path's name without suffixes, with as many folders before it as tell all of them apart."""
    stems = {path: (*path.parts[:-1], path.name.split(".")[0] or path.name) for path in paths}
    deepest = max((len(parts) for parts in stems.values()), default=1)
    for depth in range(1, deepest + 1):
        names = {path: ".".join(parts[-depth:]) for path, parts in stems.items()}
        if len(set(names.values())) == len(names):
            return names
    return {path: str(path).replace("/", ".") for path in paths}


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line."""
    with Inflated(path) as stream:
        number = 0
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise TaskError(f"{path}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; split it")
            yield number, raw


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_named_once)
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{where}: not UTF-8 ({error.reason}, byte {error.start} of the line); convert it, for instance "
            "with iconv -t utf-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: {_short(row)} is not a JSON object with named fields")
    return row


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that stands twice, one value would be dropped in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_short(twice)} stands twice in one object")
    return found


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
