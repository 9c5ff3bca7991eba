"""Every shipped recipe loads, says what it costs, is matched before it is trained, and keeps its shapes.

What is parametrised over `RECIPES` holds for every file in recipes/; one without data in the fixtures fails.
Sweeps have tests/sweep/test_shipped_sweeps.py.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Any

import pytest
import torch

from ablate.budget.plan import Plan, plan_study
from ablate.data.batch import Batch
from ablate.materials import Materials, build_mixture, prepare, refuse_undecodable
from ablate.model.build import build_model
from ablate.recipe.arms import expand_arms
from ablate.recipe.load import header_comment, load_recipe
from ablate.study.run import execute
from ablate.study.study import Places, prepare_study

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
ON_SHARDS = [path for path in RECIPES if load_recipe(path).data_root != "planted"]
ARMS = [(path, arm.name) for path in RECIPES for arm in expand_arms(load_recipe(path))]
SMALL = ("model.layers=1", "model.width=32", "model.heads=2", "model.context_length=64", "train.rows=8")
"""Overrides that shrink a model and its batch; shares stay whole rows, and an item still fits into a row."""

STEPS = [0, 1, 7, 60]
"""Steps that are compared; on the small shards of the tests they lie in different epochs."""


@dataclass(frozen=True)
class Planned:
    """A recipe's data and plans."""

    materials: Materials
    plans: dict[str, Plan]


@pytest.fixture(scope="module")
def planned(shards: Path, cache: Path) -> Callable[..., Planned]:
    """A recipe with overrides, its data read and its arms planned, once each."""

    @remembered
    def make(path: Path, *overrides: str) -> Planned:
        root = (f"data_root={shards}",) if path in ON_SHARDS else ()
        # The shards of the tests hold less text than a cap on unique text keeps.
        uncapped = (f"streams.{name}.max_tokens=0" for name in capped_streams(path))
        materials = prepare(load_recipe(path, (*overrides, *root, *uncapped)), cache)
        return Planned(materials, {plan.arm.name: plan for plan in plan_study(materials)})

    return make


def capped_streams(path: Path) -> list[str]:
    """Streams of which a recipe keeps some tokens alone."""
    return [name for name, one in load_recipe(path).streams.items() if one.max_tokens]


def each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_the_recipes_of_the_readme_are_there() -> None:
    assert {"quickstart", "planted_all", "aa"} <= {path.stem for path in RECIPES} - {
        path.stem for path in ON_SHARDS
    }
    assert {path.stem for path in ON_SHARDS} >= {
        f"text_vs_{modality}" for modality in ("image", "audio", "video", "sensor", "all")
    }


@each(RECIPES)
def test_a_recipe_states_command_cost_and_expected_result(path: Path) -> None:
    said = header_comment(path)
    assert f"ablate run recipes/{path.name}" in said
    assert "Cost:" in said
    assert "Expected:" in said


@each(RECIPES)
def test_a_recipe_is_named_as_its_file_and_states_a_question(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.study == path.stem
    assert recipe.question.endswith("?")
    assert len(recipe.seeds) >= 3
    assert recipe.endpoints.primary in recipe.endpoints.margins


@each(RECIPES)
def test_every_sample_of_a_recipe_decodes(path: Path, planned: Callable[..., Planned]) -> None:
    """Sounds, clips and recordings of several rates, channels and containers among them."""
    materials = planned(path).materials
    refuse_undecodable(materials)
    decoded = [one for media in materials.media.values() for one in media.decoded.values()]
    assert all(len(one) and not one.errors and not one.live for one in decoded)
    asked = {stream.modality for stream in materials.recipe.streams.values()} - {"text"}
    assert {one.spec.modality for one in decoded} == asked


@each(RECIPES)
def test_every_arm_of_a_recipe_is_matched_within_one_percent(
    path: Path, planned: Callable[..., Planned]
) -> None:
    found = planned(path)
    assert list(found.plans) == [name for of, name in ARMS if of == path]
    base = found.plans[found.materials.recipe.baseline].ledger.total_flops
    off = {
        name: plan.ledger.total_flops / (base * plan.arm.budget_share) - 1
        for name, plan in found.plans.items()
    }
    assert {name: share for name, share in off.items() if abs(share) > 0.01} == {}


def cpu_size(path: Path) -> list[str]:
    """The overrides of the CPU-size command in a recipe's header, without its data_root."""
    said = header_comment(path).replace("\\\n", " ")
    (line,) = [line for line in said.splitlines() if f"study={path.stem}_cpu" in line]
    program, command, recipe, *words = shlex.split(line)
    assert (program, command, recipe) == ("ablate", "run", f"recipes/{path.name}")
    assert [word for word in words if word.startswith("data_root=")] == ["data_root=FOLDER"]
    return [word for word in words if not word.startswith("data_root=")]


@each(ON_SHARDS)
def test_the_cpu_size_that_a_header_states_can_be_planned_and_says_that_it_is_no_evidence(
    path: Path, planned: Callable[..., Planned]
) -> None:
    found = planned(path, *cpu_size(path))
    recipe = found.materials.recipe
    assert recipe.model.width < load_recipe(path).model.width
    assert "not evidence" in recipe.note
    assert min(plan.steps for plan in found.plans.values()) > 50
    assert max(plan.ledger.total_flops for plan in found.plans.values()) < 1e15  # minutes on a core


@each(ON_SHARDS)
def test_the_cpu_size_that_a_header_states_runs_and_spends_what_was_planned(
    path: Path, shards: Path, cache: Path, tmp_path: Path
) -> None:
    """The arms of the header's command with a smaller model and budget, from data to record."""
    media = [arm for of, arm in COMPILED if of == path]
    smaller = ["seeds=[0]", *SMALL, "budget.text_tokens=null", "budget.steps=50", "ladder=[0.5]"]
    smaller += [f"arms.{arm}.controls=[shuffled]" for arm in media]
    smaller += [f"streams.{name}.max_tokens=0" for name in capped_streams(path)]
    recipe = load_recipe(path, [*cpu_size(path), *smaller, f"data_root={shards}"])
    prepared = prepare_study(recipe, Places(tmp_path / "store", cache, tmp_path / "results"), threads=1)
    records = {job.arm: execute(job) for job in prepared.jobs}
    assert list(records) == [arm.name for arm in expand_arms(recipe)]
    assert {"text", "text.x0.5", *(f"{arm}.shuffled" for arm in media)} <= records.keys()
    base = records["text"]
    half = records.pop("text.x0.5")
    assert half.spent.steps == round(base.spent.steps / 2)
    assert half.pairing.backbone_init == base.pairing.backbone_init
    for record in records.values():
        assert record.status == "finished"
        assert record.skips == {}
        assert record.spent.total_flops == record.planned.total_flops
        assert abs(record.spent.total_flops / base.spent.total_flops - 1) <= 0.01
        assert record.scores.keys() == base.scores.keys()


def shapes(found: Any, name: str = "batch") -> Iterator[tuple[object, ...]]:
    """Everything about a batch that a compiled model is specialised on."""
    if isinstance(found, torch.Tensor):
        yield name, tuple(found.shape), found.stride(), found.dtype
    elif is_dataclass(found):
        for one in fields(found):
            yield from shapes(getattr(found, one.name), f"{name}.{one.name}")
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from shapes(value, f"{name}.{key}")
    else:
        yield name, found


def batches(found: Planned, arm: str, steps: list[int]) -> list[Batch]:
    mixture = build_mixture(found.materials, found.plans[arm].arm, 0)
    return [batch for number in steps for batch in mixture.step(number).microbatches]


@pytest.mark.parametrize(("path", "arm"), ARMS, ids=lambda value: getattr(value, "stem", value))
def test_step_shapes_never_change_in_any_arm_of_any_recipe(
    path: Path, arm: str, planned: Callable[..., Planned]
) -> None:
    found = planned(path)
    one, *others = [list(shapes(batch)) for batch in batches(found, arm, STEPS)]
    assert all(other == one for other in others)
    assert len(one) >= 4


def has_media(path: Path, arm: str) -> bool:
    recipe = load_recipe(path)
    return any(recipe.streams[name].modality != "text" for name in recipe.arms[arm].mixture)


COMPILED = [
    (path, arm) for path, arm in ARMS if path in ON_SHARDS and "." not in arm and has_media(path, arm)
]
"""The media arm of each modality, and of all of them together."""


@pytest.mark.parametrize(("path", "arm"), COMPILED, ids=lambda value: getattr(value, "stem", value))
def test_the_model_of_every_modality_compiles_once(
    path: Path, arm: str, planned: Callable[..., Planned]
) -> None:
    found = planned(path, *SMALL, f"arms.{arm}.media_loss=1")
    recipe, vocabulary = found.materials.recipe, found.materials.tokenizer.vocabulary
    model = build_model(recipe, found.plans[arm].arm, vocabulary, 0)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for batch in batches(found, arm, STEPS):
        sums = compiled(batch)
        (sums.text + sums.media).backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert all(weight.grad is not None for weight in model.encoders.parameters())
