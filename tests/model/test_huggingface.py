"""A checkpoint is a Hugging Face folder as it stands."""

from pathlib import Path

import pytest
import torch

from ablate.materials import Materials
from ablate.model.build import build_model
from ablate.model.huggingface import load_backbone, save_checkpoint
from ablate.model.transformer import weights_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import ModelConfig, Recipe


def recipe_with(materials: Materials, config: ModelConfig) -> Recipe:
    from dataclasses import replace

    return replace(materials.recipe, model=config)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(layers=2, width=48, heads=4, kv_heads=2, context_length=32),
        ModelConfig(layers=1, width=32, heads=2, context_length=32, tied=False, rope_theta=500.0),
    ],
)
def test_transformers_gives_the_same_logits(
    materials: Materials, config: ModelConfig, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="the test extra is not installed")
    arm = expand_arms(materials.recipe)[1]
    model = build_model(recipe_with(materials, config), arm, materials.tokenizer.vocabulary, 0).eval()
    save_checkpoint(model, materials.tokenizer, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "The colour of Velora is red."
    ids = [materials.tokenizer.bos, *materials.tokenizer.encode([text])[0]]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[1:]
    tokens = torch.tensor([ids[:32]])
    with torch.no_grad():
        assert (model.backbone(tokens) - theirs(tokens).logits).abs().max() < 1e-4


def test_a_saved_backbone_comes_back_bit_for_bit(materials: Materials, tmp_path: Path) -> None:
    arm = expand_arms(materials.recipe)[1]
    model = build_model(materials.recipe, arm, materials.tokenizer.vocabulary, 3)
    save_checkpoint(model, materials.tokenizer, tmp_path)
    again = load_backbone(materials.recipe.model, materials.tokenizer.vocabulary, tmp_path)
    assert weights_digest(again) == weights_digest(model.backbone)
    assert sorted(path.suffix for path in tmp_path.iterdir() if "model" in path.name) == [".safetensors"]
