"""One run as it is handed to a worker, and what a worker is to do with it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.recipe.schema import Recipe
from ablate.record import RunRecord

if TYPE_CHECKING:
    from ablate.train.callbacks import Progress  # which imports Lightning: seconds, in every worker


@dataclass(frozen=True)
class Job:
    """One run of a study, as handed to a worker process."""

    recipe: Recipe
    arm: str
    seed: int
    store: Path
    cache: Path
    threads: int
    identity: str
    """The identity that was planned: data that change while a study runs are refused."""

    @property
    def run_and_tasks(self) -> tuple[str, str]:
        """The run and what it is scored on. Studies share a run whatever their tasks, and no scores."""
        return self.identity, repr(self.recipe.tasks)


Report = Callable[["Progress"], None]
"""Called by a run about once a second with where it stands."""

Work = Callable[[Job, Report], RunRecord]
"""What a worker does with a job: a function or a frozen dataclass of a module, pickled by name."""


class BusyError(ValueError):
    """Raised by a `Work`: somebody else is at this run; says who. The schedule looks at it again later."""
