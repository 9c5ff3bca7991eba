"""Where and how runs are trained. Apart from `fit`, so that planning need not import Lightning."""

from typing import Literal

import torch

from ablate.recipe.schema import TrainConfig


def device_type() -> str:
    """`cuda` where there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(config: TrainConfig) -> Literal["bf16-mixed", "32-true"]:
    """Lightning's name of the precision that `auto` comes to here, or of the one asked for."""
    bf16 = config.precision == "bf16" or (config.precision == "auto" and device_type() == "cuda")
    return "bf16-mixed" if bf16 else "32-true"


def is_compiled(config: TrainConfig) -> bool:
    """Whether the model is compiled: as asked for, else on a GPU."""
    return config.compile == "always" or (config.compile == "auto" and device_type() == "cuda")
