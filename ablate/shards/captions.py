"""Captions of a folder's media in one file: CSV with a header, or JSON Lines."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ablate.data.errors import DataError

FILE_FIELD = "file_name"
"""Field that names the file, as COCO's annotations and Hugging Face's ImageFolder call it."""
CAPTION_FIELD = "caption"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")


def read_captions(
    path: Path, file_field: str = FILE_FIELD, caption_field: str = CAPTION_FIELD
) -> dict[str, list[str]]:
    """The captions of each file, by its path relative to the folder of media, in the order of the lines.

    ``path`` is .csv, .tsv (the first line names the columns) or .jsonl; several lines of one file are
    several captions, and in JSON Lines the caption may be a list.

    Raises:
        DataError: names file and line: another format, not UTF-8, a missing field, an empty caption, or a
            file name that is absolute or has `..` in it.
    """
    suffix = path.suffix.lower()
    if suffix not in (*_DELIMITERS, *_LINES):
        raise DataError(f"{path}: captions are read from .csv, .tsv or .jsonl; rename or convert it")
    try:
        # utf-8-sig: spreadsheets begin a CSV with a byte order mark, which is no part of the first name.
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    rows = _json_rows(path, text) if suffix in _LINES else _csv_rows(path, text, _DELIMITERS[suffix])
    found: dict[str, list[str]] = {}
    for line, row in rows:
        name = _file_name(path, line, _field(path, line, row, file_field, "--file-field"))
        listed = _field(path, line, row, caption_field, "--caption-field")
        found.setdefault(name, []).extend(_captions(path, line, caption_field, listed))
    if not found:
        raise DataError(f"{path}: has no lines; write one a caption")
    return found


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    before = 1
    try:
        for row in reader:
            line, before = before + 1, reader.line_num
            if row.get(None) is not None or None in row.values():  # type: ignore[call-overload]
                raise DataError(
                    f"{path}:{line}: has another number of columns than the header "
                    f"({len(reader.fieldnames or [])}); quote captions that contain {delimiter!r}"
                )
            yield line, row
    except csv.Error as error:
        raise DataError(f"{path}:{before + 1}: damaged CSV ({error}); mend the quotes") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines(): it also parts at U+2028, which JSON allows within a string.
    for line, body in enumerate(text.split("\n"), start=1):
        if not body.strip():
            continue
        try:
            row = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{line}: invalid JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line}: not a JSON object; write one object a line")
        yield line, row


def _field(path: Path, line: int, row: dict[str, Any], name: str, option: str) -> Any:
    if row.get(name) is None:
        there = ", ".join(str(field) for field in row) or "nothing"
        raise DataError(f"{path}:{line}: has no {name!r}; it has {there}: name the field with {option}")
    return row[name]


def _file_name(path: Path, line: int, name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{path}:{line}: the file name is {name!r}; write its path within the folder")
    parts = PurePosixPath(name.strip())
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{path}:{line}: {name!r} leaves the folder; write its path within the folder")
    return str(parts)


def _captions(path: Path, line: int, field: str, listed: Any) -> list[str]:
    captions = listed if isinstance(listed, list) else [listed]
    for caption in captions:
        if not isinstance(caption, str):
            raise DataError(f"{path}:{line}: {field!r} is {type(caption).__name__}, not text or a list of it")
        if any("\ud800" <= letter <= "\udfff" for letter in caption):
            raise DataError(f"{path}:{line}: the caption has half a surrogate pair and no UTF-8 form")
    if not captions or not all(caption.strip() for caption in captions):
        raise DataError(f"{path}:{line}: {field!r} is empty; write a caption or remove the line")
    return [caption.strip() for caption in captions]
