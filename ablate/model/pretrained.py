"""Weights of a Hugging Face folder in a backbone, in fp32, bit for bit where they were fp32."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ablate.data.checkpoint import Checkpoint, read_checkpoint
from ablate.data.errors import DataError
from ablate.model.transformer import Transformer, rotary_table
from ablate.recipe.schema import ModelConfig, PretrainedModel

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def load_pretrained(folder: Path, model: PretrainedModel | None = None) -> Transformer:
    """The backbone in ``folder``, from which `transformers` gives the same logits.

    Args:
        model: the shapes to give it, such as a shorter context than the folder's; the folder's if left out.

    Raises:
        DataError: the folder is refused (see `read_checkpoint`) or a weight is not finite.
    """
    checkpoint = read_checkpoint(folder)
    model = model or checkpoint.model
    with torch.device("meta"):
        backbone = Transformer(model, model.vocabulary)
    # Only what is computed from the config has to be built for real: the weights are those of the folder.
    backbone.model.rotary = rotary_table(model)
    backbone.load_state_dict(_tensors(checkpoint), assign=True)
    if model.tied:
        backbone.lm_head.weight = backbone.model.embed_tokens.weight
    return backbone


def initial_notes(model: ModelConfig) -> list[str]:
    """Disclosure of a run that starts from a folder: what the folder's model has read, nobody here knows."""
    if not isinstance(model, PretrainedModel):
        return []
    return [
        f"every arm and seed starts from the pretrained weights {model.weights} (model.init_from): what they "
        "were trained on is not known to this study, may hold its test items, and is charged to no budget; "
        "seeds differ in the order of the data and in encoders, not in the backbone"
    ]


def _tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of the backbone as fp32, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for file in checkpoint.files:
        for name, tensor in load_file(file).items():
            if name.endswith("rotary_emb.inv_freq"):
                continue
            # A copy: the file is mapped into memory, and training writes.
            tensors[name] = tensor.to(torch.float32, copy=True)
            if not bool(tensors[name].isfinite().all()):
                raise DataError(
                    f"{file}: {name!r} holds values that are not finite; nothing can start from it"
                )
    if checkpoint.model.tied:
        head = tensors.get(_HEAD, tensors[_EMBEDDING])
        if not torch.equal(head, tensors[_EMBEDDING]):
            raise DataError(
                f"{checkpoint.folder}: tie_word_embeddings is true, and {_HEAD!r} differs from "
                f"{_EMBEDDING!r}; set it to false in config.json if the head is meant to be used"
            )
        tensors[_HEAD] = tensors[_EMBEDDING]
    return tensors
