"""Endpoints of word lists and differences between endpoints: what a recipe may name, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablate.recipe.checks import check_recipe
from ablate.recipe.errors import Problem
from ablate.recipe.load import dump_recipe, load_recipe, recipe_digest
from ablate.recipe.schema import ArmConfig, BudgetConfig, EndpointsConfig, Recipe, StreamConfig

CONCRETE, ABSTRACT = "heldout/bits_per_byte.concrete", "heldout/bits_per_byte.abstract"
GROUNDED = "difference/grounded"
WORDS = {"concrete": "${data_root}/concrete.txt", "abstract": "${data_root}/abstract.txt"}

GOOD = Recipe(
    study="words",
    question="Do pictures help with concrete words?",
    seeds=[0, 1],
    streams={"text": StreamConfig("text", ["${data_root}/text.jsonl"])},
    arms={"text": ArmConfig({"text": 1.0})},
    baseline="text",
    endpoints=EndpointsConfig(GROUNDED, {GROUNDED: 0.01, CONCRETE: 0.02}, {"grounded": [CONCRETE, ABSTRACT]}),
    tasks={
        "heldout": {"kind": "bits_per_byte", "paths": ["a.jsonl"], "words": WORDS},
        "quiz": {"kind": "multiple_choice", "paths": ["b.jsonl"], "words": WORDS},
        "blimp": {"kind": "minimal_pairs", "paths": ["c.jsonl"]},
    },
    budget=BudgetConfig(steps=100),
)


def problems(differences: Any = None, tasks: Any = None, **changes: Any) -> list[Problem]:
    endpoints = GOOD.endpoints
    if differences is not None:
        endpoints = replace(endpoints, differences={"grounded": [CONCRETE, ABSTRACT]} | differences)
    recipe = replace(GOOD, endpoints=replace(endpoints, **changes), tasks=GOOD.tasks | (tasks or {}))
    return check_recipe(recipe, "recipe.yaml")


def test_a_difference_may_be_primary_and_have_a_margin() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "endpoint",
    [
        CONCRETE,
        f"{CONCRETE}/news",
        "heldout/bits_per_byte.other",
        "quiz/accuracy.concrete",
        "quiz/probability.neither",
        "quiz/accuracy.both/part",
    ],
)
def test_an_endpoint_may_name_a_word_list_of_its_task(endpoint: str) -> None:
    assert problems(primary=endpoint, margins={endpoint: 0.1}) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "heldout/bits_per_byte.concret",
        "heldout/bits_per_byte.both",
        "quiz/accuracy.other",
        "blimp/accuracy.concrete",
        "blimp/accuracy.neither",
    ],
)
def test_a_list_that_its_task_has_not_is_refused_with_those_it_has(endpoint: str) -> None:
    found = problems(primary=endpoint, margins={endpoint: 0.1})
    assert [problem.key for problem in found] == ["endpoints.primary", f"endpoints.margins.{endpoint}"]
    assert "the unknown metric" in found[0].found
    if endpoint == "heldout/bits_per_byte.concret":
        assert found[0].hint == "did you mean 'bits_per_byte.concrete'?"


@pytest.mark.parametrize(
    ("parts", "key", "said"),
    [
        ([], "", "an empty list"),
        ([CONCRETE], "", "two different endpoints"),
        ([CONCRETE, ABSTRACT, CONCRETE], "", "two different endpoints"),
        ([CONCRETE, CONCRETE], "", "two different endpoints"),
        ([CONCRETE, "heldout/bits"], ".1", "the unknown metric 'bits'"),
        (["held/bits_per_byte", ABSTRACT], ".0", "the unknown task 'held'"),
        (["heldout", ABSTRACT], ".0", "task/metric"),
        ([GROUNDED, ABSTRACT], ".0", "no differences of differences"),
        ([CONCRETE, "quiz/accuracy"], "", "quiz/accuracy: higher is better, two endpoints of one direction"),
        (["quiz/accuracy", "quiz/probability"], "", "quiz/probability in probability"),
        (["blimp/accuracy", "blimp/margin"], "", "two endpoints of one unit"),
    ],
)
def test_a_difference_is_of_two_endpoints_of_one_direction_and_unit(
    parts: list[str], key: str, said: str
) -> None:
    (problem,) = problems({"odd": parts})
    assert problem.key == f"endpoints.differences.odd{key}"
    assert said in ", ".join((problem.found, problem.allowed, problem.hint))


def test_parts_of_one_direction_and_unit_may_be_of_two_tasks() -> None:
    other = {"more": {"kind": "multiple_choice", "paths": ["d.jsonl"]}}
    assert problems({"transfer": ["quiz/accuracy", "more/accuracy_per_byte"]}, other) == []


def test_an_unknown_difference_is_refused_with_those_that_are_there() -> None:
    found = problems(primary="difference/grounde", margins={"difference/grounde": 0.1})
    assert {problem.key for problem in found} == {
        "endpoints.primary",
        "endpoints.margins.difference/grounde",
    }
    assert found[0].hint == "did you mean 'grounded'?"
    (first, *_) = problems(differences=None, primary=f"{GROUNDED}/news", margins={f"{GROUNDED}/news": 0.1})
    assert "the unknown difference 'grounded/news'" in first.found


@pytest.mark.parametrize("name", ["a/b", "a.b", "", "a b"])
def test_the_name_of_a_difference_is_part_of_an_endpoint(name: str) -> None:
    (problem,) = problems({name: [CONCRETE, ABSTRACT]})
    assert problem.key == f"endpoints.differences.{name}"


def test_a_task_cannot_take_the_name_of_the_differences() -> None:
    quiz = {"difference": {"kind": "multiple_choice", "paths": ["d.jsonl"]}}
    (problem,) = problems(tasks=quiz)
    assert problem.key == "tasks.difference"
    without = EndpointsConfig("difference/accuracy", {"difference/accuracy": 0.1})
    assert check_recipe(replace(GOOD, endpoints=without, tasks=GOOD.tasks | quiz), "recipe.yaml") == []


def test_a_word_list_is_a_path_of_a_file_and_never_an_address() -> None:
    task = GOOD.tasks["heldout"] | {"words": WORDS | {"more": "https://example.org/words.txt"}}
    (problem,) = problems(tasks={"heldout": task})
    assert problem.key == "tasks.heldout.words.more"
    task = GOOD.tasks["heldout"] | {"words": WORDS | {"function": "builtin:functions"}}
    (problem,) = problems(tasks={"heldout": task})
    assert (problem.key, "builtin:function" in problem.found) == ("tasks.heldout", True)


RECIPE = """
study: words
question: Do pictures help with concrete words?
seeds: [0]
baseline: text
streams:
  text: {modality: text, paths: ["${data_root}/text.jsonl"]}
arms:
  text: {mixture: {text: 1.0}}
budget: {steps: 10}
tasks:
  prose:
    kind: bits_per_byte
    paths: ["${data_root}/prose-heldout.jsonl"]
    words: {concrete: "${data_root}/concrete.txt", function: builtin:function}
endpoints:
  primary: difference/grounded
  margins: {difference/grounded: 0.01}
  differences: {grounded: [prose/bits_per_byte.concrete, prose/bits_per_byte.function]}
"""


def test_a_recipe_with_lists_and_differences_survives_being_written_out(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.tasks["prose"]["words"] == {
        "concrete": "${data_root}/concrete.txt",
        "function": "builtin:function",
    }
    assert recipe.endpoints.differences == {
        "grounded": ["prose/bits_per_byte.concrete", "prose/bits_per_byte.function"]
    }
    written = tmp_path / "written.yaml"
    written.write_text(dump_recipe(recipe), encoding="utf-8")
    assert recipe_digest(load_recipe(written)) == recipe_digest(recipe)
    # A key of a mapping may hold dots, so an override gives the mapping.
    changed = load_recipe(path, ["endpoints.margins={prose/bits_per_byte.concrete: 0.5}"])
    assert changed.endpoints.margins == {"difference/grounded": 0.01, "prose/bits_per_byte.concrete": 0.5}
