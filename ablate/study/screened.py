"""What the screen that a recipe names excludes, once it is certain that it is about this recipe."""

import dataclasses
from pathlib import Path
from typing import Any

from ablate.budget.plan import Plan
from ablate.materials import Materials
from ablate.recipe.endpoint_checks import DIFFERENCE, confirmatory_tasks
from ablate.recipe.schema import Recipe
from ablate.report.load import StudyError
from ablate.report.screen import ScreenFile, read_screen
from ablate.study.identity import resolved_arm, used_digests

MOST_NAMED = 6
"""Most differences that a message names."""


def read_exclusions(recipe: Recipe, materials: Materials, plans: list[Plan]) -> tuple[str, dict[str, str]]:
    """Digest of the recipe's screen, and the endpoints with a margin that did not pass it, with the reason.

    Args:
        recipe: as loaded, with `endpoints.screen`.
        plans: of every arm.

    Raises:
        StudyError: the screen cannot be read, is of another model, budget or data than the recipe's, or the
            primary endpoint did not pass it.
    """
    path = Path(recipe.endpoints.screen)
    screen = read_screen(path)
    other = _differences(screen, recipe, materials, plans)
    if other:
        more = f" and {len(other) - MOST_NAMED} more" if len(other) > MOST_NAMED else ""
        raise StudyError(
            f"{path}: screens another study than this recipe's: {'; '.join(other[:MOST_NAMED])}{more}; run "
            "`ablate screen` on this recipe, with the same overrides"
        )
    excluded = {
        endpoint: why
        for endpoint in recipe.endpoints.margins
        if (why := _exclusion(endpoint, recipe, screen))
    }
    primary = recipe.endpoints.primary
    if primary in excluded:
        raise StudyError(
            f"{recipe.study}: the primary endpoint {primary} did not pass the screen in {path} "
            f"({excluded[primary]}); name one that did, or train a larger model for longer"
        )
    return screen.digest, excluded


def _exclusion(endpoint: str, recipe: Recipe, screen: ScreenFile) -> str:
    """Why an endpoint did not pass; empty if it did. A difference passes if both of its parts do."""
    task, _, name = endpoint.partition("/")
    if task == DIFFERENCE and name in recipe.endpoints.differences:
        parts = recipe.endpoints.differences[name]
        said = {part: why for part in parts if (why := _exclusion(part, recipe, screen))}
        if not said:
            return ""
        verdict = next(iter(said.values())).partition(":")[0]
        return f"{verdict}: of its parts, " + "; ".join(f"{part} is {why}" for part, why in said.items())
    verdict, reason = screen.verdicts.get(endpoint, ("not screened", "the screen did not score it"))
    return "" if verdict == "usable" else f"{verdict}: {reason}"


def _differences(screen: ScreenFile, recipe: Recipe, materials: Materials, plans: list[Plan]) -> list[str]:
    """In what the screened baseline is not this recipe's: settings, steps, data, items; in words.

    Seeds may differ, and tasks that no margin is stated for.
    """
    plan = next(plan for plan in plans if plan.arm.name == recipe.baseline)
    # A screen comes before tuning.
    stated = dataclasses.replace(plan.arm, train=recipe.arms[recipe.baseline].train)
    plan = dataclasses.replace(plan, arm=stated)
    mine, theirs = _flat(resolved_arm(materials, plan), ""), _flat(screen.resolved, "")
    found = [
        f"{key} was {theirs.get(key)!r}, here {mine.get(key)!r}"
        for key in dict.fromkeys([*mine, *theirs])
        if mine.get(key) != theirs.get(key)
    ]
    # A task that was not screened excludes its endpoints, see `_exclusion`.
    judged = (f"task/{name}" for name in confirmatory_tasks(recipe))
    tasks = {name: materials.digests[name] for name in judged if name in screen.data_digests}
    digests = used_digests(materials, plan) | tasks
    other = [name for name, digest in digests.items() if screen.data_digests.get(name) != digest]
    return found + [f"{name} has other content" for name in other]


def _flat(tree: Any, prefix: str) -> dict[str, Any]:
    """The leaves of resolved settings by dotted key, as JSON gives them back."""
    if isinstance(tree, dict):
        return {
            key: value
            for name, part in tree.items()
            for key, value in _flat(part, f"{prefix}{name}.").items()
        }
    return {prefix.rstrip("."): list(tree) if isinstance(tree, tuple) else tree}
