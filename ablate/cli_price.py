"""`ablate price` and `ablate.study.variance`: what a verdict costs."""

from pathlib import Path
from typing import Annotated

import typer


def price(
    measurements: Annotated[
        list[Path] | None, typer.Argument(help="Folders with settings.json and runs.jsonl.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a page is not what its runs give.")
    ] = False,
) -> None:
    """What a verdict costs in FLOPs under several schedules, averages and control variates, from A/A runs."""
    from ablate.report.price import write_price
    from ablate.show_report import show_check

    folders = measurements or [Path("results/variance")]
    if check:
        raise typer.Exit(0 if show_check(folders) else 1)
    for folder in folders:
        print(f"Written: {', '.join(map(str, write_price(folder)))}")


def bench_variance(
    recipe: Annotated[Path, typer.Argument(help="An A/A recipe, such as recipes/aa.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes to the recipe.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the scores.")] = Path("results/variance"),
    cache: Annotated[Path, typer.Option(help="Everything derived from data.")] = Path(".ablate/cache"),
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="A schedule to train under, such as 'decay to 0'; all if left out."),
    ] = None,
    aa: Annotated[
        str, typer.Option(help="Folder of an A/A study, relative to --out, for the control variates.")
    ] = "",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train A/A pairs and score several averages of each run; `ablate price` makes the page. Safe to kill."""
    import torch

    from ablate.recipe.load import load_recipe
    from ablate.study.variance import SCHEDULES, Trajectory, measure_variance

    torch.set_num_threads(threads)

    def see(run: Trajectory) -> None:
        print(f"{run.arm} seed {run.seed}, {run.schedule}: {run.wall_seconds:.1f} s of training", flush=True)

    names = schedule or list(SCHEDULES)
    measure_variance(load_recipe(recipe, overrides or []), cache, out, names, aa, see)
