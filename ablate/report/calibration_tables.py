"""The tables of the calibration page, for reading and for machines.

CSV rates are rounded to six decimals, so that a last bit that differs between processors changes no byte.
"""

from collections.abc import Iterable, Sequence

from ablate.report.tables import ABSENT, Cell, Table, interval_text, number, p_text, run_names
from ablate.stats.calibration import AACalibration, PlantedPower, Shape
from ablate.stats.contrasts import Contrast
from ablate.stats.rate import Rate
from ablate.stats.sequential_simulation import SimulatedLooks
from ablate.stats.simulation import Simulated, SimulatedFamily
from ablate.stats.verdict import ALPHA

QUANTITIES = {
    "coverage95": ("t 95% covers", 0.95),
    "coverage90": ("t 90% covers", 0.90),
    "bootstrap95": ("bootstrap 95% covers", 0.95),
    "rejections": ("rejects zero", ALPHA),
    "false_claims": ("false helps or hurts", ALPHA),
    "equivalent_above": ("false equivalent, gain = margin", ALPHA),
    "equivalent_below": ("false equivalent, gain = -margin", ALPHA),
}
"""Rate of `Simulated` to its column title and nominal value."""


def rate_text(rate: Rate, places: int = 3) -> str:
    """A rate with its Clopper-Pearson interval, or why there is none."""
    if rate.interval is None:
        return "no study"
    low, high = (number(end, places) for end in rate.interval)
    return f"{number(rate.value, places)} [{low}, {high}]"


def counted(rate: Rate) -> str:
    """A count, of how many, and the rate with its interval."""
    return f"{rate.count} of {rate.of}: {rate_text(rate)}" if rate.of else "no study"


def rate_cells(rate: Rate) -> list[Cell]:
    """count, of, rate, low, high; the last three None without trials."""
    low, high = rate.interval or (None, None)
    return [rate.count, rate.of, *(None if v is None else round(v, 6) for v in (rate.value, low, high))]


def aa_table(cut: Sequence[AACalibration]) -> Table:
    """One row a study size."""
    columns = ["seeds a study", "disjoint studies", "claims a difference", "t test rejects zero"]
    columns += ["Welch interval excludes zero", "95% t interval covers zero", "verdicts"]
    table = Table([*columns, "incomplete studies", "seeds left over"])
    for one in cut:
        said = ", ".join(f"{count} {verdict}" for verdict, count in sorted(one.verdicts.items()))
        rates = (one.claims, one.rejections, one.welch_rejections, one.coverage)
        left = ", ".join(map(str, one.left_over)) or "none"
        row: list[Cell] = [one.n, len(one.studies), *map(counted, rates), said or "no margin, no verdict"]
        table.add([*row, len(one.incomplete), left], _sources(one.studies))
    return table


def _sources(studies: Iterable[Contrast]) -> list[str]:
    return [name for one in studies for name in run_names((one.arm, one.reference), one.sample.seeds)]


def aa_study_table(judged: AACalibration, places: int) -> Table:
    """Every disjoint study with what was said of it, incomplete ones included."""
    table = Table(["seeds", "n", "mean gain", "95% CI", "Welch 95%", "r", "p differs", "verdict", "note"])
    for one in sorted((*judged.studies, *judged.incomplete), key=_first_seed):
        found = one.estimate
        cells: list[Cell] = [
            _seeds_text(one),
            found.n,
            number(found.mean_gain, places, signed=True),
            interval_text(found.interval95, places),
            interval_text(found.welch95, places),
            number(found.correlation, 2, signed=True),
            p_text(found.p_difference),
            one.verdict or ABSENT,
            "; ".join(filter(None, [*_lacking(one), one.estimate.remark])),
        ]
        table.add(cells, _sources([one]))
    return table


def aa_study_rows(cut: Sequence[AACalibration]) -> Table:
    """The same for machines, of every study size, unrounded."""
    columns = ["seeds_a_study", "seeds", "complete", "n", "mean_gain", "sd", "ci95_low", "ci95_high"]
    columns += ["welch95_low", "welch95_high", "correlation", "p_difference", "p_equivalence"]
    table = Table([*columns, "margin", "verdict", "note"])
    for judged in cut:
        for one in sorted((*judged.studies, *judged.incomplete), key=_first_seed):
            found = one.estimate
            row: list[Cell] = [judged.n, _seeds_text(one), one.complete, found.n, found.mean_gain, found.sd]
            row += [*(found.interval95 or (None, None)), *(found.welch95 or (None, None))]
            row += [found.correlation, found.p_difference, found.p_equivalence, one.margin]
            table.add([*row, one.verdict, one.note], _sources([one]))
    return table


def _lacking(one: Contrast) -> list[str]:
    """Why pairs are missing, each reason once, with its seeds."""
    reasons: dict[str, list[str]] = {}
    for exclusion in one.excluded:
        reasons.setdefault(exclusion.reason, []).append(str(exclusion.seed))
    return [f"seed {', '.join(seeds)}: {reason}" for reason, seeds in reasons.items()]


def _planned_seeds(one: Contrast) -> list[int]:
    return [*one.sample.seeds, *(exclusion.seed for exclusion in one.excluded)]


def _first_seed(one: Contrast) -> int:
    return min(_planned_seeds(one))


def _seeds_text(one: Contrast) -> str:
    return " ".join(map(str, sorted(_planned_seeds(one))))


def difference_table(whole: Contrast, form: Shape, places: int) -> Table:
    """All A/A pairs together: size, spread, correlation and shape of their differences."""
    found = whole.estimate
    columns = ["pairs", "mean gain", "95% CI", "sd of differences", "r", "skewness", "excess kurtosis"]
    table = Table([*columns, "Shapiro-Wilk p", "note"])
    cells: list[Cell] = [
        found.n,
        number(found.mean_gain, places, signed=True),
        interval_text(found.interval95, places),
        number(found.sd, places + 1),
        number(found.correlation, 2, signed=True),
        number(form.skewness, 2, signed=True),
        number(form.excess_kurtosis, 2, signed=True),
        p_text(form.shapiro_p),
        "; ".join(filter(None, [found.remark, form.remark])),
    ]
    table.add(cells, _sources([whole]))
    return table


def planted_table(powers: Sequence[PlantedPower]) -> Table:
    """One row a study, arm and endpoint whose facts the arm shows, and one for the others of each arm."""
    columns = ["study", "arm", "endpoint", "seeds a study", "helps, grounding helps", "seeds left over"]
    table = Table([*columns, "lacking"])
    for one in powers:
        left = ", ".join(map(str, one.left_over)) or "none"
        row: list[Cell] = [one.study, one.arm, one.endpoint, one.n, counted(one.claimed), left]
        table.add([*row, "; ".join(one.incomplete)])
    return table


def calibration_rows(cut: Sequence[AACalibration], powers: Sequence[PlantedPower], study: str) -> Table:
    """Every rate that real runs gave, one row each, for machines."""
    columns = ["study", "arm", "reference", "endpoint", "seeds_a_study", "quantity", "count", "of", "rate"]
    table = Table([*columns, "low", "high", "nominal"])
    for one in cut:
        rates = {
            "claims": (one.claims, ALPHA),
            "rejections": (one.rejections, ALPHA),
            "welch_rejections": (one.welch_rejections, ALPHA),
            "coverage95": (one.coverage, 1.0 - ALPHA),
        }
        for name, (rate, nominal) in rates.items():
            row: list[Cell] = [study, one.arm, one.reference, one.endpoint, one.n, name, *rate_cells(rate)]
            table.add([*row, nominal], _sources(one.studies))
    for power in powers:
        name = "planted_power" if power.planted else "claims_of_facts_not_shown"
        row = [power.study, power.arm, None, power.endpoint, power.n, name, *rate_cells(power.claimed)]
        table.add([*row, None])
    return table


def simulation_table(simulated: Sequence[Simulated]) -> Table:
    """One row a population and n."""
    titles = [title for title, _ in QUANTITIES.values()]
    table = Table(["differences", "n", *titles, "without interval"])
    for one in simulated:
        rates = [rate_text(getattr(one, name)) for name in QUANTITIES]
        table.add([one.population.replace("_", " "), one.n, *rates, one.no_interval])
    return table


def simulation_rows(simulated: Sequence[Simulated], families: Sequence[SimulatedFamily], seed: int) -> Table:
    """Every simulated rate, one row each, for machines. A family's margin is absent: it has none."""
    columns = ["population", "contrasts", "n", "studies", "seed", "margin", "quantity", "count", "of", "rate"]
    table = Table([*columns, "low", "high", "nominal"])
    for one in simulated:
        for name, (_, nominal) in QUANTITIES.items():
            head: list[Cell] = [one.population, 1, one.n, one.studies, seed, round(one.margin, 6), name]
            table.add([*head, *rate_cells(getattr(one, name)), nominal])
    for family in families:
        for name in ("any_unadjusted", "any_claim"):
            head = ["normal", family.contrasts, family.n, family.studies, seed, None, name]
            table.add([*head, *rate_cells(getattr(family, name)), ALPHA])
    return table


def family_table(families: Sequence[SimulatedFamily]) -> Table:
    """One row a number of contrasts."""
    table = Table(["contrasts with one baseline", "n", "any false rejection, unadjusted", "after Holm"])
    for one in families:
        table.add([one.contrasts, one.n, rate_text(one.any_unadjusted), rate_text(one.any_claim)])
    return table


def looks_table(looked: Sequence[SimulatedLooks]) -> Table:
    """One row a population and plan, judged over all its looks."""
    columns = ["differences", "rule", "looks", "rejects zero", "peeking", "false equivalent, gain = margin"]
    table = Table([*columns, "false equivalent, gain = -margin"])
    for one in looked:
        rates = (one.rejections[-1], one.peeking[-1], one.equivalent_above, one.equivalent_below)
        row: list[Cell] = [one.population.replace("_", " "), _rule_text(one), _looks_text(one)]
        table.add([*row, *map(rate_text, rates)])
    return table


def looks_rows(looked: Sequence[SimulatedLooks], seed: int) -> Table:
    """Every rate of sequential plans for machines; rejections by every look, in the order of looks."""
    columns = ["population", "rule", "spending", "looks", "by_pairs", "studies", "seed", "margin", "quantity"]
    table = Table([*columns, "count", "of", "rate", "low", "high", "nominal"])
    for one in looked:
        at = one.looks.at
        rates = [("rejections", n, rate) for n, rate in zip(at, one.rejections, strict=True)]
        rates += [("peeking", n, rate) for n, rate in zip(at, one.peeking, strict=True)]
        rates += [("equivalent_above", at[-1], one.equivalent_above)]
        rates += [("equivalent_below", at[-1], one.equivalent_below)]
        for name, pairs, rate in rates:
            row: list[Cell] = [one.population, one.looks.rule, one.looks.spending, " ".join(map(str, at))]
            row += [pairs, one.studies, seed, round(one.margin, 6), name]
            table.add([*row, *rate_cells(rate), ALPHA])
    return table


def _rule_text(one: SimulatedLooks) -> str:
    spending = f", {one.looks.spending}" if one.looks.spending else ""
    return f"{one.looks.rule}{spending}".replace("_", " ")


def _looks_text(one: SimulatedLooks) -> str:
    at = one.looks.at
    return f"every pair from {at[0]} to {at[-1]}" if len(at) > 4 else " ".join(map(str, at))
