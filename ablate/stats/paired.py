"""Inference on paired runs: one seed, two arms, one difference.

Differences are oriented into a *gain*: positive means that the treated arm is better, whatever the
direction of the endpoint. For accuracy the gain is treated minus reference, for bits per byte it is
reference minus treated.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Interval = tuple[float, float]

ROUNDING = 1e-12
"""Differences whose sd is below this share of the scores' size are equal up to rounding."""


@dataclass(frozen=True)
class PairedSample:
    """The scores of one endpoint in two arms, pair by pair."""

    seeds: tuple[int, ...]
    """One seed a pair, each once."""
    treated: tuple[float, ...]
    """Score of the treated arm per seed, in the endpoint's unit."""
    reference: tuple[float, ...]
    """Score of the reference arm per seed."""
    higher_is_better: bool = True
    """Direction of the endpoint; turns differences into gains."""

    def __post_init__(self) -> None:
        if not len(self.seeds) == len(self.treated) == len(self.reference):
            raise ValueError(
                f"a pair needs a seed and two scores: got {len(self.seeds)} seeds, "
                f"{len(self.treated)} treated and {len(self.reference)} reference scores"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"a seed makes one pair, and these repeat: {sorted(self.seeds)}")
        for seed, values in zip(self.seeds, zip(self.treated, self.reference, strict=True), strict=True):
            if not all(math.isfinite(value) for value in values):
                raise ValueError(f"seed {seed}: scores {values[0]} and {values[1]} are not both finite")

    @property
    def gains(self) -> NDArray[np.float64]:
        """float64[n]: differences, positive where the treated arm is better."""
        sign = 1.0 if self.higher_is_better else -1.0
        return sign * (
            np.asarray(self.treated, dtype=np.float64) - np.asarray(self.reference, dtype=np.float64)
        )


@dataclass(frozen=True)
class PairedEstimate:
    """What a paired sample says of the gain. A field is None where the data cannot give it."""

    n: int
    mean_gain: float | None
    sd: float | None
    """Standard deviation of the differences (n - 1)."""
    interval95: Interval | None
    interval90: Interval | None
    welch95: Interval | None
    """95% interval of the same scores taken as two unpaired samples (Welch 1947)."""
    correlation: float | None
    """Pearson correlation of the paired scores; None below three pairs, where it says nothing."""
    p_difference: float | None
    """Two-sided p of no difference (paired t test)."""
    p_equivalence: float | None
    """P of the two one-sided tests that the gain lies within the margin; None without a margin."""
    remark: str = ""
    """Why intervals are missing, in words."""


def estimate(sample: PairedSample, margin: float | None = None) -> PairedEstimate:
    """Paired t inference on the mean gain of ``sample``.

    The intervals are Student's on the n differences. The equivalence p is the larger of the two
    one-sided p values (Schuirmann 1987, J. Pharmacokin. Biopharm. 15:657). With one pair, or with
    differences that are all equal, there is no t interval: the fields are None and ``remark`` says so.

    Args:
        margin: smallest effect of interest, in the endpoint's unit, above zero.

    Raises:
        ValueError: the margin is not a positive finite number.
    """
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin is a positive finite number, not {margin}")
    gains = sample.gains
    n = gains.size
    if n == 0:
        return PairedEstimate(0, None, None, None, None, None, None, None, None, "no complete pair")
    mean = float(gains.mean())
    if n == 1:
        return PairedEstimate(
            1, mean, None, None, None, None, None, None, None, "one pair: no interval can be given"
        )
    treated, reference = np.asarray(sample.treated), np.asarray(sample.reference)
    size = float(max(np.abs(treated).max(), np.abs(reference).max()))
    sd = float(gains.std(ddof=1))
    welch = _welch(treated, reference, mean, size)
    correlation = _correlation(treated, reference, size)
    if sd <= ROUNDING * size:
        remark = f"all {n} differences are equal: without variance there is no t interval"
        return PairedEstimate(n, mean, 0.0, None, None, welch, correlation, None, None, remark)
    error = sd / math.sqrt(n)
    return PairedEstimate(
        n=n,
        mean_gain=mean,
        sd=sd,
        interval95=_interval(mean, error, n - 1, 0.95),
        interval90=_interval(mean, error, n - 1, 0.90),
        welch95=welch,
        correlation=correlation,
        p_difference=2.0 * float(stdtr(n - 1, -abs(mean) / error)),
        p_equivalence=None if margin is None else float(stdtr(n - 1, (abs(mean) - margin) / error)),
    )


def _interval(mean: float, error: float, df: float, level: float) -> Interval:
    half = float(stdtrit(df, 0.5 + level / 2.0)) * error
    return mean - half, mean + half


def _welch(
    treated: NDArray[np.float64], reference: NDArray[np.float64], gain: float, size: float
) -> Interval | None:
    """Welch's interval with Satterthwaite's degrees of freedom; None where neither arm varies."""
    if max(treated.std(), reference.std()) <= ROUNDING * size:
        return None
    # In units of the largest score, so that no square of a variance underflows.
    parts = [float((values / size).var(ddof=1)) / values.size for values in (treated, reference)]
    squared = sum(parts)
    df = squared**2 / sum(part**2 / (treated.size - 1) for part in parts)
    return _interval(gain, math.sqrt(squared) * size, df, 0.95)


def _correlation(treated: NDArray[np.float64], reference: NDArray[np.float64], size: float) -> float | None:
    if treated.size < 3 or min(treated.std(), reference.std()) <= ROUNDING * size:
        return None
    return float(np.clip(np.corrcoef(treated, reference)[0, 1], -1.0, 1.0))
