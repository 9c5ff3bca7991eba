"""Every registered encoder at settings small enough to run in a moment, and media for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from encoders.base import Encoder

AUDIO = {"seconds": 0.64, "rate_hz": 8000, "mels": 16, "window": 200, "hop": 80}
"""16 mel bands, 64 frames."""
TINY = {
    "tiny-vit": {"layers": 2, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8},
    "tiny-uneven": {"layers": 1, "width": 32, "head_width": 16, "image_size": 36, "patch_size": 8},
    "tiny-coca": {
        "layers": 1, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 8,
        "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": True,
    },
    "tiny-resnet": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64},
    "tiny-convnext": {"timm_model_name": "test_convnext", "timm_pool": "avg", "image_size": 160,
                      "timm_drop": 0.5, "timm_drop_path": 0.5},
}  # fmt: skip
"""Image towers that the tests add to open_clip: every kind that it has."""
SMALL: dict[str, dict[str, Any]] = {
    "patches": {"name": "patches", "image_size": 32, "patch_size": 8},
    "vit": {"name": "vit", "image_size": 32, "patch_size": 8, "layers": 2, "width": 64, "heads": 4},
    "open_clip": {"name": "open_clip", "model": "tiny-vit"},
    "open_clip pooled": {"name": "open_clip", "model": "tiny-vit", "tokens": "pooled"},
    "open_clip frozen": {"name": "open_clip", "model": "tiny-vit", "frozen": True},
    "open_clip frozen pooled": {
        "name": "open_clip",
        "model": "tiny-coca",
        "frozen": True,
        "tokens": "pooled",
    },
    "open_clip coca": {"name": "open_clip", "model": "tiny-coca"},
    "open_clip uneven": {"name": "open_clip", "model": "tiny-uneven"},
    "open_clip resnet": {"name": "open_clip", "model": "tiny-resnet"},
    "tubelets": {"name": "tubelets", "frames": 4, "image_size": 16, "tubelet_frames": 2, "patch_size": 8},
    "frames": {
        "name": "frames",
        "frames": 6,
        "every": 3,
        "encoder": {"name": "vit", "image_size": 16, "patch_size": 8, "layers": 1, "width": 32, "heads": 2},
    },
    "frames frozen": {
        "name": "frames",
        "frames": 4,
        "every": 2,
        "encoder": {"name": "open_clip", "model": "tiny-vit", "frozen": True},
    },
    "mel_patches": {"name": "mel_patches", **AUDIO, "patch_mels": 8, "patch_frames": 16},
    "mel_conv": {"name": "mel_conv", **AUDIO, "layers": 1, "width": 32, "heads": 2, "tokens": 8},
    "series_patches": {"name": "series_patches", "steps": 64, "channels": 3, "patch_steps": 16},
}
"""Settings by a name for the test; several of one encoder where it has several kinds."""
FROZEN = [name for name in SMALL if "frozen" in name]
"""Those with a frozen trunk."""


def media_for(encoder: Encoder, items: int = 3) -> torch.Tensor:
    """Random items of what ``encoder`` reads."""
    generator = torch.Generator().manual_seed(0)
    shape = (items, *encoder.spec.shape)
    if encoder.spec.dtype == "uint8":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    level = -4.0 if encoder.modality == "audio" else 0.0
    return torch.randn(shape, generator=generator) + level


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """PyTorch's counter where it sees attention: not in fused kernels, the one for inference included."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
