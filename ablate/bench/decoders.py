"""Decoding rates of sound and video, each beside the bare library in the same run, on one thread."""

import io
from typing import Any

import numpy as np

from ablate.bench.items import (
    CLIP_FRAMES,
    CLIP_SIZE,
    RECORDING_RATE_HZ,
    RECORDING_SECONDS,
    clip,
    recording,
)
from ablate.bench.measurement import Measurement, rates_in_turns
from ablate.data.audio import decode_waveform
from ablate.data.video import decode_video
from encoders.media_spec import VideoSpec

_ITEMS = 16


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
        return decode_waveform(data, RECORDING_RATE_HZ, RECORDING_SECONDS)

    def bare_soundfile(data: bytes) -> Any:
        return soundfile.read(io.BytesIO(data), dtype="float32")

    def bare_pyav(data: bytes) -> Any:
        with av.open(io.BytesIO(data), "r", format="ogg") as source:
            stream = source.streams.audio[0]
            stream.codec_context.thread_count = 1
            return np.concatenate([frame.to_ndarray() for frame in source.decode(stream)], axis=1)

    recordings = [recording(seed) for seed in range(_ITEMS)]
    rate, soundfile_rate, pyav_rate = rates_in_turns([ours, bare_soundfile, bare_pyav], recordings, seconds)
    unit = f"{RECORDING_SECONDS:g} s recordings/s/core"
    return [
        Measurement("Opus to 16 kHz, against bare soundfile", rate, unit, soundfile_rate),
        Measurement("Opus to 16 kHz, against bare PyAV at 48 kHz", rate, unit, pyav_rate),
    ]


def _mp4(seconds: float) -> Measurement:
    import av

    def ours(data: bytes) -> Any:
        return decode_video(data, VideoSpec(CLIP_FRAMES, CLIP_SIZE))

    def bare_pyav(data: bytes) -> Any:
        with av.open(io.BytesIO(data), "r", format="mp4") as source:
            stream = source.streams.video[0]
            stream.thread_count = 1
            return np.stack([frame.to_ndarray(format="rgb24", threads=1) for frame in source.decode(stream)])

    rate, bare_rate = rates_in_turns([ours, bare_pyav], [clip(seed) for seed in range(_ITEMS)], seconds)
    return Measurement(
        "mp4 decoding, against bare PyAV",
        rate,
        f"{CLIP_FRAMES}x{CLIP_SIZE}x{CLIP_SIZE} clips/s/core",
        bare_rate,
    )
