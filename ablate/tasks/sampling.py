"""Continuations of a prompt: the likeliest token again and again, or tokens drawn with a temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ablate.tasks.base import LogitModel
from ablate.tasks.decoding import DecodingTokenizer, generate
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import full_precision


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen."""

    temperature: float = 0.0
    """What logits are divided by; 0 takes the likeliest token."""
    top_k: int = 0
    """Draw among this many likeliest tokens (Fan et al. 2018), ties at the edge included; 0 means all."""
    seed: int = 0
    """Of the draws: the same seed gives the same continuation on one device."""

    def __post_init__(self) -> None:
        """
        Raises:
            TaskError: a negative number, a temperature that is not finite, or a seed of more than 64 bits.
        """
        if not 0.0 <= self.temperature < float("inf"):
            raise TaskError(f"temperature is {self.temperature:g}; it is 0 or more, and finite")
        for name, value in (("top_k", self.top_k), ("seed", self.seed)):
            if value < 0:
                raise TaskError(f"{name} is {value}; it is 0 or more")
        if self.seed >= 1 << 64:
            raise TaskError(f"seed is {self.seed}; it is below 2^64")


def fit_prompt(prompt: Sequence[int], context_length: int, most: int) -> tuple[list[int], int]:
    """``prompt`` (which begins with BOS) cut to leave room for ``most`` tokens, and how many were cut.

    What is cut follows BOS: the end of a prompt is what a continuation continues. The last token that is
    made is never read, so it takes no position.

    Raises:
        TaskError: ``most`` tokens alone fill the context.
    """
    room = context_length - most + 1
    if room < 1:
        raise TaskError(f"{most} tokens do not fit a context of {context_length}; ask for fewer")
    cut = max(0, len(prompt) - room)
    return [*prompt[:1], *prompt[1 + cut :]], cut


def sample(
    model: LogitModel, tokenizer: DecodingTokenizer, prompt: Sequence[int], most: int, how: Sampling
) -> list[int]:
    """The tokens appended to ``prompt``: at most ``most``, fewer where the end-of-text token comes.

    The state of torch's generators is neither read nor changed.

    Args:
        prompt: token ids; begins with BOS and leaves room, see `fit_prompt`.

    Raises:
        TaskError: the prompt does not fit, or the logits are not finite.
    """
    if how.temperature == 0.0:
        return generate(model, tokenizer, prompt, most)
    draws = torch.Generator().manual_seed(how.seed)
    made: list[int] = []
    with torch.inference_mode(), full_precision():
        while len(made) < most:
            logits = model(torch.tensor([[*prompt, *made]], dtype=torch.int64))[0, -1].double().cpu()
            if not bool(logits.isfinite().all()):
                raise TaskError(
                    "the model's logits are not finite; it has diverged, and nothing is generated"
                )
            # Less the largest first: over a tiny temperature anything above zero would be infinite.
            logits = (logits - logits.max()) / how.temperature
            if how.top_k and how.top_k < len(logits):
                logits[logits < logits.topk(how.top_k).values[-1]] = -torch.inf
            token = int(torch.multinomial(logits.softmax(-1), 1, generator=draws))
            if token == tokenizer.eos:
                break
            made.append(token)
    return made
