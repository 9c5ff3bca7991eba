"""Control variates: unbiased where the arm moves nothing, no narrower than they may be, and refused else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.covariate import (
    CovariateError,
    adjust,
    cost_at_equal_power,
    smallest_r_squared,
    variance_factor,
)
from ablate.stats.paired import PairedSample, estimate

STUDIES = 1500


def draw(n: int, m: int, r: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gains float64[studies, n] of mean 0 and covariates float64[studies, n + m] of correlation ``r`` with
    them."""
    random = np.random.Generator(np.random.PCG64(seed))
    x = random.normal(size=(STUDIES, n + m))
    return r * x[:, :n] + np.sqrt(1 - r**2) * random.normal(size=(STUDIES, n)), x


@pytest.mark.parametrize(
    ("n", "m", "r", "slope"),
    [(5, 20, 0.7, None), (10, 10, 0.9, None), (10, 60, 0.0, None), (5, 5, 0.7, 0.7), (10, 40, 0.7, -0.3)],
)
def test_the_adjusted_interval_covers_the_mean_gain_over_seeds(
    n: int, m: int, r: float, slope: float | None
) -> None:
    """At least 95% with the slope estimated, 95% with a slope fixed beforehand, however wrong it is."""
    found = [adjust(d, x[:n], x[n:], slope) for d, x in zip(*draw(n, m, r), strict=True)]
    covered = np.mean([one.interval95[0] <= 0 <= one.interval95[1] for one in found])
    noise = 3 * np.sqrt(0.95 * 0.05 / STUDIES)
    assert covered > 0.95 - noise
    if slope is not None:
        assert covered < 0.95 + noise
    means = np.array([one.mean_gain for one in found])
    assert abs(means.mean()) < 4 * means.std() / np.sqrt(STUDIES)


def test_the_interval_about_the_intercept_of_a_regression_would_be_too_narrow() -> None:
    """Why the covariate needs further seeds: the residual's error is that of these seeds' own X."""
    n, r = 10, 0.8
    covered = 0
    for d, x in zip(*draw(n, 0, r), strict=True):
        fit = np.polyfit(x - x.mean(), d, 1)
        residual = d - np.polyval(fit, x - x.mean())
        error = np.sqrt((residual**2).sum() / (n - 2) / n)
        covered += abs(d.mean()) < 2.306 * error
        assert fit[1] == pytest.approx(d.mean())
    assert covered / STUDIES < 0.85


def test_the_early_loss_of_the_arm_itself_would_take_its_effect_away() -> None:
    """An arm that helps by 1 moves its early loss; adjusting by the difference of early losses says 0.2."""
    random = np.random.Generator(np.random.PCG64(1))
    noise = random.normal(size=20_000)
    early = 1.0 + noise  # the effect shows early, with the noise that the endpoint has too
    gain = 1.0 + 0.8 * noise + 0.1 * random.normal(size=noise.size)
    slope, intercept = np.polyfit(early, gain, 1)
    assert gain.mean() == pytest.approx(1.0, abs=0.03)
    assert intercept == pytest.approx(1.0 - slope, abs=0.03) == pytest.approx(0.2, abs=0.03)


@given(st.floats(0.1, 0.95), st.sampled_from([10, 30]), st.sampled_from([10, 100]))
def test_the_variance_falls_by_the_share_of_further_seeds(r: float, n: int, m: int) -> None:
    d, x = draw(n, m, r)
    adjusted = d.mean(axis=1) - r * (x[:, :n].mean(axis=1) - x.mean(axis=1))
    wanted = variance_factor(r**2, n, m) / n
    assert adjusted.var() == pytest.approx(wanted, rel=6 * np.sqrt(2 / STUDIES))


def test_a_slope_of_zero_gives_the_plain_paired_interval() -> None:
    d, x = (values[0] for values in draw(8, 5, 0.5))
    found = adjust(d, x[:8], x[8:], slope=0.0, margin=0.3)
    plain = estimate(PairedSample(tuple(range(8)), tuple(d), (0.0,) * 8), margin=0.3)
    assert found.interval95 == pytest.approx(plain.interval95)
    assert found.interval90 == pytest.approx(plain.interval90)
    assert found.p_difference == pytest.approx(plain.p_difference)
    assert found.p_equivalence == pytest.approx(plain.p_equivalence)
    assert found.variance_ratio == pytest.approx(1.0)


def test_the_baselines_score_with_slope_minus_one_is_the_unpaired_estimate() -> None:
    """With X the baseline's score and b = -1 the baseline's mean over all its seeds takes the pairs'
    place."""
    random = np.random.Generator(np.random.PCG64(2))
    treated, baseline, further = random.normal(size=6), random.normal(size=6), random.normal(size=9)
    found = adjust(treated - baseline, baseline, further, slope=-1.0)
    assert found.mean_gain == pytest.approx(treated.mean() - np.concatenate([baseline, further]).mean())


def test_few_pairs_need_a_high_correlation_to_pay_for_the_slope() -> None:
    wanted = {5: 0.49, 10: 0.16, 20: 0.06}
    assert {n: round(smallest_r_squared(n, 10**6) or 0, 2) for n in wanted} == wanted
    assert smallest_r_squared(3, 100) is None
    n, least = 8, smallest_r_squared(8, 40)
    assert least is not None
    for r_squared, pays in ((least - 0.15, False), (least + 0.15, True)):
        d, x = draw(n, 40, r_squared**0.5)
        widths = [adjust(one, each[:n], each[n:]).interval95 for one, each in zip(d, x, strict=True)]
        plain = 2.3646**2 * d.var(axis=1, ddof=1).mean() / n
        assert (np.mean([((high - low) / 2) ** 2 for low, high in widths]) < plain) == pays


@given(st.floats(0.0, 1.0), st.floats(0.01, 0.99), st.floats(1.0, 50.0))
def test_no_split_between_pairs_and_further_seeds_is_cheaper_than_the_best(
    r_squared: float, share: float, ratio: float
) -> None:
    """Cost times variance of n pairs and (ratio - 1) n further seeds, in units of pairs alone."""
    cost = 1.0 + share * (ratio - 1.0)
    variance = (1.0 - r_squared) + r_squared / ratio
    assert cost_at_equal_power(r_squared, share) <= cost * variance + 1e-9


def test_what_cannot_be_adjusted_is_refused_with_the_reason() -> None:
    d, x = [0.1, 0.2, 0.4], [1.0, 2.0, 4.0]
    with pytest.raises(CovariateError, match="cancels from the mean gain"):
        adjust(d, x, [])
    with pytest.raises(CovariateError, match="takes three"):
        adjust(d[:2], x[:2], x)
    with pytest.raises(CovariateError, match="does not vary"):
        adjust(d, [2.0] * 3, x)
    with pytest.raises(CovariateError, match="not finite"):
        adjust(d, [1.0, float("nan"), 2.0], x)
