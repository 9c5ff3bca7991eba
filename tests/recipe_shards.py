"""Shards of every modality under the names that the shipped recipes look for, made of small real media."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from benchmark_samples import SAMPLES as TASK_SAMPLES

SAMPLES = 24
"""Samples of a shard."""
SOUND_FORMS = (
    ("wav", "WAV", None, 8_000, 2),
    ("flac", "FLAC", None, 22_050, 1),
    ("opus", "OGG", "OPUS", 48_000, 1),
)
"""Extension, libsndfile's format and subtype, rate and channels: within one shard they differ."""
SENSORS = ((26, 30.0, 300), (3, 32.0, 128), (6, 15.0, 15), (6, 10.0, 100))
"""Channels, rate and steps of the kinds of recording of one shard."""
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def write_recipe_shards(root: Path) -> None:
    """Fill audio/, video/ and sensor/ below ``root``."""
    sets = {
        "audio/speech-train-000.tar.gz": _sounds(0, "a voice says"),
        "audio/sounds-train-000.tar.gz": _sounds(SAMPLES, "a bell rings"),
        "video/video-train-000.tar.gz": _clips(),
        "sensor/sensor-train-000.tar.gz": _recordings(),
    }
    for name, samples in sets.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(root / name, "w:gz") as tar:
            for number, (extension, data, caption, fields) in enumerate(samples):
                _add(tar, f"{number:04d}.{extension}", data)
                _add(tar, f"{number:04d}.txt", caption.encode())
                _add(tar, f"{number:04d}.json", json.dumps(fields).encode())


def write_recipe_tasks(root: Path) -> None:
    """Fill tasks/ below ``root`` with a few invented items of each benchmark that a recipe names."""
    places = {
        "blimp": "blimp/{}.jsonl.gz",
        "vicomte": "vicomte/{}.jsonl.gz",
        "coda": "coda/{}.jsonl.gz",
        "lambada": "lambada.jsonl.gz",
        "piqa": "piqa_dev.jsonl.gz",
        "copa": "copa.jsonl.gz",
    }
    for kind, place in places.items():
        for name, rows in TASK_SAMPLES[kind][0].items():
            path = root / "tasks" / place.format(name.partition(".")[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            with gzip.open(path, "wt", encoding="utf-8") as lines:
                lines.writelines(json.dumps(row) + "\n" for row in rows)


def write_pictures_folder(folder: Path) -> None:
    """Photographs as a reader has them: three files and a CSV of captions."""
    from PIL import Image

    folder.mkdir()
    for name, shade in (("cat.jpg", 60), ("dog.jpg", 120), ("bird.png", 180)):
        Image.new("RGB", (48, 40), (shade, 90, 255 - shade)).save(folder / name)
    lines = [
        "file_name,caption",
        "cat.jpg,a cat on a wall",
        'cat.jpg,"a wall, a cat"',
        "dog.jpg,a dog asleep",
    ]
    (folder / "captions.csv").write_text("\n".join([*lines, "bird.png,a drawing of a bird"]) + "\n")


Sample = tuple[str, bytes, str, Mapping[str, Any]]
"""Extension, bytes, caption and fields of KEY.json."""


def _sounds(first: int, words: str) -> Iterator[Sample]:
    for number in range(SAMPLES):
        extension, form, subtype, rate, channels = SOUND_FORMS[number % len(SOUND_FORMS)]
        time = np.arange(rate) / rate
        wave = 0.3 * np.sin(2 * np.pi * (200 + 20 * (first + number)) * time)
        out = io.BytesIO()
        soundfile.write(out, np.stack([wave] * channels, axis=1), rate, format=form, subtype=subtype)
        caption = f"{words} {_COUNTS[number % 8]} times, and then {_COUNTS[(number // 8) % 8]} more."
        yield extension, out.getvalue(), caption, {"rate_hz": rate, "duration": 1.0}


def _clips() -> Iterator[Sample]:
    """MP4 of a brightening square, 3 to 16 frames, with a tone."""
    for number in range(SAMPLES):
        file, frames = io.BytesIO(), 3 + number % 14
        with av.open(file, "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=8)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            sound = container.add_stream("aac", rate=16_000, layout="mono")
            for at in range(frames):
                pixels = np.zeros((48, 64, 3), np.uint8)
                pixels[8:40, 2 * at : 2 * at + 16] = 100 + 6 * number
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode(None))
            tone = 0.3 * np.sin(np.arange(2_000 * frames, dtype=np.float32) * (0.1 + 0.01 * number))[None]
            frame = av.AudioFrame.from_ndarray(tone.astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
        caption = f"a square walks {_COUNTS[frames % 8]} steps to the right"
        yield "mp4", file.getvalue(), caption, {"fps": 8, "frames": frames}


def _recordings() -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for number in range(SAMPLES):
        channels, rate, steps = SENSORS[number % len(SENSORS)]
        values = np.cumsum(rng.normal(size=(steps, channels)), axis=0).astype(np.float32)
        out = io.BytesIO()
        np.save(out, values)
        caption = f"an arm lifts {_COUNTS[number % 8]} cups"
        yield "npy", out.getvalue(), caption, {"rate_hz": rate, "channels": channels, "steps": steps}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
