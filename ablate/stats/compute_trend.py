"""How a gain changes with compute, over a ladder of sizes and budgets.

Seeds are the replicates. Each seed that ran every rung has a slope of its own in log2(FLOPs), and inference
is Student's on these slopes: rungs of one seed share initial weights or text order and may depend on one
another in any way, and noise may differ from rung to rung. What is fitted describes the range that was
measured; nothing here can be read beyond it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from ablate.stats.paired import Interval, PairedEstimate, PairedSample, estimate

Array = NDArray[np.float64]

LEAST_RUNGS, LEAST_SEEDS = 3, 2
ALPHA = 0.05

FEWEST_TO_WEIGH = 8
"""Seeds below which rungs weigh the same: weights from few seeds make the interval of the slope too narrow.
Over 5,000 simulated ladders of 4 rungs whose noise halves from rung to rung, 95% intervals held the slope in
0.938, 0.940 and 0.944 with weights from 4, 5 and 6 seeds, and in 0.951, 0.949 and 0.950 without; over 3,000
with weights from 8 seeds in 0.955."""


class TrendError(ValueError):
    """Gains that no trend can be made of; says what was found and what is wanted."""


@dataclass(frozen=True)
class Rung:
    """One amount of compute."""

    name: str
    flops: float
    """Training FLOPs of the baseline."""
    estimate: PairedEstimate
    """Of the gain, over the seeds that ran this rung, whether or not they ran the others."""
    fitted: float | None
    """Gain on the line."""
    fitted_interval: Interval | None
    """Pointwise 95% interval of the line here."""
    weight: float
    """In the line; rungs of equal weight have 1."""


@dataclass(frozen=True)
class Slope:
    """A coefficient that every seed has, and its mean over seeds."""

    name: str
    per_seed: tuple[float, ...]
    """In the order of the seeds that ran every rung."""
    estimate: PairedEstimate
    """Mean, sd, t interval; `p_difference` is the test of no trend."""


@dataclass(frozen=True)
class ComputeTrend:
    """Gain against log2(FLOPs). Where nothing can be told, `slope` is None and `problem` says why."""

    rungs: tuple[Rung, ...]
    """By rising FLOPs."""
    seeds: tuple[int, ...]
    """Columns of the gains that ran every rung: those that the line is made of."""
    incomplete: tuple[int, ...]
    """Columns with a gain on some rungs only: in the rungs, not in the line."""
    slope: Slope | None
    """Gain per doubling of FLOPs."""
    curvature: PairedEstimate | None
    """Quadratic coefficient in log2(FLOPs); an interval without zero says that the line is an average of
    bends."""
    problem: str
    statement: str
    """One sentence, for the range measured."""
    levels: tuple[float, ...] = ()
    """Weighted mean gain of each seed of `seeds`: where its line passes the weighted mean of log2(FLOPs)."""

    def line(self, flops: Sequence[float]) -> list[tuple[float, float, float]]:
        """The line and its pointwise 95% interval: (gain, low, high) at each of ``flops``.

        Raises:
            TrendError: there is no line, or it would be read beyond the range measured.
        """
        if self.slope is None:
            raise TrendError(f"there is no line to read: {self.problem}")
        low, high = self.rungs[0].flops, self.rungs[-1].flops
        outside = [one for one in flops if not low * (1 - 1e-9) <= one <= high * (1 + 1e-9)]
        if outside:
            raise TrendError(
                f"{outside[0]:.3g} FLOPs lie outside {low:.3g} to {high:.3g}, the range measured"
            )
        x = _doublings(np.array([rung.flops for rung in self.rungs]))
        weights = np.array([rung.weight for rung in self.rungs])
        centre = float(weights @ x / weights.sum())
        levels = np.array(self.levels)
        at = np.log2(np.asarray(flops, dtype=np.float64)) - math.log2(low) - centre
        slopes = np.array(self.slope.per_seed)
        return [_mean_interval(levels + slopes * place) for place in at]


def fit_trend(
    flops: Sequence[float], gains: Array, names: Sequence[str] | None = None, unit: str = ""
) -> ComputeTrend:
    """The trend of a gain over rungs.

    Rungs are weighed by the inverse of their variance, which is smoothed to a straight line in its logarithm
    against log2(FLOPs), so that few seeds do not decide the weights by chance; below `FEWEST_TO_WEIGH` seeds
    all weigh the same.

    Args:
        flops: training FLOPs of each rung, above zero.
        gains: float64[rungs, seeds]: paired gain of each seed, positive where the arm is better; NaN where a
            run of the pair is missing.
        names: of the rungs.
        unit: of the gains, for the statement.

    Raises:
        TrendError: shapes do not agree, or FLOPs are not above zero.
    """
    x, gains = _checked(flops, gains)
    order = np.argsort(x, kind="stable")
    labels = [str(one) for one in (names or [f"{one:.3g}" for one in flops])]
    if len(labels) != len(x):
        raise TrendError(f"{len(labels)} names for {len(x)} rungs")
    x, gains, labels = x[order], gains[order], [labels[place] for place in order]
    estimates = [_estimate(row) for row in gains]
    run = np.isfinite(gains)
    whole = run.all(axis=0)
    seeds = tuple(int(one) for one in np.flatnonzero(whole))
    incomplete = tuple(int(one) for one in np.flatnonzero(run.any(axis=0) & ~whole))
    problem = _too_little(x, len(seeds))
    sizes = 2.0**x
    if problem:
        rungs = tuple(
            Rung(label, float(size), one, None, None, 1.0)
            for label, size, one in zip(labels, sizes, estimates, strict=True)
        )
        return ComputeTrend(rungs, seeds, incomplete, None, None, problem, f"nothing can be told: {problem}")
    cells, weights = gains[:, whole], _weights(x, gains[:, whole])
    centred = x - float(weights @ x / weights.sum())
    slopes = (weights * centred) @ cells / float(weights @ centred**2)
    levels = weights @ cells / weights.sum()
    rungs = tuple(
        Rung(label, float(size), one, *_split(_mean_interval(levels + slopes * place)), float(weight))
        for label, size, one, place, weight in zip(labels, sizes, estimates, centred, weights, strict=True)
    )
    slope = Slope("gain per doubling of FLOPs", tuple(map(float, slopes)), _estimate(slopes))
    curvature = _estimate(_bends(centred, weights, cells))
    p_lack = _lack_of_fit(cells - levels - np.outer(centred, slopes), weights, 2)
    said = _statement(rungs, slope.estimate, curvature, p_lack, incomplete, unit)
    return ComputeTrend(
        rungs, seeds, incomplete, slope, curvature, "", said, tuple(float(one) for one in levels)
    )


@dataclass(frozen=True)
class TwoFactors:
    """Gain against log2(parameters) and log2(FLOPs), where sizes and budgets both vary."""

    size: Slope | None
    """Gain per doubling of parameters at equal FLOPs."""
    compute: Slope | None
    """Gain per doubling of FLOPs at equal size."""
    interaction: Slope | None
    """Change of the one per doubling of the other; None where no rung is to spare for it."""
    seeds: tuple[int, ...]
    problem: str
    """Why the two cannot be told apart; empty where they can."""
    statement: str


def fit_two_factors(parameters: Sequence[float], flops: Sequence[float], gains: Array) -> TwoFactors:
    """Size and compute as two factors, by least squares within each seed.

    Args:
        parameters: of the model on each rung, above zero.
        flops: training FLOPs of each rung.
        gains: as `fit_trend`.

    Raises:
        TrendError: as `fit_trend`.
    """
    x, gains = _checked(flops, gains)
    size = np.log2(np.asarray(parameters, dtype=np.float64))
    if size.shape != x.shape or not np.isfinite(size).all():
        raise TrendError(f"a number of parameters above zero is wanted for each of {len(x)} rungs")
    whole = np.isfinite(gains).all(axis=0)
    seeds = tuple(int(one) for one in np.flatnonzero(whole))
    size, x = size - size.mean(), x - x.mean()
    design = np.column_stack([np.ones_like(x), size, x])
    problem = _aliased(design, len(seeds))
    if problem:
        return TwoFactors(None, None, None, seeds, problem, f"nothing can be told: {problem}")
    crossed = np.column_stack([design, size * x])
    fits_crossed = len(x) > 4 and int(np.linalg.matrix_rank(crossed, tol=1e-6)) == 4
    found = np.linalg.lstsq(design, gains[:, whole], rcond=None)[0]
    names = ("gain per doubling of parameters at equal FLOPs", "gain per doubling of FLOPs at equal size")
    slopes = [
        Slope(name, tuple(map(float, row)), _estimate(row))
        for name, row in zip(names, found[1:], strict=True)
    ]
    interaction = None
    if fits_crossed:
        row = np.linalg.lstsq(crossed, gains[:, whole], rcond=None)[0][3]
        interaction = Slope(
            "change of the one per doubling of the other", tuple(map(float, row)), _estimate(row)
        )
    said = "; ".join(f"{one.name}: {_told(one.estimate)}" for one in slopes)
    p_lack = _lack_of_fit(gains[:, whole] - design @ found, np.ones(len(x)), design.shape[1])
    if p_lack is not None and p_lack < ALPHA:
        said += f"; no such sum passes through the rungs (p {p_lack:.2g}), and these are averages over them"
    return TwoFactors(slopes[0], slopes[1], interaction, seeds, "", f"over {len(x)} rungs, {said}")


def _checked(flops: Sequence[float], gains: Array) -> tuple[Array, Array]:
    """log2(FLOPs) and gains as arrays."""
    sizes, gains = np.asarray(flops, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    if sizes.ndim != 1 or gains.ndim != 2 or len(gains) != len(sizes) or not len(sizes):
        raise TrendError(
            "FLOPs of each rung and gains of shape [rungs, seeds] are wanted, "
            f"not {sizes.shape} and {gains.shape}"
        )
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise TrendError(f"FLOPs are finite and above zero, not {sizes.tolist()}")
    if np.isinf(gains).any():
        raise TrendError("a gain is infinite; give NaN where a pair is missing")
    return np.log2(sizes), gains


def _doublings(flops: Array) -> Array:
    """log2(FLOPs) from the first rung on."""
    found: Array = np.log2(flops) - np.log2(flops[0])
    return found


def _estimate(values: Array) -> PairedEstimate:
    """Student's inference on the mean of the finite ``values``, one a seed."""
    there = np.flatnonzero(np.isfinite(values))
    return estimate(
        PairedSample(
            tuple(int(one) for one in there), tuple(float(values[one]) for one in there), (0.0,) * len(there)
        )
    )


def _too_little(x: Array, seeds: int) -> str:
    rungs = len(np.unique(np.round(x, 6)))
    if rungs < LEAST_RUNGS:
        return f"a trend takes {LEAST_RUNGS} amounts of compute, and there {_are(rungs)}"
    if seeds < LEAST_SEEDS:
        return f"a trend takes {LEAST_SEEDS} seeds that ran every rung, and there {_are(seeds)}"
    return ""


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"


def _aliased(design: Array, seeds: int) -> str:
    if seeds < LEAST_SEEDS:
        return f"two factors take {LEAST_SEEDS} seeds that ran every rung, and there {_are(seeds)}"
    spread = design[:, 1:].std(axis=0)
    if spread[0] < 1e-6 or spread[1] < 1e-6:
        return f"only {'compute' if spread[0] < 1e-6 else 'size'} varies"
    if int(np.linalg.matrix_rank(design, tol=1e-6 * len(design))) < 3:
        return "sizes and FLOPs rise together on these rungs, so that their effects cannot be told apart"
    if len(design) < 4:
        return f"two slopes and a level leave no rung to spare of {len(design)}; 4 are wanted"
    return ""


def _weights(x: Array, cells: Array) -> Array:
    """float64[rungs]: inverse variances, smoothed over log2(FLOPs), of mean 1."""
    seeds = cells.shape[1]
    if seeds < FEWEST_TO_WEIGH:
        return np.ones(len(x))
    variances = cells.var(axis=1, ddof=1)
    if not (variances > 1e-24 * float((cells**2).max())).all():
        return np.ones(len(x))
    trend = np.polyfit(x - x.mean(), np.log(variances), 1)
    found = np.exp(-np.polyval(trend, x - x.mean()))
    return np.asarray(found / found.mean())


def _bends(centred: Array, weights: Array, cells: Array) -> Array:
    """Quadratic coefficient of each seed."""
    design = np.column_stack([np.ones_like(centred), centred, centred**2])
    root = np.sqrt(weights)[:, None]
    found: Array = np.linalg.lstsq(design * root, cells * root, rcond=None)[0][2]
    return found


def _mean_interval(values: Array) -> tuple[float, float, float]:
    """Mean and 95% t interval of one value a seed."""
    mean, n = float(values.mean()), len(values)
    half = float(stdtrit(n - 1, 1.0 - ALPHA / 2.0)) * float(values.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


def _split(found: tuple[float, float, float]) -> tuple[float, Interval]:
    return found[0], (found[1], found[2])


def _told(found: PairedEstimate) -> str:
    """A slope with its interval."""
    if found.interval95 is None:
        return f"{found.mean_gain:+.3g}, without an interval ({found.remark})"
    low, high = found.interval95
    return f"{found.mean_gain:+.3g} [{low:+.3g}, {high:+.3g}]"


def _lack_of_fit(residuals: Array, weights: Array, terms: int) -> float | None:
    """P that what was fitted passes through the means of the rungs: F of their distance against how seeds
    scatter about it. None where the seeds agree exactly.

    Where noise differs from rung to rung it is small too often, so that an average is called one too often
    rather than too rarely.

    Args:
        residuals: float64[rungs, seeds]: gain less what was fitted to the seed itself.
        weights: float64[rungs]
        terms: that were fitted to each seed, its level among them.
    """
    rungs, seeds = residuals.shape
    means = residuals.mean(axis=1)
    lack = seeds * float(weights @ means**2)
    noise = float(weights @ ((residuals - means[:, None]) ** 2).sum(axis=1))
    spare = rungs - terms
    if spare < 1 or not noise > 1e-20 * lack:
        return None
    df = spare * (seeds - 1)
    return float(fdtrc(spare, df, (lack / spare) / (noise / df)))


def _statement(
    rungs: Sequence[Rung],
    slope: PairedEstimate,
    curvature: PairedEstimate,
    p_lack: float | None,
    incomplete: Sequence[int],
    unit: str,
) -> str:
    """What the range measured shows, in one sentence."""
    of = f" {unit}" if unit else ""
    span = f"between {rungs[0].flops:.3g} and {rungs[-1].flops:.3g} FLOPs"
    mean, interval, bend = slope.mean_gain or 0.0, slope.interval95, curvature.interval95
    bent = bend is not None and not bend[0] <= 0.0 <= bend[1]
    missed = p_lack is not None and p_lack < ALPHA
    if interval is None:
        said = f"{span} the gain changes by {mean:+.3g}{of} per doubling, without an interval: {slope.remark}"
    elif interval[0] <= 0.0 <= interval[1]:
        said = (
            f"{span} no trend can be told: per doubling the gain changes by {mean:+.3g}{of} "
            f"(95% {interval[0]:+.3g} to {interval[1]:+.3g})"
        )
    else:
        least, most = sorted(abs(end) for end in interval)
        said = (
            f"{span} the gain {'rises' if mean > 0 else 'falls'} by {abs(mean):.3g}{of} per doubling "
            f"(95% {least:.3g} to {most:.3g})"
        )
        if not bent and not missed:
            # The ends of a line that does not fit may be values that no arm can have.
            said += f", from {rungs[0].fitted:+.3g} to {rungs[-1].fitted:+.3g} on the line"
    if bent:
        said += "; it is not linear in log(FLOPs), and this is an average over the range"
    elif missed:
        said += f"; no line passes through the rungs (p {p_lack:.2g}), and this is an average over the range"
    if incomplete:
        said += f"; {len(incomplete)} of the seeds did not run every rung and count in no line"
    return said
