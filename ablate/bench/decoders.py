"""Decoding rates of sound and video, each beside the bare library in the same run, on one thread."""

import io
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ablate.bench.data import Measurement
from ablate.data.audio import decode_waveform
from ablate.data.video import decode_video
from encoders.media_spec import VideoSpec

_RATE_HZ = 16_000
_SECONDS = 4.0
_FRAMES = 16
_SIZE = 96
_CLIPS = 16
_SLICES = 20


def measure_decoders(seconds: float) -> list[Measurement]:
    """Measure Opus and mp4 decoding on recordings and clips made here, on one thread.

    Args:
        seconds: time for each of the two kinds.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*_opus(seconds), _mp4(seconds)]
    finally:
        torch.set_num_threads(threads)


def _opus(seconds: float) -> list[Measurement]:
    import av
    import soundfile  # type: ignore[import-untyped]

    def ours(data: bytes) -> Any:
        return decode_waveform(data, _RATE_HZ, _SECONDS)

    def bare_soundfile(data: bytes) -> Any:
        return soundfile.read(io.BytesIO(data), dtype="float32")

    def bare_pyav(data: bytes) -> Any:
        with av.open(io.BytesIO(data), "r", format="ogg") as source:
            stream = source.streams.audio[0]
            stream.codec_context.thread_count = 1
            return np.concatenate([frame.to_ndarray() for frame in source.decode(stream)], axis=1)

    recordings = [_recording(seed) for seed in range(_CLIPS)]
    rate, soundfile_rate, pyav_rate = _rates([ours, bare_soundfile, bare_pyav], recordings, seconds)
    unit = f"{_SECONDS:g} s recordings/s/core"
    return [
        Measurement("Opus to 16 kHz, against bare soundfile", rate, unit, soundfile_rate),
        Measurement("Opus to 16 kHz, against bare PyAV at 48 kHz", rate, unit, pyav_rate),
    ]


def _mp4(seconds: float) -> Measurement:
    import av

    def ours(data: bytes) -> Any:
        return decode_video(data, VideoSpec(_FRAMES, _SIZE))

    def bare_pyav(data: bytes) -> Any:
        with av.open(io.BytesIO(data), "r", format="mp4") as source:
            stream = source.streams.video[0]
            stream.thread_count = 1
            return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(stream)])

    rate, bare_rate = _rates([ours, bare_pyav], [_clip(seed) for seed in range(_CLIPS)], seconds)
    return Measurement(
        "mp4 decoding, against bare PyAV", rate, f"{_FRAMES}x{_SIZE}x{_SIZE} clips/s/core", bare_rate
    )


def _rates(decoders: list[Callable[[bytes], Any]], items: list[bytes], seconds: float) -> list[float]:
    """Items a second of this thread's processor time: the median of slices taken in turn, so that
    neither other processes nor a slow moment of the machine favour one decoder."""
    slices: list[list[float]] = [[] for _ in decoders]
    turns = [itertools.cycle(items) for _ in decoders]
    span = seconds / (_SLICES * len(decoders))
    for decode in decoders:
        decode(items[0])
    for _ in range(_SLICES):
        for decode, turn, rates in zip(decoders, turns, slices, strict=True):
            done, start = 0, time.thread_time()
            while (spent := time.thread_time() - start) < span or not done:
                decode(next(turn))
                done += 1
            rates.append(done / spent)
    return [float(np.median(rates)) for rates in slices]


def _recording(seed: int) -> bytes:
    """An Ogg Opus of a chord that swells and fades over noise, about 3 kB a second."""
    import av

    draw = np.random.Generator(np.random.PCG64(seed))
    time_s = np.arange(int(_SECONDS * _RATE_HZ)) / _RATE_HZ
    pitches = draw.uniform(100, 3000, 4)
    wave = sum(np.sin(2 * np.pi * pitch * time_s) * (1 + np.sin(pitch * time_s / 99)) for pitch in pitches)
    wave = 0.1 * wave + draw.normal(0, 0.02, len(time_s))
    out = io.BytesIO()
    with av.open(out, "w", format="ogg") as sink:
        stream = sink.add_stream("libopus", rate=_RATE_HZ, layout="mono")
        stream.bit_rate = 24_000
        size = stream.codec_context.frame_size or 320
        for start in range(0, len(wave), size):
            part = (wave[None, start : start + size] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            frame.sample_rate, frame.pts = _RATE_HZ, start
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return out.getvalue()


def _clip(seed: int) -> bytes:
    """An H.264 mp4 of a square that moves over soft colours with some noise."""
    import av
    from PIL import Image

    draw = np.random.Generator(np.random.PCG64(seed))
    coarse = Image.fromarray(draw.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    ground = np.asarray(coarse.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC), dtype=np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=10, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = _SIZE, _SIZE, "yuv420p"
        stream.thread_count = 1
        for number in range(_FRAMES):
            pixels = ground + draw.normal(0, 4, ground.shape)
            at = number * (_SIZE - 24) // _FRAMES
            pixels[at : at + 24, 30:54] = 255
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="rgb24")
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return out.getvalue()
