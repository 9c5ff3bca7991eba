"""Small real media, made here, and folders and shards of them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image


def picture(kind: str = "JPEG", width: int = 40, height: int = 30, shade: int = 0) -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 5 % 256, y * 7 % 256, np.full_like(x, shade % 256)], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def tone(kind: str = "WAV", seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 440 * time)
    out = io.BytesIO()
    soundfile.write(out, np.stack([wave] * channels, axis=1), rate_hz, format=kind)
    return out.getvalue()


def clip(frames: int = 10, fps: int = 5, width: int = 64, height: int = 48, sound: bool = False) -> bytes:
    """An mp4 of a moving square, with a tone as long as itself if ``sound``."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        track = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for number in range(frames):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[8:24, 2 * number : 2 * number + 16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if track is not None:
            wave = np.sin(np.arange(16_000 * frames // fps) * 0.1, dtype=np.float32)[None] * 0.3
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return out.getvalue()


def recording(steps: int = 50, channels: int = 3, **options) -> bytes:
    time = np.arange(steps, dtype=np.float32)
    values = np.stack([np.sin(time / (3 + at)) * (at + 1) for at in range(channels)], axis=1)
    out = io.BytesIO()
    np.save(out, values.astype(options.get("dtype", np.float32)))
    return out.getvalue()


MAKERS = {"jpg": picture, "wav": tone, "mp4": clip, "npy": recording}
"""Extension of each kind to what makes one."""


def write_folder(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_tar(path: Path, members: Mapping[str, bytes | str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}
