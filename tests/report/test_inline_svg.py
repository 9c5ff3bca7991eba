"""A figure in the page is drawn as it was and can do nothing else."""

from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest
from small_page import SVG

from ablate.report.inline_svg import ELEMENTS, FigureError, inline_svg

EVIL = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
 onload="alert(1)">
<script>alert(1)</script><foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>
<a href="javascript:alert(1)"><text>link</text></a><style>@import url(http://example.com)</style>
<image href="http://example.com/x.png"/><image href="data:image/svg+xml;base64,AAAA"/>
<image href="data:image/png;base64,AAAA" width="1" height="1"/>
<path d="M 0 0" style="fill: url(http://example.com/#x); behavior: url(y)" onclick="alert(1)"/>
<text>a &lt;script&gt; in a label</text></svg>"""


def test_styles_become_attributes_that_mean_the_same():
    root = ElementTree.fromstring(inline_svg(SVG, "f-", "Forest", "All contrasts."))
    line = next(path for path in root.iter("path") if path.get("d") == "M 0 0 L 40 20")
    assert (line.get("fill"), line.get("stroke"), line.get("stroke-width")) == ("none", "#0072b2", "2")
    text = next(root.iter("text"))
    assert text.text == "image vs text"
    assert (text.get("font-size"), text.get("font-style")) == ("8px", "italic")
    assert text.get("font-family") == "'DejaVu Sans', sans-serif"
    assert text.get("text-anchor") == "middle"
    assert root.get("viewBox") == "0 0 40 20"


def test_references_follow_the_renamed_identifiers():
    text = inline_svg(SVG, "f-", "Forest", "All contrasts.")
    root = ElementTree.fromstring(text)
    names = {element.get("id") for element in root.iter()}
    assert {"f-box", "f-tick", "f-title", "f-desc"} <= names
    assert next(root.iter("use")).get("href") == "#f-tick"
    assert 'clip-path="url(#f-box)"' in text


def test_what_a_plot_has_no_use_for_is_left_out():
    text = inline_svg(EVIL, "f-", "<b>", '"quoted" & more')
    for word in ("script>alert", "onload", "onclick", "javascript:", "http:", "svg+xml", "<style", "@import"):
        assert word not in text
    root = ElementTree.fromstring(text)
    assert {element.tag for element in root.iter()} <= ELEMENTS | {"title", "desc"}
    assert [image.get("href") for image in root.iter("image")] == [None, None, "data:image/png;base64,AAAA"]
    assert next(root.iter("title")).text == "<b>"
    assert next(root.iter("text")).text == "a <script> in a label"


def test_a_matplotlib_figure_keeps_every_stroke(tmp_path):
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], label="arm")
    axes.fill_between([0, 1], [0, 0.5], [0.5, 1], alpha=0.2)
    axes.legend()
    figure.savefig(tmp_path / "figure.svg")
    plt.close(figure)
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    before, after = ElementTree.fromstring(svg), ElementTree.fromstring(inline_svg(svg, "f-", "t", "d"))
    space = "{http://www.w3.org/2000/svg}"
    for tag in ("path", "use", "clipPath", "rect"):
        assert len(list(after.iter(tag))) == len(list(before.iter(space + tag)))
    assert not any("style" in element.attrib for element in after.iter())


@pytest.mark.parametrize("text", ["not a picture", "<html></html>", ""])
def test_what_is_no_svg_is_refused(text):
    with pytest.raises(FigureError, match="Forest"):
        inline_svg(text, "f-", "Forest", "")
