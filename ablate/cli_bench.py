"""`ablate bench`: parse, measure, print."""

from pathlib import Path
from typing import Annotated

import typer

from ablate.cli_price import bench_variance

bench_app = typer.Typer(help="Measure the framework against bare code, in one run.", no_args_is_help=True)
bench_app.command("variance")(bench_variance)

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


@bench_app.command("scoring")
def bench_scoring(
    layers: LayersOption = 6,
    width: WidthOption = 384,
    heads: HeadsOption = 6,
    context_length: ContextOption = 256,
    vocabulary: VocabularyOption = 8192,
    pairs: Annotated[int, typer.Option(min=1, help="Made-up pairs, where no tasks are given.")] = 1000,
    tasks: Annotated[
        list[str] | None, typer.Option(help="Files or globs of minimal pairs, in BLiMP's fields.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Files or globs of text to train the tokenizer on; else the sentences."),
    ] = None,
    against_hf: Annotated[
        bool, typer.Option("--against-hf", help="Score the same by lm-evaluation-harness (extra `harness`).")
    ] = False,
    hf_batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Batch sizes of lm-evaluation-harness.")
    ] = None,
    rounds: RoundsOption = 3,
    threads: ThreadsOption = 1,
    out: JsonOption = None,
) -> None:
    """Sentences a second of minimal pairs, against padded rows or lm-evaluation-harness's `hf`."""
    import tempfile

    from ablate.bench.scoring import ScoringBench, measure_scoring
    from ablate.show import show_measurements

    batches = tuple(hf_batch or [64]) if against_hf else ()
    sizes = (layers, width, heads, context_length, vocabulary, pairs)
    bench = ScoringBench(*sizes, tuple(tasks or []), tuple(text or []), batches, rounds, threads)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_scoring(bench, Path(folder))
    show_measurements(found, out)


@bench_app.command("executors")
def bench_executors(
    runs: Annotated[int, typer.Option(min=1, help="Runs, each of which only sleeps.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds of a run.")] = 2.0,
    slots: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 4,
    only: Annotated[str, typer.Option(help="local or ray; both if left out.")] = "",
    out: JsonOption = None,
) -> None:
    """What executors cost: runs that sleep, against the ideal time for the slots. Ray has 2 nodes here."""
    from ablate.bench.executors import ExecutorBench, measure_local, measure_ray
    from ablate.show import show_measurements

    if only not in ("", "local", "ray"):
        raise typer.BadParameter("--only is local or ray")
    bench = ExecutorBench(runs, seconds, slots)
    found = [] if only == "ray" else measure_local(bench)
    found += [] if only == "local" else measure_ray(bench)
    show_measurements(found, out)


@bench_app.command("slots")
def bench_slots(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/quickstart.yaml.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Changes to it.")] = None,
    runs: Annotated[list[int] | None, typer.Option(min=1, help="Runs at a time to measure.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps of each run.")] = 20,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each; 0 shares the cores.")] = 0,
    cache: Annotated[Path, typer.Option(help="Everything derived from data; keeps what is found.")] = Path(
        ".ablate/cache"
    ),
    out: JsonOption = None,
) -> None:
    """How many runs of a recipe should share a device: `--slots 0` of `run` takes the best from then on."""
    from ablate.bench.slots import SlotsBench, measure_slots, slots_table
    from ablate.executors.placement import best_runs, device_memory, placement_key, write_placement
    from ablate.recipe.load import load_recipe
    from ablate.show import show_measurements

    loaded = load_recipe(recipe, overrides or [])
    found = measure_slots(SlotsBench(loaded, cache, tuple(runs or (1, 2, 4)), steps, threads))
    show_measurements(slots_table(found), out)
    path = write_placement(cache, placement_key(loaded, threads), found)
    print(f"{best_runs(found, device_memory())} at a time from now on, for recipes of this shape: {path}")


@bench_app.command("store")
def bench_store(
    records: Annotated[int, typer.Option(min=1, help="Records of the made-up store.")] = 100_000,
    out: JsonOption = None,
) -> None:
    """Status, resume decision and memory of a store of many records, and what an index costs that is lost."""
    import tempfile

    from ablate.bench.store import measure_store
    from ablate.show import show_measurements

    with tempfile.TemporaryDirectory() as folder:
        found = measure_store(Path(folder), records)
    show_measurements(found, out)
