"""Surfaces over mixtures: the truth lies in their bands, and what cannot be told is not told.

The coverage tests put 200 simulated studies through `fit_surface`. A longer run:

    MIXTURE_STUDIES=2000 pytest -s tests/stats/test_mixture_fit.py -k "holds or misses"
"""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixtures import (
    COMPONENTS,
    FINE,
    LATTICE,
    exponential,
    harm,
    lattice,
    nothing,
    quadratic,
    scores,
)
from scipy.optimize import least_squares
from scipy.stats import binom

from ablate.stats.mixture_blocks import eliminate_seeds
from ablate.stats.mixture_fit import fit_surface
from ablate.stats.mixture_least_squares import left_out_errors
from ablate.stats.mixture_models import SurfaceError

STUDIES = int(os.environ.get("MIXTURE_STUDIES", "200"))


def surface(values, **settings):
    return fit_surface(COMPONENTS, LATTICE, values, 0, **settings)


def gains_of(truth, at=FINE):
    return truth(at) - truth(LATTICE[:1])


def covered(truth, model, seeds, studies=STUDIES):
    """Studies whose band holds the whole surface; share of mixtures in pointwise intervals; studies whose
    region holds the best mixture; all fits."""
    rng = np.random.default_rng([17, seeds])
    wanted = gains_of(truth)
    best = FINE[wanted.argmax()]
    whole = inside = 0
    points, fits = [], []
    for _ in range(studies):
        found = surface(scores(truth, seeds, rng), model=model)
        at = found.at(FINE)
        whole += bool(((at.band_low - 1e-9 <= wanted) & (wanted <= at.band_high + 1e-9)).all())
        points.append(((at.low <= wanted) & (wanted <= at.high))[1:].mean())
        inside += bool((np.abs(found.optimum.region - best).max(axis=1) <= 1 / 24).any())
        fits.append(found)
    print(
        f"\n{truth.__name__}, {model or 'chosen'}, {seeds} seeds: band {whole} of {studies}, pointwise "
        f"{np.mean(points):.4f}, region {inside}, of mean share "
        f"{np.mean([one.optimum.region_share for one in fits]):.3f}"
    )
    return whole, float(np.mean(points)), inside, fits


@pytest.mark.parametrize(
    ("truth", "model", "seeds"), [(quadratic, "quadratic", 3), (exponential, "exponential", 4)]
)
def test_the_simultaneous_band_holds_the_whole_surface_and_the_region_the_best_mixture(truth, model, seeds):
    whole, pointwise, inside, fits = covered(truth, model, seeds)
    assert whole >= 0.95 * STUDIES
    assert inside >= 0.95 * STUDIES
    # Points of one study go together: as if there were two of them.
    assert pointwise >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / (2 * STUDIES))
    assert pointwise <= 0.99
    # Of the right model; a little above its nominal 0.05, as the error is pooled after a test.
    assert sum(found.lack_of_fit.seen for found in fits) <= binom.ppf(0.99, STUDIES, 0.07)


def test_where_nothing_has_an_effect_the_band_holds_zero_and_a_claim_is_rare():
    """Also for the exponential law, whose own intervals are too narrow there: a polynomial stands in."""
    whole, _, _, fits = covered(nothing, "exponential", 3, STUDIES // 8)
    claims = sum(found.optimum.status in ("mixture", "baseline") for found in fits)
    assert whole >= binom.ppf(0.01, STUDIES // 8, 0.95)
    assert claims <= binom.ppf(0.99, STUDIES // 8, 0.05)
    assert {found.model for found in fits} & {"quadratic"}
    assert all("too small to determine its curvature" in found.rule for found in fits)


@pytest.mark.parametrize(("truth", "model"), [(quadratic, "linear"), (quadratic, "exponential")])
def test_a_wrong_model_misses_the_surface_and_claims_no_optimum(truth, model):
    rng = np.random.default_rng(3)
    fits = [surface(scores(truth, 5, rng), model=model) for _ in range(20)]
    seen = [found.lack_of_fit is not None and found.lack_of_fit.seen for found in fits]
    assert sum(seen) >= 19
    for found, lacks in zip(fits, seen, strict=True):
        assert (found.optimum.status == "withheld") == lacks
        assert found.trusted != lacks
        if lacks:
            assert "no optimum is stated" in found.optimum.statement
            assert found.error.source == "misfit"
            assert found.error.sd > 2 * found.error.pure_sd


def peak(x):
    """The best mixture lies within."""
    return 0.1 * (x[:, 0] * x[:, 1] + x[:, 0] * x[:, 2] + x[:, 1] * x[:, 2])


def test_the_region_of_the_best_mixture_shrinks_with_seeds():
    sizes = []
    for seeds in (2, 6, 24):
        rng = np.random.default_rng(8)
        fits = [surface(scores(peak, seeds, rng), model="quadratic") for _ in range(6)]
        sizes.append(np.mean([found.optimum.region_share for found in fits]))
    assert sizes[0] > sizes[1] > sizes[2] > 0
    assert sizes[0] > 2 * sizes[2]


def test_text_alone_is_said_to_be_the_optimum_where_everything_else_hurts():
    rng = np.random.default_rng(0)
    fits = [surface(scores(harm, 5, rng), model="quadratic") for _ in range(10)]
    told = [one for one in fits if one.optimum.status == "baseline"]
    assert len(told) >= 8
    assert all(one.optimum.status == "withheld" for one in fits if one not in told)
    found = told[0]
    assert found.optimum.statement.startswith("text alone is the optimum")
    assert found.optimum.best == (1.0, 0.0, 0.0)
    assert found.optimum.baseline_draws == 1.0


def test_for_bits_per_byte_less_is_better():
    values = scores(quadratic, 5, np.random.default_rng(0))
    up, down = surface(values), surface(1.0 - values, higher_is_better=False)
    assert down.optimum.statement == up.optimum.statement
    assert down.points[3].gain == pytest.approx(up.points[3].gain)
    there = down.at(LATTICE)
    assert there.gain == pytest.approx(up.at(LATTICE).gain)
    assert there.score == pytest.approx(1.0 - up.at(LATTICE).score)
    assert (there.score_low < there.score).all()
    assert (there.score < there.score_high).all()


def test_the_choice_among_models_is_the_designs_and_a_lack_of_fit_moves_it_on():
    rng = np.random.default_rng(2)
    small = surface(scores(nothing, 4, rng))
    assert small.model == "quadratic"
    assert "richest polynomial" in small.rule
    # The centroid alone carries the cubic term, so that the special cubic cannot lose any one point.
    cubic = next(one for one in small.choice if one.model == "special_cubic")
    assert cubic.rmse is None
    assert not cubic.problem
    ternary = surface(scores(lambda x: 3.0 * x.prod(axis=1), 4, rng))
    assert ternary.model == "special_cubic"
    assert "lack of fit is seen" in ternary.rule


def test_left_out_errors_are_those_of_fits_without_the_point():
    values = scores(quadratic, 4, np.random.default_rng(6))
    values[3, 1] = values[5, 0] = np.nan
    found = surface(values, model="quadratic")
    blocks = eliminate_seeds(values)
    errors = left_out_errors(found.fitted.model, LATTICE, blocks, found.fitted.parameters)
    assert found.choice[0].rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    place, seed = np.nonzero(np.isfinite(values))
    x = LATTICE[place]
    design = np.column_stack([x[:, 1:], x[:, [0]] * x[:, 1:], x[:, 1] * x[:, 2], np.eye(4)[seed]])
    for left in (0, 3, 7):
        kept = place != left
        fitted = np.linalg.lstsq(design[kept], values[place, seed][kept], rcond=None)[0]
        gap = (values[place, seed] - design @ fitted)[~kept]
        assert errors[left] == pytest.approx(gap.mean())


def test_the_reference_and_the_order_of_points_change_no_gain():
    values = scores(quadratic, 4, np.random.default_rng(9))
    found = surface(values, model="quadratic")
    order = np.random.default_rng(1).permutation(len(LATTICE))
    other = fit_surface(
        COMPONENTS, LATTICE[order], values[order], int(np.flatnonzero(order == 5)[0]), model="quadratic"
    )
    one, two = found.at(FINE), other.at(FINE)
    assert one.gain - one.gain[0] == pytest.approx(two.gain - two.gain[0])
    assert one.score == pytest.approx(two.score)
    assert one.score_high == pytest.approx(two.score_high)
    assert found.lack_of_fit.f == pytest.approx(other.lack_of_fit.f)


@settings(max_examples=12, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3), st.sampled_from(["quadratic", "exponential"]))
def test_the_unit_of_the_endpoint_and_the_level_of_seeds_change_nothing(unit, level, model):
    truth = quadratic if model == "quadratic" else exponential
    values = scores(truth, 3, np.random.default_rng(4))
    found = surface(values, model=model)
    other = surface(unit * (values + level * np.array([0.0, 1e-3, 1e-2])), model=model)
    assert other.model == found.model
    one, two = found.at(FINE), other.at(FINE)
    assert two.gain / unit == pytest.approx(one.gain, abs=1e-6)
    assert two.band_high / unit == pytest.approx(one.band_high, abs=1e-5)
    assert other.optimum.status == found.optimum.status


def test_the_exponential_fit_is_scipys_least_squares():
    rng = np.random.default_rng(12)
    for _ in range(2):
        values = scores(exponential, 4, rng)
        found = surface(values, model="exponential")
        means = values.mean(axis=1)

        def residuals(p, means=means):
            return means - p[0] - p[1] * np.exp(LATTICE[:, 1:] @ p[2:])

        best = min(
            (
                least_squares(residuals, [0.5, k, *t], max_nfev=2000)
                for k in (-0.1, 0.1)
                for t in ([-1, 1], [1, -1])
            ),
            key=lambda fit: fit.cost,
        )
        ours = means - found.at(LATTICE).score
        assert (ours**2).sum() / 2 <= best.cost * (1 + 1e-6)


def test_missing_cells_leave_the_gains_unbiased_and_are_said():
    rng = np.random.default_rng(21)
    gaps = []
    for _ in range(25):
        values = scores(quadratic, 4, rng, noise=0.003)
        values[rng.integers(1, 10, 8), rng.integers(0, 4, 8)] = np.nan
        found = surface(values, model="quadratic")
        gaps.append(found.at(FINE).gain - gains_of(quadratic))
    assert found.missing == np.isnan(values).sum() > 0
    assert any("cells have no score" in note for note in found.notes)
    error = np.std(gaps, axis=0, ddof=1)[1:] / np.sqrt(len(gaps))
    # Seed effects are ten times the noise: comparing the means of different seeds would show.
    assert np.abs(np.mean(gaps, axis=0)[1:] / error).max() < 4
    assert error.max() < 0.001


def test_the_analysis_with_missing_cells_is_that_of_points_and_seeds_as_factors():
    rng = np.random.default_rng(2)
    values = scores(quadratic, 4, rng)
    values[2, 1] = values[7, 0] = np.nan
    found = surface(values, model="quadratic")
    place, seed = np.nonzero(np.isfinite(values))
    x = LATTICE[place]
    design = np.column_stack([x[:, 1:], x[:, [0]] * x[:, 1:], x[:, 1] * x[:, 2], np.eye(4)[seed]])
    y = values[place, seed]
    theirs, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert [one.estimate for one in found.coefficients] == pytest.approx(theirs[:5])
    assert found.fitted.unscaled == pytest.approx(np.linalg.inv(design.T @ design)[:5, :5])
    free = np.column_stack([np.eye(10)[place], np.eye(4)[seed]])
    pure = np.linalg.lstsq(free, y, rcond=None)[0]
    within = ((y - free @ pure) ** 2).sum()
    df = len(y) - 13
    assert found.error.pure_sd == pytest.approx(np.sqrt(within / df))
    assert found.lack_of_fit.df == 4
    if found.error.source == "points x seeds":
        assert found.lack_of_fit.f == pytest.approx((float(rss[0]) - within) / 4 / (within / df))
    level = theirs[5:].mean()
    assert found.at(LATTICE[:1]).score[0] == pytest.approx(level)
    at_zero = np.concatenate([np.zeros(5), np.full(4, 0.25)])
    half = found.at(LATTICE[:1])
    se = found.error.sd * np.sqrt(at_zero @ np.linalg.inv(design.T @ design) @ at_zero)
    assert (half.score_high - half.score_low)[0] == pytest.approx(2 * se * 2.0, rel=0.1)


def test_one_seed_gives_a_surface_without_intervals():
    found = surface(scores(quadratic, 1, np.random.default_rng(0)))
    assert found.error is None
    assert found.optimum.status == "unknown"
    assert "no estimate of the noise" in found.optimum.statement
    assert np.isnan(found.at(FINE).low).all()
    assert not found.trusted


def test_scores_that_agree_exactly_have_no_noise_and_no_claim():
    found = surface(np.repeat(quadratic(LATTICE)[:, None], 3, axis=1))
    assert found.optimum.status == "unknown"
    assert "agree exactly" in found.optimum.statement


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.full((10, 3), np.nan), "no mixture has a score"),
        (np.where(np.arange(10)[:, None] == 0, np.nan, 1.0) * np.ones(3), "the baseline has no score"),
        (np.where((np.arange(10)[:, None] < 5) == (np.arange(4) < 2), 1.0, np.nan), "share no seed"),
    ],
)
def test_what_cannot_be_compared_is_said_and_not_fitted(values, problem):
    found = surface(values)
    assert found.fitted is None
    assert problem in found.problem
    assert len(found.points) == 10
    with pytest.raises(ValueError, match="no surface to read"):
        found.at(FINE)


def test_too_few_mixtures_are_said_and_not_fitted():
    values = scores(quadratic, 3, np.random.default_rng(0))
    found = fit_surface(COMPONENTS, LATTICE[:2], values[:2], 0)
    assert found.fitted is None
    assert "distinct mixtures are needed" in found.problem
    assert found.points[1].gain is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": ["text", "text", "sounds"]}, "different names"),
        ({"shares": LATTICE * 1.01}, "adding up to 1"),
        ({"shares": LATTICE[:, :2]}, r"shape \[points, 3\]"),
        ({"shares": np.vstack([LATTICE[:-1], LATTICE[:1]])}, "same shares"),
        ({"values": np.full((10, 2), np.inf)}, "infinite"),
        ({"held_out": np.arange(10) == 0}, "not among the points that are fitted"),
        ({"held_out": [True]}, "held_out has shape"),
    ],
)
def test_data_that_no_surface_can_be_made_of_are_refused(change, message):
    given = {"components": COMPONENTS, "shares": LATTICE, "values": np.ones((10, 2)), "baseline_index": 0}
    with pytest.raises(SurfaceError, match=message):
        fit_surface(**{**given, **change})


def test_two_components_are_a_line_and_lower_bounds_keep_claims_inside():
    shares = np.array([[1.0, 0.0], [0.85, 0.15], [0.7, 0.3], [0.55, 0.45], [0.4, 0.6]])
    rng = np.random.default_rng(3)
    values = 0.1 * shares[:, 1:] + 0.03 * rng.standard_normal(4) + 0.005 * rng.standard_normal((5, 4))
    found = fit_surface(("text", "pictures"), shares, values, 0)
    assert found.model == "quadratic"
    assert found.optimum.status == "mixture"
    assert found.optimum.region[:, 1].max() <= 0.6 + 1e-9
    assert found.optimum.best[1] <= 0.6 + 1e-9
    assert found.at(np.array([[0.5, 0.5], [0.2, 0.8]])).inside.tolist() == [True, False]
    assert any("pictures extrapolate" in note for note in found.notes)


def test_six_components_take_a_moment():
    shares = np.vstack(
        [np.eye(6), lattice(6, 2)[:0], (np.eye(6)[:, None] + np.eye(6)[None]).reshape(-1, 6) / 2]
    )
    shares = np.unique(np.vstack([shares, np.full((1, 6), 1 / 6)]), axis=0)[::-1]
    values = shares[:, 1:2] + np.random.default_rng(0).standard_normal((len(shares), 3)) * 0.01
    found = fit_surface(list("tabcde"), shares, values, 0)
    assert found.optimum.status == "mixture"
    assert found.optimum.best[1] > 0.5
