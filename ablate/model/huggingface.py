"""A checkpoint is a Hugging Face folder: `config.json`, `model.safetensors` and the tokenizer's files."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ablate.data.tokenizer import TextTokenizer
from ablate.model.fusion import FusedModel
from ablate.model.rotary import scaling_of
from ablate.model.transformer import Transformer, mlp_width
from ablate.recipe.schema import ModelConfig

MEDIA_FILE = "media.safetensors"
"""Weights of encoders and media heads, beside the backbone that transformers reads."""


def llama_config(config: ModelConfig, tokenizer: TextTokenizer, vocabulary: int = 0) -> dict[str, Any]:
    """`config.json` of a LlamaForCausalLM with these shapes.

    Args:
        vocabulary: rows of the embedding, where they are more than the tokenizer has ids.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary or tokenizer.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": mlp_width(config),
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "head_dim": config.width // config.heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        **_rotary(config),
        "tie_word_embeddings": config.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def _rotary(config: ModelConfig) -> dict[str, Any]:
    """Rotary positions under the key of transformers 5, and where they are scaled that of older ones too."""
    scaling = scaling_of(config)
    if scaling is None:
        return {"rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta}}
    held: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "llama3":
        held |= {
            "low_freq_factor": scaling.low_frequency_factor,
            "high_freq_factor": scaling.high_frequency_factor,
            "original_max_position_embeddings": scaling.original_positions,
        }
    return {"rope_scaling": held, "rope_parameters": {**held, "rope_theta": config.rope_theta}}


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().float().contiguous() for name, tensor in tensors.items()}


def save_checkpoint(model: FusedModel, tokenizer: TextTokenizer, folder: Path) -> None:
    """Write the trained model into ``folder``: the backbone as Llama, the media parts beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone = model.backbone
    weights = backbone.state_dict()
    if backbone.config.tied:
        weights.pop("lm_head.weight")
    save_file(_plain(weights), folder / "model.safetensors", metadata={"format": "pt"})
    media = {name: weight for name, weight in model.state_dict().items() if not name.startswith("backbone.")}
    if media:
        save_file(_plain(media), folder / MEDIA_FILE, metadata={"format": "pt"})
    config = llama_config(backbone.config, tokenizer, backbone.vocabulary)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(folder)


def load_backbone(config: ModelConfig, vocabulary: int, folder: Path) -> Transformer:
    """The backbone that `save_checkpoint` wrote.

    Raises:
        RuntimeError: the weights do not fit the shapes of ``config``.
    """
    backbone = Transformer(config, vocabulary)
    weights = load_file(folder / "model.safetensors")
    if config.tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    backbone.load_state_dict(weights)
    return backbone
