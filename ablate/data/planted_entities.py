"""The entities of the planted world, and which of their attributes its text and captions state."""

from dataclasses import dataclass
from itertools import cycle, islice

from ablate.data.planted_draws import Draws
from ablate.data.planted_text import ASKED, ATTRIBUTES, COLOUR, PICTURE_ATTRIBUTES, make_names
from ablate.recipe.schema import PlantedConfig

PICTURE_WEIGHTS = {COLOUR: 9, "shape": 1, "pattern": 1, "place": 1}
"""In a world of pictures alone: how often captions and facts state each attribute, relative to one
another. With several modalities only the asked attributes are stated, all equally often."""


@dataclass(frozen=True)
class Entity:
    """A named thing; ``values`` gives one value word for each attribute that the world's media show."""

    key: str
    name: str
    held_out: bool
    """Whether its attributes appear in no text. It is so for every modality or for none."""
    values: dict[str, str]


def modalities_of(config: PlantedConfig) -> tuple[str, ...]:
    """The world's modalities, in an order that does not depend on the config's."""
    return tuple(modality for modality in ASKED if modality in config.modalities)


def pictures_alone(config: PlantedConfig) -> bool:
    """Whether the world has one modality, image; its files have names without a modality then."""
    return modalities_of(config) == ("image",)


def attributes_of(config: PlantedConfig) -> tuple[str, ...]:
    """Every attribute that some medium of the world shows."""
    shown = (
        PICTURE_ATTRIBUTES if modality == "image" else (ASKED[modality],)
        for modality in modalities_of(config)
    )
    return tuple(attribute for own in shown for attribute in own)


def stated_in_text(config: PlantedConfig) -> dict[str, int]:
    """The attributes that facts state, with their weights."""
    if pictures_alone(config):
        return PICTURE_WEIGHTS
    return {ASKED[modality]: 1 for modality in modalities_of(config)}


def stated_in_captions(config: PlantedConfig, modality: str) -> dict[str, int]:
    """The attributes that captions of ``modality`` state, with their weights."""
    return PICTURE_WEIGHTS if pictures_alone(config) else {ASKED[modality]: 1}


def make_entities(config: PlantedConfig) -> list[Entity]:
    """The entities in order of their keys. Names, attributes and which are held out are independent, and
    every attribute is balanced over the held-out entities and over the others (asked ones exactly)."""
    names = make_names(config.entities, Draws(config.world_seed, "planted/names"))
    order = Draws(config.world_seed, "planted/held_out").shuffled(range(config.entities))
    held_out = set(order[: config.held_out])
    values: dict[int, dict[str, str]] = {index: {} for index in order}
    for attribute in attributes_of(config):
        draws = Draws(config.world_seed, f"planted/attribute/{attribute}")
        for group in (order[: config.held_out], order[config.held_out :]):
            dealt = draws.shuffled(islice(cycle(ATTRIBUTES[attribute]), len(group)))
            for index, word in zip(group, dealt, strict=True):
                values[index][attribute] = word
    return [
        Entity(key=f"e{index:04d}", name=names[index], held_out=index in held_out, values=values[index])
        for index in range(config.entities)
    ]
