"""Which test items hang together: drawn anew together, or not at all."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

CLUSTER = "cluster"
"""Column that is there where a task states clusters; empty for an item that stands for itself."""


def stated_clusters(file: pq.ParquetFile) -> list[str]:
    """Cluster of each row as the task states it; empty for none, and in files without the column."""
    if CLUSTER not in file.schema.names:
        return [""] * file.metadata.num_rows
    column = file.read(columns=[CLUSTER], use_threads=False).column(CLUSTER).cast(pa.string())
    return [cluster or "" for cluster in column.to_pylist()]


def check_clusters(found: list[str], expected: list[str]) -> None:
    """Refuse a file that states other clusters; one from before tasks stated any states none.

    Raises:
        ValueError: there are others.
    """
    other = sum(mine != theirs for mine, theirs in zip(found, expected, strict=True))
    if other and any(found) and any(expected):
        raise ValueError(f"{other} items are of another cluster than in most runs")


def cluster_numbers(stated: list[str], subsets: list[str]) -> NDArray[np.int64]:
    """int64[items]: items of one stated cluster share a number; where none is stated, those of one subset.

    An item without a name stands for itself, and all do where there would be one cluster only.
    """
    told = any(stated)
    names = stated if told else subsets
    units = len({name for name in names if name}) + (names.count("") if told else 0)
    if units < 2:
        return np.arange(len(names), dtype=np.int64)
    numbers: dict[str, int] = {}
    labels = [
        numbers.setdefault(name if name else f"\0{place}", len(numbers)) for place, name in enumerate(names)
    ]
    return np.array(labels, dtype=np.int64)
