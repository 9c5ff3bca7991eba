"""What the `stopping` block of a recipe must satisfy. Pure: nothing is read from disk."""

import itertools
from collections.abc import Iterator

from ablate.recipe.schema import Recipe

MOST_PAIRS = 200
"""Seeds of a group-sequential plan, for which boundaries are computed (`ablate.stats.sequential`)."""


def stopping(recipe: Recipe) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Key, found, allowed, hint and keys read of everything wrong with `stopping`."""
    rule, looks, seeds = recipe.stopping.rule, recipe.stopping.looks, len(recipe.seeds)
    if rule == "fixed":
        if looks:
            hint = "set rule: group_sequential or anytime"
            yield "stopping.looks", str(looks), "none with rule fixed", hint, ("stopping.rule",)
    elif seeds < 2:
        allowed, hint = "2 seeds or more", "a t test needs two pairs"
        yield "stopping.rule", f"{rule} with {seeds} seeds", allowed, hint, ("seeds",)
    elif not looks:
        if rule == "group_sequential":
            hint = f"for instance [{seeds // 2}, {seeds}]" if seeds > 3 else f"for instance [{seeds}]"
            yield "stopping.looks", "none", "the numbers of seeds at which you will look", hint, ("seeds",)
    elif looks[0] < 2 or any(later <= look for look, later in itertools.pairwise(looks)):
        yield "stopping.looks", str(looks), "numbers of seeds that rise, from 2 on", "", ()
    elif rule == "group_sequential" and looks[-1] > MOST_PAIRS:
        hint = "beyond, rule: anytime"
        yield "stopping.looks", f"a look at {looks[-1]}", f"looks up to {MOST_PAIRS} seeds", hint, ()
    elif looks[-1] != seeds:
        hint = "the last look is the last seed: change one of them"
        found = f"{looks} with {seeds} seeds"
        yield "stopping.looks", found, f"looks that end at {seeds}", hint, ("seeds",)
