"""How figures look, and how one matplotlib figure becomes an SVG and a PNG: the same numbers, the same bytes.

Figures are laid out in inches from measured text (`text_inches`) and not by matplotlib's constrained
layout, which draws every figure twice more. Both formats carry the digest of the numbers that they show
(`number_digest`) and the version of matplotlib, for `ablate.report.check`.
"""

import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.textpath import text_to_path
from PIL import Image
from PIL.PngImagePlugin import PngInfo

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
"""Okabe and Ito's palette (2008), without its yellow, which white paper swallows."""

GREY, BAND = "#767676", "#DDDDDD"
"""Text and lines that stand back, and what lies within the margin."""

FONT = "DejaVu Sans"
FALLBACK = f"'{FONT}', Verdana, sans-serif"
PNG_DPI = 144
COMPRESSION = 5
POINTS = 8.0
"""Size of labels."""

STYLE = {
    "font.family": FONT,
    "font.size": POINTS,
    "axes.unicode_minus": False,
    # Without hints glyphs are faster to draw and look the same at this resolution; a title at a fixed
    # height spares matplotlib the measuring of all ticks.
    "text.hinting": "none",
    "axes.titley": 1.0,
    "svg.fonttype": "none",
    "path.simplify": True,
    "savefig.facecolor": "white",
    "text.usetex": False,
    "text.parse_math": False,
}
"""Over matplotlib's defaults: a user's matplotlibrc changes no published figure."""

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
P = ParamSpec("P")


@cache
def _settings() -> Any:
    defaults = matplotlib.rcParamsDefault.items()
    return {str(key): value for key, value in defaults if "backend" not in key} | STYLE


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that makes a figure, under `STYLE` and nobody's matplotlibrc."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _drawing():
            return draw(*args, **kwargs)

    return inner


@contextmanager
def _drawing() -> Iterator[None]:
    """The settings of figures. A character that the font lacks is a box in a PNG, and itself in an SVG."""
    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing")
        yield


def new_figure(key: str, width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches; ``key`` keeps its ids apart from other figures'."""
    return Figure(figsize=(width, height), label=key, facecolor="white")


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes ``left`` and ``top`` inches from the figure's corner, ``width`` x ``height`` inches large."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1.0 - (top + height) / high, width / wide, height / high))


def bare(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes for rows between labels: an x axis below, and nothing else. Y counts inches from the top."""
    ax = place(figure, left, top, width, height)
    ax.set_ylim(height, 0.0)
    ax.yaxis.set_visible(False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def row_labels(ax: Axes, heights: Sequence[float], left: Sequence[str], right: Sequence[str]) -> None:
    """Labels of rows on both sides of `bare` axes."""
    across = ax.get_yaxis_transform()
    for at, before, after in zip(heights, left, right, strict=True):
        for x, text, side in ((-0.01, before, "right"), (1.01, after, "left")):
            ax.text(x, at, text, transform=across, ha=side, va="center", parse_math=False)


def x_label(ax: Axes, text: str, inches: float = 0.3) -> None:
    """The name of the x axis, ``inches`` below it."""
    ax.set_xlabel(text, parse_math=False)
    high = ax.get_window_extent().height / ax.figure.dpi
    ax.xaxis.set_label_coords(0.5, -inches / high)


def text_inches(text: str, points: float = POINTS) -> float:
    """Width of the longest line of ``text`` in inches."""
    return max((_line_inches(line, points) for line in text.split("\n")), default=0.0)


@cache
def _font(points: float) -> FontProperties:
    return FontProperties(family=FONT, size=points)


def _line_inches(line: str, points: float) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(line or " ", _font(points), ismath=False)
    return float(width) / 72.0


def png(figure: Figure, title: str) -> bytes:
    """``figure`` as PNG at `PNG_DPI`, without dates; the text chunks hold title, digest and version."""
    with _drawing():
        figure.set_dpi(PNG_DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
    picture = _few_colours(canvas)
    said = PngInfo()
    said.add_itxt("Title", title)
    said.add_text("Software", drawn_by())
    said.add_text("Numbers", number_digest(figure))
    out = io.BytesIO()
    picture.save(out, format="png", pnginfo=said, compress_level=COMPRESSION, dpi=(PNG_DPI, PNG_DPI))
    return out.getvalue()


def _few_colours(canvas: FigureCanvasAgg) -> Image.Image:
    """What ``canvas`` shows in 256 colours, which is all that a plot needs, and a third of the bytes."""
    buffer = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    high, wide = buffer.shape[:2]
    picture = Image.frombuffer("RGBA", (wide, high), buffer, "raw", "RGBA", 0, 1).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # The quantiser averages; paper stays white.
    palette = reduced.getpalette() or []
    for at in range(0, len(palette), 3):
        if min(palette[at : at + 3]) >= 250:
            palette[at : at + 3] = (255, 255, 255)
    reduced.putpalette(palette)
    return reduced


def svg(figure: Figure, title: str, description: str) -> str:
    """``figure`` as SVG, without dates, that can stand in a file or inline in an HTML page.

    Text stays text. The only ids are those that something refers to, and they begin with the figure's
    key; there is no style sheet, which would reach beyond the figure in a page. ``title`` and
    ``description`` are what a screen reader says.
    """
    out = io.StringIO()
    with _drawing():
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(out, metadata=nothing)  # type: ignore[no-untyped-call]
    return _tidied(out.getvalue(), figure, title, description)


def drawn_by() -> str:
    """What drew the figures."""
    return f"matplotlib {matplotlib.__version__}"


def _tidied(text: str, figure: Figure, title: str, description: str) -> str:
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(text)
    key = re.sub(r"[^A-Za-z0-9_-]", "-", str(figure.get_label())) or "figure"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style", f"{{{SVG}}}title"):
                parent.remove(child)
    _renumber_ids(root, key)
    for node in root.iter(f"{{{SVG}}}text"):
        style = node.get("style", "")
        node.set("style", style.replace(f"'{FONT}'", FALLBACK))
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-description")
    root.set("stroke-linejoin", "round")
    said = [("title", title, f"{key}-title"), ("desc", description, f"{key}-description")]
    for at, (tag, words, name) in enumerate(said):
        node = ET.Element(f"{{{SVG}}}{tag}", {"id": name})
        node.text = printable(words)
        root.insert(at, node)
    notes = ET.Element(f"{{{SVG}}}metadata")
    notes.text = f"numbers {number_digest(figure)}; {drawn_by()}"
    root.insert(2, notes)
    return ET.tostring(root, encoding="unicode") + "\n"


def printable(text: str) -> str:
    """``text`` on one line, without the control characters that XML and fonts have no form for."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text).split())


def _renumber_ids(root: ET.Element, key: str) -> None:
    """Ids that are referred to become ``key``-1, ``key``-2, ...; all others go. Matplotlib draws its ids at
    random."""
    pattern = re.compile(r"url\(#([^)]+)\)")
    names: dict[str, str] = {}
    for node in root.iter():
        for attribute, value in node.attrib.items():
            if attribute == f"{{{XLINK}}}href" and value.startswith("#"):
                names.setdefault(value[1:], f"{key}-{len(names) + 1}")
            elif attribute in ("clip-path", "style", "fill", "filter"):
                for name in pattern.findall(value):
                    names.setdefault(name, f"{key}-{len(names) + 1}")
    for node in root.iter():
        for attribute, value in list(node.attrib.items()):
            if attribute == "id":
                if value in names:
                    node.set("id", names[value])
                else:
                    del node.attrib["id"]
            elif attribute == f"{{{XLINK}}}href" and value[1:] in names:
                node.set(attribute, f"#{names[value[1:]]}")
            elif "url(#" in value:
                node.set(attribute, pattern.sub(lambda found: f"url(#{names[found[1]]})", value))


def number_digest(figure: Figure) -> str:
    """Digest of the coordinates, in data units to six digits, and of the words that ``figure`` shows.

    It does not depend on layout, fonts, platform or version, so that it tells a figure of other numbers
    from the same one drawn by another matplotlib. Tick labels that matplotlib chose are not in it.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in _shown(figure):
        digest.update(part.encode("utf-8", "replace") + b"\n")
    return digest.hexdigest()


def _shown(figure: Figure) -> Iterator[str]:
    for ax in figure.axes:
        yield "axes " + ax.get_xscale() + " " + ax.get_yscale()
        yield " | ".join([ax.get_title(loc="left"), ax.get_title(), ax.get_xlabel(), ax.get_ylabel()])
        for line in ax.lines:
            yield f"line {line.get_color()} {line.get_linestyle()} {line.get_marker()}"
            yield _rounded(np.asarray(line.get_xdata(orig=True), dtype=float))
            yield _rounded(np.asarray(line.get_ydata(orig=True), dtype=float))
        for patch in ax.patches:
            yield "patch"
            yield _rounded(patch.get_patch_transform().transform(patch.get_path().vertices))
        for collection in ax.collections:
            yield "collection"
            for path in collection.get_paths():
                yield _rounded(np.asarray(path.vertices))
        for text in ax.texts:
            yield f"text {text.get_text()} " + _rounded(np.asarray(text.get_position(), dtype=float))
        for legend in (child for child in ax.get_children() if isinstance(child, Legend)):
            yield from (entry.get_text() for entry in legend.get_texts())
    for legend in figure.legends:
        yield from (entry.get_text() for entry in legend.get_texts())
    yield from (text.get_text() for text in figure.texts)


def _rounded(values: "np.ndarray[Any, Any]") -> str:
    flat = np.asarray(values, dtype=float).ravel()
    # Adding zero makes one zero of the two.
    return " ".join([f"{value + 0.0:.6g}" for value in flat.tolist()])
