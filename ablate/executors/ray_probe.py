"""Whether a Ray cluster answers: asked in a process of its own, as Ray aborts the one that asks in vain."""

import json
import os
import socket
import subprocess
import sys
from importlib import import_module
from typing import Any

from ablate.executors.environment import import_path

CONNECT_SECONDS = 4.0
"""Longest wait for a port to open."""
ANSWER_SECONDS = 15.0
"""Longest wait for a cluster to answer."""
_MARK = "ablate-ray-probe:"


class RayAddressError(ValueError):
    """There is no Ray cluster to run on; says what was tried and what to do."""


def check_address(address: str) -> None:
    """Return if a cluster answers at ``address``.

    Args:
        address: `auto` (the cluster of this machine, or the one RAY_ADDRESS names) or `HOST:PORT`.

    Raises:
        RayAddressError: it is no such address, nobody answers within `ANSWER_SECONDS`, or Ray refuses.
    """
    if address != "auto":
        _check_port(address)
    command = [sys.executable, "-m", __name__, address]
    quiet = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": import_path()}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_SECONDS, env=quiet, check=False
        )
    except subprocess.TimeoutExpired:
        raise RayAddressError(_silent(address, f"no answer within {ANSWER_SECONDS:.0f} s")) from None
    said = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    found = json.loads(said[-1]) if said else _last_line(done.stderr)
    if found:
        raise RayAddressError(_silent(address, found))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["Ray gave up without a word"])[-1]


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
