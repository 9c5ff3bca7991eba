"""Text documents from JSON Lines, Parquet, plain text and tar, told apart by the file's name."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ablate.data.content import (
    FREE_BYTES,
    MAX_INFLATED,
    MAX_RATIO,
    Inflated,
    by_content,
    content_digest,
    digest_of,
)
from ablate.data.errors import DataError
from ablate.data.tar_index import index_tar

MAX_DOCUMENT = 256 << 20
"""Most bytes of one line of JSON, one text file or one cell of Parquet."""

_FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".txt": "text",
    ".parquet": "parquet",
    ".tar": "tar",
    ".tgz": "tar",
}
_SHARD_NUMBER = re.compile(r"(?:^|[-_.])(?:part[-_.]?)?\d+(?:[-_.]of[-_.]\d+)?$")


@dataclass(frozen=True)
class Document:
    """One text."""

    source: str
    """Name of the file it is from."""
    number: int
    """Its place in the file, from 0."""
    text: str
    domain: str
    """Its `domain` field, or the file's name without endings and shard number."""


def document_digest(text: str) -> int:
    """64-bit BLAKE2b of ``text`` with every run of whitespace made one space and the ends stripped."""
    normal = " ".join(text.split())
    return int.from_bytes(hashlib.blake2b(normal.encode(), digest_size=8).digest(), "big")


def documents_digest(paths: Sequence[Path], text_field: str, cache: Path) -> str:
    """Digest of what `read_documents` yields, names aside: the contents and the field that is read."""
    return digest_of("documents", content_digest(paths, cache), text_field)


def read_documents(paths: Sequence[Path], text_field: str, cache: Path) -> Iterator[Document]:
    """The documents of ``paths``, files in the order of their content digests, so that neither folder
    nor file names can change the order.

    `.jsonl`, `.ndjson` and `.json` hold one object a line; `.txt` is one document; these may end in `.gz`
    or `.zst`. `.parquet` has a column ``text_field``; `.tar` and `.tar.gz` hold KEY.txt.

    Raises:
        DataError: names the file and line: unknown format, no document, not UTF-8, invalid JSON, no
            field ``text_field`` or not a string, an empty text, or more text than a file of its size
            may hold.
    """
    for path in by_content(paths, cache):
        empty = True
        for document in _read_file(path, text_field, cache):
            empty = False
            yield document
        if empty:
            raise DataError(f"{path}: holds no documents; remove the file from the recipe or write it again")


def _read_file(path: Path, text_field: str, cache: Path) -> Iterator[Document]:
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in (".gz", ".zst"):
        endings.pop()
    kind = _FORMATS.get(endings[-1]) if endings else None
    if kind == "json":
        return _read_json(path, text_field)
    if kind == "text":
        return _read_text(path)
    if kind == "parquet":
        return _read_parquet(path, text_field)
    if kind == "tar":
        return _read_tar(path, cache)
    raise DataError(
        f"{path}: no text format has this ending; known: {', '.join(_FORMATS)}, "
        "the first four also with .gz or .zst"
    )


def _domain_of(path: Path) -> str:
    stem = path.name
    for ending in reversed(path.suffixes):
        if ending.lower() not in (*_FORMATS, ".gz", ".zst"):
            break
        stem = stem[: -len(ending)]
    return _SHARD_NUMBER.sub("", stem) or path.parent.name or "text"


def _document(path: Path, number: int, place: str, text: Any, domain: Any, field: str) -> Document:
    if not isinstance(text, str):
        raise DataError(f"{path}: {place}: {field!r} is {_kind(text)}, not a string")
    if not isinstance(domain, str):
        raise DataError(f"{path}: {place}: 'domain' is {_kind(domain)}, not a string")
    if not text or text.isspace():
        raise DataError(f"{path}: {place}: the text is empty; remove it")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{path}: {place}: the text has half a surrogate pair ({text[error.start]!r}) and so no "
                "UTF-8 form; mend or remove it"
            ) from error
    return Document(path.name, number, text, domain)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", type(None): "null", bool: "a boolean"}
    return names.get(type(value), "a number")


def _decoded(path: Path, data: bytes, place: str, start: int = 0) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: {place}: not UTF-8 at byte {start + error.start} of the inflated file "
            f"({data[error.start : error.start + 1]!r}); convert it, for instance with iconv -t utf-8"
        ) from error


def _read_json(path: Path, field: str) -> Iterator[Document]:
    fallback = _domain_of(path)
    number = line_number = start = 0
    with Inflated(path) as stream:
        while line := stream.readline(MAX_DOCUMENT + 1):
            line_number += 1
            place = f"line {line_number}"
            if len(line) > MAX_DOCUMENT:
                raise DataError(f"{path}: {place} is longer than {MAX_DOCUMENT:,} bytes; split it")
            start, begun = start + len(line), start
            if line_number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line, begun = line[3:], 3
            if not line.strip():
                continue
            item = _parsed(path, place, _decoded(path, line, place, begun))
            if field not in item:
                raise DataError(f"{path}: {place}: {missing_field(field, list(item))}")
            yield _document(path, number, place, item[field], item.get("domain", fallback), field)
            number += 1


def _parsed(path: Path, place: str, line: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        hint = "; is the file one JSON array? One object a line is needed" if line.lstrip()[:1] == "[" else ""
        raise DataError(f"{path}: {place}: invalid JSON ({error}){hint}") from error
    if not isinstance(item, dict):
        raise DataError(f"{path}: {place}: {_kind(item)} where an object is needed, one a line")
    return item


def missing_field(field: str, known: Sequence[str]) -> str:
    """Says that ``field`` is missing, which fields there are, and the nearest."""
    near = get_close_matches(field, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no field {field!r}; there are: {', '.join(sorted(known)) or 'none'}{hint}"


def _read_text(path: Path) -> Iterator[Document]:
    with Inflated(path) as stream:
        data = b""
        while chunk := stream.read():
            data += chunk
            if len(data) > MAX_DOCUMENT:
                raise DataError(f"{path}: longer than {MAX_DOCUMENT:,} bytes; split it into documents")
    text = _decoded(path, data, "text").removeprefix("\ufeff")
    if text.strip():
        yield _document(path, 0, "text", text, _domain_of(path), "text")


def _read_parquet(path: Path, field: str) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: not a Parquet file, or damaged ({error}); fetch or write it again"
        ) from error
    with file:
        schema = file.schema_arrow
        if field not in schema.names:
            raise DataError(f"{path}: {missing_field(field, schema.names)}")
        columns = [name for name in dict.fromkeys((field, "domain")) if name in schema.names]
        _check_parquet(path, file, columns)
        number = taken = 0
        limit = _parquet_limit(path)
        fallback = _domain_of(path)
        try:
            for row in zip(*(_cells(file, name) for name in columns), strict=True):
                for name, cell in zip(columns, row, strict=True):
                    taken += _cell_bytes(path, number, name, cell)
                if taken > limit:
                    raise DataError(
                        f"{path}: row {number}: inflates to more than {limit:,} bytes ({MAX_RATIO} times its "
                        "size is allowed), as a decompression bomb does; write it as .jsonl if you trust it"
                    )
                domain = row[columns.index("domain")].as_py() if "domain" in columns else fallback
                yield _document(path, number, f"row {number}", row[0].as_py(), domain, field)
                number += 1
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 in or after row {number} ({error}); convert it") from error
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: damaged in or after row {number} ({error}); fetch it again") from error


def _cells(file: Any, column: str) -> Iterator[Any]:
    """The Arrow scalars of ``column``.

    One stored value may stand for any number of rows (dictionary pages, DELTA_BYTE_ARRAY prefixes), so the
    sizes in the metadata do not bound a batch of more than one row. A column that Arrow keeps as a
    dictionary is not expanded, and each of its batches repeats the dictionary, so there batches are larger.
    """
    import pyarrow as pa

    schema = file.schema_arrow
    kept = pa.types.is_dictionary(schema.types[schema.names.index(column)])
    for batch in file.iter_batches(batch_size=256 if kept else 1, columns=[column]):
        yield from batch.column(0)


def _cell_bytes(path: Path, number: int, column: str, cell: Any) -> int:
    """Bytes of a string cell, told without making a Python string of it; 0 for null."""
    if not cell.is_valid:
        return 0
    size: int = (cell.value if hasattr(cell, "dictionary") else cell).as_buffer().size
    if size > MAX_DOCUMENT:
        raise DataError(f"{path}: row {number}: {column!r} is longer than {MAX_DOCUMENT:,} bytes; split it")
    return size


def _parquet_limit(path: Path) -> int:
    return min(MAX_INFLATED, max(FREE_BYTES, MAX_RATIO * path.stat().st_size))


def _check_parquet(path: Path, file: Any, columns: list[str]) -> None:
    import pyarrow as pa

    for name in columns:
        kind = file.schema_arrow.types[file.schema_arrow.names.index(name)]
        held = kind.value_type if pa.types.is_dictionary(kind) else kind
        if held not in (pa.string(), pa.large_string(), pa.string_view(), pa.null()):
            raise DataError(f"{path}: column {name!r} is {kind}, not a string")
    limit = _parquet_limit(path)
    for group in range(file.metadata.num_row_groups):
        parts = [file.metadata.row_group(group).column(at) for at in range(file.metadata.num_columns)]
        size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema in columns)
        if size > limit:
            raise DataError(
                f"{path}: row group {group} inflates to {size:,} bytes ({limit:,} are allowed); "
                "write it with smaller row groups"
            )


def _read_tar(path: Path, cache: Path) -> Iterator[Document]:
    index = index_tar(path, cache)
    fallback = _domain_of(path)
    for number, members in enumerate(index):
        by_extension = {member.extension: member for member in members}
        key = members[0].key
        text = by_extension.get("txt")
        if text is None:
            raise DataError(f"{path}: {key} has no .txt (it has {', '.join(sorted(by_extension))})")
        if text.size > MAX_DOCUMENT:
            raise DataError(f"{path}: {key}.txt is longer than {MAX_DOCUMENT:,} bytes; split it")
        domain: Any = fallback
        if "json" in by_extension:
            place = f"{key}.json"
            item = _parsed(path, place, _decoded(path, index.read(by_extension["json"]), place))
            domain = item.get("domain", fallback)
        place = f"{key}.txt"
        yield _document(path, number, place, _decoded(path, index.read(text), place), domain, "text")
