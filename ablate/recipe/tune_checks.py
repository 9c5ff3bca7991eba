"""Settings of `train` that arms have of their own, and the `tune` block: types, and what they must satisfy.

Pure: nothing is read from disk.
"""

import dataclasses
import itertools
import math
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import make_dataclass
from types import GenericAlias
from typing import Any, Protocol

from ablate.recipe.endpoint_checks import confirmatory_tasks, task_endpoint
from ablate.recipe.errors import Report, listed
from ablate.recipe.schema import ARM_SETTINGS, Recipe, TrainConfig, TuneConfig
from ablate.recipe.typed import typed_fields

MOST_POINTS = 64
"""Points of a grid; each is a run for every arm and tuning seed."""

_HINTS: dict[str, Any] = {name: typing.get_type_hints(TrainConfig)[name] for name in ARM_SETTINGS}
_ARM = make_dataclass("ArmSettings", [(name, hint, None) for name, hint in _HINTS.items()])
_GRID = make_dataclass(
    "GridSettings", [(name, GenericAlias(list, (hint,)), None) for name, hint in _HINTS.items()]
)
"""The same settings, with a list of values each."""

_Found = Iterator[tuple[Any, ...]]
"""key, found, allowed, and optionally hint and the keys read."""


class Beyond(Protocol):
    """What a setting, named `train.<name>`, may be where ``value`` is not that; else empty."""

    def __call__(self, key: str, value: Any) -> str: ...


def typed_settings(recipe: Recipe, seen: Report) -> Recipe:
    """``recipe`` with the settings of its arms and the values of its grid as the types of `TrainConfig`.

    What is no setting that arms may differ in is reported, with the nearest name.
    """
    arms = {
        name: dataclasses.replace(arm, train=_typed(_ARM, arm.train, f"arms.{name}.train", seen))
        for name, arm in recipe.arms.items()
    }
    grid = _typed(_GRID, recipe.tune.grid, "tune.grid", seen)
    return dataclasses.replace(recipe, arms=arms, tune=dataclasses.replace(recipe.tune, grid=grid))


def _typed(cls: type, given: Mapping[str, Any], key: str, seen: Report) -> dict[str, Any]:
    shared = {item.name for item in dataclasses.fields(TrainConfig)} - set(ARM_SETTINGS)
    for name in shared & given.keys():
        why = "it is the same for all arms: set it in train"
        seen.report(f"{key}.{name}", f"the key {name!r}", listed(ARM_SETTINGS), why)
    return typed_fields(cls, {name: value for name, value in given.items() if name not in shared}, key, seen)


def grid_points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of ``grid``, the last setting fastest; none of an empty grid."""
    if not grid:
        return []
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def arm_settings(recipe: Recipe, beyond: Beyond) -> _Found:
    """Everything wrong with the settings that arms have of their own."""
    for name, arm in recipe.arms.items():
        key = f"arms.{name}.train"
        wrong = [(one, beyond(f"train.{one}", value)) for one, value in arm.train.items()]
        for one, allowed in wrong:
            if allowed:
                yield f"{key}.{one}", f"{arm.train[one]:g}", allowed
            elif one in recipe.tune.grid:
                found, allowed = f"{arm.train[one]}, and tune.grid varies it", "one of the two"
                yield f"{key}.{one}", found, allowed, "leave it out here", (f"tune.grid.{one}",)
        if arm.train and not any(allowed for _, allowed in wrong):
            train = dataclasses.replace(recipe.train, **arm.train)
            if why := _unsound(train, arm.train):
                yield key, why, _SOUND, "", ("train.schedule", "train.warmup", "train.decay")


_SOUND = "a schedule whose parts fit, and settings that it heeds"


def _unsound(train: TrainConfig, own: Mapping[str, Any]) -> str:
    """What of a schedule does not fit together; empty where all does.

    Args:
        own: the settings that were stated apart from the study's, which should change something.
    """
    if train.schedule != "wsd":
        found = f"decay {train.decay:g} with schedule {train.schedule}, which has none"
        return found if "decay" in own else ""
    together = train.warmup + train.decay
    return f"warmup {train.warmup:g} + decay {train.decay:g} of the steps" if together > 1 + 1e-9 else ""


def tune(recipe: Recipe, beyond: Beyond) -> _Found:
    """Everything wrong with `tune`."""
    stated = recipe.tune
    if not stated.grid:
        if stated != TuneConfig():
            yield "tune.grid", "nothing to try", "settings of train with their values", "or leave out tune"
        return
    yield from _grid(recipe, beyond)
    yield from _seeds(recipe)
    if not (math.isfinite(stated.budget_share) and 0 < stated.budget_share <= 1):
        yield "tune.budget_share", f"{stated.budget_share:g}", "more than 0, at most 1"
    yield from _endpoint(recipe)


def _grid(recipe: Recipe, beyond: Beyond) -> _Found:
    grid = recipe.tune.grid
    refused = False
    for name, values in grid.items():
        key = f"tune.grid.{name}"
        repeated = [value for value, times in Counter(values).items() if times > 1]
        if not values or repeated:
            refused = True
            found = f"{listed(map(str, repeated))} more than once" if values else "no value"
            yield key, found, "one value or more, each once"
        for place, value in enumerate(values):
            if allowed := beyond(f"train.{name}", value):
                refused = True
                yield f"{key}.{place}", f"{value:g}", allowed
    count = math.prod(len(values) for values in grid.values())
    if refused:
        return
    if count < 2:
        yield "tune.grid", "one point", "two points or more", "what all arms train with goes into train"
    elif count > MOST_POINTS:
        found, why = f"{count} points", "each is a run for every arm and tuning seed"
        yield "tune.grid", found, f"at most {MOST_POINTS}", why
    else:
        yield from _points(recipe)


def _points(recipe: Recipe) -> _Found:
    """The first point that some arm could not train at, or at which a setting would change nothing."""
    reads = ("train.schedule", "train.warmup", "train.decay", *(f"arms.{name}.train" for name in recipe.arms))
    for name, arm in recipe.arms.items():
        for point in grid_points(recipe.tune.grid):
            train = dataclasses.replace(recipe.train, **(arm.train | point))
            if why := _unsound(train, point):
                yield "tune.grid", f"{why} (arm {name})", _SOUND, "", reads
                return


def _seeds(recipe: Recipe) -> _Found:
    seeds = recipe.tune.seeds
    repeated = [seed for seed, times in Counter(seeds).items() if times > 1]
    negative = [seed for seed in seeds if seed < 0]
    both = [seed for seed in seeds if seed in (*recipe.seeds, *recipe.endpoints.baseline_seeds)]
    if not seeds:
        yield "tune.seeds", "an empty list", "seeds that the study does not have", "such as [100, 101]"
    if repeated:
        yield "tune.seeds", f"{listed(map(str, repeated))} more than once", "each seed once"
    if negative:
        yield "tune.seeds", listed(map(str, negative)), "seeds of 0 or more"
    if both:
        found = f"{listed(map(str, both))}, which the study has too"
        why = "what was picked by a seed's score would be judged by it again"
        yield "tune.seeds", found, "other seeds than the study's", why, ("seeds", "endpoints.baseline_seeds")


def _endpoint(recipe: Recipe) -> _Found:
    """Refuse a development endpoint that no task scores, or whose task a confirmatory endpoint is of.

    Tasks of other names that share items with a confirmatory one are refused once the items are read
    (`ablate.study.tuning`).
    """
    name = recipe.tune.endpoint
    if not name:
        yield "tune.endpoint", "nothing", "the development endpoint, task/metric"
        return
    refused = False
    for problem in task_endpoint("tune.endpoint", name, recipe):
        refused = True
        yield problem
    task = name.partition("/")[0]
    if not refused and task in confirmatory_tasks(recipe):
        found = f"{name!r}, of the task {task!r}, by which the study is judged"
        allowed = "an endpoint of a task with other items"
        hint = f"add a task of its kind over other files, such as tasks.{task}_dev, and name its endpoint"
        yield "tune.endpoint", found, allowed, hint, ("endpoints.primary", "endpoints.margins")
