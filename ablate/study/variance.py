"""A/A runs whose last weights are averaged in several ways, under several schedules, all scored.

Averages of one trajectory cost no further training: each run is trained once under each schedule, and the
last weights and every average of it are scored. `ablate.report.price` says what that does to the price of a
verdict.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ablate.budget.plan import Plan, plan_study
from ablate.materials import Materials, build_mixture, prepare
from ablate.model.build import build_model
from ablate.recipe.load import dump_recipe
from ablate.recipe.schema import Recipe, TrainConfig
from ablate.report.price_runs import LAST, RUNS_FILE, SETTINGS_FILE, SETTINGS_FORMAT, PriceError
from ablate.study.run import score
from ablate.train.averaging import WeightAverage, weight_average
from ablate.train.callbacks import Averaging
from ablate.train.device import device_type
from ablate.train.fit import fit
from ablate.whole_file import write_whole

SCHEDULES: dict[str, dict[str, Any]] = {
    "decay to 0": {"schedule": "cosine", "final_learning_rate": 0.0},
    "decay to a tenth": {"schedule": "cosine", "final_learning_rate": 0.1},
    "constant": {"schedule": "wsd", "decay": 0.0},
}
"""Learning rate after the warm-up, at the recipe's peak."""

AVERAGES: dict[str, dict[str, Any]] = {
    LAST: {},
    "ema": {"average": "ema", "average_from": 0.5, "average_half_life": 0.05},
    "last 10 of a fifth": {"average": "last_k", "average_from": 0.8, "average_checkpoints": 10},
    "last 10 of a half": {"average": "last_k", "average_from": 0.5, "average_checkpoints": 10},
}
"""Settings of `train` by the name that the table gives them."""


@dataclass(frozen=True)
class Trajectory:
    """One training run, scored by all its averages."""

    seed: int
    arm: str
    schedule: str
    scores: dict[str, float]
    """Score of the primary endpoint by average."""
    flops: int
    wall_seconds: float


def measure_variance(
    recipe: Recipe,
    cache: Path,
    out: Path,
    schedules: Sequence[str] = tuple(SCHEDULES),
    aa: str = "",
    see: Callable[[Trajectory], None] = lambda run: None,
) -> None:
    """Train both arms of an A/A ``recipe`` over its seeds, seed by seed, and write scores to ``out``.

    A line is added to `runs.jsonl` as soon as its run is scored; the same call goes on from there.

    Args:
        schedules: names in `SCHEDULES`; the first is what the others are held against.
        aa: an A/A study for the page to take control variates from, relative to ``out``.

    Raises:
        PriceError: the recipe has other arms than a baseline and one more, or ``out`` holds another
        measurement.
    """
    others = [arm for arm in recipe.arms if arm != recipe.baseline]
    if len(others) != 1 or recipe.arms[others[0]].controls:
        raise PriceError(
            f"{recipe.study}: an A/A study has a baseline and one arm, not {', '.join(recipe.arms)}"
        )
    materials = prepare(recipe, cache)
    plans = {plan.arm.name: plan for plan in plan_study(materials)}
    out.mkdir(parents=True, exist_ok=True)
    _open(recipe, out, schedules, aa)
    runs = out / RUNS_FILE
    lines = runs.read_text(encoding="utf-8").splitlines() if runs.exists() else []
    done = {(raw["seed"], raw["arm"], raw["schedule"]) for raw in map(json.loads, lines)}
    for seed, arm, schedule in _planned(recipe, others[0], schedules):
        if (seed, arm, schedule) in done:
            continue
        found = _trajectory(materials, plans[arm], seed, schedule)
        with runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found.__dict__) + "\n")
        see(found)


def _planned(recipe: Recipe, other: str, schedules: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    for seed in recipe.seeds:
        for schedule in schedules:
            for arm in (recipe.baseline, other):
                yield seed, arm, schedule


def _open(recipe: Recipe, out: Path, schedules: Sequence[str], aa: str) -> None:
    """Write what is measured, or see that ``out`` holds the same but for the seeds."""
    unknown = [name for name in schedules if name not in SCHEDULES]
    if unknown or not schedules:
        raise PriceError(f"the schedule {unknown!r} is not known; known: {', '.join(SCHEDULES)}")
    endpoint = recipe.endpoints.primary
    settings: dict[str, Any] = {
        "settings_format": SETTINGS_FORMAT,
        "recipe": dump_recipe(replace(recipe, seeds=[])),
        "baseline": recipe.baseline,
        "arm": next(arm for arm in recipe.arms if arm != recipe.baseline),
        "endpoint": endpoint,
        "margin": recipe.endpoints.margins[endpoint],
        "schedules": {name: SCHEDULES[name] for name in schedules},
        "averages": AVERAGES,
        "aa": aa,
        "torch": torch.__version__,
        "device": device_type(),
    }
    text = json.dumps(settings, indent=1) + "\n"
    path = out / SETTINGS_FILE
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise PriceError(f"{path}: another measurement lies here; name another folder or delete it")
    write_whole(path, text)


def _trajectory(materials: Materials, plan: Plan, seed: int, schedule: str) -> Trajectory:
    recipe = materials.recipe
    config = replace(recipe.train, average="none", **SCHEDULES[schedule])
    model = build_model(recipe, plan.arm, materials.vocabulary, seed).to(device_type())
    averages = _averages(config, plan.steps)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            model,
            build_mixture(materials, plan.arm, seed),
            config,
            steps=plan.steps,
            media_loss=plan.arm.media_loss,
            flops_per_step=sum(plan.flops_per_step.values()),
            folder=Path(folder),
            watching=[Averaging(average, name) for name, average in averages.items()],
        )
    if result.diverged:
        raise PriceError(f"{plan.arm.name} seed {seed}, {schedule}: diverged, {result.diverged}")
    scores = {}
    for name in AVERAGES:
        if name in averages:
            averages[name].copy_to(model)
        scores[name] = score(model.backbone, materials)[0][recipe.endpoints.primary].value
    flops = sum(plan.flops(plan.steps).values())
    seconds = round(result.account.wall_seconds, 2)
    return Trajectory(seed, plan.arm.name, schedule, scores, flops, seconds)


def _averages(config: TrainConfig, steps: int) -> dict[str, WeightAverage]:
    """Every average but the last weights, which come first: a copy replaces them."""
    found = {name: weight_average(replace(config, **settings), steps) for name, settings in AVERAGES.items()}
    return {name: average for name, average in found.items() if average is not None}
