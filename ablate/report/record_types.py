"""Whether the fields of a record have the types that a report counts on.

A record is JSON from a stranger: `ablate.record.read_record` knows its fields and not what is in them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from ablate.budget.ledger import Ledger
from ablate.record import CurvePoint, RunRecord, Score
from ablate.stats.samples import LARGEST_SCORE

_TEXTS = ("identity", "study", "arm", "recipe_digest", "final_weights")
_LEDGER = [one.name for one in dataclasses.fields(Ledger) if one.name not in ("flops", "parameters")]


def type_faults(record: RunRecord) -> Iterator[str]:
    """What is not of its type, field by field, in words."""
    yield from _plain_faults(record)
    yield from (fault for name in ("planned", "spent") for fault in _ledger_faults(name, record))
    if not isinstance(record.pairing.backbone_init, str) or not _is_proof(record.pairing.text_rows):
        yield "pairing does not map steps and columns to digests"
    if not all(map(_is_point, record.curve)):
        yield "curve holds something else than numbers"
    for endpoint, score in record.scores.items():
        yield from _score_faults(endpoint, score)
    if record.status not in ("finished", "diverged"):
        yield f"status is {record.status!r}, not 'finished' or 'diverged'"
    elif record.status == "diverged" and record.scores:
        yield "status is 'diverged', and there are scores"


def _plain_faults(record: RunRecord) -> Iterator[str]:
    yield from (f"{name} is not text" for name in _TEXTS if not isinstance(getattr(record, name), str))
    if type(record.seed) is not int:
        yield f"seed is {record.seed!r}, not a whole number"
    for name in ("control", "mirrors"):
        if not isinstance(getattr(record, name), str | None):
            yield f"{name} is {getattr(record, name)!r}, not text"
    if not (isinstance(record.notes, list) and all(isinstance(note, str) for note in record.notes)):
        yield "notes is not a list of texts"
    if not _maps(record.data_digests, str):
        yield "data_digests does not map names to digests"
    if not _maps(record.skips, int):
        yield "skips does not map reasons to counts"
    yield from (f"{name} is no mapping" for name in ("provenance", "resolved") if not _maps_any(record, name))


def _maps_any(record: RunRecord, name: str) -> bool:
    return isinstance(getattr(record, name), dict)


def _maps(value: Any, kind: type) -> bool:
    return isinstance(value, dict) and all(isinstance(inner, kind) for inner in value.values())


def _is_proof(rows: Any) -> bool:
    return isinstance(rows, dict) and all(_maps(columns, str) for columns in rows.values())


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number that arithmetic bears: not beyond `LARGEST_SCORE`, unless not finite."""
    if type(value) is int:
        return -LARGEST_SCORE <= value <= LARGEST_SCORE
    return type(value) is float and not LARGEST_SCORE < abs(value) < float("inf")


def _ledger_faults(name: str, record: RunRecord) -> Iterator[str]:
    ledger = getattr(record, name)
    for part in ("flops", "parameters"):
        held = getattr(ledger, part)
        if not (isinstance(held, dict) and all(map(is_number, held.values()))):
            yield f"{name}.{part} does not map components to numbers"
    yield from (f"{name}.{key} is not a number" for key in _LEDGER if not is_number(getattr(ledger, key)))


def _is_point(point: CurvePoint) -> bool:
    numbers = (point.step, point.flops, point.text_tokens, point.loss, point.learning_rate)
    return all(map(is_number, numbers)) and (point.media_loss is None or is_number(point.media_loss))


def _score_faults(endpoint: str, score: Score) -> Iterator[str]:
    if not is_number(score.value) or not isinstance(score.higher_is_better, bool):
        yield (
            f"score {endpoint!r} has value {_short(score.value)} and higher_is_better "
            f"{score.higher_is_better!r}; expected a number and true or false"
        )
    if type(score.items) is not int or not 0 <= score.items <= LARGEST_SCORE:
        yield f"score {endpoint!r} has {_short(score.items)} items"
    if not (score.chance is None or is_number(score.chance)):
        yield f"score {endpoint!r} has chance {_short(score.chance)}; expected a number"


def _short(value: Any) -> str:
    # The digits of a very large whole number are refused by repr.
    return "a huge number" if type(value) is int and abs(value) > LARGEST_SCORE else repr(value)[:80]
