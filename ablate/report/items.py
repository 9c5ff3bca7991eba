"""Item scores of a study, read for the bootstrap: per endpoint one row of numbers for every run.

The files are `items/<arm>-seed<k>.parquet` with the columns `task`, `subset`, `item`, `metric`, `value`, and
a column `cluster` where a task states which items hang together. All runs of a study score the same items,
so the columns that name them are the same bytes in every file: they are decoded once for each different
content, and only the values of every file.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ablate.record import RunRecord
from ablate.report.item_clusters import CLUSTER, check_clusters, cluster_numbers, stated_clusters

KEYS = ("task", "subset", "item", "metric")
"""Columns that name a score."""

RATIOS = {"bits_per_byte": ("bits", "bytes")}
"""Metrics whose score is a sum over a sum: metric to those of its numerators and weights.

A group of words after a dot goes with all three: `bits_per_byte.concrete` is the sum of `bits.concrete` over
that of `bytes.concrete`."""

OF_WHOLE_SETS = ("macro_f1", "matthews")
"""Metrics of a set of items of which no item has a value, so that items are not resampled; what they are
made of stands among the items."""

AGREEMENT = 1e-9
"""Largest relative difference between a score and what the items give."""

MOST_ROWS = 20_000_000
"""Item scores of one run; a file of a few bytes can claim far more."""

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Run = tuple[str, int]


@dataclass(frozen=True)
class ItemScores:
    """The items of one endpoint, in one order for all runs. A run's score is sum(values) / sum(weights)."""

    endpoint: str
    items: list[str]
    """Id of each item, unique within its subset."""
    subsets: list[str]
    """Subset of each item; empty where the task has none."""
    weights: Array
    """float64[items]: bytes for bits per byte, ones for means."""
    clusters: NDArray[np.int64]
    """int64[items]: items of one cluster share a number: those that the task states, else the subsets. Where
    that makes one cluster of all items, each item has its own."""
    values: dict[Run, Array]
    """(arm, seed) to float64[items]: bits for bits per byte, the metric itself for means. Runs with a
    fault are left out."""


@dataclass(frozen=True)
class _Layout:
    """What the rows of a file are about."""

    names: list[tuple[str, str]]
    """(subset, item) of each row."""
    rows: dict[str, Rows]
    """Endpoint or `task/metric` to its rows."""
    clusters: list[str]
    """Cluster of each row as the task states it; empty for none, and in files without the column."""


@dataclass(frozen=True)
class _Group:
    """The runs whose files have one layout."""

    layout: _Layout
    runs: list[Run]
    values: Array
    """float64[runs, rows]"""


class _Faults:
    """Faults of runs; one that several endpoints of a run share is told once."""

    def __init__(self) -> None:
        self._endpoints: dict[tuple[Run, str], list[str]] = {}
        self._plain: list[str] = []

    def add(self, run: Run, endpoint: str, reason: str) -> None:
        self._endpoints.setdefault((run, reason), []).append(endpoint)

    def say(self, fault: str) -> None:
        self._plain.append(fault)

    def lines(self) -> list[str]:
        return self._plain + [
            f"{_file(run)}: {', '.join(endpoints)}: {reason}"
            for (run, reason), endpoints in self._endpoints.items()
        ]


def read_items(
    folder: Path, records: Sequence[RunRecord], endpoints: Iterable[str]
) -> tuple[dict[str, ItemScores], list[str]]:
    """Item scores of ``endpoints`` over all finished runs of the study in ``folder``.

    A run is left out of an endpoint, and a fault says why, if its file is missing or cannot be read, if
    its items are not those of most runs, if a value is not a finite number, or if the record's score is
    not what the items give. An endpoint that no record scores is not in the answer, nor is one of
    `OF_WHOLE_SETS`.

    Returns:
        Endpoint to scores, and the faults in words.
    """
    finished = {(one.arm, one.seed): one for one in records if one.status == "finished"}
    faults = _Faults()
    groups = _read_files(folder, list(finished), faults)
    found = {}
    for endpoint in dict.fromkeys(endpoints):
        scored = {run: one for run, one in finished.items() if endpoint in one.scores}
        if scored and endpoint.split("/")[1] not in OF_WHOLE_SETS:
            scores = _endpoint_scores(endpoint, scored, groups, faults)
            if scores is not None:
                found[endpoint] = scores
    return found, faults.lines()


def _file(run: Run) -> str:
    return f"items/{run[0]}-seed{run[1]}.parquet"


def _read_files(folder: Path, runs: list[Run], faults: _Faults) -> list[_Group]:
    """Every file once, grouped by layout; the largest group first."""
    layouts: dict[bytes, _Layout] = {}
    members: dict[bytes, list[tuple[Run, Array]]] = {}
    missing = []
    for run in runs:
        try:
            data = (folder / _file(run)).read_bytes()
        except FileNotFoundError:
            missing.append(_file(run))
            continue
        except OSError as error:
            faults.say(f"{_file(run)}: cannot be read ({error.strerror})")
            continue
        try:
            file = pq.ParquetFile(pa.BufferReader(data))
            if file.metadata.num_rows > MOST_ROWS:
                raise ValueError(
                    f"{file.metadata.num_rows:,} rows are more than the {MOST_ROWS:,} of any run"
                )
            key = _key_digest(file, data)
            values = _numbers(file)
            if key not in layouts:
                layouts[key] = _layout(file)
            if values.size != len(layouts[key].names):
                raise ValueError(f"{values.size} values for {len(layouts[key].names)} names")
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            faults.say(f"{_file(run)}: not a file of item scores ({said})")
            continue
        members.setdefault(key, []).append((run, values))
    if missing:
        faults.say(_missing(missing, len(runs)))
    groups = [
        _Group(layouts[key], [run for run, _ in found], np.stack([values for _, values in found]))
        for key, found in members.items()
    ]
    return sorted(groups, key=lambda group: -len(group.runs))


def _missing(files: list[str], runs: int) -> str:
    if len(files) == runs:
        return "no run has its item scores in items/: intervals over items cannot be given"
    names = ", ".join(files)
    return f"{names}: no such file; the run has a record and no item scores"


def _key_digest(file: pq.ParquetFile, data: bytes) -> bytes:
    """Digest of the stored bytes of the columns that name scores, and of how they are stored."""
    metadata = file.metadata
    columns = {name: place for place, name in enumerate(file.schema.names)}
    absent = [name for name in (*KEYS, "value") if name not in columns]
    if absent:
        raise ValueError(f"it lacks the columns {', '.join(absent)}")
    digest = hashlib.blake2b(digest_size=16)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for name in (*KEYS, *([CLUSTER] if CLUSTER in columns else [])):
            chunk = group.column(columns[name])
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            stored = data[start : start + chunk.total_compressed_size]
            kind = (name, chunk.num_values, chunk.physical_type, chunk.compression, len(stored))
            digest.update(repr(kind).encode())
            digest.update(stored)
    return digest.digest()


def _numbers(file: pq.ParquetFile) -> Array:
    column = file.read(columns=["value"], use_threads=False).column("value").cast(pa.float64())
    # Not `to_numpy`, which imports pandas and with it takes as long as reading hundreds of files.
    if column.null_count:
        return np.array([math.nan if value is None else value for value in column.to_pylist()])
    return np.array(np.from_dlpack(column.combine_chunks()), dtype=np.float64)


def _layout(file: pq.ParquetFile) -> _Layout:
    table = file.read(columns=list(KEYS), use_threads=False)
    columns = {name: table.column(name).cast(pa.string()).to_pylist() for name in KEYS}
    if any(None in column for column in columns.values()):
        raise ValueError("a row does not say what it scores")
    rows: dict[str, list[int]] = {}
    places = zip(*(columns[name] for name in KEYS), strict=True)
    for place, (task, subset, _, metric) in enumerate(places):
        rows.setdefault(f"{task}/{metric}", []).append(place)
        if subset:
            rows.setdefault(f"{task}/{metric}/{subset}", []).append(place)
    names = list(zip(columns["subset"], columns["item"], strict=True))
    return _Layout(
        names, {name: np.array(found, dtype=np.intp) for name, found in rows.items()}, stated_clusters(file)
    )


def _parts(endpoint: str) -> tuple[str, str | None]:
    """Names of the rows that hold an endpoint's numerators and weights; None for weights of one."""
    task, _, rest = endpoint.partition("/")
    metric, slash, subset = rest.partition("/")
    whole, dot, words = metric.partition(".")
    if whole not in RATIOS:
        return endpoint, None
    numerator, weight = (f"{task}/{name}{dot}{words}{slash}{subset}" for name in RATIOS[whole])
    return numerator, weight


def _endpoint_scores(
    endpoint: str, scored: dict[Run, RunRecord], groups: list[_Group], faults: _Faults
) -> ItemScores | None:
    numerator, weight = _parts(endpoint)
    names: list[tuple[str, str]] = []
    stated: list[str] = []
    weights: Array | None = None
    values: dict[Run, Array] = {}
    for group in groups:
        chosen = [place for place, run in enumerate(group.runs) if run in scored]
        if not chosen:
            continue
        runs = [group.runs[place] for place in chosen]
        try:
            order = _ordered(group.layout, numerator, names)
            if not names:
                names = [group.layout.names[row] for row in order]
                stated = [group.layout.clusters[row] for row in order]
            check_clusters([group.layout.clusters[row] for row in order], stated)
            below = None if weight is None else group.values[chosen][:, _ordered(group.layout, weight, names)]
        except ValueError as error:
            for run in runs:
                faults.add(run, endpoint, str(error))
            continue
        above = group.values[chosen][:, order]
        if below is None:
            below = np.ones((1, len(names)))
        if weights is None:
            weights = _common_row(below)
        reasons = _reasons(above, below, weights, [scored[run].scores[endpoint].value for run in runs])
        for place, run in enumerate(runs):
            reason = reasons(place) or _count_fault(scored[run].scores[endpoint].items, len(names))
            if reason:
                faults.add(run, endpoint, reason)
            else:
                values[run] = above[place]
    if weights is None or not values:
        return None
    subsets, items = [subset for subset, _ in names], [item for _, item in names]
    return ItemScores(endpoint, items, subsets, weights, cluster_numbers(stated, subsets), values)


def _ordered(layout: _Layout, name: str, expected: list[tuple[str, str]]) -> Rows:
    """The rows of ``name`` in the order of the items ``expected``; in the file's own if that is empty.

    Raises:
        ValueError: there are none, an item is there twice, or they are other items.
    """
    rows = layout.rows.get(name)
    if rows is None:
        raise ValueError(f"no item scores of {name}")
    mine = [layout.names[row] for row in rows]
    if mine == expected:
        return rows
    places = dict(zip(mine, rows, strict=True))
    if len(places) < len(mine):
        raise ValueError(f"items of {name} that are there more than once: {len(mine) - len(places)}")
    if not expected:
        return rows
    lacking, extra = len(expected) - len(places.keys() & set(expected)), len(places.keys() - set(expected))
    if lacking or extra:
        raise ValueError(f"other items than most runs have: {lacking} are missing and {extra} are extra")
    return np.array([places[one] for one in expected], dtype=np.intp)


def _common_row(rows: Array) -> Array:
    """The row that occurs most often, the first of those."""
    counted: dict[bytes, int] = {}
    for row in rows:
        counted[row.tobytes()] = counted.get(row.tobytes(), 0) + 1
    return np.frombuffer(max(counted, key=lambda row: counted[row]), dtype=np.float64)


def _reasons(above: Array, below: Array, weights: Array, recorded: list[Any]) -> Callable[[int], str]:
    """What is wrong with the runs of numerators ``above`` [runs, items], as a function of the row."""
    lost = np.count_nonzero(~np.isfinite(above), axis=1)
    odd = np.broadcast_to(~(below == weights).all(axis=1), lost.shape)
    bad_weights = not (np.isfinite(weights) & (weights > 0)).all()
    total = weights.sum()
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        scores, sizes = above.sum(axis=1) / total, np.abs(above).sum(axis=1) / total
    told = np.asarray(recorded, dtype=np.float64)
    # The second term is the rounding of the sum itself, where positive and negative values cancel.
    off = ~(np.abs(scores - told) <= AGREEMENT * np.abs(told) + 1e-13 * sizes)

    def reason(place: int) -> str:
        if lost[place]:
            return f"{lost[place]} of {above.shape[1]} item scores are not finite numbers"
        if bad_weights:
            return "a weight is not a finite number above zero"
        if odd[place]:
            return "weights of the items are not those of most runs"
        if off[place]:
            return (
                f"the items give {scores[place]:.12g}, the record says {told[place]:.12g}: the record was "
                "edited by hand, or the items are of another run"
            )
        return ""

    return reason


def _count_fault(recorded: int, found: int) -> str:
    return "" if recorded == found else f"{found} items, the record says {recorded}"
