"""Where the best mixture lies, and whether it is the baseline.

Three statements, each with its own error:

* `mixture` and `baseline` are read off the simultaneous band of the gain: some mixture's band lies above
  zero, or every mixture's below it. Either is false with probability 0.05 at most, whichever mixture was
  picked.
* The region is a confidence set for the best mixture: x is in it unless a test of level 0.05 sees some other
  mixture beat it, the test being of the largest one-sided t of all others against x, with the null
  distribution of that maximum (`mixture_band`). The true optimum x* is beaten by none, so the region misses
  it with probability 0.05 at most; compare Peterson, Cahya and del Castillo (2002, Biometrics 58:422), who
  invert a test as well.
* The share of draws in which the baseline is best describes the distribution of the estimates (a parametric
  bootstrap of the coefficients) and proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtrit

from ablate.stats.mixture_band import directions, independent, scheffe_critical
from ablate.stats.mixture_region import Region
from ablate.stats.mixture_surface import LEVEL, ErrorEstimate, Fitted, Optimum, quadratic_form
from ablate.stats.paired import Interval

Array = NDArray[np.float64]

ALPHA = 1.0 - LEVEL
DIRECTIONS = 256
"""Drawn for the region. Its level is off by less than 0.005."""
DRAWS = 1_000
"""Of the coefficients."""
SAME_SHARES = 0.005
"""Shares nearer than this are printed as the same."""
CHUNK = 1 << 22
"""Most projections that are held at once (32 MiB)."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """The estimated gain over the grid of a region, with what its intervals need."""

    region: Region
    gain: Array
    """float64[m]"""
    gradient: Array
    """float64[m, d]"""
    se: Array
    """float64[m]"""


def find_optimum(
    fitted: Fitted,
    error: ErrorEstimate | None,
    critical: float | None,
    region: Region,
    *,
    doubts: str,
    margin: float | None,
    seed: int,
) -> Optimum:
    """The optimum over ``region``.

    Args:
        critical: half width of the simultaneous band, in standard errors.
        doubts: why the surface is not to be believed; empty where nothing speaks against it.
        margin: smallest gain of interest, in the endpoint's unit.
    """
    components, baseline = fitted.model.components, fitted.model.baseline
    gain = fitted.model.gains(fitted.parameters, region.grid)
    top = int(gain.argmax())
    best = tuple(float(share) for share in region.grid[top])
    if error is None or critical is None or not error.sd > 0:
        why = "there is no estimate of the noise" if error is None else "the runs of all seeds agree exactly"
        where = f"the largest estimated gain is {gain[top]:+.3g} at {_mixture(components, best)}"
        said = f"cannot be told: {why}; {where}"
        everywhere = np.ones(len(region.grid), dtype=bool)
        return _optimum(
            "unknown", said, best, float(gain[top]), None, None, region, everywhere, everywhere & False
        )
    gradient = fitted.model.jacobian(fitted.parameters, region.grid)
    land = Landscape(region, gain, gradient, error.sd * np.sqrt(quadratic_form(gradient, fitted.unscaled)))
    low, high = gain - critical * land.se, gain + critical * land.se
    # The gain of the baseline's mixture is zero without error, up to rounding.
    moves = land.se > 1e-9 * land.se.max(initial=0.0)
    may_be_best = optimum_region(land, fitted, error, seed)
    better = moves & (low > 0)
    holds = bool((may_be_best & ~moves).any())
    largest = (float(low.max()), float(high.max()))
    interval = (float(low[top]), float(high[top]))
    if doubts:
        status, said = "withheld", f"no optimum is stated: {doubts}"
    elif better.any():
        status, said = "mixture", _some_mixture(components, best, float(gain[top]), interval, largest)
        if not fitted.model.linear:
            said += " (by its form the exponential law has its best at a corner of the region)"
    elif moves.any() and bool((high[moves] < 0).all()):
        status, said = "baseline", _baseline(components, baseline, float(high[moves].max()))
    else:
        status, said = "unknown", _unknown(components, region.grid[may_be_best], baseline, holds, largest)
    if margin is not None and status != "withheld" and largest[1] < margin:
        said += f"; no mixture of the region is better by the margin of {margin:g} or more"
    return _optimum(
        status, said, best, float(gain[top]), interval, largest, region, may_be_best, better, holds,
        _baseline_draws(land, fitted, error, moves, seed),
    )  # fmt: skip


def optimum_region(land: Landscape, fitted: Fitted, error: ErrorEstimate, seed: int) -> NDArray[np.bool_]:
    """bool[m]: the 95% confidence region of the best mixture, on the grid."""
    images = independent(land.gradient, fitted.unscaled)
    rivals = images[land.region.rivals]
    lengths = np.sqrt(
        np.maximum(
            (images**2).sum(axis=1)[:, None] + (rivals**2).sum(axis=1)[None, :] - 2.0 * images @ rivals.T, 0.0
        )
    )
    apart = lengths > 1e-7 * lengths.max(initial=0.0)
    lead = land.gain[land.region.rivals][None, :] - land.gain[:, None]
    largest = np.where(apart, lead / np.where(apart, lengths, 1.0), -np.inf).max(axis=1) / error.sd
    if error.holds_all:
        return np.asarray(largest <= float(stdtrit(error.df, 0.5 + LEVEL / 2.0)))
    rank = images.shape[1]
    found = np.asarray(largest <= float(stdtrit(error.df, LEVEL)))
    between = np.flatnonzero(~found & (largest <= scheffe_critical(rank, error.df, 2.0 * ALPHA)))
    if between.size:
        projected = _projections(images, rivals, between, fitted.model.linear, seed)
        tails = fdtrc(rank, error.df, (largest[between, None] / projected) ** 2 / rank)
        # A direction on which no rival gains gives no positive maximum.
        found[between] = np.where(projected > 0, tails, 0.0).mean(axis=1) > ALPHA
    return found


def _projections(images: Array, rivals: Array, rows: NDArray[np.int64], fixed: bool, seed: int) -> Array:
    """float64[rows, directions]: the largest projection of (rival less mixture), normalised, at least a
    trifle.

    Args:
        fixed: whether the images depend on the design alone, so that another endpoint asks for the same.
    """
    if fixed and images.shape[0] * rivals.shape[0] <= 1 << 17:
        whole = _cached(np.round(images, 10).tobytes(), np.round(rivals, 10).tobytes(), images.shape[1], seed)
        return whole[rows]
    return _largest(images[rows], rivals, seed)


@lru_cache(maxsize=8)
def _cached(images: bytes, rivals: bytes, rank: int, seed: int) -> Array:
    return _largest(np.frombuffer(images).reshape(-1, rank), np.frombuffer(rivals).reshape(-1, rank), seed)


def _largest(images: Array, rivals: Array, seed: int) -> Array:
    drawn = directions(images.shape[1], DIRECTIONS, seed)
    ours, theirs = images @ drawn, rivals @ drawn
    found = np.empty_like(ours)
    stride = max(1, CHUNK // theirs.size)
    for start in range(0, len(images), stride):
        part = slice(start, start + stride)
        length = np.linalg.norm(images[part, None, :] - rivals[None, :, :], axis=2)
        weight = np.where(length > 1e-7 * length.max(initial=0.0), 1.0 / np.maximum(length, 1e-300), 0.0)
        found[part] = (weight[:, :, None] * (theirs[None, :, :] - ours[part, None, :])).max(axis=1)
    return np.maximum(found, 1e-12)


def _baseline_draws(
    land: Landscape, fitted: Fitted, error: ErrorEstimate, moves: NDArray[np.bool_], seed: int
) -> float:
    """Share of draws of the coefficients (multivariate t) in which no mixture gains anything."""
    rng = np.random.default_rng([seed, DRAWS])
    rivals = land.region.rivals[moves[land.region.rivals]]
    images = independent(land.gradient[rivals], fitted.unscaled)
    spread = error.sd * np.sqrt(error.df / rng.chisquare(error.df, (DRAWS, 1)))
    drawn = rng.standard_normal((DRAWS, images.shape[1])) * spread
    gains = land.gain[rivals] + drawn @ images.T
    return float((gains.max(axis=1, initial=-np.inf) <= 0.0).mean())


def _optimum(
    status: str, statement: str, best: tuple[float, ...], gain: float, interval: Interval | None,
    largest: Interval | None, region: Region, may_be_best: NDArray[np.bool_], better: NDArray[np.bool_],
    holds: bool = True, draws: float | None = None,
) -> Optimum:  # fmt: skip
    inside = region.grid[may_be_best]
    ranges = tuple((float(one.min()), float(one.max())) for one in inside.T) if len(inside) else ()
    return Optimum(
        status=status,  # type: ignore[arg-type]
        statement=statement,
        best=best,
        best_gain=gain,
        best_interval=interval,
        largest_gain=largest,
        region=inside,
        region_share=float(may_be_best.mean()),
        ranges=ranges,
        holds_baseline=holds,
        better=region.grid[better],
        baseline_draws=draws,
    )


def _mixture(components: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(components, shares, strict=True))


def _only(components: Sequence[str], baseline: Sequence[float]) -> str:
    """`text alone`, or the mixture where the baseline is one."""
    pure = [name for name, share in zip(components, baseline, strict=True) if share > 1.0 - 1e-9]
    return f"{pure[0]} alone" if pure else f"the baseline ({_mixture(components, baseline)})"


def _baseline(components: Sequence[str], baseline: Sequence[float], high: float) -> str:
    only = _only(components, baseline)
    near = "" if high > -1e-12 else f" (by {-high:.2g} or more at every other mixture that was looked at)"
    return f"{only} is the optimum: every other mixture of the region is worse, simultaneously at 95%{near}"


def _some_mixture(
    components: Sequence[str], best: Sequence[float], gain: float, interval: Interval, largest: Interval
) -> str:
    return (
        f"some mixture beats the baseline by {largest[0]:+.3g} to {largest[1]:+.3g} (95%, simultaneous over "
        f"all mixtures); the largest estimated gain is {gain:+.3g} [{interval[0]:+.3g}, {interval[1]:+.3g}] "
        f"at {_mixture(components, best)}"
    )


def _unknown(
    components: Sequence[str], region: Array, baseline: Sequence[float], holds: bool, largest: Interval
) -> str:
    beyond = f"no mixture gains more than {largest[1]:+.3g} (95%, simultaneous over all mixtures)"
    if holds and np.abs(region - np.asarray(baseline)).max(initial=0.0) < SAME_SHARES:
        return (
            f"{_only(components, baseline)} is the one mixture that may be the optimum (95% confidence "
            f"region), though not every other is seen to be worse at once; {beyond}"
        )
    spans = ", ".join(
        f"{name} {low:.2f} to {high:.2f}"
        for name, low, high in zip(components, region.min(axis=0), region.max(axis=0), strict=True)
    )
    included = "the baseline included" if holds else "the baseline not included"
    return f"cannot be told: the optimum may lie anywhere in {spans}, {included}; {beyond}"
