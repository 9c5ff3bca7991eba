"""The interval of a ratio of two means that were measured on the same seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from ablate.stats.paired import Interval


def fieller(
    numerators: Sequence[float], denominators: Sequence[float], level: float = 0.95
) -> Interval | None:
    """Fieller's interval of mean numerator over mean denominator (Fieller 1954, J. R. Statist. Soc. B
    16:175), for n pairs of a bivariate normal distribution: Student's t with n - 1 degrees of freedom.

    The ratios r whose paired t test of ``numerators`` - r ``denominators`` against zero does not reject.
    With a, b the means, and v_aa, v_ab, v_bb their variances and covariance, they solve

        (b^2 - t^2 v_bb) r^2 - 2 (a b - t^2 v_ab) r + (a^2 - t^2 v_aa) <= 0.

    Returns:
        None where these are no finite interval, which is where the mean denominator is itself not
        distinguishable from zero at ``level``, and where there are fewer than two pairs.

    Raises:
        ValueError: the two differ in length, or a value is not finite.
    """
    a, b = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a ratio needs pairs: got {a.size} numerators and {b.size} denominators")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a ratio needs finite numerators and denominators")
    n = a.size
    if n < 2 or not b.any():
        return None
    # In units of the largest of each, so that no square over- or underflows.
    a_unit, b_unit = float(np.abs(a).max()) or 1.0, float(np.abs(b).max())
    a, b = a / a_unit, b / b_unit
    mean_a, mean_b = float(a.mean()), float(b.mean())
    squared = float(stdtrit(n - 1, 0.5 + level / 2.0)) ** 2 / n
    cov = np.cov(a, b)
    v_aa, v_ab, v_bb = (squared * float(cov[i]) for i in ((0, 0), (0, 1), (1, 1)))
    leading = mean_b**2 - v_bb
    if leading <= 0.0:
        return None
    # The discriminant without the differences of nearly equal squares that the plain one has.
    across = squared * float(np.var(mean_b * a - mean_a * b, ddof=1))
    root = math.sqrt(max(0.0, across - max(0.0, v_aa * v_bb - v_ab**2)))
    middle, unit = mean_a * mean_b - v_ab, a_unit / b_unit
    return unit * (middle - root) / leading, unit * (middle + root) / leading
