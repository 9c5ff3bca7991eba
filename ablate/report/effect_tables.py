"""What an effect is made of, and what it is worth in text: decompositions and equivalents as rows."""

import math
from collections.abc import Sequence

from ablate.report.tables import ABSENT, Cell, Table, interval_text, number, run_names
from ablate.stats.decomposition import Decomposition, Part
from ablate.stats.exchange import Equivalent
from ablate.stats.paired import Interval

SUM = "sum"
BESIDE = "beside"


def decomposition_table(found: Sequence[Decomposition], places: dict[str, int]) -> Table:
    """The total of every arm, the parts that add up to it, and other placebos beside them."""
    table = Table(["endpoint", "arm", "part", "contrast", "n", "mean gain", "95% CI", "role"])
    for one in found:
        digits = places.get(one.endpoint, 4)
        roles = [(one.total, "total"), *((part, SUM) for part in one.parts)]
        for part, role in [*roles, *((part, BESIDE) for part in one.further)]:
            row: list[Cell] = [one.endpoint, one.arm, part.name, f"{part.arm} vs {part.reference}"]
            row += [str(part.estimate.n), number(part.estimate.mean_gain, digits, signed=True)]
            row += [interval_text(part.estimate.interval95, digits), role]
            table.add(row, _sources(part))
    return table


def decomposition_rows(found: Sequence[Decomposition]) -> Table:
    """The same for machines, unrounded; what cannot be told apart stands in the last column."""
    columns = ["endpoint", "arm", "part", "role", "treated", "reference", "n", "seeds", "mean_gain", "sd"]
    table = Table([*columns, "ci95_low", "ci95_high", "missing"])
    for one in found:
        roles = [(one.total, "total"), *((part, SUM) for part in one.parts)]
        for part, role in [*roles, *((part, BESIDE) for part in one.further)]:
            found_here = part.estimate
            row: list[Cell] = [one.endpoint, one.arm, part.name, role, part.arm, part.reference, found_here.n]
            row += [" ".join(map(str, part.sample.seeds)), found_here.mean_gain, found_here.sd]
            row += [*_ends(found_here.interval95), " ".join(one.missing)]
            table.add(row, _sources(part))
    return table


def missing_parts(found: Sequence[Decomposition]) -> list[str]:
    """What cannot be told apart, each sentence once."""
    return list(dict.fromkeys(sentence for one in found for sentence in one.missing))


def equivalent_table(found: Sequence[Equivalent], places: dict[str, int]) -> Table:
    """Effects in tokens of fresh text, and what one media position is worth."""
    columns = ["endpoint", "contrast", "kind", "n", "gain", "gain per doubling of text", "fresh text tokens"]
    table = Table([*columns, "95% CI", "tokens per media position", "95% CI of it", "note"])
    for one in found:
        digits = places.get(one.endpoint, 4)
        slope = one.slope.estimate.mean_gain
        row: list[Cell] = [one.endpoint, f"{one.arm} vs {one.reference}", one.kind, str(one.gain.n)]
        row += [number(one.gain.mean_gain, digits, signed=True)]
        row += [number(None if slope is None else slope * LN2, digits, signed=True)]
        row += [_tokens(one.tokens), _token_interval(one.interval95)]
        row += [_rate(one.rate), _rate_interval(one.rate95), one.note]
        table.add(row, run_names((one.arm, one.reference, *one.slope.arms), one.seeds))
    return table


LN2 = math.log(2.0)
"""A doubling of the tokens, in natural logarithms: slopes are per unit of these."""


def equivalent_rows(found: Sequence[Equivalent]) -> Table:
    """The same for machines, unrounded."""
    columns = ["endpoint", "arm", "reference", "kind", "n", "seeds", "gain", "slope_per_ln_token"]
    columns += ["slope95_low", "slope95_high", "tokens", "tokens95_low", "tokens95_high", "baseline_tokens"]
    columns += ["arm_tokens", "media_positions", "caption_tokens", "rate", "rate95_low", "rate95_high"]
    table = Table([*columns, "extrapolated", "note"])
    for one in found:
        row: list[Cell] = [one.endpoint, one.arm, one.reference, one.kind, one.gain.n]
        row += [" ".join(map(str, one.seeds)), one.gain.mean_gain, one.slope.estimate.mean_gain]
        row += [*_ends(one.slope.interval95), one.tokens, *_ends(one.interval95), one.baseline_tokens]
        row += [one.arm_tokens, one.media_positions, one.caption_tokens, one.rate, *_ends(one.rate95)]
        table.add(
            [*row, one.extrapolated, one.note],
            run_names((one.arm, one.reference, *one.slope.arms), one.seeds),
        )
    return table


def _sources(part: Part) -> list[str]:
    return run_names((part.arm, part.reference), part.sample.seeds)


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval if interval is not None else (None, None)


def _tokens(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+,.0f}"


def _token_interval(interval: Interval | None) -> str:
    return ABSENT if interval is None else f"[{_tokens(interval[0])}, {_tokens(interval[1])}]"


def _rate(value: float | None) -> str:
    return number(value, 2, signed=True)


def _rate_interval(interval: Interval | None) -> str:
    return interval_text(interval, 2)
