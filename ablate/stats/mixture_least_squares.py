"""Least squares of mixture models on the seed-free means of points, also with points left out one by one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ablate.stats.mixture_blocks import Blocks, information_of, inverse_of, square_root
from ablate.stats.mixture_models import (
    RANK,
    MixtureModel,
    exponential_gains,
    exponential_jacobian,
)

Array = NDArray[np.float64]

BENDS = (0.0, 1.0, -1.0, 5.0, -5.0)
"""Where fits of the exponential law start: logarithm of the ratio of slopes across the design."""
STEPS = 50
"""Most steps of Levenberg and Marquardt."""
POLISHING = 12
"""Steps of Gauss and Newton that follow."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    parameters: Array
    """float64[d]"""
    unscaled: Array
    """float64[d, d]: covariance for an error variance of 1, linearised at the estimate."""
    misfit: float
    """Sum of squares of the points about the model, in squared units of one run."""


def fit(model: MixtureModel, shares: Array, blocks: Blocks) -> LeastSquares:
    """Fit ``model`` to the points of ``blocks``, whose mixtures are ``shares`` float64[points, q]."""
    root = square_root(blocks.information)
    parameters = _solved(model, shares, blocks.means[None], root[None])[0]
    slope = root @ model.jacobian(parameters, shares)
    left = root @ (blocks.means - model.gains(parameters, shares))
    unscaled = _inverse(slope.T @ slope)
    return LeastSquares(parameters, unscaled, float(left @ left))


def _inverse(normal: Array) -> Array:
    """Inverse of the normal matrix; parameters have units of their own, so that it is scaled first."""
    size = np.sqrt(np.diagonal(normal))
    safe = np.where(size > 0, size, 1.0)
    scaled = np.asarray(np.linalg.pinv(normal / safe / safe[:, None], rcond=RANK**2, hermitian=True), float)
    return np.asarray(scaled / safe / safe[:, None])


def left_out_errors(model: MixtureModel, shares: Array, blocks: Blocks, whole: Array) -> Array | None:
    """float64[points]: found less predicted of each point, by a fit without it; None where one cannot be had.

    The level of each seed is what that fit makes it.

    Args:
        whole: float64[d]: parameters of the fit to all points, from which those of the exponential law start.
    """
    points = len(shares)
    others = blocks.observed[None] & ~np.eye(points, dtype=bool)[:, :, None]
    sizes = others.sum(axis=1)
    if (sizes[blocks.observed] < 1).any():
        return None
    information = information_of(others)
    filled = np.where(others, blocks.values[None], 0.0)
    centred = filled - (filled.sum(axis=1) / np.maximum(sizes, 1))[:, None, :]
    totals = np.where(others, centred, 0.0).sum(axis=2)
    means = (inverse_of(information) @ totals[:, :, None])[:, :, 0]
    root = square_root(information)
    bent = root @ _support_columns(model, shares)
    if (np.linalg.matrix_rank(bent, tol=None) < bent.shape[2]).any():
        return None
    gains = model.gains(_solved(model, shares, means, root, whole), shares)
    apart = np.where(others, blocks.values[None] - gains[:, :, None], 0.0).sum(axis=1) / np.maximum(sizes, 1)
    own = np.diagonal(gains)
    found = np.where(blocks.observed, blocks.values - apart, 0.0).sum(axis=1) / blocks.observed.sum(axis=1)
    return np.asarray(found - own)


def _support_columns(model: MixtureModel, shares: Array) -> Array:
    """What has to be of full rank for a fit to be had: see `mixture_models.support`."""
    features = model.features(shares)
    if model.linear:
        return features
    bend = features @ (1.0 + 0.37 * np.arange(features.shape[1]))
    return np.column_stack([features, bend**2])


def _solved(
    model: MixtureModel, shares: Array, means: Array, root: Array, start: Array | None = None
) -> Array:
    """float64[b, d] for b sets of means [b, points], each with its own root [b, points, points]."""
    features = model.features(shares)
    if start is not None and not model.linear:
        # In units of the gains, so that no square of a parameter underflows.
        size = _sizes(means, root)
        unit = np.ones((len(start), len(means))) * size
        unit[-1] = 1.0 / size
        wanted = (root @ (means / size[:, None])[:, :, None])[:, :, 0]
        return _levenberg_marquardt(features, wanted, root, start / unit.T)[0] * unit.T
    linear = np.linalg.pinv(root @ features, rcond=RANK) @ (root @ means[:, :, None])
    return linear[:, :, 0] if model.linear else fit_exponential(features, means, root, linear[:, :, 0])


def fit_exponential(features: Array, means: Array, root: Array, slopes: Array) -> Array:
    """Nonlinear least squares of the exponential law (Levenberg 1944; Marquardt 1963), from several starts.

    Args:
        features: float64[points, q - 1].
        means: float64[b, points].
        root: float64[b, points, points]: roots of the information on the points.
        slopes: float64[b, q - 1]: of the linear blend, where the fits start.

    Returns: float64[b, q]: slopes and curvature, of the best of the starts.
    """
    b, starts = len(means), len(BENDS)
    size = _sizes(means, root)
    scaled, slopes = means / size[:, None], slopes / size[:, None]
    reach = np.abs(slopes @ features.T).max(axis=1)
    bends = np.array(BENDS)[None, :] / np.where(reach > 0, reach, 1.0)[:, None]
    first = np.concatenate([np.repeat(slopes[:, None], starts, axis=1), bends[:, :, None]], axis=2)
    wanted = np.repeat(root @ scaled[:, :, None], starts, axis=0)[:, :, 0]
    roots = np.repeat(root, starts, axis=0)
    found, misfit = _levenberg_marquardt(features, wanted, roots, first.reshape(b * starts, -1))
    best = misfit.reshape(b, starts).argmin(axis=1)
    chosen = found.reshape(b, starts, -1)[np.arange(b), best]
    chosen = _polished(features, (root @ scaled[:, :, None])[:, :, 0], root, chosen)
    return np.column_stack([chosen[:, :-1] * size[:, None], chosen[:, -1] / size])


def _sizes(means: Array, root: Array) -> Array:
    """float64[b]: range of the means that have weight, 1 where there is none."""
    weighted = np.abs(root).sum(axis=2) > 0
    spread = np.where(weighted, means, -np.inf).max(axis=1) - np.where(weighted, means, np.inf).min(axis=1)
    return np.where(spread > 0, spread, 1.0)


def _levenberg_marquardt(features: Array, wanted: Array, root: Array, start: Array) -> tuple[Array, Array]:
    """Parameters and sums of squares of b fits at once: |wanted - root g(parameters)|^2."""
    here = start.copy()
    left = wanted - _weighted(root, exponential_gains(here, features))
    misfit = (left**2).sum(axis=1)
    damping = np.full(len(start), 1e-2)
    going = np.arange(len(start))
    for _ in range(STEPS):
        slope = root[going] @ exponential_jacobian(here[going], features)
        turned = np.swapaxes(slope, 1, 2)
        curvature = turned @ slope
        size = np.einsum("bii->bi", curvature)
        ridge = damping[going, None] * (size + 1e-12 * size.max(axis=1, keepdims=True) + 1e-300)
        step = np.linalg.solve(
            curvature + ridge[:, :, None] * np.eye(start.shape[1]), turned @ left[going][:, :, None]
        )[:, :, 0]
        there = here[going] + step
        after = wanted[going] - _weighted(root[going], exponential_gains(there, features))
        sums = (after**2).sum(axis=1)
        better = sums < misfit[going]
        gained = np.where(better, misfit[going] - sums, np.inf)
        settled = (gained <= 1e-11 * misfit[going]) | (damping[going] > 1e9) | (misfit[going] < 1e-26)
        taken = going[better]
        here[taken], left[taken], misfit[taken] = there[better], after[better], sums[better]
        damping[going] *= np.where(better, 0.2, 5.0)
        going = going[~settled]
        if not going.size:
            break
    return here, misfit


def _polished(features: Array, wanted: Array, root: Array, start: Array) -> Array:
    """The parameters to their last digits, by steps of Gauss and Newton: a sum of squares is flat where it is
    least, and how far a descent gets there depends on the processor."""
    here = start.copy()
    left = wanted - _weighted(root, exponential_gains(here, features))
    for _ in range(POLISHING):
        slope = root @ exponential_jacobian(here, features)
        step = (np.linalg.pinv(slope, rcond=RANK) @ left[:, :, None])[:, :, 0]
        there = here + step
        after = wanted - _weighted(root, exponential_gains(there, features))
        sums, before = (after**2).sum(axis=1), (left**2).sum(axis=1)
        no_worse = sums <= before * (1.0 + 1e-9) + 1e-300
        here = np.where(no_worse[:, None], there, here)
        left = np.where(no_worse[:, None], after, left)
    return here


def _weighted(root: Array, gains: Array) -> Array:
    return np.asarray((root @ gains[:, :, None])[:, :, 0])
