"""Line plots of sensor channels as inline SVG."""

import html
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 280, 48
MAX_POINTS = 280
"""Columns of a plot; a longer recording is drawn by the smallest and largest value in each."""


def channel_plot(values: np.ndarray, name: str) -> str:
    """One channel ``[steps]`` as an SVG element, from its smallest value at the bottom to its largest.

    Steps that are not finite leave a gap.
    """
    steps, heights = _thinned(np.asarray(values, dtype=np.float64))
    finite = np.isfinite(heights)
    low, high = (float(heights[finite].min()), float(heights[finite].max())) if finite.any() else (0.0, 0.0)
    x = steps * (WIDTH / max(1, len(values) - 1))
    # A constant channel is a line in the middle.
    y = (
        HEIGHT - 2 - (heights - low) * ((HEIGHT - 4) / (high - low))
        if high > low
        else np.full(len(heights), HEIGHT / 2)
    )
    y[~finite] = np.nan
    lines = "".join(f'<polyline points="{points}"/>' for points in _runs(x, y))
    label = html.escape(name)
    said = f"{label}: {low:.4g} to {high:.4g}"
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{lines}</svg>'
        f"<figcaption>{said}</figcaption></figure>"
    )


def _thinned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values to draw: all of a short recording, the extremes of each column of a long one."""
    if len(values) <= 2 * MAX_POINTS:
        return np.arange(len(values), dtype=np.float64), values
    steps, heights = [], []
    for part in np.array_split(np.arange(len(values)), MAX_POINTS):
        finite = part[np.isfinite(values[part])]
        if not len(finite):
            kept = [int(part[0])]
        else:
            kept = sorted({int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])})
        steps += kept
        heights += [float(values[step]) for step in kept]
    return np.array(steps, dtype=np.float64), np.array(heights)


def _runs(x: np.ndarray, y: np.ndarray) -> Sequence[str]:
    """The points of each stretch of finite values."""
    gaps = np.flatnonzero(~np.isfinite(y))
    runs = []
    for part in np.split(np.arange(len(y)), gaps):
        part = part[np.isfinite(y[part])]
        if len(part):
            runs.append(" ".join(f"{x[at]:.1f},{y[at]:.1f}" for at in part))
    return runs
