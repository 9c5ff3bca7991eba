"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup


class _Stopped(Exception):
    """Ctrl-C, under a name that typer lets pass: it would end with no word, or a wrong exit code."""


class _Commands(TyperGroup):
    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Stopped from None


app = typer.Typer(
    cls=_Commands,
    name="ablate",
    help="Paired, compute-matched ablations: does non-text data change a language model's text tasks?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
bench_app = typer.Typer(help="Measure the framework against bare code, in one run.", no_args_is_help=True)
list_app = typer.Typer(help="What a recipe can name.", no_args_is_help=True)
data_app = typer.Typer(help="Shards: see what they hold, make them of a folder.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(list_app, name="list")
app.add_typer(data_app, name="data")

RecipePath = Annotated[Path, typer.Argument(help="A recipe, such as recipes/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the recipe, such as model.layers=4 seeds=[0,1].")
]
StoreOption = Annotated[Path, typer.Option(help="Records and checkpoints, shared by studies.")]
CacheOption = Annotated[Path, typer.Option(help="Everything derived from data.")]
SlotsOption = Annotated[
    int, typer.Option(min=0, help="Runs at a time; 0 means one per core, or one on a GPU.")
]
LayersOption = Annotated[int, typer.Option(min=1, help="Transformer blocks.")]
WidthOption = Annotated[int, typer.Option(min=1, help="Residual width, a multiple of the heads.")]
HeadsOption = Annotated[int, typer.Option(min=1, help="Attention heads.")]
ContextOption = Annotated[int, typer.Option(min=8, help="Positions of a row.")]
VocabularyOption = Annotated[int, typer.Option(min=1, help="Size of the vocabulary.")]
RowsOption = Annotated[int, typer.Option(min=1, help="Rows of a step.")]
StepsOption = Annotated[int, typer.Option(min=1, help="Steps per measurement.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="Alternating measurements of each side.")]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]
JsonOption = Annotated[Path | None, typer.Option(help="JSON file to write.")]
DEFAULT_STORE = Path(".ablate/store")
DEFAULT_CACHE = Path(".ablate/cache")


@app.command()
def check(recipe: RecipePath, overrides: Overrides = None, cache: CacheOption = DEFAULT_CACHE) -> None:
    """Check a recipe and the data it names; every error of the recipe at once."""
    from ablate.materials import prepare
    from ablate.recipe.load import load_recipe
    from ablate.show import show_materials, show_undecodable

    materials = prepare(load_recipe(recipe, overrides or []), cache)
    show_materials(materials)
    if show_undecodable(materials):
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    cache: CacheOption = DEFAULT_CACHE,
    slots: SlotsOption = 0,
) -> None:
    """Print what every arm would spend, and refuse unmatched pairs. Nothing is trained."""
    from ablate.budget.plan import plan_study
    from ablate.materials import prepare
    from ablate.recipe.load import load_recipe
    from ablate.show import show_plans
    from ablate.study.estimate import estimate_seconds

    materials = prepare(load_recipe(recipe, overrides or []), cache)
    plans = plan_study(materials)
    show_plans(materials.recipe, plans, estimate_seconds(materials, plans), _slots(slots))


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = DEFAULT_CACHE,
    results: Annotated[
        Path | None, typer.Option(help="Folder of the study; results/<study> if left out.")
    ] = None,
    slots: SlotsOption = 0,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of each run; 0 shares the cores among the slots.")
    ] = 0,
) -> None:
    """Train what is missing of a study, then print its report. Safe to kill and to run again."""
    from ablate.recipe.load import load_recipe
    from ablate.show import StudyDisplay, show_failures, show_report
    from ablate.study.study import Places, prepare_study, run_study

    loaded = load_recipe(recipe, overrides or [])
    places = Places(store, cache, results or Path("results") / loaded.study)
    count = _slots(slots)
    prepared = prepare_study(loaded, places, threads or max(1, (os.cpu_count() or 1) // count))
    with StudyDisplay(prepared) as display:
        failures = run_study(prepared, places, count, display.see)
    if failures:
        show_failures(failures)
    if any((places.results / "records").glob("*.json")):
        show_report(places.results)
    if failures:
        raise typer.Exit(1)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="A study's folder, such as results/quickstart.")],
    against: Annotated[Path | None, typer.Option(help="Another folder whose verdicts to compare.")] = None,
) -> None:
    """Render a study's tables and plot from its records alone."""
    from ablate.show import show_agreement, show_report

    show_report(study)
    if against is not None and not show_agreement(study, against):
        raise typer.Exit(1)


@bench_app.command("step")
def bench_step(
    layers: LayersOption = 6,
    width: WidthOption = 384,
    heads: HeadsOption = 6,
    context_length: ContextOption = 256,
    vocabulary: VocabularyOption = 8192,
    rows: RowsOption = 8,
    steps: StepsOption = 12,
    rounds: RoundsOption = 3,
    threads: ThreadsOption = 1,
    out: JsonOption = None,
) -> None:
    """Token throughput under the framework against a bare loop with the same model."""
    from ablate.bench.step import measure_step
    from ablate.bench.timing import StepBench
    from ablate.show import show_measurements

    shape = StepBench(layers, width, heads, context_length, vocabulary, rows, steps, rounds, threads)
    show_measurements(measure_step(shape), out)


@bench_app.command("media")
def bench_media(
    layers: LayersOption = 6,
    width: WidthOption = 384,
    heads: HeadsOption = 6,
    context_length: ContextOption = 256,
    vocabulary: VocabularyOption = 8192,
    rows: RowsOption = 8,
    steps: StepsOption = 12,
    rounds: RoundsOption = 3,
    threads: ThreadsOption = 1,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the rows with media.")] = 0.25,
    encoder: Annotated[str, typer.Option(help="A registered encoder; it decides the modality.")] = "patches",
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting of the encoder, such as image_size=64.")
    ] = None,
    media_loss: Annotated[float, typer.Option(min=0.0, help="Weight of the next-patch regression.")] = 1.0,
    control: Annotated[
        list[str] | None, typer.Option(help="A control to time as well, such as shuffled.")
    ] = None,
    data_workers: Annotated[int, typer.Option(min=0, help="Processes that prepare batches.")] = 0,
    out: JsonOption = None,
) -> None:
    """Hardware use of an arm with media against the text arm, in steps of real runs."""
    from ablate.bench.media import MediaBench, encoder_settings, known_controls, measure_media
    from ablate.bench.timing import StepBench
    from ablate.show import show_measurements

    bench = MediaBench(
        StepBench(layers, width, heads, context_length, vocabulary, rows, steps, rounds, threads),
        share,
        encoder_settings(encoder, setting or []),
        media_loss,
        known_controls(control or []),
        data_workers,
    )
    show_measurements(measure_media(bench), out)


@bench_app.command("data")
def bench_data(
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of each measurement.")] = 3.0,
    out: JsonOption = None,
) -> None:
    """Rates of the data path alone, per core: token file, decoding, decoded media, cached features."""
    import tempfile

    from ablate.bench.data import measure_sources
    from ablate.bench.decoders import measure_decoders
    from ablate.bench.features import measure_features
    from ablate.bench.rows import measure_rows
    from ablate.show import show_measurements

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = [
            *measure_rows(place, seconds),
            *measure_sources(place, seconds),
            *measure_decoders(seconds),
            *measure_features(place, seconds),
        ]
    show_measurements(found, out)


@list_app.command("encoders")
def list_encoders() -> None:
    """Registered encoders with their parameters and tokens an item."""
    from ablate.show import show_encoders

    show_encoders()


@list_app.command("tasks")
def list_tasks() -> None:
    """Task kinds with their metrics."""
    from ablate.show import show_tasks

    show_tasks()


@data_app.command("inspect")
def data_inspect(
    paths: Annotated[list[str], typer.Argument(help="Shards, .tar or .tar.gz; globs in quotes.")],
    sample: Annotated[
        int | None, typer.Option(min=1, help="Decode only so many samples, evenly spaced; all if left out.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Page of samples to write, with media that plays.")
    ] = None,
    html_samples: Annotated[int, typer.Option(min=1, help="Samples on that page, evenly spaced.")] = 24,
    captions_field: Annotated[str, typer.Option(help="Field of KEY.json that lists captions.")] = "captions",
    cache: CacheOption = DEFAULT_CACHE,
) -> None:
    """What shards hold: samples, members, sizes, captions, and what does not decode.

    Exit code 1 if anything does not decode, 2 if a shard cannot be read.
    """
    from ablate.data.content import expand_paths
    from ablate.shards.inspect import open_shards
    from ablate.show_data import show_contents, show_page

    shards = open_shards(expand_paths(paths), cache)
    sound = show_contents(shards, sample, captions_field)
    if html is not None:
        show_page(html, shards, html_samples, captions_field)
    if not sound:
        raise typer.Exit(1)


@data_app.command("import")
def data_import(
    folder: Annotated[Path, typer.Argument(help="Folder of media, with captions beside them or in a file.")],
    out: Annotated[Path, typer.Argument(help="Folder for the shards.")],
    name: Annotated[
        str, typer.Option(help="Shards are NAME-000000.tar ...; the folder's name if empty.")
    ] = "",
    per_shard: Annotated[int, typer.Option(min=1, help="Samples of a shard.")] = 1000,
    captions: Annotated[
        Path | None, typer.Option(help="Captions as .csv, .tsv or .jsonl; else KEY.txt or KEY.json.")
    ] = None,
    file_field: Annotated[str, typer.Option(help="Its field with the file's path.")] = "file_name",
    caption_field: Annotated[str, typer.Option(help="Its field with the caption.")] = "caption",
    without_captions: Annotated[
        bool, typer.Option("--without-captions", help="Pack media that have no caption too.")
    ] = False,
    group: Annotated[
        bool, typer.Option("--group", help="One sample of files that differ in their extension only.")
    ] = False,
    decode: Annotated[bool, typer.Option(help="Decode every medium before it is packed.")] = True,
    max_skips: Annotated[int, typer.Option(min=0, help="Most samples left out as they do not decode.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace shards of this name.")] = False,
) -> None:
    """Pack a folder of media with captions into shards; all of them are written, or none."""
    from ablate.shards.gather import GatherOptions
    from ablate.shards.importer import ShardOptions
    from ablate.show_data import show_import

    gather = GatherOptions(captions, file_field, caption_field, without_captions, group)
    options = ShardOptions(name, per_shard, decode, max_skips, force)
    try:
        show_import(folder, out, gather, options)
    except KeyboardInterrupt:
        _fail(f"stopped; no shard was written to {out}", 130)


def _slots(asked: int) -> int:
    """Runs at a time: as asked, else one per core on CPU and one on a GPU."""
    import torch

    return asked or (1 if torch.cuda.is_available() else os.cpu_count() or 1)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"ablate: {message}", file=sys.stderr)
    raise SystemExit(code)


def main() -> None:
    """Run the command line; every expected error is one message and an exit code other than 0."""
    try:
        app()
    except (_Stopped, KeyboardInterrupt):
        _fail("stopped; finished runs are kept, and the same command goes on from the last checkpoints", 130)
    except (ValueError, OSError) as error:
        if os.environ.get("ABLATE_TRACEBACK"):
            raise
        _fail(_explained(error))


def _explained(error: ValueError | OSError) -> str:
    if isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{place}"
    return str(error)


if __name__ == "__main__":
    main()
