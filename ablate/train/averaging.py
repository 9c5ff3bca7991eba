"""Averages of the weights of the last steps, scored and saved in the place of the last weights.

The mean of weights along the end of a trajectory is a lower-noise point of it (Polyak and Juditsky 1992, SIAM
J. Control Optim. 30:838; Izmailov et al. 2018, arXiv:1803.05407; Kaddour 2022, arXiv:2209.14981, averages the
last k checkpoints). It takes the place of a decay of the learning rate rather than adding to one (Hagele et
al. 2024, arXiv:2405.18392).

`torch.optim.swa_utils` and Lightning's `WeightAveraging` copy the whole module, frozen trunks and feature
caches included, and swap what a checkpoint calls the weights; here the average is one more tensor per trained
weight beside them, so that a resumed run goes on bit for bit.
"""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ablate.recipe.schema import TrainConfig

_SETTINGS: dict[str, tuple[str, ...]] = {
    "none": (),
    "ema": ("average", "average_from", "average_half_life"),
    "last_k": ("average", "average_from", "average_checkpoints"),
}
"""Settings that have an effect, by the average asked for."""


def idle_settings(config: TrainConfig) -> set[str]:
    """Names of the averaging settings that change nothing of a run trained by ``config``."""
    return {name for names in _SETTINGS.values() for name in names} - set(_SETTINGS[config.average])


def averaged_steps(config: TrainConfig, steps: int) -> range | list[int]:
    """After which of ``steps`` steps, counted from 1, the weights enter the average; always the last one.

    `ema`: every step after the share `average_from`. `last_k`: so many at equal distances of the rest of the
    run, rounded to whole steps; fewer where it has fewer steps.
    """
    first = min(steps - 1, math.floor(config.average_from * steps))
    if config.average == "ema":
        return range(first + 1, steps + 1)
    if config.average == "none":
        return []
    count = min(config.average_checkpoints, steps - first)
    return [first + round((steps - first) * (place + 1) / count) for place in range(count)]


class WeightAverage:
    """A weighted mean of a model's trained weights over steps, in fp32, on the device of the weights."""

    def __init__(self, steps: Collection[int], decay: float = 1.0) -> None:
        """An empty average.

        Args:
            steps: those whose weights enter, counted from 1.
            decay: what the weight of all earlier entries is multiplied by at each entry, 1 for a plain mean.
                The weights always add up to one, so that the beginning is not overweighted.
        """
        self.steps = frozenset(steps)
        self.decay = decay
        self.total = 0.0
        """Sum of the entries' weights, the latest being 1."""
        self.entered = 0
        self.means: dict[str, Tensor] = {}

    @torch.no_grad()
    def enter(self, model: nn.Module, step: int) -> None:
        """Take the weights of ``model`` after ``step`` steps in, if they belong into the average."""
        if step not in self.steps:
            return
        weights = _trained(model)
        self.total = self.total * self.decay + 1.0
        self.entered += 1
        if not self.means:
            self.means = {
                name: weight.detach().to(torch.float32, copy=True) for name, weight in weights.items()
            }
            return
        share = 1.0 / self.total
        for name, weight in weights.items():
            mean = self.means[name]
            if mean.device != weight.device:  # as a checkpoint was loaded
                mean = self.means[name] = mean.to(weight.device)
            mean.lerp_(weight.detach().float(), share)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the average in the place of the trained weights of ``model``.

        Raises:
            ValueError: nothing has entered, or the model has other weights.
        """
        weights = _trained(model)
        if self.means.keys() != weights.keys():
            raise ValueError(
                f"an average of {len(self.means)} weights after {self.entered} entries does not fit a model "
                f"of {len(weights)} trained weights"
            )
        for name, weight in weights.items():
            weight.copy_(self.means[name])

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, so that the checkpoint loads without unpickling classes."""
        return {"total": self.total, "entered": self.entered, "means": dict(self.means)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` said."""
        self.total, self.entered = float(state["total"]), int(state["entered"])
        self.means = dict(state["means"])


def weight_average(config: TrainConfig, steps: int) -> WeightAverage | None:
    """The average that ``config`` asks for over a run of ``steps`` steps, still empty; None without one."""
    if config.average == "none":
        return None
    decay = 2.0 ** (-1.0 / (config.average_half_life * steps)) if config.average == "ema" else 1.0
    return WeightAverage(averaged_steps(config, steps), decay)


def averaging_notes(config: TrainConfig, steps: int) -> list[str]:
    """What a reader must know of the weights that were scored, in words; nothing for the last weights."""
    entered = averaged_steps(config, steps)
    if not entered:
        return []
    span = f"steps {entered[0]} to {entered[-1]} of {steps}"
    if config.average == "ema":
        half_life = config.average_half_life * steps
        return [f"scored and saved: exponential average of weights, {span}, half-life {half_life:.4g} steps"]
    return [f"scored and saved: mean of {len(entered)} equally spaced weights, {span}"]


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
