"""Continued pretraining: every arm and seed starts from one checkpoint, and from its loss."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoint import SMALL, edit_config, edit_weights, write_checkpoint
from torch.nn.functional import cross_entropy

from ablate.budget.plan import plan_study
from ablate.data.errors import DataError
from ablate.materials import Materials, build_mixture, prepare
from ablate.model.attention import visible
from ablate.model.build import build_model
from ablate.model.transformer import weights_digest
from ablate.recipe.schema import PretrainedModel, Recipe
from ablate.record import RunRecord
from ablate.study.export import export_run
from ablate.study.identity import run_identity
from ablate.study.run import execute
from ablate.study.store import Store
from ablate.study.study import Places, prepare_study
from ablate.study.trained import find_run

FEW = (
    "budget.steps=3",
    "budget.match=positions",
    "train.log_every=1",
    "tasks.planted.limit=8",
    "tasks.prose.max_documents=1",
)
SHAPELESS = ("model.layers=null", "model.width=null", "model.heads=null")


def run_all(recipe: Recipe, places: Places) -> list[RunRecord]:
    return [execute(job) for job in prepare_study(recipe, places, threads=1).jobs]


@pytest.fixture(scope="module")
def places(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("continued")
    return Places(folder / "store", cache, folder / "results")


@pytest.fixture(scope="module")
def exported(tiny: Callable[..., Recipe], places: Places, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text arm, trained for some steps and exported."""
    out = tmp_path_factory.mktemp("exported") / "model"
    (record,) = run_all(tiny(*FEW, "budget.steps=20", "seeds=[0]", "arms.image=null"), places)
    export_run(find_run(Store(places.store).folder(record.identity), places.store), out)
    return out


@pytest.fixture(scope="module")
def continued(tiny: Callable[..., Recipe], exported: Path) -> Recipe:
    return tiny(*FEW, *SHAPELESS, f"model.init_from={exported}", "arms.image.controls=[shuffled]")


@pytest.fixture(scope="module")
def records(continued: Recipe, places: Places) -> dict[tuple[str, int], RunRecord]:
    return {(record.arm, record.seed): record for record in run_all(continued, places)}


def test_all_arms_and_seeds_start_from_the_exported_weights_and_prove_it(
    records: dict[tuple[str, int], RunRecord], exported: Path
) -> None:
    from ablate.model.pretrained import load_pretrained

    assert set(records) == {(arm, seed) for arm in ("text", "image", "image.shuffled") for seed in (0, 1)}
    digest = weights_digest(load_pretrained(exported))
    assert {record.pairing.backbone_init for record in records.values()} == {digest}
    assert len({record.final_weights for record in records.values()}) == len(records)
    for record in records.values():
        shared = set(record.pairing.text_rows["3"]) & set(records["text", record.seed].pairing.text_rows["3"])
        assert {column.partition("/")[0] for column in shared} == {"text"}


def test_the_first_loss_is_that_of_the_exported_model(
    records: dict[tuple[str, int], RunRecord], continued: Recipe, exported: Path, cache: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="the test extra is not installed")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    materials = prepare(continued, cache)
    plan = next(plan for plan in plan_study(materials) if plan.arm.name == "text")
    model = build_model(materials.recipe, plan.arm, materials.vocabulary, 0)
    mine = yours = 0.0
    scored = 0
    for batch in build_mixture(materials, plan.arm, 0).step(0).microbatches:
        seen = visible(batch.document)
        mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        with torch.no_grad():
            sums = model(batch)
            logits = theirs(batch.tokens, attention_mask=mask, position_ids=batch.position).logits
        mine += float(sums.text)
        yours += float(cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum"))
        scored += int(sums.text_positions)
    first = records["text", 0].curve[0]
    assert first.step == 1
    assert first.loss == pytest.approx(mine / scored, abs=1e-6)
    assert first.loss == pytest.approx(yours / scored, abs=1e-5)
    # What was trained before is worth something: a random model is at ln 512.
    assert first.loss < 5.5


def test_the_report_says_where_the_runs_began(records: dict[tuple[str, int], RunRecord]) -> None:
    for record in records.values():
        assert any("pretrained weights" in note and "test items" in note for note in record.notes)
        assert record.resolved["model"]["layers"] == 1
        assert "init_from" not in record.resolved["model"]


def identities(materials: Materials) -> list[str]:
    return [run_identity(materials, plan, 0) for plan in plan_study(materials)]


def test_the_weights_make_the_identity_and_not_their_place(
    exported: Path, continued: Recipe, cache: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(exported, tmp_path / "moved"))
    elsewhere = replace(continued, model=replace(continued.model, init_from=str(moved)))
    before = identities(prepare(continued, cache))
    assert identities(prepare(elsewhere, cache)) == before
    edit_weights(moved, model__norm__weight=torch.ones(32))
    assert not set(identities(prepare(elsewhere, cache))) & set(before)


def test_a_recipe_without_a_folder_keeps_its_identity(materials: Materials) -> None:
    from ablate.study.identity import resolved_arm

    resolved = resolved_arm(materials, plan_study(materials)[0])
    assert list(resolved["model"]) == [
        *("layers", "width", "heads", "kv_heads", "mlp_width", "context_length"),
        *("tied", "rope_theta", "norm_eps", "document_mask"),
    ]


@pytest.fixture
def folder(materials: Materials, tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model", materials.tokenizer)
    return tmp_path / "model"


@pytest.fixture
def started(tiny: Callable[..., Recipe], cache: Path, folder: Path) -> Callable[..., Materials]:
    """A study that starts from ``folder``, with overrides."""
    settings = ("tasks.prose=null", *FEW[:3], *SHAPELESS, "model.context_length=null")
    return lambda *more: prepare(tiny(*settings, f"model.init_from={folder}", *more), cache)


def test_the_plan_is_that_of_the_folders_shapes(
    started: Callable[..., Materials], tiny: Callable[..., Recipe], cache: Path
) -> None:
    shapes = [f"model.{key}={value}" for key, value in (("layers", 2), ("width", 32), ("heads", 4))]
    shapes += ["model.kv_heads=2", "model.mlp_width=48", "model.tied=false"]
    drawn = plan_study(prepare(tiny("tasks.prose=null", *FEW[:3], *shapes), cache))
    for mine, theirs in zip(plan_study(started()), drawn, strict=True):
        assert mine.ledger == theirs.ledger


def test_the_context_is_the_recipes_or_the_less_of_its_default_and_the_folders(
    started: Callable[..., Materials], folder: Path
) -> None:
    assert started().recipe.model.context_length == 48
    assert started("model.context_length=40").recipe.model.context_length == 40
    with pytest.raises(DataError, match=r"model\.context_length is 64.*48 positions"):
        started("model.context_length=64")
    edit_config(folder, max_position_embeddings=4096)
    assert started().recipe.model.context_length == 256


@pytest.mark.parametrize(
    ("key", "value", "theirs"),
    [
        ("layers", "6", "num_hidden_layers 2"),
        ("width", "64", "hidden_size 32"),
        ("kv_heads", "4", "num_key_value_heads 2"),
        ("tied", "true", "tie_word_embeddings false"),
        ("rope_theta", "500", "rope_theta 10000"),
        ("norm_eps", "0.1", "rms_norm_eps 1e-05"),
    ],
)
def test_a_shape_that_contradicts_the_folder_is_refused_with_both(
    started: Callable[..., Materials], key: str, value: str, theirs: str
) -> None:
    with pytest.raises(DataError) as error:
        started(f"model.{key}={value}")
    assert f"model.{key} is {value}" in str(error.value)
    assert f"config.json has {theirs}" in str(error.value)


def test_a_padded_embedding_is_the_models_vocabulary(
    started: Callable[..., Materials], folder: Path, materials: Materials, tmp_path: Path
) -> None:
    rows = materials.tokenizer.vocabulary + 7
    write_checkpoint(folder, materials.tokenizer, rows=rows)
    padded = started()
    plan = plan_study(padded)[0]
    model = build_model(padded.recipe, plan.arm, padded.vocabulary, 0)
    assert (padded.vocabulary, padded.tokenizer.vocabulary) == (rows, rows - 7)
    assert model.backbone.lm_head.weight.shape == (rows, 32)
    assert plan.ledger.parameters["backbone"] == sum(one.numel() for one in model.backbone.parameters())


def test_a_tokenizer_with_ids_beyond_the_embedding_is_refused(
    started: Callable[..., Materials], folder: Path, materials: Materials, prepared: Callable[..., Materials]
) -> None:
    other = prepared("tokenizer.vocabulary=400")
    other.tokenizer.save(folder / "small")
    started(f"tokenizer.path={folder / 'small'}")
    write_checkpoint(folder, other.tokenizer)
    materials.tokenizer.save(folder)
    with pytest.raises(DataError, match=r"ids up to 511.*has 400 rows \(vocab_size\)"):
        started()


def test_a_folder_without_tokenizer_or_end_of_text_is_refused(
    started: Callable[..., Materials], folder: Path
) -> None:
    import json

    path = folder / "tokenizer.json"
    held: dict[str, Any] = json.loads(path.read_text())
    held["added_tokens"] = [token for token in held["added_tokens"] if token["content"] != "<|eos|>"]
    held["model"]["vocab"]["<|other|>"] = held["model"]["vocab"].pop("<|eos|>")
    path.write_text(json.dumps(held))
    with pytest.raises(DataError, match=r"tokenizer\.json: has no end-of-text token"):
        started()
    path.unlink()
    with pytest.raises(DataError, match=r"tokenizer\.json: missing, and tokenizer\.path names no other"):
        started()


def test_the_model_is_the_folders_whatever_the_seed(started: Callable[..., Materials], folder: Path) -> None:
    materials = started()
    arm = plan_study(materials)[1].arm
    drawn = [build_model(materials.recipe, arm, materials.vocabulary, seed) for seed in (0, 1)]
    digests = [weights_digest(model.backbone) for model in drawn]
    assert digests[0] == digests[1]
    assert weights_digest(drawn[0].media_heads) != weights_digest(drawn[1].media_heads)
    assert isinstance(materials.recipe.model, PretrainedModel)
    assert replace(materials.recipe.model, weights="", init_from="").layers == SMALL.layers
