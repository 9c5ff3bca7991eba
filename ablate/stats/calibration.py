"""What the instrument says of real runs whose truth is known.

An A/A study (two arms that differ in nothing that matters) of N seeds is cut, in the order of its seeds,
into N // n disjoint studies of n. Each is judged as any study is, and every claim of a difference is false.
N // n is all the evidence there is: resampling the same pairs into more studies would add none. A study
whose effect was planted is cut the same way and says how often the instrument sees it.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from scipy.stats import kurtosis, shapiro, skew

from ablate.record import RunRecord
from ablate.stats.contrasts import Contrast, contrasts
from ablate.stats.rate import Rate
from ablate.stats.samples import StudyDesign
from ablate.stats.verdict import ALPHA


class CalibrationError(ValueError):
    """A study that cannot calibrate anything; says what was found and what is expected."""


class Header(StudyDesign, Protocol):
    """The header of a study, as a dataclass: a part of the study has the same header with fewer seeds."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


AnyHeader = TypeVar("AnyHeader", bound=Header)


def disjoint(seeds: Sequence[int], n: int) -> tuple[list[list[int]], list[int]]:
    """``seeds`` in their order as studies of ``n``, and those left over.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"a study has at least one seed, not {n}")
    whole = len(seeds) // n * n
    return [list(seeds[start : start + n]) for start in range(0, whole, n)], list(seeds[whole:])


@dataclass(frozen=True)
class AACalibration:
    """What the instrument said of disjoint A/A studies of n seeds."""

    arm: str
    reference: str
    endpoint: str
    margin: float | None
    n: int
    studies: tuple[Contrast, ...]
    """The complete ones: each is a contrast over n pairs, judged alone, without multiplicity."""
    incomplete: tuple[Contrast, ...]
    """Studies that lack a pair: they are in no count. Their notes say which seeds and why."""
    left_over: tuple[int, ...]
    """Seeds at the end that are too few for another study."""

    @property
    def rejections(self) -> Rate:
        """Of zero, by the paired t test."""
        return self._rate(
            one.estimate.p_difference is not None and one.estimate.p_difference < ALPHA
            for one in self.studies
        )

    @property
    def claims(self) -> Rate:
        """Verdict `helps` or `hurts`; where no margin is stated, rejections of zero."""
        if self.margin is None:
            return self.rejections
        return self._rate(one.verdict in ("helps", "hurts") for one in self.studies)

    @property
    def welch_rejections(self) -> Rate:
        """Zero outside the Welch interval, as if the same scores were unpaired."""
        return self._rate(
            not low <= 0.0 <= high for low, high in filter(None, (s.estimate.welch95 for s in self.studies))
        )

    @property
    def coverage(self) -> Rate:
        """Of zero by the paired 95% interval, among the studies that have one."""
        return self._rate(
            low <= 0.0 <= high for low, high in filter(None, (s.estimate.interval95 for s in self.studies))
        )

    @property
    def no_interval(self) -> int:
        """Studies whose differences are all equal: no interval and no claim."""
        return sum(one.estimate.interval95 is None for one in self.studies)

    @property
    def verdicts(self) -> dict[str, int]:
        """Verdict to count; empty where no margin is stated."""
        return dict(Counter(one.verdict for one in self.studies if one.verdict is not None))

    @property
    def p_values(self) -> list[float]:
        """P of no difference, one a study that has one, ascending."""
        return sorted(p for one in self.studies if (p := one.estimate.p_difference) is not None)

    @staticmethod
    def _rate(events: Iterable[bool]) -> Rate:
        found = list(events)
        return Rate(sum(found), len(found))


def calibrate_aa(records: Sequence[RunRecord], header: AnyHeader, n: int) -> AACalibration:
    """Cut an A/A study into disjoint studies of ``n`` seeds and judge each on the primary endpoint.

    Raises:
        CalibrationError: there are not exactly two arms, or one of them is a control or holds media.
        RecordError: two records contradict each other.
        ValueError: n is below 2.
    """
    if n < 2:
        raise ValueError(f"a study that can claim anything has two seeds, not {n}")
    arm = aa_arm(records, header)
    parts, left_over = disjoint(header.seeds, n)
    judged = [_judged_alone(records, header, part, arm) for part in parts]
    return AACalibration(
        arm=arm,
        reference=header.baseline,
        endpoint=header.primary,
        margin=header.margins.get(header.primary),
        n=n,
        studies=tuple(one for one in judged if one.complete),
        incomplete=tuple(one for one in judged if not one.complete),
        left_over=tuple(left_over),
    )


def whole_aa(records: Sequence[RunRecord], header: AnyHeader) -> Contrast:
    """The A/A contrast over all seeds together, on the primary endpoint, judged alone.

    Raises:
        CalibrationError: as `calibrate_aa`.
        RecordError: two records contradict each other.
    """
    return _judged_alone(records, header, list(header.seeds), aa_arm(records, header))


def aa_arm(records: Sequence[RunRecord], header: StudyDesign) -> str:
    """The arm that differs from the baseline in nothing that matters.

    Raises:
        CalibrationError: there are not exactly two arms, or one of them is a control or holds media.
    """
    others = [arm for arm in header.arms if arm != header.baseline]
    if len(others) != 1 or header.controls.get(others[0]):
        raise CalibrationError(
            f"an A/A study has a baseline and one arm like it; this one has {', '.join(header.arms)}"
        )
    odd = {r.arm for r in records if r.control is not None or r.spent.media_positions > 0}
    if odd:
        raise CalibrationError(
            f"arm {', '.join(sorted(odd))} is a control or holds media, so that the arms may truly differ; "
            "an A/A study has two arms of text"
        )
    return others[0]


def _judged_alone(records: Sequence[RunRecord], header: AnyHeader, seeds: list[int], arm: str) -> Contrast:
    """The total contrast of ``arm`` over ``seeds`` on the primary endpoint, the only confirmatory one."""
    primary = header.primary
    margins = {primary: header.margins[primary]} if primary in header.margins else {}
    part = dataclasses.replace(header, seeds=seeds, margins=margins)
    found = contrasts(_of_seeds(records, seeds), part)
    (only,) = [
        one for one in found if one.kind == "total" and one.arm == arm and one.endpoint == header.primary
    ]
    return only


def _of_seeds(records: Iterable[RunRecord], seeds: Iterable[int]) -> list[RunRecord]:
    wanted = set(seeds)
    return [record for record in records if record.seed in wanted]


@dataclass(frozen=True)
class Shape:
    """How far differences are from normal. A field is None where the data cannot give it."""

    pairs: int
    skewness: float | None
    """Bias-corrected (G1 of Joanes and Gill 1998, The Statistician 47:183)."""
    excess_kurtosis: float | None
    """Bias-corrected (G2 of the same); 0 for the normal distribution."""
    shapiro_p: float | None
    """P of normality (Shapiro and Wilk 1965, Biometrika 52:591)."""
    remark: str = ""
    """Why a field is missing."""


def shape(differences: Sequence[float]) -> Shape:
    """Skewness, kurtosis and a test of normality of at least four differences."""
    values = np.asarray(differences, dtype=np.float64)
    if values.size < 4:
        return Shape(values.size, None, None, None, f"{values.size} differences have no shape: it takes four")
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return Shape(values.size, None, None, None, "all differences are equal")
    return Shape(
        pairs=values.size,
        skewness=float(skew(values, bias=False)),
        excess_kurtosis=float(kurtosis(values, bias=False)),
        shapiro_p=float(shapiro(values).pvalue),
    )


MODALITIES = ("image", "video", "audio", "sensor")


@dataclass(frozen=True)
class PlantedPower:
    """How often the instrument claims that an arm helps, on questions about planted facts."""

    study: str
    arm: str
    endpoint: str
    planted: bool
    """Whether the arm's own media show these facts; if not, every claim is false."""
    n: int
    claimed: Rate
    """Studies with verdict `helps` and grounding `helps`, Holm over the study's own confirmatory family."""
    incomplete: tuple[str, ...] = field(default=())
    """Seeds of studies that lack a pair, with reasons: they are in no count."""
    left_over: tuple[int, ...] = field(default=())


def planted_power(records: Sequence[RunRecord], header: AnyHeader, n: int, study: str) -> list[PlantedPower]:
    """Cut a planted study into disjoint studies of ``n`` seeds, judge each whole, and count.

    Endpoints are the accuracies with a margin of the tasks `planted` (facts that every media arm shows)
    and `planted_<modality>` (facts that only this modality shows).

    Raises:
        CalibrationError: no arm holds media, or no such endpoint has a margin.
        RecordError: two records contradict each other.
    """
    media = {r.arm for r in records if r.control is None and r.spent.media_positions > 0}
    arms = [arm for arm in header.arms if arm in media and arm != header.baseline]
    endpoints = [name for name in header.margins if _planted_modality(name) is not None]
    if not arms or not endpoints:
        raise CalibrationError(
            f"{study} is no planted study: it has {len(arms)} arms with media, and {len(endpoints)} "
            "endpoints with a margin of a task called planted or planted_<modality>"
        )
    parts, left_over = disjoint(header.seeds, n)
    judged = [contrasts(_of_seeds(records, part), dataclasses.replace(header, seeds=part)) for part in parts]
    shown = {arm: {"", *_modalities(r for r in records if r.arm == arm)} for arm in arms}
    return [
        _power_of(judged, study, arm, endpoint, _planted_modality(endpoint) in shown[arm], n, left_over)
        for arm in arms
        for endpoint in endpoints
    ]


def _power_of(
    judged: list[list[Contrast]],
    study: str,
    arm: str,
    endpoint: str,
    planted: bool,
    n: int,
    left_over: list[int],
) -> PlantedPower:
    complete, claimed = 0, 0
    lost: dict[str, None] = {}
    for found in judged:
        mine = [
            one
            for one in found
            if one.arm == arm and one.endpoint == endpoint and one.kind in ("total", "grounding")
        ]
        if missing := [exclusion for one in mine for exclusion in one.excluded]:
            lost.update({f"seed {exclusion.seed}: {exclusion.reason}": None for exclusion in missing})
            continue
        complete += 1
        (total,) = [one for one in mine if one.kind == "total"]
        claimed += total.verdict == "helps" and total.grounding == "helps"
    return PlantedPower(
        study, arm, endpoint, planted, n, Rate(claimed, complete), tuple(lost), tuple(left_over)
    )


def _planted_modality(endpoint: str) -> str | None:
    """The modality whose facts an endpoint asks for; empty for those of any, None if none are planted."""
    task, _, metric = endpoint.partition("/")
    name, _, modality = task.partition("_")
    if name != "planted" or metric != "accuracy" or modality not in ("", *MODALITIES):
        return None
    return modality


def _modalities(records: Iterable[RunRecord]) -> set[str]:
    """The modalities of the streams that an arm trained on, `also` included."""
    found: set[str] = set()
    for record in records:
        for stream in record.resolved.get("streams", {}).values():
            found |= {stream.get("modality", ""), *stream.get("also", {})}
    return found
