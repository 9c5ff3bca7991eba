"""Choices by log-probability: what multiple choice, minimal pairs and every benchmark of choices share.

An item has two or more alternatives, each a context and a continuation; the right one should have the
likeliest continuation. Context and continuation are parted as lm-evaluation-harness does
(`lm_eval/api/model.py`, ``_encode_pair``): white space at the end of the context goes to the continuation,
the whole is tokenised in one piece, and the continuation is the tokens of the whole that come after as many
as the context alone has. BOS stands before the context.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum, log, log2
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd

from ablate.record import Score
from ablate.tasks.base import (
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    check_limits,
    digest_of,
    endpoint_names,
    evenly_spaced,
    length_notes,
    mean_scores,
    ratio_scores,
)
from ablate.tasks.choice_items import ChoiceItem, checked
from ablate.tasks.choice_notes import choice_notes
from ablate.tasks.choice_scores import BITS_PER_BYTE, CHOICE_METRICS, SHARES, score_choices
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line, read_json_lines
from ablate.tasks.likelihood import (
    Request,
    continuation_log_likelihoods,
    truncate_contexts,
)
from ablate.tasks.words import (
    BOTH,
    NEITHER,
    check_words,
    digest_settings,
    group_metrics,
    item_groups,
    read_word_lists,
)

_T = TypeVar("_T")

SHOT_SEPARATOR = "\n\n"
"""What stands between worked examples, as in lm-evaluation-harness."""


@dataclass(frozen=True)
class ChoiceConfig:
    """Items with alternatives, from local files."""

    paths: list[str]
    """JSON Lines files or globs (.jsonl, .jsonl.gz, .jsonl.zst) in the source's own fields."""
    limit: int = 0
    """Items to keep, evenly spaced over all files. 0 keeps all."""
    words: dict[str, str] = field(default_factory=dict)
    """Name to a list of words, a file with one word a line or `builtin:function`. `metric.<name>` scores the
    items whose question or acceptable sentence holds words of that list alone, `metric.both` those with words
    of several lists, `metric.neither` those with none."""
    shots: int = 0
    """Worked examples before every item: the first so many of `shot_paths`."""
    shot_paths: list[str] = field(default_factory=list)
    """Files of the examples, in the fields of `paths`, such as the source's training split."""

    def __post_init__(self) -> None:
        check_limits(limit=self.limit, shots=self.shots)
        check_words(self.words)
        if self.shots and not self.shot_paths:
            raise TaskError(f"shots is {self.shots}, and shot_paths names no file of worked examples")
        if self.shot_paths and not self.shots:
            raise TaskError("shot_paths is given, and shots is 0; say how many examples to show")


class ChoiceTask(Task):
    """Does the model find the right one of several alternatives the likeliest?

    A subclass says how a line of its files becomes an item.
    """

    Config = ChoiceConfig
    metrics: ClassVar[dict[str, MetricInfo]] = CHOICE_METRICS
    chance_level = "1 / number of choices; bits_per_byte: log2(vocabulary) bits a token"
    fewest_choices: ClassVar[int] = 2
    """Fewest choices of an item."""
    file_settings: ClassVar[tuple[str, ...]] = ("paths", "shot_paths")
    """Settings that say where files lie: no part of what is asked."""
    word_groups = (BOTH, NEITHER)
    """Endpoints `metric.<group>` beside those of the lists themselves."""
    groups: ClassVar[tuple[str, ...]] = ()
    """What an item's `group` may be: endpoints `metric.<group>`."""
    added: ClassVar[re.Pattern[str] | None] = None
    """Words of a context that are the prompt's and not the source's."""

    def __init__(self, name: str, config: Any, cache: Path) -> None:
        self.name = name
        self.config = config
        if clash := sorted(set(config.words) & set(self.groups)):
            raise TaskError(f"task {name!r}: words: {clash[0]!r} is a group of {self.kind}; rename the list")
        self.lists = read_word_lists(name, config.words)
        items = self.read(config.paths, cache)
        self.items = [items[index] for index in evenly_spaced(len(items), config.limit)]
        self.shots = self._read_shots(cache)
        self.word_group = item_groups(name, self.lists, [self.plain(item.question) for item in self.items])
        levels = [self.levels(item) for item in self.items]
        self.chance = {metric: fsum(level[metric] for level in levels) / len(levels) for metric in levels[0]}

    @abstractmethod
    def item(self, line: Line) -> ChoiceItem:
        """The item of one line.

        Raises:
            TaskError: a field is missing or refused; names file and line.
        """

    def items_of(self, line: Line) -> Sequence[ChoiceItem]:
        """The items of one line, where a source puts several on it; errors are those of `item`."""
        return [self.item(line)]

    def levels(self, item: ChoiceItem) -> dict[str, float]:
        """Metric to the expected value on ``item`` of a model that knows nothing, where it alone fixes it."""
        return dict.fromkeys(SHARES, 1 / len(item.choices))

    def values(
        self, item: ChoiceItem, log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int
    ) -> dict[str, float]:
        """Metric to the value of one item; see `score_choices`."""
        return score_choices(item, log_likelihoods, tokens, vocabulary)

    def read(self, paths: Sequence[str], cache: Path) -> list[ChoiceItem]:
        """All items of ``paths``.

        Raises:
            TaskError: there are none, one is refused, or an id occurs twice.
        """
        found: list[ChoiceItem] = []
        seen: dict[str, str] = {}
        for line in read_json_lines(paths, cache):
            for item in self.items_of(line):
                if item.id in seen:
                    raise TaskError(f"{line.where}: id {item.id!r} occurs twice, first at {seen[item.id]}")
                seen[item.id] = line.where
                found.append(checked(item, self.fewest_choices))
        if not found:
            found_in = ", ".join(paths) or "paths is empty"
            raise TaskError(f"task {self.name!r} has no items: {found_in}; add items or leave the task out")
        return found

    def _read_shots(self, cache: Path) -> list[ChoiceItem]:
        """The worked examples.

        Raises:
            TaskError: there are fewer than asked for, or one is an item that is scored.
        """
        if not self.config.shots:
            return []
        shots = self.read(self.config.shot_paths, cache)[: self.config.shots]
        if len(shots) < self.config.shots:
            raise TaskError(
                f"task {self.name!r}: shots is {self.config.shots}, and shot_paths holds {len(shots)} "
                "examples"
            )
        # Whatever else an item offers: an example that shows its question and right answer gives it away.
        scored = {_words(self.shown(item)): item.where for item in self.items}
        for shot in shots:
            if where := scored.get(_words(self.shown(shot))):
                raise TaskError(
                    f"{shot.where}: this worked example is an item that is scored ({where}); "
                    "take examples from another split"
                )
        return shots

    @property
    def prefix(self) -> str:
        """The worked examples as they stand before every item; empty without any."""
        return "".join(self.shown(shot) + SHOT_SEPARATOR for shot in self.shots)

    def shown(self, item: ChoiceItem) -> str:
        """``item`` as a worked example."""
        return item.right.context + item.right.continuation

    def plain(self, context: str) -> str:
        """``context`` without what the prompt adds."""
        return self.added.sub(" ", context).strip() if self.added else context

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text): the item with each of its alternatives, as it is read and, where the prompt adds
        words, without them: training text that holds a question and its answer need not hold "Answer:"."""
        for item in self.items:
            for index, choice in enumerate(item.choices):
                yield f"{self.name}/{item.id}", item.text(index)
                if (plain := self.plain(choice.context)) != choice.context:
                    yield f"{self.name}/{item.id}", (plain + choice.continuation).strip()

    @property
    def digest(self) -> str:
        settings = digest_settings(asdict(self.config), self.lists)
        for key in self.file_settings:
            del settings[key]
        # An id made of file name and line is no part of what is asked.
        named = bool(getattr(self.config, "id_field", ""))
        items = [
            [
                item.id if named else "",
                item.subset,
                item.group,
                [[choice.context, choice.continuation, choice.text] for choice in item.choices],
                item.label,
                *([list(item.shares)] if item.shares else []),
            ]
            for item in self.items
        ]
        # What is added does not count where word lists are looked up.
        looked_up = [self.added.pattern] if self.added and self.lists else []
        return digest_of([self.kind, self.version, settings, items, self.prefix, *looked_up])

    def _partitions(self) -> Iterator[list[str]]:
        """Group of each item, by the task's own groups and by word lists, where there are any."""
        if any(item.group for item in self.items):
            yield [item.group for item in self.items]  # "" is in none
        if self.word_group:
            yield self.word_group

    def endpoints(self) -> list[str]:
        subsets = [item.subset for item in self.items]
        found = endpoint_names(self.name, self.metrics, subsets)
        for groups in self._partitions():
            named = [group for group in groups if group]
            found += endpoint_names(self.name, group_metrics(self.metrics, named), [])
        return found

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse a choice that alone exceeds the context, or that the tokenizer merges into its context;
        see `Task.check`. A context that is too long is no fault: it is cut and counted."""
        truncate_contexts(self.requests(tokenizer), context_length)

    def requests(self, tokenizer: Tokenizer, items: Sequence[ChoiceItem] | None = None) -> list[Request]:
        """One request per alternative, in the order of ``items``: those that are scored, if left out.

        Raises:
            TaskError: the tokenizer merges a choice into its context, so that nothing is left to score.
        """
        prefix = self.prefix
        pairs = [
            (item, prefix + choice.context, choice.continuation)
            for item in (self.items if items is None else items)
            for choice in item.choices
        ]
        heads = list(dict.fromkeys(context.rstrip() for _, context, _ in pairs))
        encoded = tokenizer.encode([*heads, *(context + continuation for _, context, continuation in pairs)])
        head_of = {text: tokens if text else [] for text, tokens in zip(heads, encoded, strict=False)}
        requests = []
        for (item, context, continuation), whole in zip(pairs, encoded[len(heads) :], strict=True):
            head = head_of[context.rstrip()]
            if len(whole) <= len(head):
                raise TaskError(
                    f"{item.where}: the tokenizer merges choice {continuation.strip()!r} into the question, "
                    "so nothing is left to score; end the question at a word"
                )
            requests.append(Request([tokenizer.bos, *head], whole[len(head) :], item.where))
        return requests

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every item; see `Task.score`."""
        requests, cut = truncate_contexts(self.requests(tokenizer), model.context_length)
        found = continuation_log_likelihoods(model, requests, tokenizer.pad, batch_rows)
        sums = self.by_item(found)
        tokens = self.by_item([len(request.continuation) for request in requests])
        rows = [
            self.values(item, own, counts, model.vocabulary)
            for item, own, counts in zip(self.items, sums, tokens, strict=True)
        ]
        for row, more in zip(rows, self.more_values(model, tokenizer, batch_rows, sums), strict=True):
            row |= more
        levels = [self.levels(item) for item in self.items]
        scores, frame = self._aggregate(rows, levels, sums, tokens, model.vocabulary)
        notes = self._notes(cut, len(requests), model.context_length)
        notes += length_notes(self.name, tokens, [item.label for item in self.items])
        return TaskResult(scores, frame, notes)

    def more_values(
        self,
        model: LogitModel,
        tokenizer: Tokenizer,
        batch_rows: int,
        sums: Sequence[Sequence[float]],
    ) -> Sequence[dict[str, float]]:
        """Metric to value of each item, of metrics that need more of the model than `requests` ask.

        Args:
            sums: log-likelihood in nats of each choice of each item.
        """
        return [{} for _ in self.items]

    def by_item(self, found: Sequence[_T]) -> list[list[_T]]:
        """What was found for each of `requests`, parted by item."""
        rest = iter(found)
        return [[next(rest) for _ in item.choices] for item in self.items]

    def _aggregate(
        self,
        rows: Sequence[Mapping[str, float]],
        levels: Sequence[Mapping[str, float]],
        sums: Sequence[Sequence[float]],
        tokens: Sequence[Sequence[int]],
        vocabulary: int,
    ) -> tuple[dict[str, Score], pd.DataFrame]:
        """Scores over all items, each subset and each group, and the item-level frame.

        Args:
            rows: metric to value of each item, of the metrics that are means over items.
            levels: metric to chance level of each item.
            sums: log-likelihood in nats of each choice of each item.
            tokens: number of tokens of each choice of each item.
        """
        right = [item.label for item in self.items]
        bits = [-own[label] / log(2) for own, label in zip(sums, right, strict=True)]
        uniform = [counts[label] * log2(vocabulary) for counts, label in zip(tokens, right, strict=True)]
        parts = [self._part(range(len(rows)), "", rows, levels, bits, uniform)]
        for groups in self._partitions():
            for group in sorted(set(groups) - {""}):
                members = [index for index, own in enumerate(groups) if own == group]
                parts.append(self._part(members, f".{group}", rows, levels, bits, uniform))
        found = {name: score for scores, _ in parts for name, score in scores.items()}
        frame = pd.concat([frame for _, frame in parts], ignore_index=True)
        # Groups are not scored by subset: those would be too many and too small.
        return {name: found[name] for name in self.endpoints()}, frame

    def _part(
        self,
        members: Sequence[int],
        suffix: str,
        rows: Sequence[Mapping[str, float]],
        levels: Sequence[Mapping[str, float]],
        bits: Sequence[float],
        uniform: Sequence[float],
    ) -> tuple[dict[str, Score], pd.DataFrame]:
        """Every metric over the items ``members``, named with ``suffix``, and their rows at item level."""
        items = [self.items[index] for index in members]
        ids, subsets = [item.id for item in items], [item.subset for item in items]
        clusters = [item.cluster for item in items]
        means = {metric: info for metric, info in self.metrics.items() if metric != BITS_PER_BYTE}
        values = {metric + suffix: [rows[index][metric] for index in members] for metric in means}
        infos = {metric + suffix: info for metric, info in means.items()}
        chance = {metric + suffix: [levels[index][metric] for index in members] for metric in levels[0]}
        scores, frame = mean_scores(self.name, infos, subsets, ids, values, chance, clusters)
        ratio, bits_frame = ratio_scores(
            self.name,
            BITS_PER_BYTE + suffix,
            subsets,
            ids,
            [bits[index] for index in members],
            [float(len(item.right.text.encode("utf-8"))) for item in items],
            [uniform[index] for index in members],
            clusters,
        )
        return scores | ratio, pd.concat([frame, bits_frame], ignore_index=True)

    def _notes(self, cut: int, requests: int, context_length: int) -> list[str]:
        return choice_notes(self.name, self.items, len(self.shots), cut, requests, context_length)


def _words(text: str) -> tuple[str, ...]:
    """``text`` without case and spacing."""
    return tuple(text.casefold().split())
