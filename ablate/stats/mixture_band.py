"""Simultaneous intervals for many contrasts of one vector of estimates.

For a vector t with covariance s^2 V, s^2 having df degrees of freedom, the largest |c't| / (s sqrt(c'Vc))
over a set of contrasts c is R m(U) / s: U a uniform direction of the r-dimensional space they span, m(U) <= 1
the largest projection on it of their normalised images, R^2 / (r s^2) an F of r and df degrees of freedom,
independent of U. Its tail is the mean over U of that of F, which is computed for drawn directions (Naiman
1986, Ann. Statist. 14:896; Liu 2010, *Simultaneous Inference in Regression*, chapter 1). Working's,
Hotelling's and Scheffe's band is the case m = 1, for all contrasts whatever; over the mixtures of a simplex
it is wider than need be, and the draws of U alone leave an error of the level: its sd is 0.001.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import fdtrc, fdtri, stdtrit

Array = NDArray[np.float64]

DIRECTIONS = 4_000
"""Drawn for the band."""

NULL = 1e-9
"""Contrasts shorter than this share of the longest are zero: the baseline against itself."""


def scheffe_critical(rank: int, df: float, alpha: float) -> float:
    """Scheffe's critical value in standard errors (1953, Biometrika 40:87), for all contrasts of ``rank``."""
    return float(np.sqrt(rank * fdtri(rank, df, 1.0 - alpha)))


def normalised(gradients: Array, unscaled: Array) -> Array:
    """float64[n, r]: contrasts of float64[n, d] in coordinates where the estimates are independent, of length
    1; those that are zero are left out.

    Args:
        unscaled: float64[d, d], covariance of the estimates for an error variance of 1.
    """
    images = independent(gradients, unscaled)
    length = np.linalg.norm(images, axis=1)
    live = length > NULL * length.max(initial=0.0)
    return np.asarray(images[live] / length[live, None])


def independent(gradients: Array, unscaled: Array) -> Array:
    """float64[n, r]: contrasts float64[n, d] in coordinates where estimates have unit covariance."""
    # Parameters have units of their own, so that variances differ by orders: correlations have the rank.
    scale = np.sqrt(np.maximum(np.diagonal(unscaled), 0.0))
    safe = np.where(scale > 0, scale, 1.0)
    sizes, axes = np.linalg.eigh(unscaled / safe / safe[:, None])
    kept = sizes > 1e-12 * sizes.max(initial=0.0)
    found: Array = (gradients * scale) @ (axes[:, kept] * np.sqrt(sizes[kept]))
    return found


def critical_value(gradients: Array, unscaled: Array, df: float, alpha: float, seed: int = 0) -> float:
    """Half width, in standard errors, of intervals that hold all contrasts at once with probability 1 -
    alpha.

    Args:
        gradients: float64[n, d]: the contrasts.
        unscaled: float64[d, d]: covariance of the estimates, up to a factor.
        df: degrees of freedom of the error variance.
        seed: of the directions.
    """
    images = normalised(gradients, unscaled)
    return _critical(np.round(images, 10).tobytes(), images.shape[1], df, alpha, seed)


@lru_cache(maxsize=256)
def _critical(raw: bytes, rank: int, df: float, alpha: float, seed: int) -> float:
    pointwise = float(stdtrit(df, 1.0 - alpha / 2.0))
    images = np.frombuffer(raw, dtype=np.float64).reshape(-1, rank) if rank else np.empty((0, 0))
    if rank < 2 or len(images) < 2:
        return pointwise
    largest = np.abs(images @ directions(rank, DIRECTIONS, seed)).max(axis=0)
    widest = scheffe_critical(rank, df, alpha)
    if widest <= pointwise:
        return pointwise

    def excess(critical: float) -> float:
        return float(fdtrc(rank, df, (critical / largest) ** 2 / rank).mean()) - alpha

    # Contrasts that nearly are one need no more than one does, up to the error of the draws.
    if excess(pointwise) <= 0.0:
        return pointwise
    return float(brentq(excess, pointwise, widest * 1.01, xtol=1e-4))


@lru_cache(maxsize=64)
def directions(rank: int, count: int, seed: int) -> Array:
    """float64[rank, count]: uniform directions, columns of length 1."""
    drawn = np.random.default_rng([seed, rank, count]).standard_normal((rank, count))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0))
