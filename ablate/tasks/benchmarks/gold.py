"""Right answers as sources write them: an index, a digit in text, a letter, or nothing at all."""

from collections.abc import Sequence
from typing import Any

from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line


def gold_index(line: Line, field: str, count: int, first: int = 0) -> int:
    """Index, from 0, of the right one of ``count`` choices, which the source writes as a number or as digits.

    Args:
        first: what the source calls the first choice.

    Raises:
        TaskError: the item lacks the field, it is hidden (see `label`), no whole number, or out of
            range.
    """
    value = label(line, field)
    if isinstance(value, bool) or not isinstance(value, int):
        if not isinstance(value, str) or not value.strip().isdecimal():
            raise TaskError(
                f"{line.where}: {field} is {value!r:.60}; it is the right choice's number, from {first}"
            )
        value = int(value)
    if not first <= value < first + count:
        raise TaskError(
            f"{line.where}: {field} is {value}, but there are {count} choices "
            f"({first} to {first + count - 1})"
        )
    return value - first


def gold_key(line: Line, field: str, keys: Sequence[str]) -> int:
    """Index of the right choice, which the source names by one of ``keys``.

    Raises:
        TaskError: the item lacks the field, it is hidden, or names none of them.
    """
    key = line.as_text(label(line, field), field).strip()
    if list(keys).count(key) != 1:
        raise TaskError(f"{line.where}: {field} is {key!r:.60}; the choices are called {', '.join(keys)}")
    return list(keys).index(key)


def label(line: Line, field: str) -> Any:
    """The value of ``field``, which must not be one of those that stand for a label kept back.

    Raises:
        TaskError: the item lacks the field, or it is empty, null or -1.
    """
    if field not in line.row:
        found = ", ".join(line.row)
        raise TaskError(f"{line.where}: no field {field!r}; found: {found}. {_HINT}")
    value = line.row[field]
    if value is None or value == -1 or (isinstance(value, str) and value.strip() in ("", "-1")):
        raise TaskError(f"{line.where}: {field} is {value!r}: a label that is kept back. {_HINT}")
    return value


_HINT = "Test splits are often published without labels: take the development (validation) split"
