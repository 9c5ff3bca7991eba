"""Structural FLOP count: from shapes, never from a run.

PyTorch's own counter sees no attention on CPU, and full attention under causal masks elsewhere; a count
from shapes is the same on every device. Convention: a multiply-add is two; attention at full length
squared whatever the mask (PaLM, Chowdhery et al. 2022, appendix B); padding and spare places included;
norms, rotary positions, activations and the optimiser left out, as PyTorch's counter leaves them out.
"""

from collections.abc import Mapping

from ablate.model.transformer import mlp_width
from ablate.recipe.schema import ModelConfig
from encoders.base import Encoder, Flops, linear_flops


def row_flops(config: ModelConfig, vocabulary: int) -> dict[str, Flops]:
    """FLOPs of one row through `backbone` (its matrices), `attention` (the two products) and `head`."""
    length, width = config.context_length, config.width
    kv_width = (config.kv_heads or config.heads) * (width // config.heads)
    projections = linear_flops(length, width, width) * 2 + linear_flops(length, width, kv_width) * 2
    mlp = linear_flops(length, width, mlp_width(config)) * 3
    products = 4 * length * length * width
    return {
        "backbone": (projections + mlp) * config.layers,
        "attention": Flops(products, 2 * products) * config.layers,
        "head": linear_flops(length, width, vocabulary),
    }


def media_head_flops(encoder: Encoder, width: int) -> Flops:
    """FLOPs of regressing the next patch for one item."""
    return linear_flops(encoder.regressed_tokens, width, encoder.target_width)


def step_flops(
    config: ModelConfig,
    vocabulary: int,
    rows: int,
    encoders: Mapping[str, Encoder],
    places: Mapping[str, int],
    *,
    media_loss: bool,
    with_trunks: bool = True,
) -> dict[str, int]:
    """Training FLOPs of one step over the global batch, by component, forward and backward.

    Args:
        rows: rows of the global batch.
        encoders: by stream.
        places: media places per step by stream, spare ones included.
        media_loss: whether the next patch is regressed.
        with_trunks: whether frozen encoders run, or their features come from a cache.
    """
    flops = {name: (cost * rows).total for name, cost in row_flops(config, vocabulary).items()}
    for stream, encoder in encoders.items():
        cost = encoder.flops_per_item().total
        if not with_trunks:
            cost -= encoder.trunk_flops_per_item().total
        flops[f"encoder/{stream}"] = cost * places[stream]
        if media_loss:
            flops[f"media_head/{stream}"] = (media_head_flops(encoder, config.width) * places[stream]).total
    return flops
