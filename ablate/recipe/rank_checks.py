"""Whether the rows of a step can be shared out among the devices of a run."""

from collections.abc import Iterator

from ablate.recipe.schema import Recipe

LISTED = 10_000
"""Divisors are looked for up to this many rows."""


def ranks(recipe: Recipe) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Problems of `train.devices` and `train.nodes` (`ablate.recipe.checks`).

    Each rank takes whole microbatches of the global batch, and a microbatch holds whole rows of every
    stream. The microbatch is the recipe's own, never made smaller for more ranks: which columns a stream
    fills depends on it, and the rows must not depend on the ranks.
    """
    train = recipe.train
    number = train.devices * train.nodes
    if min(train.rows, train.devices, train.nodes) < 1 or number == 1:
        return
    reads = ("train.devices", "train.nodes")
    if train.strategy == "fsdp" and train.average != "none":
        allowed = "none, where the strategy is fsdp: an average of sharded weights cannot be resumed"
        yield "train.average", train.average, allowed, "or strategy: ddp", (*reads, "train.strategy")
    if train.rows % number:
        near = max(1, round(train.rows / number)) * number
        allowed = "a multiple of train.devices x train.nodes: whole rows on every rank"
        yield "train.rows", f"{train.rows}, for {number} ranks", allowed, f"nearest {near}", reads
        return
    share = train.rows // number
    held = train.microbatch_rows
    if held < 0 or (held > 0 and (train.rows % held or share % held == 0)):
        return
    wanted = held or share
    divisors = [rows for rows in range(1, min(share, LISTED) + 1) if share % rows == 0]
    near = min(divisors, key=lambda rows: abs(rows - wanted))
    found = f"{held}, for {number} ranks of {share} rows each" if held else f"not set, for {number} ranks"
    allowed = f"a divisor of {share}, the rows of a rank: whole microbatches on every rank"
    yield "train.microbatch_rows", found, allowed, f"nearest {near}", (*reads, "train.rows")
