"""Any image encoder over the frames of a clip, pooled over time."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from encoders.base import Encoder, Flops
from encoders.media_spec import ImageSpec, VideoSpec
from encoders.patches import EMBEDDING_STD, check_divides
from encoders.registry import build_encoder, complete_settings, encoder_class


@dataclass(frozen=True)
class FramesConfig:
    """Settings of `Frames`."""

    frames: int = 8
    """Frames kept of a clip, at equal distances; a multiple of `every`."""
    every: int = 2
    """Frames that are averaged into one group; each group has the tokens of one picture."""
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "patches"})
    """Settings of an image encoder: its `name` and the fields of its Config."""

    def __post_init__(self) -> None:
        check_divides("frames", self.frames, "every", self.every)
        if not self.encoder.get("name"):
            raise ValueError("encoder has no name; use that of an image encoder, such as {name: patches}")
        modality = encoder_class(str(self.encoder["name"])).modality
        if modality != ImageSpec.modality:
            raise ValueError(f"encoder {self.encoder['name']} reads {modality}; use an encoder of images")
        try:
            complete = complete_settings(self.encoder)
        except (TypeError, ValueError) as error:
            raise ValueError(f"encoder: {error}") from error
        object.__setattr__(self, "encoder", complete)


class Frames(Encoder):
    """An image encoder applied to every frame, its tokens averaged over groups of frames, plus time.

    It maps uint8[items, frames, 3, size, size] to tokens in order of time, then in the order of the image
    encoder. Late averaging of frame features is the baseline of ViViT's section 4.2 (Arnab et al. 2021); a
    learned vector for each group keeps the position in time. Where the image encoder has a frozen trunk,
    its features are averaged, and what follows the trunk comes after.
    """

    Config: ClassVar[type] = FramesConfig
    modality: ClassVar[str] = "video"

    def __init__(self, config: FramesConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config.encoder, width)
        assert isinstance(self.encoder.spec, ImageSpec)
        self.groups = config.frames // config.every
        self.spec = VideoSpec(config.frames, self.encoder.spec.size)
        self.tokens_per_item = self.groups * self.encoder.tokens_per_item
        self.context_tokens = self.encoder.context_tokens
        self.target_width = self.encoder.target_width
        self.feature_width = self.encoder.feature_width
        self.pretraining = self.encoder.pretraining
        self.time = nn.Parameter(torch.empty(self.groups, 1, width))
        nn.init.normal_(self.time, std=EMBEDDING_STD)

    def forward(self, media: Tensor) -> Tensor:
        if self.feature_width:
            return self.from_features(self.features(media))
        return self._timed(self._pooled(self.encoder(media.flatten(0, 1))))

    def features(self, media: Tensor) -> Tensor:
        return self._pooled(self.encoder.features(media.flatten(0, 1))).flatten(1, 2)

    def from_features(self, features: Tensor) -> Tensor:
        pictures = features.reshape(-1, self.encoder.tokens_per_item, features.shape[-1])
        return self._timed(self._grouped(self.encoder.from_features(pictures), 1).squeeze(2))

    def _grouped(self, tokens: Tensor, frames: int) -> Tensor:
        """[items * groups * frames, ...] as [items, groups, frames, ...]."""
        return tokens.reshape(-1, self.groups, frames, *tokens.shape[1:])

    def _pooled(self, tokens: Tensor) -> Tensor:
        """[items * frames, ...] averaged to [items, groups, ...]."""
        return self._grouped(tokens, self.config.every).mean(dim=2)

    def _timed(self, tokens: Tensor) -> Tensor:
        """[items, groups, image tokens, width] with time added, as [items, tokens_per_item, width]."""
        return (tokens + self.time.to(tokens.dtype)).flatten(1, 2)

    def targets(self, media: Tensor) -> Tensor:
        """Targets of the mean picture of each group: a token stands for the mean of its frames.

        The first frame alone would leave what moves later without a target.
        """
        means = self._pooled(media.flatten(0, 1).float()).flatten(0, 1)
        return self._grouped(self.encoder.targets(means), 1).flatten(1, 3)

    def flops_per_item(self) -> Flops:
        each = self.encoder.flops_per_item()
        if not self.feature_width:
            return each * self.config.frames
        after = each + self.encoder.trunk_flops_per_item() * -1
        return self.trunk_flops_per_item() + after * self.groups

    def trunk_flops_per_item(self) -> Flops:
        return self.encoder.trunk_flops_per_item() * self.config.frames
