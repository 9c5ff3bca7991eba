"""The planted world: facts about half of its entities are shown in pictures and stated nowhere.

A picture's caption names the entity or states one attribute, never both, and the text states
attributes of the other entities only. A question about a held-out entity's colour can therefore be
answered from text alone only by what crossed over from the pictures.
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from ablate.data.planted_pictures import Look, encode_png, render
from ablate.data.planted_text import (
    ATTRIBUTE_CAPTIONS,
    ATTRIBUTES,
    COLOUR,
    MOST_NAMES,
    NAMING_CAPTIONS,
    QUESTION,
    Draws,
    expand,
    fact,
    make_names,
    mention,
    prose,
)
from ablate.recipe.schema import PlantedConfig

GENERATOR = 6
"""Raised whenever the same config would give other files; part of the cache key."""

NAMING_SHARE = (1, 2)
"""Share of a picture's captions that name the entity, as a fraction; the others state an attribute. Names
are as many as entities and attribute values are few, so names need most of the captions."""

ATTRIBUTE_WEIGHTS = {COLOUR: 9, "shape": 1, "pattern": 1, "place": 1}
"""How often captions and facts state each attribute, relative to one another."""

PROSE_SHARE = (1, 4)
"""Share of the documents that are ordinary prose; their tokens are about the same share."""

MENTION_SHARE = (1, 50)
"""Share of the documents that mention entities of both kinds without any attribute."""

PROSE_HELD_OUT = 256
"""Documents of held-out prose."""

FEWEST_HELD_OUT = 256
"""Fewest questions that make chance distinguishable from a weak effect."""

SMALLEST_PICTURE = 32
LARGEST_PICTURE = 512

_FEWEST_FACTS, _MOST_FACTS = 3, 7
_ALONE_EVERY = 3
"""Of how many fact documents one states everything about one entity."""


class PlantedError(ValueError):
    """A config that no planted world can be made of; the message names every field at fault."""


@dataclass(frozen=True)
class Entity:
    """A named thing; ``values`` gives one value word per attribute."""

    key: str
    name: str
    held_out: bool
    values: dict[str, str]


def planted_problems(config: PlantedConfig) -> list[str]:
    """What is wrong with ``config``, one sentence a field; empty if a world can be made of it."""
    colours = len(ATTRIBUTES[COLOUR])
    known = config.entities - config.held_out
    problems = []
    if config.held_out < FEWEST_HELD_OUT or config.held_out % colours:
        problems.append(
            f"held_out is {config.held_out}; it must be at least {FEWEST_HELD_OUT} and a multiple of "
            f"{colours}, so that answers are exactly balanced"
        )
    if known < colours or known % colours:
        problems.append(
            f"entities is {config.entities}, which leaves {known} that are not held out; "
            f"that must be a positive multiple of {colours}"
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
    needed = _fewest_documents(max(known, 1))
    if config.documents < needed:
        problems.append(
            f"documents is {config.documents}; stating the colour of {known} entities takes at least {needed}"
        )
    return problems


def write_planted_world(config: PlantedConfig, folder: Path) -> None:
    """Write the planted world of ``config`` into ``folder``: the same bytes on every platform.

    `pictures-000.tar` (KEY.png, KEY.txt, KEY.json with `captions`), `text.jsonl` and
    `prose-heldout.jsonl` (`text`, `domain`), `questions.jsonl` on held-out entities,
    `known-questions.jsonl` on the others, and the truth in `world.json`.

    Raises:
        PlantedError: ``config`` is refused; see `planted_problems`.
    """
    problems = planted_problems(config)
    if problems:
        raise PlantedError("planted: " + "; ".join(problems))
    folder.mkdir(parents=True, exist_ok=True)
    entities = make_entities(config)
    documents = make_documents(config, entities)
    _write_pictures(config, entities, folder / "pictures-000.tar")
    _write_lines(documents, folder / "text.jsonl")
    _write_lines(_held_out_prose(config, documents), folder / "prose-heldout.jsonl")
    _write_lines((question(one) for one in entities if one.held_out), folder / "questions.jsonl")
    _write_lines((question(one) for one in entities if not one.held_out), folder / "known-questions.jsonl")
    truth = {
        "generator": GENERATOR,
        "config": asdict(config),
        "attributes": ATTRIBUTES,
        "entities": [asdict(entity) for entity in entities],
    }
    (folder / "world.json").write_bytes((json.dumps(truth, indent=1) + "\n").encode())


def planted_world(config: PlantedConfig, cache: Path) -> Path:
    """The folder under ``cache`` that holds the planted world of ``config``, made if it is not there.

    The folder appears whole or not at all, and processes that ask at the same time wait for one another.

    Raises:
        PlantedError: ``config`` is refused; see `planted_problems`.
    """
    identity = json.dumps({"generator": GENERATOR, **asdict(config)}, sort_keys=True)
    name = "planted-" + hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()
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


def make_entities(config: PlantedConfig) -> list[Entity]:
    """The entities in order of their keys. Names, attributes and which are held out are independent, and
    every attribute is balanced over the held-out entities and over the others (colours exactly)."""
    names = make_names(config.entities, Draws(config.world_seed, "planted/names"))
    order = Draws(config.world_seed, "planted/held_out").shuffled(range(config.entities))
    held_out = set(order[: config.held_out])
    values: dict[int, dict[str, str]] = {index: {} for index in range(config.entities)}
    for attribute, words in ATTRIBUTES.items():
        draws = Draws(config.world_seed, f"planted/attribute/{attribute}")
        for group in (order[: config.held_out], order[config.held_out :]):
            dealt = draws.shuffled(islice(cycle(words), len(group)))
            for index, word in zip(group, dealt, strict=True):
                values[index][attribute] = word
    return [
        Entity(key=f"e{index:04d}", name=names[index], held_out=index in held_out, values=values[index])
        for index in range(config.entities)
    ]


def make_captions(entity: Entity, count: int, draws: Draws) -> list[str]:
    """``count`` captions of one picture in random order: some name the entity, the others state an
    attribute. Wordings repeat only where there are more captions than wordings."""
    above, below = NAMING_SHARE
    naming = min(count - 1, max(1, (count * above + draws.below(below)) // below))
    captions = [
        expand(wording, draws, {"name": entity.name})
        for wording in islice(cycle(draws.shuffled(NAMING_CAPTIONS)), naming)
    ]
    decks = {attribute: cycle(draws.shuffled(deck)) for attribute, deck in ATTRIBUTE_CAPTIONS.items()}
    urn = [attribute for attribute, weight in ATTRIBUTE_WEIGHTS.items() for _ in range(weight)]
    for _ in range(count - naming):
        attribute = draws.pick(urn)
        captions.append(expand(next(decks[attribute]), draws, {"value": entity.values[attribute]}))
    return draws.shuffled(captions)


def make_documents(config: PlantedConfig, entities: list[Entity]) -> list[dict[str, str]]:
    """The training documents in random order, each `text` and `domain` (`facts`, `mentions`, `prose`).
    The colour of every entity that is not held out is stated."""
    facts, mentions, others = _document_counts(config.documents)
    known = [entity for entity in entities if not entity.held_out]
    fact_draws = Draws(config.world_seed, "planted/facts")
    mention_draws = Draws(config.world_seed, "planted/mentions")
    documents = [
        *({"text": text, "domain": "facts"} for text in _fact_documents(known, facts, fact_draws)),
        *(
            {"text": text, "domain": "mentions"}
            for text in _mention_documents(entities, mentions, mention_draws)
        ),
    ]
    prose_draws = Draws(config.world_seed, "planted/prose")
    documents += distinct_prose(prose_draws, others, set())
    return Draws(config.world_seed, "planted/order").shuffled(documents)


def question(entity: Entity) -> dict[str, Any]:
    """The question on ``entity``'s colour; the choices stand in the same order in every question."""
    colours = list(ATTRIBUTES[COLOUR])
    return {
        "question": QUESTION.replace("<name>", entity.name),
        "choices": colours,
        "label": colours.index(entity.values[COLOUR]),
        "attribute": COLOUR,
        "entity": entity.name,
    }


def _document_counts(documents: int) -> tuple[int, int, int]:
    """How many documents state facts, mention entities, and are prose."""
    others = documents * PROSE_SHARE[0] // PROSE_SHARE[1]
    mentions = documents * MENTION_SHARE[0] // MENTION_SHARE[1]
    return documents - others - mentions, mentions, others


def _fewest_documents(known: int) -> int:
    """Documents that suffice to state every colour even if each were as short as can be."""
    documents = 2
    while True:
        facts, _, _ = _document_counts(documents)
        alone = facts // _ALONE_EVERY
        if (facts - alone) * _FEWEST_FACTS + alone >= known:
            return documents
        documents += 1


def _fact_documents(known: list[Entity], count: int, draws: Draws) -> Iterator[str]:
    """Documents of several facts, of which every third states everything about one entity.

    Facts are dealt from a deck that holds each as often as its attribute weighs. Every entity's colour
    lies on top of the first deck, so that none goes unstated.
    """
    deck = _endless_deck(known, draws)
    for number in range(count):
        alone = (number + 1) % _ALONE_EVERY == 0
        dealt = list(islice(deck, 1 if alone else draws.between(_FEWEST_FACTS, _MOST_FACTS)))
        if alone:
            entity, first = dealt[0]
            dealt += [(entity, attribute) for attribute in draws.shuffled(ATTRIBUTES) if attribute != first]
        yield " ".join(
            fact(attribute, entity.name, entity.values[attribute], draws, opening=place == 0)
            for place, (entity, attribute) in enumerate(dealt)
        )


def _endless_deck(known: list[Entity], draws: Draws) -> Iterator[tuple[Entity, str]]:
    yield from draws.shuffled((entity, COLOUR) for entity in known)
    urn = [attribute for attribute, weight in ATTRIBUTE_WEIGHTS.items() for _ in range(weight)]
    while True:
        yield from draws.shuffled((entity, attribute) for entity in known for attribute in urn)


def _mention_documents(entities: list[Entity], count: int, draws: Draws) -> Iterator[str]:
    turns = cycle(draws.shuffled(entity.name for entity in entities))
    for _ in range(count):
        names = islice(turns, draws.between(2, 4))
        yield " ".join(mention(name, draws, opening=place == 0) for place, name in enumerate(names))


def distinct_prose(draws: Draws, count: int, taken: set[str]) -> list[dict[str, str]]:
    """``count`` documents of prose that are different from one another and from those ``taken``."""
    found: dict[str, None] = {}
    while len(found) < count:
        text = prose(draws)
        if text not in taken:
            found[text] = None
    return [{"text": text, "domain": "prose"} for text in found]


def _held_out_prose(config: PlantedConfig, documents: list[dict[str, str]]) -> list[dict[str, str]]:
    draws = Draws(config.world_seed, "planted/prose_held_out")
    return distinct_prose(draws, PROSE_HELD_OUT, {document["text"] for document in documents})


def _write_lines(lines: Iterable[dict[str, Any]], path: Path) -> None:
    path.write_bytes("".join(json.dumps(line) + "\n" for line in lines).encode())


def _write_pictures(config: PlantedConfig, entities: list[Entity], path: Path) -> None:
    """One tar member after another in the order of keys, with no time, owner or machine in it."""
    digits = len(str(config.images_per_entity - 1))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for entity in entities:
            for number in range(config.images_per_entity):
                key = f"{entity.key}-{number:0{digits}d}"
                pixels = render(
                    Look(**entity.values),
                    config.image_size,
                    Draws(config.world_seed, f"planted/picture/{key}"),
                )
                draws = Draws(config.world_seed, f"planted/captions/{key}")
                captions = make_captions(entity, config.captions_per_image, draws)
                _add(tar, f"{key}.png", encode_png(pixels))
                _add(tar, f"{key}.txt", captions[0].encode())
                _add(tar, f"{key}.json", json.dumps({"captions": captions}).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, mode is 0644
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
