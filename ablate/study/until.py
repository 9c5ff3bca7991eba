"""Adding seeds until the verdict is in, by a rule that was stated before.

A study that is looked at after every few seeds and stopped once it says something errs far more often
than 5%. `stopping` names a rule that keeps its error rate (`ablate.stats.sequential`); the looks here are
the ones it knows of.
"""

import dataclasses
from pathlib import Path

from ablate.recipe.errors import Problem, RecipeError
from ablate.recipe.schema import Recipe
from ablate.report.load import HEADER_FILE, read_header
from ablate.study.study import looks_of


def with_rule(recipe: Recipe, max_seeds: int, file: str) -> Recipe:
    """``recipe`` as it is run until decided: with a rule, and with as many seeds as it may take.

    Without a rule of its own it is `anytime`. More seeds count on from the largest.

    Args:
        max_seeds: seeds at most; 0 leaves them as the recipe has them.
        file: the recipe's file, for the message.

    Raises:
        RecipeError: ``max_seeds`` contradicts looks that the recipe states, or is below 2.
    """
    stopping = recipe.stopping
    if stopping.rule == "fixed":
        stopping = dataclasses.replace(stopping, rule="anytime")
    count = max_seeds or len(recipe.seeds)
    if stopping.looks and stopping.looks[-1] != count:
        allowed = f"{stopping.looks[-1]}, the last of stopping.looks"
        raise RecipeError([Problem(file, "seeds", f"--max-seeds {count}", allowed, "change the looks")])
    if count < 2:
        raise RecipeError([Problem(file, "seeds", f"{count} seeds", "2 seeds or more", "set --max-seeds")])
    first = max(recipe.seeds) + 1
    seeds = [*recipe.seeds, *range(first, first + count)][:count]
    recipe = dataclasses.replace(recipe, seeds=seeds, stopping=stopping)
    return dataclasses.replace(recipe, stopping=dataclasses.replace(stopping, looks=looks_of(recipe)))


def stages(recipe: Recipe, results: Path) -> list[Recipe]:
    """The study as it stands at each of its looks, with the seeds up to there; from the look on that
    ``results`` had reached when it was last run, so that nothing it holds is taken away again."""
    found = [dataclasses.replace(recipe, seeds=recipe.seeds[:count]) for count in looks_of(recipe)]
    reached = read_header(results).seeds if (results / HEADER_FILE).exists() else []
    there = [place for place, stage in enumerate(found) if stage.seeds == reached]
    return found[there[0] :] if there else found
