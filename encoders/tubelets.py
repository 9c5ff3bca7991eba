"""Linear tubelet projection: the plain video encoder, which has read no text."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from encoders.media_spec import VideoSpec
from encoders.patches import LinearPatches, check_divides, check_patch_grid, scaled


@dataclass(frozen=True)
class TubeletsConfig:
    """Settings of `Tubelets`."""

    frames: int = 8
    """Frames kept of a clip, at equal distances; a multiple of `tubelet_frames`."""
    image_size: int = 32
    """Pixels per side after resizing; a multiple of `patch_size`."""
    tubelet_frames: int = 2
    """Frames of a tubelet."""
    patch_size: int = 8
    """Pixels per side of a tubelet; each tubelet becomes one token."""

    def __post_init__(self) -> None:
        check_patch_grid(self.image_size, self.patch_size)
        check_divides("frames", self.frames, "tubelet_frames", self.tubelet_frames)


class Tubelets(LinearPatches):
    """Tubelets that do not overlap (ViViT, Arnab et al. 2021, section 3.2), no factorised attention.

    It maps uint8[items, frames, 3, size, size] to tokens in order of time, then in reading order.
    """

    Config: ClassVar[type] = TubeletsConfig
    modality: ClassVar[str] = "video"

    def __init__(self, config: TubeletsConfig, width: int) -> None:
        times = config.frames // config.tubelet_frames
        side = config.image_size // config.patch_size
        super().__init__(times * side**2, config.tubelet_frames * 3 * config.patch_size**2, width)
        self.config = config
        self.spec = VideoSpec(config.frames, config.image_size)

    def cut(self, media: Tensor) -> Tensor:
        deep, wide = self.config.tubelet_frames, self.config.patch_size
        items, frames, channels, height, across = media.shape
        grid = scaled(media).reshape(
            items, frames // deep, deep, channels, height // wide, wide, across // wide, wide
        )
        return grid.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(items, self.tokens_per_item, self.target_width)
