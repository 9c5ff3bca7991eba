"""The forest plot: every contrast of the endpoints that have a margin, with intervals and margin."""

import io
import textwrap
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ablate.report.load import StudyHeader
from ablate.report.tables import pairs_text
from ablate.stats.contrasts import Contrast

STYLES = {
    "total": ("#0072B2", "o", "arm vs baseline"),
    "grounding": ("#D55E00", "D", "arm vs shuffled (grounding)"),
    "control": ("#CC79A7", "s", "arm vs other control"),
    "placebo": ("#555555", "^", "control vs baseline"),
}
"""Kind to colour (Okabe and Ito's palette), marker and legend; the marker alone tells kinds apart."""

LINE_INCHES = 0.16
"""Height of a line of labels; a row has room for two, or as many as its labels take."""

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


def forest_figure(contrasts: Sequence[Contrast], header: StudyHeader) -> Figure:
    """The forest plot as a figure, one panel per endpoint."""
    panels = plotted(contrasts, header)
    heights = [sum(map(row_inches, legible(rows))) + 0.9 for rows in panels.values()] or [1.0]
    figure = Figure(figsize=(10.0, sum(heights) + 0.7), layout="constrained")
    if not panels:
        figure.text(0.5, 0.5, "no contrasts", ha="center")
        return figure
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (endpoint, rows) in zip(axes, panels.items(), strict=True):
        _panel(ax, endpoint, rows)
    kinds = dict.fromkeys(one.kind for rows in panels.values() for one in rows)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=STYLES[kind][0], marker=STYLES[kind][1], ls="", label=STYLES[kind][2])
        for kind in kinds
    ]
    handles.append(Line2D([], [], color="black", lw=1.0, label="95% interval"))
    handles.append(Line2D([], [], color="black", lw=3.5, label="90% interval"))
    plain = Line2D([], [], color="black", marker="o", markerfacecolor="white", ls="")
    plain.set_label("hollow: exploratory")
    handles.append(plain)
    handles.append(Patch(facecolor="#DDDDDD", label="within the margin"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def forest_svg(contrasts: Sequence[Contrast], header: StudyHeader) -> str:
    """The forest plot as SVG, the same text for the same contrasts. Labels stay text."""
    with matplotlib.rc_context(
        {"svg.hashsalt": "ablate", "svg.fonttype": "none", "font.family": "DejaVu Sans"}
    ):
        figure = forest_figure(contrasts, header)
        out = io.StringIO()
        FigureCanvasSVG(figure)
        title = f"Forest plot of {header.study}"
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return out.getvalue()


def left_label(one: Contrast) -> str:
    """The two arms, wrapped."""
    return textwrap.fill(f"{one.arm} vs {one.reference}", LABEL_WIDTH)


def right_label(one: Contrast) -> str:
    """The number of pairs and the verdict, wrapped."""
    return textwrap.fill(f"n = {pairs_text(one)}: {one.printed_verdict or 'no margin'}", LABEL_WIDTH)


def row_inches(one: Contrast) -> float:
    """Height of a contrast's row, so that labels of neighbouring rows do not touch."""
    lines = 1 + max(left_label(one).count("\n"), right_label(one).count("\n"))
    return LINE_INCHES * max(2, lines) + 0.05


def _panel(ax: Axes, endpoint: str, every: Sequence[Contrast]) -> None:
    rows = legible(every)
    margin = rows[0].margin
    if margin is not None:
        ax.axvspan(-margin, margin, color="#DDDDDD", zorder=0, lw=0)
    ax.axvline(0.0, color="black", lw=0.8, zorder=1)
    top, centres = 0.0, []
    for one in rows:
        centres.append(top + row_inches(one) / 2)
        top += row_inches(one)
        _row(ax, centres[-1], one)
    right = ax.twinx()
    for side, text in ((ax, left_label), (right, right_label)):
        side.set_yticks(centres, [text(one) for one in rows], fontsize=8, parse_math=False)
        side.set_ylim(top, 0.0)
        side.tick_params(axis="y", length=0)
        side.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="x", labelsize=8)
    ax.margins(x=0.06)
    better = "higher" if rows[0].sample.higher_is_better else "lower"
    stated = f", margin {margin:g}" if margin is not None else ""
    part = (
        f"; {len(rows)} of {len(every)} contrasts, all are in contrasts.csv" if len(rows) < len(every) else ""
    )
    ax.set_title(f"{endpoint} ({better} is better{stated}){part}", fontsize=9, loc="left", parse_math=False)
    ax.set_xlabel("gain: right of zero the first arm is better", fontsize=8)


def _row(ax: Axes, at: float, one: Contrast) -> None:
    colour, marker, _ = STYLES[one.kind]
    found = one.estimate
    for interval, width in ((found.interval95, 1.0), (found.interval90, 3.5)):
        if interval is not None:
            ax.plot(interval, (at, at), color=colour, lw=width, solid_capstyle="butt", zorder=2)
    if found.mean_gain is None:
        ax.text(0.0, at, " no complete pair", va="center", fontsize=8, color=colour)
        return
    face = colour if one.confirmatory else "white"
    ax.plot([found.mean_gain], [at], marker, color=colour, markerfacecolor=face, markersize=6, zorder=3)
