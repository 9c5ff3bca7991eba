"""What `ablate status` prints."""

from rich.console import Group, RenderableType
from rich.text import Text

from ablate.show import count_shown, duration_shown, titled_table
from ablate.study.standing import Failed, Running, Standing, Tally
from ablate.study.states import RunState

STATES: tuple[RunState, ...] = ("planned", "running", "interrupted", "finished", "failed", "diverged")
_LISTED = 20
"""Most running or failed runs that are listed."""
_LINES = 3
"""Last lines of an error that are shown."""


def status_shown(name: str, found: Standing) -> RenderableType:
    """States by arm of a study, or by setting of a sweep; what runs, what failed, and the whole."""
    studies = list(dict.fromkeys(study for study, _ in found.arms))
    parts: list[RenderableType] = [_tallies(name, found, studies)]
    if found.running:
        parts.append(_running(found.running, studies))
    parts += [_failure(one, studies) for one in found.failed[:_LISTED]]
    parts += [Text(line) for line in _lines(found, studies)]
    return Group(*parts)


def _tallies(name: str, found: Standing, studies: list[str]) -> RenderableType:
    rows: dict[str, Tally] = {}
    for (study, arm), tally in found.arms.items():
        row = rows.setdefault(arm if len(studies) == 1 else study.removeprefix(f"{name}."), Tally())
        row.states.update(tally.states)
        row.planned += tally.planned
        row.done += tally.done
    what = "arm" if len(studies) == 1 else "setting"
    table = titled_table(f"{name}: runs", what, *STATES, "FLOPs", "done")
    for label, tally in rows.items():
        table.add_row(Text(_shown(label)), *_cells(tally))
    table.add_section()
    distinct = "in all" if found.total.runs == sum(row.runs for row in rows.values()) else "distinct runs"
    table.add_row(distinct, *_cells(found.total))
    return table


def _cells(tally: Tally) -> list[str]:
    counts = [str(tally.states[state]) if tally.states[state] else "" for state in STATES]
    share = f"{tally.done / tally.planned:.0%}" if tally.planned else ""
    return [*counts, count_shown(tally.planned), share]


def _running(running: list[Running], studies: list[str]) -> RenderableType:
    table = titled_table("Running now", "run", "step", "loss", "time left", "where", "last heard of")
    for one in running[:_LISTED]:
        held = one.held
        scoring = held.steps and held.step >= held.steps
        table.add_row(
            Text(_shown(_name(one, studies))),
            "scoring" if scoring else f"{held.step}/{held.steps}" if held.steps else "starting",
            "" if held.loss is None else f"{held.loss:.3f}",
            "" if held.seconds_left is None or scoring else duration_shown(held.seconds_left),
            Text(f"{held.host}, process {held.pid}"),
            f"{held.age:.0f} s ago",
        )
    return table


def _failure(one: Failed, studies: list[str]) -> RenderableType:
    failure = one.failure
    times = "" if failure.attempts == 1 else f" {failure.attempts} times, last"
    where = f" on {failure.host}" if failure.host else ""
    lines = [line for line in failure.error.splitlines() if line.strip()][-_LINES:]
    return Text(
        _shown(f"{_name(one, studies)} failed{times} {failure.when}{where}: " + "\n  ".join(lines).strip())
    )


def _lines(found: Standing, studies: list[str]) -> list[str]:
    lines = []
    for listed, what in ((found.running, "running"), (found.failed, "failed")):
        if len(listed) > _LISTED:
            lines.append(f"{len(listed) - _LISTED} more are {what}.")
    if found.diverged:
        names = [f"{_of(study, studies)}{run.arm} seed {run.seed}" for study, run in found.diverged[:_LISTED]]
        more = f" and {len(found.diverged) - _LISTED} more" if len(found.diverged) > _LISTED else ""
        lines.append(_shown(f"Diverged: {', '.join(names)}{more}."))
    if found.unscored:
        lines.append(f"{found.unscored} planned runs are trained and only have to be scored on the tasks.")
    if found.is_finished:
        return [*lines, "All runs have ended."]
    left = found.total.runs - sum(found.total.states[state] for state in ("finished", "diverged"))
    took = "" if found.seconds_left is None else f", about {duration_shown(found.seconds_left)} of training"
    if not found.running:
        how = " with one at a time" if took else ""
        return [*lines, f"{left} runs left{took}{how}. Nothing runs now: the same command goes on."]
    return [*lines, f"{left} runs left{took} at this rate."]


def _name(one: Running | Failed, studies: list[str]) -> str:
    return f"{_of(one.study, studies)}{one.run.arm} seed {one.run.seed}"


def _of(study: str, studies: list[str]) -> str:
    return "" if len(studies) == 1 else f"{study} "


def _shown(text: str) -> str:
    """Text of a store, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text)
