"""The command line: parse, call, print. Heavy imports wait until a command needs them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.core import TyperGroup

from ablate.cli_bench import bench_app
from ablate.cli_model import add_model_commands
from ablate.cli_overlap import overlap
from ablate.cli_price import price
from ablate.cli_screen import screen
from ablate.cli_status import status
from ablate.cli_sweep import sweep

if TYPE_CHECKING:
    from ablate.recipe.schema import Recipe


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
    int, typer.Option(min=0, help="Runs at a time; 0: as `bench slots` found, else one per core or GPU.")
]
ExecutorOption = Annotated[
    str, typer.Option(help="Where runs run: local (processes of this machine) or ray (a cluster).")
]
RayAddressOption = Annotated[
    str, typer.Option(help="With --executor ray: local, auto or HOST:PORT; local if left out.")
]
ResultsOption = Annotated[Path | None, typer.Option(help="Folder of the study; results/<study> if left out.")]
UntilOption = Annotated[
    bool, typer.Option("--until-decided", help="Look by the recipe's stopping rule, and stop at a verdict.")
]
MaxSeedsOption = Annotated[
    int, typer.Option(min=0, help="With --until-decided: seeds at most; 0 takes the recipe's.")
]
DEFAULT_STORE = Path(".ablate/store")
DEFAULT_CACHE = Path(".ablate/cache")


@app.command()
def check(recipe: RecipePath, overrides: Overrides = None, cache: CacheOption = DEFAULT_CACHE) -> None:
    """Check a recipe and the data it names; every error of the recipe at once."""
    from ablate.budget.plan import plan_study
    from ablate.cli_nodes import show_unable
    from ablate.materials import prepare
    from ablate.recipe.load import load_recipe
    from ablate.show import show_materials, show_undecodable
    from ablate.show_overlap import show_notes
    from ablate.study.screened import read_exclusions
    from ablate.study.tuning import refuse_shared_items

    loaded = load_recipe(recipe, overrides or [])
    materials = prepare(loaded, cache)
    if loaded.endpoints.screen:
        read_exclusions(loaded, materials, plan_study(materials))
    if loaded.tune.grid:
        refuse_shared_items(materials)
    show_materials(materials)
    show_notes(materials.overlaps)
    show_unable([loaded])
    if show_undecodable(materials):
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    cache: CacheOption = DEFAULT_CACHE,
    slots: SlotsOption = 0,
    lock: Annotated[
        bool, typer.Option("--lock", help="Write the plan with its digest, before the first run.")
    ] = False,
    aa: Annotated[
        Path | None, typer.Option(help="Folder of an A/A study, whose sd of differences to expect.")
    ] = None,
    results: ResultsOption = None,
    until_decided: UntilOption = False,
    max_seeds: MaxSeedsOption = 0,
) -> None:
    """Print what every arm would spend, and refuse unmatched pairs. Nothing is trained."""
    from ablate.budget.plan import plan_study
    from ablate.cli_nodes import show_unable
    from ablate.executors.placement import runs_here
    from ablate.materials import prepare
    from ablate.show import console, show_plans
    from ablate.show_power import power_lines
    from ablate.show_tuning import show_tuning_plan
    from ablate.study.estimate import estimate_seconds
    from ablate.study.study import lock_study, planned_header
    from ablate.study.tuning import plan_tuning

    loaded = _load(recipe, overrides, until_decided, max_seeds)
    materials = prepare(loaded, cache)
    plans = plan_study(materials)
    header = planned_header(loaded, materials, plans)
    seconds, count = estimate_seconds(materials, plans), slots or runs_here([loaded], cache)
    tuning = plan_tuning(loaded, materials)
    show_plans(materials.recipe, plans, seconds, count)
    show_tuning_plan(tuning, seconds, count)
    for line in power_lines(header, aa):
        console().print(line, markup=False, highlight=False)
    show_unable([loaded])
    if lock:
        print(lock_study(header, results or Path("results") / loaded.study))


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    store: StoreOption = DEFAULT_STORE,
    cache: CacheOption = DEFAULT_CACHE,
    results: ResultsOption = None,
    slots: SlotsOption = 0,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of each run; 0 shares the cores among the slots.")
    ] = 0,
    executor: ExecutorOption = "local",
    ray_address: RayAddressOption = "",
    until_decided: UntilOption = False,
    max_seeds: MaxSeedsOption = 0,
) -> None:
    """Train what is missing of a study, then print its report. Safe to kill and to run again.

    With train.nodes > 1 it is started once on each node, by srun or torchrun.
    """
    from ablate.cli_nodes import on_first_node, refuse_here
    from ablate.cli_tune import tuned_recipe
    from ablate.show import StudyDisplay, show_failures
    from ablate.show_report import show_deviations, show_report, show_undecided
    from ablate.study.dispatch import open_executor
    from ablate.study.study import Places, prepare_study, run_study
    from ablate.study.until import stages

    loaded = _load(recipe, overrides, until_decided, max_seeds)
    places = Places(store, cache, results or Path("results") / loaded.study)
    refuse_here(loaded, executor)
    with (
        on_first_node([loaded], store, cache),
        open_executor(executor, slots, threads, ray_address, [loaded], cache) as place,
    ):
        loaded = tuned_recipe(loaded, places, place)
        for stage in stages(loaded, places.results) if until_decided else [loaded]:
            prepared = prepare_study(stage, places, place.threads)
            show_deviations(places.results, prepared.header)
            with StudyDisplay(prepared.recipe.study, len(prepared.finished), len(prepared.jobs)) as display:
                failures = run_study(prepared, places, place.slots, display.see, place.executor)
            if failures:
                show_failures(failures)
            if any((places.results / "records").glob("*.json")):
                rendered = show_report(places.results)
            if failures:
                raise typer.Exit(1)
            if until_decided and not show_undecided(rendered, len(loaded.seeds)):
                break


def _load(recipe: Path, overrides: list[str] | None, until_decided: bool, max_seeds: int) -> "Recipe":
    """The recipe, and with ``until_decided`` its stopping rule."""
    from ablate.recipe.load import load_recipe
    from ablate.study.until import with_rule

    if max_seeds and not until_decided:
        raise typer.BadParameter("--max-seeds goes with --until-decided")
    loaded = load_recipe(recipe, overrides or [])
    return with_rule(loaded, max_seeds, str(recipe)) if until_decided else loaded


@app.command()
def report(
    studies: Annotated[
        list[Path] | None, typer.Argument(help="Folders of studies or sweeps, such as results/quickstart.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another folder whose verdicts to compare.")] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; fail if what is there is not what the records give."),
    ] = False,
) -> None:
    """Render studies and sweeps from their records alone: tables, figures, a page."""
    from ablate.report.sweep import is_sweep
    from ablate.show_report import show_agreement, show_check, show_report, show_sweep_report

    if check:
        if not show_check(studies or [Path("results")]):
            raise typer.Exit(1)
        return
    if not studies:
        raise typer.BadParameter("name a study's folder, such as results/quickstart")
    for study in studies:
        if is_sweep(study):
            show_sweep_report(study)
        else:
            show_report(study)
        if against is not None and not show_agreement(study, against):
            raise typer.Exit(1)


@app.command()
def compare(
    studies: Annotated[list[Path], typer.Argument(help="Two or more folders of studies.")],
    out: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
) -> None:
    """Studies side by side: gains, verdicts, what differs between them, what may not be compared."""
    from ablate.show_report import show_comparison

    show_comparison(studies, out)


@app.command()
def calibrate(
    study: Annotated[Path | None, typer.Argument(help="Folder of an A/A study.")] = None,
    planted: Annotated[
        list[Path] | None, typer.Option(help="Folder of a study with planted effects; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the page and its tables.")] = Path(
        "results/calibration"
    ),
    studies: Annotated[
        int, typer.Option(min=1, help="Simulated studies of each population and size.")
    ] = 20_000,
    simulate_only: Annotated[
        bool, typer.Option("--simulate-only", help="No A/A study: nothing comes from real runs.")
    ] = False,
) -> None:
    """False claims, coverage and power of the instrument, from A/A runs, planted runs and simulation."""
    from ablate.report.calibration import calibrate as measure
    from ablate.show import console

    if (study is None) != simulate_only:
        raise typer.BadParameter("name the folder of an A/A study, or ask for --simulate-only")
    rendered = measure(study, out, studies, planted or [])
    for sentence in rendered.sentences:
        console().print(sentence, markup=False, highlight=False)
    print(f"Written: {', '.join(str(out / name) for name in rendered.files)}")


app.command()(sweep)
app.command()(status)
app.command()(screen)
app.command()(price)
add_model_commands(app)
app.command()(overlap)


@list_app.command("encoders")
def list_encoders() -> None:
    """Registered encoders with their parameters and tokens an item."""
    from ablate.show import show_encoders

    show_encoders()


@list_app.command("tasks")
def list_tasks(
    kind: Annotated[str, typer.Argument(help="One kind, such as blimp; all if left out.")] = "",
) -> None:
    """Task kinds: prompt, metrics, chance, clusters, settings and where to get the data."""
    from ablate.show_tasks import show_tasks

    show_tasks(kind)


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
