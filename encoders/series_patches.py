"""Linear patches over time of many channels: the plain encoder of sensor recordings."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from encoders.media_spec import SeriesSpec
from encoders.patches import LinearPatches, check_divides, check_positive


@dataclass(frozen=True)
class SeriesPatchesConfig:
    """Settings of `SeriesPatches`."""

    steps: int = 256
    """Steps read from the beginning; a shorter recording is followed by zeros."""
    channels: int = 8
    """Channels of every recording."""
    rate_hz: float = 0.0
    """Steps a second after resampling; 0 takes recordings as they are."""
    pad_channels: bool = False
    """Whether a recording with fewer channels is filled up with zeros; otherwise it is refused."""
    patch_steps: int = 16
    """Steps of a patch; each patch becomes one token. `steps` is a multiple of it."""

    def __post_init__(self) -> None:
        check_positive(channels=self.channels)
        check_divides("steps", self.steps, "patch_steps", self.patch_steps)
        if not (math.isfinite(self.rate_hz) and self.rate_hz >= 0):
            raise ValueError(
                f"rate_hz is {self.rate_hz}; use steps a second, or 0 to take recordings as they are"
            )


class SeriesPatches(LinearPatches):
    """Patches over time that do not overlap (PatchTST, Nie et al. 2023, section 3.1).

    It maps float32[items, steps, channels] to tokens in order of time. Unlike PatchTST a patch holds all
    channels, so that one token is one stretch of time. Nothing is scaled here: a decoded recording has
    each channel at mean 0 and variance 1 already (see `SeriesSpec`).
    """

    Config: ClassVar[type] = SeriesPatchesConfig
    modality: ClassVar[str] = "sensor"

    def __init__(self, config: SeriesPatchesConfig, width: int) -> None:
        super().__init__(config.steps // config.patch_steps, config.patch_steps * config.channels, width)
        self.config = config
        self.spec = SeriesSpec(config.steps, config.channels, config.rate_hz, config.pad_channels)

    def cut(self, media: Tensor) -> Tensor:
        return media.float().reshape(media.shape[0], self.tokens_per_item, self.target_width)
