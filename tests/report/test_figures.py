"""A figure as SVG and PNG: the same numbers, the same bytes, and nothing that reaches out of it."""

import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from fabricated import PLANTED, header, runs
from PIL import Image

from ablate.report.figures import new_figure, number_digest, place, png, printable, styled, svg, text_inches
from ablate.report.forest import forest_figure
from ablate.stats.contrasts import contrasts


@styled
def plot(values, key="plot", size=(4.0, 3.0)):
    figure = new_figure(key, *size)
    ax = place(figure, 0.5, 0.2, 3.0, 2.0)
    ax.plot(range(len(values)), values, "o-", label="arm")
    ax.fill_between(range(len(values)), 0.0, values, alpha=0.2)
    return figure


def forest():
    records = runs(PLANTED)
    plan = header(records)
    return forest_figure(contrasts(records, plan), plan)


def test_the_same_numbers_give_the_same_bytes_in_both_formats_and_in_any_order():
    first, second = forest(), forest()
    pair = svg(first, "t", "d"), png(first, "t")
    assert (png(second, "t"), svg(second, "t", "d")) == pair[::-1]
    assert "date" not in pair[0]


def test_another_process_draws_the_same_bytes():
    program = (
        "import sys; sys.path[:0] = ['tests/stats', 'tests/report'];"
        "from test_figures import forest, png, svg; import hashlib;"
        "f = forest(); print(hashlib.sha256(png(f, 't') + svg(f, 't', 'd').encode()).hexdigest())"
    )
    seen = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(seen) == 1


def test_a_matplotlibrc_changes_nothing():
    import matplotlib

    usual = png(plot([1.0, 2.0]), "t"), svg(plot([1.0, 2.0]), "t", "d")
    with matplotlib.rc_context(
        {"font.size": 20, "lines.linewidth": 9, "axes.grid": True, "text.usetex": True}
    ):
        assert (png(plot([1.0, 2.0]), "t"), svg(plot([1.0, 2.0]), "t", "d")) == usual


def test_no_identifier_is_shared_by_two_figures_of_a_page():
    found = [set(re.findall(r'\bid="([^"]+)"', svg(plot([1.0, 2.0], key), "t", "d"))) for key in ("a", "b")]
    assert all(found)
    assert not found[0] & found[1]


def test_every_reference_in_a_figure_has_its_target():
    text = svg(forest(), "t", "d")
    wanted = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted
    assert wanted <= set(re.findall(r'\bid="([^"]+)"', text))


def test_a_figure_reaches_nothing_outside_and_styles_nothing_outside():
    text = svg(forest(), "t", "d")
    assert not re.search(r"<style|<script|<!DOCTYPE|@import", text)
    addresses = set(re.findall(r"https?://[^\"' )<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_who_cannot_see_a_figure_is_told_its_title_and_what_it_shows():
    root = ET.fromstring(svg(plot([1.0]), "Loss <of> arms & seeds", "Falls\nfrom 3 to 1."))
    names = root.get("aria-labelledby").split()
    said = {node.get("id"): node.text for node in root}
    assert [said[name] for name in names] == ["Loss <of> arms & seeds", "Falls from 3 to 1."]
    assert root.get("role") == "img"


def test_markup_in_a_name_stays_text():
    figure = plot([1.0, 2.0])
    figure.text(0.5, 0.5, '<script>alert(1)</script> id="x" $\\alpha', parse_math=False)
    text = svg(figure, "<script>", "</desc><script>")
    assert "<script" not in text
    assert '<script>alert(1)</script> id="x" $\\alpha' in "".join(ET.fromstring(text).itertext())


def test_names_that_the_font_lacks_and_control_characters_are_drawn_without_a_word():
    figure = plot([1.0])
    figure.text(0.5, 0.5, printable("中文 🙂 \x00\x1b\ud800 end"))
    assert "中文 🙂 end" in svg(figure, "t\x00", "d\x1b")
    assert png(figure, "中文")


@pytest.mark.parametrize("changed", [[1.0, 2.0, 3.001], [1.0, 2.0], [1.0, 2.0, float("nan")]])
def test_other_numbers_have_another_digest_which_both_formats_carry(changed):
    figure, other = plot([1.0, 2.0, 3.0]), plot(changed)
    own = number_digest(figure)
    assert number_digest(plot([1.0, 2.0, 3.0], size=(8.0, 4.0))) == own
    assert number_digest(plot([1.0, 2.0, 3.0 + 1e-12])) == own
    assert number_digest(other) != own
    assert f"numbers {own}; matplotlib" in svg(figure, "t", "d")
    with Image.open(io.BytesIO(png(figure, "t"))) as picture:
        assert picture.info["Numbers"] == own
        assert picture.info["Title"] == "t"


def test_a_png_keeps_white_paper_and_its_size():
    with Image.open(io.BytesIO(png(plot([1.0, 2.0]), "t"))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (432, 576, 3)
    assert (pixels == 255).all(axis=2).mean() > 0.5


def test_text_is_as_wide_as_it_is_drawn():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot([1.0])
    text = figure.text(0.0, 0.5, "image.captions_only\nvs text", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    drawn = text.get_window_extent(canvas.get_renderer()).width / figure.dpi
    assert text_inches("image.captions_only\nvs text") == pytest.approx(drawn, rel=0.05)
