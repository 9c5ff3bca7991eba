"""HellaSwag (Zellers et al. 2019): which ending follows the beginning of a description?"""

import re

from ablate.tasks.benchmarks.gold import gold_index
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.json_lines import Line


class HellaSwag(ChoiceTask):
    """Which of four endings is the likeliest?"""

    kind = "hellaswag"
    version = 1
    added = re.compile(r"^[^:]*: ")
    prompt = '"{activity_label}: {ctx_a} {ctx_b}" + " {ending}"'
    clusters = "video or article (source_id)"
    source = "github.com/rowanz/hellaswag, or Rowan/hellaswag on the Hub; the validation split"

    def item(self, line: Line) -> ChoiceItem:
        activity = line.text("activity_label")
        context = cleaned(f"{activity}: {line.text('ctx_a')} {line.text('ctx_b').capitalize()}")
        endings = [cleaned(ending) for ending in line.texts("endings")]
        return ChoiceItem(
            id=line.identifier(""),
            where=line.where,
            choices=tuple(Choice(context, f" {ending}", ending) for ending in endings),
            label=gold_index(line, "label", len(endings)),
            cluster=line.text("source_id") if "source_id" in line.row else "",
        )


def cleaned(text: str) -> str:
    """``text`` without what WikiHow's markup left in it, as lm-evaluation-harness does
    (`lm_eval/tasks/hellaswag/utils.py`)."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
