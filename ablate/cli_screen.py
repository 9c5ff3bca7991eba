"""`ablate screen`: which endpoints a recipe can be judged by at its size."""

import os
from pathlib import Path
from typing import Annotated

import typer


def screen(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/quickstart.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as model.layers=4 seeds=[0,1].")
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Shares of the budget at which the baseline is trained too.")
    ] = "0.125,0.25,0.5",
    store: Annotated[Path, typer.Option(help="Records and checkpoints, shared by studies.")] = Path(
        ".ablate/store"
    ),
    cache: Annotated[Path, typer.Option(help="Everything derived from data.")] = Path(".ablate/cache"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of the screen; results/<study>_screen if left out.")
    ] = None,
    slots: Annotated[
        int, typer.Option(min=0, help="Runs at a time; 0 means one per core, or one on a GPU.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of each run; 0 shares the cores among the slots.")
    ] = 0,
) -> None:
    """Which endpoints are above chance and rise with compute, for the baseline of a recipe at its size."""
    import torch

    from ablate.show import StudyDisplay, show_failures
    from ablate.show_screen import show_screen
    from ablate.study.screen import prepare_screen, screen_recipe
    from ablate.study.study import Places, run_study

    asked = screen_recipe(recipe, overrides or [], shares)
    places = Places(store, cache, results or Path("results") / asked.study)
    cores = os.cpu_count() or 1
    count = slots or (1 if torch.cuda.is_available() else cores)
    prepared = prepare_screen(asked, places, threads or max(1, cores // count))
    with StudyDisplay(prepared.recipe.study, len(prepared.finished), len(prepared.jobs)) as display:
        failures = run_study(prepared, places, count, display.see)
    if failures:
        show_failures(failures)
    if any((places.results / "records").glob("*.json")):
        show_screen(places.results)
    if failures:
        raise typer.Exit(1)
