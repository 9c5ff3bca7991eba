"""`ablate overlap`: parse, count, print."""

from pathlib import Path
from typing import Annotated

import typer


def overlap(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/quickstart.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe, such as decontamination.ngram=8.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write: items, shared words, and where they are.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Everything derived from data.")] = Path(".ablate/cache"),
) -> None:
    """Count the words that test items share with training text. Nothing is trained or removed."""
    from ablate.materials import find_study_overlaps
    from ablate.recipe.load import load_recipe
    from ablate.show_overlap import show_overlaps, write_listing

    found = find_study_overlaps(
        load_recipe(recipe, [*(overrides or []), "decontamination.count=true"]), cache
    )
    show_overlaps(found)
    if out is not None:
        print(f"Written: {out} ({write_listing(found, out)} rows)")
