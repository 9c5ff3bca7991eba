"""The two ways to get a class out of a backbone: a linear head, or the words of the label.

Each is prepared once with the items as tokens and then gives, for one fine-tuning seed, the log-probability
of every class for every test item.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ablate.tasks.base import Tokenizer, TrainableModel
from ablate.tasks.errors import TaskError
from ablate.tasks.fine_tune_scores import normalised
from ablate.tasks.fine_tune_training import (
    FineTuning,
    Row,
    last_states,
    train_probe,
    train_verbalised,
    train_with_head,
)
from ablate.tasks.likelihood import (
    Request,
    continuation_log_likelihoods,
    full_precision,
    is_uniform,
    truncate_contexts,
)


@dataclass(frozen=True)
class Prompted:
    """One item as the model is to read it."""

    text: str
    label: int
    """Index of its class."""
    key: str
    """What its place in the order of training follows from: its content."""
    where: str
    """File and line, for messages."""


class Learner(ABC):
    """A model and a task's items, ready to be fine-tuned again and again."""

    cut: tuple[int, int]
    """How many training and test items were cut from the left to fit the context."""

    @abstractmethod
    def answers(self, seed: int) -> list[list[float]]:
        """Log-probability of every class, in nats, for each test item, after training with ``seed``.

        Raises:
            DivergedError: after a step, the loss or a weight is not finite.
            TaskError: the model's states are not finite before any training.
        """


class HeadLearner(Learner):
    """A linear head on the final hidden state of the last token."""

    def __init__(
        self,
        model: TrainableModel,
        tokenizer: Tokenizer,
        items: tuple[Sequence[Prompted], Sequence[Prompted]],
        classes: int,
        settings: FineTuning,
        batch_rows: int,
        frozen: bool,
    ) -> None:
        """
        Args:
            items: those to train on and those to score.
            batch_rows: most test items that are read at once.
            frozen: leave the backbone as it is and train the head alone.

        Raises:
            TaskError: an item has no tokens, or one that the model does not know.
        """
        self.model, self.pad, self.batch_rows = model, tokenizer.pad, batch_rows
        self.classes, self.settings = classes, settings
        length = model.context_length
        self.train, cut_train = _left_cut(head_rows(items[0], tokenizer), length)
        self.test, cut_test = _left_cut(head_rows(items[1], tokenizer), length)
        self.cut = (cut_train, cut_test)
        _check_vocabulary([*self.train, *self.test], tokenizer.pad, model.vocabulary)
        self.fixed = None
        if frozen:
            backbone = model.trainable_copy()
            # Read in the task's own batches, so that training does not depend on how the study scores.
            self.fixed = (
                last_states(backbone, self.train, self.pad, settings.batch_rows),
                last_states(backbone, self.test, self.pad, batch_rows),
            )

    def answers(self, seed: int) -> list[list[float]]:
        if self.fixed is not None:
            fixed, states = self.fixed
            head = train_probe(fixed, self.train, self.classes, seed, self.settings)
        else:
            backbone = self.model.trainable_copy()
            head = train_with_head(backbone, self.train, self.classes, self.pad, seed, self.settings)
            states = last_states(backbone, self.test, self.pad, self.batch_rows)
        with torch.no_grad(), full_precision():
            return [normalised(row) for row in head(states).double().tolist()]


class WordLearner(Learner):
    """The label's words as the continuation of the text."""

    def __init__(
        self,
        model: TrainableModel,
        tokenizer: Tokenizer,
        items: tuple[Sequence[Prompted], Sequence[Prompted]],
        words: Sequence[str],
        settings: FineTuning,
        batch_rows: int,
    ) -> None:
        """
        Args:
            items: those to train on and those to score.
            words: what is written for each class.
            batch_rows: most sequences that are scored at once.

        Raises:
            TaskError: see `word_requests`; or words do not fit the context.
        """
        self.model, self.pad, self.batch_rows, self.settings = model, tokenizer.pad, batch_rows, settings
        length = model.context_length
        train, test = (word_requests(part, words, tokenizer) for part in items)
        self.keys = [item.key for item in items[0]]
        right = [own[item.label] for item, own in zip(items[0], train, strict=True)]
        self.train, cut_train = truncate_contexts(right, length)
        self.test = [truncate_contexts(own, length)[0] for own in test]
        self.cut = (cut_train, sum(truncate_contexts(own, length)[1] > 0 for own in test))

    def answers(self, seed: int) -> list[list[float]]:
        backbone = self.model.trainable_copy()
        train_verbalised(backbone, self.train, self.keys, self.pad, seed, self.settings)
        flat = [request for own in self.test for request in own]
        found = iter(continuation_log_likelihoods(backbone, flat, self.pad, self.batch_rows))
        answers = []
        for own in self.test:
            values = [next(found) for _ in own]
            counts = [len(request.continuation) for request in own]
            uniform = is_uniform(values, counts, self.model.vocabulary)
            answers.append(normalised([0.0] * len(own) if uniform else values))
        return answers


def head_rows(items: Sequence[Prompted], tokenizer: Tokenizer) -> list[Row]:
    """BOS and the tokens of each text, uncut.

    Raises:
        TaskError: a text has no tokens.
    """
    rows = []
    for item, tokens in zip(items, tokenizer.encode([item.text for item in items]), strict=True):
        if not tokens:
            raise TaskError(f"{item.where}: the text has no tokens under this tokenizer; remove the item")
        rows.append(Row([tokenizer.bos, *tokens], item.label, item.key, item.where))
    return rows


def word_requests(
    items: Sequence[Prompted], words: Sequence[str], tokenizer: Tokenizer
) -> list[list[Request]]:
    """For each item one request for each class, uncut; text and words are parted as choices are.

    Raises:
        TaskError: the tokenizer merges words into a text, so that nothing is left to score.
    """
    heads = tokenizer.encode([item.text.rstrip() for item in items])
    wholes = iter(tokenizer.encode([f"{item.text} {word}" for item in items for word in words]))
    found = []
    for item, head in zip(items, heads, strict=True):
        own = []
        for word in words:
            continuation = next(wholes)[len(head) :]
            if not continuation:
                raise TaskError(
                    f"{item.where}: the tokenizer merges the words {word!r} into the text, so nothing is "
                    "left to score; end the prompt at a word"
                )
            own.append(Request([tokenizer.bos, *head], continuation, item.where))
        found.append(own)
    return found


def _left_cut(rows: Sequence[Row], context_length: int) -> tuple[list[Row], int]:
    """``rows`` without the tokens after BOS that do not fit, and how many were cut."""
    surplus = [max(0, len(row.tokens) - context_length) for row in rows]
    fitted = [
        replace(row, tokens=[*row.tokens[:1], *row.tokens[1 + lost :]])
        for row, lost in zip(rows, surplus, strict=True)
    ]
    return fitted, sum(lost > 0 for lost in surplus)


def _check_vocabulary(rows: Sequence[Row], pad: int, vocabulary: int) -> None:
    for row in rows:
        top = max(*row.tokens, pad)
        if top >= vocabulary:
            raise TaskError(
                f"{row.where}: token {top} is outside the model's vocabulary of {vocabulary}; the tokenizer "
                "is not the one the model was trained with"
            )
