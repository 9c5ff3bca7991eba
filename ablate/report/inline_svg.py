"""Figures for a page that forbids inline styles: matplotlib's SVG, rebuilt from what is known to be inert."""

import re
from xml.etree import ElementTree

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

# fmt: off
ELEMENTS = frozenset(
    {
        "svg", "g", "defs", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
        "use", "text", "tspan", "clipPath", "image",
    }
)
"""What a plot is made of. Everything else is left out, scripts and foreign objects among it."""

ATTRIBUTES = frozenset(
    {
        "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "r", "rx", "ry", "cx", "cy", "d", "points",
        "width", "height", "viewBox", "transform", "clip-path", "clip-rule", "clipPathUnits",
        "preserveAspectRatio",
    }
)

PROPERTIES = frozenset(
    {
        "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity",
        "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "stroke-dashoffset",
        "stroke-miterlimit", "opacity", "font-size", "font-family", "font-style", "font-weight",
        "text-anchor", "clip-path", "image-rendering",
    }
)
"""CSS properties that SVG takes as attributes, which the page's policy allows."""
# fmt: on

_FONT = re.compile(
    r"(?P<style>(?:italic|oblique)\s+)?(?P<weight>(?:bold|\d{3})\s+)?(?P<size>[\d.]+px)\s+(?P<family>.+)"
)


class FigureError(ValueError):
    """Text that is not an SVG picture."""


def inline_svg(svg: str, prefix: str, title: str, alternative: str) -> str:
    """``svg`` as an element of an HTML page, with ``title`` and ``alternative`` for those who cannot see it.

    Inline styles become presentation attributes and the style sheet is left out, so that a page can forbid
    both; elements and attributes that a plot has no use for are left out; identifiers begin with
    ``prefix``, so that two figures of a page do not share one.

    Raises:
        FigureError: ``svg`` is not XML, or not SVG.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise FigureError(f"figure {title!r} is not XML: {error}") from error
    if root.tag != f"{{{SVG}}}svg":
        raise FigureError(f"figure {title!r} is not SVG: its root is {root.tag!r}")
    used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
    clean = _rebuilt(root, prefix, used)
    for size in ("width", "height"):
        clean.attrib.pop(size, None)
    # What matplotlib's own style sheet says of every element.
    clean.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt", "role": "img"}
    clean.set("aria-labelledby", f"{prefix}title {prefix}desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", alternative))):
        spoken = ElementTree.Element(tag, {"id": f"{prefix}{tag}"})
        spoken.text, spoken.tail = text, "\n"
        clean.insert(place, spoken)
    return ElementTree.tostring(clean, encoding="unicode")


def _rebuilt(element: ElementTree.Element, prefix: str, used: set[str]) -> ElementTree.Element:
    """``element`` and what is below it, without namespaces, styles and anything unknown."""
    copy = ElementTree.Element(element.tag.removeprefix(f"{{{SVG}}}"))
    for name, value in element.attrib.items():
        if name == "id" and value in used:
            copy.set("id", prefix + value)
        elif name in ("href", f"{{{XLINK}}}href"):
            if value.startswith("#"):
                copy.set("href", f"#{prefix}{value[1:]}")
            elif value.startswith("data:image/png;base64,"):
                copy.set("href", value)
        elif name in ATTRIBUTES | PROPERTIES:
            copy.set(name, _local(value, prefix))
    for name, value in _declarations(element.get("style", "")):
        if name in PROPERTIES:
            copy.set(name, _local(value, prefix))
    if "sans-serif" not in copy.get("font-family", "sans-serif"):
        copy.set("font-family", f"{copy.attrib['font-family']}, sans-serif")
    copy.text, copy.tail = _text(element.text, copy.tag), "\n"
    for child in element:
        if isinstance(child.tag, str) and child.tag.removeprefix(f"{{{SVG}}}") in ELEMENTS:
            copy.append(_rebuilt(child, prefix, used))
    return copy


def _text(text: str | None, tag: str) -> str | None:
    return text if tag in ("text", "tspan") else None


def _local(value: str, prefix: str) -> str:
    """``value`` with references into the figure renamed, and none out of it."""
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", value)
    return "none" if re.search(r"url\((?!#)", value, re.IGNORECASE) else value


def _declarations(style: str) -> list[tuple[str, str]]:
    """An inline style as (property, value); the `font` shorthand as the properties it stands for."""
    found: list[tuple[str, str]] = []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name != "font":
            found.append((name, value))
        elif font := _FONT.fullmatch(value):
            parts = {f"font-{key}": text.strip() for key, text in font.groupdict().items() if text}
            found += list(parts.items())
    return found
