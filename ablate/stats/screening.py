"""Screening: which endpoints a text-only model of this size can be judged by at all.

An endpoint is `usable` if the model at the full budget is above chance, where chance is defined, and if its
scores rise with compute. Everything else is no endpoint to confirm anything on: at its floor, arms differ
by luck alone, and two arms at chance would be called equivalent.

Tests are adjusted after Holm, each family at alpha: those against chance (`ablate.stats.above_chance`) apart
from those of rising (`ablate.stats.trend`); and apart from one another the endpoints that the study states a
margin for, metrics over all items of a task, and metrics of subsets and groups. A task with 67 subsets and 5
metrics must not decide what three stated endpoints need. So in each of the three the probability that any
endpoint at chance passes is at most alpha, and so is that any endpoint that does not rise passes.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ablate.record import of_whole_task
from ablate.stats.above_chance import AboveChance, above_chance
from ablate.stats.trend import Trend, falls, page_trend
from ablate.stats.verdict import ALPHA, holm

ScreenVerdict = Literal["usable", "at floor", "not monotone", "cannot be told"]

SCREEN_VERDICTS: tuple[ScreenVerdict, ...] = ("usable", "at floor", "not monotone", "cannot be told")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LadderScores:
    """One endpoint of the baseline at several shares of its budget."""

    endpoint: str
    higher_is_better: bool
    chance: float | None
    """Expected score of a model that knows nothing; None where there is no such number."""
    shares: tuple[float, ...]
    """Shares of the budget, rising, the last is 1."""
    seeds: tuple[int, ...]
    scores: Array
    """float64[seeds, shares]"""
    items: Array | None
    """float64[seeds, clusters] at the full budget, see `ablate.stats.bootstrap.cluster_values`; None without
    item scores."""
    missing: tuple[str, ...] = ()
    """Planned runs that have no score, or item scores that cannot be used, in words: nothing is told then."""


@dataclass(frozen=True)
class Screened:
    """What the screen says of one endpoint. Numbers are in the endpoint's own unit and direction."""

    endpoint: str
    verdict: ScreenVerdict
    reason: str
    """In words and numbers."""
    higher_is_better: bool
    chance: float | None
    shares: tuple[float, ...]
    seeds: tuple[int, ...]
    means: tuple[float, ...]
    """Mean over seeds at each share; empty where runs are missing."""
    sd: float | None
    """Standard deviation over seeds at the full budget."""
    se_seeds: float | None
    se_items: float | None
    clusters: int | None
    """Items, or clusters where items come in them."""
    needed: float | None
    """The score from which on the endpoint would have been above chance at Holm's first step, at these
    standard errors."""
    p_chance: float | None
    p_chance_adjusted: float | None
    chance_family: int
    page_l: float | None
    p_trend: float | None
    p_trend_adjusted: float | None
    trend_family: int


@dataclass(frozen=True)
class _Tested:
    scores: LadderScores
    chance: AboveChance | None
    trend: Trend | None


def screen(
    endpoints: Sequence[LadderScores], stated: Collection[str] = (), alpha: float = ALPHA
) -> list[Screened]:
    """The verdict on every endpoint, in their order.

    An endpoint whose test cannot be made counts as p = 1 in its family, so that the family is the one that
    was planned.

    Args:
        stated: endpoints that the study has a margin for, families of their own.
    """
    groups: dict[str, list[LadderScores]] = {}
    for one in endpoints:
        group = "stated" if one.endpoint in stated else "whole" if of_whole_task(one.endpoint) else "part"
        groups.setdefault(group, []).append(one)
    found = {one.endpoint: one for group in groups.values() for one in _screen_group(group, alpha)}
    return [found[one.endpoint] for one in endpoints]


def _screen_group(endpoints: Sequence[LadderScores], alpha: float) -> list[Screened]:
    tested = [_tested(one) for one in endpoints]
    against = [one for one in tested if one.scores.chance is not None]
    chances = dict(
        zip(
            (one.scores.endpoint for one in against),
            holm([one.chance.p_value if one.chance else None for one in against]),
            strict=True,
        )
    )
    trends = holm([one.trend.p_value if one.trend else None for one in tested])
    return [
        _screened(one, chances.get(one.scores.endpoint), rising, len(against), len(tested), alpha)
        for one, rising in zip(tested, trends, strict=True)
    ]


def _tested(found: LadderScores) -> _Tested:
    if found.missing:
        return _Tested(found, None, None)
    sign = 1.0 if found.higher_is_better else -1.0
    oriented = sign * found.scores
    trend = page_trend(oriented) if oriented.shape[1] > 1 else None
    chance = None
    if found.chance is not None and found.items is not None:
        chance = above_chance(sign * found.items, sign * found.chance, oriented)
    return _Tested(found, chance, trend)


def _screened(
    tested: _Tested,
    p_chance: float | None,
    p_trend: float | None,
    chance_family: int,
    trend_family: int,
    alpha: float,
) -> Screened:
    found, chance, trend = tested.scores, tested.chance, tested.trend
    needed = _needed(tested, alpha / max(1, chance_family))
    verdict, reason = _verdict(tested, p_chance, p_trend, (chance_family, trend_family), alpha)
    whole = not found.missing
    return Screened(
        endpoint=found.endpoint,
        verdict=verdict,
        reason=reason,
        higher_is_better=found.higher_is_better,
        chance=found.chance,
        shares=found.shares,
        seeds=found.seeds,
        means=tuple(float(mean) for mean in found.scores.mean(axis=0)) if whole else (),
        sd=float(found.scores[:, -1].std(ddof=1)) if whole and len(found.seeds) > 1 else None,
        se_seeds=chance.se_seeds if chance else None,
        se_items=chance.se_items if chance else None,
        clusters=chance.clusters if chance else None,
        needed=needed,
        p_chance=chance.p_value if chance else None,
        p_chance_adjusted=p_chance,
        chance_family=chance_family,
        page_l=trend.statistic if trend else None,
        p_trend=trend.p_value if trend else None,
        p_trend_adjusted=p_trend,
        trend_family=trend_family,
    )


def _needed(tested: _Tested, alpha: float) -> float | None:
    excess = tested.chance.needed(alpha) if tested.chance else None
    if excess is None or tested.scores.chance is None:
        return None
    return tested.scores.chance + (excess if tested.scores.higher_is_better else -excess)


def _verdict(
    tested: _Tested,
    p_chance: float | None,
    p_trend: float | None,
    families: tuple[int, int],
    alpha: float,
) -> tuple[ScreenVerdict, str]:
    if tested.scores.missing:
        return "cannot be told", "; ".join(tested.scores.missing)
    verdict, above = _floor(tested, p_chance, families[0], alpha)
    if verdict is not None:
        return verdict, above
    verdict, rising = _monotone(tested, p_trend, families[1], alpha)
    return verdict, "; ".join(filter(None, [above, rising]))


def _floor(
    tested: _Tested, p_value: float | None, family: int, alpha: float
) -> tuple[ScreenVerdict | None, str]:
    """None where the endpoint is above chance, or has no chance level."""
    found = tested.scores
    if found.chance is None:
        return None, "no chance level"
    mean = float(found.scores[:, -1].mean())
    said = f"scores {mean:.4g} where chance is {found.chance:.4g}"
    if tested.chance is None or p_value is None:
        if found.items is None:
            return "cannot be told", f"{said}; without item scores there is no test over items"
        return "cannot be told", f"{said}; one item or cluster gives no test over items"
    said = f"{said} (p {_p(p_value)}, Holm over {family})"
    if p_value < alpha:
        return None, f"above chance: {said}"
    if tested.chance.p_value is not None and tested.chance.p_value < alpha:
        alone = _p(tested.chance.p_value)
        return "cannot be told", f"{said}: above chance by itself (p {alone}), not among {family} endpoints"
    needed = _needed(tested, alpha / max(1, family))
    if needed is None:
        return "at floor", said
    # What has a chance level and is better when higher is a share or a correlation.
    if found.higher_is_better and needed > 1.0:
        return "cannot be told", f"{said}: so few seeds and items could not tell a perfect score from chance"
    side = "above" if found.higher_is_better else "below"
    return "at floor", f"{said}; a score {side} {needed:.4g} would have been told from chance"


def _is_share(found: LadderScores) -> bool:
    """Whether the score is a mean of numbers between 0 and 1."""
    if found.chance is None or found.items is None or not found.higher_is_better:
        return False
    return 0.0 < found.chance < 1.0 and bool(((found.scores >= 0.0) & (found.scores <= 1.0)).all())


def _monotone(tested: _Tested, p_value: float | None, family: int, alpha: float) -> tuple[ScreenVerdict, str]:
    found, trend = tested.scores, tested.trend
    if trend is None or p_value is None:
        return "cannot be told", "one budget shows no trend: train a ladder of shares"
    sign = 1.0 if found.higher_is_better else -1.0
    means = found.scores.mean(axis=0)
    path = f"{means[0]:.4g} at {found.shares[0]:g} of the budget, {means[-1]:.4g} at all of it"
    if _is_share(found) and float(means.min()) == 1.0:
        return "not monotone", f"at its ceiling, with nothing left to gain: {path}"
    if sign * (means[-1] - means[0]) <= 0:
        return "not monotone", f"the whole budget is no better than its smallest share: {path}"
    down = falls(sign * found.scores)
    worst = min(range(len(down)), key=lambda step: down[step])
    if down[worst] * len(down) < alpha:
        first, second = worst, worst + 1
        return "not monotone", (
            f"it falls from {means[first]:.4g} at {found.shares[first]:g} of the budget to "
            f"{means[second]:.4g} at {found.shares[second]:g} (p {_p(down[worst])}, {len(down)} steps)"
        )
    page = f"Page's trend over {len(found.shares)} budgets and {_seeds(found)}"
    if p_value < alpha:
        return "usable", f"rising: {path} ({page}: p {_p(p_value)}, Holm over {family})"
    if trend.least_p * family >= alpha:
        return "cannot be told", (
            f"{path}; {page} cannot give a p below {_p(trend.least_p)}, and Holm over {family} asks for "
            f"{_p(alpha / family)}: take more seeds or shares"
        )
    return "cannot be told", (
        f"whether it rises is lost in the noise: {path} ({page}: p {_p(p_value)}, Holm over {family})"
    )


def _seeds(found: LadderScores) -> str:
    return "1 seed" if len(found.seeds) == 1 else f"{len(found.seeds)} seeds"


def _p(value: float) -> str:
    if not math.isfinite(value) or value >= 0.0001:
        return f"{value:.2g}"
    return f"{value:.0e}"
