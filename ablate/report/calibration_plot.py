"""The calibration plot: p values of A/A studies against uniform ones, and coverage by n and population."""

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from scipy.special import betaincinv

from ablate.stats.calibration import AACalibration
from ablate.stats.rate import Rate
from ablate.stats.simulation import Simulated

STYLES = {
    "normal": ("#000000", "o"),
    "skewed": ("#D55E00", "s"),
    "heavy_tailed": ("#0072B2", "^"),
    "discrete": ("#009E73", "D"),
    "aa_residuals": ("#CC79A7", "v"),
}
"""Population to colour (Okabe and Ito's palette) and marker; the marker alone tells them apart."""


def calibration_svg(simulated: Sequence[Simulated], judged: AACalibration | None) -> str:
    """The plot as SVG, the same text for the same numbers. Labels stay text."""
    with matplotlib.rc_context(
        {"svg.hashsalt": "ablate", "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 8}
    ):
        figure = calibration_figure(simulated, judged)
        out = io.StringIO()
        FigureCanvasSVG(figure)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": "Calibration"})
    return out.getvalue()


def calibration_figure(simulated: Sequence[Simulated], judged: AACalibration | None) -> Figure:
    """Coverage of the t interval and of the bootstrap; before them the A/A p values where there are some."""
    shown = judged is not None and bool(judged.p_values)
    figure = Figure(figsize=(10.0 if shown else 7.0, 3.6), layout="constrained")
    axes = list(figure.subplots(1, 3 if shown else 2, squeeze=False)[0])
    if judged is not None and shown:
        _quantiles(axes.pop(0), judged)
    _coverage(axes[0], {(one.population, one.n): one.coverage95 for one in simulated}, "95% t interval")
    _coverage(
        axes[1], {(one.population, one.n): one.bootstrap95 for one in simulated}, "95% percentile bootstrap"
    )
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _quantiles(ax: Axes, judged: AACalibration) -> None:
    """Sorted p values against their expectations, with the pointwise 95% band of uniform order statistics
    (the k-th of K is beta(k, K - k + 1))."""
    values = judged.p_values
    total = len(values)
    ranks = range(1, total + 1)
    expected = [rank / (total + 1) for rank in ranks]
    low, high = (
        [float(betaincinv(rank, total - rank + 1, level)) for rank in ranks] for level in (0.025, 0.975)
    )
    ax.fill_between(expected, low, high, color="#DDDDDD", lw=0)
    ax.plot([0, 1], [0, 1], color="black", lw=0.8)
    ax.plot(expected, values, "o", color="#0072B2", markersize=4)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_title(f"p values of {total} disjoint A/A studies, n = {judged.n}", loc="left", fontsize=8)
    ax.set_xlabel("expected of uniform p values (grey: 95%, each alone)")
    ax.set_ylabel("p of no difference")


def _coverage(ax: Axes, rates: dict[tuple[str, int], Rate], what: str) -> None:
    ax.axhline(0.95, color="black", lw=0.8, ls="--", label="nominal 0.95")
    for population in dict.fromkeys(name for name, _ in rates):
        colour, marker = STYLES[population]
        points = [(n, rate) for (name, n), rate in rates.items() if name == population and rate.of]
        places, heights = [n for n, _ in points], [rate.count / rate.of for _, rate in points]
        ax.plot(
            places, heights, color=colour, marker=marker, lw=1.0, ms=4, label=population.replace("_", " ")
        )
        for n, rate in points:
            ax.plot([n, n], rate.interval or (), color=colour, lw=1.0)
    ax.set_xticks(sorted({n for _, n in rates}))
    ax.set_title(f"coverage of the {what}", loc="left", fontsize=8)
    ax.set_xlabel("pairs in a study")
    ax.set_ylabel("share of simulated studies")
