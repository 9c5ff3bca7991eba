"""ViComTe, Visual Commonsense Tests (Zhang et al. 2022, NAACL): colour, shape, material and relative size.

A line names a subject (`sub`), the value or object that goes with it (`obj`) and one that does not (`alt`);
both are put into a sentence, and the likelier one wins. The sentences are those of the paper's templates that
read as plain English, with articles and without the space before the full stop; the paper takes the best or
the mean of its seven or eight templates for masked models. The whole rest of the sentence is scored.

The wrong value can be told from the right one without the subject: `alt` is drawn from the rare values, and
of two sizes the one is always large and the other small. A note says what always preferring the value that is
more often right would score: 0.84 of the source in colour, 0.88 in material, 0.95 in shape, 1.00 in size.
So `accuracy_pmi`, which is blind to how common a value is, comes first; see `ablate.tasks.benchmarks.prior`.
"""

from collections import Counter
from dataclasses import dataclass

from ablate.tasks.benchmarks.prior import PriorTask
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceConfig
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line

PROMPTS = {
    "color": "The color of the {} is",
    "shape": "The shape of the {} is",
    "material": "The {} is made of",
    "size_larger": "The {} is larger than the",
    "size_smaller": "The {} is smaller than the",
}
"""Relation to what stands before the value or the other thing."""
ANYTHING = "thing"
"""The subject of which nothing is known."""


@dataclass(frozen=True)
class VicomteConfig(ChoiceConfig):
    """ViComTe's files, one a relation."""

    relation: str = ""
    """`color`, `shape`, `material`, `size_larger` or `size_smaller`. Empty: the name of the file, or of the
    folder it lies in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relation and self.relation not in PROMPTS:
            raise TaskError(f"relation is {self.relation!r}; it is one of {', '.join(PROMPTS)}")


class Vicomte(PriorTask):
    """Does the model know what things look like?"""

    Config = VicomteConfig
    kind = "vicomte"
    version = 2
    prompt = '"The color of the {sub} is" + " {obj}." or " {alt}."; likewise shape, material, size'
    clusters = "subject"
    source = "github.com/ChenyuHeidiZhang/VL-commonsense, folder mine-data/db"

    def item(self, line: Line) -> ChoiceItem:
        relation = self._relation(line)
        subject = line.filled("sub")
        context = PROMPTS[relation].format(subject)
        values = [line.filled("obj"), line.filled("alt")]
        if values[0] == values[1]:
            raise TaskError(f"{line.where}: obj and alt are both {values[0]!r}; one of them has to be wrong")
        return ChoiceItem(
            id=line.identifier(""),
            where=line.where,
            choices=tuple(Choice(context, f" {value}.", value) for value in values),
            label=0,
            subset=relation,
            cluster=subject,
        )

    def neutral(self, item: ChoiceItem) -> str:
        return PROMPTS[item.subset].format(ANYTHING)

    def _relation(self, line: Line) -> str:
        """The setting, or what the file or its folder is called."""
        if self.config.relation:
            return str(self.config.relation)
        for name in (line.path.name.split(".")[0], line.path.parent.name):
            if name in PROMPTS:
                return name
        raise TaskError(
            f"{line.where}: neither the file nor its folder is called {', '.join(PROMPTS)}; say which with "
            "`relation`"
        )

    def _notes(self, cut: int, requests: int, context_length: int) -> list[str]:
        notes = super()._notes(cut, requests, context_length)
        for relation in sorted({item.subset for item in self.items}):
            items = [item for item in self.items if item.subset == relation]
            notes.append(
                f"{self.name}/{relation}: always preferring the value that is more often right in these "
                f"{len(items)} items would score {prior_accuracy(items):.3f}"
            )
        return notes


def prior_accuracy(items: list[ChoiceItem]) -> float:
    """Accuracy of preferring, whatever the subject, the value that is right in more of ``items``; equally
    frequent ones are a tie."""
    often = Counter(item.right.text for item in items)
    won = 0.0
    for item in items:
        right, wrong = (often[choice.text] for choice in item.choices)
        won += 0.5 if right == wrong else float(right > wrong)
    return won / len(items)
