"""The mixtures that a surface may speak of: the convex hull of those that were fitted, as a grid."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = 500
"""Points of the lattice that the grid is made of, at most."""
FINEST = 100
"""Steps from one corner to another, at most."""
TOLERANCE = 1e-7
"""Distance from the hull that counts as rounding."""


@dataclass(frozen=True, eq=False)
class Region:
    """Convex hull of mixtures."""

    corners: Array
    """float64[n, q]: the mixtures."""
    whole: bool
    """Whether it is all of the simplex above its lower bounds."""
    lower: Array
    """float64[q]: least share of each component."""
    grid: Array
    """float64[m, q]: mixtures of the region, `corners` among them."""
    rivals: NDArray[np.int64]
    """Rows of a coarser grid, corners included, which others are compared with."""
    step: float
    """Distance of neighbours on the grid, in share."""

    def holds(self, shares: Array) -> NDArray[np.bool_]:
        """bool[n]: whether each row of float64[n, q] lies in the region."""
        inside = np.abs(shares.sum(axis=1) - 1.0) <= TOLERANCE
        inside &= (shares >= self.lower - TOLERANCE).all(axis=1)
        if not self.whole:
            inside[inside] = _in_hull(shares[inside], self.corners)
        return np.asarray(inside)


def region_of(corners: Array) -> Region:
    """The hull of ``corners``, float64[n, q], rows that add up to 1."""
    distinct = np.unique(np.round(corners, 12), axis=0)
    return _region(distinct.tobytes(), distinct.shape[1])


@lru_cache(maxsize=64)
def _region(raw: bytes, q: int) -> Region:
    corners = np.frombuffer(raw, dtype=np.float64).reshape(-1, q)
    lower = corners.min(axis=0)
    room = 1.0 - float(lower.sum())
    tips = lower + room * np.eye(q)
    whole = bool((np.abs(tips[:, None, :] - corners[None, :, :]).max(axis=2).min(axis=1) <= TOLERANCE).all())
    steps = max(steps for steps in range(1, FINEST + 1) if comb(steps + q - 1, q - 1) <= MOST or steps == 1)
    steps -= steps % 2 if steps > 2 else 0
    places = _lattice(q, steps)
    shares = lower + room * places / steps
    # Every second node in every direction, as odd numbers of steps cannot be halved.
    coarse = (places % 2 == 0).all(axis=1) if steps > 2 else np.ones(len(places), dtype=bool)
    kept = np.ones(len(shares), dtype=bool) if whole else _in_hull(shares, corners)
    shares, coarse = shares[kept], coarse[kept]
    middles = np.array([(corners[i] + corners[j]) / 2.0 for i, j in combinations(range(len(corners)), 2)])
    extra = corners if whole or not len(middles) else np.vstack([corners, middles[:MOST]])
    extra = extra[[not _among(one, shares) for one in extra]] if len(shares) else extra
    grid = np.vstack([shares, extra])
    marks = np.concatenate([coarse, np.ones(len(extra), dtype=bool)])
    return Region(corners, whole, lower, grid, np.flatnonzero(marks), room / steps)


def _among(one: Array, shares: Array) -> bool:
    return bool((np.abs(shares - one).max(axis=1) <= TOLERANCE).any())


def _lattice(q: int, steps: int) -> NDArray[np.int64]:
    """int[n, q]: all rows of whole numbers that add up to ``steps``."""
    bars = np.array(list(combinations(range(steps + q - 1), q - 1)), dtype=np.int64).reshape(-1, q - 1)
    ends = np.full((len(bars), 1), steps + q - 1, dtype=np.int64)
    edges = np.hstack([-np.ones_like(ends), bars, ends])
    found: NDArray[np.int64] = edges[:, 1:] - edges[:, :-1] - 1
    return found


def _in_hull(shares: Array, corners: Array) -> NDArray[np.bool_]:
    """Whether each row is a weighted mean of ``corners``, by nonnegative least squares."""
    from scipy.optimize import nnls

    stacked = np.vstack([corners.T, np.ones(len(corners))])
    return np.array([nnls(stacked, np.append(one, 1.0))[1] <= TOLERANCE for one in shares], dtype=bool)
