"""Log-likelihoods of continuations under a causal model, in fp32, whatever the batching.

A `TreeModel` reads requests as trees, common beginnings once (see `ablate.tasks.packing`). Any other model
gets rows, where every sequence is padded on the right to a length that depends on the sequence alone, so that
neither the batch size nor its neighbours change the shape it is computed in, beyond the number of rows.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ablate.tasks.base import LogitModel, TreeModel
from ablate.tasks.errors import TaskError
from ablate.tasks.logits import rows_at_a_time, token_values
from ablate.tasks.packing import PackedRequests, pack

BUCKET = 8
"""Sequences are padded to a multiple of this many positions (at most the context)."""

TIE_TOLERANCE = 1e-6
"""Two log-likelihoods closer than this, relative to the larger, are tied. Rounding in fp32 moves a sum of
token log-probabilities by a few 1e-7 of its size from one batch shape to another; a real difference this
small is a likelihood ratio of 1.0001 at 100 nats, which nobody would call a preference."""


@dataclass(frozen=True)
class Request:
    """Ask for log p(continuation | context)."""

    context: list[int]
    """Begins with BOS."""
    continuation: list[int]
    """At least one token."""
    source: str = ""
    """File and line or item, for messages."""


@dataclass(frozen=True)
class Scored:
    """What a model makes of a continuation."""

    log_likelihood: float
    """log p(continuation | context) in nats."""
    greedy: float
    """Probability that greedy decoding writes the continuation, where ties are broken at random: the product
    over its tokens of 1/k for a token among k tied for the largest logit at its place, 0 for any other. A
    constant model has vocabulary ** -len(continuation)."""


def truncate_contexts(requests: Sequence[Request], context_length: int) -> tuple[list[Request], int]:
    """``requests`` cut to what the model can read, and how many were cut.

    A sequence takes len(context) + len(continuation) - 1 positions: the last token is predicted, not
    read. The context loses tokens after its BOS; the continuation loses none.

    Raises:
        TaskError: a context or continuation is empty, or a continuation alone exceeds the context.
    """
    fitted, cut = [], 0
    for request in requests:
        where = request.source or "request"
        if not request.context or not request.continuation:
            raise TaskError(f"{where}: nothing to condition on or nothing to score after tokenisation")
        if len(request.continuation) > context_length:
            raise TaskError(
                f"{where}: {len(request.continuation)} tokens to score do not fit the model's context of "
                f"{context_length}; shorten the text or train with a longer model.context_length"
            )
        surplus = len(request.context) + len(request.continuation) - 1 - context_length
        if surplus > 0:
            context = request.context[:1] + request.context[1 + surplus :]
            request = Request(context, request.continuation, request.source)
            cut += 1
        fitted.append(request)
    return fitted, cut


def continuation_log_likelihoods(
    model: LogitModel, requests: Sequence[Request], pad: int, batch_rows: int
) -> list[float]:
    """log p(continuation | context) of each request, in nats: the sum of its tokens' log-probabilities.

    Arguments and errors are those of `token_log_likelihoods`.
    """
    return [in_order(values) for values in token_log_likelihoods(model, requests, pad, batch_rows)]


def token_log_likelihoods(
    model: LogitModel, requests: Sequence[Request], pad: int, batch_rows: int
) -> list[list[float]]:
    """log p(token | all before it), in nats, of every token of each request's continuation.

    A context that is too long is cut from the left (see `truncate_contexts`). Equal requests are run once,
    and by a `TreeModel` also what several requests begin with.

    Args:
        pad: token id to fill rows with; a causal model never lets it be seen.
        batch_rows: most rows the model is given at once; a `TreeModel` is given at most as many positions
            as these rows would have.

    Raises:
        TaskError: a continuation does not fit, a token is outside the model's vocabulary, or the logits
            are not float32[n, t, vocabulary] or not finite.
    """
    return [found.log_likelihoods for found in _answers(model, requests, pad, batch_rows, greedy=False)]


def greedy_log_likelihoods(
    model: LogitModel, requests: Sequence[Request], pad: int, batch_rows: int
) -> list[Scored]:
    """Log-likelihood of each request, and whether greedy decoding would write it.

    Arguments and errors are those of `token_log_likelihoods`.
    """
    return [
        Scored(in_order(found.log_likelihoods), math.prod(found.shares))
        for found in _answers(model, requests, pad, batch_rows, greedy=True)
    ]


def tied(left: float, right: float) -> bool:
    """Whether two log-likelihoods are equal but for rounding; see `TIE_TOLERANCE`."""
    return math.isclose(left, right, rel_tol=TIE_TOLERANCE, abs_tol=TIE_TOLERANCE)


def is_uniform(log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int) -> bool:
    """Whether each of some alternatives got exactly the likelihood of a model with constant logits.

    Such a model says nothing but that longer sequences are less likely, so that it would seem to prefer the
    alternative with the fewest tokens. The tasks count such an item as a tie of all its alternatives, which
    makes a model that knows nothing score chance whatever the tokenizer does. A trained model does not
    meet the condition to six digits on every alternative at once.
    """
    log_vocabulary = math.log(vocabulary)
    return all(
        tied(value, -count * log_vocabulary) for value, count in zip(log_likelihoods, tokens, strict=True)
    )


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch autocast and TF32 off for a block: scores are fp32 however the model was trained."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _check_vocabulary(requests: Sequence[Request], pad: int, vocabulary: int) -> None:
    for request in requests:
        top = max(max(request.context), max(request.continuation))
        if max(top, pad) >= vocabulary:
            raise TaskError(
                f"{request.source or 'request'}: token {max(top, pad)} is outside the model's vocabulary of "
                f"{vocabulary}; the tokenizer is not the one the model was trained with"
            )


@dataclass(frozen=True)
class _Answer:
    """What a model says of the tokens of one continuation."""

    log_likelihoods: list[float]
    shares: list[float]
    """1/k where the token is among k tied for the largest logit, else 0; empty if nobody asked."""


def _answers(
    model: LogitModel, requests: Sequence[Request], pad: int, batch_rows: int, *, greedy: bool
) -> list[_Answer]:
    """One answer for each request, in their order; equal requests share theirs."""
    if batch_rows < 1:
        raise TaskError(f"batch_rows is {batch_rows}; it must be at least 1")
    fitted, _ = truncate_contexts(requests, model.context_length)
    _check_vocabulary(fitted, pad, model.vocabulary)
    first: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    representative = [
        first.setdefault((tuple(request.context), tuple(request.continuation)), index)
        for index, request in enumerate(fitted)
    ]
    chosen = sorted(first.values())
    found: dict[int, _Answer] = {}
    with torch.inference_mode(), full_precision():
        if isinstance(model, TreeModel):
            sequences = [(request.context, request.continuation) for request in fitted]
            for packed in pack(sequences, chosen, min(model.tree_nodes, batch_rows * model.context_length)):
                found.update(_score_tree(model, fitted, packed, greedy=greedy))
        else:
            for width, members in _batches(fitted, chosen, model.context_length, batch_rows):
                found.update(_score_batch(model, fitted, members, width, pad, greedy=greedy))
    return [found[index] for index in representative]


def _score_tree(
    model: TreeModel, requests: Sequence[Request], packed: PackedRequests, *, greedy: bool
) -> Iterator[tuple[int, _Answer]]:
    """Index and answer of each request of one tree."""
    states = model.tree_states(packed.tree)
    nodes = packed.nodes.to(states.device)

    def logits(start: int, stop: int) -> Tensor:
        found = model.tree_logits(states[nodes[start:stop]])
        check_logits(found, (stop - start, model.vocabulary))
        return found

    chunk = rows_at_a_time(states.device, model.vocabulary)
    values, shares = token_values(
        logits, len(nodes), chunk, packed.place, packed.target, ties=TIE_TOLERANCE if greedy else None
    )
    answers = packed.answers.tolist()
    values = [values[answer] for answer in answers]
    shares = [shares[answer] for answer in answers] if greedy else []
    members = [requests[index] for index in packed.members]
    return zip(packed.members, _by_request(members, values, shares), strict=True)


def _batches(
    requests: Sequence[Request], chosen: Sequence[int], context_length: int, batch_rows: int
) -> Iterator[tuple[int, list[int]]]:
    """Padded width and request indices of each batch, the widest first: what does not fit fails at once."""
    buckets: dict[int, list[int]] = {}
    for index in chosen:
        length = len(requests[index].context) + len(requests[index].continuation) - 1
        width = min(-(-length // BUCKET) * BUCKET, context_length)
        buckets.setdefault(width, []).append(index)
    for width in sorted(buckets, reverse=True):
        for start in range(0, len(buckets[width]), batch_rows):
            yield width, buckets[width][start : start + batch_rows]


def _score_batch(
    model: LogitModel,
    requests: Sequence[Request],
    chosen: Sequence[int],
    width: int,
    pad: int,
    *,
    greedy: bool,
) -> Iterator[tuple[int, _Answer]]:
    """Index and answer of each request of one batch of rows."""
    members = [requests[index] for index in chosen]
    tokens = torch.full((len(members), width), pad, dtype=torch.int64)
    for row, request in enumerate(members):
        read = [*request.context, *request.continuation[:-1]]
        tokens[row, : len(read)] = torch.tensor(read)
    asked = torch.tensor(
        [
            row * width + len(request.context) - 1 + offset
            for row, request in enumerate(members)
            for offset in range(len(request.continuation))
        ]
    )
    targets = torch.tensor([token for request in members for token in request.continuation])
    logits = model(tokens)
    check_logits(logits, (len(members), width, model.vocabulary))
    flat = logits.reshape(-1, model.vocabulary)

    def rows(start: int, stop: int) -> Tensor:
        return flat[asked[start:stop].to(flat.device)]

    chunk = rows_at_a_time(flat.device, model.vocabulary)
    places = torch.arange(len(asked))
    values, shares = token_values(
        rows, len(asked), chunk, places, targets, ties=TIE_TOLERANCE if greedy else None
    )
    return zip(chosen, _by_request(members, values, shares), strict=True)


def _by_request(
    requests: Sequence[Request], values: Sequence[float], shares: Sequence[float]
) -> Iterator[_Answer]:
    """The values of consecutive tokens, request by request.

    Raises:
        TaskError: one is not finite.
    """
    start = 0
    for request in requests:
        stop = start + len(request.continuation)
        own = list(values[start:stop])
        if not math.isfinite(total := in_order(own)):
            raise TaskError(
                f"{request.source or 'request'}: the model's log-likelihood is {total}; it has diverged, "
                "and nothing is scored"
            )
        yield _Answer(own, list(shares[start:stop]))
        start = stop


def in_order(values: Sequence[float]) -> float:
    """The sum of ``values`` from the first to the last in float64, so the same every time."""
    total = 0.0
    for value in values:
        total += value
    return total


def check_logits(logits: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is not float32 of ``shape``.

    Raises:
        TaskError: naming what was returned.
    """
    if logits.dtype != torch.float32 or tuple(logits.shape) != shape:
        raise TaskError(
            f"the model returned logits {logits.dtype}{list(logits.shape)}; "
            f"tasks are scored in torch.float32{list(shape)}"
        )
