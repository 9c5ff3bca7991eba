"""Effects as tokens of fresh text, and what a media position is worth in them.

Between the rungs of a ladder, the baseline at several budgets, an endpoint is taken as linear in the
logarithm of the text tokens. With s its slope, oriented so that positive means better, and T the text
tokens of the baseline, a gain g does what E = T (exp(g / s) - 1) more tokens of text would do. Gain and
slope are estimated on the same seeds, from runs that share the baseline, and so they covary: the interval of
g / s is Fieller's, on the pairs (gain, slope) of the seeds, and E rises with g / s.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ablate.record import RunRecord
from ablate.stats.decomposition import restricted
from ablate.stats.fieller import fieller
from ablate.stats.paired import ROUNDING, Interval, PairedEstimate, PairedSample, estimate
from ablate.stats.samples import (
    Comparison,
    Exclusion,
    Kind,
    Pair,
    StudyDesign,
    comparisons,
    endpoint_directions,
    index_runs,
    proven_pairs,
    scored_sample,
)
from ablate.stats.slope import Runs, Slope, slopes_of
from ablate.stats.worth import LARGEST_RATIO, difference_of_worth


@dataclass(frozen=True)
class Equivalent:
    """One effect in tokens of fresh text. Numbers are None where they cannot be told; ``note`` says why."""

    arm: str
    reference: str
    kind: Kind
    endpoint: str
    slope: Slope
    """What text is worth, over all seeds of the ladder."""
    seeds: tuple[int, ...]
    """Seeds with a gain and a slope: those that the equivalent is made of."""
    gain: PairedEstimate
    """The effect over these seeds, in the endpoint's unit; positive where ``arm`` is better."""
    excluded: tuple[Exclusion, ...]
    """Planned seeds that are not among them."""
    tokens: float | None
    """E: fresh text tokens that would do to the baseline what the arm does to its reference."""
    interval95: Interval | None
    """Of E: Fieller's interval of gain over slope, with n - 1 degrees of freedom, carried over."""
    baseline_tokens: float | None
    """T: text tokens of a baseline run, mean over the seeds."""
    arm_tokens: float | None
    """Text tokens that a run of the arm reads from text streams, mean over the seeds."""
    media_positions: float | None
    """Media positions of a run of the arm, mean over the seeds."""
    caption_tokens: float | None
    """Text tokens of media rows, mean over the seeds. They are counted with the media row: what captions
    teach is in the worth of the media positions beside them, not in ``arm_tokens``."""
    rate: float | None
    """Text tokens that one media position is worth: (E + T - arm_tokens) / media_positions for a total,
    and for grounding the worth of the arm less that of its shuffled control, per position
    (`ablate.stats.worth`). None for other kinds, and for arms without media."""
    rate95: Interval | None
    """For a total, the same map of ``interval95``; for grounding, the delta method's."""
    extrapolated: bool
    """Whether E + T, or an end of its interval, lies outside the ladder's range of text tokens."""
    note: str
    """What cannot be told and why, and what the reader must know: sentences joined by `; `."""


def exchanges(records: Sequence[RunRecord], header: StudyDesign) -> list[Equivalent]:
    """Every contrast, on the primary endpoint and on those with a margin, in tokens of text.

    Empty without a ladder, see `missing_ladder`.

    Raises:
        RecordError: two records of one arm and seed disagree, or two runs on an endpoint's direction.
    """
    if not header.ladder:
        return []
    runs, directions = index_runs(records), endpoint_directions(records)
    paired = [
        (comparison, *proven_pairs(runs, header, comparison.arm, comparison.reference))
        for comparison in comparisons(header, runs)
    ]
    found = []
    for slope in slopes_of(runs, directions, header):
        better = directions.get(slope.endpoint, True)
        against = {
            (comparison.arm, comparison.reference): scored_sample(pairs, lost, slope.endpoint, better)[0]
            for comparison, pairs, lost in paired
        }
        for comparison, pairs, excluded in paired:
            one = _equivalent(runs, header, slope, comparison, pairs, excluded, better)
            found.append(_with_grounding_rate(one, against, header.baseline))
    return found


def _with_grounding_rate(
    one: Equivalent, against: Mapping[tuple[str, str], PairedSample], baseline: str
) -> Equivalent:
    """A grounding effect with the worth of its media positions, where arm and control can be valued."""
    treated, placebo = (against.get((arm, baseline)) for arm in (one.arm, one.reference))
    if (
        one.kind != "grounding"
        or one.tokens is None
        or not one.media_positions
        or one.baseline_tokens is None
    ):
        return one
    if treated is None or placebo is None:
        return one
    slopes = dict(zip(one.slope.seeds, one.slope.per_seed, strict=True))
    found = difference_of_worth(treated, placebo, slopes, one.baseline_tokens)
    if found is None:
        return one
    worth, between = found
    rate95 = between and (between[0] / one.media_positions, between[1] / one.media_positions)
    return replace(one, rate=worth / one.media_positions, rate95=rate95)


def _equivalent(
    runs: Runs,
    header: StudyDesign,
    slope: Slope,
    comparison: Comparison,
    pairs: Sequence[Pair],
    excluded: Sequence[Exclusion],
    higher_is_better: bool,
) -> Equivalent:
    sample, lost = scored_sample(pairs, excluded, slope.endpoint, higher_is_better)
    sloping = dict(zip(slope.seeds, slope.per_seed, strict=True))
    no_slope = {one.seed: one for one in slope.excluded}
    lost += tuple(no_slope[seed] for seed in sample.seeds if seed in no_slope)
    own = restricted(sample, slope.seeds)
    draft = _spent(runs, header, comparison, slope, own, lost)
    ratio, interval, reason = _in_slopes(own, [sloping[seed] for seed in own.seeds])
    return _with_tokens(draft, ratio, interval, reason)


def _spent(
    runs: Runs,
    header: StudyDesign,
    comparison: Comparison,
    slope: Slope,
    own: PairedSample,
    lost: Sequence[Exclusion],
) -> Equivalent:
    """The effect and what its runs spent, before it is expressed in tokens."""

    def mean(arm: str, quantity: str) -> float | None:
        spent = [float(getattr(runs[arm, seed].spent, quantity)) for seed in own.seeds]
        return math.fsum(spent) / len(spent) if spent else None

    return Equivalent(
        arm=comparison.arm,
        reference=comparison.reference,
        kind=comparison.kind,
        endpoint=slope.endpoint,
        slope=slope,
        seeds=own.seeds,
        gain=estimate(own),
        excluded=tuple(sorted(lost, key=lambda one: one.seed)),
        tokens=None,
        interval95=None,
        baseline_tokens=mean(header.baseline, "text_tokens"),
        arm_tokens=mean(comparison.arm, "text_tokens"),
        media_positions=mean(comparison.arm, "media_positions"),
        caption_tokens=mean(comparison.arm, "caption_tokens"),
        rate=None,
        rate95=None,
        extrapolated=False,
        note="",
    )


def _in_slopes(sample: PairedSample, sloping: Sequence[float]) -> tuple[float | None, Interval | None, str]:
    """Mean gain over mean slope, its interval, and why one of them is None."""
    if not sloping:
        return None, None, "cannot be told: no seed has both a gain and a slope"
    if len(sloping) == 1:
        return None, None, "cannot be told: one seed has both a gain and a slope, and gives no interval"
    slope = math.fsum(sloping) / len(sloping)
    gains = [float(gain) for gain in sample.gains]
    interval = fieller(gains, sloping)
    measured = f"{slope:+.3g} per ln(text tokens) over {len(sloping)} seeds"
    if interval is None:
        return None, None, f"cannot be told: the slope is not distinguishable from zero ({measured})"
    if slope < 0:
        return None, None, f"cannot be told: more text makes the endpoint worse ({measured})"
    ratio = math.fsum(gains) / len(gains) / slope
    size = max(map(abs, (*sample.treated, *sample.reference)))
    if max(np.std(gains), np.std(sloping)) <= ROUNDING * size:
        return ratio, None, "gains and slopes do not vary over seeds: no interval can be given"
    return ratio, interval, ""


def _with_tokens(
    draft: Equivalent, ratio: float | None, interval: Interval | None, reason: str
) -> Equivalent:
    """The draft with its tokens, rate and note."""
    base = draft.baseline_tokens
    notes = [reason] if reason else []
    if ratio is None or base is None:
        return replace(draft, note="; ".join([*notes, *draft.slope.notes]))
    if ratio > LARGEST_RATIO:
        notes.insert(0, f"cannot be told: the gain is {ratio:.3g} times what e times as much text gives")
        return replace(draft, note="; ".join([*notes, *draft.slope.notes]))
    tokens = base * math.expm1(ratio)
    between, beyond = None, ""
    if interval is not None and interval[1] > LARGEST_RATIO:
        least = base * math.expm1(interval[0])
        beyond = f"extrapolated: at least {least:.4g} tokens, and no upper end can be given"
    elif interval is not None:
        between = (base * math.expm1(interval[0]), base * math.expm1(interval[1]))
    beyond = beyond or _beyond(draft.slope, base, tokens, between)
    rate, rate95, about = _rate(draft, base, tokens, between)
    notes += [said for said in (beyond, about) if said]
    return replace(
        draft,
        tokens=tokens,
        interval95=between,
        rate=rate,
        rate95=rate95,
        extrapolated=bool(beyond),
        note="; ".join([*notes, *draft.slope.notes]),
    )


def _beyond(slope: Slope, base: float, tokens: float, between: Interval | None) -> str:
    """That the ladder does not reach as far as the equivalent, in words; empty where it does."""
    low, high = min(slope.tokens), max(slope.tokens)
    reach = f"the ladder's {low:.4g} to {high:.4g} text tokens"
    if not low <= base + tokens <= high:
        return f"extrapolated: {base + tokens:.4g} text tokens lie outside {reach}"
    if between is not None and not (low <= base + between[0] and base + between[1] <= high):
        return f"extrapolated: the interval reaches outside {reach}"
    return ""


def _rate(
    draft: Equivalent, base: float, tokens: float, between: Interval | None
) -> tuple[float | None, Interval | None, str]:
    """Text tokens a media position is worth, its interval, and what must be said of it."""
    if draft.kind != "total":
        return None, None, ""
    positions, own = draft.media_positions, draft.arm_tokens
    if not positions or own is None:
        return None, None, f"{draft.arm} holds no media: there is no exchange rate"
    more = base - own
    rate95 = None
    if between is not None:
        rate95 = ((between[0] + more) / positions, (between[1] + more) / positions)
    said = ""
    if draft.caption_tokens:
        said = f"the worth of {draft.caption_tokens:.4g} caption tokens is counted with the media positions"
    return (tokens + more) / positions, rate95, said
