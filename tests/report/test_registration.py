"""A study may be called confirmatory only if its plan came first and nothing of it changed."""

import dataclasses
import json

import pytest
from fabricated import ACCURACY, PLANTED, header, runs, write_study

from ablate.record import write_record
from ablate.report.analysis import read_study
from ablate.report.load import StudyError, load_records, write_header
from ablate.report.registration import LOCK_FILE, LOOKS_FILE, lock_plan, log_look, read_registration
from ablate.report.study import render_study

LOCKED = "2026-01-01T10:00:00+00:00"
LATER = "2026-01-02T10:00:00+00:00"


def recorded(started=LATER, early=()):
    """Records that began after the lock, but for the arms named in ``early``."""
    return [
        dataclasses.replace(
            record, provenance={**record.provenance, "started": "2025" if record.arm in early else started}
        )
        for record in runs(PLANTED)
    ]


@pytest.fixture
def plan():
    return header(recorded(), recipe="study: fabricated\nseeds: [0, 1, 2, 3, 4]\ntrain: {rows: 8}\n")


@pytest.fixture
def folder(tmp_path, plan):
    """A study that ran as it was locked."""
    place = tmp_path / "fabricated"
    assert lock_plan(plan, place, now=LOCKED, commit="c0ffee")
    return write_study(place, recorded(), plan)


def registered(folder, plan):
    return read_registration(folder, plan, load_records(folder, plan))


def test_a_study_that_ran_as_locked_is_confirmatory(folder, plan):
    found = registered(folder, plan)
    assert found.confirmatory
    assert "nothing of it changed: confirmatory" in found.sentences()[0]
    assert "## Confirmatory contrasts" in render_study(folder).files["table.md"]


def test_a_study_without_a_lock_is_not_confirmatory_and_says_how_to_lock(tmp_path, plan):
    folder = write_study(tmp_path / "fabricated", recorded(), plan)
    assert not registered(folder, plan).confirmatory
    text = render_study(folder).files["table.md"]
    assert "ablate plan RECIPE --lock" in text
    assert "## Confirmatory" not in text
    assert not (folder / LOOKS_FILE).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": "Do they, though?"}, "question: locked"),
        ({"primary": "known/accuracy"}, "primary: locked 'planted/accuracy', now 'known/accuracy'"),
        ({"margins": {ACCURACY: 0.2}}, "margins of planted/accuracy: locked 0.05, now 0.2"),
        ({"margins": {ACCURACY: 0.05, "known/accuracy": 1.0}}, "margins of known/accuracy: locked None"),
        ({"match": "positions"}, "match: locked 'flops', now 'positions'"),
        ({"rule": "anytime", "looks": [2, 5]}, "rule: locked 'fixed', now 'anytime'"),
        ({"recipe": "train: {rows: 16}"}, "train.rows: locked 8, now 16"),
    ],
)
def test_every_change_of_the_plan_is_listed(folder, plan, change, said):
    changed = dataclasses.replace(plan, **change)
    found = registered(folder, changed)
    assert not found.confirmatory
    assert said in found.sentences()[0]
    assert "NOT confirmatory" in found.sentences()[0]


def test_a_seed_left_out_or_added_is_a_deviation(folder, plan):
    fewer = dataclasses.replace(plan, seeds=[0, 1, 2, 3])
    for path in (folder / "records").glob("*-seed4.json"):
        path.unlink()
    assert "seeds: locked [0, 1, 2, 3, 4], now [0, 1, 2, 3]" in registered(folder, fewer).sentences()[0]
    more = dataclasses.replace(plan, seeds=[0, 1, 2, 3, 4, 5])
    assert not registered(folder, more).confirmatory


def test_where_the_data_lie_and_what_the_note_says_are_no_deviation(folder, plan):
    moved = dataclasses.replace(plan, recipe=plan.recipe + "data_root: elsewhere\nnote: typo\n", note="typo")
    assert registered(folder, moved).confirmatory


def test_a_study_that_stopped_at_a_planned_look_is_confirmatory(tmp_path, plan):
    planned = dataclasses.replace(plan, rule="group_sequential", looks=[3, 5])
    folder = tmp_path / "fabricated"
    lock_plan(planned, folder, now=LOCKED, commit="c0ffee")
    for seeds, expected in (([0, 1, 2], True), ([0, 1], False), ([0, 1, 2, 3, 4], True)):
        now = dataclasses.replace(planned, seeds=seeds)
        kept = [record for record in recorded() if record.seed in seeds]
        write_study(folder, kept, now)
        assert read_registration(folder, now, kept).confirmatory == expected


def test_a_run_that_began_before_the_lock_is_a_deviation(folder, plan):
    for record in recorded(early=("image",)):
        write_record(record, folder / "records" / f"{record.arm}-seed{record.seed}.json")
    said = registered(folder, plan).sentences()[0]
    assert "trained before the plan was locked: image seed 0, image seed 1" in said


def test_a_baseline_shared_with_an_earlier_study_is_said_and_is_no_deviation(folder, plan):
    for record in recorded(early=("text",)):
        write_record(record, folder / "records" / f"{record.arm}-seed{record.seed}.json")
    found = registered(folder, plan)
    assert found.confirmatory
    assert "text seed 0" in found.sentences()[-1]


def test_a_lock_edited_by_hand_proves_nothing(folder, plan):
    held = json.loads((folder / LOCK_FILE).read_text())
    held["plan"]["margins"][ACCURACY] = 0.2
    (folder / LOCK_FILE).write_text(json.dumps(held))
    said = registered(folder, dataclasses.replace(plan, margins={ACCURACY: 0.2})).sentences()[0]
    assert "plan.lock.json was edited after it was written" in said
    assert "NOT confirmatory" in said


def test_a_plan_is_locked_before_the_first_run_and_once(folder, plan, tmp_path):
    assert not lock_plan(plan, folder, now=LATER, commit="beef")
    assert registered(folder, plan).locked_at == LOCKED
    with pytest.raises(StudyError, match="another plan was locked"):
        lock_plan(dataclasses.replace(plan, seeds=[0, 1]), folder, now=LATER, commit="beef")
    late = write_study(tmp_path / "late", recorded(), plan)
    with pytest.raises(StudyError, match="20 runs are there already; a plan is locked before the first run"):
        lock_plan(plan, late, now=LATER, commit="beef")


OTHER_FORMAT = '{"digest": "d", "lock_format": 9, "plan": {}, "locked_at": ""}'


@pytest.mark.parametrize("text", ["", "[]", "{}", OTHER_FORMAT])
def test_a_lock_that_cannot_be_read_is_named(folder, plan, text):
    (folder / LOCK_FILE).write_text(text)
    with pytest.raises(StudyError, match=LOCK_FILE):
        registered(folder, plan)


def test_every_look_at_new_records_is_logged_once_and_an_unplanned_one_is_a_deviation(folder, plan):
    partial = [record for record in recorded() if record.seed < 3]
    log_look(folder, plan, partial, now=LATER)
    log_look(folder, plan, partial, now="2026-02-02")
    log_look(folder, plan, recorded(), now="2026-03-03")
    found = registered(folder, plan)
    assert [look.pairs for look in found.looks] == [3, 5]
    assert "looked at 3 pairs, planned were looks at 5" in found.sentences()[0]
    assert "Looks taken: 3 pairs (2026-01-02T10:00:00+00:00), 5 pairs (2026-03-03)." in found.sentences()


def test_rendering_a_report_is_a_look_and_rendering_it_again_is_none(folder, plan):
    first = render_study(folder)
    assert [look.pairs for look in read_study(folder).registration.looks] == [5]
    assert render_study(folder).files == first.files
    assert len((folder / LOOKS_FILE).read_text().splitlines()) == 1


def test_an_anytime_study_may_be_looked_at_whenever(tmp_path, plan):
    planned = dataclasses.replace(plan, rule="anytime", looks=[2, 3, 4, 5])
    folder = tmp_path / "fabricated"
    lock_plan(planned, folder, now=LOCKED, commit="c0ffee")
    write_header(planned, folder)
    write_study(folder, recorded(), planned)
    log_look(folder, planned, [record for record in recorded() if record.seed < 4], now=LATER)
    assert registered(folder, planned).confirmatory
