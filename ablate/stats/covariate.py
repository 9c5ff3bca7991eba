"""Control variates of a paired contrast: which are valid, and what they give.

Let D be the gain of a seed and X a covariate of the same seed. CUPED (Deng et al. 2013, WSDM 6:123) and
regression adjustment of experiments (Lin 2013, Ann. Appl. Stat. 7:295) take from an effect what chance
imbalance of X between the arms put into it. In a pair there is none: a covariate that the arm cannot move
(the scores before training, the early loss of the baseline run of the seed) is the same for both runs of the
pair, so its difference is zero, and the regression of D on X - mean(X) has the intercept mean(D). To print
that intercept with the residual's standard error would be an interval for the effect at these seeds' X, too
narrow for the effect over seeds. And a covariate that the arm moves, the difference of the two runs' early
losses above all, takes a part of the effect away with the noise: in an A/A study, where there is no effect,
it looks as if it cost nothing.

What is left, and is done here, is to know the mean of X better than from the pairs: X of the baseline costs
no run of the arm, so it can be had from `further` seeds on which the baseline alone was trained. The
regression estimator of double sampling (Cochran 1977, Sampling Techniques, section 12.6), also known as
control variates with an estimated mean,

    mean(D) - b (mean(X over the pairs) - mean(X over pairs and further seeds)),

is unbiased for the mean gain over seeds whatever b was fixed beforehand, and nearly so with b estimated
(exactly for normal X and D). With R the correlation of D and X and n of N seeds paired, its variance is
(1 - R^2 (1 - n / N)) of the plain one: never below 1 - R^2. A further baseline run pays only where R^2 is
above its share of what a pair costs, one half where nothing else uses it; where it was trained for other
studies it costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from ablate.stats.paired import ROUNDING, Interval


class CovariateError(ValueError):
    """A control variate that cannot adjust anything; says why."""


@dataclass(frozen=True)
class AdjustedEstimate:
    """The mean gain over seeds, adjusted by a covariate of the baseline."""

    n: int
    """Pairs."""
    further: int
    """Seeds with the covariate alone."""
    slope: float
    """Change of the gain per unit of the covariate that was taken off."""
    fixed: bool
    """Whether the slope was stated beforehand."""
    r_squared: float
    """Squared correlation of gain and covariate over the pairs."""
    mean_gain: float
    error: float
    """Standard error of `mean_gain`."""
    df: float
    interval95: Interval
    interval90: Interval
    p_difference: float
    p_equivalence: float | None
    variance_ratio: float
    """Squared standard error over that of the plain mean gain of the same pairs."""


def adjust(
    gains: Sequence[float],
    covariate: Sequence[float],
    further: Sequence[float],
    slope: float | None = None,
    margin: float | None = None,
) -> AdjustedEstimate:
    """The double-sampling regression estimate of the mean gain.

    With a fixed slope it is the sum of two independent means, of D - b (m / N) X over the pairs and of
    b (m / N) X over the m further seeds, and gets Welch's interval with Satterthwaite's degrees of freedom.
    With the slope estimated the standard error is that of Cochran's (12.51) with the term of the estimated
    slope, s^2 (1 / n + (difference of the means)^2 / Sxx) + b^2 var(X) / N, and Student's t with n - 2
    degrees of freedom: exact for normal D and X as N grows, conservative in simulation at smaller N.

    Args:
        gains: D, one a pair.
        covariate: X of the same seeds, in the same order.
        further: X of other seeds.
        slope: b, fixed before the study; None estimates it from the pairs.
        margin: smallest effect of interest, for the two one-sided tests.

    Raises:
        CovariateError: fewer than two further seeds, too few pairs, or nothing varies.
    """
    d, x, more = (np.asarray(values, dtype=np.float64) for values in (gains, covariate, further))
    n, m = d.size, more.size
    if x.size != n:
        raise CovariateError(f"{n} pairs and {x.size} values of the covariate")
    if m < 2:
        raise CovariateError(
            f"the covariate is known of {m} seeds beyond the pairs, and it takes two: runs of a pair share "
            "it, so "
            "that without further seeds it cancels from the mean gain"
        )
    if n < (3 if slope is None else 2):
        raise CovariateError(f"{n} pairs: a covariate takes three, or two with the slope fixed beforehand")
    if not all(np.isfinite(values).all() for values in (d, x, more)):
        raise CovariateError("a gain or a value of the covariate is not finite")
    spread = float(((x - x.mean()) ** 2).sum())
    everything = np.concatenate([x, more])
    if spread <= (ROUNDING * float(np.abs(everything).max())) ** 2:
        raise CovariateError("the covariate does not vary over the pairs")
    plain = float(d.var(ddof=1)) / n
    if plain == 0.0:
        raise CovariateError("the gains do not vary over the pairs")
    common = float(((x - x.mean()) * (d - d.mean())).sum())
    if slope is None:
        b = common / spread
        away = float(x.mean() - everything.mean())
        residual = d - d.mean() - b * (x - x.mean())
        mean = float(d.mean()) - b * away
        squared = float((residual**2).sum()) / (n - 2) * (1 / n + away**2 / spread)
        squared += b**2 * float(everything.var(ddof=1)) / (n + m)
        df = float(n - 2)
    else:
        b = slope
        share = b * m / (n + m)
        mean = float((d - share * x).mean() + share * more.mean())
        parts = [float((d - share * x).var(ddof=1)) / n, share**2 * float(more.var(ddof=1)) / m]
        squared = sum(parts)
        df = squared**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)) if squared else 1.0
    if squared <= 0.0:
        raise CovariateError("gain and covariate lie on a line: there is no interval")
    error = math.sqrt(squared)
    return AdjustedEstimate(
        n=n,
        further=m,
        slope=b,
        fixed=slope is not None,
        r_squared=min(1.0, common**2 / (spread * plain * n * (n - 1))),
        mean_gain=mean,
        error=error,
        df=df,
        interval95=_interval(mean, error, df, 0.95),
        interval90=_interval(mean, error, df, 0.90),
        p_difference=2.0 * float(stdtr(df, -abs(mean) / error)),
        p_equivalence=None if margin is None else float(stdtr(df, (abs(mean) - margin) / error)),
        variance_ratio=squared / plain,
    )


def _interval(mean: float, error: float, df: float, level: float) -> Interval:
    half = float(stdtrit(df, 0.5 + level / 2.0)) * error
    return mean - half, mean + half


def smallest_r_squared(pairs: int, further: int, level: float = 0.95) -> float | None:
    """The squared correlation above which an estimated slope makes the interval narrower, on average.

    From the expected squared half-widths for normal gains and covariate: the slope's own uncertainty
    multiplies the residual variance by (n - 2) / (n - 3) (Cochran 1977, section 7.6), and the quantile has a
    degree of freedom less. None where no correlation is enough. It is 0.49 at 5 pairs, 0.16 at 10 and 0.06 at
    20, with many further seeds.
    """
    if pairs < 4 or further < 1:
        return None
    at = 0.5 + level / 2.0
    fewer = float((stdtrit(pairs - 1, at) / stdtrit(pairs - 2, at)) ** 2)
    residual = (pairs - 2) / (pairs * (pairs - 3))
    least = (residual - fewer / pairs) / (residual - 1.0 / (pairs + further))
    return least if least < 1.0 else None


def variance_factor(r_squared: float, pairs: int, further: int) -> float:
    """Variance of the adjusted mean gain over that of the plain one, the slope being known."""
    return 1.0 - r_squared * further / (pairs + further)


def cost_at_equal_power(r_squared: float, share: float) -> float:
    """Cost of a study with the best number of further seeds over that of pairs alone, at equal variance.

    With c the cost of a further seed as a share of a pair's: (sqrt((1 - R^2)(1 - c)) + sqrt(R^2 c))^2 where
    R^2 > c, else 1: then no further seed pays (Cochran 1977, section 12.7; the same as two-level control
    variates, Peherstorfer et al. 2016, SIAM J. Sci. Comput. 38:A3163).

    Args:
        r_squared: squared correlation of gain and covariate.
        share: c, between 0 and 1.
    """
    if not (0.0 <= r_squared <= 1.0 and 0.0 <= share <= 1.0):
        raise ValueError(f"shares between 0 and 1, not {r_squared} and {share}")
    if r_squared <= share:
        return 1.0
    return (math.sqrt((1.0 - r_squared) * (1.0 - share)) + math.sqrt(r_squared * share)) ** 2
