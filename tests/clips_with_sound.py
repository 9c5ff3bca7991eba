"""Clips whose pictures and sound are one file, with captions beside them."""

import io
import json
import tarfile
from pathlib import Path

import av
import numpy as np


def clip(number: int) -> bytes:
    """Half a second of MP4: eight frames of one shade, and a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=16)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=8000, layout="mono")
        for _ in range(8):
            pixels = np.full((32, 32, 3), 5 * number % 256, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        tone = np.sin(np.arange(4096) * (0.1 + 0.01 * number)).astype(np.float32)[None] / 2
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return file.getvalue()


def write_clips(path: Path, count: int) -> None:
    """A shard of ``count`` clips with captions."""
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            captions = json.dumps({"captions": [f"tone {number}"]}).encode()
            for name, data in ((f"{number:03d}.mp4", clip(number)), (f"{number:03d}.json", captions)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
