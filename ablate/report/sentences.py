"""What a study says in words: verdicts with the numbers behind them."""

from collections.abc import Sequence

from ablate.report.load import StudyHeader
from ablate.report.tables import endpoint_places, number
from ablate.stats.contrasts import Contrast

LEGEND = (
    "Gains are oriented: positive means that the first arm is better, whatever the endpoint's direction. "
    "95% and 90% CI: paired t interval over seeds, not adjusted for multiplicity. Welch 95%: the same scores "
    "as if unpaired; r: correlation of the pairs. Equivalent: two one-sided tests put the gain within the "
    "margin (the 90% interval, for a single contrast); helps or hurts: the paired t test excludes zero (the "
    "95% interval). A contrast without variance over seeds (for instance both arms at 1.0) is inconclusive, "
    "because there is no t interval."
)


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
    if found.interval95:
        low, high = (number(end, places, signed=True) for end in found.interval95)
        parts.append(f"95% interval {low} to {high}")
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
