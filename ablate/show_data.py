"""What `ablate data` prints; no numbers are made here."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ablate.data.tar_index import TarIndex
    from ablate.shards.gather import GatherOptions
    from ablate.shards.importer import ShardOptions
    from ablate.shards.inspect import Contents

WIDTH = 100
"""Columns of a table where the output is no terminal."""
NAMED = 10
"""Most failures or files of one list that are named."""


def _console(stderr: bool = False) -> Console:
    out = Console(stderr=stderr)
    return out if out.is_terminal else Console(stderr=stderr, width=WIDTH)


def _safe(text: str) -> Text:
    """Text of strangers: no markup, and no control characters that a terminal would obey."""
    return Text("".join(letter if letter.isprintable() else "\ufffd" for letter in text))


def _progress() -> Progress:
    """A progress bar on stderr, and none where that is no terminal."""
    out = _console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )


def show_contents(shards: "Sequence[TarIndex]", sample: int | None, captions_field: str) -> bool:
    """Inspect and print every shard, then all together; whether everything could be decoded."""
    from ablate.shards.inspect import Contents, chosen_samples, inspect_shard

    out = _console()
    total = Contents(f"{len(shards)} shards together")
    with _progress() as progress:
        task = progress.add_task("inspecting", total=sum(len(shard) for shard in shards))
        for shard, chosen in zip(shards, chosen_samples(shards, sample), strict=True):
            found = inspect_shard(shard, chosen, captions_field, lambda: progress.advance(task))
            _print_contents(out, found)
            total.add(found)
    if len(shards) > 1:
        _print_contents(out, total, name_failures=False)
    return not total.failures


def _print_contents(out: Console, found: "Contents", name_failures: bool = True) -> None:
    table = Table(title=_safe(found.name), title_justify="left", title_style="bold")
    table.add_column("what", overflow="fold")
    for column in ("count", "min", "median", "max", "total"):
        table.add_column(column, justify="right")
    table.add_row("samples", f"{found.samples:,}")
    for extension, sizes in sorted(found.sizes.items()):
        _row(table, f".{extension} bytes", sizes, total=f"{sum(sizes):,}")
    table.add_section()
    for (kind, form), count in sorted(found.formats.items()):
        table.add_row(_safe(f"{kind}: {form}"), f"{count:,}")
    for (kind, name), values in found.numbers.items():
        # Lengths add up, rates and sizes do not.
        total = _number(sum(values)) if name in ("seconds", "frames", "steps") else ""
        _row(table, f"{kind}: {name}", values, total=total)
    table.add_section()
    _row(table, "captions a sample", found.captions, total=f"{sum(found.captions):,}")
    _row(table, "caption characters", found.characters, total=f"{sum(found.characters):,}")
    _row(table, "caption words", found.words, total=f"{sum(found.words):,}")
    table.add_row("samples without caption", f"{found.without_caption:,}")
    table.add_row("samples without medium", f"{found.without_medium:,}")
    if found.interleaved:
        table.add_row("interleaved documents", f"{found.interleaved:,}")
    for kind, count in sorted(found.several.items()):
        table.add_row(f"samples with several of {kind}", f"{count:,}")
    table.add_section()
    for (name, form), count in sorted(found.fields.items()):
        table.add_row(_safe(f".json {name}: {form}"), f"{count:,}")
    table.add_section()
    table.add_row("media decoded", f"{found.decoded:,}")
    table.add_row("failures", f"{len(found.failures):,}", style="bold red" if found.failures else "")
    out.print(table)
    if name_failures:
        _print_list(out, [f"{one.member}: {one.reason}" for one in found.failures])


def _row(table: Table, what: str, values: Sequence[float], total: str = "") -> None:
    from ablate.shards.inspect import Spread

    spread = Spread.of(values)
    cells = [_number(value) for value in (spread.smallest, spread.median, spread.largest)] if spread else []
    table.add_row(_safe(what), f"{len(values):,}", *(cells or ["", "", ""]), total)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


def _print_list(out: Console, lines: Sequence[str]) -> None:
    for line in lines[:NAMED]:
        out.print(Text("  ") + _safe(line), soft_wrap=True)
    if len(lines) > NAMED:
        out.print(f"  and {len(lines) - NAMED:,} more")


def show_page(target: Path, shards: "Sequence[TarIndex]", count: int, captions_field: str) -> None:
    """Write the page of samples and say what is on it."""
    from ablate.shards.page import write_page

    page = write_page(target, shards, count, captions_field)
    said = f", {page.left_out} media left out as too large for one page" if page.left_out else ""
    _console().print(
        _safe(f"Written: {target} ({page.samples} of {page.of:,} samples{said})"), soft_wrap=True
    )


def show_import(folder: Path, out: Path, gather: "GatherOptions", options: "ShardOptions") -> None:
    """Pack the folder under a progress bar; print what was written and, by name, what was not."""
    from ablate.shards.folder import extension_of, is_hidden
    from ablate.shards.importer import import_folder

    with _progress() as progress:
        task = progress.add_task("packing", total=None)
        done = import_folder(
            folder, out, gather, options, lambda at, total: progress.update(task, completed=at, total=total)
        )
    console = _console()
    media = ", ".join(f"{count:,} {kind}" for kind, count in sorted(done.media.items()))
    where = str(done.shards[0])
    if len(done.shards) > 1:
        where = f"{len(done.shards)} shards, {where} to {done.shards[-1].name}"
    console.print(
        _safe(
            f"{done.samples:,} samples ({media}), {done.captions:,} captions, "
            f"{done.without_caption:,} samples without caption, in {where}"
        ),
        soft_wrap=True,
    )
    if not options.decode:
        console.print("Nothing was decoded: `ablate data inspect` says what decodes.")
    if done.skipped:
        console.print(f"Skipped, as they do not decode: {len(done.skipped):,}")
        _print_list(console, done.skipped)
    if done.unused:
        counts = Counter(
            "hidden"
            if is_hidden(name)
            else f".{extension_of(name)}"
            if extension_of(name)
            else "no extension"
            for name in done.unused
        )
        listed = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))
        console.print(_safe(f"Not packed: {len(done.unused):,} files ({listed})"), soft_wrap=True)
        _print_list(console, done.unused)
