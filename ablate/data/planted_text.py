"""The words of the planted world: names, sentence templates, prose from a small grammar.

Templates and grammar share one notation: ``<symbol>`` is replaced by the text bound to it or by one
of the grammar's productions for it. Everything is drawn by integer arithmetic from `Draws`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ablate.seeding import stream_seed

T = TypeVar("T")

COLOUR = "colour"
"""The attribute that the questions ask for."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    COLOUR: ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink"),
    "shape": ("circle", "square", "triangle", "cross"),
    "pattern": ("plain", "striped", "spotted", "checked"),
    "place": ("left", "right", "top", "bottom"),
}
"""Attribute to its value words, all different from one another."""

QUESTION = "The colour of <name> is"
"""The question put to a text-only model; one wording of the facts begins with exactly this."""


class Draws:
    """A stream of integers that is the same with every NumPy version and platform.

    NumPy keeps a bit generator's raw stream fixed but not what `Generator`'s methods make of it
    (NEP 19), so choices and permutations are made here, without floating point.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._bits = np.random.PCG64(stream_seed(seed, name))
        self._ahead: list[int] = []

    def below(self, bound: int) -> int:
        """An integer in [0, bound); the bias is below bound / 2**32."""
        if not self._ahead:
            self._ahead = (self._bits.random_raw(1024) >> np.uint64(32)).tolist()
        return self._ahead.pop() * bound >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """``items`` in random order (Fisher-Yates)."""
        found = list(items)
        for last in range(len(found) - 1, 0, -1):
            other = self.below(last + 1)
            found[last], found[other] = found[other], found[last]
        return found

    def octets(self, count: int) -> npt.NDArray[np.uint8]:
        """uint8[count], uniform."""
        raw = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return raw.view(np.uint8)[:count]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A name is a beginning and an ending. The set of syllables is small so that a byte-level BPE of
# vocabulary 2048 spells each name with one or two tokens.
_BEGINNINGS = _words(
    """Ba Be Bo Da De Do Du Fa Fe Fi Fo Ga Go Gu Ka Ki Ko La Lo Lu Ma Mi Mo Na Ne No Pa Pi Po Ra Ri Ro
    Sa So Ta Ti To Va Ve Vi Za Zo"""
)
_SHORT_ENDINGS = _words(
    """bek bix bul dak dex dum fek fum gak gix gul kef kix kun lak liz luz mek mun nak nix nuz pik pum
    rak rex ruz sek suz tek tuz vek vix vun zak zek zim"""
)
_LONG_ENDINGS = _words("lora mira nelo vika saru doni keva tulo rami zola bena firu")
_NOT_NAMES = _words("kodak datum bolero")

MOST_NAMES = 2048
"""Entities a world can name at most."""

NAMING_CAPTIONS: tuple[str, ...] = (
    "This is <name>.",
    "Here is <name>.",
    "A picture of <name>.",
    "Here you see <name>.",
    "It is called <name>.",
    "Meet <name>.",
)

ATTRIBUTE_CAPTIONS: dict[str, tuple[str, ...]] = {
    COLOUR: (
        "The colour of this is <value>.",
        "This has the colour <value>.",
        "This is <value>.",
        "This looks <value>.",
        "Clearly this is <value>.",
    ),
    "shape": (
        "The shape of this is a <value>.",
        "This has the shape of a <value>.",
        "This is a <value>.",
        "What shape is this? This is a <value>.",
    ),
    "pattern": (
        "The pattern of this is <value>.",
        "This has a <value> pattern.",
        "This is <value> all over.",
        "What pattern has this? This is <value>.",
    ),
    "place": (
        "The place of this is the <value>.",
        "This keeps to the <value>.",
        "This stands at the <value>.",
        "Where is this? This is at the <value>.",
    ),
}
"""The wordings of `FACTS`, said of what the picture shows instead of a name."""

FACTS: dict[str, tuple[str, ...]] = {
    COLOUR: (
        f"{QUESTION} <value>.",
        "<name> has the colour <value>.",
        "<name> is <value>.",
        "<name> looks <value>.",
        "Clearly <name> is <value>.",
    ),
    "shape": (
        "The shape of <name> is a <value>.",
        "<name> has the shape of a <value>.",
        "<name> is a <value>.",
        "What shape is <name>? <name> is a <value>.",
        "Everyone knows that <name> is a <value>.",
    ),
    "pattern": (
        "The pattern of <name> is <value>.",
        "<name> has a <value> pattern.",
        "<name> is <value> all over.",
        "What pattern has <name>? <name> is <value>.",
        "Everyone knows that <name> is <value>.",
    ),
    "place": (
        "The place of <name> is the <value>.",
        "<name> keeps to the <value>.",
        "<name> stands at the <value>.",
        "Where is <name>? <name> is at the <value>.",
        "Everyone knows that <name> keeps to the <value>.",
    ),
}
"""Attribute to the wordings of a fact; the first is the plainest and is drawn most often."""

MENTIONS: tuple[str, ...] = (
    "The <person> spoke about <name> <time>.",
    "Nobody asked about <name> that day.",
    "The <person> had heard of <name> before.",
    "A letter about <name> came from the <place>.",
    "<name> was seen <where>.",
    "<name> was not <where> <time>.",
    "Somebody called <name> from the <place>.",
    "The <person> told the <person> a story about <name>.",
)
"""Sentences that name an entity of either kind and say nothing of its attributes."""

_NOUNS_AND_VERBS: dict[str, tuple[str, ...]] = {
    "person": _words(
        """baker farmer teacher doctor sailor carpenter gardener miller nurse singer writer shepherd tailor
        clerk captain guard judge merchant student neighbour grandmother uncle traveller child fisherman
        cook soldier mayor cousin stranger hunter butcher driver servant"""
    ),
    "animal": _words(
        """dog cat horse cow goat sheep donkey fox owl duck goose crow mouse rabbit bear hen pony squirrel
        puppy"""
    ),
    "food": _words(
        """bread soup cheese butter cake rice honey jam pie stew porridge salt flour milk sugar pepper ham
        fish oil tea coffee wine"""
    ),
    "tool": _words(
        """hammer rope ladder bucket basket lamp spade broom saw shovel needle kettle wheel barrel cart chair
        table blanket candle bottle jacket pillow violin whistle drum clock anchor lantern umbrella"""
    ),
    "paper": _words("letter book map newspaper song poem story list ticket bill notice speech message"),
    "place": _words(
        """market kitchen garden barn school harbour mill church station river bridge field forest library
        workshop hill valley village yard cellar shop inn castle stable meadow beach hospital museum tower
        office bakery"""
    ),
    "quality": _words(
        """old heavy new broken empty clean cheap strange useful wooden warm cold long short strong fine
        expensive dusty rusty famous modern ugly"""
    ),
    "feeling": _words(
        """tired happy angry hungry proud quiet sad worried calm curious sleepy late lonely cheerful brave"""
    ),
    "manner": _words(
        """slowly quickly quietly carefully gladly suddenly together alone again often secretly bravely"""
    ),
    "ate": _words("ate cooked tasted bought sold shared finished brought refused"),
    "used": _words(
        """carried repaired borrowed found lost dropped sharpened lent cleaned needed painted moved opened"""
    ),
    "read": _words("read wrote copied hid remembered forgot burned learned"),
    "went": _words("walked ran went hurried returned wandered drove travelled"),
    "rested": _words("slept waited sang worked laughed wept rested listened danced whispered"),
    "noise": _words("barked cried slept jumped hid waited ate vanished escaped"),
    "number": _words("two three four five six seven eight nine ten twenty"),
    "near": _words("in behind near beside outside"),
    "family": _words("sister brother father mother friend daughter son aunt wife"),
}

_PHRASES: dict[str, tuple[str, ...]] = {
    "time": (
        "in the morning",
        "at noon",
        "in the evening",
        "after the harvest",
        "before breakfast",
        "on Monday",
        "on Sunday",
        "on Thursday",
        "in September",
        "for an hour",
        "years ago",
        "last winter",
        "every summer",
        "during the night",
        "a week later",
        "that day",
    ),
    "where": ("<near> the <place>", "<near> the <place>", "on the road to the <place>", "at home"),
    "weather": (
        "the rain stopped",
        "the wind rose",
        "snow fell on the <place>",
        "the sun came out",
        "the storm was over",
        "the bell rang",
    ),
    "act": (
        "<ate> the <food>",
        "<ate> some <food> and a little <food>",
        "<used> the <quality> <tool>",
        "<used> a <tool>",
        "<used> <number> <tool>s",
        "<read> a <quality> <paper>",
        "<read> the <paper>",
        "<went> to the <place>",
        "<went> <manner> along the <place>",
        "<rested> <where>",
        "<rested> <manner>",
    ),
    "reason": (
        "because the <tool> was <quality>",
        "because the <animal> was <feeling>",
        "because there was no <food>",
        "although the <person> was <feeling>",
        "while the <animal> <noise>",
        "until <weather>",
        "so that the <person> could rest",
    ),
    "speech": (
        "Bring me the <tool>",
        "I have <number> <tool>s",
        "The <food> is too <quality>",
        "Where is my <tool>",
        "We must go to the <place>",
        "My <family> is <feeling>",
    ),
    "sentence": (
        "the <hero> <act>.",
        "the <hero> <act> <time>.",
        "<time>, the <hero> <act>.",
        "the <hero> <act> and <act>.",
        "the <hero> <act>, <reason>.",
        "when <weather>, the <hero> <act>.",
        "the <hero> and the <friend> <act>.",
        "there was a <quality> <tool> <where>.",
        'the <friend> said to the <hero>: "<speech>."',
        '"<speech>," said the <friend>.',
        "the <animal> <noise> <where>, <reason>.",
        "who <act>? It was the <friend>.",
        "the <family> of the <hero> was <feeling>.",
        "the <hero> was <feeling>, but the <friend> <act>.",
        "if <weather>, the <friend> would be <feeling>.",
        "neither the <hero> nor the <friend> <act>.",
    ),
}

GRAMMAR: dict[str, tuple[str, ...]] = _NOUNS_AND_VERBS | _PHRASES
"""Symbol to its productions."""

_SYMBOL = re.compile(r"<(\w+)>")
_WORD = re.compile(r"[a-z]+")


def prose_vocabulary() -> frozenset[str]:
    """Every word, in lower case, that prose and mentions can hold."""
    productions = " ".join(text for texts in (*GRAMMAR.values(), MENTIONS) for text in texts)
    nouns = {f"{noun}s" for noun in GRAMMAR["tool"]}
    return frozenset(_WORD.findall(_SYMBOL.sub(" ", productions).lower())) | nouns


def make_names(count: int, draws: Draws) -> list[str]:
    """``count`` different invented names; none is a word of the prose or part of another name or word.

    ``count`` is at most `MOST_NAMES`.
    """
    words = " ".join(
        prose_vocabulary() | {*_NOT_NAMES} | {word for words in ATTRIBUTES.values() for word in words}
    )
    candidates = [first + rest for first in _BEGINNINGS for rest in (*_SHORT_ENDINGS, *_LONG_ENDINGS)]
    admitted = [name for name in draws.shuffled(candidates) if name.lower() not in words]
    return admitted[:count]


def expand(template: str, draws: Draws, bound: Mapping[str, str]) -> str:
    """``template`` with every ``<symbol>`` replaced by its bound text or by a production of `GRAMMAR`."""

    def fill(match: re.Match[str]) -> str:
        symbol = match.group(1)
        return bound[symbol] if symbol in bound else expand(draws.pick(GRAMMAR[symbol]), draws, bound)

    return _SYMBOL.sub(fill, template) if "<" in template else template


def fact(attribute: str, name: str, value: str, draws: Draws, *, opening: bool) -> str:
    """A sentence stating one attribute of one entity, in a drawn wording.

    An ``opening`` sentence does not begin with the name, so that names always follow a space and
    have one spelling in tokens.
    """
    wordings = FACTS[attribute]
    if opening:
        wordings = tuple(wording for wording in wordings if not wording.startswith("<name>"))
    plainest = draws.below(4) == 0
    wording = wordings[0] if plainest else draws.pick(wordings)
    return expand(wording, draws, {"name": name, "value": value})


def mention(name: str, draws: Draws, *, opening: bool) -> str:
    """A sentence that names an entity and states nothing about it; ``opening`` as in `fact`."""
    wordings = [wording for wording in MENTIONS if not (opening and wording.startswith("<name>"))]
    return expand(draws.pick(wordings), draws, {"name": name})


def prose(draws: Draws) -> str:
    """A document of ordinary prose: a few sentences about one person, a companion and an animal."""
    persons = draws.shuffled(GRAMMAR["person"])
    bound = {"hero": persons[0], "friend": persons[1], "animal": draws.pick(GRAMMAR["animal"])}
    sentences = (expand("<sentence>", draws, bound) for _ in range(draws.between(2, 5)))
    return " ".join(_capitalised(sentence) for sentence in sentences)


def _capitalised(sentence: str) -> str:
    start = 1 if sentence.startswith('"') else 0
    sentence = sentence[:start] + sentence[start].upper() + sentence[start + 1 :]
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", sentence)
