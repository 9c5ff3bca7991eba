"""Time of whole training steps under the framework."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ablate.data.mixture import Mixture
from ablate.model.fusion import FusedModel
from ablate.recipe.schema import ModelConfig, TrainConfig
from ablate.train.device import device_type
from ablate.train.fit import fit

WARM_UP = 3
"""Steps before the clock runs: they compile, allocate and draw the first orders."""
_QUEUED = 4
"""Further ones for each loader worker, who prepares 2 steps ahead while the first one compiles."""


@dataclass(frozen=True)
class StepBench:
    """What is timed."""

    layers: int = 6
    width: int = 384
    heads: int = 6
    context_length: int = 256
    vocabulary: int = 8192
    rows: int = 8
    steps: int = 12
    """Steps of one measurement."""
    rounds: int = 3
    """Measurements of each side, in turns."""
    threads: int = 1

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} is no multiple of twice {self.heads} heads; use "
                f"{2 * self.heads * max(1, round(self.width / (2 * self.heads)))}, or other heads"
            )

    @property
    def model(self) -> ModelConfig:
        """The backbone."""
        return ModelConfig(
            layers=self.layers, width=self.width, heads=self.heads, context_length=self.context_length
        )

    @property
    def positions(self) -> int:
        """Positions of a step."""
        return self.rows * self.context_length


def wait() -> None:
    """Return when the device has done all it was given."""
    if device_type() == "cuda":
        torch.cuda.synchronize()


def clock(data_workers: int = 0) -> Callable[[], float]:
    """What steps are timed by: the wall, or, where all the work is that of one thread of this process, its
    processor time, from which other processes of the machine take nothing."""
    if device_type() == "cpu" and torch.get_num_threads() == 1 and not data_workers:
        return time.process_time
    return time.monotonic


def steps_per_second(
    model: FusedModel,
    mixture: Mixture,
    config: TrainConfig,
    steps: int,
    *,
    media_loss: float = 0.0,
    flops_per_step: int = 1,
    now: Callable[[], float] | None = None,
) -> float:
    """Steps a second of `fit`, from the end of the last warm-up step to the end of the last step.

    ``model`` is trained in place; compiled code of it is used again by the next call. Nothing waits for
    the device but what training waits for itself, and the clock at its two ends.

    Args:
        now: read at these two ends; see `clock` for what is read if it is left out.
    """
    warm_up = WARM_UP + _QUEUED * config.data_workers
    now = now or clock(config.data_workers)
    with tempfile.TemporaryDirectory() as folder, _ends(warm_up, warm_up + steps, now) as seen:
        result = fit(
            model,
            mixture,
            config,
            steps=warm_up + steps,
            media_loss=media_loss,
            flops_per_step=flops_per_step,
            folder=Path(folder),
        )
    if result.diverged:
        raise ValueError(f"the model that was timed diverged: {result.diverged}")
    began, ended = seen
    return steps / (ended - began)


@contextmanager
def _ends(first: int, last: int, now: Callable[[], float]) -> Iterator[list[float]]:
    """Times at which the ``first`` and the ``last`` optimiser step of this process, from 1, have ended."""
    seen: list[float] = []
    done = 0

    def count(*_: Any) -> None:
        nonlocal done
        done += 1
        if done in (first, last):
            wait()
            seen.append(now())

    # At the optimiser, as loader workers ask for steps ahead of time and in other processes.
    handle = register_optimizer_step_post_hook(count)
    try:
        yield seen
    finally:
        handle.remove()
