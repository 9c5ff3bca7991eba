"""Scores of classifiers over a whole set of items."""

from collections.abc import Callable, Sequence
from math import exp, fsum, log, sqrt
from statistics import stdev

from ablate.tasks.choice_scores import share_of_top
from ablate.tasks.likelihood import tied

Measure = Callable[[Sequence[int], Sequence[int]], float]
"""From the right and the predicted class of each item to a score of them all."""


def normalised(logits: Sequence[float]) -> list[float]:
    """Log-softmax of ``logits``, in nats."""
    top = max(logits)
    total = top + log(fsum(exp(value - top) for value in logits))
    return [value - total for value in logits]


def first_of_top(log_probabilities: Sequence[float]) -> int:
    """The likeliest class; of tied ones the first, whatever the right one is."""
    top = max(log_probabilities)
    return next(index for index, value in enumerate(log_probabilities) if tied(value, top))


def macro_f1(labels: Sequence[int], predicted: Sequence[int]) -> float:
    """Mean over classes of 2 tp / (2 tp + fp + fn), over the classes that occur in either argument.

    That is `sklearn.metrics.f1_score(average="macro", zero_division=0)`.
    """
    found = []
    for name in sorted({*labels, *predicted}):
        hits = sum(a == name == b for a, b in zip(labels, predicted, strict=True))
        found.append(2 * hits / (labels.count(name) + predicted.count(name)))
    return fsum(found) / len(found)


def matthews(labels: Sequence[int], predicted: Sequence[int]) -> float:
    """Matthews correlation (Matthews 1975), for several classes Gorodkin's R_K (2004); 0 where either
    argument is constant.

    With n items, c of them right, and of class k t_k items and p_k predictions:
    (c n - sum t_k p_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2)).
    """
    total = len(labels)
    right = sum(a == b for a, b in zip(labels, predicted, strict=True))
    names = sorted({*labels, *predicted})
    truth, guess = [labels.count(name) for name in names], [predicted.count(name) for name in names]
    covariance = right * total - sum(a * b for a, b in zip(truth, guess, strict=True))
    spread = (total**2 - sum(a * a for a in guess)) * (total**2 - sum(a * a for a in truth))
    return covariance / sqrt(spread) if spread else 0.0


OF_WHOLE_SETS: dict[str, Measure] = {
    "macro_f1": macro_f1,
    "matthews": matthews,
}
"""Metrics that no item has a value of. The items hold what they are made of: `label`, the index of the right
class, and `predicted.seed<k>`, the index of the class that fine-tuning seed k names."""


def item_values(answers: Sequence[Sequence[float]], labels: Sequence[int]) -> dict[str, list[float]]:
    """Metric to the value of each item, of those that are means over items.

    Args:
        answers: log-probability of every class, in nats, for each item.
        labels: index of each item's class.
    """
    right = [one[label] for one, label in zip(answers, labels, strict=True)]
    return {
        "accuracy": [share_of_top(one, label) for one, label in zip(answers, labels, strict=True)],
        "probability": [exp(value) for value in right],
        "bits": [-value / log(2) for value in right],
    }


def mean_values(
    answers: Sequence[Sequence[Sequence[float]]], labels: Sequence[int]
) -> dict[str, list[float]]:
    """`item_values` averaged over seeds, given ``answers`` [seeds, items, classes]."""
    by_seed = [item_values(own, labels) for own in answers]
    return {
        metric: [
            fsum(values) / len(by_seed) for values in zip(*(own[metric] for own in by_seed), strict=True)
        ]
        for metric in by_seed[0]
    }


def mean_over_seeds(
    measure: Measure, labels: Sequence[int], predicted: Sequence[Sequence[int]], chosen: Sequence[int]
) -> float:
    """``measure`` of the items ``chosen``, averaged over seeds, given ``predicted`` [seeds, items]."""
    truth = [labels[index] for index in chosen]
    return fsum(measure(truth, [own[index] for index in chosen]) for own in predicted) / len(predicted)


def spread_notes(task: str, labels: Sequence[int], predicted: Sequence[Sequence[int]]) -> list[str]:
    """Discloses the standard deviation over seeds, where there are two or more, given ``predicted``
    [seeds, items]."""
    if len(predicted) < 2:
        return []
    parts = [
        f"{metric} {stdev([measure(labels, own) for own in predicted]):.4f}"
        for metric, measure in {"accuracy": _share_equal, **OF_WHOLE_SETS}.items()
    ]
    return [f"{task}: the fine-tuning seeds of a run differ by standard deviations of: {', '.join(parts)}"]


def _share_equal(labels: Sequence[int], predicted: Sequence[int]) -> float:
    return sum(a == b for a, b in zip(labels, predicted, strict=True)) / len(labels)
