"""The planted world: facts about some of its entities are shown in media and stated nowhere.

The caption of a picture, sound, clip or sensor recording names the entity or states one attribute, never
both, and the text states attributes of the other entities only. A question about a held-out entity can
therefore be answered from text alone only by what crossed over from the media.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.data.planted_documents import fewest_documents, held_out_prose, make_documents
from ablate.data.planted_entities import Entity, attributes_of, make_entities, modalities_of, pictures_alone
from ablate.data.planted_motion import encoder_version
from ablate.data.planted_shards import write_shard
from ablate.data.planted_text import ASKED, ATTRIBUTES, CHOICES, MOST_NAMES, asked
from ablate.recipe.schema import PlantedConfig

GENERATOR = 6
"""Raised whenever the same config would give other files; part of the cache key."""

FEWEST_HELD_OUT = 256
"""Fewest questions that make chance distinguishable from a weak effect."""

SMALLEST_PICTURE = 32
LARGEST_PICTURE = 512


class PlantedError(ValueError):
    """A config that no planted world can be made of; the message names every field at fault."""


def planted_problems(config: PlantedConfig) -> list[str]:
    """What is wrong with ``config``, one sentence a field; empty if a world can be made of it."""
    known = config.entities - config.held_out
    modalities = modalities_of(config)
    problems = []
    if not modalities or len(modalities) < len(config.modalities):
        problems.append(
            f"modalities is {config.modalities}; it must name one or more of {', '.join(ASKED)}, each once"
        )
    if config.held_out < FEWEST_HELD_OUT or config.held_out % CHOICES:
        problems.append(
            f"held_out is {config.held_out}; it must be at least {FEWEST_HELD_OUT} and a multiple of "
            f"{CHOICES}, so that answers are exactly balanced"
        )
    if known < CHOICES or known % CHOICES:
        problems.append(
            f"entities is {config.entities}, which leaves {known} that are not held out; "
            f"that must be a positive multiple of {CHOICES}"
        )
    if config.entities > MOST_NAMES:
        problems.append(f"entities is {config.entities}; there are names for {MOST_NAMES} at most")
    if not SMALLEST_PICTURE <= config.image_size <= LARGEST_PICTURE:
        problems.append(
            f"image_size is {config.image_size}; it must lie between {SMALLEST_PICTURE} and {LARGEST_PICTURE}"
        )
    if config.images_per_entity < 1:
        problems.append(f"images_per_entity is {config.images_per_entity}; it must be at least 1")
    if config.captions_per_image < 2:
        problems.append(
            f"captions_per_image is {config.captions_per_image}; it must be at least 2: one that names, "
            "one that states an attribute"
        )
    needed = fewest_documents(max(known, 1) * max(len(modalities), 1))
    if config.documents < needed:
        stated = " and ".join(ASKED[modality] for modality in modalities) or "attributes"
        problems.append(
            f"documents is {config.documents}; stating the {stated} of {known} entities takes at least "
            f"{needed}"
        )
    return problems


def write_planted_world(config: PlantedConfig, folder: Path) -> None:
    """Write the planted world of ``config`` into ``folder``: the same bytes on every platform, but for the
    clips, which depend on the library that encodes them.

    For each modality a shard of media (`pictures-000.tar`, `sounds-000.tar`, `clips-000.tar`,
    `gestures-000.tar`: the item, KEY.txt, and KEY.json with `captions`), `questions-MODALITY.jsonl` on
    held-out entities and `known-questions-MODALITY.jsonl` on the others; in a world of pictures alone
    `questions.jsonl` and `known-questions.jsonl`. `text.jsonl` and `prose-heldout.jsonl` (`text`,
    `domain`), and the truth in `world.json`.

    Raises:
        PlantedError: ``config`` is refused; see `planted_problems`.
    """
    problems = planted_problems(config)
    if problems:
        raise PlantedError("planted: " + "; ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    entities = make_entities(config)
    documents = make_documents(config, entities)
    for modality in modalities_of(config):
        write_shard(config, modality, entities, folder)
        held_out = [question(entity, modality) for entity in entities if entity.held_out]
        known = [question(entity, modality) for entity in entities if not entity.held_out]
        suffix = "" if pictures_alone(config) else f"-{modality}"
        _write_lines(held_out, folder / f"questions{suffix}.jsonl")
        _write_lines(known, folder / f"known-questions{suffix}.jsonl")
    _write_lines(documents, folder / "text.jsonl")
    _write_lines(held_out_prose(config, documents), folder / "prose-heldout.jsonl")
    (folder / "world.json").write_bytes((json.dumps(_truth(config, entities), indent=1) + "\n").encode())


def planted_world(config: PlantedConfig, cache: Path) -> Path:
    """The folder under ``cache`` that holds the planted world of ``config``, made if it is not there.

    The folder appears whole or not at all, and processes that ask at the same time wait for one another.

    Raises:
        PlantedError: ``config`` is refused; see `planted_problems`.
    """
    identity = {"generator": GENERATOR, **_settings(config)}
    if "video" in config.modalities:
        identity["clips"] = encoder_version()
    digest = hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=12)
    name = "planted-" + digest.hexdigest()
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{name}.lock"):
        if not folder.is_dir():
            partial = cache / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
            try:
                write_planted_world(config, partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def question(entity: Entity, modality: str) -> dict[str, Any]:
    """The question of ``modality`` on ``entity``; the choices stand in the same order in every question."""
    attribute = ASKED[modality]
    choices = list(ATTRIBUTES[attribute])
    return {
        "question": asked(attribute).replace("<name>", entity.name),
        "choices": choices,
        "label": choices.index(entity.values[attribute]),
        "attribute": attribute,
        "entity": entity.name,
    }


def _settings(config: PlantedConfig) -> dict[str, Any]:
    """The fields of ``config``. A world of pictures alone is older than the choice of modalities, and
    keeps its bytes and its place in the cache."""
    fields = asdict(config)
    if pictures_alone(config):
        del fields["modalities"]
    return fields


def _truth(config: PlantedConfig, entities: list[Entity]) -> dict[str, Any]:
    return {
        "generator": GENERATOR,
        "config": _settings(config),
        "attributes": {attribute: ATTRIBUTES[attribute] for attribute in attributes_of(config)},
        "entities": [asdict(entity) for entity in entities],
    }


def _write_lines(lines: Iterable[dict[str, Any]], path: Path) -> None:
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())
