"""Effects over compute are told for the range measured, and for settings that differ in nothing else."""

import dataclasses

import numpy as np
import pytest
from fabricated import ACCURACY
from small_sweep import lattice, sweep_of, write

from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_trend_figure import COLOURS, trend_caption, trend_figure
from ablate.report.sweep_trends import slope_table, sweep_trends, trend_rows, trend_sentences, trend_table

SETTINGS = ("x1", "x4", "x16")


def fading(shares, place):
    """A gain that each rung of four times the compute lowers by 0.02."""
    return 0.05 - 0.02 * place


def result_of(folder, settings=SETTINGS, changes=lambda one: one, **written):
    sweep = sweep_of([], [], settings)
    sweep = dataclasses.replace(sweep, settings=[changes(one) for one in sweep.settings])
    written = {"extra": ["image"], "noise": 0.003, "seeds": 4} | written
    return read_results(write(folder / "sweep", sweep, fading, **written))


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    return result_of(tmp_path_factory.mktemp("ladder"))


def test_an_effect_that_fades_with_compute_is_said_to_fall_with_its_grounding(ladder):
    total, grounding = trend_sentences(sweep_trends(ladder))
    assert total.startswith(
        f"image over compute, against the baseline, {ACCURACY}: between 1e+12 and 1.6e+13 FLOPs"
    )
    assert "the gain falls by 0.0" in total
    assert "against shuffled media (grounding)" in grounding


def test_the_slope_is_that_of_the_gains_over_doublings(ladder):
    (total, _) = sweep_trends(ladder)
    low, high = total.trend.slope.estimate.interval95
    assert low < -0.01 < high
    rows = slope_table([total], {ACCURACY: 4}).rows
    assert [row[2] for row in rows] == ["gain per doubling of FLOPs"], "sizes and FLOPs rise together here"


def test_two_amounts_of_compute_make_no_trend_and_the_report_says_so(tmp_path):
    trends = sweep_trends(result_of(tmp_path, SETTINGS[:2]))
    (said,) = trend_sentences(trends)
    assert said.startswith("Over compute, image: nothing can be told: a trend takes 3 amounts of compute")
    assert [line for line in trend_figure("trend", trends).axes[0].lines if len(line.get_xdata()) > 2] == []


def test_settings_of_equal_compute_are_no_ladder(tmp_path):
    result = result_of(tmp_path, changes=lambda one: dataclasses.replace(one, baseline_flops=1e12))
    assert sweep_trends(result) == []


def test_a_factor_that_changes_no_compute_makes_ladders_of_its_own(tmp_path):
    def crossed(one):
        budget, text = one.name.split(".")
        flops = 1e12 * {"x1": 1, "x4": 4, "x16": 16}[budget]
        return dataclasses.replace(one, levels={"budget": budget, "text": text}, baseline_flops=flops)

    names = [f"{budget}.{text}" for budget in SETTINGS for text in ("all", "few")]
    found = sweep_trends(result_of(tmp_path, names, crossed))
    assert {one.others for one in found} == {"text all", "text few"}
    assert {tuple(rung.setting for rung in one.rungs) for one in found} == {
        ("x1.all", "x4.all", "x16.all"),
        ("x1.few", "x4.few", "x16.few"),
    }


def test_sizes_and_budgets_that_cross_are_told_apart(tmp_path):
    def crossed(one):
        size, budget = one.name.split(".")
        wide, long = int(size[1:]), int(budget[1:])
        levels = {"size": size, "budget": budget}
        return dataclasses.replace(
            one, levels=levels, parameters=wide * 1000, baseline_flops=1e9 * wide * long
        )

    names = [f"w{size}.s{steps}" for size in (64, 128) for steps in (1, 4, 16)]
    (total, _) = sweep_trends(result_of(tmp_path, names, crossed))
    assert total.factors.problem == ""
    slopes = [row[2] for row in slope_table([total], {}).rows]
    assert "gain per doubling of parameters at equal FLOPs" in slopes
    assert "gain per doubling of parameters at equal FLOPs" in trend_sentences([total])[0]


def test_a_rung_that_lacks_a_pair_has_no_average_and_a_setting_without_any_is_named(tmp_path):
    result = result_of(tmp_path, (*SETTINGS, "x64"), lost=[("image", 1)])
    dead = dataclasses.replace(result.settings[3], problem="it was not begun", records=[], contrasts=[])
    found = sweep_trends(dataclasses.replace(result, settings=[*result.settings[:3], dead]))
    total = found[0]
    assert total.lost == ["x64"]
    assert "no pair in x64" in trend_sentences(found)[0]
    assert [row[5:] for row in trend_table([total], {}).rows] == [["–", "–"]] * 3
    assert [row[5:] for row in trend_rows([total]).rows] == [[None, None, None]] * 3
    assert total.trend.incomplete == (), "the seed without a run is in no rung"


def test_lines_do_not_leave_the_range_that_was_measured(ladder):
    trends = sweep_trends(ladder)
    (ax,) = trend_figure("trend", trends).axes
    lines = [line for line in ax.lines if len(line.get_xdata()) > 2]
    assert [line.get_color() for line in lines] == [COLOURS["total"][0], COLOURS["grounding"][0]]
    for line in lines:
        assert np.isclose([min(line.get_xdata()), max(line.get_xdata())], [1e12, 1.6e13]).all()
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    gains = [rung.contrast.estimate.mean_gain for rung in trends[0].rungs]
    assert [float(line.get_ydata()[0]) for line in marks] == gains


def test_more_arms_than_panels_are_named_in_the_caption(tmp_path):
    arms = [f"image{at}" for at in range(11)]
    trends = sweep_trends(result_of(tmp_path, extra=arms, controls=False, seeds=2))
    assert len(trend_figure("trend", trends).axes) == 9
    assert "Not drawn, for want of room: image9, image10." in trend_caption(trends)
    assert "3 further trends stand in the table of trends." in trend_sentences(trends)


def test_mixtures_over_settings_have_trends_too(tmp_path):
    points = lattice(("text", "pictures"), 2)
    sweep = sweep_of(("text", "pictures"), points, SETTINGS)
    result = read_results(write(tmp_path / "sweep", sweep, fading, controls=False, seeds=2))
    assert {one.arm for one in sweep_trends(result)} == {one.arm for one in points} - {"text"}
