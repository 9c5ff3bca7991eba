"""The body of a worker, whichever executor started it: a job in, the event that ends it out."""

import os
import resource
import sys
import traceback
from pathlib import Path

from ablate.executors.events import Elsewhere, Failed, Finished
from ablate.executors.job import BusyError, Job, Report, Work

_SHARED = ("RssFile:", "RssShmem:")
CUDA_CONTEXT = 600 << 20
"""Bytes of a GPU that a process holds beside what PyTorch reserves, about: the context and loaded kernels."""


def attempt(work: Work, job: Job, report: Report) -> Finished | Failed | Elsewhere:
    """Do ``work``; whatever it raises becomes an event.

    Raises:
        BrokenPipeError: ``report`` found its driver gone; there is nobody to tell.
    """
    try:
        record = work(job, report)
    except BrokenPipeError:
        raise
    except BusyError as error:
        return Elsewhere(job, str(error))
    except Exception as error:
        return Failed(job, explain(error))
    return Finished(job, record, peak_bytes())


def explain(error: Exception) -> str:
    """One message for errors that are expected; a traceback for others, or if ABLATE_TRACEBACK is set."""
    if os.environ.get("ABLATE_TRACEBACK"):
        return traceback.format_exc()
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's is no MemoryError
        return (
            f"out of memory ({str(error).splitlines()[0] if str(error) else 'no more is free'}); "
            "run fewer at a time (--slots) or make train.microbatch_rows smaller"
        )
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return str(error) if isinstance(error, ValueError) else traceback.format_exc()


def peak_bytes() -> int:
    """Most memory that this process had for itself so far: of the GPU if it used one, else of the machine."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_reserved()) + CUDA_CONTEXT
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return max(0, most - _file_bytes())


def _file_bytes() -> int:
    """Bytes of libraries and mapped data, which processes share; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * sum(
            int(line.split()[1]) for line in lines if line.startswith(("RssFile:", "RssShmem:"))
        )
    except (OSError, ValueError, IndexError):
        return 0
