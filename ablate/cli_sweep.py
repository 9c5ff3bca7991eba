"""`ablate sweep`: mixtures of streams, crossed with settings."""

import functools
from pathlib import Path
from typing import Annotated

import typer


def sweep(
    file: Annotated[Path, typer.Argument(help="A sweep, such as recipes/sweeps/image_share.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to it, such as sweep.mixture.degree=2 seeds=[0,1].")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, FLOPs, time and disk; train nothing.")
    ] = False,
    lock: Annotated[
        bool, typer.Option("--lock", help="Write the plan of every setting, before the first run.")
    ] = False,
    store: Annotated[Path, typer.Option(help="Records and checkpoints, shared by studies.")] = Path(
        ".ablate/store"
    ),
    cache: Annotated[Path, typer.Option(help="Everything derived from data.")] = Path(".ablate/cache"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; results/<study> if left out.")
    ] = None,
    slots: Annotated[
        int, typer.Option(min=0, help="Runs at a time; 0: as `bench slots` found, else one per core or GPU.")
    ] = 0,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of each run; 0 shares the cores among the slots.")
    ] = 0,
    executor: Annotated[
        str, typer.Option(help="Where runs run: local (processes of this machine) or ray (a cluster).")
    ] = "local",
    ray_address: Annotated[
        str, typer.Option(help="With --executor ray: local, auto or HOST:PORT; local if left out.")
    ] = "",
) -> None:
    """Train what is missing of a sweep, then print its report. Safe to kill and to run again.

    With train.nodes > 1 it is started once on each node, by srun or torchrun. Exit code 1 if a setting or a
    run could not be run, or a run diverged; 2 if the sweep itself is refused.
    """
    from ablate.cli_nodes import on_first_node, refuse_here, show_unable
    from ablate.executors.placement import runs_here
    from ablate.show import show_failures
    from ablate.show_report import show_sweep_report
    from ablate.show_sweep import (
        SweepDisplay,
        show_diverged,
        show_locks,
        show_points,
        show_problems,
        show_sweep_plan,
    )
    from ablate.study.dispatch import open_executor
    from ablate.study.index import Index
    from ablate.study.standing import standing
    from ablate.study.study import Places
    from ablate.sweep.load import load_sweep
    from ablate.sweep.plan import plan_sweep
    from ablate.sweep.run import run_sweep
    from ablate.sweep.tune import tune_sweep

    loaded = load_sweep(file, overrides or [])
    places = Places(store, cache, results or Path("results") / loaded.name)
    recipes = [setting.recipe for setting in loaded.settings]
    if dry_run or lock:
        plan = plan_sweep(loaded, places, max(1, threads))
        show_points(plan)
        show_sweep_plan(plan, places.store, slots or runs_here(recipes, cache))
        show_unable(recipes)
        if lock:
            show_locks(plan, places)
        raise typer.Exit(1 if show_problems(plan) else 0)
    with (
        on_first_node(recipes, store, cache),
        open_executor(executor, slots, threads, ray_address, recipes, cache) as place,
    ):
        refuse = functools.partial(refuse_here, executor=executor, place=place)
        plan = plan_sweep(loaded, places, place.threads, refuse=refuse)
        failed_trials = []
        if plan.trials:
            with SweepDisplay(loaded.name, plan.planned_trials, store, "tuning") as display:
                failed_trials = tune_sweep(plan, places, place.slots, display.see, place.executor)
            if failed_trials:
                show_failures(failed_trials)
            plan = plan_sweep(loaded, places, place.threads, trials_over=True, refuse=refuse)
        with SweepDisplay(loaded.name, plan.planned, store) as display:
            failures = run_sweep(plan, places, place.slots, display.see, place.executor)
    if failures:
        show_failures(failures)
    show_sweep_report(places.results)
    diverged = show_diverged(standing(plan.planned, Index(store)))
    if show_problems(plan) or failures or failed_trials or diverged:
        raise typer.Exit(1)
