"""The screen of a recipe: its baseline at several shares of the budget, and no other arm.

The recipe keeps all of its arms, as the tokenizer is trained on the text of all: so the runs of a screen are
the very runs that the study has as its baseline and ladder, and are trained once for both.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ablate.budget.plan import Plan, plan_study
from ablate.materials import prepare
from ablate.recipe.errors import Problem, RecipeError
from ablate.recipe.load import load_recipe
from ablate.recipe.schema import Recipe, StoppingConfig
from ablate.report.load import StudyHeader
from ablate.study.study import Places, Prepared, header_of, look_up

SUFFIX = "_screen"
"""What follows the study's name in that of its screen."""


def screen_recipe(path: Path, overrides: Sequence[str], shares: str) -> Recipe:
    """The recipe in ``path`` as its screen is run: under a name of its own, with a ladder of ``shares``.

    Args:
        shares: numbers between 0 and 1, with commas.

    Raises:
        RecipeError: everything that is wrong with the recipe, or with the shares.
    """
    study = load_recipe(path, overrides).study
    wanted = _shares(shares, str(path))
    recipe = load_recipe(path, [*overrides, f"study={study}{SUFFIX}", f"ladder={wanted}"])
    endpoints = dataclasses.replace(recipe.endpoints, screen="")
    return dataclasses.replace(recipe, endpoints=endpoints, stopping=StoppingConfig())


def _shares(text: str, file: str) -> list[float]:
    allowed = "shares of the budget between 0 and 1, such as 0.125,0.25,0.5"
    try:
        found = sorted(float(part) for part in text.split(","))
    except ValueError:
        raise RecipeError([Problem(file, "--shares", repr(text), allowed, "")]) from None
    if not all(0.0 < share < 1.0 for share in found):
        why = "the baseline itself is the whole budget, the largest rung"
        raise RecipeError([Problem(file, "--shares", repr(text), allowed, why)])
    return found


def prepare_screen(recipe: Recipe, places: Places, threads: int) -> Prepared:
    """Index the data, plan the baseline and its ladder, and look up their runs that have ended.

    Media are not decoded: no run of a screen shows any.

    Args:
        recipe: see `screen_recipe`.
    """
    materials = prepare(recipe, places.cache)
    plans = [plan for plan in plan_study(materials) if _is_text_only(plan, recipe)]
    return look_up(recipe, materials, plans, places, threads, screen_header(recipe, plans))


def _is_text_only(plan: Plan, recipe: Recipe) -> bool:
    return plan.arm.name == recipe.baseline or plan.arm.budget_share != 1.0


def screen_header(recipe: Recipe, plans: list[Plan]) -> StudyHeader:
    """The header of a screen: no arm is contrasted, so that there are no controls."""
    return dataclasses.replace(header_of(recipe, plans), purpose="screen", controls={})
