"""How long the runs of a study would take, from the speed of one real microbatch."""

import dataclasses
import time

import torch

from ablate.budget.plan import Plan
from ablate.data.mixture import to_device
from ablate.materials import Materials, build_columns, build_mixture
from ablate.model.build import build_model
from ablate.model.features import attach_zeros
from ablate.recipe.schema import Recipe
from ablate.train.device import device_type
from ablate.train.ranks import ranks_of

TIMED_POSITIONS = 2048
"""Positions of a pass from which one CPU thread's rate no longer grows."""


def estimate_seconds(materials: Materials, plans: list[Plan]) -> dict[str, float]:
    """Seconds of training per arm: its FLOPs at the rate of the arm's own first microbatch.

    One forward and backward pass is timed on random weights, on one thread on CPU as the pool runs it, and
    there on no more rows than a steady rate needs; nothing is updated. Frozen trunks do not run: a run reads
    their features from a cache. Controls take the rate of the arm they mirror, but for `noise` and `blank`,
    whose media are made and encoded in the step. Devices that train a run together are taken to share it
    without loss.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if device_type() == "cpu" else threads)
    try:
        rates: dict[str, float] = {}
        if device_type() == "cpu":
            recipe = _in_small_microbatches(materials.recipe, plans)
            materials = dataclasses.replace(materials, recipe=recipe)
        for plan in plans:
            name = _timed_as(plan)
            if name not in rates:
                rates[name] = _flops_per_second(materials, plan)
        ranks = ranks_of(materials.recipe.train)
        return {plan.arm.name: plan.ledger.flops_executed / rates[_timed_as(plan)] / ranks for plan in plans}
    finally:
        torch.set_num_threads(threads)


def _in_small_microbatches(recipe: Recipe, plans: list[Plan]) -> Recipe:
    """``recipe`` with the fewest rows in a microbatch that make `TIMED_POSITIONS` and whole shares of every
    arm; as it is if none do."""
    held = recipe.train.microbatch_rows or recipe.train.rows
    for rows in range(-(-TIMED_POSITIONS // recipe.model.context_length), held):
        smaller = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, microbatch_rows=rows))
        if recipe.train.rows % rows == 0 and all(_has_whole_rows(smaller, plan) for plan in plans):
            return smaller
    return recipe


def _has_whole_rows(recipe: Recipe, plan: Plan) -> bool:
    try:
        build_columns(recipe, plan.arm)
    except ValueError:
        return False
    return True


def _timed_as(plan: Plan) -> str:
    """The arm whose rate stands for that of ``plan``."""
    own = plan.arm.mirrors is None or plan.arm.control in ("noise", "blank")
    return plan.arm.name if own else str(plan.arm.mirrors)


def _flops_per_second(materials: Materials, plan: Plan) -> float:
    recipe = materials.recipe
    device = torch.device(device_type())
    model = build_model(recipe, plan.arm, materials.vocabulary, recipe.seeds[0]).to(device)
    mixture = build_mixture(materials, plan.arm, recipe.seeds[0])
    attach_zeros(model, mixture, media_loss=plan.arm.media_loss > 0)
    batch = to_device(mixture.step(0).microbatches[0], device)
    share = 1.0 / mixture.columns.microbatches

    def once() -> float:
        began = time.monotonic()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            sums = model(batch)
        (sums.text + sums.media).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - began

    once()  # the first pass also pays for allocation
    return plan.executed_per_step * share / once()
