"""What a verdict costs, as rows and sentences."""

import math

from ablate.report.price_runs import AARecords, Measurement, Way
from ablate.report.tables import ABSENT, Cell, Table, number, p_text
from ablate.stats.covariate import cost_at_equal_power
from ablate.stats.paired import Interval
from ablate.stats.price import VarianceRatio, price, unpaired_ratio

AVERAGES = (
    "Each run was trained once under each schedule; its last weights and every average were scored. The "
    "sd is that of paired differences of two arms that differ in nothing that matters. Variance: squared "
    "sd over that of the first row, same seeds, with the interval of Pitman and Morgan, exact for normal "
    "differences; p of equal variances after Holm over the rows below the first. Same schedule: over that "
    "of the last weights under it. The variance is what FLOPs at equal power go with. Pairs and seeds an "
    "arm: to show equivalence within the margin by two one-sided tests with power 0.8, were there no "
    "difference and the sds the true ones; paired t, and Welch for arms of independent seeds. FLOPs: "
    "those of all runs of both arms, over those of pairs and of independent seeds of the first row. A "
    "lower bits per byte is better; a way that scores worse and varies less measures a worse model more "
    "precisely."
)

RECORDS = (
    "Committed A/A records, last weights. Variance saved by pairing: that of the difference of two "
    "independent runs over that of a pair's, with the interval of Pitman and Morgan carried over from sum "
    "and difference."
)

COVARIATES = (
    "R squared of the paired gain and the covariate over the A/A pairs, with the interval of Fisher's z. "
    "Valid covariates are the baseline run's alone. Runs of a pair share them, so that they cancel from "
    "the mean gain unless their mean is known from more seeds than the pairs. Variance where further "
    "baseline runs are there already: 1 - R squared at best, with many of them. FLOPs where they are "
    "bought for this study: a further baseline run costs half a pair and pays only where R squared is "
    "above one half. The differences of the arms' losses are refused as covariates: an arm moves them, so "
    "that adjusting takes a part of its effect away with the noise; the A/A study cannot show this, "
    "because its arms have no effect. FLOPs of those: were pairs cut short at that share of the steps "
    "bought to tell their mean, which is valid and what no recipe offers."
)


def price_table(found: Measurement) -> Table:
    """A row for every schedule and average, rounded."""
    columns = [
        "learning rate",
        "weights scored",
        "mean score",
        "sd of differences",
        "95% CI",
        "r",
        "variance",
        "95% CI",
    ]
    columns += [
        "p equal",
        "variance, same schedule",
        "95% CI",
        "pairs",
        "FLOPs over paired",
        "seeds an arm",
        "FLOPs over independent",
    ]
    table = Table(columns)
    first = found.ways[0]
    for way in found.ways:
        cost = way.price
        row: list[Cell] = [way.schedule, way.average, number(cost.mean, 4), number(cost.sd, 4)]
        row += [_between(cost.sd95, 4), number(cost.correlation, 2, signed=True)]
        row += _ratio(way.against)
        row += [p_text(way.p_adjusted), *_ratio(way.own), _count(cost.pairs)]
        row += [number(_relative(cost.pairs, way, first.price.pairs, first), 2), _count(cost.unpaired)]
        table.add([*row, number(_relative(cost.pairs, way, first.price.unpaired, first), 2)])
    return table


def price_rows(found: Measurement) -> Table:
    """The same for machines, unrounded."""
    columns = ["schedule", "average", "n", "mean", "sd", "sd95_low", "sd95_high", "r", "variance_ratio"]
    columns += ["ratio95_low", "ratio95_high", "p_equal", "p_holm", "pairs", "seeds_unpaired", "flops_a_run"]
    table = Table([*columns, "flops_over_paired", "flops_over_independent"])
    first = found.ways[0]
    for way in found.ways:
        cost, against = way.price, way.against
        row: list[Cell] = [
            way.schedule,
            way.average,
            cost.n,
            cost.mean,
            cost.sd,
            *cost.sd95,
            cost.correlation,
        ]
        row += [against.ratio, *against.interval95, against.p_equal] if against else [1.0, None, None, None]
        row += [way.p_adjusted, cost.pairs, cost.unpaired, way.flops]
        row += [_relative(cost.pairs, way, base, first) for base in (first.price.pairs, first.price.unpaired)]
        table.add(row)
    return table


def record_table(aa: AARecords) -> Table:
    """Pairs against independent seeds, on the records of an A/A study."""
    table = Table(
        [
            "pairs",
            "margin",
            "sd of differences",
            "95% CI",
            "r",
            "pairs needed",
            "seeds an arm",
            "variance saved by pairing",
            "95% CI",
        ]
    )
    cost = price(aa.sample.treated, aa.sample.reference, aa.margin)
    saved = unpaired_ratio(aa.sample.treated, aa.sample.reference)
    row: list[Cell] = [cost.n, f"{aa.margin:g}", number(cost.sd, 4), _between(cost.sd95, 4)]
    row += [number(cost.correlation, 2, signed=True), _count(cost.pairs), _count(cost.unpaired)]
    table.add([*row, number(saved.ratio, 2), _between(saved.interval95, 2)])
    return table


def covariate_table(aa: AARecords) -> Table:
    """What each covariate could save, the valid ones first."""
    table = Table(
        [
            "covariate",
            "R squared",
            "95% CI",
            "variance, further runs there",
            "FLOPs, further runs bought",
            "in a recipe",
        ]
    )
    gains = [float(gain) for gain in aa.sample.gains]
    for kind, values in (("valid", aa.covariates), ("refused", aa.refused)):
        for name, covariate in values.items():
            r = _correlation(gains, covariate)
            share = 0.5 if kind == "valid" else min(1.0, float(name.rpartition("@")[2]))
            row: list[Cell] = [name, number(r**2, 3), _between(_squared(r, len(gains)), 3)]
            row += [number(1.0 - r**2, 3) if kind == "valid" else ABSENT]
            table.add([*row, number(cost_at_equal_power(r**2, share), 3), kind])
    return table


def price_sentences(found: Measurement, aa: AARecords | None) -> list[str]:
    """What the page says first, as plain text."""
    settings, first = found.settings, found.ways[0]
    whole = f"{len(found.seeds)} seeds, {first.flops:.3g} FLOPs a run, {settings['device']}"
    said = [
        f"{settings['arm']} against {settings['baseline']} of {whole}: two arms that differ in nothing that "
        f"matters, scored on {settings['endpoint']}, margin {float(settings['margin']):g}. What lowers the "
        "sd of "
        "their paired differences lowers the FLOPs of every verdict."
    ]
    if found.left_over:
        listed = ", ".join(map(str, found.left_over))
        said.append(f"Seeds {listed} lack a run and are in no number.")
    low, high = found.unpaired.interval95
    said.append(
        f"Pairing, by itself: independent seeds vary {found.unpaired.ratio:.2f} times as much as pairs "
        f"(95% interval {low:.2f} to {high:.2f}) under the schedule {first.schedule}. These are two arms of "
        "text alone; scores of an arm with media may follow its baseline's less, and every study's report "
        "says how many unpaired seeds its own intervals would have taken."
    )
    told = [way for way in found.ways[1:] if way.p_adjusted is not None and way.p_adjusted < 0.05]
    if told:
        said += [_told(way) for way in told]
    said.append(
        f"For {len(found.ways) - 1 - len(told)} of {len(found.ways) - 1} other ways the variance cannot be "
        "told from that of "
        f"the {first.average} under {first.schedule} with {len(found.seeds)} seeds, after Holm."
    )
    if aa is not None:
        gains = [float(gain) for gain in aa.sample.gains]
        best = max(aa.covariates, key=lambda name: abs(_correlation(gains, aa.covariates[name])))
        r = _correlation(gains, aa.covariates[best])
        low, high = _squared(r, len(gains))
        said.append(
            f"Control variates: over {len(gains)} pairs of {aa.study} the best of the valid ones, {best}, "
            "has R squared "
            f"{r**2:.3f} (95% interval {low:.3f} to {high:.3f}): it saves about {100 * r**2:.0f}% of the "
            f"FLOPs ({100 * low:.0f} to {100 * high:.0f}%) where further baseline runs are there already, "
            "and nothing where they have to be bought. The baseline's score is part of the gain: where the "
            "scores of a pair correlate less than here, it saves more, and pairing less."
        )
    return said


def settings_sentence(found: Measurement) -> str:
    """The settings of `train` behind the names of schedules and averages, as plain text."""
    said = [
        f"{name}: {', '.join(f'{key} {value}' for key, value in values.items()) or 'average none'}"
        for block in ("schedules", "averages")
        for name, values in found.settings[block].items()
    ]
    return f"Settings of train. {'; '.join(said)}."


def _told(way: Way) -> str:
    assert way.against is not None
    low, high = way.against.interval95
    less = "less" if way.against.ratio < 1 else "more"
    return (
        f"{way.average} under {way.schedule} varies {less}: {way.against.ratio:.2f} times the variance "
        f"(95% interval {low:.2f} to {high:.2f}, p {p_text(way.p_adjusted)} after Holm), at a mean score of "
        f"{way.price.mean:.3f}."
    )


def _relative(runs: int | None, way: Way, base: int | None, first: Way) -> float | None:
    """FLOPs of so many runs an arm over those of the base's."""
    return None if runs is None or base is None else runs * way.flops / (base * first.flops)


def _ratio(found: VarianceRatio | None) -> list[Cell]:
    if found is None:
        return ["1", ABSENT]
    return [number(found.ratio, 2), _between(found.interval95, 2)]


def _count(seeds: int | None) -> str:
    return ABSENT if seeds is None else str(seeds)


def _between(interval: Interval, places: int) -> str:
    return f"{number(interval[0], places)} to {number(interval[1], places)}"


def _correlation(first: list[float], second: list[float]) -> float:
    """Pearson's; 0 where one of them does not vary."""
    n = len(first)
    means = math.fsum(first) / n, math.fsum(second) / n
    a, b = ([value - mean for value in values] for values, mean in zip((first, second), means, strict=True))
    size = math.sqrt(math.fsum(x * x for x in a) * math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0


def _squared(r: float, n: int) -> Interval:
    """95% interval of the squared correlation, by Fisher's z."""
    centre, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r))), 1.959964 / math.sqrt(max(1, n - 3))
    ends = sorted(math.tanh(centre + sign * half) ** 2 for sign in (-1, 1))
    return (0.0 if abs(centre) < half else ends[0], ends[1])
