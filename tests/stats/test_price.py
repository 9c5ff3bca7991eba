"""The price of a verdict: ratios of correlated variances, and independent seeds against pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablate.stats.power import seeds_needed, unpaired_seeds_needed
from ablate.stats.price import price, sd_interval, unpaired_ratio, variance_ratio

STUDIES = 2000


def test_the_interval_of_a_ratio_of_variances_covers_it_however_correlated_the_samples_are() -> None:
    random = np.random.Generator(np.random.PCG64(0))
    for r in (0.0, 0.95):
        shared = random.normal(size=(STUDIES, 12))
        other = r * shared + np.sqrt(1 - r**2) * random.normal(size=shared.shape)
        found = [variance_ratio(2 * a, b).interval95 for a, b in zip(shared, other, strict=True)]
        covered = np.mean([low <= 4 <= high for low, high in found])
        assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / STUDIES))


def test_the_p_value_is_that_of_sum_and_difference_being_uncorrelated() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    a, b = random.normal(size=(2, 15))
    b = 0.5 * a + 0.3 * b
    found = variance_ratio(a, b)
    assert found.p_equal == pytest.approx(stats.pearsonr(a + b, a - b).pvalue)
    low, high = found.interval95
    # At the end of the interval the test rejects at exactly 5%.
    for end in (low, high):
        scaled = np.sqrt(end) * b
        assert stats.pearsonr(a + scaled, a - scaled).pvalue == pytest.approx(0.05)


@given(st.integers(3, 30), st.floats(0.1, 10))
def test_the_ratio_turned_round_has_the_interval_turned_round(n: int, scale: float) -> None:
    a, b = np.random.Generator(np.random.PCG64(n)).normal(size=(2, n)) * [[1.0], [scale]]
    there, back = variance_ratio(a, b), variance_ratio(b, a)
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.interval95 == pytest.approx((1 / there.interval95[1], 1 / there.interval95[0]), rel=1e-6)
    assert back.p_equal == pytest.approx(there.p_equal)


def test_pairing_saves_what_the_variances_say() -> None:
    y, z = np.random.Generator(np.random.PCG64(3)).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 50).T
    found = unpaired_ratio(y, z)
    assert found.ratio == pytest.approx((y.var(ddof=1) + z.var(ddof=1)) / (y - z).var(ddof=1))
    assert found.interval95[0] < 1 / 0.3 < found.interval95[1]


def test_the_interval_of_a_standard_deviation_is_that_of_chi_square() -> None:
    values = np.random.Generator(np.random.PCG64(4)).normal(size=20)
    low, high = sd_interval(values)
    ends = np.sqrt(19 * values.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 19))
    assert (low, high) == pytest.approx(tuple(ends))


def test_independent_seeds_show_equivalence_with_the_power_asked_for() -> None:
    """By simulation of two one-sided Welch tests; one seed fewer has less than the power."""
    sd, margin = 1.0, 1.1
    seeds = unpaired_seeds_needed(sd, sd, margin)
    assert seeds is not None
    random = np.random.Generator(np.random.PCG64(5))
    powers = []
    for n in (seeds - 1, seeds):
        a, b = random.normal(size=(2, 40_000, n))
        error = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / n)
        upper = stats.t.ppf(0.95, 2 * (n - 1))
        powers.append(float((np.abs(a.mean(axis=1) - b.mean(axis=1)) + upper * error < margin).mean()))
    assert powers[1] > 0.8 - 0.006
    assert powers[0] < 0.8 + 0.006


def test_uncorrelated_arms_need_about_as_many_independent_seeds_as_pairs() -> None:
    assert unpaired_seeds_needed(1.0, 1.0, 0.5) == pytest.approx(seeds_needed(2**0.5, 0.5), abs=2)


def test_a_price_names_both_designs() -> None:
    random = np.random.Generator(np.random.PCG64(6))
    shared = random.normal(size=40)
    treated, reference = (shared + 0.3 * random.normal(size=40) for _ in range(2))
    found = price(treated, reference, margin=0.2)
    assert found.pairs is not None
    assert found.unpaired is not None
    assert found.unpaired > 3 * found.pairs
    assert found.sd95[0] < found.sd < found.sd95[1]
    with pytest.raises(ValueError, match="three pairs"):
        price(treated[:2], reference[:2], margin=0.2)
