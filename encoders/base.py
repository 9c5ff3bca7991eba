"""What every encoder offers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

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


class Encoder(nn.Module, ABC):
    """Turns media items into tokens of the backbone's width.

    A subclass has a frozen dataclass ``Config`` and is built as ``Encoder(config, width)``. Weights are
    drawn from torch's global CPU generator, which the caller seeds.
    """

    Config: ClassVar[type]
    modality: ClassVar[str]

    spec: MediaSpec
    """What it reads: `spec.shape` is the shape of one decoded item."""
    tokens_per_item: int
    """Tokens that one item becomes."""
    target_width: int
    """Width of a next-patch target."""
    pretraining: str = ""
    """What the weights saw before, which the record discloses; empty means trained from scratch."""
    feature_width: int = 0
    """Of an encoder with a frozen trunk: width of its features, which can be computed once. Else 0."""

    @abstractmethod
    def forward(self, media: Tensor) -> Tensor:
        """Encode ``media`` uint8 or float[items, *spec.shape] as float[items, tokens_per_item, width]."""

    @abstractmethod
    def targets(self, media: Tensor) -> Tensor:
        """The values each token stands for, float[items, tokens_per_item, target_width], normalised per
        patch to mean 0 and variance 1 (He et al. 2022, section 4.1)."""

    @abstractmethod
    def flops_per_item(self) -> Flops:
        """FLOPs of one item, forward and backward; a frozen trunk has no backward pass."""

    def trunk_flops_per_item(self) -> Flops:
        """The part of `flops_per_item` that a frozen trunk takes: what cached features save."""
        return Flops(0, 0)

    def features(self, media: Tensor) -> Tensor:
        """The frozen trunk: ``media`` as float32[items, tokens_per_item, feature_width], without gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no frozen trunk")

    def from_features(self, features: Tensor) -> Tensor:
        """What follows a frozen trunk: its features as float[items, tokens_per_item, width]."""
        raise NotImplementedError(f"{type(self).__name__} has no frozen trunk")
