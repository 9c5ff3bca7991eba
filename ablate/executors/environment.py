"""What a worker process finds in its environment, whichever executor starts it."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""Folder that holds the packages `ablate` and `encoders`: workers import them from there."""
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def thread_variables(count: int) -> dict[str, str]:
    """Thread counts that numerical libraries read when a process imports them."""
    return {name: str(count) for name in _THREADS}


def import_path() -> str:
    """`PYTHONPATH` of a worker: the driver's checkout, then what the driver has."""
    return os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH", "")])])
