"""Seeds are added until the verdict is in, and no longer; the plan that says so can be locked."""

import json
from pathlib import Path

import pytest
from own_study import OwnStudy
from test_cli import Run

from ablate.report.load import read_header
from ablate.report.registration import LOCK_FILE, LOOKS_FILE

SMALL = ["budget.steps=4", "tasks.questions=null", "model.width=16"]


@pytest.fixture
def prose(own: OwnStudy) -> OwnStudy:
    """The study judged by bits per byte, which vary over seeds even in four steps."""
    own.rewrite("  primary: questions/accuracy\n", "  primary: prose/bits_per_byte\n")
    own.rewrite("{questions/accuracy: 0.1}", "{prose/bits_per_byte: 0.1}")
    return own


@pytest.fixture
def places(tmp_path: Path, cache: Path) -> list[object]:
    return ["--store", tmp_path / "store", "--cache", cache, "--results", tmp_path / "results"]


def test_a_study_stops_at_the_look_that_decides(
    ablate: Run, prose: OwnStudy, places: list[object], tmp_path: Path
) -> None:
    prose.rewrite("{prose/bits_per_byte: 0.1}", "{prose/bits_per_byte: 100.0}")  # anything is equivalent
    looks = ["seeds=[0, 1, 2, 3]", "stopping={rule: group_sequential, looks: [2, 4], spending: pocock}"]
    ran = ablate(
        "run", prose.recipe, *SMALL, *looks, *places, "--until-decided", "--slots", 1, "--threads", 1
    )
    assert (ran.code, ran.err) == (0, "")
    assert "Decided after 2 of at most 4 seeds." in ran.out
    header = read_header(tmp_path / "results")
    assert (header.seeds, header.looks, header.rule) == ([0, 1], [2, 4], "group_sequential")
    assert len(list((tmp_path / "results" / "records").glob("*.json"))) == 4
    table = (tmp_path / "results" / "table.md").read_text(encoding="utf-8")
    assert "it is looked at with 2, 4 seeds and stands at 2" in table


def test_an_undecided_study_goes_on_to_its_last_seed_and_says_so(
    ablate: Run, prose: OwnStudy, places: list[object], tmp_path: Path
) -> None:
    prose.rewrite("{prose/bits_per_byte: 0.1}", "{prose/bits_per_byte: 1.0e-9}")
    command = ["run", prose.recipe, *SMALL, *places, "--until-decided", "--max-seeds", 3]
    ran = ablate(*command, "--slots", 1, "--threads", 1)
    assert (ran.code, ran.err) == (0, "")
    assert "Not decided after 2 of at most 3 seeds (image vs text): more seeds are trained." in ran.out
    assert "these were the last, so it stays inconclusive" in " ".join(ran.out.split())
    assert read_header(tmp_path / "results").seeds == [0, 1, 2]
    assert read_header(tmp_path / "results").rule == "anytime"
    looks = (tmp_path / "results" / LOOKS_FILE).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["pairs"] for line in looks] == [2, 3]
    again = ablate(*command, "--slots", 1, "--threads", 1)
    assert (again.code, again.err) == (0, "")
    assert "finished, loss" not in again.out
    assert "Not decided after 2" not in again.out  # begins where it stood
    assert not (tmp_path / "results" / "displaced").exists()
    assert (tmp_path / "results" / LOOKS_FILE).read_text(encoding="utf-8").splitlines() == looks


def test_a_locked_plan_makes_the_study_confirmatory_and_a_wider_margin_afterwards_unmakes_it(
    ablate: Run, prose: OwnStudy, places: list[object], tmp_path: Path
) -> None:
    seeds = "seeds=[0, 1]"
    results = ["--results", tmp_path / "results", "--cache", places[3]]
    planned = ablate("plan", prose.recipe, *SMALL, seeds, *results, "--lock", "--slots", 1)
    assert (planned.code, planned.err) == (0, "")
    assert f"Locked: {tmp_path / 'results' / LOCK_FILE}" in planned.out
    run = ["--slots", 1, "--threads", 1]
    assert ablate("run", prose.recipe, *SMALL, seeds, *places, *run).code == 0
    table = tmp_path / "results" / "table.md"
    assert "nothing of it changed: confirmatory" in table.read_text(encoding="utf-8")
    assert "## Confirmatory contrasts" in table.read_text(encoding="utf-8")
    prose.rewrite("{prose/bits_per_byte: 0.1}", "{prose/bits_per_byte: 0.5}")
    again = ablate("run", prose.recipe, *SMALL, seeds, *places, *run)
    assert again.code == 0
    assert again.out.count("NOT confirmatory") == 2  # before anything is trained, and below the verdict
    said = table.read_text(encoding="utf-8")
    assert "margins of prose/bits_per_byte: locked 0.1, now 0.5" in said
    assert "## Confirmatory" not in said
    assert "The study deviates from the plan that was locked for it" in said.partition("Plan:")[0]
    late = ablate("plan", prose.recipe, *SMALL, seeds, *results, "--lock", "--slots", 1)
    late.refuses(LOCK_FILE, "another plan was locked")


def test_more_seeds_than_the_looks_provide_for_are_refused(
    ablate: Run, prose: OwnStudy, places: list[object]
) -> None:
    looks = ["seeds=[0, 1, 2, 3]", "stopping={rule: group_sequential, looks: [2, 4]}"]
    ran = ablate("run", prose.recipe, *SMALL, *looks, *places, "--until-decided", "--max-seeds", 9)
    ran.refuses("--max-seeds 9", "4, the last of stopping.looks")
    alone = ablate("run", prose.recipe, *places, "--max-seeds", 9)
    assert alone.code == 2
    assert "--max-seeds goes with --until-decided" in " ".join(alone.err.split())
