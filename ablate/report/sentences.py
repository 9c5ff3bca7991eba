"""What a study says in words: verdicts with the numbers behind them."""

from collections.abc import Sequence

from ablate.report.load import StudyHeader
from ablate.report.tables import endpoint_places, number
from ablate.stats.contrasts import Contrast
from ablate.stats.coverage import measured_coverage
from ablate.stats.verdict import ALPHA

LEGEND = (
    "Gains are oriented: positive means that the first arm is better, whatever the endpoint's direction. "
    "95% and 90% CI: paired t interval over seeds, not adjusted for multiplicity. Equivalent: two one-sided "
    "tests put the gain within the margin (the 90% interval, for a single contrast); helps or hurts: the "
    "paired t test excludes zero (the 95% interval). A contrast without variance over seeds (for instance "
    "both arms at 1.0) is inconclusive, because there is no t interval. Claims of a difference and claims of "
    "equivalence are each held at 5% over their contrasts, so that any false claim has at most 10%."
)

PRECISION = (
    "No verdict rests on these. Welch 95%: the same scores as if unpaired; r: correlation of the pairs. "
    "Bootstrap 95%: seeds and test items resampled together, items of one cluster together (percentiles; "
    "over few seeds it is too narrow). S.e. seeds: of the mean gain, with these items; s.e. items: of the "
    "mean gain, with these seeds. P sign flip: permutation of the signs of the differences. Detectable: the "
    "true difference that the test would see with power 0.8 or 0.9, at alpha over the number of contrasts, "
    "were the sd the true one. Unpaired seeds: per arm, for an interval as narrow without pairs; in brackets "
    "how many more than there are pairs (below zero, pairing bought nothing). Coverage: how often 95% t "
    "intervals over as many pairs (or the nearest number that was simulated) held the truth, for normal and "
    "for skewed (exponential) differences."
)

DECOMPOSITION = (
    "Parts with the role sum add up to the total, seed by seed; those beside it hold the arm against "
    "other placebos. 95% paired t intervals over the seeds that all arms of the sum have, not adjusted. "
    "Grounding: real media against somebody else's. Extra positions and regularisation: somebody else's "
    "media against none. Caption text: captions without media against the baseline."
)

EQUIVALENTS = (
    "Fresh text tokens: how many more tokens of text would do to the baseline what the contrast does, by the "
    "slope of the endpoint in the logarithm of text tokens between the baseline's budgets; the interval is "
    "Fieller's, so that it holds the uncertainty of the slope. Tokens per media position: for a total, what "
    "the text that the arm went without and the effect come to, per position of media; captions count as "
    "media. For grounding, the worth of the arm less that of its shuffled control, both against the "
    "baseline, per position, with an interval by the delta method."
)


def looks_legend(header: StudyHeader) -> list[str]:
    """How a study that may stop early is judged; nothing for one that may not."""
    if header.rule == "fixed":
        return []
    looks = ", ".join(map(str, header.looks))
    if header.rule == "anytime":
        how = (
            "p values and intervals are anytime-valid (e-values of the t statistic): they hold at every "
            "look, and equivalent asks for the 95% interval inside the margin"
        )
    else:
        how = (
            "p values and intervals are group-sequential, alpha spent over the looks "
            f"({header.spending.replace('_', '-')})"
        )
    return [
        f"The study may stop early: it is looked at with {looks} seeds and stands at {len(header.seeds)}; "
        f"{how}. They take the place of the paired t interval and test for endpoints with a margin. All "
        "else (other endpoints, numbers beside the primary interval, parts of the effect, tokens of text) is "
        "that of a study of fixed size and makes no allowance for looks. A study that stopped early for a "
        "difference overstates its size."
    ]


def coverage_legend(contrasts: Sequence[Contrast]) -> list[str]:
    """The measured coverage of the intervals, one sentence a number of pairs."""
    # Of t intervals alone: those of a study that may stop early are others.
    counts = sorted({one.estimate.n for one in contrasts if one.estimate.interval95 and not one.sequential})
    found = [coverage.text for count in counts if (coverage := measured_coverage(count))]
    return [f"Measured {text}." for text in dict.fromkeys(found)]


def verdict_sentences(contrasts: Sequence[Contrast], header: StudyHeader) -> list[str]:
    """What the study says of its primary endpoint, one sentence per arm, as plain unescaped text."""
    found = [one for one in contrasts if one.endpoint == header.primary and one.kind == "total"]
    places = endpoint_places(contrasts)
    grounding = {
        one.arm: one for one in contrasts if one.endpoint == header.primary and one.kind == "grounding"
    }
    return [_sentence(one, places[one.endpoint]) + _grounded(one, grounding, places) for one in found]


def _sentence(contrast: Contrast, places: int) -> str:
    arm, reference, endpoint = contrast.arm, contrast.reference, contrast.endpoint
    verdict = contrast.verdict
    if verdict == "helps":
        said = f"{arm} {contrast.printed_verdict}: {endpoint} is better than with {reference}"
    elif verdict == "hurts":
        said = f"{arm} hurts: {endpoint} is worse than with {reference}"
    elif verdict == "equivalent":
        said = f"{arm} is equivalent to {reference} on {endpoint} within the margin of {contrast.margin:g}"
    elif verdict == "inconclusive":
        said = f"{arm} is inconclusive: whether it changes {endpoint} against {reference} cannot be told yet"
        p, _ = contrast.p_values
        if p is not None and p < ALPHA:
            lost = f"its difference to {reference} on {endpoint} does not survive adjustment"
            said = f"{arm} is inconclusive: {lost}"
    else:
        said = f"{arm} against {reference} on {endpoint} has no verdict, because no margin was stated"
    return f"{said} ({evidence(contrast, places)})."


def evidence(contrast: Contrast, places: int) -> str:
    """The numbers behind a verdict, in words."""
    found = contrast.estimate
    pairs = "1 pair" if found.n == 1 else f"{found.n} pairs"
    if found.mean_gain is None:
        return "; ".join(filter(None, ["no complete pair", contrast.note]))
    parts = [f"gain {number(found.mean_gain, places, signed=True)}"]
    level, interval = "95%", contrast.interval95
    if contrast.verdict == "equivalent" and not (contrast.sequential and contrast.sequential.evidence):
        # The one that lies inside the margin. Anytime, which has an e-value, it is the 95% interval.
        level, interval = "90%", contrast.interval90
    if interval:
        low, high = (number(end, places, signed=True) for end in interval)
        parts.append(f"{level} interval {low} to {high}")
    parts.append(pairs)
    if contrast.margin is not None and contrast.verdict != "equivalent":
        parts.append(f"margin {contrast.margin:g}")
    return ", ".join(parts) + (f"; {contrast.note}" if contrast.note else "")


def _grounded(contrast: Contrast, grounding: dict[str, Contrast], places: dict[str, int]) -> str:
    """What a media arm's verdict has to carry: whether the media themselves did it."""
    if not contrast.media:
        return ""
    other = grounding.get(contrast.arm)
    if other is None:
        return " Grounding was not measured: there is no shuffled control."
    verdict = other.printed_verdict or "no verdict"
    numbers = evidence(other, places[other.endpoint])
    return f" Grounding, {contrast.arm} against {other.reference}: {verdict} ({numbers})."
