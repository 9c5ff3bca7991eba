"""What a media arm's effect is made of: caption text, extra positions and regularisation, grounding.

With A the arm, S its `shuffled` control, C its `captions_only` control and T the baseline,

    A - T = (C - T) + (S - C) + (A - S)

seed by seed. C - T is what the captions do; where the budget substitutes rows (`match: flops` and
`positions`), in the place of the text that they displace. S - C is what positions filled by media do that
show something else than the caption says, the media loss and the encoder's gradients included. A - S is
grounding: what the right media do beyond wrong ones.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ablate.record import RunRecord
from ablate.stats.paired import PairedEstimate, PairedSample, estimate
from ablate.stats.samples import (
    Exclusion,
    Pair,
    StudyDesign,
    endpoint_directions,
    index_runs,
    proven_pairs,
    scored_sample,
)

TOTAL = "total"
GROUNDING = "grounding"
EXTRA = "extra positions and regularisation"
CAPTIONS = "caption text"
CAPTIONS_AND_EXTRA = "caption text + extra positions"
EXTRA_AND_GROUNDING = "extra positions + grounding"

FURTHER = {
    "noise": "grounding, estimated against noise",
    "blank": "grounding, estimated against blank media",
    "captions_only_refill": "beyond refilled captions",
    "repeat_text": "beyond repeated text",
}
"""Control to what the arm minus it says: lines beside the sum, each on its own pairs."""

WITHOUT_CAPTIONS = {
    "noise": "content of media, against noise",
    "blank": "content of media, against blank media",
}
"""The same for an arm whose media have no captions, so that no shuffled control can be built."""

Runs = Mapping[tuple[str, int], RunRecord]


@dataclass(frozen=True)
class Part:
    """The difference of two arms on one endpoint. Gains are positive where ``arm`` is better."""

    name: str
    """What the difference is made of, in words."""
    arm: str
    reference: str
    sample: PairedSample
    """The pairs in use; the same seeds in the total and in all parts of one sum."""
    estimate: PairedEstimate
    """Its intervals are not adjusted for the number of parts."""
    excluded: tuple[Exclusion, ...]
    """Planned seeds that are not in the sample, each once, with the reason."""


@dataclass(frozen=True)
class Decomposition:
    """One arm's total effect on one endpoint, and the parts that add up to it."""

    arm: str
    endpoint: str
    margin: float | None
    total: Part
    parts: tuple[Part, ...]
    """In the order of the sum, baseline first: caption text, extra positions, grounding. Their gains add
    up to the total's on every seed. Empty where no control can split it."""
    further: tuple[Part, ...]
    """Contrasts with other placebos, each on its own pairs: beside the sum, not in it."""
    missing: tuple[str, ...]
    """What cannot be told apart, and for want of which control: sentences."""
    seeds: tuple[int, ...]
    """The seeds of the total and the parts."""


def decompositions(records: Sequence[RunRecord], header: StudyDesign) -> list[Decomposition]:
    """Every arm with media or controls, on the primary endpoint and on those with a margin.

    A control without one usable score counts as missing, and ``missing`` says so. A seed counts if every
    arm of the sum has it and every difference of the sum is a proven pair.

    Raises:
        RecordError: two records of one arm and seed disagree, or two runs on an endpoint's direction.
    """
    runs = index_runs(records)
    directions = endpoint_directions(records)
    endpoints = tuple(dict.fromkeys([header.primary, *header.margins]))
    return [
        one
        for endpoint in endpoints
        for one in _of_endpoint(runs, header, endpoint, directions.get(endpoint, True))
    ]


def _of_endpoint(
    runs: Runs, header: StudyDesign, endpoint: str, higher_is_better: bool
) -> list[Decomposition]:
    mirrored = {name for names in header.controls.values() for name in names}
    media = {arm for (arm, _), run in runs.items() if run.spent.media_positions > 0}
    found = []
    for arm in header.arms:
        if arm in mirrored or arm in header.ladder or arm == header.baseline:
            continue
        if arm in media or header.controls.get(arm):
            found.append(_Splitter(runs, header, arm, endpoint, higher_is_better).decomposition())
    return found


Step = tuple[str, str, str]
"""Name, arm and reference of a difference."""


@dataclass(frozen=True)
class _Splitter:
    """One arm and endpoint, with what is needed to split its effect."""

    runs: Runs
    header: StudyDesign
    arm: str
    endpoint: str
    higher_is_better: bool

    def decomposition(self) -> Decomposition:
        controls = self._controls()
        usable = {kind: name for kind, name in controls.items() if self._is_scored(name)}
        steps = [(TOTAL, self.arm, self.header.baseline), *self._sum(usable)]
        total, *parts = self._in_common(steps)
        names = WITHOUT_CAPTIONS if self._lacks_captions() else {}
        further = [
            self._alone((names.get(kind, name), self.arm, usable[kind]))
            for kind, name in FURTHER.items()
            if kind in usable
        ]
        return Decomposition(
            self.arm,
            self.endpoint,
            self.header.margins.get(self.endpoint),
            total,
            tuple(parts),
            tuple(further),
            tuple(self._missing(controls, usable)),
            total.sample.seeds,
        )

    def _controls(self) -> dict[str, str]:
        """Kind of control to its arm's name, of all that were planned."""
        kinds = {name: run.control for (name, _), run in self.runs.items()}
        # A control without a record is known by its name, `<arm>.<control>`.
        return {
            kinds.get(name) or name.rpartition(".")[2]: name
            for name in self.header.controls.get(self.arm, [])
        }

    def _is_scored(self, name: str) -> bool:
        for seed in self.header.seeds:
            run = self.runs.get((name, seed))
            score = run.scores.get(self.endpoint) if run and run.status == "finished" else None
            if score is not None and math.isfinite(score.value):
                return True
        return False

    def _lacks_captions(self) -> bool:
        """Whether the arm's media come without text: no run of it, or of a control, read a caption."""
        names = {self.arm, *self.header.controls.get(self.arm, [])}
        own = [run for (name, _), run in self.runs.items() if name in names and run.spent.steps > 0]
        return bool(own) and not any(run.spent.caption_tokens for run in own)

    def _sum(self, usable: Mapping[str, str]) -> list[Step]:
        """The differences that add up to the total, by the controls that are there."""
        base = self.header.baseline
        shuffled, captions = usable.get("shuffled"), usable.get("captions_only")
        if shuffled and captions:
            return [
                (CAPTIONS, captions, base),
                (EXTRA, shuffled, captions),
                (GROUNDING, self.arm, shuffled),
            ]
        if shuffled:
            return [(CAPTIONS_AND_EXTRA, shuffled, base), (GROUNDING, self.arm, shuffled)]
        if captions:
            return [(CAPTIONS, captions, base), (EXTRA_AND_GROUNDING, self.arm, captions)]
        return []

    def _missing(self, controls: Mapping[str, str], usable: Mapping[str, str]) -> list[str]:
        said = [
            f"{name} is planned, and no run of it has a score of {self.endpoint}: it counts as missing"
            for kind, name in controls.items()
            if kind not in usable
        ]
        if self._lacks_captions():
            return [*said, self._without_captions(usable)]
        absent = [kind for kind in ("captions_only", "shuffled") if kind not in usable]
        if len(absent) == 2:
            said.append(
                f"{self.arm} has neither a captions_only nor a shuffled control: caption text, extra "
                "positions and grounding cannot be told apart, and the total stands alone"
            )
        elif absent == ["captions_only"]:
            said.append(
                f"{self.arm} has no captions_only control: caption text and extra positions cannot be "
                "told apart"
            )
        elif absent == ["shuffled"]:
            said.append(
                f"{self.arm} has no shuffled control: extra positions and grounding cannot be told apart"
            )
        return said

    def _without_captions(self, usable: Mapping[str, str]) -> str:
        offered = ("noise", "blank", "repeat_text")
        there = [kind for kind in offered if kind in usable]
        absent = [kind for kind in offered if kind not in usable]
        said = (
            f"the media of {self.arm} have no captions, so that neither captions_only nor shuffled can "
            "split its total"
        )
        if there:
            said += f"; {', '.join(there)} stand beside it"
        if absent:
            said += f"; {', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not there"
        return said

    def _in_common(self, steps: Sequence[Step]) -> list[Part]:
        """The differences over the seeds that all of them have."""
        drawn = [self._sample(arm, reference) for _, arm, reference in steps]
        common = set.intersection(*(set(sample.seeds) for sample, _ in drawn))
        reasons: dict[int, list[Exclusion]] = {}
        for _, excluded in drawn:
            for exclusion in excluded:
                reasons.setdefault(exclusion.seed, []).append(exclusion)
        lost = tuple(_joined(seed, reasons[seed]) for seed in sorted(reasons))
        return [
            self._part(step, restricted(sample, common), lost)
            for step, (sample, _) in zip(steps, drawn, strict=True)
        ]

    def _alone(self, step: Step) -> Part:
        """One difference over its own pairs."""
        return self._part(step, *self._sample(step[1], step[2]))

    def _sample(self, arm: str, reference: str) -> tuple[PairedSample, tuple[Exclusion, ...]]:
        pairs: list[Pair]
        pairs, excluded = proven_pairs(self.runs, self.header, arm, reference)
        return scored_sample(pairs, excluded, self.endpoint, self.higher_is_better)

    def _part(self, step: Step, sample: PairedSample, excluded: tuple[Exclusion, ...]) -> Part:
        name, arm, reference = step
        margin = self.header.margins.get(self.endpoint)
        return Part(name, arm, reference, sample, estimate(sample, margin), excluded)


def _joined(seed: int, found: Sequence[Exclusion]) -> Exclusion:
    """Every reason why a seed is not in the sum, each once."""
    said = dict.fromkeys(reason for one in found for reason in _reasons(one))
    return Exclusion(seed, ", ".join(said), any(one.refused for one in found))


def _reasons(exclusion: Exclusion) -> list[str]:
    # A missing run is named by every difference that it is in; a refusal is one sentence with commas.
    return [exclusion.reason] if exclusion.refused else exclusion.reason.split(", ")


def restricted(sample: PairedSample, seeds: Collection[int]) -> PairedSample:
    """The pairs of ``sample`` whose seed is among ``seeds``."""
    kept = [place for place, seed in enumerate(sample.seeds) if seed in seeds]
    return PairedSample(
        tuple(sample.seeds[place] for place in kept),
        tuple(sample.treated[place] for place in kept),
        tuple(sample.reference[place] for place in kept),
        sample.higher_is_better,
    )
