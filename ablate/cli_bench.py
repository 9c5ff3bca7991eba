"""`ablate bench`: parse, measure, print."""

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(help="Measure the framework against bare code, in one run.", no_args_is_help=True)

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
