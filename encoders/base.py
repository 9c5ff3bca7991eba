"""What every encoder offers."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from encoders.media_spec import MediaSpec


@dataclass(frozen=True)
class Flops:
    """FLOPs of one pass, a multiply-add counted as two."""

    forward: int
    backward: int

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.forward + other.forward, self.backward + other.backward)

    def __mul__(self, times: int) -> "Flops":
        return Flops(self.forward * times, self.backward * times)

    @property
    def total(self) -> int:
        return self.forward + self.backward


def linear_flops(positions: int, inputs: int, outputs: int, *, input_gradient: bool = True) -> Flops:
    """FLOPs of a matrix product ``[positions, inputs] @ [inputs, outputs]``.

    The backward pass makes one product for the weights and, where the input needs a gradient,
    another for the input.
    """
    forward = 2 * positions * inputs * outputs
    return Flops(forward, forward * (2 if input_gradient else 1))


def weights_file(weights: str) -> Path:
    """The file that a setting `weights` names; `~` is the home folder."""
    return Path(weights).expanduser()


def _in_full_precision(features: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """``features`` without gradient and outside autocast."""

    @functools.wraps(features)
    def run(encoder: Any, media: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(media.device.type, enabled=False):
            return features(encoder, media)

    return run


class Encoder(nn.Module, ABC):
    """Turns media items into tokens of the backbone's width.

    A subclass has a frozen dataclass ``Config`` and is built as ``Encoder(config, width)``. Weights are
    drawn from torch's global CPU generator, which the caller seeds.

    `features` of every subclass runs in fp32 without gradient, also under autocast: features computed in a
    step are those that a cache holds.
    """

    Config: ClassVar[type]
    modality: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    """Packages beside torch whose code the tokens come from: their versions are part of a run's identity."""

    spec: MediaSpec
    """What it reads: `spec.shape` is the shape of one decoded item."""
    tokens_per_item: int
    """Tokens that one item becomes."""
    target_width: int
    """Width of a next-patch target."""
    pretraining: str = ""
    """What the weights saw before, which the record discloses; empty means trained from scratch."""
    context_tokens: int = 1
    """Into how many neighbouring tokens of an item a patch goes: a token that has attended to others holds
    their patches. Only the first token of each such group has a target that no token before it holds."""
    feature_width: int = 0
    """Of an encoder with a frozen trunk: width of its features, which can be computed once. Else 0."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "features" in cls.__dict__:
            cls.features = _in_full_precision(cls.__dict__["features"])  # type: ignore[assignment,method-assign]

    def library_versions(self) -> dict[str, str]:
        """Version of each of `libraries`, those of the encoders inside this one included."""
        parts = [module for module in self.modules() if isinstance(module, Encoder)]
        return {name: version(name) for name in sorted({name for part in parts for name in part.libraries})}

    @abstractmethod
    def forward(self, media: Tensor) -> Tensor:
        """Encode ``media`` uint8 or float[items, *spec.shape] as float[items, tokens_per_item, width]."""

    @abstractmethod
    def targets(self, media: Tensor) -> Tensor:
        """The values each token stands for, float[items, tokens_per_item, target_width], normalised per
        patch to mean 0 and variance 1 (He et al. 2022, section 4.1)."""

    @property
    def regressed_tokens(self) -> int:
        """Tokens of an item whose patch a next-patch loss can ask for: one of every `context_tokens`."""
        return -(-self.tokens_per_item // self.context_tokens)

    @abstractmethod
    def flops_per_item(self) -> Flops:
        """FLOPs of one item, forward and backward; a frozen trunk has no backward pass."""

    def trunk_flops_per_item(self) -> Flops:
        """The part of `flops_per_item` that a frozen trunk takes: what cached features save."""
        return Flops(0, 0)

    def features(self, media: Tensor) -> Tensor:
        """The frozen trunk: ``media`` as float32[items, tokens_per_item, feature_width], without gradient.

        What is cached is computed in eval mode. A trunk with dropout or batch statistics has to keep them
        off in training too, as `OpenClipTower.train` does: a `noise` or `blank` control runs it in a step.
        """
        raise NotImplementedError(f"{type(self).__name__} has no frozen trunk")

    def from_features(self, features: Tensor) -> Tensor:
        """What follows a frozen trunk: its features as float[items, tokens_per_item, width]."""
        raise NotImplementedError(f"{type(self).__name__} has no frozen trunk")
