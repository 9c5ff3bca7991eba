"""The smallest encoder with a frozen trunk."""

import torch
from torch import Tensor, nn

from encoders.base import Flops, linear_flops
from encoders.patches import Patches


class FrozenPatches(Patches):
    """A linear trunk that is frozen, and a linear map that trains: the smallest encoder with features."""

    seen = 0

    def __init__(self, config, width):  # type: ignore[no-untyped-def]
        super().__init__(config, width)
        self.feature_width = width
        self.output = nn.Linear(width, width, bias=False)
        for weight in (self.project.weight, self.place):
            weight.requires_grad_(False)

    def features(self, media: Tensor) -> Tensor:
        type(self).seen += len(media)
        with torch.no_grad():
            return Patches.forward(self, media)

    def from_features(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.output(features)
        return tokens

    def forward(self, media: Tensor) -> Tensor:
        return self.from_features(self.features(media))

    def trunk_flops_per_item(self) -> Flops:
        return Flops(linear_flops(self.tokens_per_item, self.target_width, self.width).forward, 0)

    def flops_per_item(self) -> Flops:
        own = linear_flops(self.tokens_per_item, self.width, self.width, input_gradient=False)
        return self.trunk_flops_per_item() + own
