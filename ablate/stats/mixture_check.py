"""Measured mixtures beside a surface: what was found at each, and whether held-out ones lie on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from ablate.stats.mixture_blocks import Blocks, eliminate_seeds, inverse_of
from ablate.stats.mixture_surface import (
    LEVEL,
    ErrorEstimate,
    Fitted,
    HeldOutCheck,
    HeldOutPoint,
    PointGain,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def point_gains(
    shares: Array, values: Array, held: Mask, baseline: int, fitted: Fitted | None
) -> tuple[PointGain, ...]:
    """Every measured mixture against the baseline, without a surface, and its place on the surface.

    Args:
        shares: float64[points, q].
        values: float64[points, seeds]: oriented, NaN without a score.
        held: bool[points]
        baseline: row of the baseline.
    """
    scored = np.isfinite(values)
    found = _measured(values, scored, baseline)
    on_surface = None if fitted is None else fitted.model.gains(fitted.parameters, shares)
    return tuple(
        PointGain(
            tuple(float(share) for share in shares[row]),
            int(scored[row].sum()),
            bool(held[row]),
            found.get(row),
            None if on_surface is None else float(on_surface[row]),
        )
        for row in range(len(shares))
    )


def _measured(values: Array, scored: Mask, baseline: int) -> dict[int, float]:
    """Row to gain, of the rows that can be compared with the baseline."""
    rows = np.flatnonzero(scored.any(axis=1))
    if baseline not in rows:
        return {}
    blocks = eliminate_seeds(values[rows][:, scored.any(axis=0)])
    if not blocks.connected:
        return {}
    gains = blocks.means - blocks.means[np.flatnonzero(rows == baseline)[0]]
    return {int(row): float(gain) for row, gain in zip(rows, gains, strict=True)}


def check_held_out(
    shares: Array,
    values: Array,
    held: Mask,
    used: Mask,
    columns: Mask,
    baseline: int,
    fitted: Fitted,
    blocks: Blocks,
    error: ErrorEstimate | None,
) -> HeldOutCheck | None:
    """Predictions of held-out mixtures against what was found; None where none can be compared.

    Found is the mean paired gain over the seeds that ran the mixture and the baseline. Its prediction error
    is a combination of cells, fitted ones and its own, whose covariance is that of the cells; for the
    exponential law it is linearised.

    Args:
        values: float64[points, seeds], oriented.
        used, columns: the rows and columns that were fitted, as ``blocks`` has them.
    """
    scored = np.isfinite(values)
    pairs = scored & scored[baseline]
    rows = [int(row) for row in np.flatnonzero(held) if pairs[row].any()]
    if not rows:
        return None
    gain = fitted.model.gains(fitted.parameters, shares[rows])
    found = np.array([(values[row] - values[baseline])[pairs[row]].mean() for row in rows])
    apart = found - gain
    weights = np.zeros((len(rows), *values.shape))
    places = np.ix_(np.arange(len(rows)), np.flatnonzero(used), np.flatnonzero(columns))
    weights[places] = -_cell_weights(fitted, shares[used], shares[rows], blocks)
    for place, row in enumerate(rows):
        own = pairs[row] / pairs[row].sum()
        weights[place, row] += own
        weights[place, baseline] -= own
    flat = weights.reshape(len(rows), -1)
    covariance = flat @ flat.T
    rmse = float(np.sqrt((apart**2).mean()))
    if error is None or not error.sd > 0:
        points = _points(shares[rows], found, gain, None)
        return HeldOutCheck(points, 0, 0, rmse, None, None)
    half = float(stdtrit(error.df, 0.5 + LEVEL / 2.0)) * error.sd * np.sqrt(np.diagonal(covariance))
    points = _points(shares[rows], found, gain, half)
    f = float(apart @ inverse_of(covariance) @ apart) / error.sd**2 / len(rows)
    return HeldOutCheck(
        points=points,
        inside=sum(point.inside is True for point in points),
        of=len(points),
        rmse=rmse,
        expected_rmse=error.sd * float(np.sqrt(np.diagonal(covariance).mean())),
        p_value=float(fdtrc(len(rows), error.df, f)),
    )


def _cell_weights(fitted: Fitted, shares: Array, wanted: Array, blocks: Blocks) -> Array:
    """float64[n, points, seeds]: by how much the gain at each of ``wanted``[n, q] moves with each fitted
    cell."""
    gradient = fitted.model.jacobian(fitted.parameters, shares)
    centred = gradient[:, None, :] - blocks.within(gradient)[None, :, :]
    centred = np.where(blocks.observed[:, :, None], centred, 0.0)
    lever = fitted.model.jacobian(fitted.parameters, wanted) @ fitted.unscaled
    return np.asarray(np.einsum("nd,psd->nps", lever, centred))


def _points(shares: Array, found: Array, predicted: Array, half: Array | None) -> tuple[HeldOutPoint, ...]:
    points: list[HeldOutPoint] = []
    halves: Sequence[float] = [np.nan] * len(found) if half is None else [float(one) for one in half]
    for mixture, gain, guess, width in zip(shares, found, predicted, halves, strict=True):
        known = half is not None
        points.append(
            HeldOutPoint(
                tuple(float(share) for share in mixture),
                float(gain),
                float(guess),
                (float(guess - width), float(guess + width)) if known else None,
                bool(abs(gain - guess) <= width) if known else None,
            )
        )
    return tuple(points)
