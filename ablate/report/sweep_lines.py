"""A line plot of the gain against the share of one further stream."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ablate.report.figures import BAND, BLACK, BLUE, GREY, PURPLE
from ablate.report.sweep_analysis import SettingResult
from ablate.report.sweep_fits import SweepFit, marker

STEPS = 97
"""Shares at which a line is drawn."""


def draw_line(ax: Axes, result: SettingResult, fit: SweepFit) -> None:
    """Points, the surface with its bands, where the optimum may lie; ``fit`` is of two streams."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.axhline(0.0, color=BLACK, lw=0.8, zorder=1)
    margin = result.header.margins.get(fit.endpoint) if result.header else None
    if margin is not None:
        ax.axhspan(-margin, margin, color=BAND, zorder=0, lw=0)
    ax.set_xlim(-0.03, 1.03)
    if fit.surface is not None and fit.surface.fitted is not None:
        _draw_surface(ax, fit)
    _draw_points(ax, result, fit)
    if fit.problem:
        ax.text(0.02, 0.97, "no surface, see the caption", transform=ax.transAxes, va="top", color=GREY)


def _draw_surface(ax: Axes, fit: SweepFit) -> None:
    surface = fit.surface
    assert surface is not None
    media = fit.grid[:, 1]
    along = np.linspace(float(media.min()), float(media.max()), STEPS)
    seen = surface.at(np.column_stack([1.0 - along, along]))
    if np.isfinite(seen.band_low).all():
        ax.fill_between(along, seen.band_low, seen.band_high, color=BLUE, alpha=0.15, lw=0, zorder=2)
        ax.fill_between(along, seen.low, seen.high, color=BLUE, alpha=0.35, lw=0, zorder=2)
    ax.plot(along, seen.gain, color=BLUE, lw=1.4, zorder=3)
    best = surface.optimum
    if best is None or best.status == "withheld":
        return
    ax.plot([best.best[1]], [best.best_gain], "*", color=PURPLE, markersize=10, zorder=5)
    floor = ax.get_xaxis_transform()
    for low, high in _stretches(best.region[:, 1], along):
        ax.plot(
            (low, high), (0.04, 0.04), transform=floor, color=PURPLE, lw=3.0, solid_capstyle="butt", zorder=4
        )


def _stretches(shares: Any, along: Any) -> list[tuple[float, float]]:
    """Runs of neighbouring ``shares``: a region may have a gap."""
    ordered = np.unique(np.round(shares, 9))
    if not ordered.size:
        return []
    step = 2.5 * float(along[-1] - along[0]) / max(1, min(STEPS, 100))
    breaks = np.flatnonzero(np.diff(ordered) > step)
    starts, ends = [0, *(breaks + 1)], [*breaks, ordered.size - 1]
    return [(float(ordered[a]), float(ordered[b])) for a, b in zip(starts, ends, strict=True)]


def _draw_points(ax: Axes, result: SettingResult, fit: SweepFit) -> None:
    for point in fit.shown:
        contrast = result.contrast(point.arm, fit.endpoint)
        if contrast is None or not contrast.complete:
            continue
        share = list(point.shares.values())[1]
        if contrast.interval95:
            ax.plot((share, share), contrast.interval95, color=BLACK, lw=1.0, zorder=4)
        sign = marker(point)
        face = BLACK if sign == "o" else "white"
        ax.plot(
            [share],
            [contrast.estimate.mean_gain or 0.0],
            sign,
            color=BLACK,
            markerfacecolor=face,
            ms=5,
            zorder=5,
        )
    for point in fit.shown:
        if "baseline" in point.roles:
            ax.plot([list(point.shares.values())[1]], [0.0], "s", color=BLACK, markersize=5, zorder=5)
