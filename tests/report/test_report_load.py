"""Study folders that are read, and those that are refused with a reason."""

import dataclasses
import json

import pytest
from fabricated import ACCURACY, PLANTED, header, run, runs, write_study

from ablate.record import RecordError, Score, write_record
from ablate.report.load import StudyError, load_records, read_header, write_header


@pytest.fixture
def records():
    return runs(PLANTED)


@pytest.fixture
def folder(tmp_path, records):
    return write_study(tmp_path / "fabricated", records, header(records))


def edit_header(folder, **changes):
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_header_comes_back_as_it_was_written(folder, records):
    assert read_header(folder) == header(records)
    assert not list(folder.glob(".*"))


def test_records_come_back_in_the_order_of_the_recipe(folder, records):
    assert load_records(folder, read_header(folder)) == records


def test_a_folder_without_a_study_says_what_makes_one(tmp_path):
    with pytest.raises(StudyError, match=r"study\.json: there is no study here; `ablate run"):
        read_header(tmp_path)


def test_a_study_without_records_says_so(tmp_path, records):
    write_header(header(records), tmp_path)
    with pytest.raises(StudyError, match="no records"):
        load_records(tmp_path, header(records))


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"header_format": 2}', "\xff\xfe"])
def test_what_is_no_header_is_refused(tmp_path, text):
    (tmp_path / "study.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StudyError, match=r"study\.json: "):
        read_header(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"surplus": 1}, "surplus"),
        ({"margins": {ACCURACY: 0}}, "margin of 'planted/accuracy' is 0"),
        ({"margins": {ACCURACY: float("nan")}}, "above zero"),
        ({"margins": {ACCURACY: "wide"}}, "margins does not map"),
        ({"baseline": "txt"}, "'txt' is not among the arms"),
        ({"controls": {"image": ["image.noise"]}}, "'image.noise' is not among the arms"),
        ({"controls": {"image": "image.shuffled"}}, "controls does not map"),
        ({"controls": {"image": ["text"]}}, "the baseline is none"),
        ({"seeds": []}, "are empty or repeat"),
        ({"seeds": [1, 1]}, "are empty or repeat"),
        ({"seeds": [True]}, "whole numbers"),
        ({"match": "luck"}, "allowed: flops, text_tokens, positions"),
        ({"study": "../elsewhere"}, "not a usable name"),
        ({"study": "a/b"}, "not a usable name"),
        ({"study": ""}, "not a usable name"),
        ({"study": 3}, "study is not text"),
    ],
)
def test_a_header_edited_into_nonsense_is_refused(folder, changes, said):
    edit_header(folder, **changes)
    with pytest.raises(StudyError, match=said):
        read_header(folder)


def test_all_faults_of_a_header_are_named_at_once(folder):
    edit_header(folder, match="luck", baseline="txt", study="..")
    with pytest.raises(StudyError, match=r"(?s)'\.\.'.*luck.*txt"):
        read_header(folder)


def test_a_missing_field_is_named(folder):
    path = folder / "study.json"
    raw = json.loads(path.read_text())
    del raw["primary"]
    path.write_text(json.dumps(raw))
    with pytest.raises(StudyError, match="primary"):
        read_header(folder)


def test_a_header_that_makes_no_sense_is_not_written(tmp_path, records):
    with pytest.raises(StudyError):
        write_header(header(records, baseline="nobody"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_copied_record_is_refused_by_its_name(folder, records):
    write_record(records[0], folder / "records" / "text-seed0 (copy).json")
    with pytest.raises(StudyError, match=r"should be called text-seed0\.json"):
        load_records(folder, read_header(folder))


def test_a_record_whose_seed_was_edited_is_refused(folder, records):
    write_record(dataclasses.replace(records[0], seed=1), folder / "records" / "text-seed0.json")
    with pytest.raises(StudyError, match="arm 'text', seed 1"):
        load_records(folder, read_header(folder))


def test_a_run_that_was_not_planned_is_not_left_out_in_silence(folder):
    write_record(run("text", 9, {}), folder / "records" / "text-seed9.json")
    with pytest.raises(StudyError, match="seed 9 is not among the planned seeds"):
        load_records(folder, read_header(folder))


def test_an_arm_that_was_not_planned_is_refused(folder):
    write_record(run("audio", 0, {}), folder / "records" / "audio-seed0.json")
    with pytest.raises(StudyError, match=r"arm 'audio' is not in study\.json; known: text"):
        load_records(folder, read_header(folder))


def test_a_control_that_the_header_does_not_know_as_one_is_refused(folder):
    edit_header(folder, controls={"image": ["image.captions_only"]})
    with pytest.raises(StudyError, match=r"control is 'shuffled'.*does not list 'image\.shuffled'"):
        load_records(folder, read_header(folder))


def test_a_file_that_is_no_record_is_named(folder):
    (folder / "records" / "text-seed0.json").write_text("{}")
    with pytest.raises(RecordError, match=r"text-seed0\.json"):
        load_records(folder, read_header(folder))


@pytest.mark.parametrize("value", ["0.9", None, True])
def test_a_score_edited_into_something_else_than_a_number_is_refused(folder, records, value):
    forged = dataclasses.replace(records[0], scores={ACCURACY: Score(value, 256, True, 0.125)})
    write_record(forged, folder / "records" / "text-seed0.json")
    with pytest.raises(RecordError, match=r"text-seed0\.json: score 'planted/accuracy' has value"):
        load_records(folder, read_header(folder))
