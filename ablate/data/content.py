"""Files by their content: digests, bounded inflation, and a cache that is built once.

Everything derived from data lies in the cache under a digest of the contents it was derived from, so
moving or renaming a file changes nothing and editing one byte changes everything.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import filelock

from ablate.data.errors import DataError

MAX_RATIO = 200
"""Most bytes that one compressed byte may become."""
FREE_BYTES = 64 << 20
"""Inflated size below which the ratio is not checked: small files of zeros compress without limit."""
MAX_INFLATED = 256 << 30
"""Most bytes that one compressed file may become."""

CHUNK = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
# git calls this racily clean: a file changed within one tick of the clock keeps its mtime.
_SETTLED_SECONDS = 2.0


def expand_paths(patterns: Sequence[str]) -> list[Path]:
    """The files that ``patterns`` (paths or globs, `**` for any depth) match, sorted, each once.

    Raises:
        DataError: a pattern is a `pipe:` or another address, or matches no file.
    """
    found: dict[Path, Path] = {}
    for pattern in patterns:
        address = re.match(r"\s*(pipe:|[\w+.-]+://)", pattern)
        if address:
            raise DataError(
                f"{pattern!r}: {address[1]} addresses are neither run nor fetched; "
                "give the path of a file on this machine"
            )
        matches = [Path(pattern)] if Path(pattern).is_file() else _globbed(pattern)
        if not matches:
            hint = "; braces are not expanded, use * or ?" if "{" in pattern else ""
            raise DataError(
                f"{pattern!r} matches no file (looked from {Path.cwd()}); check the path and data_root{hint}"
            )
        for path in matches:
            found.setdefault(path.resolve(), path)
    return sorted(found.values())


def _globbed(pattern: str) -> list[Path]:
    return [Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)]


def file_digest(path: Path, cache: Path) -> str:
    """BLAKE2b of the file's content, 32 hex digits, remembered by path, size and time of change.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        status = path.stat()
        name = str(path.resolve())
        seen = [name, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    memo = cache / "digests" / f"{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        held = json.loads(memo.read_text(encoding="utf-8"))
        if held["seen"] == seen:
            return str(held["digest"])
    digest = hash_file(path)
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
        text = json.dumps({"seen": seen, "digest": digest})
        write_once(memo, lambda partial: partial.write_text(text, encoding="utf-8"), replace=True)
    return digest


def hash_file(path: Path) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return hasher.hexdigest()


def content_digest(paths: Sequence[Path], cache: Path) -> str:
    """Digest of the contents of ``paths``, 32 hex digits, whatever their names, folders and order.

    Raises:
        DataError: a file cannot be read.
    """
    return digest_of("content", *sorted(file_digest(path, cache) for path in paths))


def by_content(paths: Sequence[Path], cache: Path) -> list[Path]:
    """``paths`` in the order of their content digests: the one order that no folder name can change."""
    return sorted(paths, key=lambda path: file_digest(path, cache))


def digest_of(*parts: str) -> str:
    """BLAKE2b of ``parts``, 32 hex digits; no two lists of parts share one by concatenation."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def write_once(target: Path, build: Callable[[Path], object], *, replace: bool = False) -> Path:
    """Let ``build`` write ``target``, unless it is there; one process builds and the others wait for it.

    ``build`` is given a temporary path to make a file or a folder at. It is renamed when ``build``
    returns and removed when it fails, so a target that exists is whole.

    Raises:
        DataError: the disk is full, or the cache cannot be written.
    """
    if target.exists() and not replace:
        return target
    with cache_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(target.with_name(f".{target.name}.lock"))):
            if target.exists() and not replace:
                return target
            # Only the holder of the lock uses this name: what lies there was left by a killed process.
            partial = target.with_name(f".{target.name}.partial")
            _remove(partial)
            try:
                build(partial)
                partial.replace(target)
            except BaseException:
                _remove(partial)
                raise
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a closed folder into a DataError that names ``folder``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DataError(
                f"{folder}: the disk is full ({error.strerror}); free some space there or choose another "
                "cache folder, then run again: what was finished is kept"
            ) from error
        if error.errno in _CLOSED:
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); choose another cache folder"
            ) from error
        raise


class Inflated:
    """A file's bytes, inflated if it is gzip or zstd (told by its first bytes), read from start to end.

    Reading raises DataError when the compressed stream is damaged or cut short, or when it grows beyond
    `MAX_RATIO` times its compressed size (from `FREE_BYTES` on) or beyond ``limit`` bytes.
    """

    def __init__(self, path: Path, limit: int = MAX_INFLATED) -> None:
        self.path = path
        self._taken = 0
        try:
            with path.open("rb") as file:
                magic = file.read(4)
            self.compressed = magic.startswith((GZIP_MAGIC, ZSTD_MAGIC))
            self._limit = min(limit, max(FREE_BYTES, MAX_RATIO * path.stat().st_size))
            self._stream = _open_stream(path, magic)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error

    def __enter__(self) -> "Inflated":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes, at most ``size``; empty at the end."""
        return self._checked(lambda: self._stream.read(size))

    def readline(self, size: int) -> bytes:
        """The next line with its line feed, cut after ``size`` bytes; empty at the end."""
        return self._checked(lambda: self._stream.readline(size))

    def _checked(self, read: Callable[[], bytes]) -> bytes:
        try:
            data = read()
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self.path}: the compressed data is damaged or cut short ({error}); fetch it again"
            ) from error
        self._taken += len(data)
        if self.compressed and self._taken > self._limit:
            raise DataError(
                f"{self.path}: inflates to more than {self._limit:,} bytes ({MAX_RATIO} times its size is "
                "allowed), as a decompression bomb does; inflate it yourself if you trust it"
            )
        return data


def _open_stream(path: Path, magic: bytes) -> IO[bytes]:
    if magic.startswith(GZIP_MAGIC):
        import gzip

        return cast(IO[bytes], gzip.open(path, "rb"))
    if magic.startswith(ZSTD_MAGIC):
        import io

        # Arrow's reader notices a cut frame and reads on across frames; zstandard's does only the latter.
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"), CHUNK)
    return path.open("rb")
