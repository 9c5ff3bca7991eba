"""The optimiser and the learning-rate schedule."""

import math

import torch
from torch import nn

from ablate.recipe.schema import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Learning rate of step ``step`` (from 0) of ``steps``: a function of the fraction of the budget.

    `cosine`: linear warm-up, then half a cosine to the final rate (Loshchilov & Hutter 2017). `wsd`: warm-up,
    stable, linear decay over the last share (Hu et al. 2024).
    """
    done = (step + 1) / steps
    floor = config.final_learning_rate
    if config.warmup and done < config.warmup:
        return config.learning_rate * done / config.warmup
    if config.schedule == "wsd":
        left = (1.0 - step / steps) / config.decay if config.decay else 1.0
        return config.learning_rate * (floor + (1.0 - floor) * min(1.0, left))
    through = (step / steps - config.warmup) / (1.0 - config.warmup) if config.warmup < 1.0 else 1.0
    return config.learning_rate * (
        floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * max(0.0, through)))
    )


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) that decays the matrices of linear maps and embeddings only."""
    kinds = (nn.Linear, nn.Embedding)
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, kinds)}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in trained if id(weight) in decayed]
    others = [weight for weight in trained if id(weight) not in decayed]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )
