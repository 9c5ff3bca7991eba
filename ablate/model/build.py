"""Build the model of one arm and seed, every part from a random stream of its own."""

from collections.abc import Iterable
from pathlib import Path

from ablate.model.fusion import FusedModel
from ablate.model.pretrained import load_pretrained
from ablate.model.transformer import Transformer
from ablate.recipe.arms import stream_encoders
from ablate.recipe.schema import Arm, PretrainedModel, Recipe, without_media
from ablate.seeding import seeded_init
from encoders.base import Encoder
from encoders.registry import build_encoder


def build_backbone(recipe: Recipe, vocabulary: int, seed: int) -> Transformer:
    """The backbone of replicate ``seed``: the same weights in every arm.

    With `model.init_from` they are the folder's, the same in every replicate too.
    """
    if isinstance(recipe.model, PretrainedModel):
        return load_pretrained(Path(recipe.model.init_from), recipe.model)
    with seeded_init(seed, "init/backbone"):
        return Transformer(recipe.model, vocabulary)


def build_encoders(recipe: Recipe, arm: Arm, seed: int) -> dict[str, Encoder]:
    """An encoder for each modality of each media stream of ``arm``, by the name of `stream_encoders`; none
    for a control that encodes no media."""
    return {} if without_media(arm.control) else build_stream_encoders(recipe, arm.mixture, seed)


def build_stream_encoders(recipe: Recipe, streams: Iterable[str], seed: int) -> dict[str, Encoder]:
    """An encoder for each modality of each media stream in ``streams``, the same whatever the others are."""
    encoders: dict[str, Encoder] = {}
    for stream in streams:
        if recipe.streams[stream].modality == "text":
            continue
        for name, settings in stream_encoders(stream, recipe.streams[stream]).items():
            with seeded_init(seed, f"init/encoder/{name}"):
                encoders[name] = build_encoder(settings, recipe.model.width)
    return encoders


def build_model(recipe: Recipe, arm: Arm, vocabulary: int, seed: int) -> FusedModel:
    """The model of one arm and seed."""
    backbone = build_backbone(recipe, vocabulary, seed)
    encoders = build_encoders(recipe, arm, seed)
    return FusedModel(backbone, encoders, media_loss=arm.media_loss > 0, seed=seed)
