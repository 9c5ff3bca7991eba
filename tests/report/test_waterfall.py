"""The waterfall: parts that begin where the one before ends, and add up to the total."""

from itertools import pairwise

import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from ablate.report.figures import png, svg
from ablate.report.waterfall import MOST_ARMS, waterfall_caption, waterfall_figure
from ablate.stats.decomposition import decompositions


def found(values, **changes):
    records = runs(values)
    return decompositions(records, header(records, **changes))


def bars(ax):
    """Where each bar begins and ends, from the top."""
    boxes = [patch for patch in ax.patches if type(patch) is Rectangle and patch.get_height() == 0.2]
    boxes.sort(key=lambda box: box.get_y())
    return [(box.get_x(), box.get_x() + box.get_width()) for box in boxes]


def labels(figure):
    return [text.get_text().replace("\n", " ") for ax in figure.axes for text in ax.texts]


def test_every_part_begins_where_the_one_before_ends_and_the_last_ends_at_the_total():
    (ax,) = waterfall_figure(found(PLANTED)).axes
    *parts, total = bars(ax)
    assert len(parts) == 3
    assert parts[0][0] == 0.0
    for before, after in pairwise(parts):
        assert after[0] == pytest.approx(before[1])
    assert parts[-1][1] == pytest.approx(total[1])
    assert total[1] == pytest.approx(0.806)


def test_bars_and_labels_say_the_numbers_of_the_decomposition():
    (one,) = found(PLANTED)
    figure = waterfall_figure([one])
    spans = dict(zip(("caption", "extra", "grounding", "total"), bars(figure.axes[0]), strict=True))
    grounding = one.parts[-1].estimate
    assert spans["grounding"][1] - spans["grounding"][0] == pytest.approx(grounding.mean_gain)
    low, high = grounding.interval95
    assert f"{grounding.mean_gain:+.3f} [{low:+.3f}, {high:+.3f}], 5 pairs" in labels(figure)
    assert "grounding: image vs image.shuffled" in labels(figure)
    whiskers = {tuple(line.get_xdata()) for line in figure.axes[0].lines}
    begin = spans["grounding"][0]
    assert any(ends == pytest.approx((begin + low, begin + high)) for ends in whiskers)


def test_a_bar_without_interval_is_hollow():
    lone = {arm: values[:1] for arm, values in PLANTED.items()}
    hollow = waterfall_figure(found(lone)).axes[0]
    solid = waterfall_figure(found(PLANTED)).axes[0]
    faces = [
        {patch.get_facecolor() for patch in ax.patches if getattr(patch, "get_height", float)() == 0.2}
        for ax in (hollow, solid)
    ]
    assert faces[0] == {to_rgba("none")}
    assert to_rgba("none") not in faces[1]
    assert "no interval" in " ".join(labels(hollow.figure))


def test_what_a_control_would_have_told_is_named_in_the_caption():
    without = {arm: values for arm, values in PLANTED.items() if arm != "image.shuffled"}
    said = waterfall_caption(found(without))
    assert "image has no shuffled control: extra positions and grounding cannot be told apart." in said
    records = [record for record in runs(PLANTED) if (record.arm, record.seed) != ("image.shuffled", 3)]
    assert "image: without seeds 3" in waterfall_caption(decompositions(records, header(records)))


def test_only_the_primary_endpoint_is_drawn():
    records = [
        run(arm, seed, {ACCURACY: value, BITS: 2.0 - value})
        for arm, values in PLANTED.items()
        for seed, value in enumerate(values)
    ]
    both = decompositions(records, header(records, margins={ACCURACY: 0.05, BITS: 0.01}))
    assert len(both) == 2
    (ax,) = waterfall_figure(both).axes
    assert ACCURACY in ax.get_xlabel()


def test_too_many_arms_are_named_and_not_drawn():
    values = {"text": PLANTED["text"]}
    for at in range(MOST_ARMS + 2):
        values |= {f"image{at}": PLANTED["image"], f"image{at}.shuffled": PLANTED["image.shuffled"]}
    many = found(values)
    assert len(waterfall_figure(many).axes) == MOST_ARMS
    assert f"Not drawn, for want of room: image{MOST_ARMS}, image{MOST_ARMS + 1}." in waterfall_caption(many)


@pytest.mark.parametrize(
    "values", [{"text": [0.1, 0.2]}, {"text": [0.1, 0.1], "image": [0.1, 0.1], "image.shuffled": [0.1, 0.1]}]
)
def test_thin_studies_are_drawn(values):
    figure = waterfall_figure(found(values))
    assert svg(figure, "t", "d")
    assert png(figure, "t")


def test_an_arm_whose_control_diverged_is_drawn_with_words_in_place_of_a_bar():
    records = runs({"text": [0.1, 0.2], "image": [0.3, 0.4]}) + [
        run("image.shuffled", seed, {ACCURACY: 0.1 * (2 - seed)}) for seed in (0,)
    ]
    plan = header(records, seeds=[0, 1])
    records = [record for record in records if (record.arm, record.seed) != ("text", 0)]
    figure = waterfall_figure(decompositions(records, plan))
    assert "no complete pair" in " ".join(labels(figure))
    assert png(figure, "t")


@pytest.mark.parametrize("name", ["image", "image_with_a_name_that_is_far_longer_than_it_should_be"])
def test_labels_lie_inside_the_picture_and_apart(name):
    values = {"text": PLANTED["text"]}
    for at in range(2):
        arm = f"{name}{at}"
        values |= {arm: PLANTED["image"], f"{arm}.captions_only": PLANTED["text"][::-1]}
        values |= {f"{arm}.shuffled": PLANTED["image.shuffled"]}
    figure = waterfall_figure(found(values))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for ax in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in ax.texts]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
        for side in (boxes[0::2], boxes[1::2]):
            assert all(above.y0 >= below.y1 for above, below in pairwise(side))
