"""Metrics of choices, from the log-likelihoods of an item's alternatives."""

from collections.abc import Sequence
from math import exp, fsum

from ablate.tasks.base import MetricInfo
from ablate.tasks.choice_items import ChoiceItem
from ablate.tasks.likelihood import is_uniform, tied

BITS_PER_BYTE = "bits_per_byte"
SHARES = ("accuracy", "accuracy_per_byte", "probability")
"""Metrics of which a model that knows nothing scores one over the number of choices."""
CHOICE_METRICS: dict[str, MetricInfo] = {
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
    BITS_PER_BYTE: MetricInfo(
        False, "bits per UTF-8 byte", "negative log2-likelihood of all right choices over their bytes"
    ),
}

PAIR_METRICS: dict[str, MetricInfo] = {
    "accuracy": CHOICE_METRICS["accuracy"],
    "margin": MetricInfo(
        True, "nats", "log-probability of the right choice less that of the likeliest wrong one"
    ),
    **CHOICE_METRICS,
}
"""With the margin between alternatives that differ in little else than what makes one of them right."""


def score_choices(
    item: ChoiceItem, log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int
) -> dict[str, float]:
    """Metric to the value of one item, of those that are means over items.

    Args:
        log_likelihoods: summed log-probability of each choice, in nats.
        tokens: number of tokens of each choice.
    """
    sums = preferences(log_likelihoods, tokens, vocabulary)
    sizes = [len(choice.text.encode("utf-8")) for choice in item.choices]
    per_byte = [value / size for value, size in zip(sums, sizes, strict=True)]
    top = max(sums)
    weights = [exp(value - top) for value in sums]
    others = [value for index, value in enumerate(log_likelihoods) if index != item.label]
    return {
        "accuracy": share_of_top(sums, item.label),
        "accuracy_per_byte": share_of_top(per_byte, item.label),
        "probability": weights[item.label] / fsum(weights),
        "margin": log_likelihoods[item.label] - max(others),
    }


def preferences(log_likelihoods: Sequence[float], tokens: Sequence[int], vocabulary: int) -> list[float]:
    """``log_likelihoods``, or as many zeros where they are those of a model with constant logits, which
    prefers nothing; see `is_uniform`."""
    if is_uniform(log_likelihoods, tokens, vocabulary):
        return [0.0] * len(log_likelihoods)
    return list(log_likelihoods)


def share_of_top(values: Sequence[float], label: int, slack: float = 0.0) -> float:
    """1/k where ``label`` is one of k alternatives tied at the top, else 0.

    Args:
        slack: what the values may differ by and be tied, beside what `tied` allows.
    """
    top = max(values)
    at_top = [tied(value, top) or top - value <= slack for value in values]
    return 1 / sum(at_top) if at_top[label] else 0.0
