"""Training loss of every arm over FLOPs or over text tokens, with a band over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ablate.record import RunRecord
from ablate.report.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    new_figure,
    place,
    printable,
    styled,
    x_label,
)
from ablate.report.load import StudyHeader

Axis = Literal["flops", "text_tokens"]
Floats = NDArray[np.float64]

TITLES = {"flops": "training FLOPs charged", "text_tokens": "text tokens read"}
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))

MOST_COLOURED = 12
"""Arms drawn in colour; the others are grey, and the caption names them."""

OTHERS: dict[str, Any] = {"color": "#BBBBBB", "lw": 0.7, "ls": "-"}

WIDTH, ABOVE, HEIGHT, LINE = 10.0, 0.15, 4.2, 0.2
"""Inches: of the figure, above the axes, of the axes, and of a line of the legend."""

LEGEND_COLUMNS = 4

POINTS = 400
"""Points of a drawn curve: about as many as a figure has room for."""

WINDOW = 1 / 20
"""Share of a run over which the loss is averaged before it is drawn."""

LEAST_COVER = 2
"""Runs that a mean over seeds and a band need; below, the band is left out."""


@dataclass(frozen=True)
class ArmCurve:
    """The training loss of one arm over ``x``."""

    arm: str
    x: Floats
    """float64[points]: the part of the x axis that every finished run of the arm covers."""
    mean: Floats
    """float64[points]: nats a scored text position, mean over finished runs, smoothed over `WINDOW`."""
    low: Floats
    high: Floats
    """The lowest and the highest of the runs, smoothed each by itself before."""
    runs: int
    diverged: tuple[tuple[int, Floats, Floats], ...]
    """Seed, x and loss of the runs that diverged, unsmoothed, as far as they went."""


def arm_curves(records: Sequence[RunRecord], header: StudyHeader, x: Axis) -> list[ArmCurve]:
    """The curves of all arms that have any, in the order of the header.

    Losses of the finished runs are averaged over windows of `WINDOW` of the run, interpolated linearly to
    one grid per arm, and averaged over seeds. A loss that is not a number is left out of its run.
    """
    finished: dict[str, list[tuple[Floats, Floats]]] = {}
    diverged: dict[str, list[tuple[int, Floats, Floats]]] = {}
    for record in records:
        along, loss = _points(record, x)
        if record.status == "diverged":
            diverged.setdefault(record.arm, []).append((record.seed, along, loss))
        elif along.size:
            finished.setdefault(record.arm, []).append((along, loss))
    return [
        _averaged(arm, finished.get(arm, []), diverged.get(arm, []))
        for arm in header.arms
        if arm in finished or arm in diverged
    ]


def _points(record: RunRecord, x: Axis) -> tuple[Floats, Floats]:
    """The finite points of a run's curve, x strictly rising, at most about 4 `POINTS` of them."""
    curve = record.curve[:: max(1, len(record.curve) // (2 * POINTS))]
    along = np.fromiter((getattr(point, x) for point in curve), np.float64, len(curve))
    loss = np.fromiter((point.loss for point in curve), np.float64, len(curve))
    kept = np.isfinite(loss) & np.isfinite(along)
    kept[1:] &= along[1:] > np.maximum.accumulate(along)[:-1]
    return along[kept], loss[kept]


def _averaged(
    arm: str, finished: Sequence[tuple[Floats, Floats]], diverged: Sequence[tuple[int, Floats, Floats]]
) -> ArmCurve:
    empty = np.empty(0)
    lost = tuple(sorted(diverged, key=lambda one: one[0]))
    if not finished:
        return ArmCurve(arm, empty, empty, empty, empty, 0, lost)
    first, last = max(along[0] for along, _ in finished), min(along[-1] for along, _ in finished)
    count = min(POINTS, max(along.size for along, _ in finished))
    grid = np.linspace(first, last, count) if last > first else np.array([last])
    every = np.stack([np.interp(grid, along, _smoothed(loss)) for along, loss in finished])
    return ArmCurve(arm, grid, every.mean(axis=0), every.min(axis=0), every.max(axis=0), len(finished), lost)


def _smoothed(loss: Floats) -> Floats:
    """Centred mean over `WINDOW` of the points. At the start it narrows on both sides, so that the first
    fall is not drawn flatter than it was; at the end on the side that is not there."""
    half = int(loss.size * WINDOW / 2)
    if half < 1:
        return loss
    sums = np.concatenate(([0.0], np.cumsum(loss)))
    at = np.arange(loss.size)
    before = np.minimum(half, at)
    after = np.minimum(before, loss.size - 1 - at)
    return np.asarray((sums[at + after + 1] - sums[at - before]) / (before + after + 1))


def coloured(arms: Sequence[str], header: StudyHeader) -> dict[str, dict[str, Any]]:
    """Arm to the style of its line, for the at most `MOST_COLOURED` of ``arms`` that are in colour.

    The baseline is black; an arm and its controls share a colour, in which controls are thinner and
    dashed. Where there are too many, arms go before controls and `shuffled` before other controls.
    """
    mirrors = {control: arm for arm, names in header.controls.items() for control in names}
    ranks = {"shuffled": 1, "captions_only": 2}

    def rank(arm: str) -> int:
        return ranks.get(_kind(arm), 3) if arm in mirrors else 0

    present = [arm for arm in arms if arm != header.baseline]
    origins = list(dict.fromkeys(mirrors.get(arm, arm) for arm in present))
    chosen = sorted(present, key=rank)[: MOST_COLOURED - 1]
    kinds = list(dict.fromkeys(_kind(arm) for arm in present if arm in chosen and arm in mirrors))
    styles: dict[str, dict[str, Any]] = {header.baseline: {"color": BLACK, "lw": 1.8, "ls": "-"}}
    for arm in [arm for arm in present if arm in chosen]:
        colour = COLOURS[origins.index(mirrors.get(arm, arm)) % len(COLOURS)]
        dash = DASHES[kinds.index(_kind(arm)) % len(DASHES)] if arm in mirrors else "-"
        styles[arm] = {"color": colour, "lw": 0.9 if arm in mirrors else 1.6, "ls": dash}
    return styles


def _kind(control: str) -> str:
    return control.rpartition(".")[2]


def curve_caption(records: Sequence[RunRecord], header: StudyHeader, x: Axis) -> str:
    """What the figure of `curve_figure` shows and what it leaves out, in sentences."""
    drawn = [record for record in records if any(math.isfinite(point.loss) for point in record.curve)]
    names = {record.arm for record in drawn}
    present = [arm for arm in header.arms if arm in names]
    if not present:
        return "No run has a loss curve."
    styles = coloured(present, header)
    said = [
        f"Training loss over {TITLES[x]}: mean over seeds, band from the lowest to the highest seed, each "
        f"run smoothed by a running mean over {WINDOW:.0%} of it.",
        "An arm's loss is over the text that it trains on, captions included: between arms of other "
        "mixtures it is no measure of what they learned.",
    ]
    lost = [f"{record.arm} seed {record.seed}" for record in records if record.status == "diverged"]
    for words, listed in (
        ("In grey", [arm for arm in present if arm not in styles]),
        ("Diverged, in no mean, each unsmoothed up to the cross where it ended", lost),
        ("Without a curve", [arm for arm in header.arms if arm not in names]),
    ):
        said += [f"{words}: {', '.join(listed)}."] if listed else []
    return " ".join(said)


@styled
def curve_figure(
    records: Sequence[RunRecord], header: StudyHeader, x: Axis = "flops", log: bool = False
) -> Figure:
    """Training loss per arm over ``x``, mean and range over seeds; `curve_caption` belongs below it.

    Args:
        log: whether the x axis is logarithmic.
    """
    curves = arm_curves(records, header, x)
    styles = coloured([one.arm for one in curves], header)
    entries = sum(one.arm in styles for one in curves) + any(one.arm not in styles for one in curves)
    entries += any(one.diverged for one in curves)
    below = 0.55 + LINE * -(-entries // LEGEND_COLUMNS)
    figure = new_figure("loss_flops" if x == "flops" else "loss_tokens", WIDTH, ABOVE + HEIGHT + below)
    if not curves:
        figure.text(0.5, 0.5, "no run has a loss curve", ha="center")
        return figure
    ax = place(figure, 0.6, ABOVE, WIDTH - 0.75, HEIGHT)
    for one in sorted(curves, key=lambda one: one.arm in styles):
        style = styles.get(one.arm, OTHERS)
        _draw(ax, one, style, printable(one.arm) if one.arm in styles else "_nolegend_")
    if any(one.arm not in styles for one in curves):
        ax.plot([], [], label="others, see the caption", **OTHERS)
    if any(one.diverged for one in curves):
        ax.plot([], [], "x", color=GREY, markersize=7, mew=1.8, label="diverged")
    if log:
        ax.set_xscale("log")
    _limit(ax, curves)
    _label_x(ax, TITLES[x], log)
    ax.set_ylabel("training loss, nats a scored text position")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#EEEEEE", lw=0.6)
    ax.set_axisbelow(True)
    low_corner = (0.05, (below - 0.45) / figure.get_figheight())
    legend = figure.legend(
        loc="upper left", bbox_to_anchor=low_corner, ncols=LEGEND_COLUMNS, frameon=False, handlelength=3.2
    )
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    return figure


def _label_x(ax: Axes, title: str, log: bool) -> None:
    """Name the x axis, with the power of ten that its numbers are in."""
    top = ax.get_xlim()[1]
    power = 3 * int(math.log10(top) // 3) if top > 0 else 0
    if log:
        x_label(ax, f"{title} (log)")
        return
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:g}"))
    x_label(ax, f"{title}, in 1e{power}" if power else title)


def _draw(ax: Axes, one: ArmCurve, style: dict[str, Any], label: str) -> None:
    band = style is not OTHERS
    front = 3 if band else 2
    if one.runs:
        ax.plot(one.x, one.mean, label=label, zorder=front, **style)
    if band and one.runs >= LEAST_COVER:
        ax.fill_between(
            one.x,
            one.low,
            one.high,
            color=style["color"],
            alpha=0.15 if style["lw"] > 1 else 0.07,
            lw=0,
            zorder=1,
        )
    for _, along, loss in one.diverged:
        ax.plot(along, loss, color=style["color"], lw=0.6, zorder=front)
        if along.size:
            ax.plot(along[-1:], loss[-1:], "x", color=style["color"], markersize=7, mew=1.8, zorder=4)
    if one.diverged and not one.runs:
        ax.plot([], [], label=label, **style)


def _limit(ax: Axes, curves: Sequence[ArmCurve]) -> None:
    """The start of training takes at most the upper part of the axis: half of the first fall is cut off
    where the rest would be flat, and the axis says so."""
    tails = [one.low[one.x.size // 20 :] for one in curves if one.runs]
    tops = [one.high[one.x.size // 20 :] for one in curves if one.runs]
    if not tails:
        return
    low, high = min(float(part.min()) for part in tails), max(float(part.max()) for part in tops)
    starts = max(float(one.high[0]) for one in curves if one.runs)
    if high > low:
        ax.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        if starts > high + 0.04 * (high - low):
            ax.text(
                0.995, 0.99, f"cut above: losses begin at up to {starts:.3g}", transform=ax.transAxes,
                ha="right", va="top", fontsize=7.5, color=GREY,
            )  # fmt: skip
