"""A Hugging Face folder in our backbone gives the logits that transformers gives."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoint import SMALL, edit_weights, write_checkpoint

from ablate.data.checkpoint import read_checkpoint
from ablate.data.errors import DataError
from ablate.materials import Materials
from ablate.model.huggingface import save_checkpoint
from ablate.model.pretrained import load_pretrained
from ablate.model.transformer import weights_digest

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    # Larger than usual, so that attention is far from uniform and positions matter.
    "initializer_range": 0.2,
}
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
ROTARY: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default", "rope_theta": 500.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, **LLAMA3},
}


def tiny(kind: str, **changes: Any) -> Any:
    """A random model of transformers."""
    transformers = pytest.importorskip("transformers", reason="the test extra is not installed")
    config = getattr(transformers, f"{kind}Config")(**SHAPE | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@torch.no_grad()
def farthest(ours: Any, theirs: Any, length: int = 128) -> float:
    tokens = torch.randint(0, 61, (2, length), generator=torch.Generator().manual_seed(1))
    return float((ours(tokens) - theirs(tokens).logits).abs().max())


@pytest.mark.parametrize("rotary", ROTARY)
def test_every_rotary_scaling_gives_the_logits_of_transformers(rotary: str, tmp_path: Path) -> None:
    theirs = tiny("Llama", rope_parameters=ROTARY[rotary])
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    assert farthest(ours, theirs) < 1e-5
    if rotary == "default":
        return
    plain = dataclasses.replace(read_checkpoint(tmp_path).model, scaling=None)
    assert farthest(load_pretrained(tmp_path, plain), theirs) > 1e-2


def test_scaled_positions_survive_a_round_trip(tmp_path: Path, materials: Materials) -> None:
    import transformers

    from ablate.model.fusion import FusedModel

    theirs = tiny("Llama", rope_parameters=ROTARY["llama3"], vocab_size=materials.tokenizer.vocabulary + 3)
    theirs.save_pretrained(tmp_path / "in")
    backbone = load_pretrained(tmp_path / "in")
    model = FusedModel(backbone, {}, media_loss=False, seed=0)
    save_checkpoint(model, materials.tokenizer, tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    assert farthest(backbone, again) < 1e-5
    assert read_checkpoint(tmp_path / "out").model == read_checkpoint(tmp_path / "in").model


@pytest.mark.parametrize("tied", [True, False])
def test_a_mistral_is_a_llama_within_its_window(tied: bool, tmp_path: Path) -> None:
    theirs = tiny("Mistral", sliding_window=100, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    assert ours.context_length == 100
    assert farthest(ours, theirs, length=100) < 1e-5


def test_shards_are_read_as_one_file_is(tmp_path: Path) -> None:
    theirs = tiny("Llama")
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    digests = {weights_digest(load_pretrained(tmp_path / name)) for name in ("one", "many")}
    assert len(digests) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_becomes_fp32_exactly(
    dtype: torch.dtype, tmp_path: Path, materials: Materials
) -> None:
    write_checkpoint(tmp_path, materials.tokenizer)
    file = tmp_path / "model.safetensors"
    halves = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(halves, file)
    loaded = load_pretrained(tmp_path).state_dict()
    assert all(weight.dtype == torch.float32 for weight in loaded.values())
    assert all(torch.equal(loaded[name], half.float()) for name, half in halves.items())


def test_weights_come_back_bit_for_bit_and_can_be_trained(tmp_path: Path, materials: Materials) -> None:
    for tied in (True, False):
        folder = tmp_path / str(tied)
        saved = write_checkpoint(folder, materials.tokenizer, dataclasses.replace(SMALL, tied=tied))
        loaded = load_pretrained(folder)
        assert weights_digest(loaded) == weights_digest(saved)
        assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
        assert len(list(loaded.parameters())) == len(list(saved.parameters()))
        assert all(weight.requires_grad and not weight.is_meta for weight in loaded.parameters())


def test_training_does_not_write_to_the_folder(tmp_path: Path, materials: Materials) -> None:
    write_checkpoint(tmp_path, materials.tokenizer)
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in load_pretrained(tmp_path).parameters():
            weight.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, materials: Materials) -> None:
    write_checkpoint(tmp_path, materials.tokenizer)
    edit_weights(tmp_path, model__norm__weight=torch.full((32,), torch.nan))
    with pytest.raises(
        DataError, match=r"model\.safetensors: 'model\.norm\.weight' holds values that are not"
    ):
        load_pretrained(tmp_path)


def test_a_head_beside_a_tied_embedding_must_be_its_copy(tmp_path: Path, materials: Materials) -> None:
    saved = write_checkpoint(tmp_path, materials.tokenizer, dataclasses.replace(SMALL, tied=True))
    embedding = saved.model.embed_tokens.weight.detach().clone()
    edit_weights(tmp_path, lm_head__weight=embedding.clone())
    assert weights_digest(load_pretrained(tmp_path)) == weights_digest(saved)
    edit_weights(tmp_path, lm_head__weight=embedding + 1)
    with pytest.raises(DataError, match="tie_word_embeddings is true"):
        load_pretrained(tmp_path)


def test_a_folder_of_the_hubs_cache_is_links_and_is_read(tmp_path: Path, materials: Materials) -> None:
    write_checkpoint(tmp_path / "model", materials.tokenizer)
    shutil.move(tmp_path / "model/model.safetensors", tmp_path / "blob")
    (tmp_path / "model/model.safetensors").symlink_to("../blob")
    assert load_pretrained(tmp_path / "model").vocabulary == materials.tokenizer.vocabulary
