"""BLiMP, the Benchmark of Linguistic Minimal Pairs (Warstadt et al. 2020, TACL 8): 67 paradigms.

Whole sentences are scored after BOS. lm-evaluation-harness puts its target delimiter, one space, before the
sentence even though nothing stands in front of it; BabyLM's pipeline of 2025 does not.
"""

from dataclasses import dataclass
from typing import ClassVar

from ablate.tasks.base import MetricInfo, check_subset
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choice_scores import PAIR_METRICS
from ablate.tasks.choices import ChoiceConfig, ChoiceTask
from ablate.tasks.json_lines import Line

FIELDS = ("morphology", "syntax", "semantics", "syntax_semantics")


@dataclass(frozen=True)
class BlimpConfig(ChoiceConfig):
    """BLiMP's files, one a paradigm."""

    leading_space: bool = True
    """Score one space and the sentence, as lm-evaluation-harness does. False: the sentence alone, as BabyLM's
    pipeline of 2025 does."""


class Blimp(ChoiceTask):
    """Is the acceptable sentence of a pair the likelier one? By paradigm, by field and overall."""

    Config = BlimpConfig
    kind = "blimp"
    version = 1
    metrics: ClassVar[dict[str, MetricInfo]] = PAIR_METRICS
    groups = FIELDS
    prompt = '"" + " {sentence_good}" or " {sentence_bad}"'
    clusters = "paradigm (UID)"
    source = "github.com/alexwarstadt/blimp, or nyu-mll/blimp on the Hub"

    def item(self, line: Line) -> ChoiceItem:
        paradigm = line.filled("UID")
        check_subset(paradigm, line.where)
        # One paradigm writes the field with a slash, which parts an endpoint's name.
        field = line.one_of("field", (*FIELDS, "syntax/semantics")).replace("/", "_")
        sentences = [line.filled("sentence_good"), line.filled("sentence_bad")]
        space = " " if self.config.leading_space else ""
        pair = line.identifier("pairID") if "pairID" in line.row else str(line.number)
        return ChoiceItem(
            id=f"{paradigm}:{pair}",
            where=line.where,
            choices=tuple(Choice("", space + sentence, sentence) for sentence in sentences),
            label=0,
            subset=paradigm,
            cluster=paradigm,
            group=field,
        )
