"""The forest plot: every contrast of the endpoints that have a margin, with intervals and margin."""

import textwrap
from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablate.report.contrast_tables import pairs_text
from ablate.report.figures import (
    BAND,
    BLUE,
    PURPLE,
    VERMILLION,
    bare,
    new_figure,
    printable,
    row_labels,
    styled,
    text_inches,
    x_label,
)
from ablate.report.load import StudyHeader
from ablate.stats.contrasts import Contrast

STYLES = {
    "total": (BLUE, "o", "arm vs baseline"),
    "grounding": (VERMILLION, "D", "arm vs shuffled (grounding)"),
    "control": (PURPLE, "s", "arm vs other control"),
    "placebo": ("#555555", "^", "control vs baseline"),
}
"""Kind to colour (Okabe and Ito's palette), marker and legend; the marker alone tells kinds apart."""

LINE_INCHES = 0.16
"""Height of a line of labels; a row has room for two, or as many as its labels take."""

WIDTH, ABOVE, BELOW, LEGEND = 10.0, 0.32, 0.5, 0.5
"""Inches: of the figure, above and below a panel, and of the legend."""

LABEL_WIDTH = 34
"""Characters in a line of labels."""

MOST_ROWS = 40
"""Rows that a panel can show legibly; its title says how many there are."""


def plotted(contrasts: Sequence[Contrast], header: StudyHeader) -> dict[str, list[Contrast]]:
    """Endpoint to its contrasts: the primary endpoint and those with a margin."""
    panels: dict[str, list[Contrast]] = {name: [] for name in [header.primary, *header.margins]}
    for one in contrasts:
        if one.endpoint in panels:
            panels[one.endpoint].append(one)
    return {name: rows for name, rows in panels.items() if rows}


def legible(rows: Sequence[Contrast]) -> list[Contrast]:
    """At most `MOST_ROWS` contrasts: all of them, else the confirmatory ones, else the first of these."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    return ([one for one in rows if one.confirmatory] or list(rows))[:MOST_ROWS]


@styled
def forest_figure(contrasts: Sequence[Contrast], header: StudyHeader) -> Figure:
    """The forest plot as a figure, one panel per endpoint."""
    panels = plotted(contrasts, header)
    if not panels:
        figure = new_figure("forest", WIDTH, 1.0)
        figure.text(0.5, 0.5, "no contrasts", ha="center")
        return figure
    heights = [sum(map(row_inches, legible(rows))) for rows in panels.values()]
    figure = new_figure("forest", WIDTH, sum(heights) + len(heights) * (ABOVE + BELOW) + LEGEND)
    every = [one for rows in panels.values() for one in legible(rows)]
    left, right = (max(text_inches(text(one)) for one in every) + 0.15 for text in (left_label, right_label))
    top = 0.0
    for height, (endpoint, rows) in zip(heights, panels.items(), strict=True):
        _panel(bare(figure, left, top + ABOVE, WIDTH - left - right, height), endpoint, rows)
        top += ABOVE + height + BELOW
    figure.legend(handles=_handles(every), loc="lower center", ncols=4, frameon=False)
    return figure


def _handles(shown: Sequence[Contrast]) -> list[Line2D | Patch]:
    """What the legend explains: kinds that occur, intervals, fill, margin."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=STYLES[kind][0], marker=STYLES[kind][1], ls="", label=STYLES[kind][2])
        for kind in dict.fromkeys(one.kind for one in shown)
    ]
    handles.append(Line2D([], [], color="black", lw=1.0, label="95% interval"))
    handles.append(Line2D([], [], color="black", lw=3.5, label="90% interval"))
    plain = Line2D([], [], color="black", marker="o", markerfacecolor="white", ls="")
    plain.set_label("hollow: exploratory")
    return [*handles, plain, Patch(facecolor=BAND, label="within the margin")]


def left_label(one: Contrast) -> str:
    """The two arms, wrapped."""
    return textwrap.fill(printable(f"{one.arm} vs {one.reference}"), LABEL_WIDTH)


def right_label(one: Contrast) -> str:
    """The number of pairs and the verdict, wrapped."""
    said = one.printed_verdict or "no margin"
    return textwrap.fill(printable(f"n = {pairs_text(one)}: {said}"), LABEL_WIDTH)


def row_inches(one: Contrast) -> float:
    """Height of a contrast's row, so that labels of neighbouring rows do not touch."""
    lines = 1 + max(left_label(one).count("\n"), right_label(one).count("\n"))
    return LINE_INCHES * max(2, lines) + 0.05


def _panel(ax: Axes, endpoint: str, every: Sequence[Contrast]) -> None:
    rows = legible(every)
    margin = rows[0].margin
    if margin is not None:
        ax.axvspan(-margin, margin, color=BAND, zorder=0, lw=0)
    ax.axvline(0.0, color="black", lw=0.8, zorder=1)
    ends = list(accumulate(map(row_inches, rows)))
    centres = [end - row_inches(one) / 2 for end, one in zip(ends, rows, strict=True)]
    _marks(ax, centres, rows)
    row_labels(ax, centres, [left_label(one) for one in rows], [right_label(one) for one in rows])
    ax.margins(x=0.06)
    better = "higher" if rows[0].sample.higher_is_better else "lower"
    stated = f", margin {margin:g}" if margin is not None else ""
    part = (
        f"; {len(rows)} of {len(every)} contrasts, all are in contrasts.csv" if len(rows) < len(every) else ""
    )
    said = printable(f"{endpoint} ({better} is better{stated}){part}")
    ax.set_title(said, fontsize=9, loc="left", parse_math=False)
    x_label(ax, "gain: right of zero the first arm is better")


def _marks(ax: Axes, centres: Sequence[float], rows: Sequence[Contrast]) -> None:
    """Intervals and points: one artist for all rows of a kind, because artists are what drawing costs."""
    for kind, (colour, marker, _) in STYLES.items():
        own = [(at, one) for at, one in zip(centres, rows, strict=True) if one.kind == kind]
        for name, width in (("interval95", 1.0), ("interval90", 3.5)):
            spans = [(at, getattr(one, name)) for at, one in own if getattr(one, name)]
            if spans:
                heights, bounds = zip(*spans, strict=True)
                ax.hlines(heights, *zip(*bounds, strict=True), color=colour, lw=width, zorder=2)
        for confirmatory, face in ((True, colour), (False, "white")):
            points = [
                (one.estimate.mean_gain, at)
                for at, one in own
                if one.confirmatory is confirmatory and one.estimate.mean_gain is not None
            ]
            if points:
                gains, heights = zip(*points, strict=True)
                ax.plot(gains, heights, marker, color=colour, markerfacecolor=face, markersize=6, zorder=3)
        for at, one in own:
            if one.estimate.mean_gain is None:
                ax.text(0.0, at, " no complete pair", va="center", color=colour)
