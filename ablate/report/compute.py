"""What each arm spent: beside the matched quantity, all the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ablate.budget.ledger import Ledger
from ablate.record import RunRecord
from ablate.report.load import StudyHeader
from ablate.report.tables import ABSENT, Cell, Table, run_names
from ablate.stats.pairing import MATCHED


@dataclass(frozen=True)
class Quantity:
    """One column of the compute table."""

    title: str
    of: Callable[[Ledger], float]
    style: Literal["count", "flops", "decimal"] = "count"


QUANTITIES = {
    "steps": Quantity("steps", lambda ledger: ledger.steps),
    "total_flops": Quantity("FLOPs charged", lambda ledger: ledger.total_flops, "flops"),
    "flops_executed": Quantity("FLOPs executed", lambda ledger: ledger.flops_executed, "flops"),
    "positions": Quantity("positions", lambda ledger: ledger.positions),
    "text_tokens": Quantity("text tokens", lambda ledger: ledger.text_tokens),
    "unique_text_tokens": Quantity("unique text tokens", lambda ledger: ledger.unique_text_tokens),
    "text_epochs": Quantity("text epochs", lambda ledger: ledger.text_epochs, "decimal"),
    "caption_tokens": Quantity("caption tokens", lambda ledger: ledger.caption_tokens),
    "repeated_tokens": Quantity("repeated tokens", lambda ledger: ledger.repeated_tokens),
    "media_positions": Quantity("media positions", lambda ledger: ledger.media_positions),
    "scored_positions": Quantity("scored positions", lambda ledger: ledger.scored_positions),
    "parameters": Quantity("parameters", lambda ledger: sum(ledger.parameters.values())),
    "wall_seconds": Quantity("wall seconds", lambda ledger: ledger.wall_seconds, "decimal"),
}
"""Quantity to how it is read from a ledger and printed."""

Runs = Mapping[tuple[str, int], RunRecord]


def spent_frame(runs: Runs, header: StudyHeader) -> pd.DataFrame:
    """One row per run of a planned arm and seed, diverged ones included: `arm`, `seed`, the quantities,
    and `off`, the matched quantity relative to the baseline's run of the same seed."""
    rows = [
        {"arm": arm, "seed": seed} | {key: one.of(runs[arm, seed].spent) for key, one in QUANTITIES.items()}
        for arm in header.arms
        for seed in header.seeds
        if (arm, seed) in runs
    ]
    frame = pd.DataFrame(rows, columns=["arm", "seed", *QUANTITIES])
    matched = MATCHED[header.match]
    baseline = frame[frame["arm"] == header.baseline].set_index("seed")[matched]
    frame["off"] = frame[matched].astype(float) / frame["seed"].map(baseline).astype(float) - 1.0
    return frame


def compute_table(runs: Runs, header: StudyHeader) -> Table:
    """What a run of each arm spent; the range over seeds where they differ."""
    matched = MATCHED[header.match]
    titles = [one.title + (" (matched)" if key == matched else "") for key, one in QUANTITIES.items()]
    table = Table(["arm", "runs", *titles, "matched quantity off by"])
    frame = spent_frame(runs, header)
    for arm in header.arms:
        part = frame[frame["arm"] == arm]
        count = f"{len(part)}" if len(part) == len(header.seeds) else f"{len(part)} of {len(header.seeds)}"
        cells: list[Cell] = [_range(part[key], one.style) for key, one in QUANTITIES.items()]
        off = [float(value) for value in part["off"].dropna()]
        worst = f"{max(off, key=abs):+.2%}" if off else ABSENT
        row: list[Cell] = [arm, count, *cells, ABSENT if arm == header.baseline else worst]
        table.add(row, run_names([arm], part["seed"]))
    return table


def compute_rows(runs: Runs, header: StudyHeader) -> Table:
    """The same rows for machines: smallest and largest of each quantity, and of each component."""
    frame = spent_frame(runs, header)
    kept = {key: run for key, run in runs.items() if key[0] in header.arms and key[1] in header.seeds}
    components = {
        name: sorted({part for run in kept.values() for part in getattr(run.spent, name)})
        for name in ("flops", "parameters")
    }
    wide = [f"{name}/{part}" for name, parts in components.items() for part in parts]
    columns = [f"{key}_{end}" for key in [*QUANTITIES, *wide] for end in ("min", "max")]
    table = Table(["arm", "runs", *columns, "off_min", "off_max"])
    ledgers: dict[str, list[Ledger]] = {arm: [] for arm in header.arms}
    for (arm, _), run in kept.items():
        ledgers[arm].append(run.spent)
    for arm in header.arms:
        part = frame[frame["arm"] == arm]
        row: list[Cell] = [arm, len(part)]
        for key in QUANTITIES:
            row += _ends(part[key])
        for name, parts in components.items():
            for component in parts:
                row += _ends(pd.Series([getattr(ledger, name).get(component, 0) for ledger in ledgers[arm]]))
        table.rows.append([*row, *_ends(part["off"].dropna())])
    return table


def _ends(values: pd.Series) -> list[Cell]:
    return [None, None] if values.empty else [values.min().item(), values.max().item()]


def _range(values: pd.Series, style: str) -> str:
    if values.empty:
        return ABSENT
    low, high = (_styled(float(end), style) for end in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _styled(value: float, style: str) -> str:
    if style == "flops":
        return f"{value:.4g}".replace("e+", "e")
    return f"{value:,.2f}" if style == "decimal" else f"{value:,.0f}"
