"""What tuning picked can be made again of its trials, and what does not fit is said."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fabricated import header, run, write_study
from hypothesis import given
from hypothesis import strategies as st

from ablate.record import RunRecord, Score, write_record
from ablate.report.analysis import analyse, read_study
from ablate.report.load import StudyError, StudyHeader
from ablate.report.study import render, render_study
from ablate.report.tuning import (
    TUNING_FILE,
    TuningDesign,
    edges,
    judge_trials,
    read_tuning,
    trial_name,
    write_tuning,
)
from ablate.report.tuning_table import tuning_faults, tuning_sentences, tuning_table

RATES = [1e-3, 2e-3, 4e-3]
DEV = "dev/bits_per_byte"
POINTS = [{"learning_rate": rate, "weight_decay": decay} for rate in RATES for decay in (0.0, 0.1)]


def design(**changes: Any) -> TuningDesign:
    return TuningDesign(
        **({"endpoint": DEV, "seeds": [100, 101], "points": POINTS, "arms": ["text", "image"]} | changes)
    )


def trials(
    plan: TuningDesign, scores: dict[tuple[str, int], float], endpoint: str = DEV
) -> dict[Any, RunRecord]:
    """A trial of every arm, point and seed; a point of no ``scores`` scores 2, the second seed 0.1 more."""
    return {
        (arm, point, seed): run(
            trial_name(arm, point), seed, {endpoint: scores.get((arm, point), 2.0) + 0.1 * place}
        )
        for arm in plan.arms
        for point in range(len(plan.points))
        for place, seed in enumerate(plan.seeds)
    }


def picked(plan: TuningDesign, runs: dict[Any, RunRecord]) -> dict[str, int]:
    return {pick.arm: pick.point for pick in judge_trials("s", plan, runs).picks}


def test_each_arm_gets_its_own_best_mean_in_the_endpoints_direction() -> None:
    lower = trials(design(), {("text", 2): 1.5, ("image", 5): 1.9})
    assert picked(design(), lower) == {"text": 2, "image": 5}
    plan = design(endpoint="dev/accuracy")
    higher = trials(plan, {("text", 2): 2.5, ("image", 5): 1.9}, "dev/accuracy")
    assert picked(plan, higher) == {"text": 2, "image": 0}


def test_of_equal_points_the_first_is_picked() -> None:
    assert picked(design(), trials(design(), {("text", 4): 1.0, ("text", 3): 1.0})) == {"text": 3, "image": 0}


def test_a_diverged_trial_is_the_worst_whatever_the_other_seed_scored() -> None:
    runs = trials(design(), {("text", 2): -100.0})
    key = ("text", 2, 101)
    runs[key] = dataclasses.replace(runs[key], status="diverged", scores={})
    tuning = judge_trials("s", design(), runs)
    assert {pick.arm: pick.point for pick in tuning.picks} == {"text": 0, "image": 0}
    row = next(row for row in tuning_table(tuning).rows if row[:3] == ["text", "0.002", "0"])
    assert row[3:] == ["-100.0000", "diverged", "–", ""]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_the_worst_too(score: float) -> None:
    runs = trials(design(), {})
    runs["text", 0, 100] = run("text.trial1", 100, {DEV: score})
    assert picked(design(), runs) == {"text": 1, "image": 0}


def test_an_arm_of_which_a_trial_is_missing_gets_no_pick() -> None:
    runs = trials(design(), {})
    del runs["image", 3, 101]
    tuning = judge_trials("s", design(), runs)
    assert [pick.arm for pick in tuning.picks] == ["text"]
    assert tuning.unpicked == {"image": "trials are missing: image.trial4 seed 101"}


def test_an_arm_that_diverges_everywhere_gets_no_pick() -> None:
    gone = {
        key: dataclasses.replace(one, status="diverged", scores={}) if key[0] == "text" else one
        for key, one in trials(design(), {}).items()
    }
    assert judge_trials("s", design(), gone).unpicked == {
        "text": "at every point of the grid a trial diverged"
    }


def test_the_edge_of_a_grid_is_marked_where_it_could_have_gone_on() -> None:
    assert edges({"learning_rate": 1e-3, "weight_decay": 0.0}, POINTS) == ["learning_rate"]
    assert edges({"learning_rate": 2e-3, "weight_decay": 0.1}, POINTS) == ["weight_decay"]
    assert edges({"schedule": "wsd"}, [{"schedule": "wsd"}, {"schedule": "cosine"}]) == []
    clips = [{"clip": value} for value in (0.5, 1.0, 0.0)]
    assert [edges(point, clips) for point in clips] == [["clip"], [], []]  # 0 is no clipping: beyond all
    said = " ".join(tuning_sentences(judge_trials("s", design(), trials(design(), {}))))
    assert "tuning picked the edge of its grid for text (learning_rate)" in said


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=6))
def test_no_point_has_a_better_mean_than_the_picked_one(scores: list[float]) -> None:
    runs = trials(design(), {("text", point): score for point, score in enumerate(scores)})
    found = judge_trials("s", design(), runs)
    assert found.picks[0].mean == min(
        math.fsum([runs["text", point, 100].scores[DEV].value, runs["text", point, 101].scores[DEV].value])
        / 2
        for point in range(6)
    )


def written(folder: Path) -> dict[Any, RunRecord]:
    runs = trials(design(), {("text", 2): 1.5})
    (folder / "tuning" / "records").mkdir(parents=True)
    for record in runs.values():
        write_record(record, folder / "tuning" / "records" / f"{record.arm}-seed{record.seed}.json")
    write_tuning(judge_trials("fabricated", design(), runs), folder)
    return runs


def test_the_file_is_made_again_of_the_trials_records(tmp_path: Path) -> None:
    runs = written(tmp_path)
    assert read_tuning(tmp_path) == judge_trials("fabricated", design(), runs)
    assert read_tuning(tmp_path / "elsewhere") is None


def test_a_file_that_is_not_what_its_trials_give_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / TUNING_FILE
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace('"point": 2', '"point": 3', 1), encoding="utf-8")
    with pytest.raises(StudyError, match="edited after it was written"):
        read_tuning(tmp_path)
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(StudyError, match="no file of tuning"):
        read_tuning(tmp_path)
    path.write_text(good, encoding="utf-8")
    write_record(run("text.trial3", 100, {DEV: 9.0}), tmp_path / "tuning/records/text.trial3-seed100.json")
    with pytest.raises(StudyError, match=r"is not what the records in .* give"):
        read_tuning(tmp_path)
    (tmp_path / "tuning/records/text.trial3-seed100.json").unlink()
    with pytest.raises(StudyError, match=r"is not what the records in .* give"):
        read_tuning(tmp_path)


RECIPE = """study: fabricated
tune:
  grid: {learning_rate: [0.001, 0.002, 0.004], weight_decay: [0.0, 0.1]}
  seeds: [100, 101]
  endpoint: dev/bits_per_byte
  budget_share: 1.0
"""


def trained(arm: str, seed: int, rate: float, decay: float = 0.0) -> RunRecord:
    own = {"learning_rate": rate, "weight_decay": decay, "rows": 8}
    score = {"planted/accuracy": 0.1 + 0.01 * seed + 0.2 * ("image" in arm)}
    return run(arm, seed, score, resolved={"train": own})


@pytest.fixture
def study() -> tuple[list[RunRecord], StudyHeader]:
    arms = {"text": 2e-3, "image": 1e-3, "image.shuffled": 1e-3}
    records = [trained(arm, seed, rate) for arm, rate in arms.items() for seed in (0, 1, 2)]
    return records, header(records, recipe=RECIPE)


def test_what_arms_train_with_stands_in_the_report_and_in_the_contrasts(
    study: tuple[list[RunRecord], StudyHeader],
) -> None:
    found = analyse(study[1], study[0])
    table = str(render(found).files["table.md"])
    assert "## Trained otherwise" in table
    assert "| image.shuffled | 0.001 |" in table
    assert "rows" not in found.settings["text"]
    notes = {(one.arm, one.reference): one.note for one in found.contrasts}
    assert notes["image", "text"].endswith("; trained otherwise: learning_rate 0.001 against 0.002")
    assert "trained otherwise" not in notes["image", "image.shuffled"]


def test_arms_that_train_alike_leave_no_trace() -> None:
    records = [trained(arm, seed, 1e-3) for arm in ("text", "image") for seed in (0, 1, 2)]
    found = analyse(header(records), records)
    assert found.settings == {}
    assert "Trained otherwise" not in str(render(found).files["table.md"])
    assert all("trained" not in one.note for one in found.contrasts)


def test_a_report_of_a_tuned_study_shows_grid_trials_and_picks(
    tmp_path: Path, study: tuple[list[RunRecord], StudyHeader]
) -> None:
    write_study(tmp_path, *study)
    written(tmp_path)
    table = str(render_study(tmp_path).files["table.md"])
    assert "| text | 0.002 | 0 | 1.5000 | 1.6000 | 1.5500 | picked |" in table
    assert "Every arm had 12 trials: 6 points of one grid on 2 seeds that serve tuning alone" in table
    assert "the best may lie outside it" in table
    assert read_study(tmp_path).tuning_faults == []


def test_a_tuned_study_without_its_tuning_says_so(
    tmp_path: Path, study: tuple[list[RunRecord], StudyHeader]
) -> None:
    write_study(tmp_path, *study)
    assert "the recipe asks for tuning, and there is no tuning.json" in str(
        render_study(tmp_path).files["table.md"]
    )


def test_runs_that_did_not_train_with_the_pick_are_named(study: tuple[list[RunRecord], StudyHeader]) -> None:
    records, plan = study
    records[0] = trained("text", 0, 4e-3)
    records[8] = trained("image.shuffled", 2, 1e-3, 0.1)
    tuning = judge_trials("fabricated", design(), trials(design(), {("text", 2): 1.5}))
    assert tuning_faults(tuning, plan, records) == [
        "text, seed 0 trained with learning_rate 0.004, picked was 0.002",
        "image.shuffled, seed 2 trained with weight_decay 0.1, picked was 0.0",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": [100]}, "tune.seeds is [100, 101] in the recipe and [100] in tuning.json"),
        ({"points": POINTS[:4]}, "tune.grid.learning_rate is [0.001, 0.002, 0.004] in the recipe and [0.001"),
        ({"budget_share": 0.5}, "tune.budget_share is 1.0 in the recipe and 0.5"),
        ({"arms": ["text"]}, "tuned were text, and the arms are text, image"),
    ],
)
def test_tuning_by_another_block_than_the_recipes_is_named(
    study: tuple[list[RunRecord], StudyHeader], change: dict[str, Any], said: str
) -> None:
    plan = design(**change)
    tuning = judge_trials("fabricated", plan, trials(plan, {("text", 2): 1.5}))
    assert any(fault.startswith(said) for fault in tuning_faults(tuning, study[1], []))


def test_a_study_without_tuning_reads_no_file_of_it(
    tmp_path: Path, study: tuple[list[RunRecord], StudyHeader]
) -> None:
    records, plan = study
    write_study(tmp_path, records, dataclasses.replace(plan, recipe="study: fabricated\n"))
    (tmp_path / TUNING_FILE).write_text(json.dumps({"left": "over"}), encoding="utf-8")
    assert read_study(tmp_path).tuning is None


def test_scores_say_which_way_is_better() -> None:
    runs = {("text", 0, 1): run("t", 1, {"x/y": Score(1.0, 3, False)})}
    assert judge_trials("s", design(endpoint="x/y", arms=["text"]), runs).higher_is_better is False
