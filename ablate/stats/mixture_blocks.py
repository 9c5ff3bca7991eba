"""Scores of mixtures with seeds as blocks: what they say of the mixtures once the effect of seeds is out.

    y[p, s] = f(x_p) + b_s + e[p, s]

Runs of one seed share their initial weights and the order of their text, so that b_s is large and common to
all mixtures; it drops out of every comparison within seeds (intra-block analysis; John and Williams 1995,
*Cyclic and Computer Generated Designs*, chapter 1). Cells may be missing. All of it is exact where none is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NULL_SPACE = 1e-10
"""Eigenvalues below this share of the largest are zero: comparisons that no seed makes."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Points x seeds, every row and column with a score."""

    values: Array
    """float64[points, seeds]: oriented scores, 0 where not observed."""
    observed: Mask
    information: Array
    """float64[points, points]: the information of the cells on the points for an error variance of 1, seeds
    eliminated: diag(r) - N diag(1/k) N'. Its null space holds the constant, which seeds take up."""
    means: Array
    """float64[points]: least-squares estimates of the points, up to a constant."""
    residuals: Array
    """float64[points, seeds]: interaction of points and seeds, 0 where not observed."""
    df: int
    """Degrees of freedom of the interaction."""
    connected: bool
    """Whether every two points can be compared within seeds, through others if need be."""

    @property
    def pure_variance(self) -> float | None:
        """Mean square of the interaction: the variance of one run about point and seed."""
        return float((self.residuals**2).sum()) / self.df if self.df > 0 else None

    @property
    def block_means(self) -> Array:
        """float64[seeds]"""
        return np.asarray(self.values.sum(axis=0) / self.observed.sum(axis=0))

    def seed_levels(self, gains: Array) -> Array:
        """float64[seeds]: mean of score less gain over the cells of each seed, for ``gains``[points]."""
        return np.asarray(self.block_means - self.within(gains))

    def within(self, of_points: Array) -> Array:
        """Mean of a quantity of the points, float64[points, ...], over the cells of each seed: [seeds,
        ...]."""
        counts = self.observed.sum(axis=0).astype(np.float64)
        return np.asarray(np.tensordot(self.observed.T / counts[:, None], of_points, axes=1))


def eliminate_seeds(values: Array) -> Blocks:
    """Analyse float64[points, seeds], NaN where there is no score; every row and column has one or more."""
    observed = np.isfinite(values)
    values = np.where(observed, values, 0.0)
    points, seeds = values.shape
    information = information_of(observed)
    totals = (np.where(observed, values - values.sum(axis=0) / observed.sum(axis=0), 0.0)).sum(axis=1)
    if observed.all():
        means, connected = totals / seeds, True
    else:
        means = inverse_of(information) @ totals
        sizes = np.linalg.eigvalsh(information)
        connected = int((sizes > NULL_SPACE * sizes.max(initial=0.0)).sum()) == points - 1
    remainder = values - means[:, None]
    levels = np.where(observed, remainder, 0.0).sum(axis=0) / observed.sum(axis=0)
    residuals = np.where(observed, remainder - levels, 0.0)
    df = int(observed.sum()) - points - seeds + 1 if connected else 0
    return Blocks(values, observed, information, means, residuals, df, connected)


def information_of(observed: Mask) -> Array:
    """float64[..., points, points] for bool[..., points, seeds]; a row without cells is zero."""
    cells = observed.astype(np.float64)
    sizes = cells.sum(axis=-2)
    weighted = cells / np.where(sizes > 0, sizes, 1.0)[..., None, :]
    own = cells.sum(axis=-1)[..., None] * np.eye(observed.shape[-2])
    return np.asarray(own - weighted @ np.swapaxes(cells, -1, -2))


def inverse_of(information: Array) -> Array:
    """Pseudoinverse of float64[..., points, points], whose null space is of the size of rounding errors."""
    # The cut-off that numpy takes if none is given lies within these errors, on some processors and sizes.
    return np.asarray(np.linalg.pinv(information, rcond=NULL_SPACE, hermitian=True), dtype=np.float64)


def square_root(information: Array) -> Array:
    """Symmetric root of float64[..., points, points]."""
    sizes, directions = np.linalg.eigh(information)
    # The root of a rounding error is no rounding error.
    sizes = np.where(sizes > NULL_SPACE * sizes.max(axis=-1, keepdims=True), sizes, 0.0)
    scaled = directions * np.sqrt(sizes)[..., None, :]
    return np.asarray(scaled @ np.swapaxes(directions, -1, -2))
