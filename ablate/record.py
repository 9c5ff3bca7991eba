"""The record of one finished run: the only thing a table may be made of.

A record is one JSON file; its item-level scores lie beside it as Parquet with the columns
`task`, `subset`, `item`, `metric`, `value`.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablate.budget.ledger import Ledger
from ablate.whole_file import write_whole

RECORD_FORMAT = 2

SEAL = re.compile(r'\A\{\n "seal": "([0-9a-f]{32})",')
"""How a record begins: with the digest of the rest of it, so that an edit by hand shows."""


class RecordError(ValueError):
    """A record that cannot be read or believed; names the file and what was found."""


@dataclass(frozen=True)
class Score:
    """One endpoint's value in one run. Endpoints are named `task/metric`, or `task/metric/subset`."""

    value: float
    items: int
    """Test items the value averages over (documents for bits per byte)."""
    higher_is_better: bool
    chance: float | None = None
    """Expected value of a model that knows nothing, where there is one."""


def of_whole_task(endpoint: str) -> bool:
    """Whether an endpoint is a metric over all items of a task: `task/metric`, without subset or group."""
    return endpoint.count("/") == 1 and "." not in endpoint.partition("/")[2]


@dataclass(frozen=True)
class CurvePoint:
    """The training loss at one step. Losses are nats per scored text position, media loss unweighted."""

    step: int
    flops: int
    text_tokens: int
    loss: float
    media_loss: float | None
    learning_rate: float


@dataclass(frozen=True)
class Pairing:
    """Proof that two runs of one seed are a pair: same initial backbone, same text rows."""

    backbone_init: str
    """Digest of the backbone's initial weights."""
    text_rows: dict[str, dict[str, str]]
    """Step to `stream/column` to rolling digest of the rows that column held up to that step. Media streams
    are digested by their captions, which an arm shares with its controls."""


@dataclass(frozen=True)
class RunRecord:
    """Everything a report needs to know of one run."""

    identity: str
    """Digest of resolved arm, data digests, seed, run format, torch version and device type."""
    study: str
    arm: str
    seed: int
    status: Literal["finished", "diverged"]
    control: str | None
    mirrors: str | None
    recipe_digest: str
    resolved: dict[str, Any]
    """The resolved arm: everything that determined the training of this run."""
    data_digests: dict[str, str]
    pairing: Pairing
    planned: Ledger
    spent: Ledger
    skips: dict[str, int]
    """What was skipped or cut, per reason, for instance `pictures/decode` or `pictures/caption_cut`."""
    curve: list[CurvePoint]
    scores: dict[str, Score]
    """Endpoint to score; empty for a diverged run."""
    final_weights: str
    """Digest of the trained backbone: two runs of one identity on one CPU agree in it."""
    provenance: dict[str, Any]
    """Commit and dirtiness, package versions, device, threads, start time: not part of the identity."""
    record_format: int = RECORD_FORMAT
    notes: list[str] = field(default_factory=list)
    """Disclosures that the table must carry, such as an encoder that read text before."""


def write_record(record: RunRecord, path: Path) -> None:
    """Write ``record`` as sealed JSON, atomically: a reader sees the whole file or none."""
    body = json.dumps(dataclasses.asdict(record), indent=1, sort_keys=True, allow_nan=True) + "\n"
    write_whole(path, f'{{\n "seal": "{_digest(body)}",{body[1:]}')


def read_record(path: Path) -> RunRecord:
    """Read one record.

    Raises:
        RecordError: the file is not JSON, has another format, lacks or adds a field, or is not what was
            sealed. (The seal shows an accident or a hasty edit; it is no signature.)
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
        # Half a surrogate pair is JSON, and no text: nothing that holds it can be written.
        if "\\u" in text:
            json.dumps(raw, ensure_ascii=False).encode("utf-8")
        found = raw.get("record_format")
        if found != RECORD_FORMAT:
            raise RecordError(f"{path}: record_format is {found!r}, this version reads {RECORD_FORMAT}")
        _check_seal(text, path)
        del raw["seal"]
        raw["pairing"] = Pairing(**raw["pairing"])
        raw["planned"] = Ledger(**raw["planned"])
        raw["spent"] = Ledger(**raw["spent"])
        raw["curve"] = [CurvePoint(**point) for point in raw["curve"]]
        raw["scores"] = {name: Score(**score) for name, score in raw["scores"].items()}
        return RunRecord(**raw)
    except RecordError:
        raise
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not a run record ({error}); delete it and run the study again") from error


def _check_seal(text: str, path: Path) -> None:
    seal = SEAL.match(text)
    if seal is None or seal[1] != _digest("{" + text[seal.end() :]):
        raise RecordError(
            f"{path}: edited after it was written (its seal does not match its content); "
            "delete it and run the study again: a finished run is published again from the store"
        )


def _digest(body: str) -> str:
    return hashlib.blake2b(body.encode("utf-8"), digest_size=16).hexdigest()
