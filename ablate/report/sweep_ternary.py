"""A ternary plot: gains over the mixtures of three streams."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from ablate.report.figures import BLACK, GREY, PURPLE, printable
from ablate.report.sweep_analysis import SettingResult
from ablate.report.sweep_fits import SweepFit, marker

Floats = NDArray[np.float64]

HEIGHT = 3.0**0.5 / 2.0
"""Of a triangle with sides of length 1."""

COLOURS = ("#D55E00", "#F7F7F7", "#0072B2")
"""Of the largest loss, of no gain, of the largest gain (Okabe and Ito's vermillion and blue)."""

TICKS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Shading:
    """Levels of gain with a colour between each two."""

    levels: tuple[float, ...]

    def colour(self, gain: float) -> str:
        """The colour of ``gain``: paler nearer to zero."""
        most = max(abs(self.levels[0]), abs(self.levels[-1]))
        part = float(np.clip(gain / most, -1.0, 1.0))
        end = COLOURS[2] if part > 0 else COLOURS[0]
        mixed = [
            round(int(pale, 16) + abs(part) * (int(full, 16) - int(pale, 16)))
            for pale, full in zip(_pairs(COLOURS[1]), _pairs(end), strict=True)
        ]
        return "#" + "".join(f"{value:02X}" for value in mixed)

    def of(self, gain: float) -> str:
        """The colour of the level that ``gain`` falls into."""
        at = int(np.clip(np.searchsorted(self.levels, gain, side="right") - 1, 0, len(self.levels) - 2))
        return self.colour((self.levels[at] + self.levels[at + 1]) / 2.0)


def _pairs(colour: str) -> list[str]:
    return [colour[at : at + 2] for at in (1, 3, 5)]


def corners_to_plane(shares: Floats) -> Floats:
    """float64[n, 2] of float64[n, 3]: the first stream's corner on top, the second left, the third right."""
    total = shares.sum(axis=1)
    return np.column_stack([(shares[:, 2] + shares[:, 0] / 2.0) / total, HEIGHT * shares[:, 0] / total])


def draw_ternary(
    ax: Axes,
    result: SettingResult,
    fit: SweepFit,
    streams: Sequence[int],
    names: Sequence[str],
    shading: Shading,
) -> None:
    """Contours, what is significant, design points and the optimum, of the mixtures of ``streams`` alone."""
    _draw_frame(ax, names)
    if fit.surface is not None and fit.surface.fitted is not None:
        _draw_surface(ax, fit, streams, shading)
    else:
        ax.text(0.5, -0.15, "no surface, see the caption", ha="center", color=GREY)
    _draw_points(ax, result, fit, streams, shading)


def _draw_frame(ax: Axes, names: Sequence[str]) -> None:
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(-0.12, 1.12)
    ax.set_ylim(-0.16, HEIGHT + 0.08)
    tips = corners_to_plane(np.eye(3))
    outline = [*tips.tolist(), tips[0].tolist()]
    ax.plot(*zip(*outline, strict=True), color=BLACK, lw=0.8, zorder=3)
    for at in range(3):
        for tick in TICKS:
            ends = np.zeros((2, 3))
            ends[:, at] = tick
            ends[0, (at + 1) % 3] = ends[1, (at + 2) % 3] = 1.0 - tick
            line = corners_to_plane(ends)
            ax.plot(line[:, 0], line[:, 1], color=GREY, lw=0.3, ls=":", zorder=2)
    for tick in TICKS:
        # Shares of the first stream, along the right side.
        x, y = corners_to_plane(np.array([[tick, 0.0, 1.0 - tick]]))[0]
        ax.text(x + 0.03, y, f"{tick:g}", fontsize=6, color=GREY, va="center")
    words = [printable(name) for name in names]
    ax.text(0.5, HEIGHT + 0.03, words[0], ha="center", va="bottom", parse_math=False)
    ax.text(0.0, -0.03, words[1], ha="center", va="top", parse_math=False)
    ax.text(1.0, -0.03, words[2], ha="center", va="top", parse_math=False)


def _on_face(shares: Floats, streams: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each mixture is of ``streams`` alone."""
    return np.asarray(shares[:, list(streams)].sum(axis=1) > 1.0 - 1e-9)


def _draw_surface(ax: Axes, fit: SweepFit, streams: Sequence[int], shading: Shading) -> None:
    surface = fit.surface
    assert surface is not None
    grid = fit.grid[_on_face(fit.grid, streams)]
    plane = corners_to_plane(grid[:, list(streams)])
    if len(grid) < 3 or np.linalg.matrix_rank(plane - plane[0], tol=1e-6) < 2:
        ax.text(0.5, -0.15, "too few mixtures for contours", ha="center", color=GREY)
        return
    seen = surface.at(grid)
    triangles = _triangles(plane)
    colours = [
        shading.colour((a + b) / 2.0) for a, b in zip(shading.levels, shading.levels[1:], strict=False)
    ]
    # Gains at the ends of the scale are within it but for rounding.
    inside = np.clip(seen.gain, shading.levels[0], shading.levels[-1])
    ax.tricontourf(triangles, inside, levels=shading.levels, colors=colours, zorder=0)
    lines = [level for level in shading.levels if inside.min() < level < inside.max()]
    if lines:
        ax.tricontour(triangles, inside, levels=lines, colors=GREY, linewidths=0.5, linestyles="-", zorder=1)
    best = surface.optimum
    if best is None or best.status == "withheld":
        return
    sure = (seen.band_low > 0.0) | (seen.band_high < 0.0)
    ax.plot(plane[sure, 0], plane[sure, 1], ".", color=BLACK, markersize=1.2, zorder=2)
    member = _among(grid, best.region)
    if member.any() and not member.all():
        ax.tricontour(triangles, member.astype(float), levels=[0.5], colors=PURPLE, linewidths=1.6, zorder=4)
    elif member.all():
        _draw_hull(ax, plane)
    if _on_face(np.array([best.best]), streams)[0]:
        ax.plot(
            *corners_to_plane(np.array([best.best])[:, list(streams)])[0], "*", color=PURPLE, ms=10, zorder=6
        )


def _triangles(plane: Floats) -> Triangulation:
    """The triangles of a grid, without the slivers along its rim, which have no area to colour."""
    found = Triangulation(plane[:, 0], plane[:, 1])
    corners = plane[found.triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    flat = area < 1e-6 * area.max()
    found.set_mask(flat if flat.any() else None)
    return found


def _draw_hull(ax: Axes, plane: Floats) -> None:
    from scipy.spatial import ConvexHull

    corners = plane[ConvexHull(plane).vertices]
    closed = np.vstack([corners, corners[:1]])
    ax.plot(closed[:, 0], closed[:, 1], color=PURPLE, lw=1.6, zorder=4)


def _among(shares: Floats, region: Floats) -> NDArray[np.bool_]:
    """Whether each row of ``shares`` is one of ``region``."""
    known = {tuple(row) for row in np.round(region, 9).tolist()}
    return np.array([tuple(row) in known for row in np.round(shares, 9).tolist()], dtype=bool)


def _draw_points(
    ax: Axes, result: SettingResult, fit: SweepFit, streams: Sequence[int], shading: Shading
) -> None:
    for point in fit.shown:
        shares = np.array([list(point.shares.values())])
        if not _on_face(shares, streams)[0]:
            continue
        x, y = corners_to_plane(shares[:, list(streams)])[0]
        sign, colour = marker(point), BLACK
        if sign != "s":
            contrast = result.contrast(point.arm, fit.endpoint)
            if contrast is None or not contrast.complete or contrast.estimate.mean_gain is None:
                ax.plot([x], [y], "x", color=GREY, markersize=5, zorder=5)
                continue
            colour = shading.of(contrast.estimate.mean_gain)
        width = 0.8 if sign in "so" else 1.4
        ax.plot([x], [y], sign, color=BLACK, markerfacecolor=colour, ms=6, mew=width, zorder=5)
