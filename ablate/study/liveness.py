"""Which processes are alive, on this node and on others, as files on a shared file system tell it.

Ages are told by the clock of the file system, which all nodes share: what the clocks of nodes say is shown
and never compared.
"""

import contextlib
import dataclasses
import json
import os
import platform
import secrets
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEASE_SECONDS = 60.0
"""How long a process counts as alive without a sign of life."""
BEATS = 6
"""Signs of life within that time."""
_BYTES = 1024


@dataclass(frozen=True)
class Holder:
    """A process, told apart from any other of this or another node, of this or another time."""

    host: str
    pid: int
    boot: str
    """Which start of the node's kernel, and which namespace ``pid`` counts in; empty where unknown."""
    born: int
    """When the process started, in ticks since the node did; 0 where unknown."""


def this_process() -> Holder:
    """The process that asks."""
    return Holder((platform.node() or "unknown")[:60], os.getpid(), _boot(), max(0, _born(os.getpid()) or 0))


def _boot() -> str:
    """Which kernel, and which process namespace of it; empty where the system does not say (not Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> int | None:
    """When a process started, in ticks since its node did; -1 if it has ended, None if unreadable."""
    try:
        words = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return -1 if words[0] in "ZX" else int(words[19])  # a dead process stays until its parent looks
    except (OSError, ValueError, IndexError):
        return None


def is_gone(holder: Holder) -> bool:
    """Whether ``holder`` ran on this node, in this namespace, and has ended; of others nobody can tell."""
    if not holder.boot or holder.boot != _boot() or not 0 < holder.pid < 1 << 31:
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it is somebody else's
    born = _born(holder.pid)
    return born is not None and born != holder.born


def file_time(folder: Path) -> float:
    """Seconds since the epoch, by the clock of the file system that ``folder`` lies on.

    Where nothing can be written, by the clock of this node: nothing is taken over there either.
    """
    probe = folder / f".clock-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError:
        return time.time()
    try:
        os.utime(descriptor)
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


@dataclass(frozen=True)
class Sign:
    """What a file says of the process that keeps renewing it."""

    token: str
    """Of the file: no two have the same."""
    holder: Holder
    seconds: float
    """How long the process counts as alive without renewing it."""
    renewed: float
    """By the clock of the file system."""
    raw: dict[str, Any] = field(repr=False)

    def has_ended(self, now: float) -> bool:
        """Whether the process has ended or fallen silent at the time ``now`` of the file system."""
        # A sign from the future is none that this file system has renewed.
        return abs(now - self.renewed) > self.seconds or is_gone(self.holder)


def counted_from(path: Path, sign: Sign, now: float) -> Sign:
    """``sign`` of the file ``path``; one from the future counts from ``now`` on.

    The clock of the file system was set back. Its process may live, and will renew it; if it does not, the
    sign ends as any other does, for it is given the time of the file system here.
    """
    if sign.renewed - now <= sign.seconds or is_gone(sign.holder):
        return sign
    with contextlib.suppress(OSError):
        os.utime(path)
    return dataclasses.replace(sign, renewed=now)


def read_sign(path: Path) -> Sign | None:
    """The sign in ``path``, or None if there is none.

    One that cannot be understood is somebody's all the same.
    """
    try:
        # Opened, not only looked at: a network file system then asks its server.
        with path.open("rb") as file:
            renewed, content = os.fstat(file.fileno()).st_mtime, file.read(_BYTES)
    except FileNotFoundError:
        return None
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        raw = {}
    if not isinstance(raw, dict):
        raw = {}
    pid, born = (
        value if type(value) is int and value >= 0 else 0 for value in (raw.get("pid"), raw.get("born"))
    )
    holder = Holder(shown_text(raw.get("host")) or "an unknown host", pid, shown_text(raw.get("boot")), born)
    seconds = raw.get("seconds")
    stands = float(seconds) if isinstance(seconds, int | float) and 0 < seconds <= 3600 else LEASE_SECONDS
    return Sign(shown_text(raw.get("token")), holder, stands, renewed, raw)


def sign_content(token: str, holder: Holder, seconds: float, said: dict[str, Any]) -> bytes:
    """The bytes of a sign, always as many: it is renewed in place, which needs no space on a full disk."""
    raw = {"token": token, "seconds": seconds, **dataclasses.asdict(holder), **said}
    return json.dumps(raw, allow_nan=False).encode().ljust(_BYTES)


def shown_text(value: Any) -> str:
    """Text of a store, without what a terminal would obey; empty for anything else."""
    return (
        "".join(letter if letter.isprintable() else "\ufffd" for letter in value[:200])
        if type(value) is str
        else ""
    )


class Pulse:
    """A thread that calls ``beat`` every ``seconds`` until it is stopped."""

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(beat, seconds), name="pulse", daemon=True)
        self._thread.start()

    def _run(self, beat: Callable[[], None], seconds: float) -> None:
        # Signals are the main thread's.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._stopped.wait(seconds):
            with contextlib.suppress(
                OSError
            ):  # of a network file system that is away: it may be back in time
                beat()

    def stop(self) -> None:
        """End the thread; no call is under way when this returns."""
        self._stopped.set()
        self._thread.join()
