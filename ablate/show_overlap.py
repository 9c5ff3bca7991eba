"""What `ablate overlap` prints and lists, and `ablate check` says of it; no numbers are made here."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from ablate.show import console, titled_table

if TYPE_CHECKING:
    from ablate.data.overlap_summary import Overlaps


def show_overlaps(overlaps: "Overlaps") -> None:
    """A table of every stream and task."""
    config = overlaps.config
    whole = f", or whole items of {config.shortest} or more" if config.shortest < config.ngram else ""
    table = titled_table(
        f"Overlap of test items with training text: {config.ngram} words in a row{whole}",
        *("stream", "task", "items", "overlap", "too short", "in texts"),
    )
    table.columns[1].justify = "left"
    for stream, by_task in overlaps.found.items():
        kind = overlaps.streams[stream].kind
        for task, found in by_task.items():
            items = str(found.count) if found.count else "none stated"
            own = str(len(found.overlapping(overlaps.tasks[task])))
            held = f"{len(found.documents)} of {found.total} {kind}"
            # Names are those of a recipe, so that none can hold markup.
            table.add_row(stream, task, items, own, str(found.too_short), held)
    console().print(table)


def show_notes(overlaps: "Overlaps") -> None:
    """The sentences that records will carry."""
    for note in overlaps.notes(overlaps.streams):
        console().print(Text(note))


def write_listing(overlaps: "Overlaps", path: Path) -> int:
    """Write one CSV row per run of shared words, whole or not at all; how many."""
    from ablate.data.overlap_summary import COLUMNS
    from ablate.report.tables import Table
    from ablate.report.text import csv_text
    from ablate.whole_file import write_whole

    table = Table(list(COLUMNS), [list(row) for row in overlaps.rows()])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, csv_text(table))
    return len(table.rows)
