"""What a verdict costs: the sd of paired differences, set against another's, and the runs it takes.

The cost of a verdict goes with the squared sd of the differences that it rests on. Two ways of scoring the
same seeds give correlated differences, so their sds are compared by the test of Pitman (1939, Biometrika
31:9) and Morgan (1939, Biometrika 31:13), which is exact for normal differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtr, stdtrit

from ablate.stats.paired import Interval
from ablate.stats.power import seeds_needed, unpaired_seeds_needed


@dataclass(frozen=True)
class VarianceRatio:
    """Variance of one sample over that of another, seed by seed the same."""

    ratio: float
    interval95: Interval
    p_equal: float
    """Two-sided p of equal variances."""


def variance_ratio(first: Sequence[float], second: Sequence[float]) -> VarianceRatio:
    """Variance of ``first`` over that of ``second``, of pairs (Pitman and Morgan).

    Equal variances make sum and difference uncorrelated. The interval holds all ratios that the test, of
    correlation, does not reject: F (K - sqrt(K^2 - 1)) to F (K + sqrt(K^2 - 1)) with
    K = 1 + 2 (1 - r^2) t^2 / (n - 2).

    Raises:
        ValueError: fewer than three pairs, or a sample that does not vary.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    n = a.size
    if n < 3 or b.size != n:
        raise ValueError(f"variances are compared over three pairs or more, not {n} and {b.size} values")
    variances = [float(values.var(ddof=1)) for values in (a, b)]
    if min(variances) <= 0.0:
        raise ValueError("a sample does not vary: there is no ratio of variances")
    ratio = variances[0] / variances[1]
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))
    t = float(stdtrit(n - 2, 0.975))
    k = 1.0 + 2.0 * (1.0 - r**2) * t**2 / (n - 2)
    root = math.sqrt(max(0.0, k**2 - 1.0))
    # 1 - r(sum, difference)^2 = 4 F (1 - r^2) / ((F + 1)^2 - 4 r^2 F)
    inside = max(4.0 * ratio * (1.0 - r**2), 1e-300)
    statistic = abs(ratio - 1.0) * math.sqrt((n - 2) / inside)
    p = 2.0 * float(stdtr(n - 2, -statistic))
    return VarianceRatio(ratio, (ratio * (k - root), ratio * (k + root)), p)


def unpaired_ratio(treated: Sequence[float], reference: Sequence[float]) -> VarianceRatio:
    """Variance of a difference of independent runs over that of a pair's: what pairing saves.

    var(Y) + var(Z) is half of var(Y + Z) + var(Y - Z), so the interval is that of var(Y + Z) / var(Y - Z)
    carried over; `p_equal` is that of no correlation between the arms where their variances are equal.

    Raises:
        ValueError: as `variance_ratio`.
    """
    y, z = np.asarray(treated, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    found = variance_ratio((y + z).tolist(), (y - z).tolist())
    low, high = found.interval95
    return VarianceRatio((found.ratio + 1) / 2, ((low + 1) / 2, (high + 1) / 2), found.p_equal)


def sd_interval(values: Sequence[float] | NDArray[np.float64], level: float = 0.95) -> Interval:
    """Interval of the standard deviation of a normal population (chi-square), from two values or more."""
    found = np.asarray(values, dtype=np.float64)
    df, tail = found.size - 1, (1.0 - level) / 2.0
    squares = float(found.var(ddof=1)) * df
    return math.sqrt(squares / float(chdtri(df, tail))), math.sqrt(squares / float(chdtri(df, 1.0 - tail)))


@dataclass(frozen=True)
class Price:
    """What it takes to show equivalence within a margin with power 0.8, were there no difference."""

    n: int
    """Pairs that it was measured on."""
    mean: float
    """Mean score of the reference arm."""
    sd: float
    """Standard deviation of the paired differences."""
    sd95: Interval
    correlation: float
    """Of the arms' scores over seeds."""
    pairs: int | None
    """Paired seeds; None means more than a million."""
    unpaired: int | None
    """Seeds in each arm, the arms' seeds being independent (Welch)."""


def price(treated: Sequence[float], reference: Sequence[float], margin: float, power: float = 0.8) -> Price:
    """The price of a verdict at a ``margin``, from scores of an A/A study.

    The sds of the sample are taken for the true ones.

    Raises:
        ValueError: fewer than three pairs, nothing varies, or the margin is not above zero.
    """
    y, z = np.asarray(treated, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if y.size < 3:
        raise ValueError(f"a price is measured on three pairs or more, not {y.size}")
    differences = y - z
    sd = float(differences.std(ddof=1))
    return Price(
        n=y.size,
        mean=float(z.mean()),
        sd=sd,
        sd95=sd_interval(differences),
        correlation=float(np.corrcoef(y, z)[0, 1]),
        pairs=seeds_needed(sd, margin, power),
        unpaired=unpaired_seeds_needed(float(y.std(ddof=1)), float(z.std(ddof=1)), margin, power),
    )
