"""Tuning in a report: what was tried and picked, in which settings arms differ, and what does not fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.record import RunRecord
from ablate.report.load import StudyHeader
from ablate.report.recipe_text import leaves
from ablate.report.tables import ABSENT, Cell, Table, number
from ablate.report.tuning import TUNING_FILE, Trial, Tuning, point_means

EDGE = "at the grid's edge"

Settings = Mapping[str, Mapping[str, Any]]
"""Arm to its settings of `train`."""


def tuning_table(tuning: Tuning, places: int = 4) -> Table:
    """Every trial's score of the development endpoint, a row for each arm and point, and what was picked."""
    design = tuning.design
    names = list(design.points[0]) if design.points else []
    table = Table(["arm", *names, *(f"seed {seed}" for seed in design.seeds), "mean", "picked"])
    picks = {pick.arm: pick for pick in tuning.picks}
    for arm in design.arms:
        own = [trial for trial in tuning.trials if trial.arm == arm]
        means = point_means(own)
        for point, settings in enumerate(design.points):
            scores = [_shown(trial, places) for trial in own if trial.point == point]
            said = ""
            if arm in picks and picks[arm].point == point:
                said = ", ".join(["picked", *(f"{EDGE} in {name}" for name in picks[arm].edges)])
            row: list[Cell] = [arm, *(_value(settings[name]) for name in names), *scores]
            table.rows.append([*row, number(means.get(point), places), said])
    return table


def _shown(trial: Trial, places: int) -> str:
    return trial.status if trial.score is None else number(trial.score, places)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def tuning_sentences(tuning: Tuning) -> list[str]:
    """How tuning was done and what is doubtful of it, plain text."""
    design = tuning.design
    better = "largest" if tuning.higher_is_better else "smallest"
    share = "" if design.budget_share == 1 else f", each at {design.budget_share:g} of the budget"
    flops = sum(trial.flops for trial in tuning.trials)
    said = [
        f"Every arm had {design.trials_per_arm} trials{share}: {len(design.points)} points of one grid on "
        f"{_seeds(len(design.seeds))} tuning alone ({', '.join(map(str, design.seeds))}), "
        f"{flops:.3g} FLOPs in all, which no budget here contains.",
        f"Picked is the {better} mean of the development endpoint {design.endpoint}, the first of equal "
        "ones; a diverged trial makes its point the worst. Controls train with their arm's pick: where other "
        "settings would suit a placebo better, grounding favours the arm.",
        *edge_sentences(tuning),
    ]
    said += [f"No pick for {arm}: {why}." for arm, why in tuning.unpicked.items()]
    return said


def edge_sentences(tuning: Tuning) -> list[str]:
    """The arms whose pick lies at an edge of the grid, in a sentence; none where there are none."""
    picks = [f"{pick.arm} ({', '.join(pick.edges)})" for pick in tuning.picks if pick.edges]
    if not picks:
        return []
    return [
        f"tuning picked the edge of its grid for {', '.join(picks)}: the best may lie outside it, and an "
        "arm's gain may be what the other would have had there."
    ]


def _seeds(count: int) -> str:
    return "1 seed that serves" if count == 1 else f"{count} seeds that serve"


def trained_settings(records: Sequence[RunRecord], header: StudyHeader) -> dict[str, dict[str, Any]]:
    """Arm to the settings of `train` in which arms differ, from what determined their runs; empty if none do.

    An arm whose runs differ among themselves has both values, joined by `or`.
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for record in records:
        own = found.setdefault(record.arm, {})
        train = record.resolved.get("train")
        for name, value in (train if isinstance(train, dict) else {}).items():
            values = own.setdefault(name, [])
            if value not in values:
                values.append(value)
    names = dict.fromkeys(name for own in found.values() for name in own)
    unlike = [name for name in names if len({repr(own.get(name)) for own in found.values()}) > 1]
    if not unlike:
        return {}
    arms = [arm for arm in header.arms if arm in found]
    return {arm: {name: _joined(found[arm].get(name, [])) for name in unlike} for arm in arms}


def _joined(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else " or ".join(map(_value, values)) or ABSENT


def settings_table(settings: Settings) -> Table:
    """The settings in which arms differ, a row an arm."""
    names = list(next(iter(settings.values()), {}))
    table = Table(["arm", *names])
    for arm, own in settings.items():
        table.rows.append([arm, *(_value(own[name]) for name in names)])
    return table


def settings_note(arm: str, reference: str, settings: Settings) -> str:
    """In which settings of `train` a contrast's arms differ, for its note; empty where they agree."""
    mine, theirs = settings.get(arm, {}), settings.get(reference, {})
    unlike = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    if not unlike:
        return ""
    said = ", ".join(f"{name} {_value(mine[name])} against {_value(theirs[name])}" for name in unlike)
    return f"trained otherwise: {said}"


def is_tuned(header: StudyHeader) -> bool:
    """Whether the study's recipe asks for tuning. A screen trains before it."""
    return header.purpose == "contrasts" and bool(_asked(header))


def _asked(header: StudyHeader) -> dict[str, Any]:
    """The tune block of the study's recipe, by dotted key."""
    # Most recipes have none, and reading YAML takes a while.
    if "\ntune:" not in header.recipe:
        return {}
    return {key: value for key, value in (leaves(header.recipe) or {}).items() if key.startswith("tune.")}


def tuning_faults(tuning: Tuning | None, header: StudyHeader, records: Sequence[RunRecord]) -> list[str]:
    """In what a study's tuning and its runs are not what its recipe asks for, in words.

    Args:
        tuning: None where there is no tuning.json.
    """
    asked = _asked(header)
    if not asked:
        return []
    if tuning is None:
        return [f"the recipe asks for tuning, and there is no {TUNING_FILE}"]
    design = tuning.design
    faults = [
        f"{key} is {asked.get(key)} in the recipe and {value} in {TUNING_FILE}"
        for key, value in _stated(tuning).items()
        if asked.get(key) != value
    ]
    controls = {control: arm for arm, names in header.controls.items() for control in names}
    arms = [arm for arm in header.arms if arm not in controls and arm not in header.ladder]
    if sorted(arms) != sorted(design.arms):
        faults.append(f"tuned were {', '.join(design.arms)}, and the arms are {', '.join(arms)}")
    picks = tuning.settings()
    for record in records:
        own = header.baseline if record.arm in header.ladder else controls.get(record.arm, record.arm)
        train = record.resolved.get("train", {})
        unlike = {name: value for name, value in picks.get(own, {}).items() if train.get(name) != value}
        faults += [
            f"{record.arm}, seed {record.seed} trained with {name} {train.get(name)}, picked was {value}"
            for name, value in unlike.items()
        ]
    return faults


def _stated(tuning: Tuning) -> dict[str, Any]:
    """The tune block that a file of tuning was made by, by dotted key."""
    design = tuning.design
    names = list(design.points[0]) if design.points else []
    grid = {
        f"tune.grid.{name}": list(dict.fromkeys(point[name] for point in design.points)) for name in names
    }
    return grid | {
        "tune.seeds": design.seeds,
        "tune.endpoint": design.endpoint,
        "tune.budget_share": design.budget_share,
    }
