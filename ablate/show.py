"""What the command line prints, as rich tables: no numbers are made here."""

import dataclasses
import json
import math
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ablate.bench.measurement import Measurement
    from ablate.budget.plan import Plan
    from ablate.executors.events import Event, Failed, Finished
    from ablate.executors.job import Job
    from ablate.materials import Materials
    from ablate.recipe.schema import Recipe

WIDTH = 100
"""Columns of a table where the output is no terminal."""
SAMPLES_NAMED = 10
"""Most damaged samples of a stream that are named."""


def console() -> Console:
    """Standard output, at a fixed width where it is piped."""
    out = Console()
    return out if out.is_terminal else Console(width=WIDTH)


def titled_table(title: str, *columns: str) -> Table:
    """An empty table whose first column is flush left."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


def count_shown(value: float) -> str:
    """A count in three digits with a unit letter: 12.3M."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def show_materials(materials: "Materials") -> None:
    """What the recipe's data hold."""
    table = titled_table(
        f"{materials.recipe.study}: the recipe is sound; its data", "what", "holds", "digest"
    )
    table.add_row(
        "tokenizer", f"{materials.tokenizer.vocabulary} tokens", materials.digests["tokenizer"][:12]
    )
    if (started := initial_line(materials)) is not None:
        table.add_row("model", *started)
    for name, file in materials.text.items():
        holds = f"{len(file.offsets) - 1} documents, {count_shown(len(file.tokens))} tokens"
        table.add_row(f"stream {name}", holds, materials.digests[f"stream/{name}"][:12])
    for name, material in materials.media.items():
        holds = f"{len(material.samples)} samples, {_texts_of(materials, name)}"
        for decoded in material.decoded.values():
            whose = f" of {decoded.spec.modality}" if len(material.decoded) > 1 else ""
            if decoded.live:
                holds += f", too many{whose} to decode beforehand: checked as runs read them"
            elif decoded.errors:
                holds += f", {len(decoded.errors)}{whose} do not decode"
        table.add_row(f"stream {name}", holds, materials.digests[f"stream/{name}"][:12])
    for name in materials.tasks:
        items = sum(1 for _ in materials.tasks[name].texts())
        table.add_row(f"task {name}", f"{items} held-out texts", materials.digests[f"task/{name}"][:12])
    console().print(table)


def initial_line(materials: "Materials") -> tuple[str, str] | None:
    """What the model starts from, and the digest of its weights; None where it is drawn from the seed."""
    from ablate.recipe.schema import PretrainedModel

    model = materials.recipe.model
    if not isinstance(model, PretrainedModel):
        return None
    holds = f"{model.layers} layers of {model.width}, {model.vocabulary} ids, context {model.context_length}"
    return f"{holds}: starts from {model.init_from}", model.weights[:12]


def _texts_of(materials: "Materials", stream: str) -> str:
    """How many texts of which kind a media stream holds."""
    captions = materials.media[stream].captions
    if captions is None:
        return "no text"
    kind = "captions" if materials.recipe.streams[stream].documents == "captioned" else "texts"
    return f"{len(captions.offsets) - 1} {kind}"


def show_undecodable(materials: "Materials") -> bool:
    """Name on stderr the samples of each stream that do not decode; whether a stream has more than it may.

    Within `max_skips` they are left to the table: a run skips and counts them.
    """
    refused = False
    out = Console(stderr=True, soft_wrap=True)
    for name, material in materials.media.items():
        allowed = materials.recipe.streams[name].max_skips
        found = [why for decoded in material.decoded.values() for why in decoded.errors.values()]
        if len(found) <= allowed:
            continue
        refused = True
        lines = [
            f"ablate: stream {name!r}: {len(found)} of {len(material.samples)} samples do not decode and "
            f"streams.{name}.max_skips allows {allowed}: mend the shard or raise the limit",
            *(f"  {line}" for line in found[:SAMPLES_NAMED]),
        ]
        if len(found) > SAMPLES_NAMED:
            lines.append(f"  and {len(found) - SAMPLES_NAMED} more")
        out.print(Text("\n".join(lines)))
    return refused


def show_plans(recipe: "Recipe", plans: list["Plan"], seconds: dict[str, float], slots: int) -> None:
    """Steps, cost and tokens of every arm, FLOPs by component, and the time the study would take."""
    repeats = any(plan.ledger.repeated_tokens for plan in plans)
    table = titled_table(
        f"{recipe.study}: held equal: {recipe.budget.match}",
        "arm", "steps", "FLOPs", "vs baseline", "text tokens", *(["text again"] if repeats else []),
        "captions", "media pos.", "params", "time",
    )  # fmt: skip
    # Where the table is too wide, headings wrap better than the names of arms.
    table.columns[0].no_wrap = max(len(plan.arm.name) for plan in plans) <= 30
    base = next(plan for plan in plans if plan.arm.name == recipe.baseline).ledger.total_flops
    for plan in plans:
        ledger = plan.ledger
        table.add_row(
            plan.arm.name,
            str(plan.steps),
            count_shown(ledger.total_flops),
            f"{ledger.total_flops / base - 1:+.2%}",
            count_shown(ledger.text_tokens),
            *([count_shown(ledger.repeated_tokens)] if repeats else []),
            count_shown(ledger.caption_tokens),
            count_shown(ledger.media_positions),
            count_shown(sum(ledger.parameters.values())),
            duration_shown(seconds[plan.arm.name]),
        )
    out = console()
    out.print(table)
    parts = titled_table(
        "FLOPs of a step by component (a control is charged as the arm it mirrors)", "arm", *_parts(plans)
    )
    for plan in plans:
        parts.add_row(
            plan.arm.name, *(count_shown(plan.flops_per_step.get(part, 0)) for part in _parts(plans))
        )
    out.print(parts)
    further = len(recipe.endpoints.baseline_seeds)
    total = sum(seconds.values()) * len(recipe.seeds) + seconds[recipe.baseline] * further
    alone = f", and {further} of the baseline alone" if further else ""
    ranks = recipe.train.devices * recipe.train.nodes
    shared = f", as if {ranks} devices shared each without loss" if ranks > 1 else ""
    out.print(
        f"{len(plans)} arms x {len(recipe.seeds)} seeds = {len(plans) * len(recipe.seeds)} runs{alone}; "
        f"about {duration_shown(total / slots)} with {slots} at a time{shared}, before scoring. Nothing was "
        "trained."
    )
    for line in [*_once_lines(plans), *_control_lines(plans)]:
        out.print(line)


def _once_lines(plans: "list[Plan]") -> list[str]:
    """FLOPs that are charged beside the steps, where `encoder_cost: once` asks for it."""
    charged = {
        plan.arm.name: ", ".join(f"{count_shown(flops)} ({part})" for part, flops in plan.flops_once.items())
        for plan in plans
        if plan.flops_once
    }
    if not charged:
        return []
    listed = "; ".join(f"{name} {flops}" for name, flops in charged.items())
    return [f"FLOPs charged once, beside the steps: {listed}."]


def _control_lines(plans: "list[Plan]") -> list[str]:
    """What each control keeps of the arm it mirrors, and what it changes."""
    from ablate.data.controls import KEEPS_AND_CHANGES

    present = [control for control in KEEPS_AND_CHANGES if any(plan.arm.control == control for plan in plans)]
    return [
        f"{control} keeps {KEEPS_AND_CHANGES[control][0]}. It changes: {KEEPS_AND_CHANGES[control][1]}."
        for control in present
    ]


def _parts(plans: list["Plan"]) -> list[str]:
    return list(dict.fromkeys(part for plan in plans for part in plan.flops_per_step))


def duration_shown(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class StudyDisplay:
    """Live progress of a study: a line per running run, and a line for the whole."""

    def __init__(self, study: str, done: int, missing: int) -> None:
        self.console = console()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            transient=True,
        )
        self.total = done + missing
        self.done = done
        self.whole = self.progress.add_task(study, total=self.total, completed=done, detail="")
        self.lines: dict[tuple[str, int], TaskID] = {}
        said = f"{done} of {self.total} runs are finished already; " if done else ""
        self.console.print(f"{study}: {said}{missing} to train")

    def __enter__(self) -> "StudyDisplay":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def see(self, event: "Event") -> None:
        """Show one event of the pool."""
        from ablate.executors.events import Elsewhere, Lost, Moved, Started

        job = event.job
        key = (job.arm, job.seed)
        if isinstance(event, Started):
            self._say(job, "starting")
        elif isinstance(event, Elsewhere):
            self._say(job, f"trained by {event.holder}")
        elif isinstance(event, Lost):
            self.console.print(
                Text(f"{job.arm} seed {job.seed}: {event.how}; it goes on from its checkpoint")
            )
            self._say(job, "waits to go on")
        elif isinstance(event, Moved):
            moved = event.progress
            detail = "first steps"
            if moved.tokens_per_second and not math.isnan(moved.loss):
                detail = (
                    f"loss {moved.loss:.3f}  {count_shown(moved.tokens_per_second)} positions/s  "
                    f"{duration_shown(moved.seconds_left)} left"
                )
            self.progress.update(self.lines[key], total=moved.steps, completed=moved.step, detail=detail)
        else:
            self.progress.remove_task(self.lines.pop(key))
            self._ended(job, event)

    def _say(self, job: "Job", detail: str) -> None:
        """The line of a run, without a bar."""
        name, key = f"{job.arm} seed {job.seed}", (job.arm, job.seed)
        if key not in self.lines:
            self.lines[key] = self.progress.add_task(name, total=None, detail="")
        self.progress.update(self.lines[key], detail=detail)

    def _ended(self, job: "Job", event: "Finished | Failed") -> None:
        from ablate.executors.events import Failed

        if isinstance(event, Failed):
            self.console.print(Text(f"{job.arm} seed {job.seed}: failed"))
            return
        self.done += 1
        self.progress.update(self.whole, completed=self.done)
        record = event.record
        took = duration_shown(record.spent.wall_seconds)
        loss = f"loss {record.curve[-1].loss:.3f}" if record.curve else "no loss"
        line = f"[{self.done}/{self.total}] {job.arm} seed {job.seed}: {record.status}, {loss}, {took}"
        self.console.print(Text(line))


def show_failures(failures: list["Failed"]) -> None:
    """Why runs have no record."""
    out = Console(stderr=True)
    for failure in failures:
        out.print(Text(f"ablate: {failure.job.arm} seed {failure.job.seed}: {failure.error}"), soft_wrap=True)
    runs = "1 run" if len(failures) == 1 else f"{len(failures)} runs"
    out.print(f"{runs} failed; once that is mended, the same command trains what is missing")


def show_measurements(found: list["Measurement"], out: Path | None) -> None:
    """Rates beside what they are measured against."""
    table = titled_table("Measured in this run", "what", "value", "unit", "reference", "ratio")
    for one in found:
        reference = _figure(one.reference) if one.reference else ""
        ratio = f"{one.value / one.reference:.3f}" if one.reference else ""
        table.add_row(one.name, _figure(one.value), one.unit, reference, ratio)
    console().print(table)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = [dataclasses.asdict(one) for one in found]
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _figure(value: float) -> str:
    """Three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show_encoders() -> None:
    """Every registered encoder at its default settings and width 384."""
    import torch

    from encoders.registry import ENCODERS, build_encoder

    columns = ("name", "modality", "item", "tokens an item", "parameters", "trunk", "pretrained on")
    table = titled_table("Encoders, at their default settings, for a backbone of width 384", *columns)
    for name in ENCODERS:
        # Shapes alone: no weight is drawn.
        with torch.device("meta"):
            encoder = build_encoder({"name": name}, 384)
        table.add_row(
            name,
            encoder.modality,
            "x".join(map(str, encoder.spec.shape)),
            str(encoder.tokens_per_item),
            count_shown(sum(weight.numel() for weight in encoder.parameters())),
            "frozen" if encoder.feature_width else "trained",
            encoder.pretraining or "nothing",
        )
    console().print(table)
