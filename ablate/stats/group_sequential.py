"""Group-sequential t tests for few pairs: exact for normal differences of unknown variance.

Let S be the sum and Q the sum of squares of the first n differences and T = S / sqrt(Q), so that Student's
t = T sqrt((n - 1) / (n - T^2)). Under the null hypothesis the direction of the n differences is uniform on
the sphere and independent of Q, and T at every look so far is a function of the direction alone. With the
next difference x, r = x / sqrt(Q) is therefore independent of the past, sqrt(n) r follows Student's t
with n degrees of freedom, and

    T' = (T + r) / sqrt(1 + r^2),

a Markov chain in one dimension (Jennison and Turnbull 1991, Biometrika 78:133, "Exact calculations for
sequential t, chi-squared and F tests"). The known-variance boundaries of the textbooks are the limit of many
pairs; at 5 to 20 pairs they are not the same.

The chain runs on the *score* of T: the normal quantile of its nominal p value, standard normal at every n.
The scores are cut into bins; bin to bin probabilities are differences of a distribution function in closed
form. Against four times as many bins, the nominal p values of up to 14 looks at alpha 0.05 move by less than
1e-3 of themselves, at alpha 0.05 / 60 by less than 3e-3. The first look is exact.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Spending = Literal["obrien_fleming", "pocock"]
Sides = Literal[1, 2]
Floats = NDArray[np.float64]

SPENDINGS: tuple[Spending, ...] = ("obrien_fleming", "pocock")

BINS = 512
HIGHEST = 8.0
"""The outer bins begin at this score, a nominal p value of 6e-16."""

NESTED_UP_TO = 2.0 * float(ndtr(-1.0))
"""0.3173: above it the O'Brien-Fleming type spends less at late looks the larger alpha is."""

SMALLEST_P = 1e-12
"""Later looks than the first report no smaller sequential p value."""


def spent(fraction: float, alpha: float | Floats, spending: Spending) -> Floats:
    """Error of one side spent by an information fraction n / n_max (Lan and DeMets 1983, Biometrika 70:659).

    `obrien_fleming`: 2 - 2 Phi(z(1 - alpha/2) / sqrt(fraction)). `pocock`: alpha log(1 + (e - 1) fraction).
    A two-sided test of level alpha spends alpha / 2 on either side by the same function.

    Above alpha = 0.3173 the first is continued in proportion to alpha. There its increments would fall as
    alpha rises, a test of larger alpha could accept where one of smaller alpha rejects, and there would be
    no sequential p value (Maurer and Bretz 2013, Stat. Biopharm. Res. 5:311, ask for the same of a spending
    function).
    """
    level = np.asarray(alpha, dtype=np.float64)
    if fraction >= 1.0:
        return level
    if spending == "pocock":
        return level * math.log1p((math.e - 1.0) * fraction)
    inside = np.minimum(level, NESTED_UP_TO)
    value = 2.0 * ndtr(ndtri(inside / 2.0) / math.sqrt(fraction))
    return np.asarray(value * (level / inside), dtype=np.float64)


def alpha_of_spent(fraction: float, error: Floats, spending: Spending) -> Floats:
    """The alpha of which ``error`` is `spent` by ``fraction``; 1 where there is none."""
    if fraction >= 1.0:
        return error
    if spending == "pocock":
        return np.minimum(1.0, error / math.log1p((math.e - 1.0) * fraction))
    inside = 2.0 * ndtr(ndtri(np.minimum(error, 1.0) / 2.0) * math.sqrt(fraction))
    beyond = error * NESTED_UP_TO / spent(fraction, NESTED_UP_TO, spending)
    return np.minimum(1.0, np.where(inside <= NESTED_UP_TO, inside, beyond))


@dataclass(frozen=True)
class _Grid:
    """Bins of the score, symmetric about zero."""

    upper: Floats
    """float64[bins + 1]: probability above each edge, from 1 down to 0."""
    mass: Floats
    """float64[bins]: probability of each bin."""
    edges: Floats
    """float64[bins / 2 + 1]: the edges from zero to infinity."""
    middles: Floats
    """float64[bins / 2]: median score of each bin above zero."""


@lru_cache(maxsize=4)
def _grid(bins: int) -> _Grid:
    # Narrow bins in the middle, where most of the mass is: half the error of equal ones.
    edges = np.append(HIGHEST * np.sinh(np.linspace(0.0, 2.0, bins // 2)) / math.sinh(2.0), np.inf)
    tail = ndtr(-edges)
    half = tail[:-1] - tail[1:]
    return _Grid(
        upper=np.concatenate([1.0 - tail[:0:-1], tail]),
        mass=np.concatenate([half[::-1], half]),
        edges=edges,
        middles=-ndtri((tail[:-1] + tail[1:]) / 2.0),
    )


def _statistic(scores: Floats, n: int) -> tuple[Floats, Floats]:
    """T of n differences at nonnegative scores, and n - T^2, which keeps its digits where T nears sqrt(n)."""
    t = -stdtrit(n - 1, ndtr(-scores))
    with np.errstate(over="ignore", invalid="ignore"):
        root = np.sqrt(n - 1 + t * t)
        statistic = np.where(np.isinf(t), math.sqrt(n), math.sqrt(n) * t / root)
        return statistic, n * (n - 1) / root**2


def _exceedance(n: int, grid: _Grid) -> tuple[Floats, Floats]:
    """P(T' > c) after difference n + 1, from the middles above zero and from their mirror images.

    T' > c >= 0 is an interval of r between the roots of (1 - c^2) r^2 + 2 T r + T^2 - c^2: for c <= 1 it has
    no upper end; for c > 1 and T^2 <= c^2 - 1, and for c >= 1 and T < 0, it is empty. The roots are
    written so that nothing cancels at c = 1.

    Returns:
        float64[bins / 2, bins / 2 + 1] twice: middles by the edges c from zero to infinity.
    """
    middle, middle_gap = _statistic(grid.middles, n)
    edge, edge_gap = _statistic(grid.edges, n + 1)
    t, c = middle[:, None], edge[None, :]
    inside = c > 1.0
    square = edge_gap[None, :] - middle_gap[:, None]
    root = c * np.sqrt(np.maximum(square, 0.0))
    scale = math.sqrt(n)
    with np.errstate(divide="ignore"):
        low = (c * c - t * t) / (t + root)
        high = np.where(inside, (t + root) / np.where(inside, c * c - 1.0, 1.0), np.inf)
        mirrored = np.where(c < 1.0, (root + t) / np.where(c < 1.0, 1.0 - c * c, 1.0), np.inf)
    above = np.where(inside & (square <= 0.0), 0.0, stdtr(n, -scale * low) - stdtr(n, -scale * high))
    return above, stdtr(n, -scale * mirrored)


@lru_cache(maxsize=32)
def transition(n: int, bins: int = BINS) -> Floats:
    """Probabilities that the score moves from bin to bin as difference n + 1 joins n. float64[bins, bins].

    Columns are scaled so that the standard normal, the law of the score at every n, stays what it is.
    """
    grid = _grid(bins)
    above, mirrored = _exceedance(n, grid)
    stay, cross = -np.diff(above), -np.diff(mirrored)
    matrix = np.block([[stay[::-1, ::-1], cross[::-1]], [cross[:, ::-1], stay]]).clip(min=0.0)
    matrix *= grid.mass / (grid.mass @ matrix)
    matrix.setflags(write=False)
    return matrix


class _Walk:
    """The scores of those tests, one a row, that have crossed no boundary yet."""

    def __init__(self, rows: int, sides: Sides, bins: int) -> None:
        self.grid, self.sides = _grid(bins), sides
        self.mass = np.tile(self.grid.mass, (rows, 1))

    def advance(self, first: int, last: int) -> None:
        """From ``first`` pairs to ``last``."""
        for n in range(first, last):
            self.mass = self.mass @ transition(n, self.grid.mass.size)

    def boundary(self, error: Floats) -> Floats:
        """Nominal one-sided p value beyond which ``error`` of each row lies, on the upper side."""
        above = np.cumsum(self.mass[:, ::-1], axis=1)[:, ::-1]
        above = np.concatenate([above, np.zeros((len(above), 1))], axis=1)
        # The last bin with at least this error at or above it.
        bin_ = np.maximum((above[:, :-1] >= error[:, None]).sum(axis=1) - 1, 0)
        rows = np.arange(len(above))
        held = self.mass[rows, bin_]
        share = np.divide(error - above[rows, bin_ + 1], held, out=np.ones_like(error), where=held > 0)
        nominal = self.grid.upper[bin_ + 1] + np.clip(share, 0.0, 1.0) * self.grid.mass[bin_]
        return np.asarray(np.minimum(nominal, 1.0 if self.sides == 1 else 0.5), dtype=np.float64)

    def stop(self, nominal: Floats) -> Floats:
        """Take out what lies beyond the nominal one-sided p values; how much that was, on all sides."""
        kept = np.clip((self.grid.upper[:-1] - nominal[:, None]) / self.grid.mass, 0.0, 1.0)
        if self.sides == 2:
            kept = kept * kept[:, ::-1]
        before = self.mass.sum(axis=1)
        self.mass = self.mass * kept
        return np.asarray(before - self.mass.sum(axis=1), dtype=np.float64)


def crossing_probabilities(
    at: tuple[int, ...], nominal: Sequence[float], sides: Sides = 2, bins: int = BINS
) -> tuple[float, ...]:
    """Probability, under the null hypothesis, to have crossed a boundary by each look.

    Args:
        at: numbers of pairs at the looks.
        nominal: p value of the paired t test, with the same ``sides``, at or below which a look rejects.
    """
    walk, crossed = _Walk(1, sides, bins), []
    for look, (n, p) in enumerate(zip(at, nominal, strict=True)):
        if look:
            walk.advance(at[look - 1], n)
        crossed.append(float(walk.stop(np.array([p / sides]))[0]))
    return tuple(np.cumsum(crossed).tolist())


@dataclass(frozen=True)
class _Table:
    """Boundaries against alpha, both as scores: -ndtri(p / sides)."""

    alphas: Floats
    """float64[m], increasing: scores of alpha."""
    boundaries: tuple[Floats, ...]
    """float64[m] per look, increasing."""


@lru_cache(maxsize=16)
def _table(at: tuple[int, ...], spending: Spending, sides: Sides) -> _Table:
    highest = -float(ndtri(SMALLEST_P / sides))
    coarse = np.linspace(0.0 if sides == 2 else -4.0, highest, 160)
    fine = np.linspace(coarse[0], coarse[-1], 16 * coarse.size)
    found = [-ndtri(nominal) for nominal in _nominal(at, ndtr(-coarse), spending, sides)]
    return _Table(fine, tuple(_refined(coarse, scores, fine) for scores in found))


def _refined(coarse: Floats, scores: Floats, fine: Floats) -> Floats:
    """Monotone cubic interpolation of the finite scores; infinite beyond them."""
    from scipy.interpolate import PchipInterpolator  # a quarter of a second, for studies that stop early

    finite = np.isfinite(scores)
    values = PchipInterpolator(coarse[finite], scores[finite], extrapolate=False)(fine)
    values = np.where(fine < coarse[finite][0], -np.inf, values)
    return np.maximum.accumulate(np.where(np.isnan(values), np.inf, values))


def _nominal(at: tuple[int, ...], level: Floats, spending: Spending, sides: Sides) -> Iterator[Floats]:
    """Nominal one-sided p values, look by look, for one-sided levels float64[m]."""
    walk = _Walk(level.size, sides, BINS)
    before = np.zeros_like(level)
    for look, n in enumerate(at):
        now = spent(n / at[-1], level, spending)
        if look:
            walk.advance(at[look - 1], n)
        nominal = walk.boundary(now - before) if look else now
        yield nominal
        walk.stop(nominal)
        before = now


def nominal_boundaries(
    at: tuple[int, ...], spending: Spending, alpha: float, sides: Sides = 2
) -> tuple[float, ...]:
    """Nominal p value of the paired t test at or below which each look rejects at level ``alpha``.

    With one side, nominal p values are one-sided too. The first look is exact.

    Args:
        at: numbers of pairs at the looks, increasing, from 2; the last is n_max.

    Raises:
        ValueError: alpha is no probability.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, not at {alpha}")
    first = sides * float(spent(at[0] / at[-1], alpha / sides, spending))
    if len(at) == 1:
        return (first,)
    table, score = _table(at, spending, sides), -ndtri(alpha / sides)
    later = [sides * float(ndtr(-np.interp(score, table.alphas, row))) for row in table.boundaries[1:]]
    return (first, *later)


def sequential_p(
    at: tuple[int, ...], spending: Spending, nominal: Sequence[float] | Floats, sides: Sides = 2
) -> Floats:
    """The smallest alpha at which the test would have rejected at one of the looks so far.

    Liu and Anderson 2008, J. Am. Stat. Assoc. 103:1621; it can be used wherever a p value can, in Holm's
    procedure too (Maurer and Bretz 2013). It never rises with further looks, and is at most alpha where, and
    only where, a nominal p value has reached its boundary at alpha.

    Args:
        nominal: float64[..., looks so far], p values of the paired t test with the same ``sides``; 1 where a
            look has none.

    Returns:
        float64[...]; 1 where no alpha below 1 would have rejected.
    """
    p = np.asarray(nominal, dtype=np.float64)
    best = alpha_of_spent(at[0] / at[-1], p[..., 0] / sides, spending)
    if p.shape[-1] > 1:
        table = _table(at, spending, sides)
        for look in range(1, p.shape[-1]):
            finite = np.isfinite(table.boundaries[look])
            score = -ndtri(p[..., look] / sides)
            row, alphas = table.boundaries[look][finite], table.alphas[finite]
            found = ndtr(-np.interp(score, row, alphas))
            best = np.minimum(best, np.where(score < row[0], 1.0, found))
    return np.asarray(np.minimum(1.0, sides * best), dtype=np.float64)
