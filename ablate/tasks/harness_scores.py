"""From what lm-evaluation-harness logs of every item to scores and item-level rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log, log2
from typing import TYPE_CHECKING, Any

import pandas as pd

from ablate.record import Score
from ablate.tasks.base import MetricInfo, item_frame, mean_scores, ratio_scores
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choice_scores import BITS_PER_BYTE, PAIR_METRICS, score_choices
from ablate.tasks.errors import TaskError
from ablate.tasks.harness_items import NO_LABEL
from ablate.tasks.harness_metrics import GREEDY, MetricRule

if TYPE_CHECKING:
    from ablate.tasks.harness_items import HarnessItem
    from ablate.tasks.harness_model import HarnessModel

LOG_LIKELIHOOD = "log_likelihood"
"""Item-level rows, in nats: of the whole, or with `_0`, `_1` ... of each request of an item."""

Sample = Mapping[str, Any]
"""An item as ``lm_eval.evaluator.evaluate`` logs it."""


@dataclass(frozen=True)
class Measured:
    """An item, where it belongs and what it is measured by."""

    item: "HarnessItem"
    output: str
    """lm-eval's output type of its task."""
    subset: str
    rules: Sequence[MetricRule]

    @property
    def is_choice(self) -> bool:
        """Whether it has one right choice of several."""
        return self.item.label != NO_LABEL

    def metrics(self) -> dict[str, MetricInfo]:
        """Every metric that the item has a part in."""
        found = {rule.endpoint: rule.info for rule in self.rules}
        if self.is_choice:
            found |= PAIR_METRICS
        elif self.is_single:
            # A task may have an accuracy of its own.
            found = {"accuracy": GREEDY, BITS_PER_BYTE: PAIR_METRICS[BITS_PER_BYTE]} | found
        return found

    @property
    def is_single(self) -> bool:
        """Whether one answer is scored, against no other."""
        return self.output == "loglikelihood" and len(self.item.arguments) == 1


@dataclass
class _Column:
    """The items of one metric."""

    items: list[Measured] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    chance: list[float | None] = field(default_factory=list)

    def add(self, item: Measured, value: float, chance: float | None = None) -> None:
        self.items.append(item)
        self.values.append(value)
        self.chance.append(chance)

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Subset and id of each item."""
        return [one.subset for one in self.items], [one.item.id for one in self.items]


@dataclass
class _Bits:
    """The items of bits per byte."""

    items: list[Measured] = field(default_factory=list)
    bits: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    uniform: list[float] = field(default_factory=list)

    def add(self, item: Measured, nats: float, size: float, tokens: int, vocabulary: int) -> None:
        self.items.append(item)
        self.bits.append(-nats / log(2))
        self.sizes.append(size)
        self.uniform.append(tokens * log2(vocabulary))


class HarnessScores:
    """Collects the values of all items of one task."""

    def __init__(self, name: str, asked: "HarnessModel") -> None:
        self.name = name
        self.asked = asked
        self.infos: dict[str, MetricInfo] = {}
        self.columns: dict[str, _Column] = {}
        self.bits = _Bits()
        self.rows: dict[str, _Column] = {}

    def add(self, one: Measured, samples: Mapping[str, Sample]) -> None:
        """Add an item.

        Args:
            samples: filter to what was logged of it.

        Raises:
            TaskError: lm-eval gave no number for a metric.
        """
        self.infos |= one.metrics()
        for rule in one.rules:
            self._add_own(one, rule, samples[rule.filter])
        if one.output in ("multiple_choice", "loglikelihood"):
            self._add_likelihoods(one)
        elif one.output == "loglikelihood_rolling":
            value = self.asked.rolled[one.item.arguments[0][0]].log_likelihood
            self.rows.setdefault(LOG_LIKELIHOOD, _Column()).add(one, value)
        if one.is_choice:
            self._add_choice(one)

    def result(self, endpoints: Sequence[str]) -> tuple[dict[str, Score], pd.DataFrame]:
        """Scores in the order of ``endpoints``, and the item-level frame."""
        found: dict[str, Score] = {}
        frames = []
        for metric, column in self.columns.items():
            subsets, ids = column.names
            known = [level for level in column.chance if level is not None]
            chance = {metric: known} if len(known) == len(column.values) else {}
            part = mean_scores(self.name, self.infos, subsets, ids, {metric: column.values}, chance)
            found |= part[0]
            frames.append(part[1])
        if self.bits.items:
            part = self._ratio()
            found |= part[0]
            frames.append(part[1])
        for metric, column in self.rows.items():
            frames.append(item_frame(self.name, metric, *column.names, column.values))
        return {name: found[name] for name in endpoints}, pd.concat(frames, ignore_index=True)

    def _ratio(self) -> tuple[dict[str, Score], pd.DataFrame]:
        subsets = [one.subset for one in self.bits.items]
        ids = [one.item.id for one in self.bits.items]
        return ratio_scores(
            self.name, BITS_PER_BYTE, subsets, ids, self.bits.bits, self.bits.sizes, self.bits.uniform
        )

    def _add_own(self, one: Measured, rule: MetricRule, sample: Sample) -> None:
        """A metric of lm-eval's own."""
        try:
            value = sample[rule.metric]
            if rule.value is not None:
                self._column(rule.endpoint).add(one, rule.value(value))
                return
            nats, size = float(value[0]), float(value[1])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise TaskError(
                f"task {self.name!r}: {one.item.where}: lm-eval gave no number for {rule.metric} ({error})"
            ) from error
        if rule.metric == "word_perplexity":
            size = float(len(str(one.item.arguments[0][0]).encode("utf-8")))
        rolled = self.asked.rolled[one.item.arguments[0][0]]
        self.bits.add(one, nats, size, rolled.tokens, self.asked.model.vocabulary)

    def _column(self, metric: str) -> _Column:
        return self.columns.setdefault(metric, _Column())

    def _add_likelihoods(self, one: Measured) -> None:
        """Log-likelihood of each request, and what greedy decoding makes of a single one."""
        pairs = [(str(ask[0]), str(ask[1])) for ask in one.item.arguments]
        for index, pair in enumerate(pairs):
            name = LOG_LIKELIHOOD if len(pairs) == 1 else f"{LOG_LIKELIHOOD}_{index}"
            self.rows.setdefault(name, _Column()).add(one, self.asked.scored[pair].log_likelihood)
        if one.is_single:
            answer, tokens = self.asked.scored[pairs[0]], self.asked.tokens[pairs[0]]
            level = float(self.asked.model.vocabulary) ** -tokens
            if "accuracy" not in [rule.endpoint for rule in one.rules]:
                self._column("accuracy").add(one, answer.greedy, level)
            size = len(pairs[0][1].strip().encode("utf-8"))
            self.bits.add(one, answer.log_likelihood, size, tokens, self.asked.model.vocabulary)

    def _add_choice(self, one: Measured) -> None:
        """The metrics of `ablate.tasks.choices`, from the same log-likelihoods."""
        choices = one.item.choices
        pairs = [(str(ask[0]), str(ask[1])) for ask in one.item.arguments[: len(choices)]]
        sums = [self.asked.scored[pair].log_likelihood for pair in pairs]
        tokens = [self.asked.tokens[pair] for pair in pairs]
        # Some tasks open their choices with the space that parts them from the question.
        texts = [Choice(*pair, text.strip()) for pair, text in zip(pairs, choices, strict=True)]
        item = ChoiceItem(one.item.id, one.item.where, tuple(texts), one.item.label)
        vocabulary = self.asked.model.vocabulary
        for metric, value in score_choices(item, sums, tokens, vocabulary).items():
            level = None if metric == "margin" else 1 / len(choices)
            self._column(metric).add(one, value, level)
        size = len(item.right.text.encode("utf-8"))
        self.bits.add(one, sums[item.label], size, tokens[item.label], vocabulary)
