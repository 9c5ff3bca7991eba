"""What every encoder offers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn


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
    pretraining: ClassVar[str] = ""
    """What the weights saw before, which the record discloses; empty means trained from scratch."""

    tokens_per_item: int
    """Tokens that one item becomes."""
    item_shape: tuple[int, ...]
    """Shape of one decoded item, for instance ``(3, 32, 32)``."""
    target_width: int
    """Width of a next-patch target."""

    @abstractmethod
    def forward(self, media: Tensor) -> Tensor:
        """Encode ``media`` uint8 or float[items, *item_shape] as float[items, tokens_per_item, width]."""

    @abstractmethod
    def targets(self, media: Tensor) -> Tensor:
        """The values each token stands for, float[items, tokens_per_item, target_width], normalised per
        patch to mean 0 and variance 1 (He et al. 2022, section 4.1)."""

    @abstractmethod
    def flops_per_item(self) -> Flops:
        """FLOPs of one item, forward and backward."""
