"""Contrasts of a study: every arm with the baseline and with its controls, per endpoint, with verdicts.

A contrast that lacks a planned pair is inconclusive: what is missing is seldom missing at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.record import RunRecord
from ablate.stats.adjusted import adjusted_estimate
from ablate.stats.bootstrap import ItemEstimate
from ablate.stats.covariate import AdjustedEstimate
from ablate.stats.paired import Interval, PairedEstimate, PairedSample, estimate
from ablate.stats.permutation import SignFlip, sign_flip
from ablate.stats.power import (
    SeedsToDecide,
    UnpairedDesign,
    detectable_difference,
    seeds_to_decide,
    unpaired_seeds,
)
from ablate.stats.samples import (
    Comparison,
    Exclusion,
    Kind,
    Pair,
    StudyDesign,
    comparisons,
    endpoint_directions,
    index_runs,
    ordered_endpoints,
    proven_pairs,
    scored_sample,
)
from ablate.stats.sequential import Looks, SequentialResult, sequential_result
from ablate.stats.verdict import ALPHA, Verdict, benjamini_hochberg, holm, judge


@dataclass(frozen=True)
class Precision:
    """What else the pairs say. No verdict rests on it."""

    sign_flip: SignFlip
    detectable80: float | None
    """Minimum detectable effect of a study of fixed size at power 0.8, in the endpoint's unit, were the
    sample's sd the true one; at alpha over the family for confirmatory contrasts, at alpha for others."""
    detectable90: float | None
    """The same at power 0.9."""
    unpaired: UnpairedDesign | None
    """What an unpaired study of this precision would have taken."""


@dataclass(frozen=True)
class Contrast:
    """One arm against another on one endpoint. Gains are positive where ``arm`` is better."""

    arm: str
    reference: str
    kind: Kind
    """`total`: arm against baseline. `grounding`: media arm against its shuffled control. `control`:
    media arm against another of its controls. `placebo`: control against baseline."""
    endpoint: str
    confirmatory: bool
    """Whether the endpoint has a margin and passed the screen, if there was one, and the kind is total or
    grounding. All else is exploratory."""
    margin: float | None
    sample: PairedSample
    """The complete pairs."""
    estimate: PairedEstimate
    excluded: tuple[Exclusion, ...]
    """Planned pairs that are not in the sample."""
    media: bool
    """Whether ``arm`` holds media and is no control: its `helps` needs a grounding verdict."""
    sequential: SequentialResult | None = None
    """Where the study may stop early and the endpoint has a margin: what the looks so far allow. The verdict
    then rests on it."""
    adjusted: AdjustedEstimate | None = None
    """Complete ones of a study with a control variate: the gain adjusted by it."""
    not_adjusted: str = ""
    """Why a declared control variate adjusts nothing here; empty if it does, or none is declared."""
    rests_on_adjusted: bool = False
    """Whether the verdict rests on `adjusted`: the plan that was locked declares the control variate."""
    p_difference_adjusted: float | None = None
    """Holm over the confirmatory contrasts, Benjamini and Hochberg over the exploratory ones; None for
    incomplete and undefined ones."""
    p_equivalence_adjusted: float | None = None
    family: int = 1
    """Contrasts that were adjusted over."""
    verdict: Verdict | None = None
    """None where the endpoint has no margin or did not pass the screen."""
    grounding: str = ""
    """Media arms: the verdict of the grounding contrast on this endpoint, or `not measured`."""
    precision: Precision | None = None
    """None below two pairs."""
    seeds_to_decide: SeedsToDecide | None = None
    """Inconclusive and complete: how many pairs would do, at alpha over `family`."""
    items: ItemEstimate | None = None
    """Seeds and items resampled together, where item scores were read (`ablate.report.items`)."""
    note: str = ""
    screened: str = ""
    """Why the endpoint did not pass the screen of the study; empty if it did, or there was none."""
    stopped: str = ""
    """Why the rule for hopeless arms stopped one of the two; empty if it did not."""

    @property
    def complete(self) -> bool:
        """Whether every planned pair is in the sample."""
        return not self.excluded

    @property
    def interval95(self) -> Interval | None:
        """The interval that the verdict rests on: sequential where the study may stop early, adjusted where
        a locked plan declares a control variate."""
        if self.rests_on_adjusted:
            return self.adjusted.interval95 if self.adjusted else None
        return self.sequential.interval95 if self.sequential else self.estimate.interval95

    @property
    def interval90(self) -> Interval | None:
        """The same at 90%: inside the margin where equivalence is shown, for a single contrast."""
        if self.rests_on_adjusted:
            return self.adjusted.interval90 if self.adjusted else None
        return self.sequential.interval90 if self.sequential else self.estimate.interval90

    @property
    def p_values(self) -> tuple[float | None, float | None]:
        """P of no difference and of equivalence, not adjusted; None where pairs are missing, so that no
        claim is made."""
        if not self.complete:
            return None, None
        if self.rests_on_adjusted:
            found_adjusted = self.adjusted
            return (
                (found_adjusted.p_difference, found_adjusted.p_equivalence)
                if found_adjusted
                else (None, None)
            )
        found = self.sequential or self.estimate
        return found.p_difference, found.p_equivalence

    @property
    def claimed_gain(self) -> float | None:
        """The gain whose sign `helps` or `hurts` tells: that of the look which the p value comes from where
        the study may stop early, else the mean gain."""
        if self.rests_on_adjusted:
            return self.adjusted.mean_gain if self.adjusted else None
        return self.sequential.claimed_gain if self.sequential else self.estimate.mean_gain

    @property
    def printed_verdict(self) -> str:
        """The verdict as tables print it; empty without one, or what the screen said of the endpoint.

        `equivalent` carries the sign of the gain; a media arm's `helps` carries its grounding verdict.
        """
        if self.verdict is None:
            return self.screened.partition(":")[0]
        if self.stopped and self.verdict == "inconclusive":
            return "stopped early"
        if self.verdict == "equivalent":
            gain = self.estimate.mean_gain or 0.0
            return f"equivalent ({'+' if gain > 0 else '-' if gain < 0 else '0'})"
        if self.verdict == "helps" and self.media and self.kind != "grounding":
            if self.grounding == "not measured":
                return "helps (grounding not measured)"
            return f"helps (grounding: {self.grounding})"
        return self.verdict


def contrasts(
    records: Sequence[RunRecord], header: StudyDesign, *, rests_on_adjusted: bool = False
) -> list[Contrast]:
    """Every contrast of a study, endpoint by endpoint, the primary one first.

    Confirmatory are the total and grounding contrasts on endpoints with a margin; Holm runs over all
    of them, those without a p value counted as 1. Over all other contrasts runs Benjamini and Hochberg's
    procedure; they get verdicts where there is a margin, unless the endpoint was screened out: two arms at
    chance are no more equivalent than they differ.

    Args:
        rests_on_adjusted: whether verdicts rest on the gains adjusted by the study's control variate, which
            only a plan that was locked before the first run may ask for.

    Raises:
        RecordError: two records of one arm and seed disagree, or two runs on an endpoint's direction.
    """
    runs = index_runs(records)
    directions = endpoint_directions(records)
    media = {arm for (arm, _), run in runs.items() if run.spent.media_positions > 0 and run.control is None}
    endpoints = ordered_endpoints(records, header)
    paired = [
        (comparison, *proven_pairs(runs, header, comparison.arm, comparison.reference))
        for comparison in comparisons(header, runs)
    ]
    drafts = [
        _draft(comparison, pairs, excluded, endpoint, directions.get(endpoint, True), header, media)
        for endpoint in endpoints
        for comparison, pairs, excluded in paired
    ]
    if header.covariate:
        drafts = [_with_covariate(draft, runs, header, rests_on_adjusted) for draft in drafts]
    return [_noted(contrast) for contrast in _with_grounding(_with_verdicts(drafts))]


def _with_covariate(
    draft: Contrast, runs: dict[tuple[str, int], RunRecord], header: StudyDesign, rests_on_adjusted: bool
) -> Contrast:
    found, why = None, f"not adjusted by {header.covariate}: pairs are missing"
    if draft.complete:
        found, why = adjusted_estimate(draft.sample, runs, header, draft.endpoint, draft.margin)
    rests = rests_on_adjusted and draft.sequential is None
    return replace(draft, adjusted=found, not_adjusted=why, rests_on_adjusted=rests)


def _draft(
    comparison: Comparison,
    pairs: list[Pair],
    excluded: list[Exclusion],
    endpoint: str,
    higher_is_better: bool,
    header: StudyDesign,
    media: set[str],
) -> Contrast:
    """A contrast with its estimate and without a verdict."""
    margin = header.margins.get(endpoint)
    sample, lost = scored_sample(pairs, excluded, endpoint, higher_is_better)
    return Contrast(
        arm=comparison.arm,
        reference=comparison.reference,
        kind=comparison.kind,
        endpoint=endpoint,
        confirmatory=margin is not None
        and comparison.kind in ("total", "grounding")
        and endpoint not in header.screened,
        margin=margin,
        sample=sample,
        estimate=estimate(sample, margin),
        excluded=lost,
        media=comparison.arm in media,
        sequential=_sequential(sample, margin, header),
        screened=header.screened.get(endpoint, ""),
        stopped=header.stopped.get(comparison.arm) or header.stopped.get(comparison.reference, ""),
    )


def _sequential(sample: PairedSample, margin: float | None, header: StudyDesign) -> SequentialResult | None:
    if margin is None or header.rule == "fixed":
        return None
    spending = header.spending if header.rule == "group_sequential" else None
    looks = Looks(header.rule, tuple(header.looks), spending)
    size = float(np.abs([*sample.treated, *sample.reference, 0.0]).max())
    return sequential_result(sample.gains, margin, looks, size)


def _with_verdicts(drafts: list[Contrast]) -> list[Contrast]:
    judged = list(drafts)
    for confirmatory, adjust in ((True, holm), (False, benjamini_hochberg)):
        family = [place for place, draft in enumerate(drafts) if draft.confirmatory == confirmatory]
        raw = [drafts[place].p_values for place in family]
        adjusted = zip(adjust([p for p, _ in raw]), adjust([q for _, q in raw]), strict=True)
        for place, (p, q) in zip(family, adjusted, strict=True):
            draft = drafts[place]
            judgeable = draft.margin is not None and not draft.screened
            verdict = judge(draft.claimed_gain, p, q) if judgeable else None
            judged[place] = replace(
                draft,
                p_difference_adjusted=p,
                p_equivalence_adjusted=q,
                family=len(family),
                verdict=verdict,
            )
    return judged


def _with_grounding(judged: list[Contrast]) -> list[Contrast]:
    grounding = {(c.arm, c.endpoint): str(c.verdict) for c in judged if c.kind == "grounding" and c.verdict}
    return [
        replace(c, grounding=grounding.get((c.arm, c.endpoint), "not measured")) if c.media else c
        for c in judged
    ]


def _noted(contrast: Contrast) -> Contrast:
    """``contrast`` with its precision, what would decide it, and a note."""
    notes = [f"screened out, {contrast.screened}"] if contrast.screened else []
    notes += [f"seed {exclusion.seed}: {exclusion.reason}" for exclusion in contrast.excluded]
    if contrast.stopped:
        notes.append(contrast.stopped)
    elif contrast.excluded and contrast.verdict is not None:
        notes.append("inconclusive because pairs are missing")
    remarks = (contrast.estimate.remark, contrast.sequential.remark if contrast.sequential else "")
    notes += dict.fromkeys(filter(None, remarks))
    alpha = ALPHA / contrast.family if contrast.confirmatory else ALPHA
    needed, found = None, contrast.estimate
    notes += _contradictions(contrast)
    if contrast.rests_on_adjusted:
        said = "verdict, intervals and p rest on the gain adjusted by the declared control variate"
        notes.append(contrast.not_adjusted or said)
    if contrast.verdict == "inconclusive" and contrast.complete and found.sd and found.mean_gain is not None:
        p, _ = contrast.p_values
        if p is not None and p < ALPHA:
            notes.append(f"differs before adjustment over {contrast.family} contrasts (p {p:.2g}), not after")
        needed = seeds_to_decide(found.mean_gain, found.sd, contrast.margin, alpha=alpha, pairs=found.n)
        fixed = ", were their number fixed: a rule that may stop early takes more"
        notes.append(needed.words + (fixed if contrast.sequential else ""))
    return replace(
        contrast, precision=_precision(contrast, alpha), seeds_to_decide=needed, note="; ".join(notes)
    )


def _contradictions(contrast: Contrast) -> list[str]:
    """Where the printed intervals seem to say something else than the verdict, in words."""
    notes, margin, looks = [], contrast.margin, contrast.sequential
    _, q = contrast.p_values
    if contrast.verdict not in (None, "equivalent") and q is not None and q < ALPHA:
        notes.append(
            f"within the margin before adjustment over {contrast.family} contrasts (p {q:.2g}), not after"
        )
    if looks is None or looks.boundary is None or margin is None:
        return notes
    earlier = "decided at an earlier look; the interval is that of the latest"
    gain = looks.claimed_gain or 0.0
    if contrast.verdict in ("helps", "hurts") and looks.interval95:
        low, high = looks.interval95
        if not (low > 0 if gain > 0 else high < 0):
            notes.append(earlier)
    if contrast.verdict == "equivalent" and looks.interval90:
        low, high = looks.interval90
        if not -margin < low <= high < margin:
            notes.append(earlier)
    return notes


def _precision(contrast: Contrast, alpha: float) -> Precision | None:
    found, sample = contrast.estimate, contrast.sample
    if found.n < 2:
        return None
    flips = sign_flip(sample.gains)
    if not found.sd:
        return Precision(flips, None, None, None)
    sds = [float(np.std(values, ddof=1)) for values in (sample.treated, sample.reference)]
    return Precision(
        flips,
        detectable_difference(found.n, found.sd, 0.8, alpha),
        detectable_difference(found.n, found.sd, 0.9, alpha),
        unpaired_seeds(found.n, found.sd, *sds),
    )


def undecided(contrasts: Sequence[Contrast], primary: str) -> list[Contrast]:
    """What keeps a study going that may stop early: inconclusive contrasts with the baseline on the
    primary endpoint, and the grounding of those that help."""
    own = [one for one in contrasts if one.endpoint == primary and one.verdict is not None]
    helping = {one.arm for one in own if one.kind == "total" and one.verdict == "helps"}
    return [
        one
        for one in own
        if one.verdict == "inconclusive"
        and (one.kind == "total" or (one.kind == "grounding" and one.arm in helping))
    ]
