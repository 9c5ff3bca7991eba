"""`ablate export` and `ablate generate`: a trained model handed on, and looked at."""

import sys
from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[Path, typer.Option(help="The store that the run was written to.")]
DEFAULT_STORE = Path(".ablate/store")


def export(
    where: Annotated[Path, typer.Argument(help="results/STUDY/records/ARM-seedK.json, or a run's folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it appears whole or not at all.")],
    store: StoreOption = DEFAULT_STORE,
    with_media: Annotated[
        bool, typer.Option("--with-media", help="Take encoders and media heads along.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a model that is there.")] = False,
) -> None:
    """Write a run's model as a Hugging Face folder with a model card."""
    from ablate.study.export import export_run
    from ablate.study.trained import find_run

    files = export_run(find_run(where, store), out, with_media=with_media, force=force)
    print(f"Written: {', '.join(str(out / name) for name in files)}")


def generate(
    where: Annotated[Path, typer.Argument(help="A Hugging Face folder, a record, or a run's folder.")],
    prompt: Annotated[str, typer.Option(help="Text to continue; empty begins a text.")] = "",
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens to append at most; 64 if left out, or half of a shorter context."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token each time.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw among so many likeliest tokens; 0 means all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print what a trained model writes after a prompt."""
    from ablate.show_model import show_continuation
    from ablate.study.continuation import continuation
    from ablate.tasks.sampling import Sampling

    found = continuation(where, store, prompt, tokens, Sampling(temperature, top_k, seed))
    for line in found.notes:
        print(f"ablate: {line}", file=sys.stderr)
    show_continuation(found.text)


def add_model_commands(app: typer.Typer) -> None:
    """Register both commands."""
    app.command()(export)
    app.command()(generate)
