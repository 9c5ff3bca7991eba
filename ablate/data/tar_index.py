"""Random access to the members of a WebDataset tar, indexed once.

The tar format is read here rather than with `tarfile`, which takes a damaged header for the end of the
archive and so drops the rest in silence, and which ignores what follows the first end marker.
Formats: ustar, GNU (long names, base-256 sizes) and pax (POSIX.1-2001, section "pax").
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ablate.data.content import GZIP_MAGIC, Inflated, digest_of, file_digest, write_once
from ablate.data.errors import DataError

BLOCK = 512
PICKLED = frozenset({"pkl", "pickle", "pyd", "pt", "pth", "joblib", "dill"})
"""Extensions that loaders unpickle or import: reading them can run a stranger's code."""
_SQUEEZED = frozenset({"gz", "zst", "xz", "bz2"})
_FOREIGN = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}
_MAX_PAX = 1 << 20
_PAX_DIGITS = len(str(_MAX_PAX))
_OFFSET_DIGITS = 19
"""Digits of the largest file offset, 2**63 - 1."""
_OCTAL = re.compile(rb"[0-7]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INDEX_FORMAT = "tar-index-2"


@dataclass(frozen=True)
class Member:
    """One file in a tar. Key and extension part at the first dot of the base name; the folder belongs
    to the key."""

    key: str
    extension: str
    """Lower case, without the leading dot."""
    offset: int
    """Byte at which the data begin."""
    size: int
    """Bytes of data."""


class TarIndex:
    """The members of a plain tar, grouped into samples (members of one key), in order of appearance.

    It travels between processes as two paths; each process opens the tar for itself.
    """

    def __init__(self, path: Path, index: Path, source: Path | None = None) -> None:
        self.path = path
        self.source = source or path
        """The file the user named: `path` itself, or the compressed tar it was inflated from."""
        self._index = index
        self._file: int | None = None
        with np.load(index, allow_pickle=False) as held:
            self._keys: list[str] = _unpack(held["keys"])
            self._extensions: list[str] = _unpack(held["extensions"])
            self._first = held["first"]
            self._code = held["code"]
            self._offset = held["offset"]
            self._size = held["size"]

    def __reduce__(self) -> tuple[Any, ...]:
        return TarIndex, (self.path, self._index, self.source)

    def __len__(self) -> int:
        """Samples in the tar."""
        return len(self._keys)

    @property
    def keys(self) -> list[str]:
        """Key of each sample."""
        return self._keys

    def members(self, sample: int) -> list[Member]:
        """The members of one sample."""
        key = self._keys[sample]
        return [
            Member(key, self._extensions[self._code[at]], int(self._offset[at]), int(self._size[at]))
            for at in range(self._first[sample], self._first[sample + 1])
        ]

    def __iter__(self) -> Iterator[list[Member]]:
        return (self.members(sample) for sample in range(len(self)))

    def read(self, member: Member) -> bytes:
        """The bytes of ``member``.

        Raises:
            DataError: the tar was shortened or removed since it was indexed.
        """
        if self._file is None:
            try:
                self._file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        data = os.pread(self._file, member.size, member.offset)
        while len(data) < member.size:
            more = os.pread(self._file, member.size - len(data), member.offset + len(data))
            if not more:
                raise DataError(
                    f"{self.path}: {member.key}.{member.extension} ends early; "
                    "the file changed while it was in use, start again"
                )
            data += more
        return data

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]


def index_tar(path: Path, cache: Path) -> TarIndex:
    """Index ``path`` once into ``cache``, by content; a gzip is inflated to a plain tar there first.

    Raises:
        DataError: the tar is empty, cut short, damaged or compressed otherwise; or a member is a link,
            a device, pickled, doubled, without extension, or named by an absolute path, with `..` or with
            a control character.
    """
    digest = file_digest(path, cache)
    folder = cache / "tar"
    plain = path
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith(GZIP_MAGIC):
        plain = write_once(folder / f"{digest}.tar", lambda partial: _inflate(path, partial))
    for foreign, name in _FOREIGN.items():
        if magic.startswith(foreign):
            raise DataError(f"{path}: is {name}, not tar; give a plain tar or a .tar.gz")
    index = folder / f"{digest_of(_INDEX_FORMAT, digest)}.npz"
    write_once(index, lambda partial: _write_index(path, plain, partial))
    return TarIndex(plain, index, path)


def _inflate(path: Path, target: Path) -> None:
    with Inflated(path) as stream, target.open("wb") as out:
        while chunk := stream.read():
            out.write(chunk)


def _write_index(source: Path, plain: Path, target: Path) -> None:
    samples: dict[str, list[tuple[str, int, int]]] = {}
    with plain.open("rb") as file:
        for name, offset, size in _headers(source, file):
            key, extension = _split(source, name)
            members = samples.setdefault(key, [])
            if any(extension == other for other, _, _ in members):
                raise DataError(f"{source}: {name} occurs twice; repack the shard with distinct keys")
            members.append((extension, offset, size))
    if not samples:
        raise DataError(f"{source}: holds no samples; remove the empty shard or write it again")
    flat = [member for members in samples.values() for member in members]
    extensions = sorted({extension for extension, _, _ in flat})
    code = {extension: number for number, extension in enumerate(extensions)}
    with target.open("wb") as out:
        np.savez(
            out,
            keys=_pack(list(samples)),
            extensions=_pack(extensions),
            first=np.cumsum([0, *(len(members) for members in samples.values())], dtype=np.int64),
            code=np.array([code[extension] for extension, _, _ in flat], dtype=np.int32),
            offset=np.array([offset for _, offset, _ in flat], dtype=np.int64),
            size=np.array([size for _, _, size in flat], dtype=np.int64),
        )


def _pack(names: list[str]) -> np.ndarray:
    # Names with NUL are refused on reading, so it parts names without escaping.
    return np.frombuffer("\0".join(names).encode(), dtype=np.uint8)


def _unpack(packed: np.ndarray) -> list[str]:
    return packed.tobytes().decode().split("\0")


def _split(source: Path, name: str) -> tuple[str, str]:
    """Key and extension of a member's name, which is refused if it could reach outside a folder."""
    parts = [part for part in name.split("/") if part != "."]
    if name.startswith(("/", "\\")) or ".." in parts or (len(name) > 1 and name[1] == ":"):
        raise DataError(f"{source}: member {name!r} has an absolute path or '..' in it; repack the shard")
    base, dot, extension = parts[-1].partition(".")
    if not base or not dot or not extension:
        raise DataError(f"{source}: member {name!r} is not named KEY.EXTENSION; repack the shard without it")
    endings = extension.lower().split(".")
    if endings[-1] in PICKLED or (endings[-1] in _SQUEEZED and PICKLED.intersection(endings[-2:-1])):
        raise DataError(
            f"{source}: member {name!r} is pickled or code, which can run anything when read; "
            "repack the shard without it (arrays as .npy, metadata as .json)"
        )
    return "/".join([*parts[:-1], base]), extension.lower()


def _headers(source: Path, file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each regular file of the plain tar ``file``."""
    end = os.fstat(file.fileno()).st_size
    at = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    last = "its beginning"
    while True:
        file.seek(at)
        header = file.read(BLOCK)
        if not end:
            raise DataError(f"{source}: is empty (0 bytes); remove the empty shard or fetch it again")
        if len(header) == BLOCK and not any(header):
            _check_end(source, file)
            return
        if len(header) < BLOCK:
            raise DataError(
                f"{source}: cut short after {last}: the end-of-archive marker is missing; "
                "fetch or write it again"
            )
        name, size, kind = _parse_header(source, header, last)
        name = pax.get("path", long_name or name)
        if _CONTROL.search(name):
            raise DataError(
                f"{source}: member {name!r} has a control character in its name; repack the shard"
            )
        size = _pax_size(source, pax, last) if pax.get("size") else size
        data, at = at + BLOCK, at + BLOCK + -(-size // BLOCK) * BLOCK
        if data + size > end:
            raise DataError(
                f"{source}: cut short inside {name} ({max(end - data, 0):,} of {size:,} bytes); "
                "fetch or write it again"
            )
        if kind in b"LKxg":
            if size > _MAX_PAX:
                raise DataError(f"{source}: extended header of {size:,} bytes after {last}; repack the shard")
            body = file.read(size)
            if kind == b"L":
                long_name = _decoded(source, body.rstrip(b"\0"))
            elif kind == b"x":
                pax = _parse_pax(source, body, last)
            continue
        if kind in b"0\x007" and not name.endswith("/"):
            if any(key.startswith("GNU.sparse") for key in pax):
                raise DataError(f"{source}: {name} is a sparse file; repack the shard without --sparse")
            yield name, data, size
        elif kind not in b"50\x007":
            raise DataError(
                f"{source}: {name} is a link, device or special file (type {kind!r}); repack with plain files"
            )
        long_name, pax, last = None, {}, name


def _check_end(source: Path, file: IO[bytes]) -> None:
    while chunk := file.read(1 << 20):
        if chunk.count(0) != len(chunk):
            raise DataError(
                f"{source}: has data after its end-of-archive marker (tars joined with cat?); "
                "repack it as one tar"
            )


def _parse_header(source: Path, header: bytes, last: str) -> tuple[str, int, bytes]:
    try:
        found = _octal(header[148:156])
        if found != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            raise ValueError("checksum")
        field = header[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    except ValueError as error:
        raise DataError(
            f"{source}: not a tar, or damaged: no valid header after {last}; fetch or write it again"
        ) from error
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return _decoded(source, prefix + b"/" + name if prefix else name), size, header[156:157]


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    # int() alone would also take a sign, underscores and a prefix; a negative size would lead backwards.
    if not _OCTAL.fullmatch(digits):
        raise ValueError("not octal")
    return int(digits or b"0", 8)


def _pax_size(source: Path, pax: dict[str, str], last: str) -> int:
    size = pax["size"]
    if not (size.isascii() and size.isdigit() and len(size) <= _OFFSET_DIGITS):
        raise DataError(f"{source}: damaged pax header after {last} (size {size[:40]!r}); write it again")
    return int(size)


def _parse_pax(source: Path, body: bytes, last: str) -> dict[str, str]:
    records: dict[str, str] = {}
    body = body.rstrip(b"\0")
    at = 0
    while at < len(body):
        digits, space, _ = body[at : at + _PAX_DIGITS + 1].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        key, equals, value = body[at + len(digits) + 1 : at + length].partition(b"=")
        # The shortest record is "5 a=\n". A length of 0 would never end.
        if not 5 <= length <= len(body) - at or not equals or not value.endswith(b"\n"):
            raise DataError(f"{source}: damaged pax header after {last}; fetch or write it again")
        records[_decoded(source, key)] = _decoded(source, value[:-1])
        at += length
    return records


def _decoded(source: Path, name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: member name {name!r} is not UTF-8; repack the shard") from error
