"""A test of the mean gain that assumes no distribution: flip the signs of the paired differences."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.stats.verdict import ALPHA

EXACT_PAIRS = 16
"""Up to so many pairs every pattern of signs is tried."""

DRAWS = 9_999
"""Random patterns of signs where there are more pairs."""

SEED = 1935
"""Of the random patterns, the same for every contrast."""

ROUNDING = 1e-12
"""Sums of differences closer than this share of their size are ties."""


@dataclass(frozen=True)
class SignFlip:
    """A sign-flip permutation test of a mean gain of zero."""

    pairs: int
    p_value: float | None
    """Two-sided; None without pairs."""
    smallest: float | None
    """The smallest p that the test can give with these pairs: 2 to the power of 1 - n if it is exact."""
    exact: bool
    """Whether every pattern of signs was tried."""
    remark: str = ""
    """What the number of pairs keeps the test from saying."""


def sign_flip(gains: NDArray[np.float64]) -> SignFlip:
    """Test that the differences are symmetric about zero, by the mean under flips of their signs.

    Where the arms differ in nothing, every difference is as likely to have come out with the other sign
    (Fisher 1935, *The Design of Experiments*, section 21). Exact up to `EXACT_PAIRS` pairs; beyond,
    over `DRAWS` random patterns, with the observed one counted among them, so that the p value is
    valid and never zero (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39).

    Args:
        gains: float64[n], paired differences in the endpoint's unit.

    Raises:
        ValueError: not one-dimensional, or a difference that is not finite.
    """
    values = np.asarray(gains, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("a sign-flip test takes one row of finite differences")
    if values.size == 0:
        return SignFlip(0, None, None, exact=True, remark="no complete pair")
    # A difference of zero is the same with either sign: it changes no share of the patterns.
    moving = values[values != 0.0]
    if moving.size <= EXACT_PAIRS:
        p_value, smallest = _exact(moving), min(1.0, 2.0 ** (1 - moving.size))
    else:
        p_value, smallest = _sampled(moving), 1.0 / (DRAWS + 1)
    exact = moving.size <= EXACT_PAIRS
    return SignFlip(values.size, p_value, smallest, exact, _remark(values.size, moving.size, smallest))


def _remark(pairs: int, moving: int, smallest: float) -> str:
    if moving == 0:
        return "every difference is zero"
    if smallest <= ALPHA:
        return ""
    counted = f"{pairs} pairs" if pairs > 1 else "one pair"
    if moving < pairs:
        counted += f", {pairs - moving} of them without a difference"
    return f"{counted}: a sign-flip test cannot give a p below {smallest:g}"


def _exact(values: NDArray[np.float64]) -> float:
    """Share of all sign patterns whose sum is at least as far from zero as the observed one."""
    if values.size == 0:
        return 1.0
    # The first sign stays: turning all signs round only turns the sum round.
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return float(np.mean(np.abs(sums) >= _threshold(values)))


def _sampled(values: NDArray[np.float64]) -> float:
    sums = _signs(values.size) @ values
    reached = int(np.count_nonzero(np.abs(sums) >= _threshold(values)))
    return (reached + 1) / (DRAWS + 1)


def _threshold(values: NDArray[np.float64]) -> float:
    return abs(float(values.sum())) - ROUNDING * float(np.abs(values).sum())


@lru_cache(maxsize=2)
def _signs(pairs: int) -> NDArray[np.float32]:
    """float32[DRAWS, pairs] of -1 and 1. Contrasts of one size share them."""
    # Raw words, because numpy promises their stream to stay what it is between versions.
    words = np.random.PCG64(SEED).random_raw(-(-DRAWS * pairs // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[: DRAWS * pairs]
    return bits.reshape(DRAWS, pairs).astype(np.float32) * np.float32(2) - np.float32(1)
