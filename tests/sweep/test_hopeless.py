"""An arm gets no further seeds only by a rule that was locked, and what it then claims is nothing."""

import dataclasses
import json
from pathlib import Path

import pytest
from fabricated import ACCURACY, header, runs

from ablate.executors.events import Event, Finished
from ablate.recipe.sweep_schema import HopelessConfig
from ablate.report.analysis import read_study
from ablate.report.load import StudyError, read_header, write_header
from ablate.report.registration import LOCK_FILE, lock_plan
from ablate.stats.contrasts import contrasts
from ablate.study.study import Places, lock_study
from ablate.sweep.hopeless import hopeless_arms, refuse_unlocked, rule_of
from ablate.sweep.load import load_sweep
from ablate.sweep.plan import plan_sweep
from ablate.sweep.run import run_sweep

RULE = HopelessConfig(after_seeds=3, below=0.0, confidence=0.99)
VALUES = {
    "text": [0.50, 0.51, 0.49, 0.50, 0.51],
    "image1": [0.30, 0.31, 0.30, 0.30, 0.31],
    "image2": [0.49, 0.52, 0.47, 0.52, 0.50],
    "image1.shuffled": [0.30, 0.31, 0.29, 0.30, 0.30],
}


def test_an_arm_whose_whole_interval_lies_below_is_stopped_with_its_controls() -> None:
    records = runs(VALUES)
    stopped = hopeless_arms(records, header(records), RULE)
    assert set(stopped) == {"image1", "image1.shuffled"}
    assert "stopped after 3 seeds by the rule of the plan" in stopped["image1"]


def test_the_rule_looks_at_the_seeds_up_to_its_look_alone() -> None:
    later = {arm: [*scores[:3], 0.9, 0.9] for arm, scores in VALUES.items()}
    first, second = (runs(values) for values in (VALUES, later))
    assert hopeless_arms(first, header(first), RULE) == hopeless_arms(second, header(second), RULE)


def test_an_arm_of_which_a_pair_is_missing_is_not_hopeless() -> None:
    records = runs(VALUES)
    planned = header(records)
    lost = [record for record in records if not (record.arm == "image1" and record.seed == 1)]
    assert hopeless_arms(lost, planned, RULE) == {}


def test_a_stricter_rule_stops_less() -> None:
    records = runs(VALUES)
    assert hopeless_arms(records, header(records), dataclasses.replace(RULE, below=-0.5)) == {}
    assert hopeless_arms(records, header(records), dataclasses.replace(RULE, confidence=0.99999)) == {}


def test_a_stopped_arm_claims_nothing_and_is_counted_by_holm() -> None:
    records = runs(VALUES)
    planned = header(records, {ACCURACY: 0.01}, hopeless=rule_of(RULE))
    kept = [record for record in records if record.seed < 3 or not record.arm.startswith("image1")]
    stopped = hopeless_arms(kept, planned, RULE)
    judged = contrasts(kept, dataclasses.replace(planned, stopped=stopped))
    (one,) = [each for each in judged if each.arm == "image1" and each.kind == "total"]
    assert one.printed_verdict == "stopped early"
    assert [lost.reason for lost in one.excluded] == ["image1 stopped early"] * 2
    assert "stopped after 3 seeds" in one.note
    (other,) = [each for each in judged if each.arm == "image2" and each.kind == "total"]
    assert other.family == 3, "the two contrasts of the arm that was stopped are still in the family"


def test_without_a_locked_plan_the_rule_stops_nothing(tmp_path: Path) -> None:
    planned = header(runs(VALUES), hopeless=rule_of(RULE))
    with pytest.raises(StudyError, match="only a locked plan may do"):
        refuse_unlocked(planned, tmp_path)


def test_a_rule_is_not_changed_after_it_was_locked(tmp_path: Path) -> None:
    planned = header(runs(VALUES), hopeless=rule_of(RULE))
    lock_plan(planned, tmp_path, now="2026-01-01T00:00:00+00:00", commit="c0ffee")
    refuse_unlocked(planned, tmp_path)
    eased = dataclasses.replace(planned, hopeless=rule_of(dataclasses.replace(RULE, below=0.1)))
    with pytest.raises(StudyError, match="not changed after it was locked"):
        refuse_unlocked(eased, tmp_path)
    edited = json.loads((tmp_path / LOCK_FILE).read_text(encoding="utf-8"))
    edited["plan"]["hopeless"]["below"] = 0.1
    (tmp_path / LOCK_FILE).write_text(json.dumps(edited), encoding="utf-8")
    with pytest.raises(StudyError, match="edited after it was written"):
        refuse_unlocked(eased, tmp_path)


def test_arms_that_no_rule_stopped_are_refused_in_a_header(tmp_path: Path) -> None:
    planned = header(runs(VALUES), stopped={"image1": "because"})
    with pytest.raises(StudyError, match="stopped by no rule"):
        write_header(planned, tmp_path)
    ruled = dataclasses.replace(planned, hopeless=rule_of(RULE))
    write_header(ruled, tmp_path)
    assert read_header(tmp_path) == ruled


def test_only_what_is_not_hopeless_gets_the_later_seeds(tiny_file: Path, cache: Path, tmp_path: Path) -> None:
    text = tiny_file.read_text(encoding="utf-8").replace("seeds: [0, 1]", "seeds: [0, 1, 2]")
    text = text.replace("{match: flops, steps: 60}", "{match: positions, steps: 12}")
    # Every gain lies below 5: whatever is not the baseline is hopeless.
    block = "across: {one: {level: {}}}\n  hopeless: {after_seeds: 2, below: 5.0, confidence: 0.51}\n"
    (tmp_path / "sweep.yaml").write_text(f"{text}\nsweep:\n  {block}", encoding="utf-8")
    sweep = load_sweep(tmp_path / "sweep.yaml", ["arms.image.controls=[shuffled]"])
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    folder = places.results / "level"
    planned = plan_sweep(sweep, places, threads=1)
    with pytest.raises(StudyError, match="only a locked plan may do"):
        run_sweep(planned, places, 2, lambda event: None)
    lock_study(planned.settings[0].prepared.header, folder)  # type: ignore[union-attr]
    events: list[Event] = []
    assert run_sweep(planned, places, 2, events.append) == []
    trained = [(event.job.arm, event.job.seed) for event in events if isinstance(event, Finished)]
    assert sorted(trained) == sorted(
        [(arm, seed) for arm in ("text", "image", "image.shuffled") for seed in (0, 1)] + [("text", 2)]
    )
    assert set(read_header(folder).stopped) == {"image", "image.shuffled"}
    assert read_study(folder).registration.confirmatory, "a stop by the locked rule is no deviation"
    again: list[Event] = []
    run_sweep(plan_sweep(sweep, places, threads=1), places, 2, again.append)
    assert again == []
