"""What every task offers, and what it asks of a model and a tokenizer."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import pandas as pd
from torch import Tensor, nn

from ablate.record import Score
from ablate.tasks.errors import TaskError
from ablate.tasks.packing import TokenTree

ITEM_COLUMNS = ["task", "subset", "item", "metric", "value"]
"""Columns of item-level scores; `subset` is empty where a task has none."""


class LogitModel(Protocol):
    """A plain causal language model over text: no media, no padding mask, positions from 0."""

    @property
    def context_length(self) -> int:
        """Most positions that one row may have."""
        ...

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        ...

    def __call__(self, tokens: Tensor) -> Tensor:
        """Logits float32[n, t, vocabulary] of the token after each position of ``tokens`` int64[n, t].

        ``tokens`` come on the CPU; the logits may be on any device.
        """
        ...


class TrainableBackbone(LogitModel, Protocol):
    """A copy of a run's backbone whose weights nobody else holds, so that a task may train them."""

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states float32[n, t, width] of ``tokens`` int64[n, t], which come on the CPU."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits float32[..., vocabulary] of final hidden states float32[..., width]."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every weight, each once."""
        ...


@runtime_checkable
class TrainableModel(LogitModel, Protocol):
    """A model that gives its weights away: what fine-tuning asks for."""

    def trainable_copy(self) -> TrainableBackbone:
        """A new copy of the backbone; training it leaves the model as it is."""
        ...


@runtime_checkable
class TreeModel(LogitModel, Protocol):
    """A model that can read a tree of tokens at once; `ablate.tasks.likelihood` then calls it that way."""

    @property
    def tree_nodes(self) -> int:
        """Nodes of a tree that the model computes best."""
        ...

    def tree_states(self, tree: TokenTree) -> Tensor:
        """What `tree_logits` needs of each node: float32[n, width], on any device."""
        ...

    def tree_logits(self, states: Tensor) -> Tensor:
        """Logits float32[m, vocabulary] of the tokens after nodes of ``states`` float32[m, width]."""
        ...


class Tokenizer(Protocol):
    """The study's tokenizer."""

    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def pad(self) -> int: ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens."""
        ...


@dataclass(frozen=True)
class MetricInfo:
    """What a metric means."""

    higher_is_better: bool
    unit: str
    description: str


@dataclass(frozen=True)
class TaskResult:
    """The scores of one task in one run."""

    scores: dict[str, Score]
    """Endpoint (`task/metric` or `task/metric/subset`) to score."""
    items: pd.DataFrame
    """One row per item and metric, with the columns `ITEM_COLUMNS`."""
    notes: list[str] = field(default_factory=list)
    """Disclosures, such as how many contexts were cut."""


class Task(ABC):
    """Held-out items and the metrics they are scored by.

    A subclass has a frozen dataclass ``Config`` and is built as ``Task(name, config, cache)``, which
    reads and checks every item: a task that loads can be scored.
    """

    Config: ClassVar[type]
    """Settings, a frozen dataclass with plain fields."""
    kind: ClassVar[str]
    """Key in `ablate.tasks.registry.TASKS`."""
    version: ClassVar[int]
    """Raised whenever the same items and model would be scored differently."""
    metrics: ClassVar[dict[str, MetricInfo]]
    """Metric to its meaning; the first is the one to report if there is room for one."""
    prompt: ClassVar[str] = ""
    """What the model reads and what is scored, in one line: `"context" + "continuation"`, where braces hold
    the source's fields."""
    source: ClassVar[str] = ""
    """Where to get the data, as text: nothing is fetched."""
    clusters: ClassVar[str] = ""
    """What items that are resampled together have in common; empty where each stands for itself."""
    chance_level: ClassVar[str] = ""
    """What a model that knows nothing scores."""

    name: str
    """What the recipe calls the task."""
    chance: Mapping[str, float]
    """Metric to the expected value of a model that knows nothing, where the items alone fix it."""

    @abstractmethod
    def __init__(self, name: str, config: Any, cache: Path) -> None:
        """Read and check every item.

        Raises:
            TaskError: there are no items, or one is refused.
        """

    @abstractmethod
    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text) of everything held out: what must not occur in the training text."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of kind, version, settings and items, wherever the files lie."""

    @abstractmethod
    def endpoints(self) -> list[str]:
        """Every endpoint that `score` returns, in its order: `task/metric`, `task/metric/subset`."""

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:  # noqa: B027
        """Refuse before training what `score` would refuse after it, without a model.

        Raises:
            TaskError: an item does not fit ``context_length`` positions under ``tokenizer``.
        """

    @abstractmethod
    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every item in fp32.

        Args:
            batch_rows: most sequences that the model is given at once; the scores do not depend on it.

        Raises:
            TaskError: an item does not fit the context, or the model's logits are not finite.
        """


def evenly_spaced(total: int, wanted: int) -> list[int]:
    """``wanted`` of the indices 0 .. ``total`` - 1, in order, as the midpoints of equal stretches.

    0 stands for all, as does a number larger than ``total``.
    """
    if wanted <= 0 or wanted >= total:
        return list(range(total))
    return [(2 * index + 1) * total // (2 * wanted) for index in range(wanted)]


def check_limits(**limits: int) -> None:
    """Refuse a negative limit.

    Raises:
        TaskError: naming the setting.
    """
    for name, value in limits.items():
        if value < 0:
            raise TaskError(f"{name} is {value}; it is a number of items, or 0 for all")


def check_subset(subset: str, where: str) -> None:
    """Refuse a subset that cannot be the last part of an endpoint's name.

    Raises:
        TaskError: naming ``where`` it was found.
    """
    if not subset or "/" in subset:
        raise TaskError(f"{where}: subset {subset!r}: a subset's name is not empty and has no '/'")


def digest_of(content: Any) -> str:
    """Hexadecimal BLAKE2b of ``content`` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def endpoint_name(task: str, metric: str, subset: str = "") -> str:
    """`task/metric`, or `task/metric/subset`."""
    return "/".join(filter(None, (task, metric, subset)))


def subset_members(subsets: Sequence[str]) -> dict[str, list[int]]:
    """Subset to the indices of its items, in order of appearance; "" comes first and holds them all."""
    members: dict[str, list[int]] = {"": list(range(len(subsets)))}
    for index, subset in enumerate(subsets):
        if subset:
            members.setdefault(subset, []).append(index)
    return members


def endpoint_names(task: str, metrics: Iterable[str], subsets: Sequence[str]) -> list[str]:
    """Endpoints of items whose subsets are ``subsets``: each metric over all items, then over each subset."""
    return [endpoint_name(task, metric, subset) for metric in metrics for subset in subset_members(subsets)]


def mean_scores(
    task: str,
    metrics: Mapping[str, MetricInfo],
    subsets: Sequence[str],
    items: Sequence[str],
    values: Mapping[str, Sequence[float]],
    chance: Mapping[str, Sequence[float]],
    clusters: Sequence[str] = (),
) -> tuple[dict[str, Score], pd.DataFrame]:
    """Means over all items and over each subset, and the item-level frame.

    Every item weighs the same, so subsets of unlike size weigh as their size.

    Args:
        subsets: subset of each item; empty where the task has none.
        items: id of each item.
        values: metric to the value of each item.
        chance: metric to the chance level of each item; metrics without one are left out.
        clusters: cluster of each item, see `item_frame`.
    """
    frame = pd.concat(
        [item_frame(task, name, subsets, items, column, clusters) for name, column in values.items()],
        ignore_index=True,
    )
    members = subset_members(subsets)
    scores = {}
    for name, column in values.items():
        for subset, chosen in members.items():
            scores[endpoint_name(task, name, subset)] = Score(
                value=_mean([column[index] for index in chosen]),
                items=len(chosen),
                higher_is_better=metrics[name].higher_is_better,
                chance=_mean([chance[name][index] for index in chosen]) if name in chance else None,
            )
    return scores, frame


def ratio_scores(
    task: str,
    metric: str,
    subsets: Sequence[str],
    items: Sequence[str],
    bits: Sequence[float],
    sizes: Sequence[float],
    uniform: Sequence[float],
    clusters: Sequence[str] = (),
) -> tuple[dict[str, Score], pd.DataFrame]:
    """Total bits over total bytes, of all items and of each subset; at item level both stand apart.

    Args:
        metric: `bits_per_byte`, or `bits_per_byte.<group>`.
        bits: bits of each item.
        sizes: UTF-8 bytes of each item.
        uniform: bits of each item under a model with constant logits, the chance level.
        clusters: cluster of each item, see `item_frame`.
    """
    scores = {}
    for subset, chosen in subset_members(subsets).items():
        total = math.fsum(sizes[index] for index in chosen)
        scores[endpoint_name(task, metric, subset)] = Score(
            value=math.fsum(bits[index] for index in chosen) / total,
            items=len(chosen),
            higher_is_better=False,
            chance=math.fsum(uniform[index] for index in chosen) / total,
        )
    _, dot, group = metric.partition(".")
    frames = [
        item_frame(task, name + dot + group, subsets, items, column, clusters)
        for name, column in (("bits", bits), ("bytes", sizes))
    ]
    return scores, pd.concat(frames, ignore_index=True)


def item_frame(
    task: str,
    metric: str,
    subsets: Sequence[str],
    items: Sequence[str],
    values: Sequence[float],
    clusters: Sequence[str] = (),
) -> pd.DataFrame:
    """Item-level rows of one metric; a column `cluster` where any item has one.

    Items of one cluster are resampled together in an interval over items.
    """
    frame = pd.DataFrame({"task": task, "subset": subsets, "item": items, "metric": metric, "value": values})
    frame = frame[ITEM_COLUMNS]
    if any(clusters):
        frame["cluster"] = list(clusters)
    return frame


def length_notes(task: str, tokens: Sequence[Sequence[int]], right: Sequence[int]) -> list[str]:
    """Discloses what length alone is worth where alternatives differ in it: summed log-probability
    favours few tokens, so an untrained model need not score chance.

    Args:
        tokens: number of tokens of each alternative of each item.
        right: index of the right alternative of each item.
    """
    uneven = sum(len(set(counts)) > 1 for counts in tokens)
    if not uneven:
        return []
    by_length = _mean(
        [
            (counts[index] == min(counts)) / counts.count(min(counts))
            for counts, index in zip(tokens, right, strict=True)
        ]
    )
    return [
        f"{task}: {uneven} of {len(tokens)} items have alternatives of unlike token counts; "
        f"choosing the fewest tokens would score {by_length:.3f}"
    ]


def _mean(values: Sequence[float]) -> float:
    # fsum is exact, so the order of the items cannot move the mean.
    return math.fsum(values) / len(values)
