"""A small study of each kind of media, to spoil."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from own_study import OwnStudy, write_own_study, write_tar
from PIL import Image

KEYS = [f"{number:04d}" for number in range(12)]


@dataclass(frozen=True)
class MediaStudy(OwnStudy):
    """A sound recipe and its data; the stream is called `media`, and so is the arm that has it."""

    kind: str
    extension: str

    @property
    def shard(self) -> Path:
        return self.data / "media-000.tar"

    def spoil(self, key: str, data: bytes | None) -> None:
        """Put ``data`` in the place of a sample's medium, or take it out."""
        self.put(f"{key}.{self.extension}", data)


def picture(number: int = 0) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def tone(number: int = 0, rate_hz: int = 8000, channels: int = 1, seconds: float = 0.2) -> bytes:
    """A WAV of one pitch."""
    wave = 0.3 * np.sin(2 * np.pi * (300 + 40 * number) * np.arange(round(seconds * rate_hz)) / rate_hz)
    out = io.BytesIO()
    soundfile.write(out, np.stack([wave] * channels, axis=1), rate_hz, format="WAV")
    return out.getvalue()


def clip(number: int = 0, sound: bool = False) -> bytes:
    """An mp4 of eight frames of a moving square, with a tone if ``sound``."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sink:
        stream = sink.add_stream("libx264", rate=16)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        track = sink.add_stream("aac", rate=8000, layout="mono") if sound else None
        for at in range(8):
            pixels = np.full((32, 32, 3), 10 * number, np.uint8)
            pixels[8:16, 2 * at : 2 * at + 8] = 255
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode(None))
        if track is not None:
            wave = np.sin(np.arange(4096) * 0.3, dtype=np.float32)[None] * 0.3
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 8000
            sink.mux(track.encode(frame))
            sink.mux(track.encode(None))
    return out.getvalue()


def recording(number: int = 0, steps: int = 40, channels: int = 3) -> bytes:
    """A .npy of some waves."""
    time = np.arange(steps)[:, None]
    return saved(np.sin(time / (3 + number + np.arange(channels))).astype(np.float32))


def saved(values: np.ndarray, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, values, allow_pickle=allow_pickle)
    return out.getvalue()


def vast_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A sound picture of one colour, a few kilobytes: black and white, its equal rows packed twice over."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


KINDS: dict[str, tuple[str, Callable[[int], bytes], str]] = {
    "image": ("png", picture, "{name: patches, image_size: 32, patch_size: 16}"),
    "audio": (
        "wav",
        tone,
        "{name: mel_patches, seconds: 0.16, rate_hz: 8000, mels: 16, window: 200, hop: 80, patch_frames: 8}",
    ),
    "video": (
        "mp4",
        clip,
        "{name: tubelets, frames: 2, image_size: 16, tubelet_frames: 2, patch_size: 8}",
    ),
    "sensor": ("npy", recording, "{name: series_patches, steps: 32, channels: 3, patch_steps: 16}"),
}
"""Kind to the extension of its members, what makes one of a number, and an encoder."""
PICTURES = "encoder: {name: patches, image_size: 32, patch_size: 16}"
"""The encoder of `own_study`'s recipe."""


def write_media_study(folder: Path, kind: str) -> MediaStudy:
    """A dozen media of ``kind`` with captions, in the place of `own_study`'s pictures."""
    extension, make, encoder = KINDS[kind]
    own = write_own_study(folder, folder / "data")
    captions = {name: data for name, data in own.members().items() if name.endswith(".txt")}
    own.shard.unlink()
    own.rewrite("modality: image", f"modality: {kind}")
    own.rewrite(PICTURES, f"encoder: {encoder}")
    for found in ("  pictures:", "/pictures-", " pictures: 0.5"):
        own.rewrite(found, found.replace("pictures", "media"))
    own.rewrite("  image: {mixture", "  media: {mixture")
    study = MediaStudy(own.recipe, own.data, kind, extension)
    media = {f"{key}.{extension}": make(number) for number, key in enumerate(KEYS)}
    write_tar(study.shard, captions | media)
    return study


def fields(**said: object) -> bytes:
    """KEY.json."""
    return json.dumps(said).encode()


def opus(seconds: float = 0.5) -> bytes:
    """An Ogg Opus of a tone."""
    wave = 0.3 * np.sin(np.arange(round(seconds * 48_000)) / 20)
    out = io.BytesIO()
    soundfile.write(out, wave, 48_000, format="OGG", subtype="OPUS")
    return out.getvalue()


ALL_KINDS = ("audio", "video", "sensor")


def write_all_media_study(folder: Path) -> dict[str, MediaStudy]:
    """One recipe, `own.yaml` in ``folder``, with a stream of each of `ALL_KINDS`, a quarter of the rows each.

    What it returns holds the shard of each stream; the recipe is the same.
    """
    own = write_own_study(folder, folder / "data")
    captions = {name: data for name, data in own.members().items() if name.endswith(".txt")}
    text = own.recipe.read_text(encoding="utf-8")
    before, _, after = text.partition("  pictures:\n")
    streams, shares, studies = "", "text: 0.25", {}
    for kind in ALL_KINDS:
        extension, make, encoder = KINDS[kind]
        (folder / kind).mkdir()
        studies[kind] = MediaStudy(own.recipe, folder / kind, kind, extension)
        media = {f"{key}.{extension}": make(number) for number, key in enumerate(KEYS)}
        write_tar(studies[kind].shard, captions | media)
        path = json.dumps(str(studies[kind].shard))
        streams += f"  {kind}: {{modality: {kind}, paths: [{path}], encoder: {encoder}}}\n"
        shares += f", {kind}: 0.25"
    arms = "arms:\n" + after.partition("arms:\n")[2]
    own.recipe.write_text(before + streams + arms, encoding="utf-8")
    own.rewrite("image: {mixture: {text: 0.5, pictures: 0.5}}", f"media: {{mixture: {{{shares}}}}}")
    return studies
