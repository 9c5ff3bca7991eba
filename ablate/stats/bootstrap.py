"""Item-level inference beside the paired t interval: seeds and items are both samples.

The paired t interval asks what other seeds would have shown on the same test. Here the test's items are
a sample as well: a crossed bootstrap gives one interval for both, and a table of variances says how much
of the standard error of the mean gain comes from each.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ablate.stats.paired import ROUNDING, Interval

REPLICATES = 2_000

CHUNK = 1 << 22
"""Most resampled counts that are held at once (32 MiB)."""

FEW_CLUSTERS = 10
"""Below so many items or clusters the remark warns of the item part."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of the differences in a crossed layout of seeds and clusters, in squared units of the
    endpoint. A field is None where the layout cannot give it."""

    seed: float | None
    """Between seeds, beyond what the residual explains; zero where that is negative."""
    item: float | None
    """Between items, or clusters where items come in them."""
    residual: float | None
    """Of seed and item together: one difference a cell, so interaction and noise are one."""


@dataclass(frozen=True)
class ItemEstimate:
    """What the items of a contrast say of the mean gain. A field is None where the data cannot give it."""

    seeds: int
    items: int
    clusters: int
    """Units that are resampled; as many as items where each stands for itself."""
    mean_gain: float | None
    """Mean over seeds of the endpoint's difference, positive where the treated arm is better."""
    interval95: Interval | None
    """Percentile interval of the crossed bootstrap."""
    interval90: Interval | None
    se_seeds: float | None
    """Standard error of the mean gain over seeds, these items given: that of the paired t interval."""
    se_items: float | None
    """Standard error over items (clusters), these seeds given."""
    se_both: float | None
    """Standard error over new seeds and new items."""
    components: VarianceComponents
    replicates: int
    """Bootstrap replicates behind the intervals; 0 where there are none."""
    remark: str = ""
    """What is missing or weak, in words."""


def crossed_bootstrap(
    treated: Array,
    reference: Array,
    weights: Array,
    clusters: NDArray[np.int64],
    higher_is_better: bool,
    name: str,
    replicates: int = REPLICATES,
) -> ItemEstimate:
    """Resample seeds and items independently and give the mean gain's percentile intervals.

    The endpoint of one run is sum(numerators) / sum(weights): the mean over items with weights of one,
    bits per byte with bits over bytes. Every replicate draws seeds with replacement and, apart from
    them, whole clusters with replacement, and takes the ratio anew (the pigeonhole bootstrap: Owen 2007,
    Ann. Appl. Stat. 1:386; clusters: Davison and Hinkley 1997, section 3.8). Its variance counts the
    residual three times and so errs to the wide side; with n seeds it counts their variance (n - 1) / n
    times and, at five seeds, errs to the narrow side by more.

    Standard errors come from the two-way analysis of variance, `variance_components`.

    Args:
        treated: float64[seeds, items], numerators of the treated arm.
        reference: float64[seeds, items], those of the reference arm, same seeds and items.
        weights: float64[items], above zero.
        clusters: int64[items], label of the cluster of each item.
        higher_is_better: direction of the endpoint.
        name: of the contrast; its digest seeds the draws of seeds. Draws of clusters depend on their
            number alone, so that all contrasts over the same items see the same resampled tests.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    treated, reference = np.asarray(treated, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    weights, clusters = np.asarray(weights, dtype=np.float64), np.asarray(clusters)
    _check_shapes(treated, reference, weights, clusters)
    seeds, items = treated.shape
    refusal = _refusal(treated, reference, weights)
    labels, members = np.unique(clusters, return_inverse=True)
    if refusal:
        return _without(seeds, items, labels.size, None, refusal)
    sign = 1.0 if higher_is_better else -1.0
    totals = _sum_within(sign * (treated - reference), members, labels.size)
    sizes = _sum_within(weights[None, :], members, labels.size)[0]
    values = _influence(totals, sizes)
    gain = float(values.mean())
    scale = float(max(np.abs(treated).sum(axis=1).max(), np.abs(reference).sum(axis=1).max()) / weights.sum())
    if np.ptp(values) <= ROUNDING * scale:
        said = "all differences are equal, item by item and seed by seed: there is nothing to resample"
        return _without(seeds, items, labels.size, gain, said)
    draws = _replicates(totals, sizes, name, replicates)
    low95, low90, high90, high95 = (float(q) for q in np.quantile(draws, [0.025, 0.05, 0.95, 0.975]))
    components = variance_components(values)
    se_seeds = _standard_error(values.mean(axis=1))
    se_items = _standard_error(values.mean(axis=0))
    return ItemEstimate(
        seeds=seeds,
        items=items,
        clusters=int(labels.size),
        mean_gain=gain,
        interval95=(low95, high95),
        interval90=(low90, high90),
        se_seeds=se_seeds,
        se_items=se_items,
        se_both=_both(components, seeds, labels.size),
        components=components,
        replicates=replicates,
        remark=_remark(seeds, items, labels.size),
    )


def variance_components(values: Array) -> VarianceComponents:
    """Method-of-moments components of a two-way layout with one value a cell (Searle, Casella and
    McCulloch 1992, *Variance Components*, section 4.5), negative estimates put at zero.

    Args:
        values: float64[seeds, clusters].
    """
    seeds, clusters = values.shape
    if seeds < 2 or clusters < 2:
        return VarianceComponents(None, None, None)
    rows, columns = values.mean(axis=1), values.mean(axis=0)
    left = values - rows[:, None] - columns[None, :] + values.mean()
    residual = float((left**2).sum()) / ((seeds - 1) * (clusters - 1))
    return VarianceComponents(
        seed=max(0.0, float(rows.var(ddof=1)) - residual / clusters),
        item=max(0.0, float(columns.var(ddof=1)) - residual / seeds),
        residual=residual,
    )


def _both(components: VarianceComponents, seeds: int, clusters: int) -> float | None:
    seed, item, residual = components.seed, components.item, components.residual
    if seed is None or item is None or residual is None:
        return None
    return float(np.sqrt(seed / seeds + item / clusters + residual / (seeds * clusters)))


def cluster_values(numerators: Array, weights: Array, clusters: NDArray[np.int64]) -> Array:
    """float64[seeds, clusters] whose row means are each run's score, and whose column means vary as the
    score does when clusters are drawn anew.

    Args:
        numerators: float64[seeds, items]; a run's score is sum(numerators) / sum(weights).
        weights: float64[items], above zero.
        clusters: int64[items], label of the cluster of each item.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    numerators, weights = np.asarray(numerators, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    _check_shapes(numerators, numerators, weights, clusters)
    labels, members = np.unique(clusters, return_inverse=True)
    return _influence(
        _sum_within(numerators, members, labels.size),
        _sum_within(weights[None, :], members, labels.size)[0],
    )


def _standard_error(means: Array) -> float | None:
    return float(means.std(ddof=1) / np.sqrt(means.size)) if means.size > 1 else None


def _check_shapes(treated: Array, reference: Array, weights: Array, clusters: NDArray[np.int64]) -> None:
    if treated.ndim != 2 or treated.shape != reference.shape:
        raise ValueError(
            f"two arms are two arrays of seeds x items, not of shapes {treated.shape} and {reference.shape}"
        )
    if weights.shape != treated.shape[1:] or clusters.shape != treated.shape[1:]:
        raise ValueError(
            f"{treated.shape[1]} items have as many weights and clusters, not {weights.shape} and "
            f"{clusters.shape}"
        )


def _refusal(treated: Array, reference: Array, weights: Array) -> str:
    """Why nothing can be computed; empty if it can."""
    if treated.size == 0:
        return "no seed" if treated.shape[0] == 0 else "no items"
    missing = int(np.count_nonzero(~np.isfinite(treated)) + np.count_nonzero(~np.isfinite(reference)))
    if missing:
        return f"{missing} of {2 * treated.size} item scores are not finite numbers"
    if not (np.isfinite(weights) & (weights > 0)).all():
        return "an item's weight is not a finite number above zero"
    return ""


def _without(seeds: int, items: int, clusters: int, gain: float | None, remark: str) -> ItemEstimate:
    nothing = VarianceComponents(None, None, None)
    return ItemEstimate(seeds, items, clusters, gain, None, None, None, None, None, nothing, 0, remark)


def _remark(seeds: int, items: int, clusters: int) -> str:
    unit = "item" if clusters == items else "cluster"
    if clusters == 1:
        return f"one {unit}: the interval is over seeds alone"
    said = []
    if seeds == 1:
        said.append(f"one seed: the interval is over {unit}s alone")
    if clusters < FEW_CLUSTERS:
        said.append(f"{clusters} {unit}s only: the part of the {unit}s is rough")
    return "; ".join(said)


def _sum_within(values: Array, members: NDArray[np.intp], clusters: int) -> Array:
    """float64[rows, clusters]: sums of ``values`` [rows, items] over the items of each cluster."""
    if clusters == values.shape[1]:
        summed = np.empty_like(values)
        summed[:, members] = values
        return summed
    return np.stack([np.bincount(members, weights=row, minlength=clusters) for row in values])


def _influence(totals: Array, sizes: Array) -> Array:
    """float64[seeds, clusters] whose row means are the endpoint's gain of each seed, and whose column
    means vary as the ratio does when clusters are drawn anew (linearised: Cochran 1977, section 6.3).

    For a mean over items without clusters they are the differences themselves.
    """
    ratio = (totals.sum(axis=1) / sizes.sum())[:, None]
    values: Array = ratio + (totals - ratio * sizes) * (sizes.size / sizes.sum())
    return values


def _replicates(totals: Array, sizes: Array, name: str, replicates: int) -> Array:
    """float64[replicates]: the mean gain with seeds and clusters resampled."""
    seeds, clusters = totals.shape
    chosen = _counts(_uniforms(f"seeds/{name}", replicates * seeds), replicates, seeds)
    step = max(1, CHUNK // clusters)
    found = []
    for start in range(0, replicates, step):
        stop = min(start + step, replicates)
        counts = _cluster_counts(clusters, start, stop).astype(np.float64)
        by_seed = counts @ totals.T
        found.append((by_seed * chosen[start:stop]).sum(axis=1) / (counts @ sizes) / seeds)
    return np.concatenate(found)


@lru_cache(maxsize=32)
def _cluster_counts(clusters: int, start: int, stop: int) -> NDArray[np.uint8]:
    """uint8[stop - start, clusters]: how often each cluster is drawn in these replicates.

    Kept, 4 MiB an entry: the contrasts of an endpoint ask for the same ones. That a cluster is drawn
    more than 255 times in so many draws as there are clusters will not happen.
    """
    draws = _uniforms(f"clusters/{clusters}/{start}", (stop - start) * clusters)
    return _counts(draws, stop - start, clusters).astype(np.uint8)


def _counts(uniforms: Array, replicates: int, units: int) -> NDArray[np.intp]:
    """int[replicates, units]: each row ``units`` draws with replacement, counted (multinomial)."""
    drawn = (uniforms * units).astype(np.int64).reshape(replicates, units)
    drawn += (np.arange(replicates) * units)[:, None]
    counted = np.bincount(drawn.ravel(), minlength=replicates * units)
    return counted.reshape(replicates, units)


def _uniforms(stream: str, size: int) -> Array:
    """``size`` numbers in [0, 1), a function of the stream's name.

    Made of raw words, because numpy promises their stream to stay what it is between versions: a
    published interval must not move with an upgrade.
    """
    seed = int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=16).digest(), "little")
    words = np.random.PCG64(seed).random_raw(size)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
