"""Loss curves: means over seeds with their range, and every run that is not in a mean named."""

import dataclasses
import math
import time

import numpy as np
import pytest
from fabricated import ACCURACY, header, run

from ablate.record import CurvePoint
from ablate.report.curves import (
    MOST_COLOURED,
    POINTS,
    arm_curves,
    coloured,
    curve_caption,
    curve_figure,
)
from ablate.report.figures import png, svg


def curve(steps, loss, per_step=1000, tokens=64):
    return [
        CurvePoint(step, step * per_step, step * tokens, loss(step), None, 0.1)
        for step in range(10, steps + 1, 10)
    ]


def record(arm, seed, loss, steps=1000, per_step=1000, **changes):
    scores = {} if changes.get("status") == "diverged" else {ACCURACY: 0.5}
    return run(arm, seed, scores, curve=curve(steps, loss, per_step), **changes)


def study(arms=("text", "image", "image.shuffled"), seeds=3):
    records = [
        record(arm, seed, lambda step, s=seed, a=at: 2.0 + 0.1 * a + 0.01 * s + 100.0 / step)
        for at, arm in enumerate(arms)
        for seed in range(seeds)
    ]
    return records, header(records)


def test_the_mean_lies_between_the_lowest_and_the_highest_seed():
    records, plan = study()
    for one in arm_curves(records, plan, "flops"):
        assert one.runs == 3
        assert (one.low <= one.mean).all()
        assert (one.mean <= one.high).all()
        assert one.high - one.low == pytest.approx(np.full(one.x.size, 0.02), abs=1e-9)
        assert one.mean - one.low == pytest.approx(np.full(one.x.size, 0.01), abs=1e-9)


def test_seeds_that_were_logged_at_other_steps_meet_on_one_grid():
    straight = [
        record("text", 0, lambda step: 3.0 - step / 1000),
        record("text", 1, lambda step: 3.0 - step / 1000),
    ]
    straight[1] = dataclasses.replace(straight[1], curve=straight[1].curve[::3])
    (one,) = arm_curves(straight, header(straight), "flops")
    middle = (one.x > 100_000) & (one.x < 900_000)
    assert one.mean[middle] == pytest.approx(3.0 - one.x[middle] / 1e6, abs=1e-9)
    assert one.x[-1] == 991 * 1000 - 1000 or one.x[-1] <= 1e6


def test_each_axis_has_its_own_x():
    records, plan = study()
    ends = {x: arm_curves(records, plan, x)[0].x[-1] for x in ("flops", "text_tokens")}
    assert ends == {"flops": 1_000_000, "text_tokens": 64_000}
    assert "text tokens" in curve_figure(records, plan, "text_tokens").axes[0].get_xlabel()


def test_a_diverged_run_is_drawn_to_where_it_ended_and_is_in_no_mean():
    records, _ = study(("text",))
    wild = record("text", 3, lambda step: 2.0 if step < 100 else math.nan, steps=200, status="diverged")
    calm = arm_curves(records, header(records), "flops")[0]
    plan = header([*records, wild])
    (one,) = arm_curves([*records, wild], plan, "flops")
    assert (one.mean == calm.mean).all()
    ((seed, along, loss),) = one.diverged
    assert (seed, along[-1], loss[-1]) == (3, 90_000, 2.0)
    figure = curve_figure([*records, wild], plan)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [tuple(line.get_xdata()) for line in crosses] == [(90_000,)]
    assert (
        "Diverged, in no mean, each unsmoothed up to the cross where it ended: text seed 3."
        in curve_caption([*records, wild], plan, "flops")
    )


def test_an_arm_that_only_diverged_and_one_without_curve_are_named():
    records, _ = study(("text",))
    wild = record("other", 0, lambda step: 9.0, status="diverged")
    bare = run("none", 0, {ACCURACY: 0.5}, curve=[])
    plan = header([*records, wild, bare])
    figure = curve_figure([*records, wild, bare], plan)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "other" in legend
    assert "none" not in legend
    assert "Without a curve: none." in curve_caption([*records, wild, bare], plan, "flops")


def test_what_is_smoothed_is_said_and_a_straight_line_stays_one():
    records = [record("text", seed, lambda step: 3.0 - step / 1000) for seed in (0, 1)]
    (one,) = arm_curves(records, header(records), "flops")
    inner = slice(0, -5)
    assert one.mean[inner] == pytest.approx(3.0 - one.x[inner] / 1e6, abs=1e-9)
    assert "smoothed by a running mean over 5% of it" in curve_caption(records, header(records), "flops")


def test_arms_and_their_controls_share_a_colour_and_differ_in_the_line():
    _, plan = study(("text", "image", "image.shuffled", "image.noise", "audio", "audio.shuffled"))
    styles = coloured(plan.arms, plan)
    assert styles["image"]["color"] == styles["image.shuffled"]["color"] != styles["audio"]["color"]
    assert styles["image"]["lw"] > styles["image.shuffled"]["lw"]
    assert len({str(styles[arm]["ls"]) for arm in ("image", "image.shuffled", "image.noise")}) == 3
    assert styles["image.shuffled"]["ls"] == styles["audio.shuffled"]["ls"]


def test_arms_beyond_twelve_are_grey_and_named_in_the_caption():
    arms = ["text", *(f"image{at}" for at in range(8)), *(f"image{at}.noise" for at in range(8))]
    records, plan = study(arms, seeds=2)
    styles = coloured(plan.arms, plan)
    assert len(styles) == MOST_COLOURED
    assert all(f"image{at}" in styles for at in range(8))
    said = curve_caption(records, plan, "flops")
    grey = said.partition("In grey: ")[2].partition(". ")[0].rstrip(".").split(", ")
    assert set(grey) | styles.keys() == set(arms)
    assert not set(grey) & styles.keys()


@pytest.mark.parametrize("log", [False, True])
def test_thin_and_strange_curves_are_drawn(log):
    point = [CurvePoint(10, 100, 10, 2.0, None, 0.1)]
    records = [
        run("text", 0, {ACCURACY: 0.5}, curve=point),
        run("image", 0, {ACCURACY: 0.5}, curve=[dataclasses.replace(point[0], loss=math.nan)]),
        run("<b>$x^", 0, {ACCURACY: 0.5}, curve=point * 3),
    ]
    figure = curve_figure(records, header(records), "flops", log=log)
    assert png(figure, "t")
    assert "<b>" not in svg(figure, "t", "d")


def test_a_study_without_curves_has_a_figure_that_says_so():
    records = [run("text", 0, {ACCURACY: 0.5}, curve=[])]
    figure = curve_figure(records, header(records))
    assert [text.get_text() for text in figure.texts] == ["no run has a loss curve"]
    assert curve_caption(records, header(records), "flops") == "No run has a loss curve."


def test_long_curves_are_drawn_with_few_points():
    records = [record("text", seed, lambda step: 2.0 + 1.0 / step, steps=100_000) for seed in (0, 1)]
    (one,) = arm_curves(records, header(records), "flops")
    assert one.x.size <= POINTS
    assert one.x[-1] > 0.99 * 1e8


def test_ten_thousand_records_take_seconds():
    points = curve(1000, lambda step: 2.0 + 10.0 / step)
    records = [
        run(f"arm{arm}", seed, {ACCURACY: 0.5}, curve=points) for arm in range(100) for seed in range(100)
    ]
    plan = header(records)
    start = time.process_time()
    curve_figure(records, plan)
    curve_caption(records, plan, "flops")
    assert time.process_time() - start < 8.0
