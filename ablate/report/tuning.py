"""What tuning tried and picked: `tuning.json`, made of the records of its trials, and its table.

Every arm that is no control is trained at every point of one grid, on seeds of their own; the point with the
best mean of a development endpoint is what the arm and its controls train with. The trials' records lie in
`tuning/records/` of the study's folder, so that the table is made of records as every table is.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ablate.record import RecordError, RunRecord, read_record
from ablate.report.load import StudyError
from ablate.whole_file import write_whole

TUNING_FILE = "tuning.json"
TUNING_FOLDER = "tuning"
"""Where the records of trials lie, in the folder of the study."""
TUNING_FORMAT = 1

TrialStatus = Literal["finished", "diverged", "not finite", "missing"]
Runs = Mapping[tuple[str, int, int], RunRecord]
"""Arm, point and seed to the record of the trial, for those that have ended."""

_BOUNDS: dict[str, tuple[float, ...]] = {
    "final_learning_rate": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "decay": (0.0, 1.0),
    "weight_decay": (0.0,),
    "beta1": (0.0,),
    "beta2": (0.0,),
    "clip": (math.inf,),
}
"""Values beyond which a setting cannot go: at them a grid has no edge. No clipping is a clip without end."""


@dataclass(frozen=True)
class TuningDesign:
    """What was to be tried, the same for every arm."""

    endpoint: str
    """The development endpoint."""
    seeds: list[int]
    points: list[dict[str, Any]]
    """Settings of `train`, point by point."""
    arms: list[str]
    budget_share: float = 1.0
    """Share of the study's budget that a trial got."""

    @property
    def trials_per_arm(self) -> int:
        """Runs that every arm got."""
        return len(self.points) * len(self.seeds)


@dataclass(frozen=True)
class Trial:
    """One run: an arm at a point of the grid, from one seed."""

    arm: str
    point: int
    """Number of the point, from 0."""
    seed: int
    status: TrialStatus
    score: float | None
    """Of the development endpoint; None unless the trial finished with a finite one."""
    identity: str
    flops: int
    """Training FLOPs charged; 0 where the trial is missing."""


@dataclass(frozen=True)
class Pick:
    """What an arm and its controls train with."""

    arm: str
    point: int
    settings: dict[str, Any]
    mean: float
    """Of the development endpoint over the tuning seeds."""
    edges: list[str]
    """Settings whose picked value is the smallest or largest tried: the best may lie outside the grid."""


@dataclass(frozen=True)
class Tuning:
    """What tuning tried and picked."""

    study: str
    design: TuningDesign
    higher_is_better: bool
    trials: list[Trial]
    """Arm by arm, point by point, seed by seed; every planned one."""
    picks: list[Pick]
    unpicked: dict[str, str]
    """Arm without a pick to why it has none."""

    def settings(self) -> dict[str, dict[str, Any]]:
        """Arm to its picked settings."""
        return {pick.arm: pick.settings for pick in self.picks}


def trial_name(arm: str, point: int) -> str:
    """What the run of ``arm`` at a point, numbered from 0, is called: `image.trial3`."""
    return f"{arm}.trial{point + 1}"


def judge_trials(study: str, design: TuningDesign, runs: Runs) -> Tuning:
    """The trials and what they pick: per arm the point of the best mean, the first of equal ones.

    A point with a trial that diverged, or whose score is no finite number, is worse than every point without
    one. Where a trial is missing, or no point is left, its arm has no pick.
    """
    scores = [run.scores[design.endpoint] for run in runs.values() if design.endpoint in run.scores]
    higher = scores[0].higher_is_better if scores else True
    trials = [
        _trial(arm, point, seed, runs.get((arm, point, seed)), design.endpoint)
        for arm in design.arms
        for point in range(len(design.points))
        for seed in design.seeds
    ]
    picks, unpicked = [], {}
    for arm in design.arms:
        found = _pick(arm, design, [trial for trial in trials if trial.arm == arm], higher)
        if isinstance(found, Pick):
            picks.append(found)
        else:
            unpicked[arm] = found
    return Tuning(study, design, higher, trials, picks, unpicked)


def _trial(arm: str, point: int, seed: int, run: RunRecord | None, endpoint: str) -> Trial:
    if run is None:
        return Trial(arm, point, seed, "missing", None, "", 0)
    score = run.scores.get(endpoint)
    status: TrialStatus = "diverged"
    if run.status != "diverged":
        status = "missing" if score is None else "finished" if math.isfinite(score.value) else "not finite"
    value = score.value if score is not None and status == "finished" else None
    return Trial(arm, point, seed, status, value, run.identity, run.spent.total_flops)


def _pick(arm: str, design: TuningDesign, trials: Sequence[Trial], higher: bool) -> Pick | str:
    missing = [f"{trial_name(arm, one.point)} seed {one.seed}" for one in trials if one.status == "missing"]
    if missing:
        return f"trials are missing: {', '.join(missing)}"
    means = point_means(trials)
    if not means:
        return "at every point of the grid a trial diverged"
    # `max` and `min` give the first of equal ones.
    best = (max if higher else min)(means, key=lambda point: means[point])
    settings = design.points[best]
    return Pick(arm, best, dict(settings), means[best], edges(settings, design.points))


def point_means(trials: Sequence[Trial]) -> dict[int, float]:
    """Point to the mean score of one arm's trials there, for points at which all of them finished."""
    scores: dict[int, list[float | None]] = {}
    for one in trials:
        scores.setdefault(one.point, []).append(one.score)
    return {
        point: math.fsum(value for value in found if value is not None) / len(found)
        for point, found in scores.items()
        if None not in found
    }


def edges(settings: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings whose value is the smallest or the largest of ``points``, and could go further."""
    found = []
    for name, value in settings.items():
        tried = {_place(name, point[name]) for point in points}
        own = _place(name, value)
        if None in tried or len(tried) < 2 or own in _BOUNDS.get(name, ()):
            continue
        numbers = [one for one in tried if one is not None]
        if own in (min(numbers), max(numbers)):
            found.append(name)
    return found


def _place(name: str, value: Any) -> float | None:
    """Where a value lies on its scale; None for one without a scale, such as a schedule."""
    if isinstance(value, str):
        return None
    return math.inf if name == "clip" and value == 0 else float(value)


def write_tuning(tuning: Tuning, folder: Path) -> None:
    """Write ``tuning`` to ``folder``/tuning.json, atomically, with a digest over all of it."""
    content = _content(tuning)
    text = json.dumps({"digest": _digest(content), **content}, indent=1, sort_keys=True, allow_nan=False)
    path = folder / TUNING_FILE
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, text + "\n")


def read_tuning(folder: Path) -> Tuning | None:
    """The tuning of the study in ``folder``; None where there is no tuning.json.

    What the file says of trials and picks is made again of the trials' records, and has to be the same.

    Raises:
        StudyError: the file cannot be read, was edited, or is not what the records of its trials give.
        RecordError: a trial's record cannot be read.
    """
    path = folder / TUNING_FILE
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.get("tuning_format") != TUNING_FORMAT:
            raise StudyError(
                f"{path}: tuning_format is {raw.get('tuning_format')!r}, this version reads {TUNING_FORMAT}"
            )
        if raw.pop("digest", None) != _digest(raw):
            raise StudyError(f"{path}: edited after it was written; `ablate run` writes it anew")
        design = TuningDesign(**raw["design"])
        study = str(raw["study"])
        keys = [(str(arm), int(point), int(seed)) for arm, point, seed in map(_key, raw["trials"])]
        tuning = judge_trials(study, design, _runs(folder, keys))
    except (StudyError, RecordError):
        raise
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise StudyError(f"{path}: no file of tuning ({error!r})") from error
    if _content(tuning) != raw:
        raise StudyError(
            f"{path}: is not what the records in {folder / TUNING_FOLDER / 'records'} give; "
            "`ablate run` writes both anew from the store"
        )
    return tuning


def _key(trial: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    return trial["arm"], trial["point"], trial["seed"]


def _runs(folder: Path, keys: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], RunRecord]:
    found = {}
    for arm, point, seed in keys:
        # Only names of files that are there are opened: what the file says leads nowhere else.
        name = f"{trial_name(arm, point)}-seed{seed}.json"
        path = folder / TUNING_FOLDER / "records" / name
        if path.name == name and path.is_file():
            found[arm, point, seed] = read_record(path)
    return found


def _content(tuning: Tuning) -> dict[str, Any]:
    return {"tuning_format": TUNING_FORMAT, **asdict(tuning)}


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()
