"""A small vision transformer, trained from scratch with the backbone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.base import Encoder, Flops, linear_flops
from encoders.media_spec import ImageSpec
from encoders.patches import (
    EMBEDDING_STD,
    check_divides,
    check_patch_grid,
    check_positive,
    normalised,
    patchify,
    scaled,
)


@dataclass(frozen=True)
class ViTConfig:
    """Settings of `ViT`."""

    image_size: int = 64
    """Pixels per side after resizing."""
    patch_size: int = 16
    """Pixels per side of a patch; each patch becomes one token."""
    layers: int = 2
    """Transformer blocks."""
    width: int = 128
    """Width inside the encoder; a multiple of `heads`."""
    heads: int = 4
    """Attention heads."""

    def __post_init__(self) -> None:
        check_patch_grid(self.image_size, self.patch_size)
        check_positive(layers=self.layers)
        check_divides("width", self.width, "heads", self.heads)


class EncoderBlock(nn.Module):
    """Pre-norm block with full attention among the tokens of one item."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map float[items, tokens, width] to the same shape."""
        items, length, width = tokens.shape
        split = self.qkv(self.norm_attention(tokens)).view(items, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(items, length, width))
        update: Tensor = self.down(F.gelu(self.up(self.norm_mlp(tokens))))
        return tokens + update

    @staticmethod
    def flops(tokens: int, width: int) -> Flops:
        """FLOPs of one item: four projections, the two attention products, the MLP."""
        projections = linear_flops(tokens, width, 3 * width) + linear_flops(tokens, width, width)
        mlp = linear_flops(tokens, width, 4 * width) + linear_flops(tokens, 4 * width, width)
        products = 4 * tokens * tokens * width
        return projections + mlp + Flops(products, 2 * products)


class ViT(Encoder):
    """Vision transformer over patches (Dosovitskiy et al. 2021), every token kept, none pooled.

    It maps uint8[items, 3, size, size] to tokens in reading order.
    """

    Config: ClassVar[type] = ViTConfig
    modality: ClassVar[str] = "image"

    def __init__(self, config: ViTConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.output_width = width
        self.target_width = 3 * config.patch_size**2
        self.tokens_per_item = (config.image_size // config.patch_size) ** 2
        self.context_tokens = self.tokens_per_item
        self.spec = ImageSpec(config.image_size)
        self.embed = nn.Linear(self.target_width, config.width)
        self.place = nn.Parameter(torch.empty(self.tokens_per_item, config.width))
        self.blocks = nn.ModuleList(EncoderBlock(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, width, bias=False)
        nn.init.normal_(self.place, std=EMBEDDING_STD)
        nn.init.normal_(self.project.weight, std=EMBEDDING_STD / config.width**0.5)

    def forward(self, media: Tensor) -> Tensor:
        tokens = self.embed(patchify(scaled(media), self.config.patch_size))
        tokens = tokens + self.place.to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        projected: Tensor = self.project(self.norm(tokens))
        return projected

    def targets(self, media: Tensor) -> Tensor:
        return normalised(patchify(scaled(media), self.config.patch_size))

    def flops_per_item(self) -> Flops:
        embed = linear_flops(self.tokens_per_item, self.target_width, self.config.width, input_gradient=False)
        blocks = EncoderBlock.flops(self.tokens_per_item, self.config.width) * self.config.layers
        return embed + blocks + linear_flops(self.tokens_per_item, self.config.width, self.output_width)
