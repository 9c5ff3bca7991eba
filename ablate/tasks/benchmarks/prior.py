"""Choices corrected for how common they are: what does naming the subject change?

Where the right values are common ones and the wrong ones rare, a model that ignores the subject and prefers
common words looks as if it knew. Pointwise mutual information in the domain (Holtzman et al. 2021, "Surface
Form Competition", EMNLP) takes from each choice's log-likelihood that of the same choice behind the same
sentence about nothing in particular. A model that ignores the subject then has a tie everywhere, and scores
chance.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from ablate.tasks.base import LogitModel, MetricInfo, Tokenizer
from ablate.tasks.choice_items import ChoiceItem
from ablate.tasks.choice_scores import share_of_top
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.likelihood import TIE_TOLERANCE, continuation_log_likelihoods

ACCURACY_PMI = "accuracy_pmi"
PMI: dict[str, MetricInfo] = {
    ACCURACY_PMI: MetricInfo(
        True,
        "share of items",
        "as accuracy, each sum less that of the choice behind the same words about any thing: how common a "
        "choice is does not count",
    )
}


class PriorTask(ChoiceTask):
    """A task of choices with `accuracy_pmi`."""

    metrics: ClassVar[dict[str, MetricInfo]] = {**PMI, **ChoiceTask.metrics}

    @abstractmethod
    def neutral(self, item: ChoiceItem) -> str:
        """The context of ``item`` without what it asks about."""

    def levels(self, item: ChoiceItem) -> dict[str, float]:
        return super().levels(item) | {ACCURACY_PMI: 1 / len(item.choices)}

    def more_values(
        self,
        model: LogitModel,
        tokenizer: Tokenizer,
        batch_rows: int,
        sums: Sequence[Sequence[float]],
    ) -> Sequence[dict[str, float]]:
        """`accuracy_pmi` of each item."""
        items = [
            replace(
                item,
                choices=tuple(replace(choice, context=self.neutral(item)) for choice in item.choices),
            )
            for item in self.items
        ]
        requests = self.requests(tokenizer, items)
        priors = self.by_item(continuation_log_likelihoods(model, requests, tokenizer.pad, batch_rows))
        return [
            {ACCURACY_PMI: pmi_share(own, prior, item.label)}
            for item, own, prior in zip(self.items, sums, priors, strict=True)
        ]


def pmi_share(sums: Sequence[float], priors: Sequence[float], label: int) -> float:
    """1/k where ``label`` is one of k choices tied at the largest of ``sums`` less ``priors``, else 0.

    The differences carry the rounding of what they are made of, so that ties are as wide as between those.
    """
    slack = TIE_TOLERANCE * max(1.0, *map(abs, sums), *map(abs, priors))
    return share_of_top([a - b for a, b in zip(sums, priors, strict=True)], label, slack)
