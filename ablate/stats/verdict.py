"""The verdict of a contrast.

On the paired differences: *equivalent* if two one-sided tests put the gain within the margin (it wins
ties), *helps* or *hurts* if the gain differs from zero, else *inconclusive*. With one contrast in the
family this is the same as asking whether the 90% interval lies inside the margin and whether the 95%
interval excludes zero; with more, the p values are adjusted after Holm, the difference tests among
themselves and the equivalence tests among themselves.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

Verdict = Literal["helps", "hurts", "equivalent", "inconclusive"]

ALPHA = 0.05
"""Error rate of every claim: of `helps` or `hurts` without a difference, of `equivalent` at the margin."""


def judge(
    mean_gain: float | None, p_difference: float | None, p_equivalence: float | None, alpha: float = ALPHA
) -> Verdict:
    """The verdict for a mean gain (positive is better) and its, possibly adjusted, p values.

    A p value of None means that the data could not give one; it supports no claim.
    """
    if p_equivalence is not None and p_equivalence < alpha:
        return "equivalent"
    if mean_gain is not None and p_difference is not None and p_difference < alpha:
        return "helps" if mean_gain > 0 else "hurts"
    return "inconclusive"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Statist. 6:65) over one family.

    A None counts as 1, so that the family is the one that was planned and not the part of it that
    survived; it stays None in the answer. The numbers are those of statsmodels' `multipletests`, which
    is not called because it collects garbage on every call, 70 ms each.
    """
    filled = np.array([1.0 if p is None else p for p in p_values], dtype=np.float64)
    order = np.argsort(filled, kind="stable")
    adjusted = np.empty_like(filled)
    adjusted[order] = np.maximum.accumulate(filled[order] * np.arange(filled.size, 0, -1)).clip(max=1.0)
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjustment (1995, JRSS B 57:289), for contrasts that confirm nothing.

    It bounds the expected share of false claims among all claims where the tests are independent or depend
    positively (Benjamini and Yekutieli 2001, Ann. Statist. 29:1165); contrasts that share arms need not, and
    for them it is a guide. A None counts as 1, as in `holm`: a run that is lost makes no other contrast's p
    smaller. It stays None in the answer. (scipy has it too, at half a second of imports.)
    """
    filled = np.array([1.0 if p is None else p for p in p_values], dtype=np.float64)
    order = np.argsort(filled, kind="stable")[::-1]
    adjusted = np.empty_like(filled)
    scaled = filled[order] * filled.size / np.arange(filled.size, 0, -1)
    adjusted[order] = np.minimum.accumulate(scaled).clip(max=1.0)
    return [None if p is None else float(a) for p, a in zip(p_values, adjusted, strict=True)]
