"""What the command line prints of a screen. No numbers are made here."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from ablate.show import console, titled_table

if TYPE_CHECKING:
    from ablate.report.study import RenderedStudy

MOST_SHOWN = 40
"""Endpoints that the terminal shows, unless more have a margin; the files hold all."""


def show_screen(folder: Path) -> "RenderedStudy":
    """Render the screen, write its files, and print its verdicts."""
    from ablate.record import of_whole_task
    from ablate.report.screen import SCREEN_FILE
    from ablate.report.screen_document import screen_sentences
    from ablate.report.study import render_study
    from ablate.study.store import disk_errors

    with disk_errors(folder):
        rendered = render_study(folder)
    out = console()
    screened = rendered.study.screening
    stated = [rendered.header.primary, *rendered.header.margins]
    judged = sum(one.endpoint in stated for one in screened)
    order = sorted(
        screened,
        key=lambda one: (
            one.endpoint not in stated,
            not of_whole_task(one.endpoint),
            one.verdict != "usable",
        ),
    )
    whole = sum(one.endpoint in stated or of_whole_task(one.endpoint) for one in screened)
    shown = order[: max(judged, min(whole, MOST_SHOWN))]
    table = titled_table(
        f"{rendered.header.study}: endpoints with a margin, then whole tasks", "endpoint", "verdict", "reason"
    )
    for column in table.columns:
        column.justify = "left"
    for one in shown:
        table.add_row(*(_inert(text) for text in (one.endpoint, one.verdict, one.reason)))
    out.print(table)
    if len(screened) > len(shown):
        out.print(f"{len(screened) - len(shown)} more endpoints stand in {folder / 'table.md'}.")
    for sentence in screen_sentences(screened):
        out.print(_inert(sentence))
    out.print(Text(f"Written: {', '.join(str(folder / name) for name in rendered.files)}"), soft_wrap=True)
    out.print(
        Text(f"To keep the others out of what the study confirms: endpoints.screen={folder / SCREEN_FILE}"),
        soft_wrap=True,
    )
    return rendered


def _inert(text: str) -> Text:
    """Text of a study, without what a terminal would take for a command."""
    return Text(re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text))
