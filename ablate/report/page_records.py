"""What a page knows of the runs behind its rows, packed small: common values and runs of numbers once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablate.record import RunRecord

NO_RECORD = "no record"


class SourceIndex:
    """The runs that rows name as their sources, numbered, and the groups of them."""

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self._records = {f"{one.arm}-seed{one.seed}": one for one in records}
        self._groups: dict[tuple[str, ...], int] = {}
        self._scored: dict[str, dict[int, None]] = {}

    def group(self, sources: tuple[str, ...], endpoint: str | None = None) -> int | None:
        """The number of a row's sources, None for none; ``endpoint`` is what the row is about."""
        if not sources:
            return None
        number = self._groups.setdefault(sources, len(self._groups))
        if endpoint is not None:
            self._scored.setdefault(endpoint, {})[number] = None
        return number

    def packed(self) -> dict[str, Any]:
        """Everything that was asked for, for JSON.

        Columns with one entry a run, `seed`, `identity`, `started`, or coded as `values` and `at`: `arm`,
        `status`, `commit`, `device`. `groups` are ranges of runs, such as `0-4,10-14`; `scores` maps an
        endpoint to ranges `at` and the `values` there. A source without a record has the status `no record`.
        """
        names = sorted({name for group in self._groups for name in group}, key=self._order)
        number = {name: place for place, name in enumerate(names)}
        groups = [[number[name] for name in group] for group in self._groups]
        runs = [self._records.get(name) for name in names]
        where = [_arm_and_seed(name, run) for name, run in zip(names, runs, strict=True)]
        return {
            "arm": _coded([arm for arm, _ in where]),
            "seed": [seed for _, seed in where],
            "status": _coded([run.status if run else NO_RECORD for run in runs]),
            "identity": [run.identity if run else "" for run in runs],
            "commit": _coded([_commit(run.provenance) if run else "" for run in runs]),
            "device": _coded([str(run.provenance.get("device", "")) if run else "" for run in runs]),
            "started": [str(run.provenance.get("started", "")) if run else "" for run in runs],
            "groups": [_ranges(group) for group in groups],
            "scores": {
                endpoint: _scores(endpoint, sorted({run for one in told for run in groups[one]}), runs)
                for endpoint, told in self._scored.items()
            },
        }

    def _order(self, name: str) -> tuple[str, int, str]:
        arm, seed = _arm_and_seed(name, self._records.get(name))
        return arm, -1 if seed is None else seed, name


def _arm_and_seed(name: str, run: RunRecord | None) -> tuple[str, int | None]:
    if run is not None:
        return run.arm, run.seed
    arm, found, seed = name.rpartition("-seed")
    return (arm, int(seed)) if found and seed.isdecimal() else (name, None)


def _commit(provenance: Mapping[str, Any]) -> str:
    commit = str(provenance.get("commit", ""))
    return f"{commit} (with changes)" if commit and provenance.get("dirty") else commit


def _coded(texts: Iterable[str]) -> dict[str, list]:
    """Texts as their distinct values and the place of each in them."""
    values: dict[str, int] = {}
    at = [values.setdefault(text, len(values)) for text in texts]
    return {"values": list(values), "at": at}


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in their order; each stretch that counts up by one as `first-last`."""
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in stretches)


def _scores(endpoint: str, at: list[int], runs: Sequence[RunRecord | None]) -> dict[str, Any]:
    values: list[float | str | None] = []
    for place in at:
        run = runs[place]
        score = run.scores.get(endpoint) if run else None
        value = None if score is None else score.value
        # JSON has no NaN and no infinity.
        values.append(value if value is None or math.isfinite(value) else str(value))
    return {"at": _ranges(at), "values": values}
