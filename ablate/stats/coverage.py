"""The coverage that was measured for a t interval over n pairs, to stand beside every interval over n pairs.

`measured_coverage.json` holds counts that `ablate.stats.simulation` made; `python -m
ablate.report.calibration` writes it anew.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ablate.stats.rate import Rate

COVERAGE_FORMAT = 1
COVERAGE_FILE = "measured_coverage.json"


@dataclass(frozen=True)
class Coverage:
    """How often 95% t intervals held the truth in simulation, for a number of pairs."""

    n: int
    """Pairs that were asked for."""
    simulated_n: int
    """Pairs in the simulated studies: the nearest number that was simulated, the smaller of two."""
    studies: int
    """Simulated studies of each population."""
    seed: int
    """Of the simulation."""
    rates: dict[str, Rate]
    """Population of differences (`ablate.stats.simulation`) to the share of studies covered."""

    @property
    def text(self) -> str:
        """The coverage in words, for a report."""
        listed = ", ".join(
            f"{rate.value:.3f} ({name.replace('_', ' ')})"
            for name, rate in self.rates.items()
            if rate.value is not None
        )
        nearest = "" if self.n == self.simulated_n else f", the number nearest to {self.n} that was simulated"
        return (
            f"coverage of the 95% t interval over {self.simulated_n} pairs{nearest}, in {self.studies} "
            f"simulated studies each: {listed}"
        )


def measured_coverage(n: int) -> Coverage | None:
    """The coverage that was measured for intervals over ``n`` pairs; None below two pairs, where there is
    no interval. Read from `measured_coverage.json`, which a simulation wrote."""
    if n < 2:
        return None
    raw = _coverage_table()
    nearest = min({row["n"] for row in raw["rows"]}, key=lambda size: (abs(size - n), size))
    rates = {row["population"]: Rate(row["covered"], row["of"]) for row in raw["rows"] if row["n"] == nearest}
    return Coverage(n, nearest, raw["studies"], raw["seed"], rates)


@cache
def _coverage_table() -> dict[str, Any]:
    text = resources.files("ablate.stats").joinpath(COVERAGE_FILE).read_text(encoding="utf-8")
    raw: dict[str, Any] = json.loads(text)
    if raw.get("coverage_format") != COVERAGE_FORMAT:
        found = raw.get("coverage_format")
        raise ValueError(
            f"{COVERAGE_FILE} has coverage_format {found!r}, this version reads {COVERAGE_FORMAT}"
        )
    return raw
