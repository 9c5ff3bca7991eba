"""The forest plot: the same bytes for the same records, and labels that keep apart."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ablate.report import figures
from ablate.report.forest import forest_figure
from ablate.stats.contrasts import contrasts

SVG = "{http://www.w3.org/2000/svg}"


def svg(records, **changes):
    plan = header(records, **changes)
    return figures.svg(forest_figure(contrasts(records, plan), plan), "Forest plot", "Contrasts.")


def texts(image):
    return [" ".join(node.itertext()).strip() for node in ET.fromstring(image).iter(f"{SVG}text")]


def test_the_same_records_give_the_same_bytes():
    first, second = svg(runs(PLANTED)), svg(runs(PLANTED))
    assert first == second
    assert "<dc:date>" not in first


def test_every_contrast_is_labelled_with_its_verdict():
    labels = texts(svg(runs(PLANTED)))
    assert "image vs text" in labels
    assert "n = 5: helps (grounding: helps)" in labels
    assert sum(" vs " in label and "margin" not in label for label in labels) >= 5
    assert any(label.startswith("planted/accuracy (higher is better, margin 0.05") for label in labels)


def test_there_is_a_panel_for_each_endpoint_with_a_margin_and_no_other():
    scores = {ACCURACY: 0.5, BITS: 2.0, "planted/probability": 0.2}
    records = [
        run(arm, s, {k: v + s / 100 for k, v in scores.items()}) for arm in ("text", "o") for s in (0, 1, 2)
    ]
    labels = texts(svg(records, margins={ACCURACY: 0.05, BITS: 0.01}))
    assert [label for label in labels if "is better" in label and "gain" not in label] == [
        "planted/accuracy (higher is better, margin 0.05)",
        "prose/bits_per_byte (lower is better, margin 0.01)",
    ]


def test_markup_and_mathematics_in_names_stay_text():
    image = svg(runs({"text": [0.1, 0.2, 0.4], "<script>$x^$&": [0.2, 0.3, 0.3]}), study="<b>$")
    assert "<script" not in image
    assert "<script>$x^$& vs text" in texts(image)


def test_missing_pairs_and_lone_seeds_are_drawn_and_named():
    lone = texts(svg(runs({"text": [0.1], "other": [0.9]})))
    assert "n = 1: inconclusive" in lone
    records = runs({"text": [0.1, 0.2]})
    none = texts(svg(records, arms=["text", "image"]))
    assert "no complete pair" in none


def test_a_panel_too_full_to_read_says_what_it_leaves_to_the_table():
    values = {"text": PLANTED["text"]}
    for at in range(12):
        values |= {f"image{at}": PLANTED["image"], f"image{at}.captions_only": PLANTED["text"][::-1]}
        values |= {f"image{at}.shuffled": PLANTED["image.shuffled"]}
    labels = texts(svg(runs(values)))
    assert any(label.endswith("24 of 60 contrasts, all are in contrasts.csv") for label in labels)
    assert "image11 vs image11.shuffled" in labels
    assert "image11 vs image11.captions_only" not in labels


def test_a_study_of_one_arm_has_an_empty_plot():
    assert "no contrasts" in texts(svg(runs({"text": [0.1, 0.2]})))


@pytest.mark.parametrize("name", ["image", "image_with_a_name_that_is_far_longer_than_it_should_be"])
def test_labels_do_not_overlap_with_twelve_rows_and_lie_inside_the_picture(name):
    values = {"text": PLANTED["text"]}
    for at in range(3):
        arm = f"{name}{at}"
        values |= {arm: PLANTED["image"], f"{arm}.captions_only": PLANTED["text"][::-1]}
        values |= {f"{arm}.shuffled": PLANTED["image.shuffled"]}
    records = runs(values)
    plan = header(records)
    found = contrasts(records, plan)
    assert len(found) >= 12
    figure = forest_figure(found, plan)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for ax in figure.axes:
        boxes = [label.get_window_extent(renderer) for label in ax.get_yticklabels()]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
        for above, below in pairwise(boxes):
            assert above.y0 >= below.y1
