"""What `ablate list tasks` prints: every kind of task, what it asks and where its data come from."""

from dataclasses import fields
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console

from ablate.show_data import WIDTH

if TYPE_CHECKING:
    from ablate.tasks.base import MetricInfo

INDENT = 12
"""Columns of the names on the left."""


def show_tasks(kind: str = "") -> None:
    """A block for each task kind, or for ``kind`` alone, and below them what the metrics mean.

    Raises:
        UnknownTaskError: no task has that kind.
    """
    out = Console(width=WIDTH, highlight=False)
    for line in task_lines(kind):
        out.print(line, markup=False, soft_wrap=True)


def task_lines(only: str = "") -> list[str]:
    """The lines of the listing, none of them wider than `WIDTH`; of the kind ``only``, if it is named."""
    from ablate.tasks.registry import TASKS, task_class

    lines: list[str] = []
    meanings: dict[tuple[str, str], list[str]] = {}
    for kind in [task_class(only).kind] if only else TASKS:
        found = task_class(kind)
        lines += [f"{kind} (version {found.version})"]
        for metric, info in found.metrics.items():
            meanings.setdefault((metric, f"{info.description} ({info.unit})"), []).append(kind)
        stated = {
            "prompt": found.prompt,
            "higher": _better(found.metrics, True),
            "lower": _better(found.metrics, False),
            "chance": found.chance_level,
            "clusters": found.clusters or "none: every item stands for itself",
            "settings": ", ".join(field.name for field in fields(found.Config)),
            "data": found.source,
        }
        for name, text in stated.items():
            lines += _entry(name, text)
        lines.append("")
    lines.append("Metrics")
    for (metric, meaning), kinds in sorted(meanings.items()):
        # What one kind alone means by a word that others share is told apart by its name.
        apart = len(kinds) == 1 and [name for name, _ in meanings].count(metric) > 1
        lines.append(f"  {metric}, {kinds[0]}" if apart else f"  {metric}")
        lines += wrap(meaning, WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
    return lines


def _better(metrics: "dict[str, MetricInfo]", higher: bool) -> str:
    """The metrics of one direction."""
    named = [metric for metric, info in metrics.items() if info.higher_is_better is higher]
    return f"is better: {', '.join(named)}" if named else ""


def _entry(name: str, text: str) -> list[str]:
    """``text`` with its name on the left of the first line; nothing where there is nothing to say."""
    if not text:
        return []
    rows = wrap(text, WIDTH - INDENT, break_on_hyphens=False)
    return [f"  {name:<{INDENT - 2}}{rows[0]}", *(" " * INDENT + row for row in rows[1:])]
