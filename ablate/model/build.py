"""Build the model of one arm and seed, every part from a random stream of its own."""

from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer
from ablate.recipe.schema import Arm, Recipe
from ablate.seeding import seeded_init
from encoders.base import Encoder
from encoders.registry import build_encoder


def build_backbone(recipe: Recipe, vocabulary: int, seed: int) -> Transformer:
    """The backbone of replicate ``seed``: the same weights in every arm."""
    with seeded_init(seed, "init/backbone"):
        return Transformer(recipe.model, vocabulary)


def build_encoders(recipe: Recipe, arm: Arm, seed: int) -> dict[str, Encoder]:
    """An encoder for each media stream of ``arm``, by stream name; none for a `captions_only` control."""
    encoders: dict[str, Encoder] = {}
    for name in arm.mixture:
        if recipe.streams[name].modality == "text" or arm.control == "captions_only":
            continue
        with seeded_init(seed, f"init/encoder/{name}"):
            encoders[name] = build_encoder(recipe.streams[name].encoder, recipe.model.width)
    return encoders


def build_model(recipe: Recipe, arm: Arm, vocabulary: int, seed: int) -> FusedModel:
    """The model of one arm and seed."""
    backbone = build_backbone(recipe, vocabulary, seed)
    encoders = build_encoders(recipe, arm, seed)
    return FusedModel(backbone, encoders, media_loss=arm.media_loss > 0, seed=seed)
