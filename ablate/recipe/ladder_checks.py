"""What the `ladder` of a recipe must satisfy. Pure: nothing is read from disk."""

import math
from collections import Counter
from collections.abc import Iterator

from ablate.recipe.errors import listed
from ablate.recipe.schema import Recipe

MOST_RUNGS = 8
"""Rungs of a ladder; each is a run for every seed."""


def ladder(recipe: Recipe) -> Iterator[tuple[str, str, str, str]]:
    """Key, found, allowed and hint of everything wrong with `ladder`.

    That the baseline holds text only is asked of every recipe (`ablate.recipe.checks`).
    """
    shares = recipe.ladder
    for place, share in enumerate(shares):
        if not (math.isfinite(share) and share > 0):
            hint = "0.5 trains the baseline for half its budget"
            yield f"ladder.{place}", f"{share:g}", "a share of the budget, more than 0", hint
        elif share == 1:
            yield f"ladder.{place}", "1", "a share other than 1", "the baseline itself is that rung"
    repeated = [share for share, times in Counter(shares).items() if times > 1]
    if repeated:
        yield "ladder", f"{listed(f'{share:g}' for share in repeated)} more than once", "each share once", ""
    if len(shares) > MOST_RUNGS:
        found = f"{len(shares)} shares"
        yield "ladder", found, f"at most {MOST_RUNGS}", "each is a run for every seed; two or three do"
