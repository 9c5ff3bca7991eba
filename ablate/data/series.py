"""Sensor recordings decoded to float32[steps, channels] from .npy, without pickle."""

import io
import math

import numpy as np

from ablate.data.errors import DataError
from encoders.media_spec import SeriesSpec

MAX_BYTES = 1 << 30
"""Largest recording in bytes."""
MAX_HEADER = 10_000
"""Longest header of a .npy in bytes; of this kind of array it has about a hundred."""


def decode_series(data: bytes, spec: SeriesSpec, rate_hz: float | None) -> np.ndarray:
    """Decode a .npy of integers or real numbers [time, channels] to float32[steps, channels].

    A recording at ``rate_hz`` steps a second is resampled to ``spec.rate_hz`` (unless that is 0) by linear
    interpolation, then cut to ``spec.steps``; each channel of what is left is normalised to mean 0 and
    variance 1, a constant channel becoming zeros. Missing steps, and missing channels where
    ``spec.pad_channels`` allows it, are zeros.

    Raises:
        DataError: not a .npy or one of objects (which would need pickle), another rank, no steps, values that
            are not finite, other channels than ``spec.channels``, no rate where one is needed, above
            `MAX_BYTES`, or a header that states other than what follows it.
    """
    values = _array(data)
    steps, channels = values.shape
    if not steps or not channels:
        raise DataError(f"the recording has shape [{steps}, {channels}], nothing in it; remove it")
    if channels > spec.channels or (channels < spec.channels and not spec.pad_channels):
        raise DataError(
            f"the recording has {channels} channels, the recipe says {spec.channels}: correct `channels`"
            + (", or set `pad_channels` to fill up with zeros" if channels < spec.channels else "")
        )
    if spec.rate_hz:
        if rate_hz is None:
            raise DataError(
                f"the recording states no rate and the recipe resamples to {spec.rate_hz:g} Hz: "
                "give it `rate_hz` in its .json, or set the recipe's `rate_hz` to 0"
            )
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise DataError(f"the recording states a rate of {rate_hz} Hz; correct `rate_hz` in its .json")
    out = np.zeros(spec.shape, dtype=np.float32)
    kept = values[: spec.steps]
    if spec.rate_hz and rate_hz is not None and rate_hz != spec.rate_hz:
        kept = _resampled(values, rate_hz, spec.rate_hz, spec.steps)
    if not np.isfinite(values).all():
        raise DataError(f"{_not_finite(values)}; fill the gaps or remove the recording")
    out[: len(kept), :channels] = _standardised(kept)
    return out


def _array(data: bytes) -> np.ndarray:
    if data[:6] != b"\x93NUMPY":
        raise DataError(f"not a .npy (begins with {data[:8]!r}); save the recording with numpy.save")
    if len(data) > MAX_BYTES:
        raise DataError(f"the recording has {len(data):,} bytes; the limit is {MAX_BYTES:,}: cut it")
    try:
        source = io.BytesIO(data)
        version = np.lib.format.read_magic(source)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = header(source, max_header_size=MAX_HEADER)
    except Exception as error:  # numpy parses the header as Python literals: ValueError, SyntaxError, ...
        raise DataError(f"corrupt .npy ({error}); save the recording with numpy.save") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"the .npy holds {dtype}, not numbers; save the recording as float32")
    if any(isinstance(length, bool) or not 0 <= length <= MAX_BYTES for length in shape):
        # A length may have more digits than Python prints.
        lengths = ", ".join(str(n) if abs(n) <= MAX_BYTES else "too many" for n in shape)
        raise DataError(
            f"corrupt .npy: its header states the shape [{lengths}]; save the recording with numpy.save"
        )
    if len(shape) != 2:
        raise DataError(
            f"the recording has shape {list(shape)}; it must be [time, channels]: reshape and save it again"
        )
    stated, found = math.prod(shape) * dtype.itemsize, len(data) - source.tell()
    if stated > found:
        raise DataError(
            f"truncated .npy: its header states {stated:,} bytes of values, {found:,} follow; "
            "fetch or save the recording again"
        )
    if stated < found:
        raise DataError(
            f"corrupt .npy: its header states {stated:,} bytes of values, {found:,} follow; "
            "save the recording again, one array in a file"
        )
    array: np.ndarray = np.frombuffer(data, dtype, offset=source.tell())
    return array.reshape(shape, order="F" if by_columns else "C")


def _not_finite(values: np.ndarray) -> str:
    step, channel = np.argwhere(~np.isfinite(values))[0]
    return f"value {values[step, channel]} at step {step}, channel {channel}"


def _resampled(values: np.ndarray, rate_hz: float, wanted_hz: float, most: int) -> np.ndarray:
    """``values`` at ``wanted_hz``: the steps that lie between the first and the last."""
    last = (len(values) - 1) / rate_hz
    # A hair is added so that a step that falls upon the last one is not lost to rounding.
    steps = min(most, math.floor(last * wanted_hz * (1 + 1e-9)) + 1)
    at = np.arange(steps) * (rate_hz / wanted_hz)
    known = np.arange(len(values))
    return np.stack([np.interp(at, known, channel) for channel in values.T], axis=1)


def _standardised(values: np.ndarray) -> np.ndarray:
    """``values`` with mean 0 and variance 1 in each channel; zeros where a channel is constant."""
    values = values.astype(np.float64)
    constant = values.max(axis=0) == values.min(axis=0)
    # Scaled first, so that squares of large values stay finite.
    values /= np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)
    values -= values.mean(axis=0)
    deviation = values.std(axis=0)
    return np.where(constant, 0.0, values / np.where(constant, 1.0, deviation)).astype(np.float32)
