"""What a surface's error is made of, and when no optimum is stated because of it."""

import numpy as np
import pytest
from mixtures import COMPONENTS, LATTICE, LINE, NOISE, exponential, lattice, quadratic, scores
from scipy.stats import binom

from ablate.stats.mixture_blocks import eliminate_seeds, information_of, inverse_of
from ablate.stats.mixture_fit import fit_surface

STUDIES = 200


def surface(values, **settings):
    return fit_surface(COMPONENTS, LATTICE, values, 0, **settings)


def learns_at_its_own_pace(x):
    """Nothing on average; seeds differ in how much pictures teach them."""
    return np.zeros(len(x))


@pytest.mark.parametrize("points", [LATTICE, LINE], ids=["lattice", "line"])
def test_the_band_holds_where_seeds_differ_in_one_direction_alone(points):
    """At 3 seeds, and a slope of thrice the noise, it held in 0.89 to 0.92 of 400 studies: whether seeds
    differ is then often not seen."""
    rng = np.random.default_rng(23)
    fine, held = lattice(points.shape[1], 24), 0
    for _ in range(STUDIES // 2):
        own = 10 * NOISE * rng.standard_normal(6) * points[:, [1]]
        values = scores(learns_at_its_own_pace, 6, rng, points) + own
        found = fit_surface(COMPONENTS[: points.shape[1]], points, values, 0, model="quadratic")
        assert found.error.source == "surfaces of seeds"
        at = found.at(fine)
        held += bool(((at.band_low <= 1e-9) & (at.band_high >= -1e-9)).all())
    assert held >= binom.ppf(0.01, STUDIES // 2, 0.95)


def test_where_runs_of_some_mixtures_scatter_more_no_optimum_is_stated_and_else_it_rarely_is_withheld():
    rng = np.random.default_rng(29)
    uneven = np.where(np.arange(10) < 3, 20 * NOISE, NOISE)[:, None]
    seen, alike, stated = 0, 0, ""
    for _ in range(40):
        noise = uneven * rng.standard_normal((10, 4))
        found = surface(quadratic(LATTICE)[:, None] + noise, model="quadratic")
        # Where it passes for a difference between seeds, intervals hold all the same.
        seen += found.error.is_unequal or found.error.source == "surfaces of seeds"
        assert found.optimum.status == "withheld" or not found.error.is_unequal
        stated = found.optimum.statement if found.error.is_unequal else stated
        alike += surface(scores(quadratic, 4, rng), model="quadratic").error.is_unequal
    assert seen >= 35
    assert "scatter more than those of others" in stated
    assert alike <= binom.ppf(0.99, 40, 0.01)


def falls_off(x):
    """Every mixture is worse than text, the more so the less text it has."""
    return -0.013 * np.expm1(4.537 * x[:, 1]) / 4.537


def test_a_polynomial_that_one_mixture_checks_claims_nothing_that_another_law_denies():
    """The quadratic alone would claim a mixture that beats text in 13 to 17% of these studies."""
    shares = np.array([[1 - share, share] for share in (0.0, 0.25, 0.5, 0.75)])
    rng = np.random.default_rng(31)
    fits = [
        fit_surface(("text", "pictures"), shares, scores(falls_off, 3, rng, shares, 0.004), 0)
        for _ in range(STUDIES)
    ]
    assert sum(one.optimum.status == "mixture" for one in fits) <= binom.ppf(0.99, STUDIES, 0.05)
    denied = [one for one in fits if one.disagreement]
    assert denied
    for one in denied:
        assert one.model == "quadratic"
        assert one.optimum.status == "withheld"
        assert "state sweep.mixture.model beforehand" in one.optimum.statement


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
def test_comparisons_that_no_seed_makes_are_no_information_whatever_the_size_of_the_design(seeds):
    """A null eigenvalue that rounding moves off zero would be inverted."""
    for points in range(2, 40):
        inverse = inverse_of(information_of(np.ones((points, seeds), dtype=bool)))
        assert inverse == pytest.approx((np.eye(points) - 1 / points) / seeds, abs=1e-9)
        whole = eliminate_seeds(np.random.default_rng(points).standard_normal((points, seeds)))
        holed = whole.values.copy()
        holed[0, 0] = np.nan
        assert eliminate_seeds(holed).connected


def test_the_exponential_law_is_the_same_to_nine_digits_where_scores_differ_by_rounding():
    rng = np.random.default_rng(37)
    for _ in range(5):
        values = scores(exponential, 3, rng)
        one, two = (
            surface(values + shift, model="exponential").fitted.parameters
            for shift in (0.0, 1e-14 * rng.standard_normal(values.shape))
        )
        assert one == pytest.approx(two, rel=1e-9)
