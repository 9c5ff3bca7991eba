"""Multiple choice from JSON Lines of one's own: `question`, `choices`, `label`.

Prompt form: the question, one space, the choice.
"""

from dataclasses import dataclass

from ablate.tasks.base import check_subset
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceConfig, ChoiceTask
from ablate.tasks.json_lines import Line


@dataclass(frozen=True)
class MultipleChoiceConfig(ChoiceConfig):
    """Questions with choices, one of them right."""

    question_field: str = "question"
    """Key of the question, or of whatever text stands before the choices."""
    choices_field: str = "choices"
    """Key of the list of choices."""
    label_field: str = "label"
    """Key of the right choice's index, from 0."""
    subset_field: str = ""
    """Key of the subset that an item is also averaged in. Empty: no subsets."""
    cluster_field: str = ""
    """Key of what makes items alike, such as a common passage. Empty: every item for itself."""
    id_field: str = ""
    """Key of the item's id. Empty: file and line number."""


class MultipleChoice(ChoiceTask):
    """Which of several continuations of a question does the model find likeliest?"""

    Config = MultipleChoiceConfig
    kind = "multiple_choice"
    version = 2
    prompt = '"{question}" + " {choice}"'
    source = "files of one's own: question, choices, label"
    clusters = "what `cluster_field` names"

    def item(self, line: Line) -> ChoiceItem:
        config: MultipleChoiceConfig = self.config
        question = line.text(config.question_field)
        choices = line.texts(config.choices_field)
        label = line.index(config.label_field, len(choices))
        subset = ""
        if config.subset_field:
            subset = line.text(config.subset_field)
            check_subset(subset, line.where)
        return ChoiceItem(
            id=line.identifier(config.id_field),
            where=line.where,
            choices=tuple(Choice(question, f" {choice}", choice) for choice in choices),
            label=label,
            subset=subset,
            cluster=line.identifier(config.cluster_field) if config.cluster_field else "",
        )
