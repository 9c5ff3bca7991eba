"""Figures of the response over the mixtures: which panels there are, and what they share.

Two streams make a line plot, three a ternary plot; of more, each pair of further streams makes a ternary plot
with the baseline's stream, all others at zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ablate.report.figures import (
    BAND,
    BLACK,
    BLUE,
    PURPLE,
    new_figure,
    place,
    printable,
    styled,
    x_label,
)
from ablate.report.sweep_analysis import SettingResult, SweepResult
from ablate.report.sweep_fits import SweepFit, fit_of
from ablate.report.sweep_lines import draw_line
from ablate.report.sweep_ternary import Shading, draw_ternary

Floats = NDArray[np.float64]

WIDTH, COLUMNS = 10.0, 3
MOST_PANELS = 9
"""Of one figure; further panels make further figures."""

LINE_HEIGHT, TERNARY_HEIGHT, ABOVE, BELOW, LEGEND = 2.3, 2.4, 0.3, 0.5, 0.75
"""Inches: of a panel's axes, of its title, of its x axis, of legend and scale."""

LEVELS = 8
"""Contours of gain, about."""


@dataclass(frozen=True)
class Panel:
    """One setting and the streams that vary in it."""

    result: SettingResult
    fit: SweepFit
    streams: tuple[int, ...]
    """Places of the streams among the components, two or three, the baseline's first."""
    title: str


def surface_panels(result: SweepResult, fits: Sequence[SweepFit]) -> list[Panel]:
    """The panels of the primary endpoint, setting by setting; none without mixtures."""
    components = result.sweep.components
    if len(components) < 2:
        return []
    faces = (
        [(0, 1)]
        if len(components) == 2
        else [(0, *pair) for pair in combinations(range(1, len(components)), 2)]
    )
    found = []
    for one in result.settings:
        fit = fit_of(fits, one.name, one.endpoints[0]) if one.endpoints else None
        for face in faces if fit is not None else []:
            words = [one.name] if result.several else []
            words += [" and ".join(components[at] for at in face[1:])] if len(faces) > 1 else []
            assert fit is not None
            found.append(Panel(one, fit, face, printable(": ".join(words) or fit.endpoint)))
    return found


def panel_groups(panels: Sequence[Panel]) -> dict[str, list[Panel]]:
    """Key of a figure to its panels, at most `MOST_PANELS` each."""
    groups = [list(panels[at : at + MOST_PANELS]) for at in range(0, len(panels), MOST_PANELS)]
    return {"surface" if at == 0 else f"surface-{at + 1}": group for at, group in enumerate(groups)}


def surface_caption(result: SweepResult, panels: Sequence[Panel]) -> str:
    """What `surface_figure` shows and what it leaves out, in sentences."""
    endpoint = panels[0].fit.endpoint
    marks = (
        "Square: the baseline. Round: mixtures that the surface was fitted to. Diamond: held out. Triangle: "
        "outside the design. Star: the largest estimated gain."
    )
    if len(panels[0].streams) == 2:
        said = (
            f"Gain on {endpoint} over the baseline against the share of {result.sweep.components[1]}: found, "
            "with 95% paired t intervals, and the fitted surface with its pointwise (dark) and simultaneous "
            "(light) 95% bands, within the fitted shares; a band far wider than the gains runs off the "
            "panel. The purple line below: shares that may be the optimum. Grey: within the margin."
        )
    else:
        said = (
            f"Contours of the gain on {endpoint} over the baseline, within the convex hull of the fitted "
            "mixtures. Dots: the simultaneous 95% band excludes zero. Purple outline: mixtures that may be "
            "the optimum. A mark has the colour of the gain that was found there; a cross lacks a pair."
        )
        if len(result.sweep.components) > 3:
            said += (
                " Streams that a panel does not name have share zero in it; only such mixtures are marked."
            )
    lost = [f"{panel.title}: no surface ({panel.fit.problem})" for panel in panels if panel.fit.problem]
    doubted = [
        panel.title
        for panel in panels
        if panel.fit.surface and panel.fit.surface.fitted and not _believed(panel.fit)
    ]
    if doubted:
        what = "the optimum" if len(result.sweep.components) == 2 else "dots and optimum"
        lost.append(f"Withheld, as the surface is not to be trusted: {what} of {', '.join(doubted)}")
    incomplete = _incomplete(panels)
    if incomplete:
        lost.append(f"No gain is shown where a pair is missing: {incomplete}")
    return " ".join([said, marks, *(f"{one.rstrip('.')}." for one in lost)])


def _believed(fit: SweepFit) -> bool:
    return bool(fit.surface and fit.surface.optimum and fit.surface.optimum.status != "withheld")


def _incomplete(panels: Sequence[Panel]) -> str:
    """Mixtures whose average is not printed, by setting."""
    found: dict[str, None] = {}
    for panel in panels:
        for point in panel.fit.shown:
            one = panel.result.contrast(point.arm, panel.fit.endpoint)
            if one is not None and not one.complete:
                found[f"{point.arm} ({panel.result.name})"] = None
    return ", ".join(found)


@styled
def surface_figure(key: str, result: SweepResult, panels: Sequence[Panel]) -> Figure:
    """One figure of the panels of a group; `surface_caption` belongs below it."""
    ternary = len(panels[0].streams) == 3
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    high = (TERNARY_HEIGHT if ternary else LINE_HEIGHT) + ABOVE + BELOW
    figure = new_figure(key, WIDTH, rows * high + LEGEND)
    left = 0.1 if ternary else 0.75
    wide = (WIDTH - left) / columns
    shading = _shading(panels) if ternary else None
    limits = None if ternary else _limits(panels)
    for at, panel in enumerate(panels):
        row, column = divmod(at, columns)
        room = wide - (0.1 if ternary else 0.5)
        ax = place(figure, left + column * wide, row * high + ABOVE, room, high - ABOVE - BELOW)
        names = [result.sweep.components[stream] for stream in panel.streams]
        if shading is not None:
            draw_ternary(ax, panel.result, panel.fit, panel.streams, names, shading)
        else:
            draw_line(ax, panel.result, panel.fit)
            ax.set_ylim(*(limits or (-1.0, 1.0)))
            x_label(ax, printable(f"share of {names[1]}"))
            if column == 0:
                ax.set_ylabel(printable(f"gain on {panel.fit.endpoint}"), parse_math=False)
        ax.set_title(panel.title, fontsize=9, loc="left", parse_math=False)
    if shading is not None:
        _scale(figure, shading, printable(f"gain on {panels[0].fit.endpoint}: right of zero is better"))
    figure.legend(handles=_handles(ternary), loc="lower center", ncols=5, frameon=False)
    return figure


def _gains(panel: Panel) -> list[float]:
    """Every gain that a panel shows."""
    found = [
        contrast.estimate.mean_gain
        for point in panel.fit.shown
        if (contrast := panel.result.contrast(point.arm, panel.fit.endpoint)) and contrast.complete
    ]
    surface = panel.fit.surface
    if surface is not None and surface.fitted is not None:
        found += surface.at(panel.fit.grid).gain.tolist()
    return [gain for gain in found if gain is not None]


def _shading(panels: Sequence[Panel]) -> Shading:
    """Levels that all panels share, as many below zero as above."""
    most = max((abs(gain) for panel in panels for gain in _gains(panel)), default=0.0)
    # Nothing but zeros would have no levels.
    most = max(most, 1e-9)
    levels = MaxNLocator(LEVELS, symmetric=True).tick_values(-most, most)
    return Shading(tuple(float(level) for level in levels))


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    """The y axis that all panels share: gains, their intervals, zero, and bands that are not far wider."""
    ends, bands = [0.0], [0.0]
    for panel in panels:
        for point in panel.fit.shown:
            contrast = panel.result.contrast(point.arm, panel.fit.endpoint)
            if contrast and contrast.complete:
                ends += [contrast.estimate.mean_gain or 0.0, *(contrast.interval95 or ())]
        surface = panel.fit.surface
        if surface is not None and surface.fitted is not None:
            seen = surface.at(panel.fit.grid)
            ends += seen.gain.tolist()
            bands += [*seen.band_low.tolist(), *seen.band_high.tolist()]
    low, high = min(ends), max(ends)
    wide = (high - low) or 1.0
    finite = [end for end in bands if np.isfinite(end)]
    low = max(min(low, *finite), low - wide)
    high = min(max(high, *finite), high + wide)
    return low - 0.15 * wide, high + 0.08 * wide


def _scale(figure: Figure, shading: Shading, words: str) -> None:
    """The colours of the gains, below the panels."""
    ax = place(figure, 2.5, figure.get_figheight() - LEGEND - 0.05, 5.0, 0.12)
    for low, high in zip(shading.levels, shading.levels[1:], strict=False):
        ax.axvspan(low, high, color=shading.colour((low + high) / 2.0), lw=0)
    ax.set_xlim(shading.levels[0], shading.levels[-1])
    ax.set_xticks([*shading.levels][:: 1 + len(shading.levels) // 12])
    ax.yaxis.set_visible(False)
    ax.set_title(words, fontsize=8, parse_math=False)
    _thin(ax)


def _thin(ax: Axes) -> None:
    for spine in ax.spines.values():
        spine.set_linewidth(0.5)
    ax.tick_params(width=0.5, length=2)


def _handles(ternary: bool) -> list[Line2D | Patch]:
    mark: dict[str, Any] = {"ls": "", "color": BLACK, "markersize": 5}
    plain = mark | {"markerfacecolor": "white"}
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker="s", label="baseline", **mark),
        Line2D([], [], marker="o", label="fitted to", **mark),
        Line2D([], [], marker="D", label="held out", **plain),
        Line2D([], [], marker="^", label="outside the design", **plain),
        Line2D([], [], marker="*", markersize=9, ls="", color=PURPLE, label="largest estimated gain"),
        Line2D([], [], color=PURPLE, lw=1.6, label="may be the optimum"),
    ]
    if ternary:
        return [
            *handles,
            Line2D([], [], marker=".", ls="", color=BLACK, markersize=2.5, label="band excludes zero"),
        ]
    handles.append(Patch(facecolor=BAND, label="within the margin"))
    handles.append(Patch(facecolor=BLUE, alpha=0.45, label="pointwise 95%"))
    return [*handles, Patch(facecolor=BLUE, alpha=0.15, label="simultaneous 95%")]
