"""A command that is started once on each node, and what this machine cannot run."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ablate.recipe.schema import Recipe
    from ablate.study.dispatch import Place


@contextmanager
def on_first_node(recipes: "Sequence[Recipe]", store: Path, cache: Path) -> Iterator[None]:
    """Go on on the first node alone; the others lend it their devices until it has ended, and exit with 0.

    Raises:
        typer.Exit: this is another node than the first, and that has ended.
        RankError: the command was started on other nodes than ``recipes`` ask for, or the first node gives no
            sign of life.
    """
    from ablate.study.nodes import follow, leading, refuse_launch, this_node

    node = this_node()
    refuse_launch([recipe.train for recipe in recipes], node)
    if node.number > 0:
        follow(store, cache, node, lambda text: print(f"ablate: {text}", file=sys.stderr, flush=True))
        raise typer.Exit(0)
    with leading(store, node):
        yield


def refuse_here(recipe: "Recipe", executor: str = "local", place: "Place | None" = None) -> None:
    """Refuse a recipe whose runs cannot be trained where this command runs.

    Args:
        executor: the devices of a Ray cluster are not those of this machine; it is asked itself.
        place: where runs run, once it is open.

    Raises:
        ClusterError: no node of the Ray cluster has room for such a run.
        RankError: says what the recipe asks for, what there is, and what to do.
    """
    import torch

    from ablate.study.nodes import this_node
    from ablate.train.device import device_type
    from ablate.train.ranks import RankError, refuse_unable

    config = recipe.train
    if executor == "ray" and config.nodes > 1:
        raise RankError(
            f"train.nodes is {config.nodes}, and a task of a Ray cluster runs on one node; use --executor "
            f"local and start the command once on each node, or set train.nodes=1 train.devices="
            f"{config.devices * config.nodes}"
        )
    devices = config.devices if executor == "ray" else torch.cuda.device_count()
    refuse_unable(config, device_type(), devices, this_node().nodes)
    if place is not None:
        place.executor.refuse(config.devices)


def show_unable(recipes: "Sequence[Recipe]") -> None:
    """Note what could not start on this machine: plans are made on login nodes as well."""
    from ablate.show import console
    from ablate.train.ranks import RankError

    notes: dict[str, None] = {}
    for recipe in recipes:
        try:
            refuse_here(recipe)
        except RankError as error:
            notes[str(error)] = None
    for note in notes:
        console().print(f"Note: its runs could not start as this command was: {note}.", markup=False)
