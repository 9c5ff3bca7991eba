"""What the records of a store say, without reading them: `STORE/index/<node>.jsonl`.

One line per record: identity, status, digest of the tasks it was scored on, FLOPs charged, seconds of
training, and time and size of `record.json`. The record is the truth: a line counts as long as time and size
agree. One that is missing, torn or out of date is replaced by reading the record, so that an index that is
lost costs one slow pass over the store and nothing else. Each node appends to a file of its own.
"""

import contextlib
import gc
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ablate.record import RunRecord, read_record
from ablate.study.liveness import this_process
from ablate.study.store import tasks_digest

MOST_FILES = 64
"""More files than these are written into one."""
_HEALED_AT_A_TIME = 1000


@contextmanager
def many_tuples() -> Iterator[None]:
    """Pause the collector of cycles: it would walk what is read here again and again, and none is a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Entry(NamedTuple):
    """What the index says of one record."""

    identity: str
    status: str
    """`finished` or `diverged`."""
    tasks: str
    """`tasks_digest` of what it was scored on."""
    flops: int
    """Training FLOPs charged."""
    seconds: float
    """Of training."""
    modified: int
    """Of `record.json`, in nanoseconds."""
    size: int
    """Of `record.json`, in bytes."""

    def is_scored(self, tasks: str) -> bool:
        """Whether the run was scored on ``tasks``, or has nothing to score."""
        return self.status == "diverged" or self.tasks == tasks


_KINDS = (str, str, str, int, float, int, int)
_STATUSES = ("finished", "diverged")


def entry_of(record: RunRecord, identity: str, found: os.stat_result) -> Entry:
    """The line of a record that lies under ``identity`` as a file of ``found``."""
    return Entry(
        identity,
        record.status,
        tasks_digest(record.data_digests),
        record.spent.total_flops,
        float(record.spent.wall_seconds),
        found.st_mtime_ns,
        found.st_size,
    )


def append_entries(root: Path, entries: Iterable[Entry]) -> None:
    """Append to this node's file.

    What cannot be written, as on a full disk, is found again by reading records.
    """
    lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
    with contextlib.suppress(OSError):
        (root / "index").mkdir(parents=True, exist_ok=True)
        file = os.open(root / "index" / f"{_node()}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
        try:
            os.write(file, lines)  # at once: lines of two processes do not mix
        finally:
            os.close(file)


def _node() -> str:
    """This node since its start, as part of a file's name."""
    process = this_process()
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', process.host)[:60]}-{process.boot[:8] or 'any'}"


class Index:
    """The index of a store, in memory; about 400 bytes per record."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._records = str(root)
        self._entries: dict[str, Entry] = {}
        self._read: dict[str, int] = {}
        self._lines = 0
        self._found: list[Entry] = []
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since the last time; a file that was replaced by a shorter one, whole."""
        try:
            files = sorted(path for path in (self.root / "index").iterdir() if path.suffix == ".jsonl")
        except (FileNotFoundError, NotADirectoryError):
            return
        for path in files:
            begin = self._read.get(path.name, 0)
            with contextlib.suppress(OSError), path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < begin:
                    begin = 0
                file.seek(begin)
                content = file.read()
                whole = content.rfind(b"\n") + 1  # a line that is being written is read the next time
                with many_tuples():
                    self._add(content[:whole])
                self._read[path.name] = begin + whole
        if len(files) > MOST_FILES or self._lines > 2 * len(self._entries) + 1000:
            self._compact(files)

    def entry(self, identity: str) -> Entry | None:
        """What is known of a run that has ended, or None if it has not.

        Raises:
            RecordError: there is a record that cannot be read.
        """
        path = f"{self._records}/{identity[:2]}/{identity}/record.json"
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        entry = self._entries.get(identity)
        if entry is not None and entry.modified == found.st_mtime_ns and entry.size == found.st_size:
            return entry
        entry = entry_of(read_record(Path(path)), identity, found)
        self._entries[identity] = entry
        self._found.append(entry)
        if len(self._found) >= _HEALED_AT_A_TIME:
            self.flush()
        return entry

    def flush(self) -> None:
        """Write down what was found by reading records."""
        if self._found:
            append_entries(self.root, self._found)
            self._found = []

    def _add(self, content: bytes) -> None:
        for row in _rows(content):
            if type(row) is not list or tuple(map(type, row)) != _KINDS or row[1] not in _STATUSES:
                continue
            entry = Entry._make(row)
            self._lines += 1
            known = self._entries.get(entry.identity)
            if known is None or known.modified <= entry.modified:
                self._entries[entry.identity] = entry

    def _compact(self, files: list[Path]) -> None:
        """Write all lines into one new file and remove the others, unless they have grown meanwhile.

        A line that is lost on the way is found again.
        """
        folder = self.root / "index"
        name = f"{_node()}-{secrets.token_hex(4)}.jsonl"
        partial = folder / f".{name}.partial"
        try:
            with partial.open("w", encoding="ascii") as out:
                for entry in self._entries.values():
                    out.write(json.dumps(entry, separators=(",", ":")) + "\n")
            size = partial.stat().st_size
            partial.replace(folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            return
        for path in files:
            with contextlib.suppress(OSError):
                if path.stat().st_size == self._read.pop(path.name, -1):
                    path.unlink()
        self._read[name] = size
        self._lines = len(self._entries)


def _rows(content: bytes) -> list[Any]:
    """The rows of JSON lines; a line that is none is left out."""
    lines = content.splitlines()
    try:
        rows: list[Any] = json.loads(b"[" + b",".join(lines) + b"]")
        return rows
    except (ValueError, RecursionError):
        pass
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return rows
