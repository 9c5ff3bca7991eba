"""Fine-tuning a copy of a backbone to tell classes apart, in fp32, the same every time on one CPU.

Adam with bias correction and no weight decay, a learning rate that rises over the first tenth of the steps
and falls to zero over the rest, gradients clipped to norm 1: what Mosbach et al. (2021, "On the Stability of
Fine-tuning BERT") found stable. There is no dropout. What is random, the order of the items and the head's
initial weights, follows from the fine-tuning seed by digest; torch's global generators are not drawn from.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.tasks.base import TrainableBackbone
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import BUCKET, Request, full_precision

WARM_UP = 0.1
CLIP_NORM = 1.0
HEAD_STD = 0.02
"""Standard deviation of a head's initial weights, as of BERT's; its bias begins at zero."""


@dataclass(frozen=True)
class FineTuning:
    """How to train."""

    epochs: int
    batch_rows: int
    learning_rate: float
    """Peak, of the backbone."""
    head_learning_rate: float
    """Peak, of the linear head."""


@dataclass(frozen=True)
class Row:
    """One text as the backbone reads it."""

    tokens: list[int]
    """Begins with BOS, fits the context."""
    label: int
    """Index of its class."""
    key: str
    """What its place in the order of training follows from: its content."""
    where: str
    """File and line, for messages."""


class DivergedError(Exception):
    """The loss or a weight is no longer a finite number, after at least one step."""


def visiting_order(seed: int, epoch: int, keys: Sequence[str]) -> list[int]:
    """Places of ``keys`` in the order of one epoch: sorted by a digest of (seed, epoch, key), so that the
    order they come in changes nothing."""
    return sorted(range(len(keys)), key=lambda place: _digest(seed, f"order/{epoch}/{keys[place]}"))


def new_head(width: int, classes: int, seed: int) -> nn.Linear:
    """A linear head float[classes, width] with a bias, on the CPU, drawn from ``seed`` alone."""
    # `skip_init`, because nn.Linear draws its first weights from torch's global generator.
    head: nn.Linear = nn.utils.skip_init(nn.Linear, width, classes)  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(int.from_bytes(_digest(seed, "init/head"), "big") >> 1)
    with torch.no_grad():
        head.weight.normal_(0.0, HEAD_STD, generator=generator)
        head.bias.zero_()
    return head


def last_states(backbone: TrainableBackbone, rows: Sequence[Row], pad: int, batch_rows: int) -> Tensor:
    """Final hidden state at the last token of each row: float32[rows, width], without gradients.

    Raises:
        TaskError: a state is not finite.
    """
    by_length = sorted(range(len(rows)), key=lambda place: -len(rows[place].tokens))
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    with torch.no_grad(), full_precision():
        for members in _batches(by_length, batch_rows):
            states = _last_states(backbone, [rows[place] for place in members], pad)
            for place, state in zip(members, states, strict=True):
                found[place] = state
    stacked = torch.stack(found)
    finite = torch.isfinite(stacked).all(dim=1).tolist()
    if not all(finite):
        raise TaskError(
            f"{rows[finite.index(False)].where}: the model's hidden state is not finite; it has diverged, "
            "and nothing is scored"
        )
    return stacked


def train_probe(
    states: Tensor, rows: Sequence[Row], classes: int, seed: int, settings: FineTuning
) -> nn.Linear:
    """A linear head on fixed ``states`` float32[rows, width] of ``rows``.

    Raises:
        DivergedError: after a step, the loss or a weight is not finite.
    """
    head = new_head(states.shape[1], classes, seed).to(states.device)
    labels = torch.tensor([row.label for row in rows], device=states.device)

    def loss_of(members: list[int]) -> Tensor:
        return F.cross_entropy(head(states[members]), labels[members])

    groups = [(list(head.parameters()), settings.head_learning_rate)]
    _train(groups, loss_of, [row.key for row in rows], seed, settings)
    return head


def train_with_head(
    backbone: TrainableBackbone,
    rows: Sequence[Row],
    classes: int,
    pad: int,
    seed: int,
    settings: FineTuning,
) -> nn.Linear:
    """A linear head on the last token's final hidden state, trained together with ``backbone``.

    Raises:
        DivergedError: after a step, the loss or a weight is not finite.
        TaskError: the loss is not finite before the first step.
    """
    with torch.no_grad():
        probe = _last_states(backbone, rows[:1], pad)
    head = new_head(probe.shape[1], classes, seed).to(probe.device)

    def loss_of(members: list[int]) -> Tensor:
        batch = [rows[place] for place in members]
        labels = torch.tensor([row.label for row in batch], device=probe.device)
        return F.cross_entropy(head(_last_states(backbone, batch, pad)), labels)

    groups = [
        (list(backbone.parameters()), settings.learning_rate),
        (list(head.parameters()), settings.head_learning_rate),
    ]
    _train(groups, loss_of, [row.key for row in rows], seed, settings)
    return head


def train_verbalised(
    backbone: TrainableBackbone,
    requests: Sequence[Request],
    keys: Sequence[str],
    pad: int,
    seed: int,
    settings: FineTuning,
) -> None:
    """Train ``backbone`` to write the continuation of each request: -log p(continuation | context), summed
    over its tokens, averaged over the items of a batch.

    Args:
        keys: content of each item, see `Row.key`.

    Raises:
        DivergedError: after a step, the loss or a weight is not finite.
        TaskError: the loss is not finite before the first step.
    """

    def loss_of(members: list[int]) -> Tensor:
        batch = [requests[place] for place in members]
        read = [[*one.context, *one.continuation[:-1]] for one in batch]
        states = backbone.hidden(_rows(read, pad, backbone.context_length))
        flat = [
            (row, len(one.context) - 1 + offset)
            for row, one in enumerate(batch)
            for offset in range(len(one.continuation))
        ]
        row, column = torch.tensor(flat, device=states.device).T
        logits = backbone.logits(states[row, column])
        targets = torch.tensor([token for one in batch for token in one.continuation], device=logits.device)
        return F.cross_entropy(logits, targets, reduction="sum") / len(batch)

    _train([(list(backbone.parameters()), settings.learning_rate)], loss_of, keys, seed, settings)


def _train(
    groups: Sequence[tuple[list[nn.Parameter], float]],
    loss_of: Callable[[list[int]], Tensor],
    keys: Sequence[str],
    seed: int,
    settings: FineTuning,
) -> None:
    """Minimise ``loss_of`` the items at some places, over the weights of ``groups`` (weights, peak rate)."""
    weights = [weight for group, _ in groups for weight in group]
    optimiser = torch.optim.Adam([{"params": group, "lr": rate} for group, rate in groups])
    steps = settings.epochs * math.ceil(len(keys) / settings.batch_rows)
    with torch.enable_grad(), full_precision():
        for step, members in enumerate(_visits(keys, seed, settings)):
            share = learning_rate_share(step, steps)
            for held, (_, rate) in zip(optimiser.param_groups, groups, strict=True):
                held["lr"] = rate * share
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(members)
            if not math.isfinite(loss.item()):
                _stop(step, steps, loss.item())
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, CLIP_NORM)
            optimiser.step()
    if not all(bool(torch.isfinite(weight).all()) for weight in weights):
        raise DivergedError(f"a weight is not a finite number after step {steps} of {steps}")


def _stop(step: int, steps: int, loss: float) -> None:
    if not step:
        raise TaskError(
            f"fine-tuning begins with a loss of {loss}; the model has diverged, and nothing is scored"
        )
    raise DivergedError(f"the loss is {loss} at step {step + 1} of {steps}")


def learning_rate_share(step: int, steps: int) -> float:
    """Learning rate of ``step`` (from 0) over its peak: up to 1 in the first tenth, then down in a line."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return (steps - step) / (steps - rising + 1)


def _visits(keys: Sequence[str], seed: int, settings: FineTuning) -> Iterator[list[int]]:
    for epoch in range(settings.epochs):
        yield from _batches(visiting_order(seed, epoch, keys), settings.batch_rows)


def _batches(places: Sequence[int], batch_rows: int) -> Iterator[list[int]]:
    for start in range(0, len(places), batch_rows):
        yield list(places[start : start + batch_rows])


def _last_states(backbone: TrainableBackbone, rows: Sequence[Row], pad: int) -> Tensor:
    """Final hidden state float32[rows, width] at the last token of each row of one batch."""
    states = backbone.hidden(_rows([row.tokens for row in rows], pad, backbone.context_length))
    last = torch.tensor([len(row.tokens) - 1 for row in rows], device=states.device)
    return states[torch.arange(len(rows), device=states.device), last]


def _rows(tokens: Sequence[Sequence[int]], pad: int, context_length: int) -> Tensor:
    """``tokens`` as int64[rows, length], filled up on the right."""
    longest = max(map(len, tokens))
    width = min(-(-longest // BUCKET) * BUCKET, context_length)
    filled = torch.full((len(tokens), width), pad, dtype=torch.int64)
    for row, own in enumerate(tokens):
        filled[row, : len(own)] = torch.tensor(own)
    return filled


def _digest(seed: int, name: str) -> bytes:
    """Eight bytes that follow from (seed, name), as `ablate.seeding.stream_seed`'s do."""
    text = f"{seed}\x1ffine_tune/{name}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
