"""The record store: one folder per run identity, shared by all studies.

STORE/ab/abcdef.../record.json   the record, written last: a run with a record is finished
                  /items-<tasks>.parquet  item-level scores, by `tasks_digest`
                  /model/         the checkpoint as a Hugging Face folder
                  /checkpoint.ckpt  while the run is under way
                  /lease.1.json   while somebody trains it (`ablate.study.lease`)
                  /failure.json   why it failed, if it did (`ablate.study.states`)
     /index/        what the records say, in short (`ablate.study.index`)
     /plans/        what was planned, study by study (`ablate.study.plans`)
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ablate.record import RunRecord, read_record, write_record
from ablate.whole_file import write_whole

_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class StoreError(ValueError):
    """A store or results folder that cannot be written; names it and says what to do."""


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that may not be written, into a StoreError that names ``folder``.

    safetensors and Arrow raise errors of their own kind, known by their text only.
    """
    try:
        yield
    except ValueError:
        raise  # one of ours, which names its folder
    except Exception as error:
        if _is_full(error):
            raise StoreError(
                f"{folder}: the disk is full; free some space there, then run the same command again: "
                "finished runs are kept, and unfinished ones go on from their last checkpoint"
            ) from error
        if _is_refused(error, folder):
            raise StoreError(
                f"{folder}: cannot be written ({os.strerror(getattr(error, 'errno', 0))}); make it writable "
                "or name another folder"
            ) from error
        raise


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) in _FULL or any(said in str(error) for said in _FULL.values())


def _is_refused(error: Exception, folder: Path) -> bool:
    """Whether the system refused to write in ``folder``, and not elsewhere."""
    name = getattr(error, "filename", None)
    if getattr(error, "errno", None) not in _READ_ONLY or not isinstance(name, str):
        return False
    place, above = Path(name).absolute(), folder.absolute()
    return place.is_relative_to(above) or above.is_relative_to(place)


def tasks_digest(data_digests: Mapping[str, str]) -> str:
    """One digest of the `task/...` digests among ``data_digests``, 16 hexadecimal digits."""
    tasks = sorted(item for item in data_digests.items() if item[0].startswith("task/"))
    return hashlib.blake2b(json.dumps(tasks).encode(), digest_size=8).hexdigest()


class Store:
    """Finished and unfinished runs by identity."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, identity: str) -> Path:
        """Where the run lies, whether or not it exists."""
        return self.root / identity[:2] / identity

    def record(self, identity: str) -> RunRecord | None:
        """The record of a run that has ended, or None.

        Raises:
            RecordError: there is a record that cannot be read.
        """
        path = self.folder(identity) / "record.json"
        return read_record(path) if path.exists() else None

    def items(self, identity: str, data_digests: Mapping[str, str]) -> Path:
        """Where item scores of a run lie, whether or not they exist: those of other tasks are other files, so
        that a record and its items agree whenever whoever scores a run again is killed."""
        return self.folder(identity) / f"items-{tasks_digest(data_digests)}.parquet"

    def publish(self, record: RunRecord, results: Path) -> None:
        """Copy a finished run's record and item scores into a study's results folder."""
        name = run_name(record)
        for room in ("records", "items"):
            (results / room).mkdir(parents=True, exist_ok=True)
        write_record(record, results / "records" / f"{name}.json")
        items = self.items(record.identity, record.data_digests)
        if not items.exists():  # a store of before tasks had files of their own
            items = items.with_name("items.parquet")
        if items.exists():
            write_whole(results / "items" / f"{name}.parquet", items.read_bytes())


def run_name(record: RunRecord) -> str:
    """What the files of a run are called in a study's results folder."""
    return f"{record.arm}-seed{record.seed}"
