"""A ladder trains the baseline again at shares of its budget: the same runs, under names of their own."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.budget.plan import plan_study
from ablate.materials import Materials
from ablate.recipe.arms import expand_arms, ladder_name
from ablate.recipe.checks import check_recipe
from ablate.recipe.errors import RecipeError
from ablate.recipe.load import dump_recipe, load_recipe, recipe_digest
from ablate.recipe.schema import Recipe
from ablate.report.load import StudyError, StudyHeader, read_header, write_header
from ablate.study.identity import run_identity
from ablate.study.study import header_of

Tiny = Callable[..., Recipe]


def refusal(recipe: Recipe) -> str:
    (problem,) = check_recipe(recipe, "recipe.yaml")
    return str(problem)


def test_rungs_follow_the_baseline_and_are_named_by_their_share(tiny: Tiny) -> None:
    arms = expand_arms(tiny("ladder=[0.5, 0.75, 2]"))
    assert [arm.name for arm in arms] == [
        "text",
        "text.x0.5",
        "text.x0.75",
        "text.x2.0",
        "image",
        "image.captions_only",
        "image.shuffled",
    ]
    assert {arm.name: arm.budget_share for arm in arms if arm.budget_share != 1} == {
        "text.x0.5": 0.5,
        "text.x0.75": 0.75,
        "text.x2.0": 2.0,
    }
    rung = arms[1]
    assert rung == dataclasses.replace(arms[0], name="text.x0.5", budget_share=0.5)


@given(st.lists(st.floats(1e-9, 1e9), min_size=2, max_size=8, unique=True))
def test_distinct_shares_have_distinct_names(shares: list[float]) -> None:
    assert len({ladder_name("text", share) for share in shares}) == len(shares)


def test_a_recipe_without_a_ladder_has_no_rung(tiny: Tiny) -> None:
    assert tiny().ladder == []
    assert all(arm.budget_share == 1 for arm in expand_arms(tiny()))


def test_a_ladder_survives_being_written_out(tiny: Tiny, tmp_path: Path) -> None:
    laddered = tiny("ladder=[0.5, 2]")
    path = tmp_path / "again.yaml"
    path.write_text(dump_recipe(laddered), encoding="utf-8")
    assert load_recipe(path) == laddered
    assert recipe_digest(laddered) != recipe_digest(tiny())


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.0], "ladder.0\n    found:   0\n    allowed: a share of the budget, more than 0"),
        ([-0.5], "found:   -0.5"),
        ([float("nan")], "found:   nan"),
        ([float("inf")], "found:   inf"),
        ([0.5, 1.0], "ladder.1\n    found:   1\n    allowed: a share other than 1"),
        ([0.5, 0.25, 0.5], "0.5 more than once"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "9 shares\n    allowed: at most 8"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(tiny: Tiny, shares: list[float], said: str) -> None:
    assert said in refusal(dataclasses.replace(tiny(), ladder=shares))


def test_eight_rungs_are_allowed(tiny: Tiny) -> None:
    assert len(tiny("ladder=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 2]").ladder) == 8


@pytest.mark.parametrize(
    ("written", "said"),
    [("ladder=half", "ladder"), ("ladder=[a half]", "ladder.0"), ("ladder=[.inf]", "ladder.0")],
)
def test_what_is_no_list_of_numbers_is_refused_by_its_key(tiny: Tiny, written: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        tiny(written)
    assert [problem.key for problem in error.value.problems] == [said]


def test_a_ladder_of_a_baseline_with_media_is_refused(tiny: Tiny) -> None:
    recipe = tiny("ladder=[0.5]")
    arms = recipe.arms | {"image": dataclasses.replace(recipe.arms["image"], controls=[])}
    said = refusal(dataclasses.replace(recipe, baseline="image", arms=arms))
    assert "an arm of text streams only" in said


def identities(materials: Materials) -> dict[str, str]:
    return {plan.arm.name: run_identity(materials, plan, 0) for plan in plan_study(materials)}


@pytest.mark.parametrize("match", ["flops", "text_tokens", "positions"])
def test_a_rung_is_the_very_run_that_a_recipe_of_that_budget_has_as_baseline(
    prepared: Callable[..., Materials], match: str
) -> None:
    laddered = identities(prepared("ladder=[0.5, 1.5]", f"budget.match={match}", "budget.steps=60"))
    half = identities(prepared(f"budget.match={match}", "budget.steps=30"))
    more = identities(prepared(f"budget.match={match}", "budget.steps=90"))
    assert laddered["text.x0.5"] == half["text"]
    assert laddered["text.x1.5"] == more["text"]


def test_a_ladder_changes_no_run_of_the_study(prepared: Callable[..., Materials]) -> None:
    plain, laddered = identities(prepared()), identities(prepared("ladder=[0.5]"))
    assert laddered.keys() - plain.keys() == {"text.x0.5"}
    assert {name: laddered[name] for name in plain} == plain


@pytest.fixture
def header(prepared: Callable[..., Materials]) -> StudyHeader:
    materials = prepared("ladder=[0.5, 2]")
    return header_of(materials.recipe, plan_study(materials))


def test_the_header_keeps_the_shares_and_reads_them_back(header: StudyHeader, tmp_path: Path) -> None:
    assert header.ladder == {"text.x0.5": 0.5, "text.x2.0": 2.0}
    assert header.arms[:3] == ["text", "text.x0.5", "text.x2.0"]
    assert header.controls == {"image": ["image.captions_only", "image.shuffled"]}
    write_header(header, tmp_path)
    assert read_header(tmp_path) == header


def test_a_header_of_before_there_were_ladders_has_none(header: StudyHeader, tmp_path: Path) -> None:
    write_header(header, tmp_path)
    path = tmp_path / "study.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    del raw["ladder"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert read_header(tmp_path).ladder == {}


@pytest.mark.parametrize(
    ("ladder", "said"),
    [
        (["text.x0.5"], "ladder does not map arms to shares of the budget"),
        ({"text.x0.5": "half"}, "ladder does not map arms to shares of the budget"),
        ({"text.x0.5": True}, "ladder does not map arms to shares of the budget"),
        ({"text.x0.5": 1.0}, "has share 1.0, and has to be above zero and not 1"),
        ({"text.x0.5": -2}, "has share -2"),
        ({"text.x0.25": 0.25}, "'text.x0.25' is not among the arms"),
        ({"text": 0.5}, "a ladder arm is neither the baseline, nor a control, nor has controls"),
        ({"image.shuffled": 0.5}, "a ladder arm is neither the baseline, nor a control"),
    ],
)
def test_a_header_whose_ladder_contradicts_it_is_refused(
    header: StudyHeader, tmp_path: Path, ladder: object, said: str
) -> None:
    write_header(header, tmp_path)
    path = tmp_path / "study.json"
    raw = json.loads(path.read_text(encoding="utf-8")) | {"ladder": ladder}
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(StudyError, match=said):
        read_header(tmp_path)
