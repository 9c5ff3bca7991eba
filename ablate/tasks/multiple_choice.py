"""Multiple choice by log-probability.

Prompt form: the question, one space, the choice. Context and continuation are parted as
lm-evaluation-harness does (`lm_eval/api/model.py`, ``_encode_pair``): white space at the end of the question
goes to the continuation, the whole is tokenised in one piece, and the continuation is the tokens of the whole
that come after as many as the context alone has. BOS stands before the context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, fsum
from pathlib import Path

import pandas as pd

from ablate.tasks.base import (
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    check_limits,
    check_subset,
    digest_of,
    endpoint_names,
    evenly_spaced,
    length_notes,
    mean_scores,
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
    group_scores,
    item_groups,
    read_word_lists,
)


@dataclass(frozen=True)
class MultipleChoiceConfig:
    """Questions with choices, one of them right."""

    paths: list[str]
    """JSON Lines files or globs (.jsonl, .jsonl.gz, .jsonl.zst)."""
    question_field: str = "question"
    """Key of the question, or of whatever text stands before the choices."""
    choices_field: str = "choices"
    """Key of the list of choices."""
    label_field: str = "label"
    """Key of the right choice's index, from 0."""
    subset_field: str = ""
    """Key of the subset that an item is also averaged in. Empty: no subsets."""
    id_field: str = ""
    """Key of the item's id. Empty: file and line number."""
    limit: int = 0
    """Items to keep, evenly spaced over all files. 0 keeps all."""

    words: dict[str, str] = field(default_factory=dict)
    """Name to a list of words, a file with one word a line or `builtin:function`. `metric.<name>` scores the
    items whose question holds words of that list alone, `metric.both` those with words of several lists,
    `metric.neither` those with none."""

    def __post_init__(self) -> None:
        check_limits(limit=self.limit)
        check_words(self.words)


@dataclass(frozen=True)
class Question:
    """One item."""

    id: str
    where: str
    """File and line, for messages."""
    subset: str
    question: str
    choices: list[str]
    label: int
    """Index of the right choice, from 0."""


class MultipleChoice(Task):
    """Which of several continuations of a question does the model find likeliest?"""

    Config = MultipleChoiceConfig
    kind = "multiple_choice"
    version = 1
    metrics = {  # noqa: RUF012
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
    }

    word_groups = (BOTH, NEITHER)
    """Endpoints `metric.<group>` beside those of the lists themselves."""

    def __init__(self, name: str, config: MultipleChoiceConfig, cache: Path) -> None:
        self.name = name
        self.config = config
        self.lists = read_word_lists(name, config.words)
        self.questions = _read_questions(name, config, cache)
        self.groups = item_groups(name, self.lists, [item.question for item in self.questions])
        level = fsum(1 / len(item.choices) for item in self.questions) / len(self.questions)
        self.chance = dict.fromkeys(self.metrics, level)

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text): the question with each of its choices."""
        for item in self.questions:
            for choice in item.choices:
                yield f"{self.name}/{item.id}", f"{item.question} {choice}".strip()

    @property
    def digest(self) -> str:
        settings = digest_settings(asdict(self.config), self.lists)
        del settings["paths"]
        # An id made of file name and line is no part of what is asked.
        items = [
            [item.id if self.config.id_field else "", item.subset, item.question, item.choices, item.label]
            for item in self.questions
        ]
        return digest_of([self.kind, self.version, settings, items])

    def endpoints(self) -> list[str]:
        subsets = [item.subset for item in self.questions]
        groups = group_metrics(self.metrics, self.groups)
        return [*endpoint_names(self.name, self.metrics, subsets), *endpoint_names(self.name, groups, [])]

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse a choice that alone exceeds the context, or that the tokenizer merges into the question;
        see `Task.check`. A question that is too long is no fault: it is cut and counted."""
        truncate_contexts(self._requests(tokenizer), context_length)

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every item; see `Task.score`."""
        requests, cut = truncate_contexts(self._requests(tokenizer), model.context_length)
        found = continuation_log_likelihoods(model, requests, tokenizer.pad, batch_rows)
        values: dict[str, list[float]] = {metric: [] for metric in self.metrics}
        counts = []
        start = 0
        for item in self.questions:
            stop = start + len(item.choices)
            tokens = [len(request.continuation) for request in requests[start:stop]]
            for metric, value in score_choices(item, found[start:stop], tokens, model.vocabulary).items():
                values[metric].append(value)
            counts.append(tokens)
            start = stop
        subsets, ids = [item.subset for item in self.questions], [item.id for item in self.questions]
        chance = {metric: [1 / len(item.choices) for item in self.questions] for metric in self.metrics}
        scores, frame = mean_scores(self.name, self.metrics, subsets, ids, values, chance)
        if self.groups:
            of_groups = group_scores(self.name, self.metrics, self.groups, subsets, ids, values, chance)
            scores |= of_groups[0]
            frame = pd.concat([frame, *of_groups[1]], ignore_index=True)
        notes = []
        if cut:
            notes.append(
                f"{self.name}: {cut} of {len(requests)} contexts cut from the left to fit "
                f"{model.context_length} positions"
            )
        notes += length_notes(self.name, counts, [item.label for item in self.questions])
        return TaskResult(scores, frame, notes)

    def _requests(self, tokenizer: Tokenizer) -> list[Request]:
        """One request per choice, in the items' order."""
        contexts, wholes = [], []
        for item in self.questions:
            context = item.question.rstrip()
            contexts.append(context)
            wholes += [f"{item.question} {choice}" for choice in item.choices]
        encoded = tokenizer.encode([*contexts, *wholes])
        heads = [
            tokens if text else [] for text, tokens in zip(contexts, encoded[: len(contexts)], strict=True)
        ]
        tails = iter(encoded[len(contexts) :])
        requests = []
        for item, head in zip(self.questions, heads, strict=True):
            for choice in item.choices:
                continuation = next(tails)[len(head) :]
                if not continuation:
                    raise TaskError(
                        f"{item.where}: the tokenizer merges choice {choice!r} into the question, so "
                        "nothing is left to score; end the question at a word"
                    )
                requests.append(Request([tokenizer.bos, *head], continuation, item.where))
        return requests


def score_choices(
    item: Question, log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int
) -> dict[str, float]:
    """Metric to the value of one item.

    Args:
        log_likelihoods: summed log-probability of each choice, in nats.
        tokens: number of tokens of each choice.
    """
    sums = list(log_likelihoods)
    if is_uniform(sums, tokens, vocabulary):
        sums = [0.0] * len(sums)
    per_byte = [value / len(choice.encode("utf-8")) for value, choice in zip(sums, item.choices, strict=True)]
    top = max(sums)
    weights = [exp(value - top) for value in sums]
    return {
        "accuracy": share_of_top(sums, item.label),
        "accuracy_per_byte": share_of_top(per_byte, item.label),
        "probability": weights[item.label] / fsum(weights),
    }


def share_of_top(values: Sequence[float], label: int) -> float:
    """1/k where ``label`` is one of k alternatives tied at the top, else 0."""
    top = max(values)
    at_top = [tied(value, top) for value in values]
    return 1 / sum(at_top) if at_top[label] else 0.0


def _read_questions(name: str, config: MultipleChoiceConfig, cache: Path) -> list[Question]:
    found: list[Question] = []
    seen: dict[str, str] = {}
    for line in read_json_lines(config.paths, cache):
        item = _question(line, config)
        if item.id in seen:
            raise TaskError(f"{line.where}: id {item.id!r} occurs twice, first at {seen[item.id]}")
        seen[item.id] = line.where
        found.append(item)
    if not found:
        found_in = ", ".join(config.paths) or "paths is empty"
        raise TaskError(f"task {name!r} has no items: {found_in}; add items or leave the task out")
    return [found[index] for index in evenly_spaced(len(found), config.limit)]


def _question(line: Line, config: MultipleChoiceConfig) -> Question:
    question = line.text(config.question_field)
    choices = line.value(config.choices_field)
    if not isinstance(choices, list) or len(choices) < 2:
        raise TaskError(
            f"{line.where}: {config.choices_field} is not a list of two or more texts: {choices!r:.60}"
        )
    for index, choice in enumerate(choices):
        if not line.as_text(choice, f"{config.choices_field}[{index}]").strip():
            raise TaskError(f"{line.where}: {config.choices_field}[{index}] is empty")
    label = line.value(config.label_field)
    if isinstance(label, bool) or not isinstance(label, int):
        raise TaskError(
            f"{line.where}: {config.label_field} is {label!r:.60}; it is the right choice's index, from 0"
        )
    if not 0 <= label < len(choices):
        raise TaskError(
            f"{line.where}: {config.label_field} is {label}, but there are {len(choices)} choices "
            f"(0 to {len(choices) - 1})"
        )
    subset = ""
    if config.subset_field:
        subset = line.text(config.subset_field)
        check_subset(subset, line.where)
    return Question(line.identifier(config.id_field), line.where, subset, question, choices, label)
