"""A record is what was written, or it is refused."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from ablate.budget.ledger import Ledger
from ablate.record import CurvePoint, Pairing, RecordError, RunRecord, Score, read_record, write_record

RECORD = RunRecord(
    identity="a0",
    study="s",
    arm="text",
    seed=3,
    status="finished",
    control=None,
    mirrors=None,
    recipe_digest="d",
    resolved={"steps": 4},
    data_digests={},
    pairing=Pairing("b", {"1": {"text/0": "c"}}),
    planned=Ledger(1, {"backbone": 2}, 2, 3, 4, 0, 0, 4, 4, 0.1),
    spent=Ledger(1, {"backbone": 2}, 2, 3, 4, 0, 0, 4, 4, 0.1),
    skips={},
    curve=[CurvePoint(1, 2, 3, 0.1 + 0.2, None, 1e-3)],
    scores={"q/accuracy": Score(1 / 3, 3, True, 0.125)},
    final_weights="w",
    provenance={"device": "cpu", "note": "ελληνικά"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_record(RECORD, tmp_path / "text-seed3.json")
    return tmp_path / "text-seed3.json"


def test_a_record_comes_back_as_it_was_written(path: Path) -> None:
    assert read_record(path) == RECORD


def test_a_score_that_is_not_a_number_survives_to_be_reported(path: Path) -> None:
    diverged = dataclasses.replace(RECORD, scores={"q/accuracy": Score(float("nan"), 3, True)})
    write_record(diverged, path)
    assert str(read_record(path).scores["q/accuracy"].value) == "nan"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"value": 0.3333333333333333', '"value": 0.4333333333333333'),
        ('"seed": 3', '"seed": 4'),
        ('"arm": "text"', '"arm": "image"'),
        (' "seal": ', ' "seal" : '),
    ],
)
def test_a_record_edited_by_hand_is_refused(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(RecordError, match=r"text-seed3.json: edited after it was written"):
        read_record(path)


def test_a_record_without_its_seal_is_refused(path: Path) -> None:
    path.write_text(re.sub(r' "seal": "[0-9a-f]+",', "", path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(RecordError, match="edited after it was written"):
        read_record(path)


def test_a_record_of_another_format_is_named_as_such(path: Path) -> None:
    path.write_text(json.dumps({"record_format": 1}), encoding="utf-8")
    with pytest.raises(RecordError, match="record_format is 1, this version reads 2"):
        read_record(path)
