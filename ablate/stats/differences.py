"""Differences between endpoints, so that the contrast of one is a difference in differences.

The recipe's ``endpoints.differences: {grounded: [first, second]}`` defines the endpoint
`difference/grounded`. Its score in a run is that of the first less that of the second. Between two arms of
one seed, the difference of these scores is the gain on the first less the gain on the second (Angrist and
Pischke 2009, *Mostly Harmless Econometrics*, section 5.2): what a treatment does to the one over and above
what it does to the other. Everything that holds for an endpoint, pairs, intervals, verdicts, holds for it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ablate.record import RecordError, RunRecord, Score

PREFIX = "difference/"


class DefinesDifferences(Protocol):
    """The part of a study's header that differences depend on (`ablate.report.load.StudyHeader`)."""

    @property
    def differences(self) -> Mapping[str, Sequence[str]]: ...


def with_differences(records: Iterable[RunRecord], header: DefinesDifferences) -> list[RunRecord]:
    """``records`` with the score of every difference of ``header``, in memory; twice is as once.

    A derived score has the direction of its parts, the smaller of their numbers of items, and no chance
    level. Where a part is missing or not finite, or the parts disagree in direction, there is none, and a
    note of the record says why. A diverged run was not scored and is left as it is.

    Raises:
        RecordError: a record already has a score of that name, and it is not the difference.
    """
    return [_with_differences(record, header.differences) for record in records]


def _with_differences(record: RunRecord, differences: Mapping[str, Sequence[str]]) -> RunRecord:
    if record.status == "diverged":
        return record
    scores, notes = dict(record.scores), list(record.notes)
    for name, (first, second) in differences.items():
        endpoint = f"{PREFIX}{name}"
        derived = difference(record.scores, first, second)
        if endpoint in record.scores and record.scores[endpoint] != derived:
            raise RecordError(
                f"arm {record.arm!r}, seed {record.seed}: holds a score called {endpoint!r}, the name of the "
                f"difference {first} less {second}; rename the task or the difference"
            )
        if isinstance(derived, Score):
            scores[endpoint] = derived
        elif (note := f"{endpoint} is left out: {derived}") not in notes:
            notes.append(note)
    return replace(record, scores=scores, notes=notes)


def difference(scores: Mapping[str, Score], first: str, second: str) -> Score | str:
    """The score of ``first`` less that of ``second``, or why there is none."""
    faults = [fault for name in (first, second) if (fault := _fault(scores, name))]
    if faults:
        return ", ".join(faults)
    minuend, subtrahend = scores[first], scores[second]
    if minuend.higher_is_better != subtrahend.higher_is_better:
        return f"of {first} and {second}, higher is better in one and lower in the other"
    value = minuend.value - subtrahend.value
    if not math.isfinite(value):
        return f"{first} less {second} is {value}"
    return Score(value, min(minuend.items, subtrahend.items), minuend.higher_is_better)


def _fault(scores: Mapping[str, Score], name: str) -> str:
    if name not in scores:
        return f"{name} has no score"
    return "" if math.isfinite(scores[name].value) else f"{name} scored {scores[name].value}"
