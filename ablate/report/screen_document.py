"""The report of a screen: which endpoints are usable at this size, and why the others are not."""

from collections.abc import Sequence

from ablate.report.analysis import Analysis
from ablate.report.compute import compute_table
from ablate.report.curves import curve_caption
from ablate.report.document import Document, Picture, Section, disclosures, provenance
from ablate.report.load import StudyHeader
from ablate.report.tables import ABSENT, Cell, Table, missing_table, number, p_text, run_names, score_table
from ablate.stats.samples import index_runs
from ablate.stats.screening import SCREEN_VERDICTS, Screened, ScreenVerdict

NAMED = 12
"""Endpoints of one verdict that a sentence names."""

SCREEN_LEGEND = (
    "Usable: above chance at the full budget, where chance is defined, and rising with compute. Above "
    "chance: one-sided, for new seeds and new items (or clusters) together; the excess of the mean has to "
    "be above sqrt(t(seeds)^2 se(seeds)^2 + t(items)^2 se(items)^2), with Student's quantiles (Banerjee "
    "1960, on Clark's 1973 bound of the crossed variance; conservative for normal effects). The variance "
    "over seeds is the larger of that at the full budget and the mean over the shares, with half the "
    "degrees of freedom of independent runs, fewer where the variances differ. Rising: Page's exact test "
    "(1963) over shares, seeds as blocks, for these items; the whole budget has to beat its smallest share, "
    "and no step may fall by more than noise. Each is adjusted after Holm, in three families apart: "
    "endpoints with a margin, metrics over whole tasks, and those of subsets and groups. Needed: the score "
    "that Holm's first step asks for. At floor: not shown to be above chance. Cannot be told: too few seeds, "
    "shares or items, or runs missing. Where length, or how common an answer is, tells choices apart (see "
    "Disclosures), a model that knows nothing need not score chance."
)

SELECTION = (
    "The runs of the screen are the study's own baseline runs: an endpoint that barely passed did so with a "
    "baseline that was lucky, against which arms look slightly worse. Seeds of its own (`ablate screen "
    "RECIPE seeds=[100,101,102]`) make a screen independent of the study."
)


def compose_screen(study: Analysis) -> Document:
    """The report of a screen, verdict first."""
    header, runs = study.header, index_runs(study.records)
    missing = missing_table(runs, header, [])
    for fault in study.faults:
        missing.add(["item scores", fault])
    curves: list[Section | Picture] = []
    if any(record.curve for record in study.records):
        curves = [
            Picture("loss_flops", "Training loss over FLOPs", curve_caption(study.records, header, "flops"))
        ]
    none = "An endpoint that lacks a run, or its item scores where chance is defined, cannot be told."
    parts: list[Section | Picture] = [
        Section("missing", "Missing and refused", missing, none),
        Section("screen", "Endpoints", screen_table(study.screening, header), SCREEN_LEGEND),
        Section("scores", "Scores", score_table(runs, header, {})),
        Section(
            "compute", "Compute", compute_table(runs, header), "Rungs are shares of the baseline's budget."
        ),
        *curves,
    ]
    return Document(
        title=header.study,
        question="Which endpoints can a text-only model of this size and budget be judged by?",
        verdict=screen_sentences(study.screening),
        registration=[],
        parts=[part for part in parts if isinstance(part, Picture) or part.table.rows],
        disclosures=[SELECTION, *disclosures(header, study.records)],
        provenance=provenance(header, study.records),
    )


def screen_sentences(screened: Sequence[Screened]) -> list[str]:
    """How many endpoints have each verdict, and the names of a few."""
    if not screened:
        return ["No endpoint was scored."]
    said = []
    for verdict in SCREEN_VERDICTS:
        names = [one.endpoint for one in screened if one.verdict == verdict]
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            said.append(
                f"{len(names)} of {len(screened)} endpoints {_words(verdict, len(names))}: "
                f"{', '.join(names[:NAMED])}{more}."
            )
    return said


def _words(verdict: ScreenVerdict, count: int) -> str:
    if verdict == "cannot be told":
        return verdict
    return f"{'is' if count == 1 else 'are'} {verdict}"


def screen_table(screened: Sequence[Screened], header: StudyHeader) -> Table:
    """Endpoints for reading: the usable ones first."""
    shares = sorted([*header.ladder.values(), 1.0])
    columns = ["endpoint", "verdict", "chance", *(f"mean at {share:g}" for share in shares), "sd"]
    table = Table([*columns, "needed", "p chance", "p rising", "clusters", "reason"])
    order = sorted(screened, key=lambda one: SCREEN_VERDICTS.index(one.verdict))
    for one in order:
        means: list[Cell] = [number(mean, 4) for mean in one.means] or [ABSENT] * len(shares)
        row: list[Cell] = [one.endpoint, one.verdict, number(one.chance, 4), *means, number(one.sd, 4)]
        row += [number(one.needed, 4), p_text(one.p_chance_adjusted), p_text(one.p_trend_adjusted)]
        row += [ABSENT if one.clusters is None else one.clusters, one.reason]
        table.add(row, run_names([header.baseline, *header.ladder], one.seeds))
    return table


def screen_rows(screened: Sequence[Screened], header: StudyHeader) -> Table:
    """Every endpoint for machines, one row each, unrounded, in the order of the tasks."""
    shares = sorted([*header.ladder.values(), 1.0])
    columns = ["endpoint", "verdict", "higher_is_better", "chance", "seeds"]
    columns += [f"mean_{share:g}" for share in shares]
    columns += ["sd", "se_seeds", "se_items", "clusters", "needed"]
    columns += ["p_chance", "p_chance_adjusted", "chance_family"]
    table = Table([*columns, "page_l", "p_trend", "p_trend_adjusted", "trend_family", "reason"])
    for one in screened:
        means: list[Cell] = [*one.means] or [None] * len(shares)
        row: list[Cell] = [one.endpoint, one.verdict, one.higher_is_better, one.chance]
        row += [" ".join(map(str, one.seeds)), *means, one.sd, one.se_seeds, one.se_items, one.clusters]
        row += [one.needed, one.p_chance, one.p_chance_adjusted, one.chance_family]
        row += [one.page_l, one.p_trend, one.p_trend_adjusted, one.trend_family, one.reason]
        table.add(row)
    return table
