"""The waterfall of a decomposition: how caption text, extra positions and grounding add up to the total."""

import math
import textwrap
from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ablate.report.figures import (
    BAND,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    SKY,
    VERMILLION,
    bare,
    new_figure,
    printable,
    row_labels,
    styled,
    text_inches,
    x_label,
)
from ablate.report.tables import interval_text, number
from ablate.stats.decomposition import (
    CAPTIONS,
    CAPTIONS_AND_EXTRA,
    EXTRA,
    EXTRA_AND_GROUNDING,
    GROUNDING,
    TOTAL,
    Decomposition,
    Part,
)

COLOURS = {
    CAPTIONS: BLUE,
    EXTRA: PURPLE,
    GROUNDING: VERMILLION,
    CAPTIONS_AND_EXTRA: SKY,
    EXTRA_AND_GROUNDING: GREEN,
    TOTAL: GREY,
}
"""Part to colour; the label beside each bar says the same in words."""

WIDTH, ABOVE, BELOW, LEGEND = 10.0, 0.3, 0.3, 0.62
"""Inches: of the figure, above and below a panel, and of legend and axis title."""

LABEL_WIDTH = 44
MOST_ARMS = 16
"""Panels that one figure can hold; the caption names the others."""


def primary_only(found: Sequence[Decomposition]) -> list[Decomposition]:
    """The decompositions of the first endpoint, which is the primary one."""
    return [one for one in found if one.endpoint == found[0].endpoint]


def waterfall_caption(found: Sequence[Decomposition]) -> str:
    """What the figure of `waterfall_figure` shows and what is missing from it, in sentences."""
    own = primary_only(found)
    if not own:
        return "No arm has media or controls: there is nothing to take apart."
    said = [
        f"Gain on {own[0].endpoint} against the baseline and the parts that add up to it, with 95% paired t "
        "intervals, not adjusted for the number of parts. Hollow: no interval can be given."
    ]
    said += [f"{missing.rstrip('.')}." for one in own for missing in one.missing]
    for one in own:
        lost = [str(exclusion.seed) for exclusion in one.total.excluded]
        if lost:
            said.append(f"{one.arm}: without seeds {', '.join(lost)}, which some arm of the sum lacks.")
    if len(own) > MOST_ARMS:
        said.append(f"Not drawn, for want of room: {', '.join(one.arm for one in own[MOST_ARMS:])}.")
    return " ".join(said)


@styled
def waterfall_figure(decompositions: Sequence[Decomposition]) -> Figure:
    """One panel an arm, on the primary endpoint: the parts of its sum one after the other, and the total.
    `waterfall_caption` belongs below it.

    Args:
        decompositions: as `ablate.stats.decomposition.decompositions` returns them; those of other
            endpoints than the first are not drawn.
    """
    shown = primary_only(decompositions)[:MOST_ARMS]
    if not shown:
        figure = new_figure("decomposition", WIDTH, 0.6)
        figure.text(0.5, 0.5, "no arm has media or controls", ha="center")
        return figure
    heights = [sum(map(_row_inches, _bars(one))) for one in shown]
    figure = new_figure("decomposition", WIDTH, sum(heights) + len(shown) * (ABOVE + BELOW) + LEGEND)
    every = [part for one in shown for part in _bars(one)]
    places = _places(shown)
    left = max(text_inches(_left(part)) for part in every) + 0.15
    right = max(text_inches(_right(part, places)) for part in every) + 0.15
    top = 0.0
    for height, one in zip(heights, shown, strict=True):
        ax = bare(figure, left, top + ABOVE, WIDTH - left - right, height)
        ax.set_xlim(*_limits(shown))
        _panel(ax, one, places)
        top += ABOVE + height + BELOW
    words = printable(f"gain on {shown[0].endpoint}: right of zero is better")
    x_label(figure.axes[-1], words)
    figure.legend(handles=_handles(shown), loc="lower center", ncols=4, frameon=False)
    return figure


def _bars(one: Decomposition) -> list[Part]:
    return [*one.parts, one.total]


def _places(shown: Sequence[Decomposition]) -> int:
    """Decimals that show two digits of the margin, or of the smallest sd, as in the tables."""
    sds = [part.estimate.sd for one in shown for part in _bars(one) if part.estimate.sd]
    scale = shown[0].margin or min(sds, default=None)
    return min(8, max(3, 1 - math.floor(math.log10(scale)))) if scale else 4


def _left(part: Part) -> str:
    """What the part is, and of which two arms it is the difference."""
    return textwrap.fill(f"{part.name}: {printable(f'{part.arm} vs {part.reference}')}", LABEL_WIDTH)


def _right(part: Part, places: int) -> str:
    """The gain, its interval and the pairs."""
    found = part.estimate
    if found.mean_gain is None:
        return "no complete pair"
    gain = number(found.mean_gain, places, signed=True)
    pairs = "1 pair" if found.n == 1 else f"{found.n} pairs"
    interval = interval_text(found.interval95, places) if found.interval95 else "no interval"
    return f"{gain} {interval}, {pairs}"


def _row_inches(part: Part) -> float:
    return 0.16 * max(2, 1 + _left(part).count("\n")) + 0.08


def _panel(ax: Axes, one: Decomposition, places: int) -> None:
    if one.margin is not None:
        ax.axvspan(-one.margin, one.margin, color=BAND, zorder=0, lw=0)
    ax.axvline(0.0, color=BLACK, lw=0.8, zorder=1)
    bars = _bars(one)
    heights = [_row_inches(part) for part in bars]
    centres = [end - height / 2 for end, height in zip(accumulate(heights), heights, strict=True)]
    whiskers = []
    for at, height, (begin, part) in zip(centres, heights, _begins(one), strict=True):
        end = _bar(ax, at, begin, part)
        if part.name != TOTAL:
            # A line from the end of a part to the next one, which begins there.
            ax.plot((end, end), (at, at + height), color=GREY, lw=0.7, ls=":", zorder=2)
        if part.estimate.interval95:
            whiskers.append((at, *(begin + bound for bound in part.estimate.interval95)))
    for at, low, high in whiskers:
        ax.plot((low, high), (at, at), color=BLACK, lw=1.1, marker="|", markersize=6, zorder=4)
    row_labels(ax, centres, [*map(_left, bars)], [_right(part, places) for part in bars])
    ax.set_title(printable(one.arm), fontsize=9, loc="left", parse_math=False)


def _begins(one: Decomposition) -> list[tuple[float, Part]]:
    """Where each bar begins: a part at the end of the one before, the total at zero."""
    ends = accumulate((part.estimate.mean_gain or 0.0 for part in one.parts), initial=0.0)
    return [*zip(ends, one.parts, strict=False), (0.0, one.total)]


def _bar(ax: Axes, at: float, begin: float, part: Part) -> float:
    """Draw a part from ``begin``, and return where it ends."""
    found, colour = part.estimate, COLOURS.get(part.name, GREY)
    if found.mean_gain is None:
        ax.text(begin, at, " no complete pair", va="center", color=BLACK)
        return begin
    face = colour if found.interval95 else "none"
    ax.add_patch(
        Rectangle((begin, at - 0.1), found.mean_gain, 0.2, facecolor=face, edgecolor=colour, zorder=3)
    )
    return begin + found.mean_gain


def _limits(shown: Sequence[Decomposition]) -> tuple[float, float]:
    """The x axis that all panels share."""
    ends = [0.0]
    for one in shown:
        for begin, part in _begins(one):
            bounds = (part.estimate.mean_gain or 0.0, *(part.estimate.interval95 or ()))
            ends += [begin + bound for bound in bounds]
        ends += [-one.margin, one.margin] if one.margin is not None else []
    low, high = min(ends), max(ends)
    room = 0.05 * ((high - low) or 1.0)
    return low - room, high + room


def _handles(shown: Sequence[Decomposition]) -> list[Line2D | Patch]:
    names = dict.fromkeys(part.name for one in shown for part in _bars(one))
    handles: list[Line2D | Patch] = [Patch(facecolor=COLOURS.get(name, GREY), label=name) for name in names]
    handles.append(Line2D([], [], color=BLACK, lw=1.1, marker="|", label="95% interval"))
    if any(part.estimate.interval95 is None for one in shown for part in _bars(one)):
        handles.append(Patch(facecolor="none", edgecolor=GREY, label="hollow: no interval"))
    if any(one.margin is not None for one in shown):
        handles.append(Patch(facecolor=BAND, label="within the margin"))
    return handles
