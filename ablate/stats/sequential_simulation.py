"""What sequential rules claim when the truth is known and every look is taken.

The boundaries and e-values are those of `ablate.stats.sequential`, applied to arrays of studies. Every
simulation first puts some of its studies through `sequential_result` and stops if one answer differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from ablate.stats import anytime
from ablate.stats.paired import ROUNDING
from ablate.stats.power import largest_sd
from ablate.stats.rate import Rate
from ablate.stats.sequential import Looks, boundaries, sequential_result
from ablate.stats.simulation import (
    SEED,
    SPOT_CHECKS,
    STUDIES,
    Gains,
    Population,
    SimulationError,
    draw_studies,
)
from ablate.stats.verdict import ALPHA

FOUR = (5, 10, 15, 20)
EVERY = tuple(range(2, 21))

PLANS = (
    Looks("group_sequential", FOUR, "obrien_fleming"),
    Looks("group_sequential", FOUR, "pocock"),
    Looks("group_sequential", EVERY, "obrien_fleming"),
    Looks("group_sequential", EVERY, "pocock"),
    Looks("anytime", EVERY),
)
"""Plans that are simulated: four looks, and a look after every pair up to 20."""


@dataclass(frozen=True)
class SimulatedLooks:
    """What a plan said of studies of one population, looked at as often as the plan allows."""

    population: str
    looks: Looks
    studies: int
    margin: float
    """In the population's unit: the margin of `simulation.Simulated` for as many pairs as the last look."""
    rejections: tuple[Rate, ...]
    """Studies in which zero, the true gain, is rejected at some look so far; one rate a look."""
    peeking: tuple[Rate, ...]
    """The same with a plain t test at each look, as if it were the only one."""
    equivalent_above: Rate
    """Declared equivalent at some look, at a true gain of exactly the margin."""
    equivalent_below: Rate
    """The same at minus the margin."""


@dataclass(frozen=True)
class _Seen:
    """Studies at the looks: float64[studies, looks]."""

    at: NDArray[np.int_]
    means: Gains
    sds: Gains
    """0 where all differences so far are equal."""

    def below(self, distance: Gains) -> Gains:
        """One-sided p of means that far above a null mean; 1 without variance."""
        errors = np.where(self.sds > 0, self.sds, 1.0) / np.sqrt(self.at)
        return np.where(self.sds > 0, stdtr(self.at - 1, -distance / errors), 1.0)


def simulate_looks(
    population: Population, looks: Looks, studies: int = STUDIES, seed: int = SEED
) -> SimulatedLooks:
    """Judge made-up studies at every look of a plan; `anytime` looks at each of ``looks.at`` and is judged
    at these, which must be all numbers of pairs from the first to the last.

    Raises:
        ValueError: an `anytime` plan that skips numbers of pairs.
        SimulationError: the arrays and `sequential_result` disagree.
    """
    if looks.rule == "anytime" and looks.at != tuple(range(looks.at[0], looks.at[-1] + 1)):
        raise ValueError(f"anytime looks at every number of pairs from the first, not at {looks.at}")
    gains = draw_studies(population, looks.at[-1], studies, seed)
    margin = population.sd / largest_sd(looks.at[-1], 1.0)
    rejected, plain = _rejected(_seen(gains, looks.at), looks)
    equivalent = [_equivalent(_seen(gains + shift, looks.at), looks, margin) for shift in (margin, -margin)]
    for place in range(min(SPOT_CHECKS, studies)):
        _check(gains[place], None, looks, bool(rejected[place, -1]))
        _check(gains[place] + margin, margin, looks, bool(equivalent[0][place]))
    return SimulatedLooks(
        population=population.name,
        looks=looks,
        studies=studies,
        margin=margin,
        rejections=_rates(rejected),
        peeking=_rates(plain),
        equivalent_above=Rate(int(equivalent[0].sum()), studies),
        equivalent_below=Rate(int(equivalent[1].sum()), studies),
    )


def _rates(events: NDArray[np.bool_]) -> tuple[Rate, ...]:
    return tuple(Rate(int(count), events.shape[0]) for count in events.sum(axis=0))


def _seen(gains: Gains, at: Sequence[int]) -> _Seen:
    means = np.stack([gains[:, :n].mean(axis=1) for n in at], axis=1)
    sds = np.stack([gains[:, :n].std(axis=1, ddof=1) for n in at], axis=1)
    sizes = np.stack([np.abs(gains[:, :n]).max(axis=1) for n in at], axis=1)
    return _Seen(np.array(at), means, np.where(sds > ROUNDING * sizes, sds, 0.0))


def _rejected(seen: _Seen, looks: Looks) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether zero is rejected at some look so far, by the plan and by plain t tests.

    Both are bool[studies, looks].
    """
    p_values = np.minimum(1.0, 2.0 * seen.below(np.abs(seen.means)))
    plain = np.logical_or.accumulate(p_values < ALPHA, axis=1)
    if looks.rule == "group_sequential":
        now = p_values <= np.array(boundaries(looks))
    else:
        evidence = anytime.running_log_e(seen.means, seen.sds, seen.at.astype(np.float64))
        now = evidence > -np.log(ALPHA)
    return np.logical_or.accumulate(now, axis=1), plain


def _equivalent(seen: _Seen, looks: Looks, margin: float) -> NDArray[np.bool_]:
    """Whether equivalence is declared at some look: both margins are rejected by then. bool[studies]."""
    if looks.rule == "anytime":
        p = anytime.p_equivalence(seen.means, seen.sds, seen.at.astype(np.float64), margin)
        return np.asarray(p < ALPHA)
    nominal = np.array(boundaries(looks, ALPHA, 1))
    sides = (seen.below(seen.means + margin), seen.below(margin - seen.means))
    below, above = ((p <= nominal).any(axis=1) for p in sides)
    return np.asarray(below & above)


def _check(gains: Gains, margin: float | None, looks: Looks, claimed: bool) -> None:
    """Ask `sequential_result`, whose p at the last look with variance is for all looks so far."""
    found = None
    for pairs in reversed(looks.at):
        result = sequential_result(gains[:pairs], margin, looks)
        found = result.p_difference if margin is None else result.p_equivalence
        if found is not None:
            break
    if (found is not None and found < ALPHA) != claimed:
        raise SimulationError(
            f"looks {looks.at} of {looks.rule} at {gains.tolist()}, margin {margin}: the simulation says "
            f"{claimed}, sequential_result has p {found}; one of them has changed"
        )
