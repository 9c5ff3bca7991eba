"""What the instrument claims when the truth is known: made-up studies by the thousand.

A study is n paired differences drawn from a population whose mean is known. It is judged by the formulas
of `ablate.stats.paired.estimate` and the rule of `ablate.stats.verdict.judge`; these are written here over
arrays, because a call per study would take minutes, and every simulation first puts some of its studies
through the two functions themselves and stops if one answer differs.

Draws are quantiles of PCG64 uniforms under a seed made of (seed, population, n), so that one row can be
drawn again without the others.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import binom

from ablate.stats.paired import ROUNDING, PairedSample, estimate
from ablate.stats.power import largest_sd
from ablate.stats.rate import Rate
from ablate.stats.verdict import ALPHA, holm, judge

SEED = 0
STUDIES = 20_000
SIZES = (2, 3, 5, 8, 10, 17, 20)
"""Pairs in a study."""

RESAMPLES = 999
"""Bootstrap resamples of a study; the ends of the 95% interval are the 25th from below and from above."""

BLOCK = 50
"""Studies that share one set of bootstrap resamples."""

SPOT_CHECKS = 8
"""Studies of each simulation that go through `estimate` and `judge`."""

Gains = NDArray[np.float64]


class SimulationError(RuntimeError):
    """The formulas of a simulation and the functions that judge real studies disagree."""


@dataclass(frozen=True)
class Population:
    """Where paired differences come from. Its mean is zero."""

    name: str
    meaning: str
    """What it is, in words."""
    sd: float
    quantile: Callable[[Gains], Gains]
    """Maps uniforms on (0, 1), of any shape, to differences."""


def _accuracy_differences(items: int, right: float) -> tuple[Gains, Gains]:
    """Differences of two independent accuracies over ``items``, each right with probability ``right``:
    the possible values, ascending, and their cumulative probabilities."""
    counts = binom.pmf(np.arange(items + 1), items, right)
    cumulative = np.cumsum(np.convolve(counts, counts[::-1]))
    return np.arange(-items, items + 1) / items, cumulative / cumulative[-1]


ITEMS, RIGHT = 256, 0.95
VALUES, CUMULATIVE = _accuracy_differences(ITEMS, RIGHT)


def _discrete(uniforms: Gains) -> Gains:
    found: Gains = VALUES[np.searchsorted(CUMULATIVE, uniforms)]
    return found


NORMAL = Population("normal", "normal", 1.0, lambda u: np.asarray(ndtri(u)))
POPULATIONS = (
    NORMAL,
    Population("skewed", "exponential, centred", 1.0, lambda u: -np.log1p(-u) - 1.0),
    Population("heavy_tailed", "Student's t with 3 degrees of freedom", 3.0**0.5, lambda u: stdtrit(3, u)),
    Population(
        "discrete",
        f"difference of two accuracies over {ITEMS} items, each right with probability {RIGHT}",
        (2.0 * RIGHT * (1.0 - RIGHT) / ITEMS) ** 0.5,
        _discrete,
    ),
)

RESIDUALS = "aa_residuals"
"""Name of the population that `residual_population` makes."""


def residual_population(differences: Sequence[float]) -> Population:
    """The differences of a real A/A study, centred: each as likely as the other.

    What it shows is how t intervals behave under the shape of these differences. It draws the same pairs
    again and again, and is no evidence beyond them.

    Args:
        differences: of N pairs, in the endpoint's unit.

    Raises:
        ValueError: fewer than two differences, one that is not finite, or all are equal.
    """
    values = np.sort(np.asarray(differences, dtype=np.float64))
    if values.size < 2 or not np.isfinite(values).all() or values[0] == values[-1]:
        raise ValueError(f"residuals need two finite differences that are not equal, not {values.tolist()}")
    values = values - values.mean()
    meaning = f"centred differences of {values.size} A/A pairs, resampled: no evidence beyond those pairs"
    return Population(
        RESIDUALS, meaning, float(values.std()), lambda u: values[(u * values.size).astype(np.int64)]
    )


@dataclass(frozen=True)
class JudgedStudies:
    """Studies judged at once: arrays with one entry a study; NaN where a study has no variance."""

    mean: Gains
    half95: Gains
    """Half width of the 95% t interval."""
    half90: Gains
    p_difference: Gains
    p_equivalence: Gains
    equivalent: NDArray[np.bool_]
    claimed: NDArray[np.bool_]
    """Verdict `helps` or `hurts`."""

    def covers(self, truth: float, half: Gains) -> NDArray[np.bool_]:
        """Whether the interval of this half width holds ``truth``; false without an interval."""
        return np.abs(self.mean - truth) <= half


def judge_studies(gains: Gains, margin: float) -> JudgedStudies:
    """`estimate` and `judge` over studies: t interval, two-sided t test, two one-sided tests, verdict.

    Args:
        gains: float64[studies, n], n at least 2.
        margin: smallest effect of interest, above zero.
    """
    n = gains.shape[1]
    mean, sd = gains.mean(axis=1), gains.std(axis=1, ddof=1)
    error = np.where(sd <= ROUNDING * np.abs(gains).max(axis=1), np.nan, sd) / np.sqrt(n)
    p_difference = 2.0 * stdtr(n - 1, -np.abs(mean) / error)
    p_equivalence = stdtr(n - 1, (np.abs(mean) - margin) / error)
    equivalent = p_equivalence < ALPHA
    return JudgedStudies(
        mean=mean,
        half95=float(stdtrit(n - 1, 0.975)) * error,
        half90=float(stdtrit(n - 1, 0.95)) * error,
        p_difference=p_difference,
        p_equivalence=p_equivalence,
        equivalent=equivalent,
        claimed=(p_difference < ALPHA) & ~equivalent,
    )


def check_against_instrument(gains: Gains, margin: float, found: JudgedStudies, tolerance: float) -> None:
    """Put ``gains`` through `estimate` and `judge`, study by study.

    Raises:
        SimulationError: a number differs from ``found`` by more than ``tolerance`` (relative to 1 or to
            the number, whichever is larger), or a verdict differs.
    """
    for place, study in enumerate(gains):
        n = study.size
        one = estimate(PairedSample(tuple(range(n)), tuple(study.tolist()), (0.0,) * n), margin)
        low, high = one.interval95 or (np.nan, np.nan)
        low90, high90 = one.interval90 or (np.nan, np.nan)
        theirs = [one.mean_gain, low, high, low90, high90, one.p_difference, one.p_equivalence]
        mean, half, half90 = found.mean[place], found.half95[place], found.half90[place]
        mine = [mean, mean - half, mean + half, mean - half90, mean + half90]
        mine += [found.p_difference[place], found.p_equivalence[place]]
        wanted = np.array([np.nan if value is None else value for value in theirs], dtype=np.float64)
        verdict = judge(one.mean_gain, one.p_difference, one.p_equivalence)
        same = np.allclose(mine, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
        same &= (verdict == "equivalent") == bool(found.equivalent[place])
        if not same or (verdict in ("helps", "hurts")) != bool(found.claimed[place]):
            raise SimulationError(
                f"study {study.tolist()} with margin {margin}: the simulation says {mine}, "
                f"the instrument {theirs} and {verdict}; one of them has changed"
            )


@dataclass(frozen=True)
class Simulated:
    """What the instrument said of studies of n pairs of one population. All counts are of studies."""

    population: str
    n: int
    studies: int
    margin: float
    """In the population's unit: the margin at which two one-sided tests on n normal differences of the
    population's sd declare a true zero equivalent with power 0.8."""
    no_interval: int
    """Studies whose differences are all equal: no interval, no claim. They are in no coverage."""
    coverage95: Rate
    coverage90: Rate
    bootstrap95: Rate
    """Percentile bootstrap over the seeds, with `RESAMPLES` resamples."""
    rejections: Rate
    """Of zero, at a true zero, by the paired t test at `ALPHA`."""
    false_claims: Rate
    """Verdict `helps` or `hurts` at a true zero."""
    equivalent_above: Rate
    """Verdict `equivalent` at a true gain of exactly the margin."""
    equivalent_below: Rate
    """The same at minus the margin."""


def simulate(population: Population, n: int, studies: int = STUDIES, seed: int = SEED) -> Simulated:
    """Judge ``studies`` made-up studies of ``n`` pairs each.

    Raises:
        ValueError: n is below 2 or there are no studies.
        SimulationError: the arrays and the functions that judge real studies disagree.
    """
    gains = draw_studies(population, n, studies, seed)
    margin = population.sd / largest_sd(n, 1.0)
    at_zero = judge_studies(gains, margin)
    above, below = judge_studies(gains + margin, margin), judge_studies(gains - margin, margin)
    for shift, found in ((0.0, at_zero), (margin, above), (-margin, below)):
        check_against_instrument((gains + shift)[:SPOT_CHECKS], margin, found, tolerance=1e-9)
    judged = int(np.isfinite(at_zero.half95).sum())
    return Simulated(
        population=population.name,
        n=n,
        studies=studies,
        margin=margin,
        no_interval=studies - judged,
        coverage95=Rate(int(at_zero.covers(0.0, at_zero.half95).sum()), judged),
        coverage90=Rate(int(at_zero.covers(0.0, at_zero.half90).sum()), judged),
        bootstrap95=_bootstrap_coverage(gains, np.isfinite(at_zero.half95), population, seed),
        rejections=Rate(int((at_zero.p_difference < ALPHA).sum()), studies),
        false_claims=Rate(int(at_zero.claimed.sum()), studies),
        equivalent_above=Rate(int(above.equivalent.sum()), studies),
        equivalent_below=Rate(int(below.equivalent.sum()), studies),
    )


def draw_studies(population: Population, n: int, studies: int, seed: int) -> Gains:
    """float64[studies, n]: differences from ``population``, the same for the same arguments."""
    if n < 2 or studies < 1:
        raise ValueError(f"a simulation needs two pairs a study and one study, not {n} and {studies}")
    uniforms = _generator(seed, population.name, n).random((studies, n))
    # A uniform of exactly 0 would be drawn as minus infinity.
    return population.quantile(np.maximum(uniforms, 2.0**-54))


def _generator(seed: int, name: str, n: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode()), n]))


def bootstrap_intervals(gains: Gains, generator: np.random.Generator) -> tuple[Gains, Gains]:
    """Ends of the 95% percentile bootstrap interval of each study's mean (Efron 1981, Can. J. Statist.
    9:139), the study's n differences resampled alone.

    Args:
        gains: float64[studies, n]. Seeds are resampled with replacement, `RESAMPLES` times; blocks of
            `BLOCK` studies share their resamples, which makes the same matrix product serve all of them.
    """
    studies, n = gains.shape
    tail = (RESAMPLES + 1) // 40 - 1
    low, high = np.empty(studies), np.empty(studies)
    for start in range(0, studies, BLOCK):
        part = slice(start, start + BLOCK)
        counts = generator.multinomial(n, np.full(n, 1.0 / n), size=RESAMPLES).astype(np.float64)
        sums = np.partition(gains[part] @ counts.T, (tail, RESAMPLES - 1 - tail), axis=1)
        low[part], high[part] = sums[:, tail] / n, sums[:, RESAMPLES - 1 - tail] / n
    return low, high


def _bootstrap_coverage(gains: Gains, varies: NDArray[np.bool_], population: Population, seed: int) -> Rate:
    low, high = bootstrap_intervals(gains, _generator(seed, f"bootstrap/{population.name}", gains.shape[1]))
    return Rate(int(((low <= 0.0) & (high >= 0.0) & varies).sum()), int(varies.sum()))


@dataclass(frozen=True)
class SimulatedFamily:
    """Studies of several arms, none of which differs from the baseline that they share, under Holm."""

    contrasts: int
    n: int
    studies: int
    any_unadjusted: Rate
    """Studies in which the t test rejects zero somewhere, without Holm."""
    any_claim: Rate
    """Studies in which it does so with Holm."""


def simulate_family(contrasts: int, n: int, studies: int = STUDIES, seed: int = SEED) -> SimulatedFamily:
    """Family-wise error of ``contrasts`` arms against one baseline, normal scores, after `verdict.holm`."""
    uniforms = _generator(seed, f"family/{contrasts}", n).random((studies, n, contrasts + 1))
    scores = ndtri(np.maximum(uniforms, 2.0**-54))
    gains = scores[:, :, 1:] - scores[:, :, :1]
    p_values = np.stack(
        [judge_studies(gains[:, :, arm], 1.0).p_difference for arm in range(contrasts)], axis=1
    )
    # Holm rejects something exactly where its smallest adjusted p is below alpha.
    adjusted = [min(p for p in holm(row.tolist()) if p is not None) for row in p_values]
    return SimulatedFamily(
        contrasts=contrasts,
        n=n,
        studies=studies,
        any_unadjusted=Rate(int((p_values.min(axis=1) < ALPHA).sum()), studies),
        any_claim=Rate(int((np.array(adjusted) < ALPHA).sum()), studies),
    )
