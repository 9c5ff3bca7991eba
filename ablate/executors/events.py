"""What is said of runs while they are under way."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ablate.executors.job import Job
from ablate.record import RunRecord

if TYPE_CHECKING:
    from ablate.train.callbacks import Progress  # which imports Lightning: seconds, in every worker


@dataclass(frozen=True)
class Started:
    """A run was given a process."""

    job: Job
    pid: int
    """Of the process on this machine; 0 where it is on another."""


@dataclass(frozen=True)
class Moved:
    """A run reports where it stands."""

    job: Job
    progress: "Progress"


@dataclass(frozen=True)
class Elsewhere:
    """Another driver is training this run. It ends here as `Finished`, or is taken over if that one dies."""

    job: Job
    holder: str


@dataclass(frozen=True)
class Lost:
    """The process or the node of a run is gone. What it had saved is kept."""

    job: Job
    how: str


@dataclass(frozen=True)
class Finished:
    """A run has its record."""

    job: Job
    record: RunRecord
    peak_bytes: int = 0
    """Most memory that its process held, of the device it trained on; 0 where that is unknown."""


@dataclass(frozen=True)
class Failed:
    """A run has no record: an error, or its process was lost too often. What it had saved is kept."""

    job: Job
    error: str
    """The message, or a traceback where the error is not one of ours."""
    attempts: int = 1


Event = Started | Moved | Elsewhere | Lost | Finished | Failed
