"""The noise behind the intervals of a surface, and whether the surface describes the points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, fdtri

from ablate.stats.mixture_blocks import Blocks
from ablate.stats.mixture_surface import LEVEL, ErrorEstimate, ErrorSource, Fitted, LackOfFit
from ablate.stats.paired import ROUNDING

Array = NDArray[np.float64]

SIMULATED = 1_999
"""Studies that a test of equal noise is made of."""

POOLING = 0.25
"""Level of the test that decides whether all of the interaction is one error (Bancroft 1964, Biometrics
20:427, on preliminary tests before pooling)."""


def judge_fit(
    fitted: Fitted, misfit: float, shares: Array, blocks: Blocks
) -> tuple[ErrorEstimate | None, LackOfFit | None]:
    """Error of the surface and its lack of fit; None for one seed, which cannot tell noise from misfit."""
    pure = blocks.pure_variance
    if pure is None:
        return None, None
    size = float(np.abs(blocks.values).max())
    if pure <= (ROUNDING * size) ** 2:
        return ErrorEstimate(0.0, blocks.df, "points x seeds", 0.0, None, None), None
    source: ErrorSource = "points x seeds"
    variance, df = pure, float(blocks.df)
    other, other_df = pure, float(blocks.df)
    p_seeds = None
    split = seed_error(fitted, shares, blocks)
    if split is not None:
        p_seeds = float(fdtrc(split.terms * split.df, split.rest_df, split.along / split.terms / split.rest))
        if p_seeds < POOLING:
            variance, df, source = split.along, split.df, "surfaces of seeds"
            other, other_df = split.rest, split.rest_df
    points = len(shares)
    spare = points - 1 - len(fitted.parameters)
    lack = _lack_of_fit(misfit, spare, other, other_df, blocks) if spare > 0 else None
    if lack is not None and lack.seen and misfit / spare > variance:
        variance, df, source = misfit / spare, float(spare), "misfit"
    unequal = unequal_noise(fitted, shares, blocks, without_terms=source == "surfaces of seeds")
    return ErrorEstimate(float(np.sqrt(variance)), df, source, float(np.sqrt(pure)), p_seeds, unequal), lack


@dataclass(frozen=True)
class SeedError:
    """How much the surfaces of seeds differ from one another, and the rest of the interaction."""

    along: float
    """Trace of the covariance between seeds along the terms of the model. Seeds may differ in one direction
    alone, of which no average over directions tells; no direction has more than the trace."""
    df: float
    terms: int
    rest: float
    """Mean square. If points scatter independently, ``along / terms`` estimates the same."""
    rest_df: float


def seed_error(fitted: Fitted, shares: Array, blocks: Blocks) -> SeedError | None:
    """Of the seeds that ran every point; None for fewer than two, or where nothing is left.

    With the trace T for variance and Student's quantile for s - 1 degrees of freedom, intervals hold all
    contrasts at once, however seeds differ: for z ~ N(0, C / s) and an independent covariance S of s - 1
    degrees of freedom, |z|^2 s / tr S is F of h and h (s - 1) degrees of freedom, nearly, with h between 1,
    all in one direction, and their number; at 1 its quantile is largest, and it is Student's squared (Box
    1954, Ann. Math. Statist. 25:290; Geisser and Greenhouse 1958, Ann. Math. Statist. 29:885).
    """
    whole = blocks.observed.all(axis=0)
    seeds, points = int(whole.sum()), len(shares)
    if seeds < 2:
        return None
    residuals, axes = _interaction(blocks.values[:, whole]), _terms(fitted, shares)
    d, rest_df = axes.shape[1], (seeds - 1) * (points - 1 - axes.shape[1])
    if not d or rest_df < 1:
        return None
    along = float(((axes.T @ residuals) ** 2).sum())
    rest = float((residuals**2).sum()) - along
    if not rest > 1e-12 * along:
        return None
    return SeedError(along / (seeds - 1), float(seeds - 1), d, rest / rest_df, float(rest_df))


def unequal_noise(fitted: Fitted, shares: Array, blocks: Blocks, without_terms: bool) -> float | None:
    """P that the runs of all points scatter alike (Bartlett 1937, Proc. R. Soc. A 160:268), from simulated
    normal scores; of the seeds that ran every point, None where these do not tell.

    Args:
        without_terms: leave out by how much seeds differ along the terms of the model.
    """
    whole = blocks.observed.all(axis=0)
    seeds, points = int(whole.sum()), len(shares)
    axes = _terms(fitted, shares) if without_terms else np.zeros((points, 0))
    if seeds < 2 or points - 1 - axes.shape[1] < 2:
        return None
    drawn = np.random.default_rng([points, seeds]).standard_normal((SIMULATED, points, seeds))
    found = _unevenness(_interaction(blocks.values[:, whole]), axes)
    null = _unevenness(_interaction(drawn), axes)
    return float((1 + (null >= found).sum()) / (1 + SIMULATED))


def _interaction(cells: Array) -> Array:
    """float64[..., points, seeds] less the means of points and of seeds."""
    centred = cells - cells.mean(axis=-2, keepdims=True)
    return np.asarray(centred - centred.mean(axis=-1, keepdims=True))


def _terms(fitted: Fitted, shares: Array) -> Array:
    """float64[points, d]: orthonormal axes of what the model can show of the points, but for their mean."""
    gradient = fitted.model.jacobian(fitted.parameters, shares)
    axes, singular, _ = np.linalg.svd(gradient - gradient.mean(axis=0), full_matrices=False)
    return np.asarray(axes[:, singular > 1e-9 * singular.max(initial=0.0)])


def _unevenness(residuals: Array, axes: Array) -> Array:
    """Logarithm of the mean variance less mean logarithm of the variances of the points."""
    rest = residuals - axes @ (axes.T @ residuals)
    sums = np.maximum((rest**2).sum(axis=-1), 1e-300)
    return np.asarray(np.log(sums.mean(axis=-1)) - np.log(sums).mean(axis=-1))


def _lack_of_fit(misfit: float, spare: int, variance: float, df: float, blocks: Blocks) -> LackOfFit:
    f = misfit / spare / variance
    # A misfit that is random over points multiplies F by 1 + runs * tau^2 / sigma^2.
    ratio = float(fdtri(spare, df, LEVEL)) / float(fdtri(spare, df, 0.2))
    runs = float(np.trace(blocks.information)) / (len(blocks.means) - 1)
    seen = float(np.sqrt(max(ratio - 1.0, 0.0) * variance / runs))
    return LackOfFit(f, float(spare), df, float(fdtrc(spare, df, f)), seen)
