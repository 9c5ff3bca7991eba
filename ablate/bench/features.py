"""Cached features of a frozen encoder against the encoder live, on one thread of the CPU."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ablate.bench.items import pictures
from ablate.bench.measurement import Measurement, rates_in_turns
from ablate.bench.shards import write_shard
from ablate.data.decoded import DecodedMedia
from ablate.data.media import open_media
from ablate.model.features import cached_features
from encoders.registry import build_encoder

_ENCODER = {"name": "open_clip", "model": "ViT-S-32", "frozen": True}
"""A small tower: 12 blocks of 384 over 49 patches of a picture of 224 pixels a side. Weights are random."""
_WIDTH = 384
_BATCH = 8


def measure_features(folder: Path, seconds: float, items: int = 64) -> list[Measurement]:
    """Pictures a second that become tokens of the backbone's width, from the caches that training reads.

    Live, a batch is read from the decoded cache and goes through frozen trunk and projection; cached, its
    features are read from theirs and go through the projection alone. The backward pass of the projection
    is the same for both and left out.

    Args:
        folder: an existing folder for the shard and the caches; nothing in it is removed.
        seconds: time for both together; one batch of each at the least.
        items: pictures in the cache.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = build_encoder(_ENCODER, _WIDTH)
        shard, cache = folder / "features-000.tar", folder / "cache"
        size = encoder.spec.shape[-1]
        write_shard(shard, "jpg", ((data, {"captions": ["a"]}) for data in pictures(items, size)))
        decoded = DecodedMedia(open_media([shard], "captions", cache), encoder.spec, cache)
        cached = cached_features(encoder, decoded, cache)

        @torch.no_grad()
        def live(batch: NDArray[np.int64]) -> Tensor:
            tokens: Tensor = encoder(torch.from_numpy(decoded.get(batch)[0]))
            return tokens

        @torch.no_grad()
        def from_cache(batch: NDArray[np.int64]) -> Tensor:
            return encoder.from_features(torch.from_numpy(cached.get(batch)[0]))

        order = np.random.Generator(np.random.PCG64(0)).permutation(items)
        batches = list(order[: items - items % _BATCH].reshape(-1, _BATCH))
        found = rates_in_turns([from_cache, live], batches, seconds, slices=5)
    finally:
        torch.set_num_threads(threads)
    from_cache_rate, live_rate = (rate * _BATCH for rate in found)
    return [
        Measurement(
            f"cached features to tokens, against the live frozen {_ENCODER['model']} (bar: 20)",
            from_cache_rate,
            f"{size}x{size} images/s/core",
            live_rate,
        )
    ]
