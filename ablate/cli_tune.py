"""The tuning stage of `ablate run`."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ablate.recipe.schema import Recipe
    from ablate.study.dispatch import Place
    from ablate.study.study import Places


def tuned_recipe(recipe: "Recipe", places: "Places", place: "Place") -> "Recipe":
    """``recipe`` with what tuning picks, its missing trials trained; as it is where nothing is tuned.

    Args:
        place: where runs run.

    Raises:
        typer.Exit: a trial failed.
        TuningError: tuning is refused, or an arm has no pick.
    """
    from ablate.materials import prepare, refuse_undecodable
    from ablate.show import StudyDisplay, show_failures
    from ablate.show_tuning import show_tuning
    from ablate.study.tuning import conclude, plan_tuning, run_trials, tuned, tuning_jobs

    if not recipe.tune.grid:
        return recipe
    materials = prepare(recipe, places.cache)
    refuse_undecodable(materials)
    plan = plan_tuning(recipe, materials)
    jobs = tuning_jobs(plan, places, place.threads)
    done = len({trial.identity for trial in plan.trials}) - len(jobs)
    with StudyDisplay(f"{recipe.study}, tuning", done, len(jobs)) as display:
        failures = run_trials([plan], jobs, places, place.slots, display.see, place.executor)
    tuning = conclude(plan, places)
    show_tuning(tuning)
    if failures:
        show_failures(failures)
        raise typer.Exit(1)
    return tuned(recipe, tuning)
