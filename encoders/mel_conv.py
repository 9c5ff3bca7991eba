"""A convolutional stem and a small transformer over the log-mel spectrogram, trained with the backbone."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.base import Encoder, Flops, linear_flops
from encoders.mel_patches import check_frames, log_mel_spec, scaled_log_mel
from encoders.patches import EMBEDDING_STD, check_divides, check_positive, normalised
from encoders.vit import EncoderBlock

KERNEL = 3
"""Frames under each convolution."""
STRIDE = 2
"""Frames between the outputs of the second convolution."""


@dataclass(frozen=True)
class MelConvConfig:
    """Settings of `MelConv`."""

    seconds: float = 2.56
    """Length read from the beginning; a shorter recording is followed by silence."""
    rate_hz: int = 16000
    """Samples a second after mixing to one channel and resampling."""
    mels: int = 64
    """Mel bands."""
    window: int = 400
    """Samples of a Hann window."""
    hop: int = 160
    """Samples between windows."""
    layers: int = 2
    """Transformer blocks."""
    width: int = 128
    """Width inside the encoder; even, and a multiple of `heads`."""
    heads: int = 4
    """Attention heads."""
    tokens: int = 16
    """Tokens of an item, each the mean of a stretch of time; twice as many divide the frames."""

    def __post_init__(self) -> None:
        spec = log_mel_spec(self.seconds, self.rate_hz, self.mels, self.window, self.hop)
        check_positive(layers=self.layers, tokens=self.tokens)
        check_divides("width", self.width, "heads", self.heads)
        if self.width % 2:
            raise ValueError(
                f"width {self.width} is odd; use {self.width + 1}: places are half sines, half cosines"
            )
        check_frames(spec, STRIDE * self.tokens, f"{STRIDE} x tokens")


def sinusoids(length: int, width: int) -> Tensor:
    """Places as float32[length, width]: sines, then cosines (`sinusoids` of Whisper's code)."""
    half = width // 2
    rates = torch.exp(-math.log(10000.0) / max(half - 1, 1) * torch.arange(half))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class MelConv(Encoder):
    """The encoder of Whisper (Radford et al. 2022, section 2.2), smaller, its output averaged over time.

    It maps natural log-mel power, float32[items, mels, frames], to tokens in order of time: two convolutions
    with GELU, the second with stride 2, sinusoidal places, transformer blocks, a mean over each token's
    stretch, a linear map.
    """

    Config: ClassVar[type] = MelConvConfig
    modality: ClassVar[str] = "audio"

    def __init__(self, config: MelConvConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.output_width = width
        self.spec = log_mel_spec(config.seconds, config.rate_hz, config.mels, config.window, config.hop)
        self.frames = self.spec.frames
        self.steps = self.frames // STRIDE
        self.tokens_per_item = config.tokens
        self.context_tokens = self.tokens_per_item
        self.target_width = config.mels * self.frames // config.tokens
        inner, pad = config.width, KERNEL // 2
        self.first = nn.Conv1d(config.mels, inner, KERNEL, padding=pad)
        self.second = nn.Conv1d(inner, inner, KERNEL, stride=STRIDE, padding=pad)
        self.place: Tensor
        self.register_buffer("place", sinusoids(self.steps, inner), persistent=False)
        self.blocks = nn.ModuleList(EncoderBlock(inner, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(inner)
        self.project = nn.Linear(inner, width, bias=False)
        nn.init.normal_(self.project.weight, std=EMBEDDING_STD / inner**0.5)

    def forward(self, media: Tensor) -> Tensor:
        heard = F.gelu(self.second(F.gelu(self.first(scaled_log_mel(media)))))
        tokens = heard.transpose(1, 2)
        tokens = tokens + self.place.to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        stretches = self.norm(tokens).reshape(len(media), self.tokens_per_item, -1, self.config.width)
        projected: Tensor = self.project(stretches.mean(dim=2))
        return projected

    def targets(self, media: Tensor) -> Tensor:
        stretches = scaled_log_mel(media).reshape(len(media), self.config.mels, self.tokens_per_item, -1)
        return normalised(stretches.transpose(1, 2).flatten(2))

    def flops_per_item(self) -> Flops:
        config = self.config
        first = linear_flops(self.frames, KERNEL * config.mels, config.width, input_gradient=False)
        second = linear_flops(self.steps, KERNEL * config.width, config.width)
        blocks = EncoderBlock.flops(self.steps, config.width) * config.layers
        project = linear_flops(self.tokens_per_item, config.width, self.output_width)
        return first + second + blocks + project
