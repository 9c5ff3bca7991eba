"""What grounding is worth in tokens of text: the worth of an arm less that of its shuffled control."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ablate.stats.paired import ROUNDING, Interval, PairedSample


def difference_of_worth(
    treated: PairedSample, placebo: PairedSample, slopes: Mapping[int, float], tokens: float
) -> tuple[float, Interval | None] | None:
    """Text tokens that the treated arm is worth beyond the placebo, and their 95% interval.

    Each arm, of gain g against the baseline, is worth T (exp(g / s) - 1) tokens more than it, and the
    difference is T (exp(g_treated / s) - exp(g_placebo / s)): on the scale on which the total is told.
    (The gain of one over the other taken at the baseline's text would be worth more wherever both arms are
    worse than the baseline.) The interval is the delta method's on the means over seeds (Casella and Berger
    2002, *Statistical Inference*, section 5.5.4), with their covariance and Student's t of n - 1 degrees of
    freedom; unlike Fieller's it is approximate.

    Args:
        treated: the arm against the baseline.
        placebo: its shuffled control against the baseline.
        slopes: seed to gain per unit of ln(text tokens).
        tokens: T, text tokens of the baseline.

    Returns:
        None without two seeds in all three, or where the mean slope is not above zero; an interval of None
        where nothing varies.
    """
    first, second = _by_seed(treated), _by_seed(placebo)
    seeds = [seed for seed in treated.seeds if seed in second and seed in slopes]
    if len(seeds) < 2:
        return None
    values = np.array([[first[seed], second[seed], slopes[seed]] for seed in seeds], dtype=np.float64)
    gain, other, slope = (float(mean) for mean in values.mean(axis=0))
    if slope <= 0 or max(gain, other) > LARGEST_RATIO * slope:
        return None
    mine, theirs = math.exp(gain / slope), math.exp(other / slope)
    gradient = tokens * np.array(
        [mine / slope, -theirs / slope, -(gain * mine - other * theirs) / slope**2], dtype=np.float64
    )
    worth = tokens * (mine - theirs)
    if float(values.std(axis=0).max()) <= ROUNDING * float(np.abs(values).max()):
        return worth, None
    variance: NDArray[np.float64] = gradient @ np.cov(values, rowvar=False) @ gradient
    half = float(stdtrit(len(seeds) - 1, 0.975)) * math.sqrt(max(0.0, float(variance)) / len(seeds))
    return worth, (worth - half, worth + half)


LARGEST_RATIO = math.log(1e9)
"""Gains of more than this many slopes, a text a thousand million times as long, are given no number."""


def _by_seed(sample: PairedSample) -> dict[int, float]:
    return dict(zip(sample.seeds, map(float, sample.gains), strict=True))
