"""The figure of effects against compute: a panel an arm, nothing beyond the range that was measured."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablate.report.figures import BAND, BLACK, BLUE, VERMILLION, new_figure, place, printable, styled, x_label
from ablate.report.sweep_trends import Ladder

MOST_PANELS = 9
WIDTH, COLUMNS, HEIGHT, ABOVE, BELOW, LEGEND = 10.0, 3, 2.2, 0.35, 0.55, 0.4
"""Inches, and panels side by side."""

COLOURS = {"total": (BLUE, "o"), "grounding": (VERMILLION, "D")}
STEPS = 33
"""Places at which a line is drawn."""


def _panels(trends: Sequence[Ladder]) -> dict[str, list[Ladder]]:
    """Arm to its ladders, the total and the grounding in one panel."""
    found: dict[str, list[Ladder]] = {}
    for one in trends:
        found.setdefault(one.name, []).append(one)
    return found


def trend_caption(trends: Sequence[Ladder]) -> str:
    """What `trend_figure` shows and what it leaves out, in sentences."""
    names = list(_panels(trends))
    said = (
        f"Gain on {trends[0].endpoint} against the training FLOPs of a run of the baseline (logarithmic): "
        "mean of the pairs at every setting with its 95% paired t interval, not drawn where a pair is "
        "missing. Grey: within the margin. Diamonds: grounding, the arm against shuffled media. Lines: the "
        "trend with its pointwise 95% band, over the range that was measured, where there are compute and "
        "seeds enough for one."
    )
    left = names[MOST_PANELS:]
    return f"{said} Not drawn, for want of room: {', '.join(left)}." if left else said


@styled
def trend_figure(key: str, trends: Sequence[Ladder]) -> Figure:
    """One panel an arm; `trend_caption` belongs below it."""
    panels = dict(list(_panels(trends).items())[:MOST_PANELS])
    columns = min(COLUMNS, len(panels))
    high = ABOVE + HEIGHT + BELOW
    figure = new_figure(key, WIDTH, -(-len(panels) // columns) * high + LEGEND)
    wide = (WIDTH - 0.75) / columns
    low, top = _limits(trends)
    for at, (name, own) in enumerate(panels.items()):
        row, column = divmod(at, columns)
        ax = place(figure, 0.75 + column * wide, row * high + ABOVE, wide - 0.5, HEIGHT)
        ax.set_xscale("log")
        ax.set_ylim(low, top)
        _draw(ax, own)
        ax.set_title(printable(name), fontsize=9, loc="left", parse_math=False)
        _label_flops(ax, own)
        if column == 0:
            ax.set_ylabel(printable(f"gain on {own[0].endpoint}"), parse_math=False)
    kinds = dict.fromkeys(one.kind for one in trends)
    handles = [
        Line2D([], [], color=COLOURS[kind][0], marker=COLOURS[kind][1], ls="", label=kind) for kind in kinds
    ]
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False)
    return figure


def _label_flops(ax: Axes, own: Sequence[Ladder]) -> None:
    """Ticks at the compute that was measured, as far as their labels have room."""
    flops = sorted({rung.flops for one in own for rung in one.rungs})
    low, high = np.log(flops[0]), np.log(flops[-1])
    ticks = [flops[0]]
    for value in flops[1:]:
        if np.log(value / ticks[-1]) > 0.2 * (high - low):
            ticks.append(value)
    ax.set_xticks(ticks, [f"{value:.3g}".replace("e+", "e") for value in ticks])
    ax.minorticks_off()
    x_label(ax, "training FLOPs of the baseline", 0.35)


def _limits(trends: Sequence[Ladder]) -> tuple[float, float]:
    ends = [0.0]
    for one in trends:
        for rung in one.rungs:
            if rung.shown:
                ends += [rung.contrast.estimate.mean_gain or 0.0, *(rung.contrast.interval95 or ())]
        if one.trend.slope is not None:
            ends += [end for rung in one.trend.rungs for end in rung.fitted_interval or ()]
    room = 0.08 * ((max(ends) - min(ends)) or 1.0)
    return min(ends) - room, max(ends) + room


def _draw(ax: Axes, own: Sequence[Ladder]) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.axhline(0.0, color=BLACK, lw=0.8, zorder=1)
    if own[0].margin is not None:
        ax.axhspan(-own[0].margin, own[0].margin, color=BAND, lw=0, zorder=0)
    for one in own:
        colour, sign = COLOURS[one.kind]
        if one.trend.slope is not None:
            along = np.geomspace(one.rungs[0].flops, one.rungs[-1].flops, STEPS)
            line = np.array(one.trend.line(along.tolist()))
            ax.plot(along, line[:, 0], color=colour, lw=1.2, zorder=2)
            ax.fill_between(along, line[:, 1], line[:, 2], color=colour, alpha=0.18, lw=0, zorder=1)
        for rung in one.rungs:
            if not rung.shown:
                continue
            if rung.contrast.interval95:
                ax.plot((rung.flops, rung.flops), rung.contrast.interval95, color=colour, lw=1.0, zorder=3)
            ax.plot(
                [rung.flops], [rung.contrast.estimate.mean_gain or 0.0], sign, color=colour, ms=5, zorder=4
            )
