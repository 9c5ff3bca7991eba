"""Metrics of lm-evaluation-harness as scores that are what their items give.

A score in a record is a mean over its items, or total bits over total bytes. lm-eval has aggregates that are
neither, so each of its metrics becomes an endpoint by the rule below, and what has none stays in the notes.

| lm-eval aggregates by | endpoint | each item has |
|---|---|---|
| mean, nanmean | the metric's own name | its value |
| brier_score | `brier_score` | the squared distance of its probabilities |
| perplexity | `log_perplexity` | nats: exp of the mean is lm-eval's perplexity |
| weighted_perplexity, bits_per_byte | `bits_per_byte` | bits and bytes: 2 to its power is byte_perplexity |
| bleu, chrf, chrf++, ter | the name with `_by_item` | the metric of the item alone |
| any other function of single numbers | the name with `_mean` | its number |
| any other function | none | |
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.tasks.base import MetricInfo
from ablate.tasks.choice_scores import BITS_PER_BYTE, PAIR_METRICS

LOG_PERPLEXITY = "log_perplexity"
WHOLE = "none"
"""lm-eval's name for answers as they are, without a filter."""

GREEDY = MetricInfo(
    True, "share of items", "greedy decoding writes the answer; a tie of k tokens at a place counts 1/k"
)
_OWN = "lm-eval's own"
COMMON_METRICS = {
    **PAIR_METRICS,
    "acc": MetricInfo(True, "share of items", "lm-eval's own: as accuracy, a tie goes to the first choice"),
    "acc_norm": MetricInfo(
        True, "share of items", "lm-eval's own: each sum over the characters of its choice"
    ),
    "acc_bytes": MetricInfo(True, "share of items", "lm-eval's own: each sum over the bytes of its choice"),
    "exact_match": MetricInfo(True, "share of items", "lm-eval's own: the generated answer is the right one"),
    LOG_PERPLEXITY: MetricInfo(False, "nats", "negative log-likelihood; exp of the mean is perplexity"),
    "brier_score": MetricInfo(
        False, _OWN, "squared distance of the choices' probabilities from the right one"
    ),
}
"""What most tasks have some of. A task's own metrics go by their names, and the items alone tell them."""

_BITS = (BITS_PER_BYTE, "byte_perplexity", "word_perplexity")
_MEANS = ("mean", "nanmean")
_BY_ITEM = ("brier_score", "bleu", "chrf", "chrf++", "ter")


@dataclass(frozen=True)
class MetricRule:
    """How one of lm-eval's metrics becomes an endpoint."""

    metric: str
    """lm-eval's name."""
    filter: str
    """Which of its filters of answers."""
    endpoint: str
    info: MetricInfo
    value: Callable[[Any], float] | None
    """The number of one item; None where bits and bytes stand for it."""

    @property
    def key(self) -> str:
        """What lm-eval calls the aggregate in its results."""
        return f"{self.metric},{self.filter}"


def rules_of(task: Any, sample: dict[str, Any], filters: Sequence[str]) -> tuple[list[MetricRule], list[str]]:
    """The rules of a task's metrics, and its metrics without an endpoint.

    Args:
        task: lm-eval's task.
        sample: an item as ``evaluate`` logs it, with a value of each metric.
        filters: all filters of the task.
    """
    rules: list[MetricRule] = []
    without: list[str] = []
    # Of several that tell the same, the one that says its bytes comes first.
    for metric in sorted(sample["metrics"], key=lambda name: _BITS.index(name) if name in _BITS else -1):
        suffix = "" if list(filters) == [WHOLE] else f"@{sample['filter']}"
        rule = _rule(task, metric, sample["filter"], sample[metric], suffix)
        if rule is None:
            without.append(f"{metric}{suffix}")
        elif rule.endpoint not in [other.endpoint for other in rules]:
            rules.append(rule)
    return rules, without


def _rule(task: Any, metric: str, name: str, example: Any, suffix: str) -> MetricRule | None:
    aggregate = task.aggregation().get(metric)
    how = _registered(aggregate)
    higher = task.higher_is_better().get(metric) is not False

    def rule(
        endpoint: str,
        description: str,
        value: Callable[[Any], float] | None,
        up: bool = higher,
        unit: str = "",
    ) -> MetricRule:
        info = MetricInfo(up, unit or _OWN, description)
        return MetricRule(metric, name, endpoint + suffix, info, value)

    if aggregate is None or how in _MEANS:
        if not _is_number(example):
            return None
        return rule(metric, f"{metric} as lm-evaluation-harness has it", float)
    if how == "perplexity":
        return rule(
            LOG_PERPLEXITY,
            f"negative log-likelihood; exp of the mean is {metric}",
            lambda v: -v,
            False,
            "nats",
        )
    if how in ("weighted_perplexity", BITS_PER_BYTE):
        pairs = isinstance(example, tuple | list) and len(example) == 2
        if not pairs or suffix or task.OUTPUT_TYPE != "loglikelihood_rolling":
            return None
        return MetricRule(metric, name, BITS_PER_BYTE, PAIR_METRICS[BITS_PER_BYTE], None)
    if how in _BY_ITEM:
        exact = how == "brier_score"
        return rule(
            metric if exact else f"{metric}_by_item",
            f"{metric} of each item alone, averaged",
            lambda value: float(aggregate([value])),
        )
    if _is_number(example):
        return rule(f"{metric}_mean", f"mean over items of {metric}, whose own aggregate is another", float)
    return None


def _registered(aggregate: Any) -> str:
    """Name of one of lm-eval's own aggregates; empty for any other function."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    return next((str(name) for name, known in AGGREGATION_REGISTRY.items() if known is aggregate), "")


def _is_number(value: Any) -> bool:
    """Whether ``value`` is one number, of Python or NumPy."""
    if isinstance(value, str | bytes | list | tuple | dict) or value is None:
        return False
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def told_aggregates(results: dict[str, Any], rules: Sequence[MetricRule]) -> list[str]:
    """`metric value` of each of lm-eval's aggregates that no endpoint holds.

    Args:
        results: one task's results of ``evaluate``.
    """
    held = {rule.key for rule in rules if rule.endpoint.partition("@")[0] == rule.metric}
    return [
        f"{key.removesuffix(',' + WHOLE)} {value:.6g}"
        for key, value in sorted(results.items())
        if "," in key and "_stderr," not in key and key not in held and isinstance(value, int | float)
    ]
