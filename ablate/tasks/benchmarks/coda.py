"""CoDa, the Color Dataset (Paik et al. 2021, EMNLP): what colours do people see in 521 common objects?

`paths` names both files of the source: objects (`object_pl`, `areis_pl`) and annotations (counts of eleven
colours by one worker each). As the source does, only annotations with `included` true are used, each is
divided by its sum, and an object's distribution is their mean; the source's further step, dropping workers
whose Kendall correlation with the mean is negative, is not taken. Annotations of classes without an object
are left out, as there, and counted. The sentence is the first of the source's templates.

The right choice is the most frequent colour. Where several are equally frequent it is the first of them in
`COLOURS`, as in the source (`argmax` over the same order); a note counts these objects.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import Any, ClassVar

from ablate.tasks.base import MetricInfo
from ablate.tasks.benchmarks.prior import PMI, PriorTask
from ablate.tasks.choice_items import Choice, ChoiceItem, checked
from ablate.tasks.choice_scores import preferences
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line, read_json_lines
from ablate.tasks.likelihood import tied

COLOURS = ("black", "blue", "brown", "gray", "green", "orange", "pink", "purple", "red", "white", "yellow")


class Coda(PriorTask):
    """Does the model give things the colours that people give them?"""

    kind = "coda"
    version = 2
    metrics: ClassVar[dict[str, MetricInfo]] = {
        **ChoiceTask.metrics,
        **PMI,
        "spearman": MetricInfo(
            True,
            "rank correlation",
            "Spearman's, between an object's colours as people and as the model order them; 0 if either has "
            "no order",
        ),
        "jensen_shannon": MetricInfo(
            False,
            "bits",
            "Jensen-Shannon divergence of the model's distribution over the colours from people's; at most 1",
        ),
    }
    prompt = '"Most {object_pl} {areis_pl}" + " {colour}."'
    source = "github.com/nala-cub/coda, folder projects/coda/data/coda: annotations.jsonl and objects.jsonl"
    chance_level = (
        "1/11; spearman: 0; jensen_shannon: that of the uniform distribution; bits_per_byte: "
        "log2(vocabulary) bits a token"
    )

    def __init__(self, name: str, config: Any, cache: Path) -> None:
        self._apart: dict[tuple[str, ...], int] = {}
        super().__init__(name, config, cache)

    def item(self, line: Line) -> ChoiceItem:
        """An object's item, before `read` gives it what people said."""
        context = f"Most {line.filled('object_pl')} {line.one_of('areis_pl', ('are', 'is'))}"
        return ChoiceItem(
            id=line.filled("class_id"),
            where=line.where,
            choices=tuple(Choice(context, f" {colour}.", colour) for colour in COLOURS),
            label=0,
        )

    def read(self, paths: Sequence[str], cache: Path) -> list[ChoiceItem]:
        """All objects of ``paths`` with their distributions of colours.

        Raises:
            TaskError: there are no objects, one occurs twice or has no annotation, or a line is refused.
        """
        objects: dict[str, ChoiceItem] = {}
        said: dict[str, list[list[float]]] = {}
        for line in read_json_lines(paths, cache):
            if "object_pl" not in line.row:
                if (counts := annotation(line)) is not None:
                    said.setdefault(line.filled("class_id"), []).append(counts)
                continue
            item = self.item(line)
            if item.id in objects:
                raise TaskError(
                    f"{line.where}: id {item.id!r} occurs twice, first at {objects[item.id].where}"
                )
            objects[item.id] = item
        if not objects or not said:
            raise TaskError(
                f"task {self.name!r}: {len(objects)} objects and annotations of {len(said)}; paths has to "
                "name both files, objects and annotations"
            )
        self._apart[tuple(paths)] = len(said.keys() - objects.keys())
        return [checked(_with_shares(item, said.get(item.id, []))) for item in objects.values()]

    def neutral(self, item: ChoiceItem) -> str:
        return "Most things are"

    def levels(self, item: ChoiceItem) -> dict[str, float]:
        uniform = [1 / len(COLOURS)] * len(COLOURS)
        known = {"spearman": 0.0, "jensen_shannon": jensen_shannon(item.shares, uniform)}
        return super().levels(item) | known

    def values(
        self, item: ChoiceItem, log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int
    ) -> dict[str, float]:
        """As `ChoiceTask.values`, and how the whole distribution compares."""
        sums = preferences(log_likelihoods, tokens, vocabulary)
        weights = [math.exp(value - max(sums)) for value in sums]
        total = fsum(weights)
        return super().values(item, log_likelihoods, tokens, vocabulary) | {
            "spearman": spearman(item.shares, sums),
            "jensen_shannon": jensen_shannon(item.shares, [weight / total for weight in weights]),
        }

    def _notes(self, cut: int, requests: int, context_length: int) -> list[str]:
        notes = super()._notes(cut, requests, context_length)
        if several := sum(len(_most_frequent(item.shares)) > 1 for item in self.items):
            notes.append(
                f"{self.name}: {several} of {len(self.items)} objects have several most frequent colours; "
                "the first in alphabetical order counts as right"
            )
        notes.append(self._alike())
        if apart := self._apart[tuple(self.config.paths)]:
            notes.append(f"{self.name}: annotations of {apart} classes that are none of the objects left out")
        return notes

    def _alike(self) -> str:
        """What is worth to know how common colours are and nothing of the objects."""
        shares = [item.shares for item in self.items]
        mean = [fsum(column) / len(shares) for column in zip(*shares, strict=True)]
        ranked = fsum(spearman(one, mean) for one in shares) / len(shares)
        apart = fsum(jensen_shannon(one, mean) for one in shares) / len(shares)
        return (
            f"{self.name}: giving every object the mean of these {len(shares)} objects' distributions would "
            f"score spearman {ranked:.3f}, jensen_shannon {apart:.3f}"
        )


def annotation(line: Line) -> list[float] | None:
    """Share of each of `COLOURS` that one worker gave; None if the source does not include the annotation.

    Raises:
        TaskError: a count is missing, negative or no number, or all are 0.
    """
    included = line.value("included")
    if not isinstance(included, bool):
        raise TaskError(f"{line.where}: included is {included!r:.60}, not true or false")
    if not included:
        return None
    counts = [line.value(colour) for colour in COLOURS]
    for colour, count in zip(COLOURS, counts, strict=True):
        if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count < math.inf:
            raise TaskError(f"{line.where}: {colour} is {count!r:.60}; a count is a number, 0 or more")
    total = fsum(counts)
    if not total:
        raise TaskError(f"{line.where}: all counts are 0; an annotation that is included says something")
    return [count / total for count in counts]


def _with_shares(item: ChoiceItem, said: Sequence[Sequence[float]]) -> ChoiceItem:
    if not said:
        raise TaskError(
            f"{item.where}: no annotation of {item.id!r} is included; name the annotations in paths"
        )
    # fsum is exact: the order of the annotations moves nothing.
    shares = tuple(fsum(column) / len(said) for column in zip(*said, strict=True))
    return replace(item, shares=shares, label=_most_frequent(shares)[0])


def _most_frequent(shares: Sequence[float]) -> list[int]:
    """Indices of the largest of ``shares``."""
    return [index for index, share in enumerate(shares) if math.isclose(share, max(shares), rel_tol=1e-9)]


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's correlation of average ranks (Spearman 1904); 0 where either side is all one value."""
    first, second = ranks(left), ranks(right)
    middle = (len(first) + 1) / 2
    products = [(a - middle) * (b - middle) for a, b in zip(first, second, strict=True)]
    squares = fsum((a - middle) ** 2 for a in first) * fsum((b - middle) ** 2 for b in second)
    return fsum(products) / math.sqrt(squares) if squares else 0.0


def ranks(values: Sequence[float]) -> list[float]:
    """Rank of each value from 1, the smallest; values equal but for rounding (see `tied`) share theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    start = 0
    for stop in range(1, len(order) + 1):
        if stop < len(order) and tied(values[order[stop - 1]], values[order[stop]]):
            continue
        for place in order[start:stop]:
            found[place] = (start + 1 + stop) / 2
        start = stop
    return found


def jensen_shannon(left: Sequence[float], right: Sequence[float]) -> float:
    """Jensen-Shannon divergence in bits (Lin 1991) of two distributions: 0 for equal ones, at most 1."""
    mean = [(a + b) / 2 for a, b in zip(left, right, strict=True)]
    terms = [
        share * math.log2(share / middle)
        for side in (left, right)
        for share, middle in zip(side, mean, strict=True)
        if share
    ]
    return fsum(terms) / 2
