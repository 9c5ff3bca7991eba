"""Does a model score above chance, over new seeds and over new items?

Seeds and items are crossed, as subjects and words are in psycholinguistics, and a score that is above
chance for these seeds only, or on these items only, is not above chance (Clark 1973, *The language-as-
fixed-effect fallacy*, J. Verb. Learn. Verb. Behav. 12:335). As in Clark's min F', the variance of a mean
over n seeds and m items is bounded by A + B: A that of the mean over seeds with these items, B that of the
mean over items with these seeds. Each holds the variance of their interaction, so that it counts twice.

A is estimated from few seeds, where Satterthwaite's degrees of freedom err to the bold side by much: at
three seeds and the level of Holm's first step over 70 endpoints, up to eight times too often. Banerjee's
bound (1960, Sankhya 22:357) errs to the other: reject where

    mean > sqrt(t(df_A)^2 A + t(df_B)^2 B)

with Student's one-sided quantiles. For normal effects and independent runs its level is at most alpha,
whatever A : B.

A itself is pooled over the budgets (`above_chance`), whose runs are not independent and whose variances need
not be equal: a small budget at which every seed gives the same answer says nothing of the spread at the full
one. Simulated with 4 budgets, 3 or 5 seeds, seeds being all the variance there is, as multiples of alpha at
0.05 / 0.017 / 0.0007: at most 0.7 / 0.6 / 0.2 for equal variances and correlations up to 0.5 between the
budgets of a seed; 1.1 / 1.2 / 2 at 0.9; 1.4 / 1.6 / 3 where the sd at the full budget is twice that at the
others; 1.4 / 1.8 / 7 where it is 3 to 10 times; 1 where the others have none.
"""

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Array = NDArray[np.float64]

LEAST_P = 1e-300
"""Where the search for a p value ends; a smaller one is given as this."""

ROUNDING = 1e-12
"""An excess or a standard error below this share of the largest number is the rounding of a mean: a constant
model, whose every item scores 1/3, is no ulp above a chance of 1/3."""


@dataclass(frozen=True)
class AboveChance:
    """The test of one endpoint at the full budget, in the endpoint's unit, oriented: larger is better."""

    excess: float
    """Mean score over seeds, less chance."""
    se_seeds: float | None
    """Standard error over seeds, these items given; None for a single seed."""
    df_seeds: float
    """Degrees of freedom behind `se_seeds`; 0 for a single seed."""
    se_items: float | None
    """Standard error over items (clusters), these seeds given; None for a single item."""
    clusters: int
    p_value: float | None
    """One-sided; None for one item or cluster, or where nothing varies and chance is no probability."""

    def needed(self, alpha: float) -> float | None:
        """The excess from which on p would have been at most ``alpha``, with these standard errors; None
        where there are none, or they are zero."""
        if self.p_value is None or not (self.se_items or self.se_seeds):
            return None
        return math.sqrt(self._bound(alpha))

    def _bound(self, alpha: float) -> float:
        """Square of the critical excess. (The lower quantile, as 1 - alpha is 1 for the smallest levels.)"""
        items = (float(stdtrit(self.clusters - 1, alpha)) * (self.se_items or 0.0)) ** 2
        if self.se_seeds is None:
            return items
        return items + (float(stdtrit(self.df_seeds, alpha)) * self.se_seeds) ** 2

    def reaches(self, alpha: float) -> bool:
        """Whether the excess is above the bound at ``alpha``."""
        return self.excess**2 >= self._bound(alpha)


def above_chance(values: Array, chance: float, seed_scores: Array) -> AboveChance:
    """One-sided test that the mean score exceeds ``chance``, for new seeds and new items.

    The variance over seeds is the larger of that at the full budget and the mean over the budgets, and
    has half the degrees of freedom that independent budgets of equal variance would give, but at least those
    of the full budget: runs of one seed share their initial weights and the order of their text. Where
    variances differ, as many budgets count as `_alike` says. With one seed the test is over items alone.

    Where neither seeds nor items vary (every answer right), p is the chance that as many independent
    guesses, one a cluster, would all be right.

    Args:
        values: float64[seeds, clusters] at the full budget, whose row means are the scores
            (`ablate.stats.bootstrap.cluster_values`), oriented so that larger is better.
        chance: expected score of a model that knows nothing, oriented.
        seed_scores: float64[seeds, budgets], oriented, the full budget last.
    """
    seeds, clusters = values.shape
    rounding = ROUNDING * max(float(np.abs(values).max()), float(np.abs(seed_scores).max()), abs(chance))
    excess = _beyond(rounding, float(values.mean()) - chance)
    se_items = _beyond(rounding, _standard_error(values.mean(axis=0)))
    variances = seed_scores.var(axis=0, ddof=1) if seeds > 1 else np.zeros(1)
    pooled = math.sqrt(max(float(variances[-1]), float(variances.mean())) / seeds)
    se_seeds = _beyond(rounding, pooled) if seeds > 1 else None
    df_seeds = max(seeds - 1.0, _alike(variances, seeds) * (seeds - 1) / 2.0)
    plain = AboveChance(excess, se_seeds, df_seeds, se_items, clusters, None)
    if se_items is None:
        return plain
    if not se_items and not se_seeds:
        guessed = chance**clusters if 0 < chance < 1 else None
        p_value = 1.0 if excess <= 0 else guessed
    else:
        p_value = _p_value(plain)
    return AboveChance(excess, se_seeds, df_seeds, se_items, clusters, p_value)


def _p_value(found: AboveChance) -> float:
    """The smallest level that the excess reaches, by bisection in log p."""
    if found.excess <= 0:
        # The bound is one of the upper tail; below it all that matters is that nothing is claimed.
        scale = math.hypot(found.se_items or 0.0, found.se_seeds or 0.0)
        return float(1.0 - stdtr(found.clusters - 1, found.excess / scale))
    low, high = math.log(LEAST_P), math.log(0.5)
    for _ in range(45):
        middle = (low + high) / 2.0
        low, high = (low, middle) if found.reaches(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _alike(variances: Array, seeds: int) -> float:
    """How many budgets of equal variance would give such estimates: 1, if one has all the variance, to all.

    Satterthwaite's sum v^2 / (sum v)^2 is 1/n for n equal variances that are known, and for independent
    estimates with 2a degrees of freedom (a + 1) / (n a + 1) on average (moments of the Dirichlet
    distribution), which is solved for n.
    """
    total = float(variances.sum())
    if not total:
        return 1.0
    a = (seeds - 1) / 2.0
    unevenness = float((variances**2).sum()) / total**2
    return min(max(((a + 1.0) / unevenness - 1.0) / a, 1.0), float(variances.size))


@overload
def _beyond(rounding: float, value: float) -> float: ...
@overload
def _beyond(rounding: float, value: float | None) -> float | None: ...
def _beyond(rounding: float, value: float | None) -> float | None:
    """``value``, or zero where it is ``rounding`` at most."""
    return 0.0 if value is not None and abs(value) <= rounding else value


def _standard_error(means: Array) -> float | None:
    return float(means.std(ddof=1) / np.sqrt(means.size)) if means.size > 1 else None
