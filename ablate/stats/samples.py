"""Proven pairs: which runs of a study are compared, and the scores of the pairs that hold.

A pair has to prove that it is one (`ablate.stats.pairing`). A pair that cannot, a seed that is missing from
an arm, a diverged run and a score that is not a number are named, never left out in silence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from ablate.record import RecordError, RunRecord
from ablate.stats.paired import PairedSample
from ablate.stats.pairing import PairingError, check_pair

LARGEST_SCORE = 1e100
"""A score is smaller; whatever is not, NaN included, is no score. Its square would overflow."""

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
    @property
    def ladder(self) -> dict[str, float]: ...
    @property
    def screened(self) -> dict[str, str]: ...
    @property
    def stopped(self) -> dict[str, str]: ...
    @property
    def covariate(self) -> str: ...
    @property
    def covariate_slope(self) -> float | None: ...
    @property
    def baseline_seeds(self) -> list[int]: ...
    @property
    def rule(self) -> Literal["fixed", "group_sequential", "anytime"]: ...
    @property
    def looks(self) -> list[int]: ...
    @property
    def spending(self) -> Literal["obrien_fleming", "pocock"]: ...


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


def index_runs(records: Iterable[RunRecord]) -> dict[tuple[str, int], RunRecord]:
    """Records by arm and seed.

    Raises:
        RecordError: two records of one arm and seed disagree in identity, status, scores or pairing.
    """
    runs: dict[tuple[str, int], RunRecord] = {}
    for record in records:
        other = runs.setdefault((record.arm, record.seed), record)
        if other is record:
            continue
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
    """Arms with the baseline, arms with their controls, controls with the baseline.

    Ladder arms spend another budget: they measure a slope (`ablate.stats.exchange`) and are in no contrast.
    """
    kinds = {arm: run.control for (arm, _), run in runs.items()}
    mirrored = {name for names in header.controls.values() for name in names}
    found: list[Comparison] = []
    for arm in header.arms:
        if arm in mirrored or arm in header.ladder:
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


Pair = tuple[RunRecord, RunRecord]


def proven_pairs(
    runs: Mapping[tuple[str, int], RunRecord], header: StudyDesign, arm: str, reference: str
) -> tuple[list[Pair], list[Exclusion]]:
    """The proven pairs of two arms, and the planned ones that are missing, with reasons."""
    pairs: list[Pair] = []
    excluded: list[Exclusion] = []
    for seed in header.seeds:
        both = [(name, runs.get((name, seed))) for name in (arm, reference)]
        missing = [
            f"{name} {'stopped early' if name in header.stopped else 'has no record'}"
            for name, run in both
            if run is None
        ]
        missing += [f"{name} diverged" for name, run in both if run is not None and run.status == "diverged"]
        treated, other = both[0][1], both[1][1]
        if missing or treated is None or other is None:
            excluded.append(Exclusion(seed, ", ".join(missing), refused=False))
            continue
        try:
            check_pair(treated, other, header.match)
        except PairingError as error:
            excluded.append(Exclusion(seed, str(error), refused=True))
        else:
            pairs.append((treated, other))
    return pairs, excluded


def scored_sample(
    pairs: Sequence[Pair], excluded: Sequence[Exclusion], endpoint: str, higher_is_better: bool
) -> tuple[PairedSample, tuple[Exclusion, ...]]:
    """The pairs that were scored on ``endpoint``, and all exclusions: ``excluded`` and those without a
    usable score, by seed."""
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
    in_order = tuple(sorted(lost, key=lambda exclusion: exclusion.seed))
    return PairedSample(seeds, first, second, higher_is_better), in_order


def _score_fault(run: RunRecord, endpoint: str) -> str:
    score = run.scores.get(endpoint)
    if score is None:
        return f"{run.arm} has no score"
    return "" if abs(score.value) < LARGEST_SCORE else f"{run.arm} scored {score.value}"
