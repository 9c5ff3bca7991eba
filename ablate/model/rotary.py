"""Frequencies of rotary positions, as they are or lowered for contexts longer than those of the training."""

import math

import torch
from torch import Tensor

from ablate.recipe.schema import ModelConfig, PretrainedModel, RotaryScaling


def frequencies(size: int, theta: float, scaling: RotaryScaling | None) -> Tensor:
    """Radians a position of each pair of dimensions: float64[size / 2] (Su et al. 2021).

    `linear` divides all of them by the factor (Chen et al. 2023, position interpolation). `llama3` divides
    those whose wavelength is beyond ``original_positions / low_frequency_factor``, leaves those below
    ``original_positions / high_frequency_factor``, and interpolates between (Llama 3.1's reference code).
    """
    plain = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    if scaling is None:
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    turns = scaling.original_positions * plain / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1.0 - kept) * plain / scaling.factor + kept * plain


def scaling_of(config: ModelConfig) -> RotaryScaling | None:
    """The scaling of a pretrained model's positions; a model of one's own has none."""
    return config.scaling if isinstance(config, PretrainedModel) else None
