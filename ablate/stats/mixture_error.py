"""The noise behind the intervals of a surface, and whether the surface describes the points."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, fdtri

from ablate.stats.mixture_blocks import Blocks
from ablate.stats.mixture_surface import LEVEL, ErrorEstimate, ErrorSource, Fitted, LackOfFit
from ablate.stats.paired import ROUNDING

Array = NDArray[np.float64]

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
        return ErrorEstimate(0.0, blocks.df, "points x seeds", 0.0, None), None
    source: ErrorSource = "points x seeds"
    variance, df = pure, float(blocks.df)
    other, other_df = pure, float(blocks.df)
    p_seeds = None
    split = seed_error(fitted, shares, blocks)
    if split is not None:
        (between, between_df), (rest, rest_df) = split
        p_seeds = float(fdtrc(between_df, rest_df, between / rest))
        if p_seeds < POOLING:
            variance, df, source = between, between_df, "surfaces of seeds"
            other, other_df = rest, rest_df
    points = len(shares)
    spare = points - 1 - len(fitted.parameters)
    lack = _lack_of_fit(misfit, spare, other, other_df, blocks) if spare > 0 else None
    if lack is not None and lack.seen and misfit / spare > variance:
        variance, df, source = misfit / spare, float(spare), "misfit"
    return ErrorEstimate(float(np.sqrt(variance)), df, source, float(np.sqrt(pure)), p_seeds), lack


def seed_error(
    fitted: Fitted, shares: Array, blocks: Blocks
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Mean square and df of the interaction along the terms of the model, and of the rest of it.

    The first is how much the surfaces of seeds differ from one another. If points scatter independently both
    estimate one variance. Of the seeds that ran every point; None for fewer than two, or where nothing is
    left.
    """
    whole = blocks.observed.all(axis=0)
    seeds, points = int(whole.sum()), len(shares)
    if seeds < 2:
        return None
    cells = blocks.values[:, whole]
    residuals = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
    gradient = fitted.model.jacobian(fitted.parameters, shares)
    axes, singular, _ = np.linalg.svd(gradient - gradient.mean(axis=0), full_matrices=False)
    axes = axes[:, singular > 1e-9 * singular.max(initial=0.0)]
    d, rest_df = axes.shape[1], (seeds - 1) * (points - 1 - axes.shape[1])
    if not d or rest_df < 1:
        return None
    along = float(((axes.T @ residuals) ** 2).sum())
    rest = float((residuals**2).sum()) - along
    if not rest > 1e-12 * along:
        return None
    return (along / (d * (seeds - 1)), float(d * (seeds - 1))), (rest / rest_df, float(rest_df))


def _lack_of_fit(misfit: float, spare: int, variance: float, df: float, blocks: Blocks) -> LackOfFit:
    f = misfit / spare / variance
    # A misfit that is random over points multiplies F by 1 + runs * tau^2 / sigma^2.
    ratio = float(fdtri(spare, df, LEVEL)) / float(fdtri(spare, df, 0.2))
    runs = float(np.trace(blocks.information)) / (len(blocks.means) - 1)
    seen = float(np.sqrt(max(ratio - 1.0, 0.0) * variance / runs))
    return LackOfFit(f, float(spare), df, float(fdtrc(spare, df, f)), seen)
