"""The text of the calibration page, verdict first."""

from dataclasses import dataclass

from ablate.record import RunRecord
from ablate.report.calibration_tables import (
    aa_study_table,
    aa_table,
    difference_table,
    family_table,
    looks_table,
    planted_table,
    simulation_table,
)
from ablate.report.load import StudyHeader
from ablate.report.tables import Table, endpoint_places
from ablate.report.text import markdown_table, markdown_text
from ablate.stats.calibration import AACalibration, PlantedPower, shape
from ablate.stats.contrasts import Contrast
from ablate.stats.rate import Rate
from ablate.stats.sequential_simulation import SimulatedLooks
from ablate.stats.simulation import RESAMPLES, Simulated, SimulatedFamily

PLANTED_SIZES = (3, 5)
"""Seeds in a disjoint planted study."""


@dataclass(frozen=True)
class Simulation:
    """All simulated studies of a page."""

    simulated: list[Simulated]
    families: list[SimulatedFamily]
    looks: list[SimulatedLooks]
    studies: int
    seed: int
    remark: str = ""
    """Why the residuals of the A/A study are not among the populations."""


@dataclass(frozen=True)
class AAStudy:
    """An A/A study, cut into disjoint studies of several sizes, and whole."""

    header: StudyHeader
    records: list[RunRecord]
    cut: list[AACalibration]
    whole: Contrast


def sentences(aa: AAStudy | None, powers: list[PlantedPower], simulation: Simulation) -> list[str]:
    """What the page says first, as plain text."""
    said = [_aa_sentence(aa.cut[0])] if aa else ["No A/A study was given: nothing here comes from real runs."]
    own = [one for one in powers if one.planted]
    for n in PLANTED_SIZES:
        rates = [one.claimed for one in own if one.n == n and one.claimed.of]
        if rates:
            total = Rate(sum(rate.count for rate in rates), sum(rate.of for rate in rates))
            # Arms and endpoints of one study share its runs: their sum is no binomial count.
            studies = {one.study for one in own if one.n == n and one.claimed.of}
            alone = len(studies) == len(rates)
            rate = f" ({_rate_words(total)})" if alone else ""
            said.append(
                f"In {total.count} of {total.of} {_planted_words(alone, n)} it saw the planted effect, "
                f"helps with grounding helps{rate}."
            )
    (normal,) = [one for one in simulation.simulated if (one.population, one.n) == ("normal", 5)]
    (skewed,) = [one for one in simulation.simulated if (one.population, one.n) == ("skewed", 5)]
    said.append(
        f"In {simulation.studies} simulated studies of 5 pairs the 95% t interval covered the truth in "
        f"{normal.coverage95.value:.3f} with normal differences and in {skewed.coverage95.value:.3f} with "
        f"exponential ones; a percentile bootstrap over the seeds in {normal.bootstrap95.value:.3f} and "
        f"{skewed.bootstrap95.value:.3f}."
    )
    return said


def _planted_words(alone: bool, n: int) -> str:
    """What was counted: studies, or several arms and endpoints of each."""
    return f"{'' if alone else 'arms and endpoints of '}disjoint planted studies of {n} seeds"


def _aa_sentence(judged: AACalibration) -> str:
    if not judged.studies:
        return f"No disjoint A/A study of {judged.n} seeds is complete: nothing can be said yet."
    claims, rejections = judged.claims, judged.rejections
    return (
        f"In {claims.count} of {claims.of} disjoint A/A studies of {judged.n} seeds the instrument claimed "
        f"a difference ({_rate_words(claims)}); its t test rejected zero in {rejections.count} "
        f"({_rate_words(rejections)}); nominal 0.05."
    )


def _rate_words(rate: Rate) -> str:
    low, high = rate.interval or (0.0, 1.0)
    return f"rate {rate.value:.3f}, 95% interval {low:.3f} to {high:.3f}"


def page(said: list[str], aa: AAStudy | None, powers: list[PlantedPower], simulation: Simulation) -> str:
    """The page as GitHub Markdown."""
    parts = ["# Calibration", "What does the instrument say where the truth is known?"]
    parts.append("**Verdict.** " + "\n\n".join(markdown_text(sentence) for sentence in said))
    alternative = "Coverage of intervals by number of pairs and population"
    if aa:
        alternative = f"P values of the A/A studies. {alternative}"
    parts.append(f"![{alternative}](calibration.svg)")
    if aa:
        parts += _aa_parts(aa)
    parts += _planted_parts(powers)
    parts += _simulation_parts(simulation)
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _section(title: str, table: Table, legend: str) -> list[str]:
    return [f"## {title}", markdown_table(table), markdown_text(legend)] if table.rows else []


def _aa_parts(aa: AAStudy) -> list[str]:
    main = aa.cut[0]
    places = endpoint_places([aa.whole]).get(main.endpoint, 4)
    seeds = len(aa.header.seeds)
    source = (
        f"{main.arm} against {main.reference} of study {aa.header.study} on {main.endpoint}, "
        f"{seeds} seeds, cut in their order into disjoint studies, each judged alone"
        f"{f' with margin {main.margin:g}' if main.margin is not None else ''}. The {len(main.studies)} "
        f"studies of {main.n} seeds are all the evidence there is: resampling the same pairs adds none, and "
        "the other rows cut the same pairs differently. A study that lacks a pair is in no count. Intervals: "
        "Clopper and Pearson, 95%. All of them read the same two halves of one corpus and the same "
        "test: they say how often seeds alone make a difference. A rejection inside the margin is no claim, "
        "because equivalent wins ties."
    )
    parts = _section("A/A studies", aa_table(aa.cut), source)
    form = shape(aa.whole.sample.gains.tolist())
    parts += _section(
        "A/A differences",
        difference_table(aa.whole, form, places),
        "All complete pairs together. Skewness and kurtosis are 0 for normal differences. The sd of "
        "differences and r are what seeds and margins of a real study are planned with.",
    )
    return parts + _section(f"Each A/A study of {main.n} seeds", aa_study_table(main, places), "")


def _planted_parts(powers: list[PlantedPower]) -> list[str]:
    own, others = ([one for one in powers if one.planted is planted] for planted in (True, False))
    parts = _section(
        "Planted effects",
        planted_table(own),
        "Studies cut into disjoint ones of so many seeds, each judged whole, Holm over its own confirmatory "
        "contrasts. Seen: the arm helps, and so does grounding, the arm against its shuffled control.",
    )
    # Where nothing was planted a row an arm and endpoint would say little: one row a study and size.
    table = Table(["study", "seeds a study", "arms and endpoints", "false claims"])
    for study, n in dict.fromkeys((one.study, one.n) for one in others if one.claimed.of):
        rows = [one.claimed for one in others if (one.study, one.n) == (study, n)]
        count, total = sum(rate.count for rate in rows), sum(rate.of for rate in rows)
        table.add([study, n, len(rows), f"{count} of {total}"])
    return parts + _section(
        "Facts that an arm's media do not show",
        table,
        "The same studies on questions about another modality's facts. Endpoints of one study share its "
        "runs, so that these counts carry no interval.",
    )


def _simulation_parts(simulation: Simulation) -> list[str]:
    legend = (
        f"{simulation.studies} studies a row, seed {simulation.seed}, judged by the rules of real studies. "
        "Nominal: coverage 0.95 and 0.90, all else at most 0.05. Brackets: Clopper and Pearson, 95%. "
        "skewed: exponential. heavy tailed: t with 3 degrees of freedom. discrete: differences of two "
        "accuracies over 256 items at 0.95. aa residuals: centred differences of the A/A study, resampled; "
        "this shows how intervals behave under their shape and is no evidence beyond those pairs, and at "
        "few n a pair drawn twice narrows them. The margin "
        "is the one that n normal pairs decide with power 0.8; a study whose differences are all equal has "
        f"no interval and claims nothing. Bootstrap: percentile, over the seeds, {RESAMPLES} resamples."
    )
    parts = _section("Simulation", simulation_table(simulation.simulated), legend)
    parts += [markdown_text(simulation.remark)]
    parts += _section(
        "Simulation: looking early",
        looks_table(simulation.looks),
        "Studies that grow to the last look and are judged at every one. Rejects zero: at some look, at a "
        "true zero; peeking: the same with a plain t test at each look. False equivalent: at some look. "
        "Nominal: at most 0.05.",
    )
    return parts + _section(
        "Simulation: several contrasts",
        family_table(simulation.families),
        "Normal scores, no arm differs from the baseline that all contrasts share; a study counts if "
        "anything is rejected.",
    )
