"""Rates of the data sources, each beside what it must be held against."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np

from ablate.bench.items import pictures
from ablate.bench.measurement import Measurement, rates_in_turns
from ablate.bench.shards import write_shard
from ablate.data.decoded import DecodedMedia
from ablate.data.images import decode_image
from ablate.data.media import open_media
from encoders.media_spec import ImageSpec

CACHE_RATE = 50_000.0
"""Pictures of 64x64 a second that the decoded cache must deliver."""
_SIZE = 64
_PICTURES = 1024
_BATCH = 64


def measure_sources(folder: Path, seconds: float) -> list[Measurement]:
    """Measure JPEG decoding and the decoded cache on pictures made here, on one thread.

    Args:
        folder: an existing folder for the shard and its cache; nothing in it is removed.
        seconds: time for each of the two measurements.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = pictures(_PICTURES, _SIZE)
        return [*_decoding(made, seconds), _delivery(made, folder, seconds)]
    finally:
        torch.set_num_threads(threads)


def _decoding(made: list[bytes], seconds: float) -> list[Measurement]:
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg

    def ours(data: bytes) -> Any:
        return decode_image(data, _SIZE)

    def torchvision(data: bytes) -> Any:
        return decode_jpeg(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB
        ).numpy()

    def pillow(data: bytes) -> Any:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)

    ours_rate, torchvision_rate, pillow_rate = rates_in_turns(
        [ours, torchvision, pillow], made, seconds, at_a_time=_BATCH
    )
    unit = f"{_SIZE}x{_SIZE} images/s/core"
    return [
        Measurement("JPEG decoding, against torchvision.io.decode_jpeg", ours_rate, unit, torchvision_rate),
        Measurement("JPEG decoding, against bare Pillow", ours_rate, unit, pillow_rate),
    ]


def _delivery(made: list[bytes], folder: Path, seconds: float) -> Measurement:
    shard = folder / "bench-000.tar"
    write_shard(shard, "jpg", ((data, {"captions": ["a"]}) for data in made))
    cache = folder / "cache"
    images = DecodedMedia(open_media([shard], "captions", cache), ImageSpec(_SIZE), cache)
    orders = np.random.Generator(np.random.PCG64(1)).permuted(
        np.tile(np.arange(len(images)), (16, 1)), axis=1
    )
    batches = orders.reshape(-1, _BATCH)
    done, start = 0, time.thread_time()
    while (spent := time.thread_time() - start) < seconds or not done:
        images.get(batches[done // _BATCH % len(batches)])
        done += _BATCH
    return Measurement(
        f"decoded cache, batches of {_BATCH}", done / spent, f"{_SIZE}x{_SIZE} images/s/core", CACHE_RATE
    )
