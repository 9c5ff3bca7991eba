"""Media decoded to what an encoder reads, and a memory-mapped cache of them."""

import json
from array import array
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.data.content import digest_of, write_once
from ablate.data.errors import DataError
from ablate.data.media import MediaSamples
from encoders.media_spec import AudioSpec, ImageSpec, MediaSpec, SeriesSpec, VideoSpec

CACHE_LIMIT = 8 << 30
"""Largest decoded cache in bytes; above it media are decoded when they are asked for."""

_FORMAT = "decoded-2"
_LIBRARIES = {
    "image": ("torchvision", "pillow"),
    "video": ("av",),
    "audio": ("soundfile", "av", "torchaudio"),
    "sensor": ("numpy",),
}
_SAMPLED = 256
"""Items whose mean and variance stand for a stream's, evenly spaced."""


def decode(data: bytes, spec: MediaSpec, rate_hz: float | None = None) -> np.ndarray:
    """Decode one medium to the shape and type of ``spec``.

    Args:
        rate_hz: what the sample says of itself; only sensor recordings need it.

    Raises:
        DataError: the bytes are corrupt, cut short, too large, none, or no medium of this kind.
    """
    if not data:
        raise DataError("the file is empty (0 bytes); fetch it again or remove the sample")
    if isinstance(spec, ImageSpec):
        from ablate.data.images import decode_image

        return decode_image(data, spec.size)
    if isinstance(spec, VideoSpec):
        from ablate.data.video import decode_video

        return decode_video(data, spec)
    if isinstance(spec, AudioSpec):
        from ablate.data.audio import decode_audio

        return decode_audio(data, spec)
    from ablate.data.series import decode_series

    return decode_series(data, spec, rate_hz)


class DecodedMedia:
    """The media of one kind in some samples, decoded once into a memory-mapped cache.

    Above ``limit`` bytes, or with ``live``, each is decoded when it is asked for, and `errors` knows only
    those asked for so far in this process. It travels between processes as paths.
    """

    def __init__(
        self,
        samples: MediaSamples,
        spec: MediaSpec,
        cache: Path,
        live: bool = False,
        limit: int = CACHE_LIMIT,
    ) -> None:
        self._samples, self.spec, self._cache, self._limit = samples, spec, cache, limit
        self._items = samples.items[spec.modality]
        self.shape = (len(self._items), *spec.shape)
        self.live = live or int(np.prod(self.shape)) * np.dtype(spec.dtype).itemsize > limit
        self.errors: dict[int, str] = {}
        """Item to what is wrong with it, shard and key included."""
        self._agreed_rate = _agreed_rate(samples, spec)
        self.digest = digest_of(_FORMAT, samples.digest, repr(spec), _decoders(spec.modality))
        """Digest of the media, their texts and how they are decoded."""
        if self.live:
            return
        folder = cache / "decoded" / self.digest
        write_once(folder, self._decode_all)
        try:
            self._values: np.ndarray = np.asarray(
                np.memmap(folder / "values.bin", dtype=spec.dtype, mode="r", shape=self.shape)
            )
            self._ok: np.ndarray = np.load(folder / "ok.npy", allow_pickle=False)
            listed = json.loads((folder / "errors.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: decoded media are damaged ({error}); delete this folder") from error
        self.errors = {int(item): f"{self._name(int(item))}: {why}" for item, why in listed.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return DecodedMedia, (self._samples, self.spec, self._cache, self.live, self._limit)

    def __len__(self) -> int:
        return self.shape[0]

    def values_digest(self) -> str:
        """Digest of what the decoded values depend on: the media's bytes in order and how they are decoded.

        Unlike `digest` it stays the same whatever texts go with the media.
        """
        items = self._items
        columns = (
            (items.digest, items.size, items.rate_hz)
            if self.spec.modality == "sensor"
            else (items.digest, items.size)
        )
        bytes_digest = digest_of(*(np.ascontiguousarray(column).tobytes().hex() for column in columns))
        return digest_of(_FORMAT, bytes_digest, repr(self.spec), _decoders(self.spec.modality))

    def get(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """The items ``indices`` as [n, *spec.shape], and bool[n]: whether each could be decoded.

        One that could not is zero; `errors` says why.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if not self.live:
            return self._values[wanted], self._ok[wanted]
        values = np.zeros((len(wanted), *self.shape[1:]), dtype=self.spec.dtype)
        ok = np.ones(len(wanted), dtype=bool)
        for place, item in enumerate(wanted.tolist()):
            try:
                values[place] = self._decoded(item)
            except DataError as error:
                ok[place] = False
                self.errors[item] = f"{self._name(item)}: {error}"
        return values, ok

    def mean_and_std(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each channel over the stream; they broadcast against an item."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(_SAMPLED, len(self))).astype(np.int64))
        values, ok = self.get(chosen)
        axes = tuple(axis for axis in range(values.ndim) if axis != 1 + self.spec.channel_axis)
        known = values[ok].astype(np.float64)
        mean, std = (known.mean(axes), known.std(axes)) if len(known) else (np.zeros(1), np.zeros(1))
        shape = [1] * len(self.spec.shape)
        shape[self.spec.channel_axis] = -1
        return mean.reshape(shape).astype(np.float32), std.reshape(shape).astype(np.float32)

    def _name(self, item: int) -> str:
        return self._samples.name(self.spec.modality, item)

    def _decoded(self, item: int) -> np.ndarray:
        rate = float(self._items.rate_hz[item])
        if self._agreed_rate is not None and rate != self._agreed_rate and not np.isnan(rate):
            raise DataError(
                f"its rate_hz is {rate:g} where the stream's first recording has {self._agreed_rate:g}; "
                "set the encoder's rate_hz to resample all, or keep the rates apart in streams of their own"
            )
        return decode(
            self._samples.read(self.spec.modality, item), self.spec, None if np.isnan(rate) else rate
        )

    def _decode_all(self, folder: Path) -> None:
        # Written as a file, not through the map: a full disk is an error there and a bus error here.
        folder.mkdir()
        ok, errors = array("b"), {}
        nothing = np.zeros(self.spec.shape, dtype=self.spec.dtype).tobytes()
        with (folder / "values.bin").open("wb", buffering=1 << 20) as out:
            for item in range(len(self)):
                try:
                    out.write(np.ascontiguousarray(self._decoded(item), dtype=self.spec.dtype).tobytes())
                    ok.append(1)
                except DataError as error:
                    out.write(nothing)
                    ok.append(0)
                    errors[item] = str(error)
        np.save(folder / "ok.npy", np.frombuffer(ok, dtype=bool))
        (folder / "errors.json").write_text(json.dumps(errors), encoding="utf-8")


def _agreed_rate(samples: MediaSamples, spec: MediaSpec) -> float | None:
    """The rate that recordings must share because nothing resamples them; None where it does not matter."""
    if not isinstance(spec, SeriesSpec) or spec.rate_hz:
        return None
    known = samples.items["sensor"].rate_hz
    known = known[~np.isnan(known)]
    return float(known[0]) if len(known) else None


def _decoders(modality: str) -> str:
    """The libraries that decode ``modality``, whose versions decide the values."""
    return ", ".join(f"{name} {version(name)}" for name in _LIBRARIES[modality])
