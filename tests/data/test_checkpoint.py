"""A folder to start from is taken as it is, or refused with the file and the key."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoint import SMALL, edit_config, edit_weights, write_checkpoint

from ablate.data.checkpoint import read_checkpoint, tensor_shapes
from ablate.data.errors import DataError
from ablate.materials import Materials
from ablate.recipe.schema import RotaryScaling

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.fixture(scope="module")
def original(materials: Materials, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    write_checkpoint(folder, materials.tokenizer)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A sound folder, to spoil."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def refused(folder: Path, *named: str) -> None:
    with pytest.raises(DataError) as error:
        read_checkpoint(folder)
    for name in named:
        assert name in str(error.value)


def test_the_shapes_are_those_of_the_folder(folder: Path, materials: Materials) -> None:
    model = read_checkpoint(folder).model
    for key in ("layers", "width", "heads", "kv_heads", "mlp_width", "tied", "rope_theta", "norm_eps"):
        assert getattr(model, key) == getattr(SMALL, key)
    assert (model.vocabulary, model.context_length) == (materials.tokenizer.vocabulary, 48)


def test_the_tensors_that_are_asked_for_are_those_of_the_backbone(
    folder: Path, materials: Materials, tmp_path: Path
) -> None:
    backbone = write_checkpoint(tmp_path / "other", materials.tokenizer)
    wanted = tensor_shapes(read_checkpoint(folder).model)
    assert wanted == {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, ("'gpt2'", "LlamaForCausalLM")),
        ({"model_type": "t5", "architectures": None}, ("'t5'",)),
        ({"architectures": ["LlamaForSequenceClassification"]}, ("LlamaForSequenceClassification",)),
        ({"head_dim": 16}, ("head_dim is 16", "= 8")),
        ({"attention_bias": True}, ("attention_bias",)),
        ({"mlp_bias": True}, ("mlp_bias",)),
        ({"hidden_act": "gelu"}, ("hidden_act is 'gelu'", "silu")),
        ({"quantization_config": {"bits": 4}}, ("quantization_config",)),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, ("rope_type is 'yarn'", "llama3")),
        ({"rope_parameters": {"rope_type": "linear"}}, ("factor is missing",)),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, ("one rotary scaling",)),
        ({"rope_parameters": {**LLAMA3, "low_freq_factor": 4.0}}, ("low_freq_factor",)),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, ("partial_rotary_factor",)),
        ({"num_hidden_layers": "two"}, ("num_hidden_layers is 'two'", "whole number")),
        ({"num_hidden_layers": "2"}, ("num_hidden_layers is '2'",)),
        ({"num_hidden_layers": 2_000_000_000}, ("num_hidden_layers is 2000000000", "tensors")),
        ({"model_type": ["llama"]}, ("model_type is ['llama']",)),
        ({"rms_norm_eps": 10**400}, ("rms_norm_eps is 1000", "a number above 0")),
        ({"hidden_act": "\x1b[2J"}, (r"hidden_act is '\x1b[2J'",)),
        ({"num_hidden_layers": True}, ("num_hidden_layers is True",)),
        ({"hidden_size": None}, ("hidden_size is missing",)),
        ({"num_attention_heads": 5}, ("hidden_size is 32", "num_attention_heads (5)")),
        ({"num_key_value_heads": 3}, ("num_key_value_heads is 3",)),
        ({"rms_norm_eps": 0}, ("rms_norm_eps is 0",)),
        ({"tie_word_embeddings": "no"}, ("tie_word_embeddings is 'no'",)),
        (
            {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 0},
            ("window",),
        ),
    ],
)
def test_what_the_backbone_cannot_represent_is_refused(
    folder: Path, changes: dict[str, Any], named: tuple[str, ...]
) -> None:
    edit_config(folder, **changes)
    refused(folder, "config.json", *named)


@pytest.mark.parametrize(
    ("text", "named"), [("{", "not JSON"), ("[]", "not a JSON object"), ("[" * 100_000, "not JSON")]
)
def test_a_config_that_is_none_is_refused(folder: Path, text: str, named: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, "config.json", named)


def test_a_config_that_is_a_device_is_not_read(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")
    refused(folder, "config.json", "not a file")


def test_a_mistral_is_read_within_its_window(folder: Path) -> None:
    edit_config(folder, model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=24)
    assert read_checkpoint(folder).model.context_length == 24
    edit_config(folder, sliding_window=4096)
    assert read_checkpoint(folder).model.context_length == 48


def test_scaling_is_read_from_the_keys_of_either_transformers(folder: Path) -> None:
    expected = RotaryScaling("llama3", 8.0, 1.0, 4.0, 16)
    edit_config(folder, rope_parameters={**LLAMA3, "rope_theta": 500000.0})
    new = read_checkpoint(folder).model
    edit_config(folder, rope_parameters=None, rope_scaling=LLAMA3, rope_theta=500000.0)
    old = read_checkpoint(folder).model
    assert (new.scaling, new.rope_theta) == (expected, 500000.0) == (old.scaling, old.rope_theta)
    edit_config(folder, rope_scaling={"type": "linear", "factor": 2})
    assert read_checkpoint(folder).model.scaling == RotaryScaling("linear", 2.0)


def test_missing_extra_and_misshapen_tensors_are_named(folder: Path) -> None:
    edit_weights(folder, model__norm__weight=None)
    refused(folder, "model.safetensors", "lacks 'model.norm.weight'")
    edit_weights(folder, model__norm__weight=torch.ones(33))
    refused(folder, "'model.norm.weight'", "[33]", "[32]")
    edit_weights(folder, model__norm__weight=torch.ones(32), score__weight=torch.ones(2))
    refused(folder, "holds 'score.weight'")
    edit_weights(folder, score__weight=None, model__norm__weight=torch.ones(32, dtype=torch.int8))
    refused(folder, "'model.norm.weight'", "I8", "quantised")


def test_a_config_of_other_sizes_than_the_tensors_is_refused(folder: Path) -> None:
    edit_config(folder, vocab_size=600)
    refused(folder, "'model.embed_tokens.weight'", "config.json", "[600, 32]")


def test_frequencies_that_older_checkpoints_hold_are_no_surplus(folder: Path) -> None:
    edit_weights(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    assert read_checkpoint(folder).model.layers == 2


def test_a_folder_without_safetensors_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "has neither model.safetensors nor model.safetensors.index.json")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refused(folder, "pytorch_model.bin", "pickled")


def test_a_file_that_was_cut_short_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(folder, "model.safetensors", "not a whole safetensors file")


def test_a_name_on_a_hub_is_not_fetched(tmp_path: Path) -> None:
    refused(tmp_path / "meta-llama/Llama-3.2-1B", "no such folder", "none is fetched")


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "an adapter without its model")


@pytest.mark.parametrize(
    ("index", "named"),
    [
        ({"weight_map": {"a": "../model.safetensors"}}, "'../model.safetensors'"),
        ({"weight_map": {"a": "weights.bin"}}, "'weights.bin'"),
        ({"weight_map": {"a": "model-00001-of-00002.safetensors"}}, "missing"),
        ({"weight_map": []}, "weight_map does not map"),
    ],
)
def test_an_index_names_files_beside_it_alone(folder: Path, index: dict[str, Any], named: str) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "index.json", named)
