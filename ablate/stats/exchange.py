"""Effects as tokens of fresh text, and what a media position is worth in them.

Between the rungs of a ladder, the baseline at several budgets, an endpoint is taken as linear in the
logarithm of the text tokens. With s its slope, oriented so that positive means better, and T the text
tokens of the baseline, a gain g does what E = T (exp(g / s) - 1) more tokens of text would do. Gain and
slope are estimated on the same seeds, from runs that share the baseline, and so they covary: the interval of
g / s is Fieller's, on the pairs (gain, slope) of the seeds, and E rises with g / s.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from ablate.record import RunRecord
from ablate.stats.decomposition import restricted
from ablate.stats.paired import ROUNDING, Interval, PairedEstimate, PairedSample, estimate
from ablate.stats.pairing import PairingError, check_pair
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

LARGEST_RATIO = math.log(1e9)
"""Gains of more than this many slopes, a text a thousand million times as long, are given no number."""

Runs = Mapping[tuple[str, int], RunRecord]


@dataclass(frozen=True)
class Slope:
    """How much an endpoint gains from e times as many text tokens. None where it cannot be told."""

    endpoint: str
    arms: tuple[str, ...]
    """The rungs, by text tokens: the baseline and its ladder arms."""
    tokens: tuple[float, ...]
    """Text tokens of each rung, mean over the seeds."""
    seeds: tuple[int, ...]
    """Seeds that ran every rung."""
    per_seed: tuple[float, ...]
    """Least-squares slope of each seed, in the endpoint's unit per ln(text tokens); positive where more
    text is better."""
    estimate: PairedEstimate
    """Their mean (`mean_gain`), sd, t interval and p of zero."""
    curvature: PairedEstimate | None
    """The quadratic least-squares coefficient of each seed in ln(text tokens), positive where returns grow;
    None on two rungs, which any straight line fits."""
    excluded: tuple[Exclusion, ...]
    """Planned seeds that are left out, with the reason."""
    notes: tuple[str, ...]
    """What a reader must know: the check of linearity, repeated text, rungs left out."""

    @property
    def interval95(self) -> Interval | None:
        """Student's interval of the mean slope."""
        return self.estimate.interval95


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
    E / media_positions for grounding. None for other kinds, and for arms without media."""
    rate95: Interval | None
    """The same map of ``interval95``."""
    extrapolated: bool
    """Whether E + T, or an end of its interval, lies outside the ladder's range of text tokens."""
    note: str
    """What cannot be told and why, and what the reader must know: sentences joined by `; `."""


def missing_ladder(header: StudyDesign) -> str:
    """Why effects cannot be expressed in tokens of text, in a sentence; empty where there is a ladder."""
    if header.ladder:
        return ""
    return (
        f"{header.baseline} was trained at one budget only, so that the worth of text is not known and no "
        "effect can be told in tokens of text; `ladder: [0.5]` in the recipe trains it at half the budget too"
    )


def slopes(records: Sequence[RunRecord], header: StudyDesign) -> list[Slope]:
    """The slope of the primary endpoint and of each one with a margin; empty without a ladder.

    Raises:
        RecordError: as `exchanges`.
    """
    return _slopes(index_runs(records), endpoint_directions(records), header)


def _slopes(runs: Runs, directions: Mapping[str, bool], header: StudyDesign) -> list[Slope]:
    stated = dict.fromkeys([header.primary, *header.margins]) if header.ladder else {}
    return [fit_slope(runs, header, endpoint, directions.get(endpoint, True)) for endpoint in stated]


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
    return [
        _equivalent(runs, header, slope, comparison, pairs, excluded, directions.get(slope.endpoint, True))
        for slope in _slopes(runs, directions, header)
        for comparison, pairs, excluded in paired
    ]


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
    if draft.kind not in ("total", "grounding"):
        return None, None, ""
    positions, own = draft.media_positions, draft.arm_tokens
    if not positions or own is None:
        return None, None, f"{draft.arm} holds no media: there is no exchange rate"
    more = base - own if draft.kind == "total" else 0.0
    rate95 = None
    if between is not None:
        rate95 = ((between[0] + more) / positions, (between[1] + more) / positions)
    said = ""
    if draft.kind == "total" and draft.caption_tokens:
        said = f"the worth of {draft.caption_tokens:.4g} caption tokens is counted with the media positions"
    return (tokens + more) / positions, rate95, said


def fit_slope(runs: Runs, header: StudyDesign, endpoint: str, higher_is_better: bool) -> Slope:
    """The slope over the baseline and the rungs of its ladder, seed by seed.

    A rung counts for a seed if it shares initial backbone and text order with the baseline; what it spent
    differs by design. A rung without one usable run is left out and named.
    """
    notes = []
    rungs = [header.baseline]
    for arm in header.ladder:
        if any(not _fault(runs, header, arm, seed, endpoint) for seed in header.seeds):
            rungs.append(arm)
        else:
            notes.append(f"rung {arm} has no usable run and is left out")
    seeds, excluded = _complete_seeds(runs, header, rungs, endpoint)
    sign = 1.0 if higher_is_better else -1.0
    tokens = {arm: _mean_tokens(runs, arm, seeds) for arm in rungs}
    rungs.sort(key=lambda arm: tokens[arm])
    slopes: list[float] = []
    bends: list[float] = []
    for seed in seeds:
        x = np.log([runs[arm, seed].spent.text_tokens for arm in rungs])
        y = sign * np.asarray([runs[arm, seed].scores[endpoint].value for arm in rungs], dtype=np.float64)
        # From the first rung on: scores that are all equal have a slope of zero, not of a rounding error.
        y = y - y[0]
        x = x - x.mean()
        slopes.append(float(x @ y / (x @ x)))
        if len(rungs) > 2:
            square = x**2 - (x**2).mean()
            bend = square - (square @ x) / (x @ x) * x
            bends.append(float(bend @ y / (bend @ bend)))
    curvature = _one_sample(seeds, bends) if bends else None
    notes += [_linearity(len(rungs), curvature), *_repeats(runs, rungs, seeds)]
    return Slope(
        endpoint=endpoint,
        arms=tuple(rungs),
        tokens=tuple(tokens[arm] for arm in rungs),
        seeds=tuple(seeds),
        per_seed=tuple(slopes),
        estimate=_one_sample(seeds, slopes),
        curvature=curvature,
        excluded=tuple(excluded),
        notes=tuple(note for note in notes if note),
    )


def _complete_seeds(
    runs: Runs, header: StudyDesign, rungs: Sequence[str], endpoint: str
) -> tuple[list[int], list[Exclusion]]:
    """Seeds that ran every rung, and the others with reasons."""
    seeds, excluded = [], []
    for seed in header.seeds:
        found = dict.fromkeys(_fault(runs, header, arm, seed, endpoint) for arm in rungs)
        faults = [fault for fault in found if fault]
        if len(rungs) < 2:
            faults.append("no slope from one rung")
        if not faults and len({runs[arm, seed].spent.text_tokens for arm in rungs}) < len(rungs):
            faults.append(f"{' and '.join(rungs)} did not all spend different amounts of text")
        if faults:
            excluded.append(Exclusion(seed, f"no slope: {', '.join(faults)}", refused=False))
        else:
            seeds.append(seed)
    return seeds, excluded


def _fault(runs: Runs, header: StudyDesign, arm: str, seed: int, endpoint: str) -> str:
    """Why the run of ``arm`` and ``seed`` is no point of the slope; empty if it is one."""
    run, base = runs.get((arm, seed)), runs.get((header.baseline, seed))
    if run is None:
        return f"{arm} has no record"
    if run.status == "diverged":
        return f"{arm} diverged"
    score = run.scores.get(endpoint)
    if score is None:
        return f"{arm} has no score"
    if not math.isfinite(score.value):
        return f"{arm} scored {score.value}"
    if run.spent.text_tokens < 1:
        return f"{arm} spent no text tokens"
    if base is None or arm == header.baseline:
        return "" if base is not None else f"{header.baseline} has no record"
    try:
        # All that makes a pair but the budget, which the ladder varies.
        check_pair(dataclasses.replace(run, spent=base.spent), base, header.match)
    except PairingError as error:
        return str(error)
    other = base.scores.get(endpoint)
    if other is not None and other.items != score.items:
        return f"{arm} and {header.baseline} were scored on {score.items} and {other.items} items"
    return ""


def _mean_tokens(runs: Runs, arm: str, seeds: Sequence[int]) -> float:
    """Mean over ``seeds``; over whatever runs there are where no seed has every rung."""
    spent = [run.spent.text_tokens for (name, seed), run in runs.items() if name == arm and seed in seeds]
    spent = spent or [run.spent.text_tokens for (name, _), run in runs.items() if name == arm]
    return math.fsum(spent) / len(spent) if spent else 0.0


def _one_sample(seeds: Sequence[int], values: Sequence[float]) -> PairedEstimate:
    """Student's inference on the mean of ``values``, one a seed."""
    return estimate(PairedSample(tuple(seeds), tuple(values), (0.0,) * len(values)))


def _linearity(rungs: int, curvature: PairedEstimate | None) -> str:
    if rungs == 2:
        return "two rungs: whether the endpoint is linear in ln(text tokens) is not checked"
    if curvature is None or curvature.mean_gain is None:
        return ""
    said = f"curvature {curvature.mean_gain:+.3g} per squared ln(text tokens)"
    if curvature.interval95 is None:
        return f"{said}, without an interval: {curvature.remark}"
    low, high = curvature.interval95
    straight = "no bend is seen" if low <= 0.0 <= high else "not linear in ln(text tokens)"
    return f"{said}, 95% interval {low:+.3g} to {high:+.3g}: {straight} over {rungs} rungs"


def _repeats(runs: Runs, rungs: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """That a rung's tokens are not all fresh, where its text repeats."""
    said = []
    for arm in rungs:
        epochs = max((runs[arm, seed].spent.text_epochs for seed in seeds), default=0.0)
        if epochs > 1.0:
            said.append(f"{arm} reads its text {epochs:.3g} times: the tokens of that rung are not all fresh")
    return said


def fieller(
    numerators: Sequence[float], denominators: Sequence[float], level: float = 0.95
) -> Interval | None:
    """Fieller's interval of mean numerator over mean denominator (Fieller 1954, J. R. Statist. Soc. B
    16:175), for n pairs of a bivariate normal distribution: Student's t with n - 1 degrees of freedom.

    The ratios r whose paired t test of ``numerators`` - r ``denominators`` against zero does not reject.
    With a, b the means, and v_aa, v_ab, v_bb their variances and covariance, they solve

        (b^2 - t^2 v_bb) r^2 - 2 (a b - t^2 v_ab) r + (a^2 - t^2 v_aa) <= 0.

    Returns:
        None where these are no finite interval, which is where the mean denominator is itself not
        distinguishable from zero at ``level``, and where there are fewer than two pairs.

    Raises:
        ValueError: the two differ in length, or a value is not finite.
    """
    a, b = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"a ratio needs pairs: got {a.size} numerators and {b.size} denominators")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a ratio needs finite numerators and denominators")
    n = a.size
    if n < 2 or not b.any():
        return None
    # In units of the largest of each, so that no square over- or underflows.
    a_unit, b_unit = float(np.abs(a).max()) or 1.0, float(np.abs(b).max())
    a, b = a / a_unit, b / b_unit
    mean_a, mean_b = float(a.mean()), float(b.mean())
    squared = float(stdtrit(n - 1, 0.5 + level / 2.0)) ** 2 / n
    cov = np.cov(a, b)
    v_aa, v_ab, v_bb = (squared * float(cov[i]) for i in ((0, 0), (0, 1), (1, 1)))
    leading = mean_b**2 - v_bb
    if leading <= 0.0:
        return None
    # The discriminant without the differences of nearly equal squares that the plain one has.
    across = squared * float(np.var(mean_b * a - mean_a * b, ddof=1))
    root = math.sqrt(max(0.0, across - max(0.0, v_aa * v_bb - v_ab**2)))
    middle, unit = mean_a * mean_b - v_ab, a_unit / b_unit
    return unit * (middle - root) / leading, unit * (middle + root) / leading
