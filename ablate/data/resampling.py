"""A waveform at another sampling rate: the samples of torchaudio's `resample` in a fraction of its time.

Of every ``taken`` samples `resample` makes ``given``, each a weighted sum of the samples around it (a
windowed sinc; J. O. Smith, *Digital Audio Resampling*). From 48 to 16 kHz that is one convolution of
stride 3, which runs far below what the processor can do. Here the waveform is a matrix with some tens of
samples a row, and the same sums are products with two matrices or three, which are read off `resample`'s
response to unit impulses.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

_MAX_TERM = 1000
"""Largest term of the ratio of two rates."""
_COLUMNS = 16
"""Fewest samples that one row of the product gives."""


class Room:
    """Zeros that decoded samples are written into, with the margins that resampling looks at."""

    def __init__(self, samples: int, lead: int = 0) -> None:
        self.padded = np.zeros(lead + samples, dtype=np.float32)
        self.wave = self.padded[lead:]
        """float32[samples], a view of the part behind the margin."""
        self.filled = 0
        """Samples written so far."""

    @property
    def is_full(self) -> bool:
        return self.filled == len(self.wave)

    def add(self, part: np.ndarray) -> None:
        """Write ``part`` float32[n] behind what is there, as far as there is room."""
        end = min(self.filled + len(part), len(self.wave))
        self.wave[self.filled : end] = part[: end - self.filled]
        self.filled = end


class Resampler:
    """From ``rate`` to ``rate_hz``, both in samples a second.

    Where the ratio of the two has a term above a thousand, as no two usual rates have, the nearest ratio
    without one is taken, off by one in a thousand at most: the matrices grow with the product of the terms.
    """

    def __init__(self, rate: int, rate_hz: int) -> None:
        import torch
        from torchaudio.functional import resample

        self._ratio = taken, given = _terms(rate, rate_hz)
        # A windowed sinc of torchaudio's default width 6 and rolloff 0.99 sees so many samples on a side.
        reach = math.ceil(6 * taken / (0.99 * min(taken, given)))
        before = math.ceil(reach / taken)
        span = (2 * before + 1) * taken
        weights = resample(torch.eye(span), taken, given)[:, before * given : (before + 1) * given]
        rows = math.ceil(_COLUMNS / given)
        block = torch.zeros(span + (rows - 1) * taken, rows * given)
        for row in range(rows):
            block[row * taken : row * taken + span, row * given : (row + 1) * given] = weights
        seen = torch.nonzero(block.abs().amax(dim=1))
        first, last = int(seen[0]), int(seen[-1])
        self._lead = before * taken - first
        self._taken, self._given = rows * taken, rows * given
        self._matrices = [
            block[at : min(at + self._taken, last + 1)].contiguous()
            for at in range(first, last + 1, self._taken)
        ]

    def room(self, samples: int) -> Room:
        """Room for all that the first ``samples`` at the new rate depend on."""
        rows = math.ceil(samples / self._given) + len(self._matrices) - 1
        return Room(rows * self._taken - self._lead, self._lead)

    def resample(self, room: Room, samples: int) -> np.ndarray:
        """The first ``samples`` of a `room` at the new rate, float32[samples]; zeros beyond its end."""
        import torch

        values = torch.from_numpy(room.padded).view(-1, self._taken)
        rows = len(values) - len(self._matrices) + 1
        with torch.inference_mode():
            product = values[:rows] @ self._matrices[0]
            for row, matrix in enumerate(self._matrices[1:], start=1):
                product.addmm_(values[row : row + rows, : len(matrix)], matrix)
        resampled: np.ndarray = product.view(-1).numpy()[:samples]
        taken, given = self._ratio
        resampled[-(-room.filled * given // taken) :] = 0
        return resampled


@lru_cache(maxsize=32)
def resampler(rate: int, rate_hz: int) -> Resampler:
    """The `Resampler` of two rates, made once: it takes some milliseconds."""
    return Resampler(rate, rate_hz)


def _terms(rate: int, rate_hz: int) -> tuple[int, int]:
    """``rate`` to ``rate_hz`` in the smallest terms, none above `_MAX_TERM`."""
    ratio = Fraction(rate, rate_hz)
    if max(ratio.numerator, ratio.denominator) <= _MAX_TERM:
        return ratio.numerator, ratio.denominator
    above = max(ratio, 1 / ratio)
    above = above.limit_denominator(max(1, int(_MAX_TERM / above)))
    terms = above.numerator, above.denominator
    return terms if ratio > 1 else terms[::-1]
