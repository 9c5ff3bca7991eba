"""A/A runs scored in several ways, and what may serve as a covariate in the records of an A/A study.

The folder of a measurement holds `settings.json`, what was trained and how it was scored, and `runs.jsonl`, a
line a run; `ablate bench variance` writes both.
"""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablate.record import RunRecord
from ablate.report.load import load_records, read_header
from ablate.stats.calibration import aa_arm
from ablate.stats.paired import PairedSample
from ablate.stats.price import Price, VarianceRatio, price, unpaired_ratio, variance_ratio
from ablate.stats.samples import endpoint_directions, index_runs, proven_pairs, scored_sample
from ablate.stats.verdict import holm

SETTINGS_FILE = "settings.json"
RUNS_FILE = "runs.jsonl"
SETTINGS_FORMAT = 1
LAST = "last weights"
"""The way of scoring that all others are held against, under the schedule that comes first."""


class PriceError(ValueError):
    """A measurement of prices that cannot be made, read or believed; names the file and what was found."""


@dataclass(frozen=True)
class Way:
    """One way to train and score: a schedule and an average."""

    schedule: str
    average: str
    price: Price
    against: VarianceRatio | None
    """Variance of its differences over that of the first way's; None for the first."""
    p_adjusted: float | None
    """Holm over all ways but the first."""
    own: VarianceRatio | None
    """The same against the last weights under its own schedule; None for these."""
    flops: int
    """Of one run."""


@dataclass(frozen=True)
class Measurement:
    """All ways, over the seeds that have every run."""

    settings: dict[str, Any]
    seeds: tuple[int, ...]
    left_over: tuple[int, ...]
    """Seeds that lack a run: they are in no number."""
    ways: list[Way]
    unpaired: VarianceRatio
    """The first way's: variance of independent runs' differences over that of pairs."""


def read_measurement(folder: Path) -> Measurement:
    """Read the runs in ``folder`` and price every way.

    Raises:
        PriceError: a file is missing or damaged, a run is there twice, or fewer than three seeds are whole.
    """
    settings = _settings(folder / SETTINGS_FILE)
    runs = _runs(folder / RUNS_FILE)
    arms = (settings["arm"], settings["baseline"])
    wanted = [(arm, schedule) for schedule in settings["schedules"] for arm in arms]
    every = sorted({seed for seed, _, _ in runs})
    seeds = tuple(seed for seed in every if all((seed, *one) in runs for one in wanted))
    if len(seeds) < 3:
        raise PriceError(
            f"{folder / RUNS_FILE}: {len(seeds)} whole seeds, and prices are measured on three or more"
        )
    ways: list[Way] = []
    base: list[float] = []
    for schedule in settings["schedules"]:
        own: list[float] = []
        for average in settings["averages"]:
            treated, reference = (
                [float(runs[seed, arm, schedule]["scores"][average]) for seed in seeds] for arm in arms
            )
            differences = [y - z for y, z in zip(treated, reference, strict=True)]
            within = variance_ratio(differences, own) if own else None
            base, own = base or differences, own or differences
            flops = int(runs[seeds[0], arms[1], schedule]["flops"])
            found = price(treated, reference, float(settings["margin"]))
            against = variance_ratio(differences, base) if ways else None
            ways.append(Way(schedule, average, found, against, None, within, flops))
    adjusted = holm([way.against.p_equal if way.against else None for way in ways[1:]])
    ways[1:] = [replace(way, p_adjusted=p) for way, p in zip(ways[1:], adjusted, strict=True)]
    first = next(iter(settings["schedules"]))
    unpaired = unpaired_ratio(
        *([float(runs[seed, arm, first]["scores"][LAST]) for seed in seeds] for arm in arms)
    )
    left_over = tuple(seed for seed in every if seed not in seeds)
    return Measurement(settings, seeds, left_over, ways, unpaired)


def _settings(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = raw["settings_format"]
        if found != SETTINGS_FORMAT:
            raise PriceError(f"{path}: settings_format is {found!r}, this version reads {SETTINGS_FORMAT}")
        texts = all(isinstance(raw[name], str) for name in ("baseline", "arm", "endpoint", "recipe"))
        maps = all(isinstance(raw[name], dict) and raw[name] for name in ("schedules", "averages"))
        if not texts or not maps or not float(raw["margin"]) > 0 or next(iter(raw["averages"])) != LAST:
            raise PriceError(f"{path}: not the settings of a measurement of prices")
    except FileNotFoundError:
        raise PriceError(f"{path}: no measurement here; `ablate bench variance` makes one") from None
    except PriceError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PriceError(f"{path}: not the settings of a measurement of prices ({error!r})") from error
    return dict(raw)


def _runs(path: Path) -> dict[tuple[int, str, str], dict[str, Any]]:
    runs: dict[tuple[int, str, str], dict[str, Any]] = {}
    try:
        for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            raw = json.loads(line)
            key = (int(raw["seed"]), str(raw["arm"]), str(raw["schedule"]))
            if key in runs:
                raise PriceError(f"{path}, line {place}: {key[1]} seed {key[0]}, {key[2]} is there already")
            if not all(math.isfinite(float(value)) for value in raw["scores"].values()):
                raise PriceError(f"{path}, line {place}: a score is not finite")
            runs[key] = raw
    except FileNotFoundError:
        raise PriceError(f"{path}: no runs here; `ablate bench variance` makes them") from None
    except PriceError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PriceError(f"{path}: not a line a run ({error!r}); a line cut short can be deleted") from error
    return runs


@dataclass(frozen=True)
class AARecords:
    """The pairs of an A/A study, with what may serve as a covariate."""

    study: str
    margin: float
    sample: PairedSample
    covariates: dict[str, list[float]]
    """Valid ones, of the baseline run of each seed."""
    refused: dict[str, list[float]]
    """Differences of the arms' losses, which an arm moves."""


def read_aa_records(folder: Path) -> AARecords:
    """Gains and covariates of the A/A study in ``folder``, on its primary endpoint.

    Raises:
        StudyError, RecordError, CalibrationError: the study cannot be read, or is no A/A study.
        PriceError: the primary endpoint has no margin.
    """
    header = read_header(folder)
    records = load_records(folder, header)
    arm = aa_arm(records, header)
    if header.primary not in header.margins:
        raise PriceError(f"{folder}: the primary endpoint {header.primary!r} has no margin")
    runs = index_runs(records)
    pairs, lost = proven_pairs(runs, header, arm, header.baseline)
    better = endpoint_directions(records).get(header.primary, True)
    sample, _ = scored_sample(pairs, lost, header.primary, better)
    kept = [pair for pair in pairs if pair[0].seed in sample.seeds]
    steps = sorted({point.step for _, reference in kept for point in reference.curve})
    share = {step: step / kept[0][1].spent.steps for step in steps}
    valid = {"score": list(sample.reference)}
    valid |= {f"loss@{share[step]:g}": [_loss(reference, step) for _, reference in kept] for step in steps}
    refused = {
        f"difference of loss@{share[step]:g}": [
            _loss(treated, step) - _loss(reference, step) for treated, reference in kept
        ]
        for step in steps
    }
    return AARecords(header.study, header.margins[header.primary], sample, valid, refused)


def _loss(record: RunRecord, step: int) -> float:
    return next(point.loss for point in record.curve if point.step == step)
