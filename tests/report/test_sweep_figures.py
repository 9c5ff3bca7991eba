"""Figures of a sweep show what was measured, where it was measured, and nothing beyond."""

import numpy as np
import pytest
from fabricated import ACCURACY
from hypothesis import given
from hypothesis import strategies as st
from small_sweep import hill, lattice, sweep_of, write

from ablate.report.figures import BLACK, GREY, PURPLE, number_digest, svg
from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_figures import panel_groups, surface_caption, surface_figure, surface_panels
from ablate.report.sweep_fits import fit_of, sweep_fits
from ablate.report.sweep_ternary import Shading, corners_to_plane

TWO, THREE = ("text", "pictures"), ("text", "pictures", "sounds")
FOUR = (*THREE, "clips")


def drawn(folder, components, gain=hill, settings=("all",), degree=4, **changes):
    sweep = sweep_of(components, lattice(components, degree), settings)
    result = read_results(write(folder / "sweep", sweep, gain, controls=False, noise=0.02, **changes))
    fits = sweep_fits(result)
    groups = panel_groups(surface_panels(result, fits))
    return result, fits, {key: surface_figure(key, result, panels) for key, panels in groups.items()}, groups


def marks(ax, sign):
    return [line for line in ax.lines if line.get_marker() == sign]


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda shares: sum(shares) > 0.01))
def test_a_mixture_lies_at_the_mean_of_its_corners(shares):
    shares = np.array([shares]) / sum(shares)
    corners = corners_to_plane(np.eye(3))
    assert np.allclose(corners_to_plane(shares), shares @ corners)
    sides = [np.linalg.norm(corners[a] - corners[b]) for a, b in ((0, 1), (1, 2), (2, 0))]
    assert np.allclose(sides, 1.0)


def test_colours_tell_gain_from_loss_and_pale_towards_zero():
    shading = Shading((-2.0, -1.0, 0.0, 1.0, 2.0))
    assert shading.colour(0.0) == "#F7F7F7"
    assert shading.colour(2.0) == "#0072B2"
    assert shading.colour(-2.0) == "#D55E00"
    # Each mark has the colour of the contour that it should lie on.
    assert shading.of(1.5) == shading.of(2.0) == shading.colour(1.5)
    assert shading.of(-0.1) == shading.colour(-0.5)


def test_two_streams_are_a_line_within_the_measured_shares_with_every_mixture_on_it(tmp_path):
    result, fits, figures, _ = drawn(tmp_path, TWO)
    (ax,) = figures["surface"].axes
    (curve,) = [line for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) > 50]
    assert (min(curve.get_xdata()), max(curve.get_xdata())) == (0.0, 0.75)
    surface = fit_of(fits, "all", ACCURACY).surface
    along = np.asarray(curve.get_xdata())
    assert np.allclose(curve.get_ydata(), surface.at(np.column_stack([1 - along, along])).gain)
    found = {
        sign: sorted(float(line.get_xdata()[0]) for line in marks(ax, sign) if line.get_color() == BLACK)
        for sign in "soD"
    }
    assert found == {"s": [0.0], "o": [0.1875, 0.5625, 0.75], "D": [0.375]}
    gains = {one.arm: one.estimate.mean_gain for one in result.settings[0].contrasts if one.kind == "total"}
    assert marks(ax, "D")[0].get_ydata()[0] == gains["pictures_image6"]
    (star,) = marks(ax, "*")
    assert star.get_ydata()[0] == surface.optimum.best_gain


def test_three_streams_are_contours_within_the_design_with_what_is_significant_and_the_optimum(tmp_path):
    _, fits, figures, _ = drawn(tmp_path, THREE)
    ax = figures["surface"].axes[0]
    fit = fit_of(fits, "all", ACCURACY)
    seen = fit.surface.at(fit.grid)
    (dots,) = marks(ax, ".")
    assert len(dots.get_xdata()) == int(((seen.band_low > 0) | (seen.band_high < 0)).sum()) > 0
    lowest = min(path.vertices[:, 1].min() for one in ax.collections for path in one.get_paths() if len(path))
    assert lowest >= 0.25 * 3**0.5 / 2 - 1e-9, "a contour leaves the fitted mixtures"
    assert len(marks(ax, "s")) == 1
    assert len(marks(ax, "D")) == 2
    assert len(marks(ax, "*")) == 1
    outlines = [
        one for one in ax.collections if len(one.get_edgecolor()) and tuple(one.get_linewidths()) == (1.6,)
    ]
    assert outlines, "the region of the optimum has an outline"


def test_of_four_streams_each_pair_has_a_panel_in_which_the_rest_is_zero(tmp_path):
    result, _, figures, groups = drawn(tmp_path, FOUR, degree=3)
    titles = [panel.title for panel in groups["surface"]]
    assert titles == ["pictures and sounds", "pictures and clips", "sounds and clips"]
    first = figures["surface"].axes[0]
    shown = sum(point.shares["clips"] == 0 for point in result.sweep.points)
    assert sum(len(marks(first, sign)) for sign in "soD") == shown
    assert "Streams that a panel does not name have share zero" in surface_caption(result, groups["surface"])


def test_settings_are_small_multiples_on_one_scale_and_many_make_further_figures(tmp_path):
    names = [f"x{at}" for at in range(11)]
    sweep = sweep_of(TWO, lattice(TWO, 2), names)
    result = read_results(write(tmp_path / "sweep", sweep, hill, controls=False, noise=0.02))
    panels = surface_panels(result, sweep_fits(result))
    groups = panel_groups(panels)
    assert [len(group) for group in groups.values()] == [9, 2]
    figure = surface_figure("surface-2", result, groups["surface-2"])
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["x9", "x10"]


@pytest.mark.parametrize("components", [TWO, THREE])
def test_a_mixture_that_lacks_a_pair_shows_no_gain_and_the_caption_names_it(tmp_path, components):
    result, _, figures, groups = drawn(tmp_path, components, lost=[("pictures_image3", 1)])
    ax = figures["surface"].axes[0]
    points = [line for line in ax.lines if line.get_marker() in "soDx" and len(line.get_xdata()) == 1]
    crosses = [line for line in points if line.get_marker() == "x"]
    if components == TWO:
        assert 0.1875 not in [line.get_xdata()[0] for line in points]
    else:
        assert [line.get_color() for line in crosses] == [GREY]
    assert "No gain is shown where a pair is missing: pictures_image3 (all)." in surface_caption(
        result, groups["surface"]
    )


def test_neither_optimum_nor_what_is_significant_is_drawn_where_the_surface_does_not_describe_the_data(
    tmp_path,
):
    def jagged(shares, _):
        return 0.4 * (round(shares["pictures"] * 16) % 6 == 3)

    result, fits, figures, groups = drawn(tmp_path, THREE, jagged)
    assert fit_of(fits, "all", ACCURACY).surface.optimum.status == "withheld"
    ax = figures["surface"].axes[0]
    assert marks(ax, "*") == marks(ax, ".") == []
    assert PURPLE not in {line.get_color() for line in ax.lines}
    said = surface_caption(result, groups["surface"])
    assert "Withheld, as the surface is not to be trusted: dots and optimum of" in said


def test_a_design_too_small_for_a_surface_shows_its_points_and_says_why(tmp_path):
    sweep = sweep_of(THREE, [one for one in lattice(THREE) if one.roles != ["held_out"]][:2])
    result = read_results(write(tmp_path / "sweep", sweep, hill, controls=False))
    (panel,) = surface_panels(result, sweep_fits(result))
    figure = surface_figure("surface", result, [panel])
    assert len(marks(figure.axes[0], "s")) == 1
    assert len(marks(figure.axes[0], "o")) == 1
    assert "no surface (" in surface_caption(result, [panel])


def test_the_same_numbers_are_the_same_drawing_and_others_have_another_digest(tmp_path):
    result, _, figures, groups = drawn(tmp_path, THREE)
    again = surface_figure("surface", result, groups["surface"])
    assert svg(again, "t", "d") == svg(figures["surface"], "t", "d")
    other = drawn(tmp_path / "other", THREE, lambda shares, at: hill(shares, at) + 1e-3 * shares["sounds"])[2]
    assert number_digest(other["surface"]) != number_digest(again)
