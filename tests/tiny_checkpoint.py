"""Small random checkpoints as Hugging Face folders, written without transformers."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ablate.data.tokenizer import TextTokenizer
from ablate.model.fusion import FusedModel
from ablate.model.huggingface import save_checkpoint
from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig

SMALL = ModelConfig(layers=2, width=32, heads=4, kv_heads=2, mlp_width=48, context_length=48, tied=False)


def write_checkpoint(
    folder: Path, tokenizer: TextTokenizer, config: ModelConfig = SMALL, rows: int = 0, seed: int = 0
) -> Transformer:
    """A random backbone in ``folder``, with ``rows`` rows of the embedding where they are more than ids."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Transformer(config, rows or tokenizer.vocabulary)
    save_checkpoint(FusedModel(backbone, {}, media_loss=False, seed=seed), tokenizer, folder)
    return backbone.eval()


def edit_config(folder: Path, **changes: Any) -> None:
    """Change keys of `config.json`; None removes one."""
    path = folder / "config.json"
    held = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Change tensors of `model.safetensors`, with `__` for the dots of a name; None removes one."""
    path = folder / "model.safetensors"
    held = {name: tensor.clone() for name, tensor in load_file(path).items()}
    held |= {name.replace("__", "."): tensor for name, tensor in changes.items() if tensor is not None}
    gone = {name.replace("__", ".") for name, tensor in changes.items() if tensor is None}
    save_file({name: tensor for name, tensor in held.items() if name not in gone}, path)
