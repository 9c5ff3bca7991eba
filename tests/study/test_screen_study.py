"""A screen trains what the study needs anyway, and a study believes only the screen of its own baseline."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ablate.budget.plan import plan_study
from ablate.cli import app
from ablate.materials import Materials
from ablate.recipe.errors import RecipeError
from ablate.recipe.load import load_recipe, recipe_digest
from ablate.recipe.schema import Recipe
from ablate.report.analysis import Analysis, read_study
from ablate.report.check import check
from ablate.report.load import StudyError
from ablate.report.screen import screen_text
from ablate.stats.screening import ScreenVerdict
from ablate.study.run import execute
from ablate.study.screen import prepare_screen, screen_recipe
from ablate.study.study import Places, planned_header, prepare_study, run_study

SHORT = ["budget.match=positions", "budget.steps=12", "ladder=[0.5]"]
PRIMARY, PROSE = "planted/accuracy", "prose/bits_per_byte"


@dataclass(frozen=True)
class Ran:
    """A screen that ran, and the recipe it is of."""

    file: Path
    recipe: Recipe
    places: Places
    study: Analysis


@pytest.fixture(scope="module")
def ran(tiny_file: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("screened")
    recipe = screen_recipe(tiny_file, SHORT, "0.25,0.5")
    places = Places(folder / "store", cache, folder / "results" / recipe.study)
    for job in prepare_screen(recipe, places, 1).jobs:
        execute(job)
    assert run_study(prepare_screen(recipe, places, 1), places, 1, lambda event: None) == []
    return Ran(tiny_file, recipe, places, read_study(places.results))


def test_a_screen_runs_the_baseline_and_its_ladder_and_nothing_else(ran: Ran) -> None:
    arms = {"text", "text.x0.25", "text.x0.5"}
    assert set(ran.study.header.arms) == arms
    assert {(one.arm, one.seed) for one in ran.study.records} == {
        (arm, seed) for arm in arms for seed in (0, 1)
    }
    assert ran.study.header.study == "tiny_screen"
    assert {PRIMARY, PROSE} <= {one.endpoint for one in ran.study.screening}


def test_the_study_finds_its_baseline_and_ladder_trained(ran: Ran, tmp_path: Path) -> None:
    recipe = load_recipe(ran.file, SHORT)
    prepared = prepare_study(recipe, Places(ran.places.store, ran.places.cache, tmp_path), 1)
    assert {(one.arm, one.seed) for one in prepared.finished} == {
        (arm, seed) for arm in ("text", "text.x0.5") for seed in (0, 1)
    }


def test_two_seeds_and_three_budgets_of_sixteen_questions_make_nothing_usable(ran: Ran) -> None:
    said = {one.endpoint: one.verdict for one in ran.study.screening}
    assert said[PRIMARY] in ("at floor", "cannot be told", "not monotone")


@pytest.mark.parametrize("shares", ["0.5,1", "0", "half", "0.5,0.5", ""])
def test_shares_that_are_none_are_refused(tiny_file: Path, shares: str) -> None:
    with pytest.raises(RecipeError):
        screen_recipe(tiny_file, [], shares)


def test_a_screen_is_of_the_recipe_without_its_stopping_rule_and_its_own_screen(tiny_file: Path) -> None:
    more = ["stopping.rule=group_sequential", "stopping.looks=[2]", "endpoints.screen=old/screen.json"]
    recipe = screen_recipe(tiny_file, more, "0.5")
    assert recipe == screen_recipe(tiny_file, [], "0.5")


def test_the_command_trains_nothing_twice_and_names_the_file_for_the_recipe(ran: Ran) -> None:
    places = ["--store", str(ran.places.store), "--cache", str(ran.places.cache)]
    words = ["screen", str(ran.file), *SHORT, "--shares", "0.25,0.5", "--results", str(ran.places.results)]
    done = CliRunner().invoke(app, [*words, *places])
    assert done.exit_code == 0, done.output
    assert "6 of 6 runs are finished already; 0 to train" in done.output
    said = " ".join(done.output.split())
    assert f"endpoints.screen={ran.places.results / 'screen.json'}" in said.replace("\n", "")
    assert check([ran.places.results]) == []


# --- What the study makes of it


@pytest.fixture
def planned(
    ran: Ran, prepared: Callable[..., Materials], tmp_path: Path
) -> Callable[..., tuple[Recipe, Materials, list[str]]]:
    """The header of the study whose screen gave ``verdicts``, as changed by ``overrides``."""

    def header(verdicts: dict[str, ScreenVerdict], *overrides: str) -> object:
        screened = [
            dataclasses.replace(one, verdict=verdicts.get(one.endpoint, one.verdict), reason="as made up")
            for one in ran.study.screening
        ]
        path = tmp_path / "screen.json"
        path.write_text(screen_text(screened, ran.study.header, ran.study.records), encoding="utf-8")
        words = [*SHORT, f"endpoints.margins={{{PRIMARY}: 0.1, {PROSE}: 0.05}}", f"endpoints.screen={path}"]
        recipe = load_recipe(ran.file, [*words, *overrides])
        materials = prepared(*words, *overrides)
        return planned_header(recipe, materials, plan_study(materials))

    return header


def test_endpoints_that_did_not_pass_are_excluded_with_the_reason(planned: Callable[..., object]) -> None:
    header = planned({PRIMARY: "usable", PROSE: "not monotone"})
    assert header.screened == {PROSE: "not monotone: as made up"}
    assert len(header.screen) == 32
    assert planned({PRIMARY: "usable", PROSE: "usable"}).screened == {}


def test_a_study_whose_primary_endpoint_did_not_pass_is_refused(planned: Callable[..., object]) -> None:
    with pytest.raises(
        StudyError, match=r"primary endpoint planted/accuracy did not pass .*at floor: as made"
    ):
        planned({PRIMARY: "at floor"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("budget.steps=24", "steps was 12, here 24"),
        ("model.layers=2", "model.layers was 1, here 2"),
        ("train.learning_rate=5.0e-3", "train.learning_rate was 0.01, here 0.005"),
        ("tasks.prose.max_documents=3", "task/prose has other content"),
        ("tokenizer.vocabulary=600", "tokenizer has other content"),
    ],
)
def test_a_screen_of_another_model_budget_or_data_is_refused(
    planned: Callable[..., object], change: str, said: str
) -> None:
    with pytest.raises(StudyError, match=f"screens another study than this recipe's: .*{said}"):
        planned({PRIMARY: "usable", PROSE: "usable"}, change)


def test_more_seeds_and_other_arms_need_no_other_screen(planned: Callable[..., object]) -> None:
    passed: dict[str, ScreenVerdict] = {PRIMARY: "usable", PROSE: "usable"}
    assert planned(passed, "seeds=[5,6,7]", "arms.image.controls=[noise]").screened == {}


def test_an_endpoint_that_was_not_screened_did_not_pass(planned: Callable[..., object]) -> None:
    task = "tasks.late={kind: bits_per_byte, paths: ['${data_root}/prose-heldout.jsonl'], max_documents: 2}"
    header = planned({PRIMARY: "usable", PROSE: "usable"}, task, "endpoints.margins.late/bits_per_byte=0.1")
    assert header.screened == {"late/bits_per_byte": "not screened: the screen did not score it"}


def test_a_difference_passes_if_both_of_its_parts_do(planned: Callable[..., object]) -> None:
    margins = "endpoints.margins.difference/gap=0.1"
    parts = "endpoints.differences={gap: [prose/bits_per_byte, other/bits_per_byte]}"
    task = "tasks.other={kind: bits_per_byte, paths: ['${data_root}/prose-heldout.jsonl'], max_documents: 2}"
    header = planned({PRIMARY: "usable", PROSE: "at floor"}, task, parts, margins)
    why = header.screened["difference/gap"]
    assert why.startswith("at floor: of its parts, prose/bits_per_byte is at floor: as made up; other/bits")


def test_naming_no_screen_leaves_the_digest_of_a_recipe_what_it_was(tiny: Callable[..., Recipe]) -> None:
    plain = recipe_digest(tiny())
    assert recipe_digest(tiny("endpoints.screen=a/screen.json")) != plain
    assert recipe_digest(tiny("endpoints.screen=''")) == plain


@pytest.mark.parametrize(
    "name", ["results/x_screen", "https://example.org/screen.json", "pipe:cat screen.json"]
)
def test_what_is_no_screen_file_is_refused_with_the_recipe(tiny: Callable[..., Recipe], name: str) -> None:
    with pytest.raises(RecipeError, match=r"endpoints\.screen"):
        tiny(f"endpoints.screen={name}")
