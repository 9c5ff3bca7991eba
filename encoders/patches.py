"""Linear maps of patches: what they share in every modality, and the default image encoder.

It has read no text.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from encoders.base import Encoder, Flops, linear_flops
from encoders.media_spec import ImageSpec

EMBEDDING_STD = 0.02
"""Standard deviation of the backbone's token embeddings at init; encoders start at that scale."""


def check_positive(**values: float) -> None:
    """Raise ValueError that names the first of ``values`` which is not above 0."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(
                f"{name} is {value}; use {'a positive number' if name == 'seconds' else '1 or more'}"
            )


def check_divides(whole: str, size: int, part: str, by: int) -> None:
    """Raise ValueError unless whole parts fill ``size``."""
    if by < 1 or size < by or size % by:
        nearest = max(1, round(size / max(by, 1))) * max(by, 1)
        raise ValueError(f"{whole} {size} is not a positive multiple of {part} {by}; use {whole} {nearest}")


def check_patch_grid(image_size: int, patch_size: int) -> None:
    """Raise ValueError unless whole patches tile the image."""
    check_divides("image_size", image_size, "patch_size", patch_size)


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


class LinearPatches(Encoder):
    """One linear map per patch and a learned vector per place; a subclass says how items are cut."""

    def __init__(self, tokens: int, values: int, width: int) -> None:
        """Map ``tokens`` patches of ``values`` values each to ``width``."""
        super().__init__()
        self.width = width
        self.target_width = values
        self.tokens_per_item = tokens
        self.project = nn.Linear(values, width, bias=False)
        self.place = nn.Parameter(torch.empty(tokens, width))
        nn.init.normal_(self.project.weight, std=EMBEDDING_STD / values**0.5)
        nn.init.normal_(self.place, std=EMBEDDING_STD)

    @abstractmethod
    def cut(self, media: Tensor) -> Tensor:
        """Scaled values of ``media`` as float32[items, tokens_per_item, target_width]."""

    def forward(self, media: Tensor) -> Tensor:
        projected: Tensor = self.project(self.cut(media))
        return projected + self.place.to(projected.dtype)

    def targets(self, media: Tensor) -> Tensor:
        return normalised(self.cut(media))

    def flops_per_item(self) -> Flops:
        return linear_flops(self.tokens_per_item, self.target_width, self.width, input_gradient=False)


@dataclass(frozen=True)
class PatchesConfig:
    """Settings of `Patches`."""

    image_size: int = 32
    """Pixels per side after resizing."""
    patch_size: int = 8
    """Pixels per side of a patch; each patch becomes one token."""

    def __post_init__(self) -> None:
        check_patch_grid(self.image_size, self.patch_size)


class Patches(LinearPatches):
    """Square patches of a picture (Fuyu, Bavishi et al. 2023): uint8[items, 3, size, size] to tokens.

    Tokens and places are in reading order.
    """

    Config: ClassVar[type] = PatchesConfig
    modality: ClassVar[str] = "image"

    def __init__(self, config: PatchesConfig, width: int) -> None:
        side = config.image_size // config.patch_size
        super().__init__(side**2, 3 * config.patch_size**2, width)
        self.config = config
        self.spec = ImageSpec(config.image_size)

    def cut(self, media: Tensor) -> Tensor:
        return patchify(scaled(media), self.config.patch_size)
