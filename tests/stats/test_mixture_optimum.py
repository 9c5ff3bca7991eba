"""The optimum: never outside the design, with every doubt said; and the band and the region behind it."""

import numpy as np
import pytest
from mixtures import COMPONENTS, FINE, LATTICE, harm, lattice, nothing, quadratic, scores
from scipy.stats import f as f_distribution
from scipy.stats import t as student

from ablate.stats.mixture_band import critical_value, scheffe_critical
from ablate.stats.mixture_check import point_gains
from ablate.stats.mixture_fit import fit_surface
from ablate.stats.mixture_region import region_of


def test_the_critical_value_of_one_contrast_is_students_and_of_all_contrasts_scheffes():
    one = critical_value(np.array([[1.0, 2.0], [2.0, 4.0]]), np.eye(2), 12.0, 0.05)
    assert one == pytest.approx(student.ppf(0.975, 12), rel=0.01)
    turn = np.linspace(0, np.pi, 200)
    every = critical_value(np.column_stack([np.cos(turn), np.sin(turn)]), np.eye(2), 12.0, 0.05)
    assert every == pytest.approx(np.sqrt(2 * f_distribution.ppf(0.95, 2, 12)), rel=1e-3)
    assert scheffe_critical(2, 12.0, 0.05) == pytest.approx(every, rel=1e-3)


def test_the_critical_value_of_orthogonal_contrasts_is_that_of_the_studentised_maximum():
    """Of three: 2.66 for 20 degrees of freedom (Stoline and Ury 1979; here from draws)."""
    rng = np.random.default_rng(0)
    drawn = np.abs(rng.standard_normal((200_000, 3))).max(axis=1) / np.sqrt(rng.chisquare(20, 200_000) / 20)
    assert critical_value(np.eye(3), np.eye(3), 20.0, 0.05) == pytest.approx(
        np.quantile(drawn, 0.95), abs=0.02
    )


def test_the_draws_of_directions_hardly_move_the_level():
    features = np.column_stack([FINE[:, 1:], FINE[:, [0]] * FINE[:, 1:], FINE[:, 1] * FINE[:, 2]])
    values = [critical_value(features, np.diag([1.0, 1, 9, 9, 9]), 20.0, 0.05, seed) for seed in range(6)]
    # The tail falls by about 2.3 times itself per standard error.
    assert 0.05 * 2.3 * np.std(values, ddof=1) < 0.002
    assert max(values) < scheffe_critical(5, 20.0, 0.05)


def test_the_region_is_the_hull_of_the_mixtures():
    whole = region_of(LATTICE)
    assert whole.whole
    assert whole.holds(FINE).all()
    cut = region_of(LATTICE[LATTICE[:, 0] > 0.3])
    wanted = FINE[:, 0] >= 1 / 3 - 1e-9
    assert cut.holds(FINE).tolist() == wanted.tolist()
    assert (cut.grid[:, 0] >= 1 / 3 - 1e-9).all()
    assert cut.holds(np.array([[0.5, 0.6, -0.1], [0.5, 0.5, 0.5]])).tolist() == [False, False]


def test_mixtures_of_a_face_have_that_face_as_their_region():
    face = region_of(np.array([[1.0, 0, 0], [0.75, 0.25, 0], [0.5, 0.5, 0]]))
    assert (face.grid[:, 2] == 0).all()
    assert len(face.grid) > 5
    assert face.holds(np.array([[0.6, 0.4, 0.0], [0.6, 0.3, 0.1]])).tolist() == [True, False]


def test_the_grid_holds_every_measured_mixture():
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 12)
    region = region_of(rows)
    for one in rows:
        assert (np.abs(region.grid - one).max(axis=1) < 1e-9).any()
    assert region.holds(region.grid).all()


def test_the_optimum_stays_where_there_are_mixtures_though_the_surface_rises_on():
    some = LATTICE[LATTICE[:, 1] < 0.4]
    values = 0.2 * some[:, 1:2] + 0.01 * np.random.default_rng(0).standard_normal((len(some), 4))
    optimum = fit_surface(COMPONENTS, some, values, 0, model="linear").optimum
    assert optimum.best[1] == pytest.approx(1 / 3)
    assert optimum.region[:, 1].max() <= 1 / 3 + 1e-9


def test_what_beats_the_baseline_has_a_band_above_zero_and_the_interval_of_the_best_is_the_bands():
    found = fit_surface(
        COMPONENTS, LATTICE, scores(quadratic, 5, np.random.default_rng(1)), 0, model="quadratic"
    )
    optimum = found.optimum
    assert optimum.status == "mixture"
    assert (found.at(optimum.better).band_low > 0).all()
    best = found.at(np.array([optimum.best]))
    assert optimum.best_interval == pytest.approx((best.band_low[0], best.band_high[0]))
    assert optimum.largest_gain[0] >= optimum.best_interval[0] > 0
    assert "some mixture beats the baseline by" in optimum.statement
    assert not optimum.holds_baseline
    assert (np.abs(optimum.region - optimum.best).max(axis=1) < 1e-9).any()


def test_where_nothing_is_known_the_optimum_may_lie_anywhere_and_the_margin_is_ruled_out():
    found = fit_surface(COMPONENTS, LATTICE, scores(nothing, 4, np.random.default_rng(3)), 0, margin=0.5)
    assert found.optimum.status == "unknown"
    assert "may lie anywhere" in found.optimum.statement
    assert "the baseline included" in found.optimum.statement
    assert found.optimum.statement.endswith("no mixture of the region is better by the margin of 0.5 or more")
    assert found.optimum.holds_baseline
    assert found.optimum.region_share > 0.5
    assert 0.0 <= found.optimum.baseline_draws <= 1.0


def test_where_the_baseline_alone_may_be_best_that_is_said_and_not_that_the_optimum_may_lie_anywhere():
    """Every mixture is worse than text, the nearer to it the less."""
    shares = np.array([[1 - share, share] for share in (0.0, 0.25, 0.5, 0.75)])
    falls = lambda x: -0.013 * np.expm1(4.537 * x[:, 1]) / 4.537  # noqa: E731
    values = scores(falls, 3, np.random.default_rng(39), shares, 0.003)
    found = fit_surface(("text", "pictures"), shares, values, 0, model="exponential").optimum
    assert found is not None
    assert found.status == "unknown"
    assert found.statement.startswith("text alone is the one mixture that may be the optimum")
    assert "anywhere" not in found.statement


def test_held_out_mixtures_never_move_the_fit_and_are_checked_against_it():
    points = np.vstack([LATTICE, [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6], [0.4, 0.5, 0.1]]])
    held = np.arange(len(points)) >= len(LATTICE)
    rng = np.random.default_rng(4)
    inside = of = rejected = 0
    for _ in range(25):
        values = scores(quadratic, 4, rng, points)
        found = fit_surface(COMPONENTS, points, values, 0, held, model="quadratic")
        inside, of = inside + found.held_out.inside, of + found.held_out.of
        rejected += found.held_out.p_value < 0.05
    alone = fit_surface(COMPONENTS, LATTICE, values[: len(LATTICE)], 0, model="quadratic")
    assert found.at(FINE).band_high == pytest.approx(alone.at(FINE).band_high)
    assert 0.9 <= inside / of <= 0.99
    assert rejected <= 4
    first = found.held_out.points[0]
    assert first.gain == pytest.approx((values[10] - values[0]).mean())
    assert first.predicted == pytest.approx(found.at(points[10]).gain[0])


def test_held_out_mixtures_off_the_surface_withhold_the_optimum():
    points = np.vstack([LATTICE, [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2]]])
    values = scores(quadratic, 4, np.random.default_rng(4), points)
    values[10:] -= 0.2
    found = fit_surface(COMPONENTS, points, values, 0, np.arange(12) >= 10, model="quadratic")
    assert found.held_out.inside == 0
    assert found.held_out.rmse > 5 * found.held_out.expected_rmse
    assert found.optimum.status == "withheld"
    assert "held-out mixtures do not lie on it" in found.optimum.statement


def test_measured_gains_are_the_mean_paired_ones():
    values = scores(harm, 3, np.random.default_rng(6))
    points = point_gains(LATTICE, values, np.zeros(10, dtype=bool), 0, None)
    assert [point.gain for point in points] == pytest.approx((values - values[0]).mean(axis=1))


def test_four_components_have_an_optimum_too():
    points = lattice(4, 3)
    truth = points[:, 1] * points[:, 2]
    values = truth[:, None] + 0.01 * np.random.default_rng(0).standard_normal((len(points), 3))
    optimum = fit_surface(("a", "b", "c", "d"), points, values, 0).optimum
    assert np.abs(np.array(optimum.best) - [0, 0.5, 0.5, 0]).max() < 0.1
