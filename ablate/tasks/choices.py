"""Choices by log-probability: what multiple choice, minimal pairs and every benchmark of choices share.

An item has two or more alternatives, each a context and a continuation; the right one should have the
likeliest continuation. Context and continuation are parted as lm-evaluation-harness does
(`lm_eval/api/model.py`, ``_encode_pair``): white space at the end of the context goes to the continuation,
the whole is tokenised in one piece, and the continuation is the tokens of the whole that come after as many
as the context alone has. BOS stands before the context.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, fsum, log, log2
from pathlib import Path
from typing import Any, ClassVar

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
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line, read_json_lines
from ablate.tasks.likelihood import (
    Request,
    continuation_log_likelihoods,
    is_uniform,
    tied,
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

BITS_PER_BYTE = "bits_per_byte"
SHARES = ("accuracy", "accuracy_per_byte", "probability")
"""Metrics of which a model that knows nothing scores one over the number of choices."""
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


@dataclass(frozen=True)
class Choice:
    """One alternative."""

    context: str
    """What stands before; empty for nothing but BOS."""
    continuation: str
    """What is scored, with the delimiter that opens it."""
    text: str
    """What the choice says, whose UTF-8 bytes its bits and its length are counted in."""


@dataclass(frozen=True)
class ChoiceItem:
    """One item."""

    id: str
    where: str
    """File and line, for messages."""
    choices: tuple[Choice, ...]
    label: int
    """Index of the right choice, from 0."""
    subset: str = ""
    """Part of the task that the item is also averaged in; empty where there are none."""
    cluster: str = ""
    """Items of one cluster are resampled together; empty for a cluster of its own."""
    group: str = ""
    """One of the task's `groups`, in which its metrics are averaged too, as `metric.<group>`."""

    @property
    def question(self) -> str:
        """The text that word lists are looked up in: the common context, or else the right choice."""
        first = self.choices[0].context
        same = all(choice.context == first for choice in self.choices)
        return first if same and first.strip() else self.text(self.label)

    def text(self, index: int) -> str:
        """An alternative as it is read, context and continuation."""
        return (self.choices[index].context + self.choices[index].continuation).strip()

    @property
    def right(self) -> Choice:
        return self.choices[self.label]


class ChoiceTask(Task):
    """Does the model find the right one of several alternatives the likeliest?

    A subclass says how a line of its files becomes an item.
    """

    Config = ChoiceConfig
    metrics: ClassVar[dict[str, MetricInfo]] = {
        "accuracy": MetricInfo(
            True,
            "share of items",
            "the right choice has the largest summed log-probability; a tie of k at the top counts 1/k",
        ),
        "accuracy_per_byte": MetricInfo(
            True, "share of items", "the same, each sum divided by the UTF-8 bytes of its choice"
        ),
        "probability": MetricInfo(
            True, "probability", "softmax over the choices' summed log-probabilities, at the right choice"
        ),
        BITS_PER_BYTE: MetricInfo(
            False, "bits per UTF-8 byte", "negative log2-likelihood of all right choices over their bytes"
        ),
    }
    word_groups = (BOTH, NEITHER)
    """Endpoints `metric.<group>` beside those of the lists themselves."""
    groups: ClassVar[tuple[str, ...]] = ()
    """What an item's `group` may be: endpoints `metric.<group>`."""

    def __init__(self, name: str, config: Any, cache: Path) -> None:
        self.name = name
        self.config = config
        self.lists = read_word_lists(name, config.words)
        items = self.read(config.paths, cache)
        self.items = [items[index] for index in evenly_spaced(len(items), config.limit)]
        self.shots = self._read_shots(cache)
        self.word_group = item_groups(name, self.lists, [item.question for item in self.items])
        level = fsum(1 / len(item.choices) for item in self.items) / len(self.items)
        self.chance = {metric: level for metric in self.metrics if metric in SHARES}

    @abstractmethod
    def item(self, line: Line) -> ChoiceItem:
        """The item of one line.

        Raises:
            TaskError: a field is missing or refused; names file and line.
        """

    def read(self, paths: Sequence[str], cache: Path) -> list[ChoiceItem]:
        """All items of ``paths``.

        Raises:
            TaskError: there are none, one is refused, or an id occurs twice.
        """
        found: list[ChoiceItem] = []
        seen: dict[str, str] = {}
        for line in read_json_lines(paths, cache):
            item = self.item(line)
            if item.id in seen:
                raise TaskError(f"{line.where}: id {item.id!r} occurs twice, first at {seen[item.id]}")
            seen[item.id] = line.where
            found.append(checked(item))
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
        scored = {_content(item): item.where for item in self.items}
        for shot in shots:
            if _content(shot) in scored:
                raise TaskError(
                    f"{shot.where}: this worked example is an item that is scored "
                    f"({scored[_content(shot)]}); take examples from another split"
                )
        return shots

    @property
    def prefix(self) -> str:
        """The worked examples as they stand before every item; empty without any."""
        return "".join(
            shot.right.context + shot.right.continuation + SHOT_SEPARATOR for shot in self.shots
        ).lstrip()

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text): the item with each of its alternatives."""
        for item in self.items:
            for index in range(len(item.choices)):
                yield f"{self.name}/{item.id}", item.text(index)

    @property
    def digest(self) -> str:
        settings = digest_settings(asdict(self.config), self.lists)
        for key in ("paths", "shot_paths"):
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
            ]
            for item in self.items
        ]
        return digest_of([self.kind, self.version, settings, items, self.prefix])

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

    def requests(self, tokenizer: Tokenizer) -> list[Request]:
        """One request per alternative, in the items' order.

        Raises:
            TaskError: the tokenizer merges a choice into its context, so that nothing is left to score.
        """
        prefix = self.prefix
        pairs = [
            (item, prefix + choice.context, choice.continuation)
            for item in self.items
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
        sums, tokens = [], []
        start = 0
        for item in self.items:
            stop = start + len(item.choices)
            sums.append(found[start:stop])
            tokens.append([len(request.continuation) for request in requests[start:stop]])
            start = stop
        scores, frame = self._aggregate(sums, tokens, model.vocabulary)
        notes = self._notes(cut, len(requests), model.context_length)
        notes += length_notes(self.name, tokens, [item.label for item in self.items])
        return TaskResult(scores, frame, notes)

    def _aggregate(
        self, sums: Sequence[Sequence[float]], tokens: Sequence[Sequence[int]], vocabulary: int
    ) -> tuple[dict[str, Score], pd.DataFrame]:
        """Scores over all items, each subset and each group, and the item-level frame."""
        rows = [
            score_choices(item, own, counts, vocabulary)
            for item, own, counts in zip(self.items, sums, tokens, strict=True)
        ]
        right = [item.label for item in self.items]
        bits = [-own[label] / log(2) for own, label in zip(sums, right, strict=True)]
        uniform = [counts[label] * log2(vocabulary) for counts, label in zip(tokens, right, strict=True)]
        parts = [self._part(range(len(rows)), "", rows, bits, uniform)]
        for groups in self._partitions():
            for group in sorted(set(groups) - {""}):
                members = [index for index, own in enumerate(groups) if own == group]
                parts.append(self._part(members, f".{group}", rows, bits, uniform))
        found = {name: score for scores, _ in parts for name, score in scores.items()}
        frame = pd.concat([frame for _, frame in parts], ignore_index=True)
        # Groups are not scored by subset: those would be too many and too small.
        return {name: found[name] for name in self.endpoints()}, frame

    def _part(
        self,
        members: Sequence[int],
        suffix: str,
        rows: Sequence[Mapping[str, float]],
        bits: Sequence[float],
        uniform: Sequence[float],
    ) -> tuple[dict[str, Score], pd.DataFrame]:
        """Every metric over the items ``members``, named with ``suffix``, and their rows at item level."""
        items = [self.items[index] for index in members]
        ids, subsets = [item.id for item in items], [item.subset for item in items]
        clusters = [item.cluster for item in items]
        level = [1 / len(item.choices) for item in items]
        means = {metric: info for metric, info in self.metrics.items() if metric != BITS_PER_BYTE}
        values = {metric + suffix: [rows[index][metric] for index in members] for metric in means}
        infos = {metric + suffix: info for metric, info in means.items()}
        chance = {metric + suffix: level for metric in means if metric in self.chance}
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
        notes = []
        if cut:
            notes.append(
                f"{self.name}: {cut} of {requests} contexts cut from the left to fit {context_length} "
                "positions"
            )
        # BLiMP has some (principle_A_case_2); dropping them would make the task another one.
        if equal := sum(len(set(item.choices)) == 1 for item in self.items):
            notes.append(
                f"{self.name}: {equal} of {len(self.items)} items have equal alternatives, always a tie"
            )
        if self.shots:
            notes.append(f"{self.name}: scored with {len(self.shots)} worked examples before every item")
        return notes


def _content(item: ChoiceItem) -> tuple[tuple[Choice, ...], int]:
    """What is asked, wherever the item stands."""
    return item.choices, item.label


def checked(item: ChoiceItem) -> ChoiceItem:
    """``item``, if it can be scored.

    Raises:
        TaskError: there are fewer than two choices, one is empty, or the label is none of them.
    """
    if len(item.choices) < 2:
        raise TaskError(f"{item.where}: {len(item.choices)} choices; an item has two or more")
    for index, choice in enumerate(item.choices):
        if not choice.continuation.strip() or not choice.text.strip():
            raise TaskError(f"{item.where}: choice {index} is empty")
    if not 0 <= item.label < len(item.choices):
        raise TaskError(
            f"{item.where}: the label is {item.label}, but there are {len(item.choices)} choices "
            f"(0 to {len(item.choices) - 1})"
        )
    return item


def score_choices(
    item: ChoiceItem, log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int
) -> dict[str, float]:
    """Metric to the value of one item, of those that are means over items.

    Args:
        log_likelihoods: summed log-probability of each choice, in nats.
        tokens: number of tokens of each choice.
    """
    sums = list(log_likelihoods)
    if is_uniform(sums, tokens, vocabulary):
        sums = [0.0] * len(sums)
    sizes = [len(choice.text.encode("utf-8")) for choice in item.choices]
    per_byte = [value / size for value, size in zip(sums, sizes, strict=True)]
    top = max(sums)
    weights = [exp(value - top) for value in sums]
    others = [value for index, value in enumerate(log_likelihoods) if index != item.label]
    return {
        "accuracy": share_of_top(sums, item.label),
        "accuracy_per_byte": share_of_top(per_byte, item.label),
        "probability": weights[item.label] / fsum(weights),
        "margin": log_likelihoods[item.label] - max(others),
    }


def share_of_top(values: Sequence[float], label: int) -> float:
    """1/k where ``label`` is one of k alternatives tied at the top, else 0."""
    top = max(values)
    at_top = [tied(value, top) for value in values]
    return 1 / sum(at_top) if at_top[label] else 0.0
