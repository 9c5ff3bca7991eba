"""What each arm spent: beside the matched quantity, all the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class _Spent:
    """What the runs of one arm spent."""

    seeds: list[int]
    ledgers: list[Ledger]
    off: list[float]
    """The matched quantity relative to the baseline's run of the same seed, less 1, where there is one."""


def _spent(runs: Runs, header: StudyHeader) -> dict[str, _Spent]:
    """Every planned arm, with the runs of planned seeds that there are, diverged ones included."""

    def matched(arm: str, seed: int) -> float | None:
        return QUANTITIES[MATCHED[header.match]].of(runs[arm, seed].spent) if (arm, seed) in runs else None

    found = {}
    for arm in header.arms:
        seeds = [seed for seed in header.seeds if (arm, seed) in runs]
        pairs = [(matched(arm, seed), matched(header.baseline, seed)) for seed in seeds]
        off = [mine / base - 1.0 for mine, base in pairs if mine is not None and base]
        found[arm] = _Spent(seeds, [runs[arm, seed].spent for seed in seeds], off)
    return found


def compute_table(runs: Runs, header: StudyHeader) -> Table:
    """What a run of each arm spent; the range over seeds where they differ."""
    matched = MATCHED[header.match]
    titles = [one.title + (" (matched)" if key == matched else "") for key, one in QUANTITIES.items()]
    table = Table(["arm", "runs", *titles, "matched quantity off by"])
    for arm, spent in _spent(runs, header).items():
        planned, there = len(header.seeds), len(spent.seeds)
        count = f"{there}" if there == planned else f"{there} of {planned}"
        cells: list[Cell] = [
            _range([one.of(ledger) for ledger in spent.ledgers], one.style) for one in QUANTITIES.values()
        ]
        worst = f"{max(spent.off, key=abs):+.2%}" if spent.off else ABSENT
        row: list[Cell] = [arm, count, *cells, ABSENT if arm == header.baseline else worst]
        table.add(row, run_names([arm], spent.seeds))
    return table


def compute_rows(runs: Runs, header: StudyHeader) -> Table:
    """The same rows for machines: smallest and largest of each quantity, and of each component."""
    arms = _spent(runs, header)
    components = {
        name: sorted(
            {part for one in arms.values() for ledger in one.ledgers for part in getattr(ledger, name)}
        )
        for name in ("flops", "parameters")
    }
    wide = [f"{name}/{part}" for name, parts in components.items() for part in parts]
    columns = [f"{key}_{end}" for key in [*QUANTITIES, *wide] for end in ("min", "max")]
    table = Table(["arm", "runs", *columns, "off_min", "off_max"])
    for arm, spent in arms.items():
        row: list[Cell] = [arm, len(spent.seeds)]
        for one in QUANTITIES.values():
            row += _ends([one.of(ledger) for ledger in spent.ledgers])
        for name, parts in components.items():
            for part in parts:
                row += _ends([getattr(ledger, name).get(part, 0) for ledger in spent.ledgers])
        table.add([*row, *_ends(spent.off)], run_names([arm], spent.seeds))
    return table


def _ends(values: Sequence[float]) -> list[Cell]:
    return [min(values), max(values)] if values else [None, None]


def _range(values: Sequence[float], style: str) -> str:
    if not values:
        return ABSENT
    low, high = (_styled(float(end), style) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _styled(value: float, style: str) -> str:
    if style == "flops":
        return f"{value:.4g}".replace("e+", "e")
    return f"{value:,.2f}" if style == "decimal" else f"{value:,.0f}"
