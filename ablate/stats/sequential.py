"""Looking at paired differences before all of them are in, without losing the error rate.

Two rules. `group_sequential`: a few looks, fixed before the first run, share alpha by a spending function
(`ablate.stats.group_sequential`). `anytime`: every number of pairs is a look, at a price in width
(`ablate.stats.anytime`). Both assume normal differences of unknown variance. Their p values never rise as
pairs are added and go into Holm's procedure as they are (Maurer and Bretz 2013, Stat. Biopharm. Res. 5:311).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ablate.stats import anytime
from ablate.stats.group_sequential import (
    SPENDINGS,
    Sides,
    Spending,
    nominal_boundaries,
    sequential_p,
)
from ablate.stats.paired import ROUNDING, Interval
from ablate.stats.verdict import ALPHA

Rule = Literal["group_sequential", "anytime"]
Floats = NDArray[np.float64]

RULES: tuple[Rule, ...] = get_args(Rule)

MOST_PAIRS = 200
"""Of a group-sequential plan. Its boundaries take about 50 ms a pair, once a process; by then the
variance is as good as known."""

LARGEST_LOG_E = 700.0
"""Larger e-values, above 1e304, are given as this one."""


@dataclass(frozen=True)
class Looks:
    """When a study may be looked at, stated before its first run.

    Raises:
        ValueError: the rule, a look or the spending function is not one; the message names it.
    """

    rule: Rule
    at: tuple[int, ...]
    """Numbers of pairs, increasing, from 2. `group_sequential` looks there only, and the last is where alpha
    is spent. `anytime` looks at every number of pairs from the first, and may go on beyond the last."""
    spending: Spending | None = None
    """Of `group_sequential`; `anytime` has none."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"looks: the rule is one of {', '.join(RULES)}, not {self.rule!r}")
        if not isinstance(self.at, tuple) or not self.at:
            raise ValueError(f"looks: `at` is a tuple of numbers of pairs, at least one, not {self.at!r}")
        for pairs in self.at:
            if isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 2:
                raise ValueError(f"looks: a t test needs 2 pairs or more, a whole number, not {pairs!r}")
        for earlier, later in zip(self.at, self.at[1:], strict=False):
            if later <= earlier:
                raise ValueError(f"looks: the numbers of pairs increase, and {later} follows {earlier}")
        if self.rule == "anytime":
            if self.spending is not None:
                raise ValueError(f"looks: anytime spends no alpha; leave out spending {self.spending!r}")
            return
        if self.spending not in SPENDINGS:
            raise ValueError(f"looks: spending is one of {', '.join(SPENDINGS)}, not {self.spending!r}")
        if self.at[-1] > MOST_PAIRS:
            raise ValueError(
                f"looks: {self.at[-1]} pairs are more than the {MOST_PAIRS} that boundaries are "
                "computed for; use the rule anytime"
            )

    def reached(self, pairs: int) -> int:
        """How many of the planned looks ``pairs`` pairs have reached."""
        return sum(pairs >= look for look in self.at)


@dataclass(frozen=True)
class SequentialResult:
    """What a contrast says at its latest look. A field is None where the data cannot give it."""

    look: int
    """How many planned looks are reached; 0 before the first."""
    pairs_used: int
    """Pairs that count: those at the latest look, or all of them under `anytime`."""
    p_difference: float | None
    """Sequential p of no difference, two-sided."""
    p_equivalence: float | None
    """Sequential p of a gain outside the margin; None without a margin."""
    interval95: Interval | None
    """Covers the gain at all looks together with probability at least 0.95. It excludes zero at the latest
    look where that look rejects at 0.05; an earlier look may have rejected already."""
    interval90: Interval | None
    """The same at 0.90. Under `group_sequential` it comes from two one-sided boundaries at 0.05, so that it
    lies inside the margin where the latest look declares equivalence; under `anytime` it is interval95 that
    lies inside the margin where equivalence is declared at 0.05."""
    boundary: float | None
    """`group_sequential`: two-sided p of the plain paired t test at or below which the latest look rejects at
    0.05."""
    evidence: float | None
    """`anytime`: the largest e-value against no difference so far."""
    remark: str = ""
    """What is missing, and which pairs are not used, in words."""
    claimed_gain: float | None = None
    """Mean gain at the look with the strongest evidence against no difference, the one that `p_difference`
    comes from: a claim has its sign, whatever later pairs say."""


def boundaries(looks: Looks, alpha: float = ALPHA, sides: Sides = 2) -> tuple[float, ...]:
    """Nominal p value of the paired t test at or below which each look rejects; one-sided for one side.

    Raises:
        ValueError: the rule has no boundaries, or alpha is no probability.
    """
    if looks.rule != "group_sequential" or looks.spending is None:
        raise ValueError(f"the rule {looks.rule} has no boundaries on the p value; it has e-values")
    return nominal_boundaries(looks.at, looks.spending, alpha, sides)


def sequential_result(
    gains: Floats, margin: float | None, looks: Looks, size: float = 0.0
) -> SequentialResult:
    """Sequential inference on the mean gain, as far as the pairs in ``gains`` allow.

    Under `group_sequential` the pairs of the last look reached count; further ones, between looks or beyond
    the last, are left out and the remark says so. Under `anytime` all pairs count.

    Args:
        gains: float64[n], paired differences in the order of the seeds.
        margin: smallest effect of interest, in the unit of the gains, above zero.
        size: largest absolute score behind the gains; sds below rounding of it count as zero.

    Raises:
        ValueError: gains that are not finite or not one row, or the margin is not a positive finite number.
    """
    values = np.asarray(gains, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"gains are one row of finite numbers, not {values.tolist()}")
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin is a positive finite number, not {margin}")
    reached = looks.reached(values.size)
    if not reached:
        remark = f"{_counted(values.size)}: the first look is at {looks.at[0]}"
        return SequentialResult(0, 0, None, None, None, None, None, None, remark)
    every = range(looks.at[0], values.size + 1)
    at = np.array(every if looks.rule == "anytime" else looks.at[:reached])
    means, sds = _moments(values, at, size)
    used = int(at[-1])
    remarks = [_unused(values.size, used, looks, reached)] if values.size > used else []
    if sds[-1] == 0:
        remarks.insert(0, f"all {used} differences are equal: without variance there is no t test")
        return SequentialResult(reached, used, None, None, None, None, None, None, "; ".join(remarks))
    if looks.rule == "anytime":
        return _anytime(means, sds, at, margin, reached, remarks)
    return _group_sequential(means, sds, at, margin, looks, remarks)


def _moments(gains: Floats, at: NDArray[np.int_], size: float) -> tuple[Floats, Floats]:
    """Mean and sd of the first pairs at each look; an sd that is rounding is zero."""
    means = np.array([gains[:n].mean() for n in at])
    sds = np.array([gains[:n].std(ddof=1) for n in at])
    sizes = np.array([max(size, float(np.abs(gains[:n]).max())) for n in at])
    return means, np.where(sds > ROUNDING * sizes, sds, 0.0)


def _counted(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs} pairs"


def _unused(pairs: int, used: int, looks: Looks, reached: int) -> str:
    left = _counted(pairs - used)
    if reached == len(looks.at):
        return f"{left} beyond the last look, at {used}, not used"
    return f"{left} after look {reached}, at {used}, not used before the next look, at {looks.at[reached]}"


def _group_sequential(
    means: Floats, sds: Floats, at: NDArray[np.int_], margin: float | None, looks: Looks, remarks: list[str]
) -> SequentialResult:
    assert looks.spending is not None
    plan, spending, reached = looks.at, looks.spending, at.size
    if (flat := np.flatnonzero(sds == 0)).size:
        names = ", ".join(str(look + 1) for look in flat)
        remarks = [*remarks, f"equal differences at look {names}, which therefore claims nothing"]

    def below(distance: Floats) -> Floats:
        """One-sided nominal p values of means that far above a null mean; 1 without variance."""
        errors = np.where(sds > 0, sds, 1.0) / np.sqrt(at)
        return np.where(sds > 0, stdtr(at - 1, -distance / errors), 1.0)

    equivalence = None
    if margin is not None:
        sides = (below(means + margin), below(margin - means))
        equivalence = max(float(sequential_p(plan, spending, nominal, 1)) for nominal in sides)
    two_sided = np.minimum(1.0, 2.0 * below(np.abs(means)))
    boundary = nominal_boundaries(plan, spending, ALPHA, 2)[reached - 1]
    one_sided = nominal_boundaries(plan, spending, ALPHA, 1)[reached - 1]
    so_far = [float(sequential_p(plan, spending, two_sided[: look + 1], 2)) for look in range(reached)]
    return SequentialResult(
        look=reached,
        pairs_used=int(at[-1]),
        p_difference=so_far[-1],
        p_equivalence=equivalence,
        interval95=_repeated(float(means[-1]), float(sds[-1]), int(at[-1]), boundary / 2.0),
        interval90=_repeated(float(means[-1]), float(sds[-1]), int(at[-1]), one_sided),
        boundary=boundary,
        evidence=None,
        remark="; ".join(remarks),
        claimed_gain=float(means[so_far.index(so_far[-1])]),
    )


def _repeated(mean: float, sd: float, pairs: int, tail: float) -> Interval:
    """The means that the look does not reject (Jennison and Turnbull 1989, JRSS B 51:305)."""
    half = -float(stdtrit(pairs - 1, tail)) * sd / math.sqrt(pairs)
    return mean - half, mean + half


def _anytime(
    means: Floats, sds: Floats, at: NDArray[np.int_], margin: float | None, reached: int, remarks: list[str]
) -> SequentialResult:
    pairs = at.astype(np.float64)
    intervals: list[Interval | None] = []
    for level, alpha in ((0.95, 0.05), (0.90, 0.10)):
        lows, highs = anytime.confidence_sequence(means, sds, pairs, alpha)
        low, high = float(lows[-1]), float(highs[-1])
        if math.isfinite(low) and math.isfinite(high) and low <= high:
            intervals.append((low, high))
            continue
        intervals.append(None)
        why = "is unbounded at so few pairs" if math.isinf(low) else "is empty: looks contradict each other"
        remarks = [*remarks, f"the {level:.0%} confidence sequence {why}"]
    log_e = anytime.running_log_e(means, sds, pairs)
    return SequentialResult(
        look=reached,
        pairs_used=int(at[-1]),
        p_difference=float(anytime.p_difference(means, sds, pairs)),
        p_equivalence=None if margin is None else float(anytime.p_equivalence(means, sds, pairs, margin)),
        interval95=intervals[0],
        interval90=intervals[1],
        boundary=None,
        evidence=math.exp(min(LARGEST_LOG_E, float(log_e.max()))),
        remark="; ".join(remarks),
        claimed_gain=float(means[int(log_e.argmax())]),
    )
