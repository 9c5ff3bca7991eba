"""What the command line prints of tuning."""

from typing import TYPE_CHECKING

from rich.text import Text

from ablate.show import console, count_shown, duration_shown, titled_table

if TYPE_CHECKING:
    from ablate.report.tuning import Tuning
    from ablate.study.tuning import TuningPlan


def show_tuning_plan(plan: "TuningPlan", seconds: dict[str, float], slots: int) -> None:
    """Trials and what they cost, before anything is trained; nothing where nothing is tuned.

    Args:
        seconds: of a run of each arm at the whole budget.
    """
    if not plan.trials:
        return
    design = plan.design
    flops = sum(trial.flops for trial in plan.trials)
    took = sum(seconds[trial.arm] for trial in plan.trials) * design.budget_share / slots
    table = titled_table(f"{plan.recipe.study}: tuning comes first", "point", *design.points[0])
    for number, point in enumerate(design.points, start=1):
        table.add_row(str(number), *(f"{value}" for value in point.values()))
    share = "" if design.budget_share == 1 else f" at {design.budget_share:g} of the budget"
    out = console()
    out.print(table)
    out.print(
        Text(
            f"Tuning: {len(design.arms)} arms x {len(design.points)} points x {len(design.seeds)} seeds = "
            f"{len(plan.trials)} trials{share}, {count_shown(flops)} FLOPs, as many for every arm; about "
            f"{duration_shown(took)} with {slots} at a time. Each arm gets the point of the best mean of "
            f"{design.endpoint}; controls train with their arm's."
        )
    )


def show_tuning(tuning: "Tuning") -> None:
    """What every arm was tried with, and what was picked."""
    from ablate.report.tuning_table import tuning_sentences, tuning_table

    found = tuning_table(tuning)
    table = titled_table(f"{tuning.study}: tuning by {tuning.design.endpoint}", *found.columns)
    for row in found.rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out = console()
    out.print(table)
    for sentence in tuning_sentences(tuning):
        out.print(Text(sentence))
