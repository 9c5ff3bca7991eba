"""What a sweep says in words: where the optimum lies, what helps, whether by its media, what is missing."""

from collections import Counter
from collections.abc import Sequence

from ablate.report.sentences import verdict_sentences
from ablate.report.sweep_analysis import SettingResult, SweepResult
from ablate.report.sweep_fits import SweepFit, fit_of
from ablate.report.tuning_table import edge_sentences

NAMED = 6
"""Missing runs that a sentence names; the table names all."""

ROLES = (
    "Roles: baseline, fit (the surface is fitted to it), held out (the surface has to predict it), "
    "proportional (streams in the ratio of their text), stratified (equal shares). An arm without a role is "
    "the recipe's own."
)

POINTS = (
    "Gain of each mixture over the baseline: mean of the pairs with its 95% paired t interval, and the "
    "verdict of the setting's own study, where Holm runs over its confirmatory contrasts; nothing is "
    "adjusted over settings. A gain is positive where the mixture is better. Where a pair is missing no "
    "average is printed. Shares are those of whole rows. Grounding: the mixture against its shuffled "
    f"placebo. {ROLES}"
)

FITS = (
    "Gains over the baseline as a function of the shares, fitted to the mixtures with the role fit; seeds "
    "are blocks. Sd: of one run about its mixture and seed. Lack of fit: F test of the surface against that "
    "noise; where it is seen, intervals are widened to the scatter about the surface and no optimum is "
    "stated. Nor is one where the runs of some mixtures scatter more than those of others (p below 0.01), or "
    "where no model was asked for and two that fit say otherwise. Misfit seen at 80%: sd of the scatter of "
    "mixtures about the surface that this test sees with probability 0.8; a smaller one may be there unseen, "
    "and the bands then miss part of the truth. Held out: mixtures that the surface did not see, and how "
    "many lie inside their 95% prediction intervals; RMSE of the prediction, and what noise alone would "
    "give."
)

OPTIMA = (
    "The region is the convex hull of the fitted mixtures: nothing is said beyond it, and between measured "
    "mixtures the surface is what its form makes it: what rises and falls there goes unseen. Gain at the "
    "best: with the 95% band that is simultaneous over all mixtures. Ranges: of the shares of all mixtures "
    "that may be the optimum (95% confidence region). Draws: share of draws of the coefficients in which the "
    "baseline is the optimum."
)

COEFFICIENTS = (
    "In gains, in the endpoint's unit. A stream alone: the pure stream against the pure reference on the "
    "linear blend (for the exponential law, per unit of share at the baseline); a product: blending beyond "
    "it. 95% intervals and p values are of one coefficient each, not adjusted."
)

COMPUTE = (
    "Planned is what the sweep states; trained is what the records of distinct runs add up to. A run that "
    "several arms, settings or sweeps share is trained once. Trials of tuning come on top of what is planned."
)


def sweep_sentences(result: SweepResult, fits: Sequence[SweepFit]) -> list[str]:
    """What the sweep says of its primary endpoint, setting by setting, as plain unescaped text."""
    return [sentence for one in result.settings for sentence in _setting_sentences(result, one, fits)]


def _setting_sentences(result: SweepResult, one: SettingResult, fits: Sequence[SweepFit]) -> list[str]:
    lead = f"Setting {one.name}" if result.several else ""
    if one.problem or one.header is None:
        return [f"{lead or result.sweep.sweep}: nothing can be told: {one.problem.rstrip('.')}."]
    endpoint = one.header.primary
    place = f"{lead}, {endpoint}" if lead else endpoint
    said = []
    fit = fit_of(fits, one.name, endpoint)
    if fit is not None:
        said.append(
            " ".join([f"{place}: {_optimum(fit)}.", *_measured(result, one, endpoint), *_missing(one)])
        )
    mixtures = {point.arm for point in result.sweep.points}
    own = [each for each in one.contrasts if each.arm not in mixtures]
    sentences = verdict_sentences(own, one.header)
    if sentences and lead:
        sentences = [f"{lead}: {sentence}" for sentence in sentences]
    if fit is None and _missing(one):
        sentences.append(" ".join([f"{place}:", *_missing(one)]))
    edges = edge_sentences(one.tuning) if one.tuning else []
    sentences += [f"{lead}: {sentence}" if lead else sentence for sentence in edges]
    return said + sentences


def _optimum(fit: SweepFit) -> str:
    """Where the optimum is, without a full stop."""
    if fit.surface is None or fit.surface.optimum is None:
        return f"the optimum cannot be told: {fit.problem.rstrip('.') or 'no surface can be fitted'}"
    said = fit.surface.optimum.statement.rstrip(".")
    unchecked = fit.surface.lack_of_fit is None and not (fit.surface.held_out and fit.surface.held_out.of)
    return f"{said}; nothing checks the form of this surface" if unchecked else said


def _measured(result: SweepResult, one: SettingResult, endpoint: str) -> list[str]:
    """How the measured mixtures were judged, each help with its grounding; and those that were stopped."""
    found = [
        contrast
        for point in result.sweep.points
        if (contrast := one.contrast(point.arm, endpoint)) is not None
    ]
    judged = Counter(each.printed_verdict or "without a verdict" for each in found)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in judged.items())
    said = [f"Of {len(found)} measured mixtures: {counts}."] if found else []
    said += _grounded(result, one, endpoint)
    assert one.header is not None
    stopped = [point.arm for point in result.sweep.points if point.arm in one.header.stopped]
    if stopped:
        said.append(f"Stopped early by the rule of the plan: {', '.join(stopped)}.")
    return said


def _grounded(result: SweepResult, one: SettingResult, endpoint: str) -> list[str]:
    """Whether media themselves did it: a surface is of totals."""
    arms = [point.arm for point in result.sweep.points]
    media = [arm for arm in arms if (total := one.contrast(arm, endpoint)) is not None and total.media]
    found = [own for arm in media if (own := one.contrast(arm, endpoint, "grounding")) is not None]
    if not found:
        none = "there is no shuffled placebo, so that a gain may be that of captions or of extra positions"
        return [f"Grounding was not measured: {none}."] if media else []
    judged = Counter(each.printed_verdict or "without a verdict" for each in found)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in judged.items())
    left = f"; not measured in {len(media) - len(found)}" if len(found) < len(media) else ""
    return [f"Grounding, against shuffled media: {counts}{left}."]


def _missing(one: SettingResult) -> list[str]:
    """The runs that are not there, named."""
    if not one.missing:
        return []
    named = "; ".join(f"{what} ({why})" for what, why in one.missing[:NAMED])
    more = f"; and {len(one.missing) - NAMED} more, see Missing" if len(one.missing) > NAMED else ""
    return [f"Missing, and in no average: {named}{more}."]
