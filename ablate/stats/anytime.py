"""Anytime-valid t tests and confidence sequences: they hold at every number of pairs at once.

The e-value of a null mean is the likelihood ratio of the t statistic with a Gaussian mixture over the
standardised effect and the right Haar prior over the unknown sd (Lai 1976, Ann. Statist. 4:265; Perez-Ortiz,
Lardy, de Heide and Gruenwald 2022, arXiv 2208.07610; Wang and Ramdas 2023, arXiv 2310.03722, their test
martingale in a reduced filtration).

Derivation. Given sd s, let the mean be N(0, g s^2). With S the sum and Q the sum of squares of n differences
and a = 1 / (1 + n g), the marginal likelihood is proportional to sqrt(a) s^-n exp(-A / (2 s^2)),
A = Q - S^2 g a; under the null it is the same with a = 1 and A = Q. Integrating either over ds / s gives a
power -n/2 of A or Q, and with q = t^2 / (n - 1), S^2 / Q = n q / (1 + q) and n g a = 1 - a, their ratio is

    E = sqrt(a) ((1 + q) / (1 + a q))^(n / 2).

It depends on the scale-free direction of the data alone, and is 1 at n = 1. Under the null it is a
martingale with respect to these directions, so that by Ville's inequality E ever reaches 1 / alpha with
probability at most alpha. The largest E so far is what counts: a null mean away from zero asks for other
directions, and stopping by one of them is no stopping time of the other.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIXTURE = 5.0
"""Variance g of the standardised effect. With 5 the 95% interval of a look is at most a tenth wider than
with the g that is best for its number of pairs, at every number from 4 to 20. At 2 and 3 pairs it is
unbounded: E is at most (1 + n g)^((n - 1) / 2), which is 3.3 and 16 there."""


def log_e_value(t: Floats, pairs: Floats, mixture: float = MIXTURE) -> Floats:
    """Logarithm of the e-value against a null mean.

    Args:
        t: Student's t of the differences against the null mean; float64[...]. Infinite is allowed.
        pairs: how many differences, at least 2; broadcast against t.
        mixture: variance of the effect in units of the variance of the differences.
    """
    n = np.asarray(pairs, dtype=np.float64)
    log_a = -np.log1p(n * mixture)
    # T^2 / n in [0, 1]: (1 + q) / (1 + a q) = 1 / (1 - (1 - a) T^2 / n).
    with np.errstate(invalid="ignore", over="ignore"):
        q = np.square(np.asarray(t, dtype=np.float64)) / (n - 1.0)
        share = np.where(np.isinf(q), 1.0, q / (1.0 + q))
    return np.asarray(0.5 * log_a - 0.5 * n * np.log1p(np.expm1(log_a) * share), dtype=np.float64)


def running_log_e(
    mean: Floats, sd: Floats, pairs: Floats, null: float = 0.0, mixture: float = MIXTURE
) -> Floats:
    """`log_e_value` of the null mean at each look. A look without variance gives none: 0, that is E = 1.

    Args:
        mean: float64[..., looks], mean difference of the first ``pairs`` differences.
        sd: float64[..., looks], their standard deviation (n - 1).
        pairs: float64[looks].
    """
    varies = sd > 0
    error = np.where(varies, sd, 1.0) / np.sqrt(pairs)
    return np.where(varies, log_e_value((mean - null) / error, pairs, mixture), 0.0)


def p_difference(mean: Floats, sd: Floats, pairs: Floats, mixture: float = MIXTURE) -> Floats:
    """P of no difference, valid at every look: 1 over the largest e-value so far, at most 1. float64[...]."""
    return _p(running_log_e(mean, sd, pairs, 0.0, mixture))


def p_equivalence(mean: Floats, sd: Floats, pairs: Floats, margin: float, mixture: float = MIXTURE) -> Floats:
    """The smallest alpha at which the 1 - alpha confidence sequence lies inside the margin. float64[...].

    The sequence is the running intersection: its lower end is above -margin where some look so far has
    a mean above -margin and an e-value against -margin above 1 / alpha; the upper end likewise.
    """
    above = np.where(mean > -margin, running_log_e(mean, sd, pairs, -margin, mixture), 0.0)
    below = np.where(mean < margin, running_log_e(mean, sd, pairs, margin, mixture), 0.0)
    return np.maximum(_p(above), _p(below))


def half_width(pairs: Floats, sd: Floats, alpha: float, mixture: float = MIXTURE) -> Floats:
    """Half the width of the 1 - alpha interval of one look: the means whose e-value is below 1 / alpha.

    q < (K - 1) / (1 - a K) with K = (alpha^2 a)^(-1/n); infinite where a K >= 1, as then no data of this many
    pairs reach 1 / alpha, and where there is no variance.
    """
    n = np.asarray(pairs, dtype=np.float64)
    log_a = -np.log1p(n * mixture)
    log_k = -(2.0 * math.log(alpha) + log_a) / n
    bounded = (log_a + log_k < 0) & (np.asarray(sd) > 0)
    q = np.expm1(log_k) / np.where(bounded, -np.expm1(log_a + log_k), 1.0)
    return np.where(bounded, sd * np.sqrt((n - 1.0) / n * q), np.inf)


def confidence_sequence(
    mean: Floats, sd: Floats, pairs: Floats, alpha: float, mixture: float = MIXTURE
) -> tuple[Floats, Floats]:
    """Lower and upper ends, float64[..., looks], of the running intersection of the looks' intervals.

    All of them contain the true mean with probability at least 1 - alpha. Ends are infinite until enough
    pairs are in; a lower end above the upper one is an empty intersection, which has probability at most
    alpha if the differences are normal.
    """
    half = half_width(pairs, sd, alpha, mixture)
    return np.maximum.accumulate(mean - half, axis=-1), np.minimum.accumulate(mean + half, axis=-1)


def _p(log_e: Floats) -> Floats:
    return np.asarray(np.exp(-np.maximum(log_e.max(axis=-1), 0.0)), dtype=np.float64)
