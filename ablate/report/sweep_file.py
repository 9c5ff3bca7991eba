"""What a sweep planned, for its report: `results/<sweep>/sweep.json`.

Each setting is an ordinary study, in a folder of its own beside the file.
"""

import dataclasses
import json
import math
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.report.load import StudyError
from ablate.stats.mixture_models import MODELS
from ablate.whole_file import write_whole

SWEEP_FORMAT = 1
SWEEP_FILE = "sweep.json"

Role = Literal["baseline", "fit", "held_out", "proportional", "stratified"]
"""`fit`: the response surface is fitted to it. `held_out`: the surface has to predict it. `proportional`:
streams in the ratio of their text. `stratified`: streams in equal shares."""


@dataclass(frozen=True)
class Point:
    """One mixture, an arm of every setting."""

    arm: str
    asked: dict[str, float]
    """Stream to share, as the design has it."""
    shares: dict[str, float]
    """Stream to share, in whole rows: all components, in their order, 0 included."""
    roles: list[Role]


@dataclass(frozen=True)
class Setting:
    """One combination of levels, a study."""

    name: str
    levels: dict[str, str]
    """Factor to level."""
    study: str
    folder: str
    """Of the study, beside the sweep's file."""
    baseline_flops: float
    """Training FLOPs that a run of the baseline is planned to spend; 0 where it could not be planned."""
    parameters: int
    """Of the backbone; 0 where it could not be planned."""
    problem: str = ""
    """Why the setting cannot be run; empty where it can."""


@dataclass(frozen=True)
class SweepFile:
    """A sweep as it was planned."""

    sweep: str
    question: str
    note: str
    baseline: str
    components: list[str]
    """Streams of the simplex, the baseline's first; none in a sweep of settings alone."""
    points: list[Point]
    settings: list[Setting]
    planned_runs: int = 0
    """Runs of all settings, arms and seeds."""
    distinct_runs: int = 0
    """Those that differ: runs of one identity are trained once."""
    planned_flops: float = 0.0
    """Training FLOPs of all planned runs, if each were trained."""
    distinct_flops: float = 0.0
    """Training FLOPs of the distinct runs."""
    model: str = ""
    """Response surface that was asked for; empty where the design chooses."""
    failed: dict[str, str] = field(default_factory=dict)
    """`<setting>/<arm>, seed <n>` of runs that failed when the sweep was last run, to why."""
    hopeless: dict[str, float] = field(default_factory=dict)
    """The rule to stop mixtures early: `after_seeds`, `below`, `confidence`; empty without one."""


def write_sweep(sweep: SweepFile, folder: Path) -> None:
    """Write ``sweep`` to ``folder``/sweep.json, atomically; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"sweep_format": SWEEP_FORMAT, **dataclasses.asdict(sweep)}
    write_whole(folder / SWEEP_FILE, json.dumps(raw, indent=1, allow_nan=False) + "\n")


def read_sweep(folder: Path) -> SweepFile:
    """Read what the sweep in ``folder`` planned.

    Raises:
        StudyError: there is no sweep, or the file is not one.
    """
    path = folder / SWEEP_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(raw, ensure_ascii=False).encode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise StudyError(f"{path}: there is no sweep here; `ablate sweep FILE` makes one") from None
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{path}: not a sweep ({error})") from error
    if not isinstance(raw, dict) or raw.pop("sweep_format", None) != SWEEP_FORMAT:
        raise StudyError(f"{path}: not a sweep of format {SWEEP_FORMAT}")
    try:
        raw["points"] = [Point(**point) for point in raw["points"]]
        raw["settings"] = [Setting(**setting) for setting in raw["settings"]]
        sweep = SweepFile(**raw)
    except (KeyError, TypeError) as error:
        raise StudyError(f"{path}: not a sweep ({error})") from error
    faults = list(_faults(sweep))
    if faults:
        raise StudyError(f"{path}: {'; '.join(faults[:3])}")
    return sweep


def _faults(sweep: SweepFile) -> list[str]:
    """What a file that was edited may say wrongly and the report would trip over."""
    parts: list[tuple[str, Any]] = [
        ("", sweep),
        *((f"points.{i}", one) for i, one in enumerate(sweep.points)),
        *((f"settings.{i}", one) for i, one in enumerate(sweep.settings)),
    ]
    found = [
        f"{place}.{name} is {getattr(part, name)!r}".lstrip(".")
        for place, part in parts
        for name, hint in typing.get_type_hints(type(part)).items()
        if not _fits(getattr(part, name), hint)
    ]
    if found:
        return found
    for point in sweep.points:
        if list(point.shares) != sweep.components or abs(sum(point.shares.values()) - 1.0) > 1e-6:
            found.append(
                f"the shares of {point.arm!r} are not those of {sweep.components}, or do not add up to 1"
            )
    for setting in sweep.settings:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", setting.folder):
            found.append(f"the folder {setting.folder!r} of a setting is no name beside this file")
    if sweep.model and sweep.model not in MODELS:
        found.append(f"model is {sweep.model!r}, none of {', '.join(MODELS)}")
    names = [setting.name for setting in sweep.settings]
    if len(set(names)) < len(names):
        found.append("two settings have one name")
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of the type ``hint``, as far as the fields above need it; numbers are finite."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
