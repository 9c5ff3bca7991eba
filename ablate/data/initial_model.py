"""The model of a study that starts from a checkpoint: the folder's shapes, the recipe's context."""

import dataclasses
from pathlib import Path

from ablate.data.checkpoint import CONFIG_FILE, Checkpoint
from ablate.data.content import content_digest
from ablate.data.errors import DataError
from ablate.data.tokenizer import TextTokenizer
from ablate.recipe.initial import is_stated, stated_shapes
from ablate.recipe.schema import ModelConfig, PretrainedModel, Recipe

_KEYS = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "mlp_width": "intermediate_size",
    "tied": "tie_word_embeddings",
    "rope_theta": "rope_theta",
    "norm_eps": "rms_norm_eps",
}
"""Key of the recipe to that of `config.json`."""


def initial_model(written: ModelConfig, checkpoint: Checkpoint, cache: Path) -> PretrainedModel:
    """The model that ``written`` asks for, with the shapes and the digest of the weights of ``checkpoint``.

    `context_length` is the recipe's; where the recipe leaves it out, its default or
    `max_position_embeddings`, whichever is less.

    Raises:
        DataError: a shape that the recipe states is not the folder's, or the context is longer than the
            positions that the folder states; names both.
    """
    model, config = checkpoint.model, checkpoint.folder / CONFIG_FILE
    for key, value in stated_shapes(written).items():
        own = getattr(model, key)
        if value != own:
            raise DataError(
                f"model.{key} is {_shown(value)}, but {config} has {_KEYS[key]} {_shown(own)}: "
                f"with model.init_from the folder gives the shapes; leave model.{key} out, or set it to null "
                "where a base states it"
            )
    length = written.context_length
    if length > model.context_length:
        if is_stated(written, "context_length"):
            raise DataError(
                f"model.context_length is {length}, but {config} has {model.context_length} positions "
                "(max_position_embeddings, or a shorter sliding_window); take at most that many"
            )
        length = model.context_length
    return dataclasses.replace(
        model,
        context_length=length,
        document_mask=written.document_mask,
        init_from=str(checkpoint.folder.absolute()),
        weights=content_digest(checkpoint.files, cache),
    )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def initial_tokenizer(checkpoint: Checkpoint) -> str:
    """The `tokenizer.json` of the folder.

    Raises:
        DataError: there is none.
    """
    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        raise DataError(
            f"{path}: missing, and tokenizer.path names no other; save the model's tokenizer there "
            "(transformers' fast tokenizers write tokenizer.json), or give its path"
        )
    return str(path)


def refuse_unknown_ids(recipe: Recipe, model: PretrainedModel, tokenizer: TextTokenizer) -> None:
    """Refuse a tokenizer with ids that the embedding lacks; fewer ids are fine, as padded embeddings have.

    Raises:
        DataError: names the tokenizer and the folder.
    """
    if tokenizer.vocabulary > model.vocabulary:
        raise DataError(
            f"{recipe.tokenizer.path}: the tokenizer has ids up to {tokenizer.vocabulary - 1}, but the "
            f"embedding of {model.init_from} has {model.vocabulary} rows (vocab_size); give the tokenizer "
            "that the model was trained with as tokenizer.path"
        )
