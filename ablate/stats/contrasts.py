"""Contrasts of a study: every arm with the baseline and with its controls, per endpoint, with verdicts.

A pair has to prove that it is one (`ablate.stats.pairing`). A pair that cannot, a seed that is missing
from an arm, a diverged run and a score that is not a number are named in the contrast, and the contrast
is then inconclusive: what is missing is seldom missing at random.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from ablate.record import RecordError, RunRecord
from ablate.stats.paired import PairedEstimate, PairedSample, estimate
from ablate.stats.pairing import PairingError, check_pair
from ablate.stats.verdict import ALPHA, Verdict, holm, judge, seeds_needed

Kind = Literal["total", "grounding", "control", "placebo"]


class StudyDesign(Protocol):
    """The part of a study's header that contrasts depend on (`ablate.report.load.StudyHeader`)."""

    @property
    def baseline(self) -> str: ...
    @property
    def seeds(self) -> list[int]: ...
    @property
    def arms(self) -> list[str]: ...
    @property
    def primary(self) -> str: ...
    @property
    def margins(self) -> dict[str, float]: ...
    @property
    def match(self) -> str: ...
    @property
    def controls(self) -> dict[str, list[str]]: ...


class Comparison(NamedTuple):
    """Two arms to compare, whatever the endpoint."""

    arm: str
    reference: str
    kind: Kind


@dataclass(frozen=True)
class Exclusion:
    """A planned pair that a contrast lacks."""

    seed: int
    reason: str
    refused: bool
    """Whether both runs are there and are not a pair."""


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
    """Whether the endpoint has a margin and the kind is total or grounding. All else is exploratory."""
    margin: float | None
    sample: PairedSample
    """The complete pairs."""
    estimate: PairedEstimate
    excluded: tuple[Exclusion, ...]
    """Planned pairs that are not in the sample."""
    media: bool
    """Whether ``arm`` holds media and is no control: its `helps` needs a grounding verdict."""
    p_difference_adjusted: float | None = None
    """Holm over the confirmatory contrasts; None for exploratory, incomplete and undefined ones."""
    p_equivalence_adjusted: float | None = None
    family: int = 1
    """Confirmatory contrasts that Holm adjusted over."""
    verdict: Verdict | None = None
    """None where the endpoint has no margin. Exploratory verdicts are not adjusted."""
    grounding: str = ""
    """Media arms: the verdict of the grounding contrast on this endpoint, or `not measured`."""
    pairs_needed: int | None = None
    """Inconclusive and complete: pairs to declare a true zero equivalent with power 0.8 at alpha over
    `family`, were the sd of the differences what it is in the sample (`verdict.seeds_needed`)."""
    note: str = ""

    @property
    def complete(self) -> bool:
        """Whether every planned pair is in the sample."""
        return not self.excluded

    @property
    def printed_verdict(self) -> str:
        """The verdict as tables print it; empty without one.

        `equivalent` carries the sign of the gain; a media arm's `helps` carries its grounding verdict.
        """
        if self.verdict is None:
            return ""
        if self.verdict == "equivalent":
            gain = self.estimate.mean_gain or 0.0
            return f"equivalent ({'+' if gain > 0 else '-' if gain < 0 else '0'})"
        if self.verdict == "helps" and self.media and self.kind != "grounding":
            if self.grounding == "not measured":
                return "helps (grounding not measured)"
            return f"helps (grounding: {self.grounding})"
        return self.verdict


def index_runs(records: Iterable[RunRecord]) -> dict[tuple[str, int], RunRecord]:
    """Records by arm and seed.

    Raises:
        RecordError: two records of one arm and seed disagree in identity, status, scores or pairing.
    """
    runs: dict[tuple[str, int], RunRecord] = {}
    for record in records:
        other = runs.setdefault((record.arm, record.seed), record)
        # repr compares NaN with NaN as equal, == does not.
        differing = [
            name
            for name in ("identity", "status", "scores", "pairing")
            if repr(getattr(record, name)) != repr(getattr(other, name))
        ]
        if differing:
            raise RecordError(
                f"two records of arm {record.arm!r}, seed {record.seed} disagree in {', '.join(differing)}; "
                "keep the one that the study wrote"
            )
    return runs


def endpoint_directions(records: Iterable[RunRecord]) -> dict[str, bool]:
    """Endpoint to whether higher is better, in order of appearance.

    Raises:
        RecordError: two records disagree on the direction.
    """
    directions: dict[str, bool] = {}
    for record in records:
        for endpoint, score in record.scores.items():
            if directions.setdefault(endpoint, score.higher_is_better) != score.higher_is_better:
                raise RecordError(
                    f"arm {record.arm!r}, seed {record.seed}: endpoint {endpoint!r} has higher_is_better "
                    f"{score.higher_is_better}, and another record says otherwise"
                )
    return directions


def ordered_endpoints(records: Iterable[RunRecord], header: StudyDesign) -> list[str]:
    """The primary endpoint, those with a margin, then the others by name."""
    stated = dict.fromkeys([header.primary, *header.margins])
    return [*stated, *sorted(endpoint_directions(records).keys() - stated.keys())]


def comparisons(header: StudyDesign, runs: dict[tuple[str, int], RunRecord]) -> list[Comparison]:
    """Arms with the baseline, arms with their controls, controls with the baseline."""
    kinds = {arm: run.control for (arm, _), run in runs.items()}
    mirrored = {name for names in header.controls.values() for name in names}
    found: list[Comparison] = []
    for arm in header.arms:
        if arm in mirrored:
            continue
        if arm != header.baseline:
            found.append(Comparison(arm, header.baseline, "total"))
        for control in header.controls.get(arm, []):
            # A control without a record is known by its name, `<arm>.<control>`.
            shuffled = (kinds.get(control) or control.rpartition(".")[2]) == "shuffled"
            found.append(Comparison(arm, control, "grounding" if shuffled else "control"))
    placebos = [c for arm, names in header.controls.items() if arm != header.baseline for c in names]
    found += [Comparison(control, header.baseline, "placebo") for control in placebos]
    return found


def contrasts(records: Sequence[RunRecord], header: StudyDesign) -> list[Contrast]:
    """Every contrast of a study, endpoint by endpoint, the primary one first.

    Confirmatory are the total and grounding contrasts on endpoints with a margin; Holm runs over all
    of them, those without a p value counted as 1. Exploratory contrasts get unadjusted verdicts where
    there is a margin, and none elsewhere.

    Raises:
        RecordError: two records of one arm and seed disagree, or two runs on an endpoint's direction.
    """
    runs = index_runs(records)
    directions = endpoint_directions(records)
    media = {arm for (arm, _), run in runs.items() if run.spent.media_positions > 0 and run.control is None}
    endpoints = ordered_endpoints(records, header)
    paired = [(comparison, *_pairs(comparison, runs, header)) for comparison in comparisons(header, runs)]
    drafts = [
        _draft(comparison, pairs, excluded, endpoint, directions.get(endpoint, True), header, media)
        for endpoint in endpoints
        for comparison, pairs, excluded in paired
    ]
    return _with_notes(_with_grounding(_with_verdicts(drafts)))


Pair = tuple[RunRecord, RunRecord]


def _pairs(
    comparison: Comparison, runs: dict[tuple[str, int], RunRecord], header: StudyDesign
) -> tuple[list[Pair], list[Exclusion]]:
    """The proven pairs of a comparison, and the planned ones that are missing, with reasons."""
    pairs: list[Pair] = []
    excluded: list[Exclusion] = []
    for seed in header.seeds:
        both = [(arm, runs.get((arm, seed))) for arm in (comparison.arm, comparison.reference)]
        missing = [f"{arm} has no record" for arm, run in both if run is None]
        missing += [f"{arm} diverged" for arm, run in both if run is not None and run.status == "diverged"]
        treated, reference = both[0][1], both[1][1]
        if missing or treated is None or reference is None:
            excluded.append(Exclusion(seed, ", ".join(missing), refused=False))
            continue
        try:
            check_pair(treated, reference, header.match)
        except PairingError as error:
            excluded.append(Exclusion(seed, str(error), refused=True))
        else:
            pairs.append((treated, reference))
    return pairs, excluded


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
    kept: list[tuple[int, float, float]] = []
    lost = list(excluded)
    for treated, reference in pairs:
        faults = [fault for run in (treated, reference) if (fault := _score_fault(run, endpoint))]
        if faults:
            lost.append(Exclusion(treated.seed, ", ".join(faults), refused=False))
            continue
        mine, theirs = treated.scores[endpoint], reference.scores[endpoint]
        if mine.items != theirs.items:
            reason = (
                f"{treated.arm} and {reference.arm}, seed {treated.seed}: {endpoint} was scored on "
                f"{mine.items} and {theirs.items} items"
            )
            lost.append(Exclusion(treated.seed, reason, refused=True))
        else:
            kept.append((treated.seed, mine.value, theirs.value))
    seeds, first, second = zip(*kept, strict=True) if kept else ((), (), ())
    margin = header.margins.get(endpoint)
    sample = PairedSample(seeds, first, second, higher_is_better)
    return Contrast(
        arm=comparison.arm,
        reference=comparison.reference,
        kind=comparison.kind,
        endpoint=endpoint,
        confirmatory=margin is not None and comparison.kind in ("total", "grounding"),
        margin=margin,
        sample=sample,
        estimate=estimate(sample, margin),
        excluded=tuple(sorted(lost, key=lambda exclusion: exclusion.seed)),
        media=comparison.arm in media,
    )


def _score_fault(run: RunRecord, endpoint: str) -> str:
    score = run.scores.get(endpoint)
    if score is None:
        return f"{run.arm} has no score"
    return "" if math.isfinite(score.value) else f"{run.arm} scored {score.value}"


def _usable_p_values(draft: Contrast) -> tuple[float | None, float | None]:
    """P of no difference and of equivalence; None where pairs are missing, so that no claim is made."""
    found = draft.estimate
    return (found.p_difference, found.p_equivalence) if draft.complete else (None, None)


def _with_verdicts(drafts: list[Contrast]) -> list[Contrast]:
    family = [place for place, draft in enumerate(drafts) if draft.confirmatory]
    raw = [_usable_p_values(drafts[place]) for place in family]
    difference = dict(zip(family, holm([p for p, _ in raw]), strict=True))
    equivalence = dict(zip(family, holm([q for _, q in raw]), strict=True))
    judged = []
    for place, draft in enumerate(drafts):
        if draft.confirmatory:
            p, q, size = difference[place], equivalence[place], len(family)
            draft = replace(draft, p_difference_adjusted=p, p_equivalence_adjusted=q, family=size)
        else:
            p, q = _usable_p_values(draft)
        if draft.margin is not None:
            draft = replace(draft, verdict=judge(draft.estimate.mean_gain, p, q))
        judged.append(draft)
    return judged


def _with_grounding(judged: list[Contrast]) -> list[Contrast]:
    grounding = {(c.arm, c.endpoint): str(c.verdict) for c in judged if c.kind == "grounding" and c.verdict}
    return [
        replace(c, grounding=grounding.get((c.arm, c.endpoint), "not measured")) if c.media else c
        for c in judged
    ]


def _with_notes(judged: list[Contrast]) -> list[Contrast]:
    cache: dict[tuple[float, float, int], int | None] = {}
    return [_noted(contrast, cache) for contrast in judged]


def _noted(contrast: Contrast, cache: dict[tuple[float, float, int], int | None]) -> Contrast:
    notes = [f"seed {exclusion.seed}: {exclusion.reason}" for exclusion in contrast.excluded]
    if notes and contrast.verdict is not None:
        notes.append("inconclusive because pairs are missing")
    if contrast.estimate.remark:
        notes.append(contrast.estimate.remark)
    needed = None
    sd, margin = contrast.estimate.sd, contrast.margin
    if contrast.verdict == "inconclusive" and contrast.complete and sd and margin:
        key = (sd, margin, contrast.family)
        if key not in cache:
            cache[key] = seeds_needed(sd, margin, alpha=ALPHA / contrast.family)
        needed = cache[key]
        if needed is not None and needed > contrast.estimate.n:
            notes.append(f"about {needed} pairs would show equivalence, were there no difference (power 0.8)")
    return replace(contrast, pairs_needed=needed, note="; ".join(notes))
