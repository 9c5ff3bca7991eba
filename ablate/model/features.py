"""Features of a frozen encoder, computed once and shared by every arm, seed and study.

The cache is keyed by what decides the features: the frozen weights, the settings, the decoded media, the
libraries and the kind of device; not by captions nor by where weights lie. A pass that is killed goes on
where it stopped.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from ablate.data.content import cache_errors, digest_of
from ablate.data.decoded import DecodedMedia
from ablate.data.errors import DataError
from ablate.data.mixture import MediaItemSource, Mixture
from ablate.model.fusion import FusedModel
from encoders.base import Encoder

ITEMS_AT_A_TIME = 64
"""Items that the frozen encoder sees at a time in the pass."""

_FORMAT = "features-2"

_TOLD_BY_TENSORS = {"weights", "pretrained_on"}
"""Settings that say where frozen weights come from; the weights themselves are digested."""


class CachedFeatures:
    """Features by item, memory-mapped. It travels between processes as its path."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        try:
            self._values = np.memmap(folder / "values.bin", dtype=np.float32, mode="r", shape=shape)
            self._ok: NDArray[np.bool_] = np.load(folder / "ok.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}: the cached features are damaged ({error}); delete this folder"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedFeatures, (self.folder, self.shape)

    def get(self, indices: NDArray[np.int64]) -> tuple[np.ndarray, NDArray[np.bool_]]:
        """float32[n, tokens_per_item, feature_width], and bool[n]: whether the medium could be decoded."""
        return np.asarray(self._values[indices]), self._ok[indices]


def frozen_digest(encoder: Encoder) -> str:
    """Digest of everything about ``encoder`` that its features depend on, versions of libraries included."""
    hasher = hashlib.blake2b(digest_size=16)
    hasher.update(repr((type(encoder).__name__, encoder.spec, encoder.feature_width)).encode())
    hasher.update(repr(_settings(asdict(encoder.config))).encode())  # type: ignore[call-overload]
    hasher.update(repr(encoder.library_versions()).encode())
    frozen = {name: weight for name, weight in encoder.named_parameters() if not weight.requires_grad}
    for name, value in sorted([*frozen.items(), *encoder.named_buffers()]):
        hasher.update(name.encode())
        hasher.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


def _settings(given: Any) -> Any:
    """``given`` in a fixed order, without the settings that the frozen tensors speak for."""
    if not isinstance(given, dict):
        return given
    return sorted(((key, _settings(value)) for key, value in given.items() if key not in _TOLD_BY_TENSORS))


def cached_features(encoder: Encoder, decoded: DecodedMedia, cache: Path) -> CachedFeatures:
    """The features of all of ``decoded``, computed on the encoder's device where they are not there yet.

    Processes that ask at the same time wait for one another.

    Raises:
        ValueError: ``encoder`` has no frozen trunk.
        DataError: the cache is damaged or cannot be written, or the disk is full.
    """
    if not encoder.feature_width:
        raise ValueError(f"{type(encoder).__name__} has no frozen trunk, so its features change in training")
    root = cache / "features"
    device = next(encoder.parameters()).device.type
    key = digest_of(_FORMAT, frozen_digest(encoder), decoded.values_digest(), torch.__version__, device)
    shape = (len(decoded), encoder.tokens_per_item, encoder.feature_width)
    folder = root / key
    with cache_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{key}.lock"):
            if not folder.is_dir():
                partial = root / f".{key}.partial"
                partial.mkdir(exist_ok=True)
                with _evaluating(encoder):
                    _compute(encoder, decoded, partial, shape)
                partial.rename(folder)
    return CachedFeatures(folder, shape)


@contextlib.contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Eval mode: dropout drawn in the one pass would stay in the cache for ever."""
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def _compute(encoder: Encoder, decoded: DecodedMedia, folder: Path, shape: tuple[int, int, int]) -> None:
    """Append to ``values.bin`` what it lacks: whole items that a killed pass left are kept."""
    device = next(encoder.parameters()).device
    item_bytes = shape[1] * shape[2] * np.dtype(np.float32).itemsize
    path = folder / "values.bin"
    done = path.stat().st_size // item_bytes if path.exists() else 0
    ok = np.ones(shape[0], dtype=bool)
    with path.open("r+b" if path.exists() else "wb") as out:
        out.truncate(done * item_bytes)
        out.seek(done * item_bytes)
        for begin in range(0, shape[0], ITEMS_AT_A_TIME):
            indices = np.arange(begin, min(begin + ITEMS_AT_A_TIME, shape[0]))
            new = indices[indices >= done]
            if not len(new) and not decoded.live:
                ok[indices] = decoded.get(indices)[1]
                continue
            values, ok[indices] = decoded.get(indices)
            if len(new):
                media = torch.from_numpy(np.ascontiguousarray(values[indices >= done])).to(device)
                out.write(encoder.features(media).float().cpu().contiguous().numpy().tobytes())
                out.flush()
    np.save(folder / "ok.npy", ok)


def attach_features(model: FusedModel, mixture: Mixture, cache: Path, *, media_loss: bool) -> None:
    """Let ``mixture`` deliver cached features to every frozen encoder of ``model``.

    Media are still read where a loss regresses them. What `noise` and `blank` controls show is no medium of
    the stream and has no cached features: there the encoder runs.
    """
    for encoder, source in _reading_features(model, mixture):
        source.features = cached_features(encoder, source.decoded, cache)
        source.with_values = media_loss


def attach_zeros(model: FusedModel, mixture: Mixture, *, media_loss: bool) -> None:
    """As `attach_features`, but features are zeros of the right shape and no trunk runs: to time a step."""
    for encoder, source in _reading_features(model, mixture):
        source.features = _Zeros((encoder.tokens_per_item, encoder.feature_width))
        source.with_values = media_loss


class _Zeros:
    """Features of value 0."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape

    def get(self, indices: NDArray[np.int64]) -> tuple[np.ndarray, NDArray[np.bool_]]:
        count = len(indices)
        return np.zeros((count, *self.shape), dtype=np.float32), np.ones(count, dtype=bool)


def _reading_features(model: FusedModel, mixture: Mixture) -> Iterator[tuple[Encoder, MediaItemSource]]:
    """Every frozen encoder of ``model`` that shows media of its stream, with their source."""
    for stream in mixture.media.values():
        for name, source in stream.items.items():
            if name not in model.encoders or source.instead is not None:
                continue
            encoder = model.encoder(name)
            if encoder.feature_width:
                yield encoder, source
