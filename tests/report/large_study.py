"""A study as large as a report has to bear: made-up records with item scores that agree with them."""

from pathlib import Path

import numpy as np
import pandas as pd
from fabricated import header, run, write_study

from ablate.record import RunRecord, Score

ENDPOINTS = ("planted/accuracy", "prose/bits_per_byte", "pairs/accuracy")
"""The last has the subsets `pairs/accuracy/agreement` and `pairs/accuracy/islands`."""


def write_large_study(folder: Path, arms: int, seeds: int, rows: int = 500) -> list[RunRecord]:
    """Write ``arms`` x ``seeds`` records and as many files of about ``rows`` item scores; arm 0 is the
    baseline. 100 x 100 makes 10,000 records and 5 million item scores."""
    rng = np.random.default_rng(7)
    names = ["text", *(f"image{number}" for number in range(1, arms))]
    frame = item_frame(rows // 5)
    (folder / "items").mkdir(parents=True, exist_ok=True)
    records = []
    for arm, name in enumerate(names):
        for seed in range(seeds):
            frame["value"] = item_values(frame, rng, skill=0.4 + 0.2 * (arm % 2))
            frame.to_parquet(folder / "items" / f"{name}-seed{seed}.parquet", compression="zstd", index=False)
            records.append(run(name, seed, scores_of(frame)))
    margins = {"planted/accuracy": 0.05, "prose/bits_per_byte": 0.02}
    write_study(folder, records, header(records, margins))
    return records


def item_frame(items: int) -> pd.DataFrame:
    """``items`` questions, documents and sentence pairs each, with every metric of the documents."""
    halves = [("agreement", "islands")[place * 2 // items] for place in range(items)]
    parts = [
        ("planted", [""] * items, "questions", "accuracy"),
        ("prose", ["prose"] * items, "prose-heldout.jsonl", "bits"),
        ("prose", ["prose"] * items, "prose-heldout.jsonl", "bytes"),
        ("prose", ["prose"] * items, "prose-heldout.jsonl", "bits_per_byte"),
        ("pairs", halves, "pairs", "accuracy"),
    ]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "task": task,
                    "subset": subsets,
                    "item": [f"{source}:{place}" for place in range(1, items + 1)],
                    "metric": metric,
                    "value": 0.0,
                }
            )
            for task, subsets, source, metric in parts
        ],
        ignore_index=True,
    )


def item_values(frame: pd.DataFrame, rng: np.random.Generator, skill: float) -> np.ndarray:
    items = len(frame) // 5
    size = 100.0 + np.arange(items) % 37
    bits = size * rng.normal(2.0, 0.1, items)
    right = [(rng.random(items) < skill).astype(float) for _ in range(2)]
    return np.concatenate([right[0], bits, size, bits / size, right[1]])


def scores_of(frame: pd.DataFrame) -> dict[str, float | Score]:
    values = frame["value"].to_numpy().reshape(5, -1)
    planted, bits, size, _, pairs = values
    half = -(-pairs.size // 2)
    return {
        "planted/accuracy": Score(float(planted.mean()), planted.size, True, 0.125),
        "prose/bits_per_byte": Score(float(bits.sum() / size.sum()), bits.size, False),
        "prose/bits_per_byte/prose": Score(float(bits.sum() / size.sum()), bits.size, False),
        "pairs/accuracy": Score(float(pairs.mean()), pairs.size, True, 0.5),
        "pairs/accuracy/agreement": Score(float(pairs[:half].mean()), half, True, 0.5),
        "pairs/accuracy/islands": Score(float(pairs[half:].mean()), pairs.size - half, True, 0.5),
    }
