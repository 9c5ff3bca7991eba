"""Where a run stands, told by its folder in the store alone.

`record.json` ends a run, `finished` or `diverged`. Without one, a lease that stands makes it `running`, a
`failure.json` `failed`, a checkpoint or a lease that nobody let go of `interrupted`; else it is `planned`.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ablate.record import RunRecord, read_record, write_record
from ablate.study.index import append_entries, entry_of
from ablate.study.lease import held, was_left
from ablate.study.liveness import this_process
from ablate.study.store import Store
from ablate.whole_file import write_whole

RunState = Literal["planned", "running", "interrupted", "finished", "failed", "diverged"]

FAILURE_FILE = "failure.json"
FAILURE_FORMAT = 1
_LONGEST = 20_000
"""Characters of an error that are kept, its end."""


@dataclass(frozen=True)
class Failure:
    """Why a run has no record."""

    error: str
    """The message, or a traceback."""
    when: str
    """In UTC, by the clock of the node."""
    host: str
    attempts: int
    """Times the run has failed since it last ended well."""


def run_state(folder: Path, now: float | None = None) -> RunState:
    """Where the run in ``folder`` stands; ``folder`` need not exist.

    Args:
        now: `ablate.study.liveness.file_time` of the store, to look at many folders at one time.

    Raises:
        RecordError: there is a record that cannot be read.
    """
    if (folder / "record.json").exists():
        return read_record(folder / "record.json").status
    return unended_state(folder, now)


def unended_state(folder: Path, now: float | None = None) -> RunState:
    """Where a run without a record stands."""
    try:
        names = set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return "planned"
    leased = was_left(folder)
    if leased and held(folder, now) is not None:
        return "running"
    if FAILURE_FILE in names:
        return "failed"
    return "interrupted" if leased or "checkpoint.ckpt" in names else "planned"


def keep_record(store: Store, record: RunRecord) -> None:
    """Write the record of a run that has ended, index it, and forget why the run failed before."""
    folder = store.folder(record.identity)
    path = folder / "record.json"
    write_record(record, path)
    append_entries(store.root, [entry_of(record, record.identity, path.stat())])
    (folder / FAILURE_FILE).unlink(missing_ok=True)


def write_failure(folder: Path, error: str) -> None:
    """Note why the run in ``folder`` has no record.

    A note that cannot be written, as on a full disk, is left out: the driver shows the error in any case.
    """
    before = read_failure(folder)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    failure = Failure(error[-_LONGEST:], now, this_process().host, before.attempts + 1 if before else 1)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        raw = {"failure_format": FAILURE_FORMAT, **asdict(failure)}
        write_whole(folder / FAILURE_FILE, json.dumps(raw, indent=1) + "\n")


def read_failure(folder: Path) -> Failure | None:
    """Why the run in ``folder`` has no record, if it failed. A note that is none says that much."""
    try:
        raw = json.loads((folder / FAILURE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict) or not isinstance(raw.get("error"), str):
        return Failure(f"{folder / FAILURE_FILE} cannot be read", "", "", 1)
    attempts = raw.get("attempts")
    return Failure(
        raw["error"],
        _said(raw, "when"),
        _said(raw, "host"),
        attempts if type(attempts) is int and attempts > 0 else 1,
    )


def _said(raw: dict[str, Any], key: str) -> str:
    return raw[key] if isinstance(raw.get(key), str) else ""
