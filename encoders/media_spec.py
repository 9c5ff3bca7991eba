"""What an encoder reads: the shape and kind that media are decoded to before it sees them."""

import math
from dataclasses import dataclass
from typing import ClassVar


def samples_in(seconds: float, rate_hz: int) -> int:
    """Samples at ``rate_hz`` that begin within ``seconds``: the product, rounded up; 1 at least.

    Rounded to a millionth first, as 0.07 s at 44100 Hz are 3087 samples and in floating point a hair more.
    """
    return max(1, math.ceil(round(seconds * rate_hz, 6)))


@dataclass(frozen=True)
class ImageSpec:
    """uint8[3, size, size]: RGB, the shorter side resized to ``size`` and the middle kept."""

    size: int
    """Pixels per side."""
    modality: ClassVar[str] = "image"
    channel_axis: ClassVar[int] = 0
    dtype: ClassVar[str] = "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.size, self.size)


@dataclass(frozen=True)
class VideoSpec:
    """uint8[frames, 3, size, size]: frames at equal distances over the whole clip."""

    frames: int
    """Frames kept of a clip; a shorter one repeats its frames."""
    size: int
    """Pixels per side."""
    modality: ClassVar[str] = "video"
    channel_axis: ClassVar[int] = 1
    dtype: ClassVar[str] = "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, 3, self.size, self.size)


@dataclass(frozen=True)
class AudioSpec:
    """float32[mels, frames]: natural logarithm of the mel power spectrum of the first ``seconds``."""

    seconds: float
    """Length read from the beginning; a shorter recording is followed by silence."""
    rate_hz: int
    """Samples a second after mixing to one channel and resampling."""
    mels: int
    """Mel bands."""
    window: int
    """Samples of a Hann window, also the length of its Fourier transform."""
    hop: int
    """Samples between windows."""
    modality: ClassVar[str] = "audio"
    channel_axis: ClassVar[int] = 0
    dtype: ClassVar[str] = "float32"

    @property
    def samples(self) -> int:
        """Samples of the waveform that is kept."""
        return samples_in(self.seconds, self.rate_hz)

    @property
    def frames(self) -> int:
        """Windows that begin within the waveform."""
        return math.ceil(self.samples / self.hop)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.mels, self.frames)


@dataclass(frozen=True)
class SeriesSpec:
    """float32[steps, channels]: the first ``steps`` of a recording, each channel at mean 0 and variance 1.

    A shorter one is followed by zeros.
    """

    steps: int
    """Steps read from the beginning."""
    channels: int
    """Channels of every recording."""
    rate_hz: float = 0.0
    """Steps a second after linear resampling; 0 takes recordings as they are, which then must agree."""
    pad_channels: bool = False
    """Whether a recording with fewer channels is filled up with zeros; otherwise it is refused."""
    modality: ClassVar[str] = "sensor"
    channel_axis: ClassVar[int] = 1
    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.steps, self.channels)


MediaSpec = ImageSpec | VideoSpec | AudioSpec | SeriesSpec
