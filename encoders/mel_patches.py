"""Linear patches of the log-mel spectrogram: the plain audio encoder, which has read no text."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from encoders.media_spec import AudioSpec
from encoders.patches import LinearPatches, check_divides, check_positive

LOG_MEL_MEAN = -4.2677393
"""Mean natural log-mel power of AudioSet (Gong et al. 2021, `src/get_norm_stats.py` of their code)."""
LOG_MEL_STD = 4.5689974
"""Standard deviation of the same."""


def scaled_log_mel(media: Tensor) -> Tensor:
    """Log-mel power as float32 of about mean 0 and variance 1.

    By constants of AudioSet, not of the item: loudness is kept, an item does not depend on how much silence
    follows it, and silence, for which decoders have a floor, is a constant (-4.1 for a power of 1e-10)
    where the variance of a silent item would be nought.
    """
    return (media.float() - LOG_MEL_MEAN) / LOG_MEL_STD


def log_mel_spec(seconds: float, rate_hz: int, mels: int, window: int, hop: int) -> AudioSpec:
    """The spectrogram of these settings.

    Raises:
        ValueError: names a setting that is not positive, or more bands than the window can tell apart.
    """
    check_positive(seconds=seconds, rate_hz=rate_hz, mels=mels, window=window, hop=hop)
    if mels > window // 2:
        raise ValueError(
            f"mels {mels} is more than half the window ({window} samples), so bands would be empty; "
            f"use mels {max(1, window // 2)} or window {2 * mels}"
        )
    return AudioSpec(seconds, rate_hz, mels, window, hop)


def check_frames(spec: AudioSpec, multiple: int, why: str) -> None:
    """Raise ValueError unless the frames are a multiple of ``multiple``, which ``why`` names."""
    if spec.frames % multiple:
        whole = max(1, round(spec.frames / multiple)) * multiple
        raise ValueError(
            f"seconds {spec.seconds:g} make {spec.frames} frames, which {why} ({multiple}) does not divide; "
            f"use seconds {_seconds_of(whole, spec):.12g} ({whole} frames)"
        )


def _seconds_of(frames: int, spec: AudioSpec) -> float:
    """The length, in as few decimals as do, that makes ``frames``."""
    exact = frames * spec.hop / spec.rate_hz
    cut = (math.floor(exact * 10**digits) / 10**digits for digits in range(13))
    return next((one for one in cut if replace(spec, seconds=one).frames == frames), exact)


@dataclass(frozen=True)
class MelPatchesConfig:
    """Settings of `MelPatches`."""

    seconds: float = 2.56
    """Length read from the beginning; a shorter recording is followed by silence."""
    rate_hz: int = 16000
    """Samples a second after mixing to one channel and resampling."""
    mels: int = 64
    """Mel bands; a multiple of `patch_mels`."""
    window: int = 400
    """Samples of a Hann window."""
    hop: int = 160
    """Samples between windows."""
    patch_mels: int = 16
    """Mel bands of a patch."""
    patch_frames: int = 16
    """Frames of a patch; each patch becomes one token."""

    def __post_init__(self) -> None:
        spec = log_mel_spec(self.seconds, self.rate_hz, self.mels, self.window, self.hop)
        check_positive(patch_frames=self.patch_frames)
        check_divides("mels", self.mels, "patch_mels", self.patch_mels)
        check_frames(spec, self.patch_frames, "patch_frames")


class MelPatches(LinearPatches):
    """Patches of the spectrogram (AST, Gong et al. 2021, section 2.1), here without overlap.

    It maps natural log-mel power, float32[items, mels, frames], to tokens in order of time, then from low
    bands to high.
    """

    Config: ClassVar[type] = MelPatchesConfig
    modality: ClassVar[str] = "audio"

    def __init__(self, config: MelPatchesConfig, width: int) -> None:
        spec = log_mel_spec(config.seconds, config.rate_hz, config.mels, config.window, config.hop)
        bands, times = config.mels // config.patch_mels, spec.frames // config.patch_frames
        super().__init__(bands * times, config.patch_mels * config.patch_frames, width)
        self.config = config
        self.spec = spec

    def cut(self, media: Tensor) -> Tensor:
        high, long = self.config.patch_mels, self.config.patch_frames
        items, mels, frames = media.shape
        grid = scaled_log_mel(media).reshape(items, mels // high, high, frames // long, long)
        return grid.permute(0, 3, 1, 2, 4).reshape(items, self.tokens_per_item, self.target_width)
