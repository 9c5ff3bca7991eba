"""Who trains a run: a lease in the run's folder, safe among processes of many nodes on a shared file system.

`lease.<n>.json` lies in a folder while somebody works there. A lease stands as long as its file is there and
there is none of the next number. It ends when its holder lets go, or when its next number is taken by another
because it was not renewed for as long as it says, or its process on this very host is gone. Numbers are taken
with link(2), which one of many processes gets, over NFS too; no file is ever moved or removed to take a
lease, so that nobody can remove the lease of somebody who was faster.

A flock would do for one node only.
"""

import contextlib
import errno
import math
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ablate.study.liveness import (
    BEATS,
    LEASE_SECONDS,
    Holder,
    Pulse,
    Sign,
    counted_from,
    file_time,
    read_sign,
    shown_text,
    sign_content,
    this_process,
)
from ablate.study.store import StoreError

_PROGRESS_SECONDS = 2.0
"""Least time between two renewals that progress asks for."""
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
"""What file systems say that know no second name of a file."""
_NAME = re.compile(r"lease\.([1-9][0-9]{0,8})\.json")


@dataclass(frozen=True)
class Held:
    """What a lease says to others."""

    host: str
    pid: int
    since: str
    """By the clock of the holder's node."""
    age: float
    """Seconds since the last sign of life, by the clock of the file system."""
    step: int
    steps: int
    """0 before training has begun."""
    loss: float | None
    seconds_left: float | None
    """Of training, as the holder expects."""


class LeasedError(StoreError):
    """Somebody else holds the lease of a folder."""

    def __init__(self, folder: Path, held: Held) -> None:
        super().__init__(folder, held)
        self.folder, self.held = folder, held

    def __str__(self) -> str:
        held = self.held
        return (
            f"{self.folder}: process {held.pid} on {held.host} works on this run since {held.since}, its "
            f"last sign of life {held.age:.0f} s ago; another takes it over once that process has ended or "
            f"is silent for {LEASE_SECONDS:.0f} s"
        )


class LeaseLostError(StoreError):
    """This process was silent for so long that another took its lease: it must write nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return (
            f"{self.folder}: the lease of this run was lost, as this process did not renew it in time (was "
            "it suspended?); another process may have taken the run over, so that nothing was written"
        )


def held(folder: Path, now: float | None = None) -> Held | None:
    """Who works on the run in ``folder``; None if nobody does, or whoever did has ended or fallen silent.

    Args:
        now: `ablate.study.liveness.file_time` of the store, to look at many folders at one time.
    """
    last = _last(folder)
    if last is None:
        return None
    now = file_time(folder) if now is None else now
    return None if last[1].has_ended(now) else _held(last[1], now)


def was_left(folder: Path) -> bool:
    """Whether there is a lease that nobody has let go of, its holder alive or not."""
    return bool(_numbers(folder))


def _held(sign: Sign, now: float) -> Held:
    raw = sign.raw
    return Held(
        host=sign.holder.host,
        pid=sign.holder.pid,
        since=shown_text(raw.get("since")) or "an unknown time",
        age=max(0.0, now - sign.renewed),
        step=_whole(raw.get("step")),
        steps=_whole(raw.get("steps")),
        loss=_finite(raw.get("loss")),
        seconds_left=_finite(raw.get("seconds_left")),
    )


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 62 else 0


def _finite(value: Any) -> float | None:
    return (
        float(value) if type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value) else None
    )


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))


def _path(folder: Path, number: int) -> Path:
    return folder / f"lease.{number}.json"


def _last(folder: Path) -> tuple[int, Sign] | None:
    """The lease of the highest number."""
    while numbers := _numbers(folder):
        number = numbers[-1]
        sign = read_sign(_path(folder, number))
        if sign is None:
            continue  # let go, or renewed under the next number, since the folder was listed
        # A network file system may list a folder as it was a while ago.
        while (later := read_sign(_path(folder, number + 1))) is not None:
            number, sign = number + 1, later
        return number, sign
    return None


class Lease:
    """A folder's lease, held; see `claim`."""

    def __init__(self, folder: Path, holder: Holder, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self._holder = holder
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._said: dict[str, Any] = {"step": 0, "steps": 0, "loss": None, "seconds_left": None}
        self._lock = threading.Lock()
        self._lost = False
        self._renewed = time.monotonic()
        self._number, self._token, self._file = 0, "", -1

    def progress(self, step: int, steps: int, loss: float | None, seconds_left: float | None) -> None:
        """Say where the run stands; others see it with the next renewal.

        Raises:
            LeaseLostError: the lease is known to be lost. `check` looks closer.
        """
        if self._lost:
            raise LeaseLostError(self.folder)
        self._said = {
            "step": step,
            "steps": steps,
            "loss": None if loss is None else _finite(loss),
            "seconds_left": None if seconds_left is None else _finite(seconds_left),
        }
        if time.monotonic() - self._renewed > min(_PROGRESS_SECONDS, self.seconds / BEATS):
            with contextlib.suppress(OSError):
                self.renew()

    def renew(self) -> None:
        """Give a sign of life, unless the lease is lost."""
        with self._lock:
            self._lost = self._lost or not self._stands()
            if self._lost or self._file < 0:
                return
            with contextlib.suppress(OSError):  # a full disk; the sign of life is the time
                os.pwrite(self._file, self._content(), 0)
            os.utime(self._file)
            self._renewed = time.monotonic()

    def check(self) -> None:
        """Renew the lease beyond doubt: called before something is written that only its holder may write.

        The lease takes its own next number, as another would: one of them gets it.

        Raises:
            LeaseLostError: another has it.
        """
        with self._lock:
            before = self._number
            if self._lost or not self._take(before + 1, after=(before, self._token)):
                self._lost = True
                raise LeaseLostError(self.folder)
            _path(self.folder, before).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go; what another has taken meanwhile is left alone."""
        with self._lock, contextlib.suppress(OSError):  # left behind, it ends by itself
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            if not self._lost and self._stands():
                for number in _numbers(self.folder):
                    if number <= self._number:
                        _path(self.folder, number).unlink(missing_ok=True)
        self._lost = True

    def acquire(self) -> None:
        """Take the lease.

        Raises:
            LeasedError: somebody else holds it.
        """
        while True:
            last = _last(self.folder)
            if last is not None:
                now = file_time(self.folder)
                sign = counted_from(_path(self.folder, last[0]), last[1], now)
                if not sign.has_ended(now):
                    raise LeasedError(self.folder, _held(sign, now))
            after = (last[0], last[1].token) if last else None
            if self._take(last[0] + 1 if last else 1, after):
                # Its holder may wake: what it would follow on is gone, though numbers after it become free.
                for number in _numbers(self.folder):
                    if number < self._number:
                        _path(self.folder, number).unlink(missing_ok=True)
                return

    def _stands(self) -> bool:
        own = read_sign(_path(self.folder, self._number))
        if own is None or own.token != self._token:
            return False
        return read_sign(_path(self.folder, self._number + 1)) is None

    def _take(self, number: int, after: tuple[int, str] | None) -> bool:
        """Take a number that follows a certain lease, or none; whether this process got it."""
        token = secrets.token_hex(8)
        partial, path = self.folder / f".lease-{token}.partial", _path(self.folder, number)
        try:
            partial.write_bytes(self._content(token))
            if not _link(partial, path):
                return False
        finally:
            partial.unlink(missing_ok=True)
        if not self._follows(number, after):
            path.unlink(missing_ok=True)
            return False
        if self._file >= 0:
            os.close(self._file)
        self._number, self._token, self._file = number, token, os.open(path, os.O_RDWR)
        self._renewed = time.monotonic()
        return True

    def _follows(self, number: int, after: tuple[int, str] | None) -> bool:
        """Whether the lease that was looked at is still the last before ``number``.

        It may have been let go of, and another begun, while this process was suspended.
        """
        if after is None:
            return _numbers(self.folder)[-1:] == [number]
        last = read_sign(_path(self.folder, after[0]))
        return last is not None and last.token == after[1]

    def _content(self, token: str = "") -> bytes:
        said = {"since": self._since, **self._said}
        return sign_content(token or self._token, self._holder, self.seconds, said)


def _link(partial: Path, path: Path) -> bool:
    """Give ``partial`` the name ``path`` as well, unless that is taken; whether it was given."""
    try:
        os.link(partial, path)
    except FileExistsError:
        # NFS may say so of its own work, done again after an answer was lost.
        return os.stat(partial).st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with path.open("xb") as file:
                file.write(partial.read_bytes())
        except FileExistsError:
            return False
    return True


@contextmanager
def claim(folder: Path, holder: Holder | None = None, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
    """Hold the lease of ``folder`` and renew it from a thread, until the block ends.

    Args:
        folder: an existing folder.
        holder: this process if left out.
        seconds: how long the lease stands without a sign of life.

    Raises:
        LeasedError: somebody else holds it.
    """
    lease = Lease(folder, holder or this_process(), seconds)
    lease.acquire()
    pulse = Pulse(lease.renew, seconds / BEATS)
    try:
        yield lease
    finally:
        pulse.stop()
        lease.release()
