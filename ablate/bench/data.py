"""Rates of the data sources, each beside what it must be held against."""

import io
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.decoded import DecodedMedia
from ablate.data.images import decode_image
from ablate.data.media import open_media
from encoders.media_spec import ImageSpec

CACHE_RATE = 50_000.0
"""Pictures of 64x64 a second that the decoded cache must deliver."""
_SIZE = 64
_PICTURES = 1024
_BATCH = 64
_SLICES = 20


@dataclass(frozen=True)
class Measurement:
    """One measured rate."""

    name: str
    value: float
    unit: str
    reference: float
    """What the value is held against, in the same unit: the bare library in the same run, or a bar."""


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
        pictures = _pictures(_PICTURES)
        return [*_decoding(pictures, seconds), _delivery(pictures, folder, seconds)]
    finally:
        torch.set_num_threads(threads)


def _pictures(count: int) -> list[bytes]:
    """JPEGs of smooth colours with some detail, about 2 kB each, as photographs of this size have."""
    from PIL import Image

    draw = np.random.Generator(np.random.PCG64(0))
    pictures = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = np.clip(smooth + draw.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(noisy).save(out, "JPEG", quality=85)
        pictures.append(out.getvalue())
    return pictures


def _decoding(pictures: list[bytes], seconds: float) -> list[Measurement]:
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

    ours_rate, torchvision_rate, pillow_rate = _rates([ours, torchvision, pillow], pictures, seconds)
    unit = f"{_SIZE}x{_SIZE} images/s/core"
    return [
        Measurement("JPEG decoding, against torchvision.io.decode_jpeg", ours_rate, unit, torchvision_rate),
        Measurement("JPEG decoding, against bare Pillow", ours_rate, unit, pillow_rate),
    ]


def _rates(decoders: list[Callable[[bytes], Any]], pictures: list[bytes], seconds: float) -> list[float]:
    """Pictures a second of this thread's processor time: the median of slices taken in turn, so that
    neither other processes nor a slow moment of the machine favour one decoder."""
    slices: list[list[float]] = [[] for _ in decoders]
    span = seconds / (_SLICES * len(decoders))
    for decode in decoders:
        for data in pictures[:_BATCH]:
            decode(data)
    for _ in range(_SLICES):
        for decode, rates in zip(decoders, slices, strict=True):
            done, start = 0, time.thread_time()
            while (spent := time.thread_time() - start) < span or not done:
                for at in range(_BATCH):
                    decode(pictures[(done + at) % len(pictures)])
                done += _BATCH
            rates.append(done / spent)
    return [float(np.median(rates)) for rates in slices]


def _delivery(pictures: list[bytes], folder: Path, seconds: float) -> Measurement:
    shard = folder / "bench-000.tar"
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, data in enumerate(pictures):
            for extension, body in (("jpg", data), ("json", json.dumps({"captions": ["a"]}).encode())):
                entry = tarfile.TarInfo(f"{number:06d}.{extension}")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    cache = folder / "cache"
    images = DecodedMedia(open_media([shard], "captions", cache), ImageSpec(_SIZE), cache)
    orders = np.random.Generator(np.random.PCG64(1)).permuted(
        np.tile(np.arange(len(images)), (16, 1)), axis=1
    )
    batches = orders.reshape(-1, _BATCH)
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds or not done:
        images.get(batches[done // _BATCH % len(batches)])
        done += _BATCH
    return Measurement(
        f"decoded cache, batches of {_BATCH}", done / spent, f"{_SIZE}x{_SIZE} images/s", CACHE_RATE
    )
