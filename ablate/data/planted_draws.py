"""What the planted world draws from: integers that are the same on every platform."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ablate.seeding import stream_seed

T = TypeVar("T")

Integers = npt.NDArray[np.int64]

TURN = 1 << 12
"""A full turn in the unit of `sine`."""

AMPLITUDE = (1 << 15) - 1
"""Largest value of `sine`."""

_SINE: Integers = np.rint(AMPLITUDE * np.sin(np.arange(TURN) * (2 * np.pi / TURN))).astype(np.int64)


class Draws:
    """A stream of integers that is the same with every NumPy version and platform.

    NumPy keeps a bit generator's raw stream fixed but not what `Generator`'s methods make of it
    (NEP 19), so choices and permutations are made here, without floating point.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._bits = np.random.PCG64(stream_seed(seed, name))
        self._ahead: list[int] = []

    def below(self, bound: int) -> int:
        """An integer in [0, bound); the bias is below bound / 2**32."""
        if not self._ahead:
            self._ahead = (self._bits.random_raw(1024) >> np.uint64(32)).tolist()
        return self._ahead.pop() * bound >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """``items`` in random order (Fisher-Yates)."""
        found = list(items)
        for last in range(len(found) - 1, 0, -1):
            other = self.below(last + 1)
            found[last], found[other] = found[other], found[last]
        return found

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """uint8[count], uniform."""
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count]


def sine(phase: Integers) -> Integers:
    """`AMPLITUDE` times the sine of ``phase``, given in `TURN`-ths of a turn."""
    return _SINE[phase % TURN]
