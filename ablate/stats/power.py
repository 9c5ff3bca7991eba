"""What a number of pairs can decide, and how many pairs it takes: power of the paired t test and of two
one-sided tests, exact."""

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, gammaincinv, gammaln, ndtr, ndtri, stdtrit

from ablate.stats.verdict import ALPHA

NODES, WEIGHTS = np.polynomial.legendre.leggauss(256)
"""Quadrature on [-1, 1]."""

STEEP = 0.02
"""A fall narrower than this share of the range is too steep for the nodes, which lie up to 0.006 apart."""

MOST_PAIRS = 1_000_000
"""`seeds_needed` and its like look no further."""


def half_width(pairs: int, sd: float, level: float = 0.95) -> float:
    """Half the width of the paired t interval of ``pairs`` differences with standard deviation ``sd``."""
    if pairs < 2:
        raise ValueError(f"an interval needs two pairs, not {pairs}")
    return float(stdtrit(pairs - 1, 0.5 + level / 2.0)) * sd / math.sqrt(pairs)


def detection_power(pairs: int, sd: float, difference: float, alpha: float = ALPHA) -> float:
    """Probability that a paired t test of level ``alpha`` (two-sided) sees a true ``difference``.

    Exact: the tails of the noncentral t distribution (Johnson and Kotz 1970, chapter 31), by the same
    integral as `tost_power`, because scipy's `nct` returns NaN in the far tail.
    """
    _check_power_input(pairs, sd, alpha)
    df, shift = pairs - 1, abs(difference) * math.sqrt(pairs) / sd
    critical = float(stdtrit(df, 1.0 - alpha / 2.0))
    return _over_sd(
        df,
        lambda u: ndtr(shift - critical * u) + ndtr(-shift - critical * u),
        shift / critical,
        1.0 / critical,
    )


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
    return _smallest(lambda pairs: tost_power(pairs, sd, margin, alpha=alpha) >= power, known)


def largest_sd(pairs: int, margin: float, power: float = 0.8, alpha: float = ALPHA) -> float:
    """The largest sd of the differences at which ``pairs`` seeds declare a true difference of zero
    equivalent within ``margin`` with ``power``: `tost_power` turned round.

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
    crossing = _crossing(lambda sd: tost_power(pairs, sd, 1.0, alpha=alpha) < power, low, high)
    return crossing * (1.0 - 1e-9) * margin


def detectable_difference(pairs: int, sd: float, power: float = 0.8, alpha: float = ALPHA) -> float:
    """The minimum detectable effect: the true difference that a paired t test of level ``alpha`` over
    ``pairs`` seeds sees with ``power`` (`detection_power` turned round).

    In the sd's unit; it is proportional to the sd, which is taken as the true one.

    Raises:
        ValueError: fewer than two pairs, the sd is not above zero, or power does not lie between alpha
            and 1.
    """
    _check_power_input(pairs, sd, alpha)
    if not alpha < power < 1:
        raise ValueError(f"power lies between alpha, {alpha}, and 1, not at {power}")
    return _detectable_in_sds(pairs, power, alpha) * sd


@lru_cache(maxsize=1024)
def _detectable_in_sds(pairs: int, power: float, alpha: float) -> float:
    high = float(ndtri(1.0 - alpha / 2.0) + ndtri(power)) / math.sqrt(pairs)
    while detection_power(pairs, 1.0, high, alpha) < power:
        high *= 2.0
    return _crossing(lambda effect: detection_power(pairs, 1.0, effect, alpha) >= power, 0.0, high)


def pairs_to_detect(sd: float, difference: float, power: float = 0.8, alpha: float = ALPHA) -> int | None:
    """Pairs for a paired t test to see a true ``difference`` with ``power``; None means more than
    `MOST_PAIRS`, as it does for a difference of zero.

    Raises:
        ValueError: the sd is not above zero, the difference is not finite, or power does not lie
            between alpha and 1.
    """
    _check_power_input(2, sd, alpha)
    if not alpha < power < 1:
        raise ValueError(f"power lies between alpha, {alpha}, and 1, not at {power}")
    if not math.isfinite(difference):
        raise ValueError(f"a difference is a finite number, not {difference}")
    known = float(ndtri(1.0 - alpha / 2.0) + ndtri(power)) * sd
    if known > abs(difference) * math.sqrt(MOST_PAIRS):
        return None
    return _smallest(
        lambda pairs: detection_power(pairs, sd, difference, alpha) >= power, (known / difference) ** 2
    )


class SeedsToDecide(NamedTuple):
    """Pairs that an inconclusive contrast would need, for either claim. None means more than
    `MOST_PAIRS`, or a claim that cannot be asked for."""

    detect: int | None
    """To detect a true difference of the size observed."""
    equivalent: int | None
    """To show equivalence, were there no difference."""
    plausible: Literal["detect", "equivalent"]
    """Which of them to plan for: `detect` where the observed gain is the margin or more."""
    words: str


def seeds_to_decide(
    gain: float,
    sd: float,
    margin: float | None,
    power: float = 0.8,
    alpha: float = ALPHA,
    pairs: int = 0,
) -> SeedsToDecide:
    """How many pairs in all would decide an inconclusive contrast with ``power``.

    Both numbers take the sample's sd for the true one. `detect` takes its gain for the true one too,
    and is as uncertain as that gain is (Hoenig and Heisey 2001, Am. Stat. 55:19): it plans another
    study, it does not excuse this one.

    Args:
        gain: observed mean gain.
        margin: smallest effect of interest; without one there is no equivalence to show.
        pairs: how many there are already; a number that is no larger says so.

    Raises:
        ValueError: as `pairs_to_detect` and `seeds_needed`.
    """
    detect = pairs_to_detect(sd, gain, power, alpha)
    equivalent = None if margin is None else seeds_needed(sd, margin, power, alpha)
    plausible: Literal["detect", "equivalent"]
    plausible = "detect" if margin is None or abs(gain) >= margin else "equivalent"
    said = ["the observed difference is zero, so that there is none to detect"]
    if gain != 0:
        said = [f"{_pairs(detect, pairs)} would detect a true difference of the size observed"]
    if margin is not None:
        said.append(f"{_pairs(equivalent, pairs)} would show equivalence, were there no difference")
    if plausible == "equivalent":
        said.reverse()
    return SeedsToDecide(detect, equivalent, plausible, "; ".join(said) + f" (power {power:g})")


def _pairs(count: int | None, there: int) -> str:
    if count is None:
        return f"more than {MOST_PAIRS} pairs"
    return f"about {count} pairs{', no more than there are,' if count <= there else ''}"


class UnpairedDesign(NamedTuple):
    """The unpaired study that is as precise as the paired one."""

    seeds: int
    """Seeds per arm."""
    more: int
    """Seeds per arm beyond the pairs there are. Zero or less: pairing bought nothing."""


def unpaired_seeds(
    pairs: int, sd: float, sd_treated: float, sd_reference: float, level: float = 0.95
) -> UnpairedDesign | None:
    """Seeds per arm with which Welch's interval would have been as narrow as the paired one.

    The smallest number whose half-width, by Welch (1947, Biometrika 34:28) with Satterthwaite's degrees
    of freedom and the arms' sds taken as they are, is at most `half_width` of the pairs. It may be
    below ``pairs``: the correlation was negative, or too small to pay for the degrees of freedom.

    Args:
        sd: standard deviation of the paired differences.
        sd_treated: that of the treated arm's scores over seeds.
        sd_reference: that of the reference arm's scores.

    Returns:
        None if the arms or the differences do not vary, or if it takes more than `MOST_PAIRS`.

    Raises:
        ValueError: fewer than two pairs, or a negative sd.
    """
    target = half_width(pairs, sd, level)
    if not all(math.isfinite(one) and one >= 0 for one in (sd, sd_treated, sd_reference)):
        raise ValueError(f"standard deviations are finite and not negative, not {sd_treated}, {sd_reference}")
    variance = sd_treated**2 + sd_reference**2
    if sd == 0 or variance == 0:
        return None
    # Satterthwaite with n seeds in each arm; between n - 1 and 2 (n - 1).
    freedom = variance**2 / (sd_treated**4 + sd_reference**4)

    def narrow_enough(seeds: int) -> bool:
        quantile = float(stdtrit((seeds - 1) * freedom, 0.5 + level / 2.0))
        return quantile * math.sqrt(variance / seeds) <= target

    known = variance * (float(ndtri(0.5 + level / 2.0)) / target) ** 2
    if known > MOST_PAIRS:
        return None
    seeds = _smallest(narrow_enough, known)
    return UnpairedDesign(seeds, seeds - pairs)


def unpaired_seeds_needed(
    sd_treated: float, sd_reference: float, margin: float, power: float = 0.8, alpha: float = ALPHA
) -> int | None:
    """Seeds in each arm for two one-sided Welch tests to declare a true difference of zero equivalent with
    ``power``: `seeds_needed` for arms whose seeds are independent.

    Satterthwaite's degrees of freedom are taken at the sds given, which are taken as the true ones; the
    power is then exact for arms of equal sds. None means more than `MOST_PAIRS`.

    Raises:
        ValueError: as `seeds_needed`.
    """
    if not 0 < power < 1:
        raise ValueError(f"power lies between 0 and 1, not at {power}")
    for sd in (sd_treated, sd_reference):
        _check_power_input(2, sd, alpha)
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin is a positive finite number, not {margin}")
    sd = math.hypot(sd_treated, sd_reference)
    freedom = sd**4 / (sd_treated**4 + sd_reference**4)
    known = (float(ndtri(1.0 - alpha) + ndtri((1.0 + power) / 2.0)) * sd / margin) ** 2
    if known > MOST_PAIRS:
        return None

    def enough(seeds: int) -> bool:
        limit = margin * math.sqrt(seeds) / sd
        return _owen_power((seeds - 1) * freedom, -limit, limit, alpha) >= power

    return _smallest(enough, known)


def _crossing(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``beyond`` turns from false, at ``low``, to true, at ``high``: fifty halvings. (scipy's root
    finders take a quarter of a second to import, which a report of few records would notice.)"""
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return (low + high) / 2.0


def _smallest(enough: Callable[[int], bool], near: float) -> int:
    """The smallest number from 2 on that is ``enough``, a monotone claim; the search begins ``near`` it."""
    low, step = max(1, math.floor(near) - 1), 1
    while low > 1 and enough(low):
        low //= 2
    while not enough(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_power_input(pairs: int, sd: float, alpha: float) -> None:
    if pairs < 2:
        raise ValueError(f"a t test needs two pairs, not {pairs}")
    if not (math.isfinite(sd) and sd > 0):
        raise ValueError(f"a standard deviation is a positive finite number, not {sd}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha lies between 0 and 0.5, not at {alpha}")


def _owen_power(df: float, low: float, high: float, alpha: float) -> float:
    """Exact power of two one-sided t tests (Owen 1965, Biometrika 52:437; Phillips 1990,
    J. Pharmacokin. Biopharm. 18:137).

    The margins ``low`` and ``high`` are in standard errors from the true difference. Given u, the
    estimated over the true sd, the tests pass where a standard normal lies in
    [low + t u, high - t u].
    """
    critical = float(stdtrit(df, 1.0 - alpha))
    end = (high - low) / (2.0 * critical)
    bend = min(high, -low) / critical
    return _over_sd(
        df, lambda u: ndtr(high - critical * u) - ndtr(low + critical * u), bend, 1.0 / critical, end
    )


def _over_sd(
    df: float,
    probability: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    bend: float,
    width: float,
    end: float = math.inf,
) -> float:
    """Expectation of ``probability`` over u, the estimated over the true sd, as far as u = ``end``.

    u is a chi with ``df`` degrees of freedom over the root of ``df``; Gauss-Legendre quadrature between
    its quantiles 1e-13 and 1 - 1e-13. ``probability`` falls like a normal distribution of sd ``width``
    about ``bend``: where that is too steep for the nodes (few pairs, small alpha), it is integrated apart.
    """
    first = math.sqrt(2.0 * float(gammaincinv(df / 2.0, 1e-13)) / df)
    last = min(end, math.sqrt(float(chdtri(df, 1e-13)) / df))
    if last <= first:
        return 0.0
    edges = [first, last]
    if width < STEEP * (last - first):
        edges[1:1] = [edge for edge in (bend - 9.0 * width, bend + 9.0 * width) if first < edge < last]
    constant = math.log(df) * df / 2.0 - (df / 2.0 - 1.0) * math.log(2.0) - float(gammaln(df / 2.0))
    mean = 0.0
    for low, high in pairwise(edges):
        u = low + (NODES + 1.0) * (high - low) / 2.0
        density = np.exp((df - 1) * np.log(u) - df * u**2 / 2.0 + constant)
        mean += float((WEIGHTS * density * probability(u)).sum()) * (high - low) / 2.0
    return min(1.0, max(0.0, mean))
