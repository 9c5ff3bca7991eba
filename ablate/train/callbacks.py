"""What happens beside training: checkpoints and progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L

from ablate.train.averaging import WeightAverage
from ablate.train.module import PairedModule


class Averaging(L.Callback):
    """Takes the weights of every step that belongs into an average; its state travels in the checkpoint."""

    def __init__(self, average: WeightAverage, name: str = "average") -> None:
        self.average = average
        self.name = name

    @property
    def state_key(self) -> str:
        return f"Averaging {self.name}"

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PairedModule)
        self.average.enter(pl_module.model, pl_module.account.steps)

    def state_dict(self) -> dict[str, Any]:
        return self.average.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average.load_state_dict(state_dict)


class Checkpoint(L.Callback):
    """Saves the state of the run every so often; a reader sees a whole checkpoint or the one before.

    Where there are several ranks the clock of the first decides, and all save at the same step.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self.path = path
        self.every = every_seconds
        self.last = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PairedModule)
        pl_module.wants_to_save = trainer.is_global_zero and time.monotonic() - self.last >= self.every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PairedModule)
        # The last step is saved in any case: scoring may fail where training did not.
        if not pl_module.all_save and pl_module.account.steps < pl_module.steps:
            return
        partial = self.path.with_name(f".{self.path.name}.partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.path)
        self.last = time.monotonic()


@dataclass(frozen=True)
class Progress:
    """Where a running run stands."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


class ReportProgress(L.Callback):
    """Calls back about once a second."""

    def __init__(self, report: Callable[[Progress], None], every_seconds: float = 1.0) -> None:
        self.report = report
        self.every = every_seconds
        self.last = 0.0
        self.began = time.monotonic()
        self.first: int | None = None
        self.positions = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, PairedModule)
        account = pl_module.account
        if self.first is None:
            self.first, self.positions = account.steps - 1, account.counts.positions
            self.began = time.monotonic()
        now = time.monotonic()
        if now - self.last < self.every and account.steps != pl_module.steps:
            return
        self.last = now
        seconds = max(now - self.began, 1e-9)
        done = max(account.steps - self.first - 1, 1)
        self.report(
            Progress(
                account.steps,
                pl_module.steps,
                account.curve[-1].loss if account.curve else float("nan"),
                (account.counts.positions - self.positions) / seconds,
                (pl_module.steps - account.steps) * seconds / done,
            )
        )
