"""Page's test: do scores rise with compute, seed by seed?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-12
"""Steps that differ by less than this share of the largest score are equal."""
MOST_RUNGS = 9
"""Rungs whose orders are still counted exactly: the longest ladder, and the baseline."""


@dataclass(frozen=True)
class Trend:
    """Page's test of one endpoint."""

    statistic: float
    """Page's L: sum over seeds and rungs of the rung's number, from 1, times its rank within the seed."""
    p_value: float
    """Probability of as large an L where every order of a seed's scores is as likely as any other."""
    least_p: float
    """The p value were every seed's order perfect: no data of this shape can give a smaller one."""


def page_trend(scores: Array) -> Trend:
    """One-sided test that scores rise with the rungs (Page 1963, JASA 58:216), exact, ties by mid-ranks.

    Seeds are the blocks. Under the null hypothesis every order of the scores of a seed is equally likely,
    independently over seeds, given the ties there are; L is a sum over seeds, so its distribution is the
    convolution of theirs. Nothing is assumed of the scores' distribution; items are taken as they are.

    Args:
        scores: float64[seeds, rungs], rungs by rising compute, oriented so that larger is better.

    Raises:
        ValueError: no seed, fewer than two rungs or more than `MOST_RUNGS`, or a score that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[0] < 1 or not 2 <= scores.shape[1] <= MOST_RUNGS:
        raise ValueError(
            f"a trend is of one seed or more over 2 to {MOST_RUNGS} rungs, not of shape {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("a trend is of finite scores")
    doubled = [_doubled_ranks(row) for row in scores]
    weights = range(1, scores.shape[1] + 1)
    found = sum(weight * rank for ranks in doubled for weight, rank in zip(weights, ranks, strict=True))
    perfect = tuple(2 * weight for weight in weights)
    p_value = _tail(tuple(sorted(tuple(sorted(ranks)) for ranks in doubled)), found)
    least = Fraction(1, sum(_orders(perfect).values())) ** scores.shape[0]
    return Trend(found / 2.0, float(p_value), float(least))


def _doubled_ranks(row: Array) -> tuple[int, ...]:
    """Twice the mid-rank of each score, from 1: whole numbers."""
    below = (row[None, :] < row[:, None]).sum(axis=1)
    equal = (row[None, :] == row[:, None]).sum(axis=1)
    return tuple(int(rank) for rank in 2 * below + equal + 1)


@lru_cache(maxsize=512)
def _tail(seeds: tuple[tuple[int, ...], ...], found: int) -> Fraction:
    """P(L doubled >= ``found``) for seeds whose doubled ranks, sorted, are these."""
    counts = reduce(_convolved, [_orders(ranks) for ranks in seeds])
    return Fraction(sum(ways for value, ways in counts.items() if value >= found), sum(counts.values()))


@lru_cache(maxsize=512)
def _orders(ranks: tuple[int, ...]) -> Counter[int]:
    """Doubled L of one seed to the number of orders of ``ranks`` that give it, subset by subset."""
    rungs = len(ranks)
    ways: list[Counter[int]] = [Counter() for _ in range(1 << rungs)]
    ways[0][0] = 1
    for used in range(1 << rungs):
        weight = used.bit_count() + 1
        for place in range(rungs):
            if not used >> place & 1:
                after = ways[used | 1 << place]
                for value, count in ways[used].items():
                    after[value + weight * ranks[place]] += count
    return ways[-1]


def _convolved(first: Counter[int], second: Counter[int]) -> Counter[int]:
    low_first, low_second = min(first), min(second)
    sums = np.convolve(_dense(first), _dense(second))
    return Counter({low_first + low_second + place: int(ways) for place, ways in enumerate(sums) if ways})


def _dense(counts: Counter[int]) -> NDArray[np.object_]:
    """Counts from the smallest value on, as whole numbers of any size."""
    low = min(counts)
    return np.array([counts.get(value, 0) for value in range(low, max(counts) + 1)], dtype=object)


def falls(scores: Array) -> Sequence[float]:
    """One-sided p that the mean falls from each rung to the next: paired t over seeds, lower tail.

    Scores of few items are coarse: two seeds that both lose one item of a hundred have no spread for a t.
    Where all seeds take the same step, p is the sign test's 2 ** -seeds.

    Args:
        scores: float64[seeds, rungs], oriented so that larger is better.
    """
    from scipy.special import stdtr

    seeds = scores.shape[0]
    if seeds < 2:
        return [1.0] * (scores.shape[1] - 1)
    steps = np.diff(scores, axis=1)
    errors = steps.std(axis=0, ddof=1) / np.sqrt(seeds)
    rounding = ROUNDING * float(np.abs(scores).max())
    found = []
    for mean, error in zip(steps.mean(axis=0), errors, strict=True):
        if error > rounding:
            found.append(float(stdtr(seeds - 1, mean / error)))
        else:
            found.append(0.5**seeds if mean < -rounding else 1.0)
    return found
