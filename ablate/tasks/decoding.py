"""Greedy decoding: the likeliest token again and again, in fp32, from a plain causal model.

The whole row is run for every new token (the model that tasks see keeps no cache of keys), so a continuation
of n tokens costs n forward passes. It is meant for looking at a checkpoint and for tasks with short answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ablate.tasks.base import LogitModel, Tokenizer
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import BUCKET, check_logits, full_precision


class DecodingTokenizer(Tokenizer, Protocol):
    """A tokenizer that also gives text back."""

    def decode(self, ids: list[int]) -> str:
        """The text of ``ids``, without special tokens."""
        ...


@dataclass(frozen=True)
class Prompt:
    """What is to be continued."""

    tokens: list[int]
    """Begins with BOS."""
    most: int
    """Most tokens to append."""
    stop: tuple[str, ...] = ()
    """Texts that end the continuation."""
    source: str = ""
    """Item, for messages."""


def generate(
    model: LogitModel,
    tokenizer: DecodingTokenizer,
    prompt_ids: Sequence[int],
    most: int,
    stop: Sequence[str] = (),
) -> list[int]:
    """The tokens that greedy decoding appends to ``prompt_ids``.

    Arguments are those of `Prompt`; what ends a continuation, and the errors, `generate_batch` says.
    """
    prompt = Prompt(list(prompt_ids), most, tuple(stop))
    return generate_batch(model, tokenizer, [prompt], batch_rows=1)[0]


def generate_batch(
    model: LogitModel, tokenizer: DecodingTokenizer, prompts: Sequence[Prompt], batch_rows: int
) -> list[list[int]]:
    """The tokens that greedy decoding appends to each prompt.

    A continuation ends after `most` tokens, at the end-of-text token, when the context is full, or once its
    text holds one of `stop`. The end token is not returned; the tokens up to the one that completed a stop
    text are: `before_stop` cuts their text. Equal logits go to the smallest id.

    Args:
        batch_rows: most rows the model is given at once; equal prompts are run once.

    Raises:
        TaskError: a prompt is empty, longer than the context or outside the vocabulary, a stop text is
            empty, or logits are not finite.
    """
    if batch_rows < 1:
        raise TaskError(f"batch_rows is {batch_rows}; it must be at least 1")
    first: dict[tuple[object, ...], _Row] = {}
    rows = []
    for prompt in prompts:
        _check(prompt, model)
        key = (tuple(prompt.tokens), prompt.most, prompt.stop)
        rows.append(first.setdefault(key, _Row(prompt)))
    waiting = sorted(first.values(), key=lambda row: -len(row.prompt.tokens))
    with torch.inference_mode(), full_precision():
        for start in range(0, len(waiting), batch_rows):
            running = [row for row in waiting[start : start + batch_rows] if not row.ended(model, tokenizer)]
            while running:
                _append(model, tokenizer, running)
                running = [row for row in running if not row.ended(model, tokenizer)]
    return [row.made[:] for row in rows]


def before_stop(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first of the ``stop`` texts that it holds."""
    for one in stop:
        text = text.split(one)[0]
    return text


@dataclass
class _Row:
    """A prompt and what was appended to it."""

    prompt: Prompt
    made: list[int] = field(default_factory=list)
    at_end: bool = False

    def ended(self, model: LogitModel, tokenizer: DecodingTokenizer) -> bool:
        if self.at_end or len(self.made) >= self.prompt.most:
            return True
        # The last token of a full context is predicted, not read.
        if len(self.prompt.tokens) + len(self.made) > model.context_length:
            return True
        if not self.made or not self.prompt.stop:
            return False
        text = tokenizer.decode(self.made)
        return any(one in text for one in self.prompt.stop)


def _append(model: LogitModel, tokenizer: DecodingTokenizer, rows: Sequence[_Row]) -> None:
    """One more token for each row."""
    read = [[*row.prompt.tokens, *row.made] for row in rows]
    width = min(-(-max(map(len, read)) // BUCKET) * BUCKET, model.context_length)
    tokens = torch.full((len(rows), width), tokenizer.pad, dtype=torch.int64)
    for place, own in enumerate(read):
        tokens[place, : len(own)] = torch.tensor(own)
    logits: Tensor = model(tokens)
    check_logits(logits, (len(rows), width, model.vocabulary))
    last = logits[torch.arange(len(rows)), torch.tensor([len(own) - 1 for own in read])]
    for row, finite, token in zip(
        rows, last.isfinite().all(-1).tolist(), last.argmax(-1).tolist(), strict=True
    ):
        if not finite:
            raise TaskError(
                f"{row.prompt.source or 'prompt'}: the model's logits are not finite; it has diverged, and "
                "nothing is generated"
            )
        if token == tokenizer.eos:
            row.at_end = True
        else:
            row.made.append(token)


def _check(prompt: Prompt, model: LogitModel) -> None:
    where = prompt.source or "prompt"
    if not prompt.tokens:
        raise TaskError(f"{where}: nothing to continue; begin with BOS")
    if prompt.most < 0:
        raise TaskError(f"{where}: {prompt.most} tokens to append; it is 0 or more")
    if len(prompt.tokens) > model.context_length:
        raise TaskError(
            f"{where}: {len(prompt.tokens)} tokens do not fit the model's context of {model.context_length}; "
            "shorten the prompt"
        )
    if max(prompt.tokens) >= model.vocabulary:
        raise TaskError(
            f"{where}: token {max(prompt.tokens)} is outside the model's vocabulary of {model.vocabulary}; "
            "the tokenizer is not the one the model was trained with"
        )
    if "" in prompt.stop:
        raise TaskError(f"{where}: a stop text is empty; leave it out")
