"""A checkpoint as lm-evaluation-harness sees it: its `TemplateLM` over a plain causal model and a tokenizer.

What is asked is made by lm-eval's own code (`lm_eval/api/model.py`, ``TemplateLM``); what is answered is what
its `hf` model (`lm_eval/models/huggingface.py`) answers for the exported folder of the same checkpoint, whose
tokenizer puts BOS before every text: a text too long for the context is cut from the left with its BOS, and a
rolling likelihood scores that BOS too. Importing this module imports lm-eval.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor

from ablate.tasks.base import LogitModel
from ablate.tasks.decoding import DecodingTokenizer, Prompt, before_stop, generate_batch
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import Request, Scored, greedy_log_likelihoods, in_order, token_log_likelihoods

LONGEST_ANSWER = 256
"""Tokens to generate where a task does not say, as in lm-eval's `hf`."""

Pair = tuple[str, str]
"""Context and continuation."""


@dataclass(frozen=True)
class Generation:
    """How a task wants its answers generated."""

    most: int
    """Most tokens."""
    stop: tuple[str, ...]

    @classmethod
    def of(cls, settings: dict[str, Any], most: int = 0) -> "Generation":
        """The generation that lm-eval's `generation_kwargs` ask for.

        Args:
            most: most tokens, in the place of the task's own number; 0 leaves that.

        Raises:
            TaskError: the answers are to be drawn at random.
        """
        wanted = normalize_gen_kwargs(settings, LONGEST_ANSWER)
        if wanted.get("do_sample"):
            raise TaskError(
                "it draws its answers at random (do_sample, or a temperature above 0), and a score has to be "
                "the same every time; only greedy decoding is offered"
            )
        return cls(most or wanted["max_gen_toks"], tuple(text for text in wanted["until"] if text))


@dataclass(frozen=True)
class Rolled:
    """A whole text, scored."""

    log_likelihood: float
    """In nats."""
    tokens: int
    """Tokens that were scored, BOS among them."""
    opening: float
    """The part of the log-likelihood that is BOS's own, after BOS."""


@dataclass
class Truncations:
    """How many texts were cut from the left."""

    asked: int = 0
    cut: int = 0


@dataclass
class HarnessModel(TemplateLM):
    """Answers lm-eval's requests from a `LogitModel`.

    Requests keep what lm-eval does not: the number of tokens of each continuation, and what ties make of its
    greedy answer.
    """

    model: LogitModel
    text_tokenizer: DecodingTokenizer
    batch_rows: int
    most_tokens: int = 0
    """Most tokens to generate; 0 leaves the task's own number."""
    scored: dict[Pair, Scored] = field(default_factory=dict)
    tokens: dict[Pair, int] = field(default_factory=dict)
    """Tokens of each continuation."""
    rolled: dict[str, Rolled] = field(default_factory=dict)
    """Text to its rolling likelihood."""
    truncations: Truncations = field(default_factory=Truncations)
    encoded: dict[str, list[int]] = field(default_factory=dict)
    """Tokens of texts that were encoded together, which is faster than one by one."""

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def eot_token_id(self) -> int:
        return self.text_tokenizer.eos

    @property
    def prefix_token_id(self) -> int:
        return self.text_tokenizer.bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids, with BOS before them unless ``add_special_tokens`` is false."""
        tokens = self.encoded.get(string)
        if tokens is None:
            tokens = self.text_tokenizer.encode([string])[0]
        return tokens if add_special_tokens is False else [self.prefix_token_id, *tokens]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log p(continuation | context) in nats, whether greedy decoding writes it) of each request."""
        pairs = [request.args for request in requests]
        texts = list(dict.fromkeys(text for pair in pairs for text in (pair[0].rstrip(), pair[0] + pair[1])))
        self.encoded = dict(zip(texts, self.text_tokenizer.encode(texts), strict=True))
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self.encoded = {}
        return found

    def _loglikelihood_tokens(
        self, requests: list[tuple[Pair, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked = [self._fitted(context, tokens, pair[1]) for pair, context, tokens in requests]
        answers = self._scores(asked)
        for (pair, _context, tokens), answer in zip(requests, answers, strict=True):
            self.scored[pair] = answer
            self.tokens[pair] = len(tokens)
        return [(answer.log_likelihood, answer.greedy == 1.0) for answer in answers]

    def _scores(self, requests: Sequence[Request]) -> list[Scored]:
        return greedy_log_likelihoods(self.model, requests, self.text_tokenizer.pad, self.batch_rows)

    def _token_scores(self, requests: Sequence[Request]) -> list[list[float]]:
        return token_log_likelihoods(self.model, requests, self.text_tokenizer.pad, self.batch_rows)

    def _continuations(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return generate_batch(self.model, self.text_tokenizer, prompts, self.batch_rows)

    def _fitted(self, context: list[int], continuation: list[int], source: str) -> Request:
        """What lm-eval's `hf` reads of a pair: its last tokens, BOS or not."""
        self.truncations.asked += 1
        room = self.model.context_length + 1
        refuse_unscorable(continuation, self.model.context_length, source)
        if len(context) + len(continuation) > room:
            self.truncations.cut += 1
            context = (context + continuation)[-room:][: -len(continuation)]
        return Request(context, continuation, source[:60])

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood in nats of each whole text, in disjoint windows as long as the context."""
        texts = list(dict.fromkeys(str(request.args[0]) for request in requests))
        windows = [
            (text, Request(context, continuation, text[:60]))
            for text in texts
            for context, continuation in map(make_disjoint_window, self._windows(text))
        ]
        found: dict[str, list[float]] = {text: [] for text in texts}
        for (text, _), own in zip(windows, self._token_scores([one for _, one in windows]), strict=True):
            found[text] += own
        self.rolled |= {text: Rolled(in_order(own), len(own), own[0]) for text, own in found.items()}
        return [self.rolled[str(request.args[0])].log_likelihood for request in requests]

    def _windows(self, text: str) -> Any:
        return get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.model.context_length,
            context_len=1,
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy continuation of each context, up to the first stop text."""
        prompts = []
        for request in requests:
            context, settings = request.args[:2]
            wanted = Generation.of(settings, self.most_tokens)
            room = answer_room(self.model.context_length, wanted.most)
            tokens = self.tok_encode(context)
            self.truncations.asked += 1
            self.truncations.cut += len(tokens) > room
            prompts.append(Prompt(tokens[-room:], wanted.most, wanted.stop, context[-60:]))
        made = self._continuations(prompts)
        return [
            before_stop(self.text_tokenizer.decode(tokens), prompt.stop)
            for tokens, prompt in zip(made, prompts, strict=True)
        ]


def refuse_unscorable(continuation: Sequence[int], context_length: int, source: str) -> None:
    """Refuse a continuation that lm-eval could not score.

    Raises:
        TaskError: it has no token, or more than the context.
    """
    if not continuation:
        raise TaskError(
            f"{source!r:.80}: nothing is left to score; the tokenizer merges the answer into its context"
        )
    if len(continuation) > context_length:
        raise TaskError(
            f"{source!r:.80}: {len(continuation)} tokens to score do not fit the model's context of "
            f"{context_length}; shorten the text or train with a longer model.context_length"
        )


def answer_room(context_length: int, most: int) -> int:
    """Tokens that a prompt may have where ``most`` tokens are to follow it.

    Raises:
        TaskError: none.
    """
    if most >= context_length:
        raise TaskError(
            f"answers of up to {most} tokens leave no room for a prompt in a context of {context_length}; "
            "set max_tokens to fewer, or train with a longer model.context_length"
        )
    return context_length - most


@dataclass(frozen=True)
class _Shapes:
    """What a model can read, without a model."""

    context_length: int
    vocabulary: int = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError("a rehearsal asks no model")


class Rehearsal(HarnessModel):
    """Makes every request as `HarnessModel` does and refuses what it would refuse, without a model."""

    def __init__(self, tokenizer: DecodingTokenizer, context_length: int, most_tokens: int) -> None:
        super().__init__(_Shapes(context_length), tokenizer, 1, most_tokens)

    def _scores(self, requests: Sequence[Request]) -> list[Scored]:
        return [Scored(0.0, 0.0)] * len(requests)

    def _token_scores(self, requests: Sequence[Request]) -> list[list[float]]:
        return [[0.0] * len(request.continuation) for request in requests]

    def _continuations(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return [[] for _ in prompts]


class Unasked(LM):
    """Answers everything alike, without a model: shows what a task makes of answers before any training."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return [(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        return [-1.0] * len(requests)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return ["a"] * len(requests)
