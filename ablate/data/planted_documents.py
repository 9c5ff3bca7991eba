"""The text of the planted world: facts about the known entities, mentions of all, ordinary prose."""

from collections.abc import Iterator
from itertools import cycle, islice

from ablate.data.planted_draws import Draws
from ablate.data.planted_entities import Entity, modalities_of, stated_in_text
from ablate.data.planted_text import ASKED, fact, mention, prose
from ablate.recipe.schema import PlantedConfig

PROSE_SHARE = (1, 4)
"""Share of the documents that are ordinary prose; their tokens are about the same share."""

MENTION_SHARE = (1, 50)
"""Share of the documents that mention entities of both kinds without any attribute."""

PROSE_HELD_OUT = 256
"""Documents of held-out prose."""

_FEWEST_FACTS, _MOST_FACTS = 3, 7
_ALONE_EVERY = 3


def make_documents(config: PlantedConfig, entities: list[Entity]) -> list[dict[str, str]]:
    """The training documents in random order, each `text` and `domain` (`facts`, `mentions`, `prose`).
    The asked attributes of every entity that is not held out are stated."""
    facts, mentions, others = _document_counts(config.documents)
    known = [entity for entity in entities if not entity.held_out]
    fact_draws = Draws(config.world_seed, "planted/facts")
    mention_draws = Draws(config.world_seed, "planted/mentions")
    documents = [
        *({"text": text, "domain": "facts"} for text in _fact_documents(config, known, facts, fact_draws)),
        *(
            {"text": text, "domain": "mentions"}
            for text in _mention_documents(entities, mentions, mention_draws)
        ),
    ]
    prose_draws = Draws(config.world_seed, "planted/prose")
    documents += distinct_prose(prose_draws, others, set())
    return Draws(config.world_seed, "planted/order").shuffled(documents)


def fewest_documents(facts: int) -> int:
    """Documents that suffice to state ``facts`` different facts, however short each document is."""
    documents = 2
    while True:
        stating, _, _ = _document_counts(documents)
        alone = -(-stating // _ALONE_EVERY)
        if (stating - alone) * _FEWEST_FACTS + alone >= facts:
            return documents
        documents += 1


def _document_counts(documents: int) -> tuple[int, int, int]:
    """How many documents state facts, mention entities, and are prose."""
    others = documents * PROSE_SHARE[0] // PROSE_SHARE[1]
    mentions = documents * MENTION_SHARE[0] // MENTION_SHARE[1]
    return documents - others - mentions, mentions, others


def _fact_documents(config: PlantedConfig, known: list[Entity], count: int, draws: Draws) -> Iterator[str]:
    """Documents of several facts, of which every third states everything about one entity.

    Facts are dealt from a deck that holds each as often as its attribute weighs. The asked attributes of
    every entity lie on top of the first deck, so that none goes unstated.
    """
    weights = stated_in_text(config)
    asked = [ASKED[modality] for modality in modalities_of(config)]
    deck = _endless_deck(known, asked, weights, draws)
    for number in range(count):
        alone = number % _ALONE_EVERY == 2
        dealt = list(islice(deck, 1 if alone else draws.between(_FEWEST_FACTS, _MOST_FACTS)))
        if alone:
            entity, first = dealt[0]
            dealt += [(entity, attribute) for attribute in draws.shuffled(weights) if attribute != first]
        yield " ".join(
            fact(attribute, entity.name, entity.values[attribute], draws, opening=place == 0)
            for place, (entity, attribute) in enumerate(dealt)
        )


def _endless_deck(
    known: list[Entity], asked: list[str], weights: dict[str, int], draws: Draws
) -> Iterator[tuple[Entity, str]]:
    yield from draws.shuffled((entity, attribute) for entity in known for attribute in asked)
    urn = [attribute for attribute, weight in weights.items() for _ in range(weight)]
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


def held_out_prose(config: PlantedConfig, documents: list[dict[str, str]]) -> list[dict[str, str]]:
    """`PROSE_HELD_OUT` documents of prose that are not among ``documents``."""
    draws = Draws(config.world_seed, "planted/prose_held_out")
    return distinct_prose(draws, PROSE_HELD_OUT, {document["text"] for document in documents})
