"""Linear patch projection: the default image encoder, which has read no text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from encoders.base import Encoder, Flops, linear_flops

EMBEDDING_STD = 0.02
"""Standard deviation of the backbone's token embeddings at init; encoders start at that scale."""


def check_patch_grid(image_size: int, patch_size: int) -> None:
    """Raise ValueError unless whole patches tile the image."""
    if patch_size < 1 or image_size < patch_size or image_size % patch_size:
        raise ValueError(
            f"image_size {image_size} is not a positive multiple of patch_size {patch_size}; "
            f"use image_size {max(1, round(image_size / max(patch_size, 1))) * max(patch_size, 1)}"
        )


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images [items, channels, height, width] into [items, patches, channels * patch_size**2].

    Patches come in reading order.
    """
    items, channels, height, width = images.shape
    down, across = height // patch_size, width // patch_size
    grid = images.view(items, channels, down, patch_size, across, patch_size)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(items, down * across, channels * patch_size**2)


def scaled(images: Tensor) -> Tensor:
    """Pixels 0..255 as float32 in -1..1."""
    return images.float() / 127.5 - 1.0


def normalised(patches: Tensor) -> Tensor:
    """Each patch at mean 0 and variance 1 (the target of He et al. 2022, section 4.1).

    The small constant keeps a patch of one colour finite: it becomes 0 in all its values if it is grey.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True, unbiased=False)
    return (patches - mean) / (variance + 1e-4).sqrt()


@dataclass(frozen=True)
class PatchesConfig:
    """Settings of `Patches`."""

    image_size: int = 32
    """Pixels per side after resizing."""
    patch_size: int = 8
    """Pixels per side of a patch; each patch becomes one token."""

    def __post_init__(self) -> None:
        check_patch_grid(self.image_size, self.patch_size)


class Patches(Encoder):
    """One linear map per patch and a learned vector per place (Fuyu, Bavishi et al. 2023)."""

    Config: ClassVar[type] = PatchesConfig
    modality: ClassVar[str] = "image"

    def __init__(self, config: PatchesConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.target_width = 3 * config.patch_size**2
        self.tokens_per_item = (config.image_size // config.patch_size) ** 2
        self.item_shape = (3, config.image_size, config.image_size)
        self.project = nn.Linear(self.target_width, width, bias=False)
        self.place = nn.Parameter(torch.empty(self.tokens_per_item, width))
        nn.init.normal_(self.project.weight, std=EMBEDDING_STD / self.target_width**0.5)
        nn.init.normal_(self.place, std=EMBEDDING_STD)

    def forward(self, media: Tensor) -> Tensor:
        projected: Tensor = self.project(patchify(scaled(media), self.config.patch_size))
        return projected + self.place.to(projected.dtype)

    def targets(self, media: Tensor) -> Tensor:
        return normalised(patchify(scaled(media), self.config.patch_size))

    def flops_per_item(self) -> Flops:
        return linear_flops(self.tokens_per_item, self.target_width, self.width, input_gradient=False)
