"""What a trained model writes after a prompt."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from ablate.data.checkpoint import read_checkpoint
from ablate.data.tokenizer import TextTokenizer, load_tokenizer
from ablate.model.pretrained import load_pretrained
from ablate.model.transformer import Transformer
from ablate.study.run import TextOnly
from ablate.study.trained import find_run, load_run
from ablate.tasks.errors import TaskError
from ablate.tasks.sampling import Sampling, fit_prompt, sample

USUAL_TOKENS = 64

_READ_AT_MOST = 8192
"""Positions a folder's model is built for: rotary tables of a hundred thousand are seldom meant."""


@dataclass(frozen=True)
class Continuation:
    """The text after a prompt."""

    text: str
    """As the tokenizer gives it: it may hold control characters."""
    notes: list[str] = field(default_factory=list)
    """What was cut, and why the text ended early."""


def continuation(where: Path, store: Path, prompt: str, most: int | None, how: Sampling) -> Continuation:
    """At most ``most`` tokens after ``prompt``, by the model of a Hugging Face folder, a record or a run.

    Without ``most`` they are `USUAL_TOKENS`, or half of the context where that is less.

    A prompt that leaves no room in the model's context loses its beginning, and a note says so.

    Raises:
        DataError: the folder is no model that this can read.
        StoreError: there is no such run, or its model is not its record's.
        TaskError: the prompt is no text, or ``most`` tokens fill the context.
    """
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TaskError(f"the prompt is not UTF-8 at character {error.start}") from error
    backbone, tokenizer = _model(where, store)
    if most is None:
        most = min(USUAL_TOKENS, max(1, backbone.context_length // 2))
    ids = [tokenizer.bos, *tokenizer.encode([prompt])[0]]
    ids, cut = fit_prompt(ids, backbone.context_length, most)
    made = sample(TextOnly(backbone), tokenizer, ids, most, how)
    notes = []
    if cut:
        notes.append(
            f"the first {cut} of {len(ids) - 1 + cut} tokens of the prompt were cut: the model's context of "
            f"{backbone.context_length} holds {len(ids) - 1} beside BOS and {most} new ones"
        )
    if len(made) < most:
        notes.append(f"the model ended the text after {len(made)} tokens")
    return Continuation(_text(tokenizer, ids, made), notes)


def _model(where: Path, store: Path) -> tuple[Transformer, TextTokenizer]:
    if where.is_file() or (where / "record.json").is_file() or where.suffix == ".json":
        return load_run(find_run(where, store))
    model = read_checkpoint(where).model
    length = min(model.context_length, _READ_AT_MOST)
    backbone = load_pretrained(where, dataclasses.replace(model, context_length=length))
    tokenizer = load_tokenizer(where)
    if tokenizer.vocabulary > backbone.vocabulary:
        raise TaskError(
            f"{where}: the tokenizer has ids up to {tokenizer.vocabulary - 1}, but the embedding has "
            f"{backbone.vocabulary} rows (vocab_size): they do not belong together"
        )
    return backbone, tokenizer


def _text(tokenizer: TextTokenizer, prompt: list[int], made: list[int]) -> str:
    """The text of ``made``, decoded after ``prompt``: some tokenizers drop the space a text begins with."""
    before, whole = tokenizer.decode(prompt), tokenizer.decode([*prompt, *made])
    return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(made)
