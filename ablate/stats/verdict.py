"""The verdict of a contrast, and what it takes to reach one.

On the paired differences: *equivalent* if two one-sided tests put the gain within the margin (it wins
ties), *helps* or *hurts* if the gain differs from zero, else *inconclusive*. With one contrast in the
family this is the same as asking whether the 90% interval lies inside the margin and whether the 95%
interval excludes zero; with more, the p values are adjusted after Holm, the difference tests among
themselves and the equivalence tests among themselves.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, gammaincinv, gammaln, ndtr, ndtri, stdtrit

Verdict = Literal["helps", "hurts", "equivalent", "inconclusive"]

ALPHA = 0.05
"""Error rate of every claim: of `helps` or `hurts` without a difference, of `equivalent` at the margin."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(256)
"""Quadrature on [-1, 1]."""

MOST_PAIRS = 1_000_000
"""`seeds_needed` looks no further."""


def judge(
    mean_gain: float | None, p_difference: float | None, p_equivalence: float | None, alpha: float = ALPHA
) -> Verdict:
    """The verdict for a mean gain (positive is better) and its, possibly adjusted, p values.

    A p value of None means that the data could not give one; it supports no claim.
    """
    if p_equivalence is not None and p_equivalence < alpha:
        return "equivalent"
    if mean_gain is not None and p_difference is not None and p_difference < alpha:
        return "helps" if mean_gain > 0 else "hurts"
    return "inconclusive"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Statist. 6:65) over one family.

    A None counts as 1, so that the family is the one that was planned and not the part of it that
    survived; it stays None in the answer. The numbers are those of statsmodels' `multipletests`, which
    is not called because it collects garbage on every call, 70 ms each.
    """
    filled = np.array([1.0 if p is None else p for p in p_values], dtype=np.float64)
    order = np.argsort(filled, kind="stable")
    adjusted = np.empty_like(filled)
    adjusted[order] = np.maximum.accumulate(filled[order] * np.arange(filled.size, 0, -1)).clip(max=1.0)
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]


def detection_power(pairs: int, sd: float, difference: float, alpha: float = ALPHA) -> float:
    """Probability that a paired t test of level ``alpha`` (two-sided) sees a true ``difference``.

    Exact: the tails of the noncentral t distribution (Johnson and Kotz 1970, chapter 31), by the same
    integral as `tost_power`, because scipy's `nct` returns NaN in the far tail.
    """
    _check_power_input(pairs, sd, alpha)
    df, shift = pairs - 1, abs(difference) * math.sqrt(pairs) / sd
    critical = float(stdtrit(df, 1.0 - alpha / 2.0))
    return _over_sd(df, lambda u: ndtr(shift - critical * u) + ndtr(-shift - critical * u))


def tost_power(pairs: int, sd: float, margin: float, difference: float = 0.0, alpha: float = ALPHA) -> float:
    """Probability that two one-sided tests of level ``alpha`` declare ``pairs`` differences equivalent.

    Args:
        sd: true standard deviation of the differences.
        margin: the equivalence margin, above zero.
        difference: true mean difference.
    """
    _check_power_input(pairs, sd, alpha)
    if not margin > 0:
        raise ValueError(f"a margin is a positive number, not {margin}")
    scale = math.sqrt(pairs) / sd
    return _owen_power(pairs - 1, (-margin - difference) * scale, (margin - difference) * scale, alpha)


def seeds_needed(sd: float, margin: float, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """Pairs for two one-sided tests to declare a true difference of zero equivalent with ``power``.

    This is the number that reports print. At power 0.8, alpha 0.05 and a margin of at most one sd it is
    also enough to detect a true difference of one margin (`detection_power`). ``sd`` is taken as the
    true standard deviation of the differences; None means more than `MOST_PAIRS`.

    Raises:
        ValueError: the sd or the margin is not above zero, or power and alpha are no probabilities.
    """
    if not 0 < power < 1:
        raise ValueError(f"power lies between 0 and 1, not at {power}")
    _check_power_input(2, sd, alpha)
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin is a positive finite number, not {margin}")
    # With the sd known it would take this many; with the sd estimated it takes a few more.
    known = (float(ndtri(1.0 - alpha) + ndtri((1.0 + power) / 2.0)) * sd / margin) ** 2
    if known > MOST_PAIRS:
        return None
    low, step = max(1, math.floor(known) - 1), 1
    while tost_power(low + step, sd, margin, alpha=alpha) < power:
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if tost_power(middle, sd, margin, alpha=alpha) >= power:
            high = middle
        else:
            low = middle
    return high


def largest_sd(pairs: int, margin: float, power: float = 0.8, alpha: float = ALPHA) -> float:
    """The largest sd of the differences at which ``pairs`` seeds declare a true difference of zero
    equivalent within ``margin`` with ``power``: `tost_power` turned round (Brent 1973, chapter 4).

    In the margin's unit, to nine digits, rounded down. It is proportional to the margin.

    Raises:
        ValueError: fewer than two pairs, the margin is not above zero, or power and alpha are no
            probabilities.
    """
    if not 0 < power < 1:
        raise ValueError(f"power lies between 0 and 1, not at {power}")
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin is a positive finite number, not {margin}")
    # In units of the margin. Power falls from 1 to 0 as the sd grows; find the ends first.
    low = 1.0
    while tost_power(pairs, low, 1.0, alpha=alpha) < power:
        low /= 2.0
    high = 2.0 * low
    while tost_power(pairs, high, 1.0, alpha=alpha) >= power:
        low, high = high, 2.0 * high
    crossing = brentq(lambda sd: tost_power(pairs, sd, 1.0, alpha=alpha) - power, low, high, rtol=1e-10)
    return float(crossing) * (1.0 - 1e-9) * margin


def _check_power_input(pairs: int, sd: float, alpha: float) -> None:
    if pairs < 2:
        raise ValueError(f"a t test needs two pairs, not {pairs}")
    if not (math.isfinite(sd) and sd > 0):
        raise ValueError(f"a standard deviation is a positive finite number, not {sd}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha lies between 0 and 0.5, not at {alpha}")


def _owen_power(df: int, low: float, high: float, alpha: float) -> float:
    """Exact power of two one-sided t tests (Owen 1965, Biometrika 52:437; Phillips 1990,
    J. Pharmacokin. Biopharm. 18:137).

    The margins ``low`` and ``high`` are in standard errors from the true difference. Given u, the
    estimated over the true sd, the tests pass where a standard normal lies in
    [low + t u, high - t u].
    """
    critical = float(stdtrit(df, 1.0 - alpha))
    end = (high - low) / (2.0 * critical)
    return _over_sd(df, lambda u: ndtr(high - critical * u) - ndtr(low + critical * u), end)


def _over_sd(
    df: int, probability: Callable[[NDArray[np.float64]], NDArray[np.float64]], end: float = math.inf
) -> float:
    """Expectation of ``probability`` over u, the estimated over the true sd, as far as u = ``end``.

    u is a chi with ``df`` degrees of freedom over the root of ``df``; Gauss-Legendre quadrature between
    its quantiles 1e-13 and 1 - 1e-13.
    """
    first = math.sqrt(2.0 * float(gammaincinv(df / 2.0, 1e-13)) / df)
    last = min(end, math.sqrt(float(chdtri(df, 1e-13)) / df))
    if last <= first:
        return 0.0
    u = first + (NODES + 1.0) * (last - first) / 2.0
    log_density = (df - 1) * np.log(u) - df * u**2 / 2.0 + math.log(df) * df / 2.0
    density = np.exp(log_density - (df / 2.0 - 1.0) * math.log(2.0) - float(gammaln(df / 2.0)))
    mean = float((WEIGHTS * density * probability(u)).sum()) * (last - first) / 2.0
    return min(1.0, max(0.0, mean))
