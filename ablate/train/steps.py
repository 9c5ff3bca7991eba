"""The data module: step numbers in, prepared steps out, in order, from wherever the run stands."""

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ablate.data.mixture import Mixture, Step, to_device


class StepDataset(Dataset[Step]):
    """Step number to that step's rows: a pure function, so workers and restarts can't change it."""

    def __init__(self, mixture: Mixture, steps: int, rank: int, ranks: int) -> None:
        self.mixture = mixture
        self.steps = steps
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Step:
        return self.mixture.step(number, self.rank, self.ranks)


class RemainingSteps(Sampler[int]):
    """The step numbers still to run. Its length is that of the whole run, as Lightning counts batches."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.first = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.steps))


class StepLoader(DataLoader[Step]):
    """A loader that resumes where the run stands, not where prefetching had got to."""

    def __init__(self, dataset: StepDataset, workers: int, completed: Callable[[], int]) -> None:
        self._completed = completed
        super().__init__(
            dataset,
            batch_size=None,
            sampler=RemainingSteps(len(dataset)),
            num_workers=workers,
            persistent_workers=False,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"completed": self._completed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert isinstance(self.sampler, RemainingSteps)
        self.sampler.first = int(state["completed"])


class StepData(L.LightningDataModule):
    """The rows of one arm and seed."""

    def __init__(self, mixture: Mixture, steps: int, workers: int, completed: Callable[[], int]) -> None:
        super().__init__()
        self.mixture = mixture
        self.steps = steps
        self.workers = workers
        self.completed = completed

    def train_dataloader(self) -> StepLoader:
        trainer = self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        return StepLoader(StepDataset(self.mixture, self.steps, rank, ranks), self.workers, self.completed)

    def transfer_batch_to_device(self, batch: Step, device: torch.device, dataloader_idx: int) -> Step:
        moved = [to_device(item, device) for item in batch.microbatches]
        return Step(batch.number, moved, batch.counts, batch.row_digests, batch.skips)
