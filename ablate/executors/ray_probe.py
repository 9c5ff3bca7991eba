"""Whether a Ray cluster answers: asked in a process of its own, as Ray aborts the one that asks in vain."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ablate.executors.environment import import_path

CONNECT_SECONDS = 4.0
"""Longest wait for a port to open."""
ANSWER_SECONDS = 15.0
"""Longest wait for a cluster to answer."""
AUTH_MODE = "RAY_AUTH_MODE"
"""Whether Ray sends a token: `token` or `disabled`."""
_MARK = "ablate-ray-probe:"


class RayAddressError(ValueError):
    """There is no Ray cluster to run on; says what was tried and what to do."""


def check_address(address: str) -> dict[str, str]:
    """What has to be set in the environment for the cluster at ``address`` to answer; nothing for most.

    A cluster that was started where Ray keeps a token wants it from everybody, and a driver that names its
    address sends none unless it is told to (Ray 2.60). Both ways are tried at a time.

    Args:
        address: `auto` (the cluster of this machine, or the one RAY_ADDRESS names) or `HOST:PORT`.

    Raises:
        RayAddressError: it is no such address, nobody answers within `ANSWER_SECONDS`, or Ray refuses.
    """
    if address != "auto":
        _check_port(address)
    ways: list[dict[str, str]] = [{}] if AUTH_MODE in os.environ else [{}, {AUTH_MODE: "token"}]
    with TemporaryDirectory() as folder:
        asked = [(way, _Asked(address, way, Path(folder) / str(at))) for at, way in enumerate(ways)]
        try:
            end = time.monotonic() + ANSWER_SECONDS
            while time.monotonic() < end and any(one.runs() for _, one in asked):
                for way, one in asked:
                    if one.answered() == "":
                        return way
                time.sleep(0.05)
            for way, one in asked:
                if one.answered() == "":
                    return way
            raise RayAddressError(_silent(address, asked[0][1].why()))
        finally:
            for _, one in asked:
                one.end()


class _Asked:
    """A process that asks a cluster."""

    def __init__(self, address: str, environment: dict[str, str], said: Path) -> None:
        quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": import_path(), **environment}
        self.said = said
        with said.open("wb") as out:
            command = [sys.executable, "-m", __name__, address]
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=quiet)

    def runs(self) -> bool:
        return self.process.poll() is None

    def answered(self) -> str | None:
        """What is wrong with the cluster, empty if nothing is; None while nothing was said."""
        lines = self._lines()
        marked = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
        return str(json.loads(marked[-1])) if marked and not self.runs() else None

    def why(self) -> str:
        """Why the cluster cannot be used."""
        lines = self._lines()
        if any("InvalidAuthToken" in line for line in lines):
            return (
                "it wants a token that this machine lacks: copy ~/.ray/auth_token from the node that started "
                f"it, or start it with {AUTH_MODE}=disabled"
            )
        if self.runs():
            return f"no answer within {ANSWER_SECONDS:.0f} s"
        return self.answered() or (lines or ["Ray gave up without a word"])[-1]

    def _lines(self) -> list[str]:
        return self.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def _check_port(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536 or "//" in address:
        raise RayAddressError(
            f"--ray-address {address!r}: expected local, auto or HOST:PORT, such as 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise RayAddressError(_silent(address, error.strerror or str(error))) from None


def _silent(address: str, why: str) -> str:
    return (
        f"--ray-address {address}: no Ray cluster answers ({why}); start it with `ray start --head`, join "
        "this machine to it and give the HOST:PORT it prints, or use --ray-address local"
    )


def _ask(address: str) -> str:
    """What is wrong with the cluster at ``address``; empty if it can be used."""
    ray: Any = import_module("ray")
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        ray.shutdown()
    except Exception as error:
        return str(error).splitlines()[0]
    return ""


if __name__ == "__main__":
    print(f"{_MARK}{json.dumps(_ask(sys.argv[1]))}", flush=True)
