"""Made-up documents for benchmarks: sizes like real ones, contents that mean nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MEAN_DOCUMENT = 600
"""Tokens of an average document."""


@dataclass(frozen=True)
class DrawnTokens:
    """Random token documents in a memory-mapped file, as `ablate.data.text_rows.Tokens`."""

    path: Path
    tokens: NDArray[np.uint16]
    offsets: NDArray[np.int64]


def draw_tokens(path: Path, count: int, vocabulary: int) -> DrawnTokens:
    """Write ``count`` random token ids to ``path`` and cut them into documents."""
    rng = np.random.default_rng(0)
    written = np.memmap(path, dtype=np.uint16, mode="w+", shape=(count,))
    written[:] = rng.integers(3, vocabulary, size=count, dtype=np.uint16)
    written.flush()
    lengths = rng.geometric(1 / MEAN_DOCUMENT, size=2 * count // MEAN_DOCUMENT)
    ends = np.cumsum(lengths)
    offsets = np.concatenate([[0], ends[ends < count], [count]]).astype(np.int64)
    return DrawnTokens(path, np.memmap(path, dtype=np.uint16, mode="r"), offsets)
