"""Minimal pairs: does the model find the acceptable sentence likelier than its unacceptable twin?

Whole sentences are scored with BOS in front, as BLiMP does (Warstadt et al. 2020, "full LM" method).
"""

from dataclasses import dataclass
from typing import ClassVar

from ablate.tasks.base import MetricInfo, check_subset
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choice_scores import PAIR_METRICS
from ablate.tasks.choices import ChoiceConfig, ChoiceTask
from ablate.tasks.json_lines import Line


@dataclass(frozen=True)
class MinimalPairsConfig(ChoiceConfig):
    """Pairs of sentences that differ in what makes one of them unacceptable."""

    good_field: str = "good"
    """Key of the acceptable sentence (BLiMP: `sentence_good`)."""
    bad_field: str = "bad"
    """Key of the unacceptable sentence (BLiMP: `sentence_bad`)."""
    subset_field: str = ""
    """Key of the subset that a pair is also averaged in (BLiMP: `UID`). Empty: the file's name."""
    id_field: str = ""
    """Key of the pair's id. Empty: file and line number."""


class MinimalPairs(ChoiceTask):
    """Is the acceptable sentence of a pair the likelier one?"""

    Config = MinimalPairsConfig
    kind = "minimal_pairs"
    version = 2
    prompt = '"" + "{good}" or "{bad}"'
    source = "files of one's own: good, bad"
    metrics: ClassVar[dict[str, MetricInfo]] = PAIR_METRICS

    def item(self, line: Line) -> ChoiceItem:
        config: MinimalPairsConfig = self.config
        sentences = [line.filled(config.good_field), line.filled(config.bad_field)]
        subset = line.text(config.subset_field) if config.subset_field else line.file
        check_subset(subset, line.where)
        return ChoiceItem(
            id=line.identifier(config.id_field),
            where=line.where,
            choices=tuple(Choice("", sentence, sentence) for sentence in sentences),
            label=0,
            subset=subset,
        )
