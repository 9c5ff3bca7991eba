"""`ablate status`: where a study or a sweep stands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ablate.study.index import Index
    from ablate.study.standing import Standing

REFRESH_SECONDS = 2.0


def status(
    study: Annotated[str, typer.Argument(help="A study or a sweep, by its name, such as quickstart.")],
    store: Annotated[Path, typer.Option(help="Records and checkpoints, shared by studies.")] = Path(
        ".ablate/store"
    ),
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every 2 seconds, until every run has ended or failed.")
    ] = False,
) -> None:
    """Where the runs of a study or a sweep stand, from any terminal and any node that sees the store.

    Exit code 0 if all runs are finished, 1 if one failed or diverged, 3 if some are yet to end.
    """
    from ablate.study.index import Index
    from ablate.study.plans import read_plans
    from ablate.study.standing import standing

    plans, index = read_plans(study, store), Index(store)
    found = standing(plans, index)
    if watch and not found.is_settled:
        found = _watch(study, store, index)
    else:
        _show(study, found)
    if found.went_wrong:
        raise typer.Exit(1)
    if not found.is_finished:
        raise typer.Exit(3)


def _show(study: str, found: "Standing") -> None:
    from ablate.show import console
    from ablate.show_status import status_shown

    console().print(status_shown(study, found))


def _watch(study: str, store: Path, index: "Index") -> "Standing":
    """Show how the runs stand until all have ended or failed."""
    import time

    from rich.live import Live

    from ablate.show import console
    from ablate.show_status import status_shown
    from ablate.study.plans import read_plans
    from ablate.study.standing import standing

    with Live(console=console(), auto_refresh=False) as live:
        while True:
            index.refresh()
            found = standing(read_plans(study, store), index)
            live.update(status_shown(study, found), refresh=True)
            if found.is_settled:
                return found
            time.sleep(REFRESH_SECONDS)
