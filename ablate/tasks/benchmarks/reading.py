"""Questions about a passage that is shown: SciQ and BoolQ."""

import re

from ablate.tasks.base import digest_of
from ablate.tasks.benchmarks.gold import gold_index, label
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.json_lines import Line

ADDED = re.compile(r"\nQuestion: |\nAnswer:$")


class SciQ(ChoiceTask):
    """SciQ (Welbl et al. 2017): which answer to a science question, after its supporting text?"""

    kind = "sciq"
    version = 1
    added = ADDED
    prompt = r'"{support}\nQuestion: {question}\nAnswer:" + " {choice}"'
    source = "allenai.org/data/sciq, or allenai/sciq on the Hub"

    def item(self, line: Line) -> ChoiceItem:
        context = f"{line.text('support').lstrip()}\nQuestion: {line.filled('question')}\nAnswer:"
        fields = ("distractor1", "distractor2", "distractor3", "correct_answer")
        return ChoiceItem(
            id=line.identifier(""),
            where=line.where,
            choices=tuple(Choice(context, f" {text}", text) for text in map(line.filled, fields)),
            label=3,
        )


class BoolQ(ChoiceTask):
    """BoolQ (Clark et al. 2019): yes or no? In SuperGLUE's form (`label`) or the original one (`answer`)."""

    kind = "boolq"
    version = 1
    added = ADDED
    prompt = r'"{passage}\nQuestion: {question}?\nAnswer:" + " no" or " yes"'
    clusters = "passage"
    source = "github.com/google-research-datasets/boolean-questions, or aps/super_glue (boolq) on the Hub"

    def item(self, line: Line) -> ChoiceItem:
        passage = line.filled("passage")
        context = f"{passage}\nQuestion: {line.filled('question')}?\nAnswer:"
        return ChoiceItem(
            id=line.identifier("idx" if "idx" in line.row else ""),
            where=line.where,
            choices=tuple(Choice(context, f" {word}", word) for word in ("no", "yes")),
            label=_yes(line, "answer" if "answer" in line.row else "label"),
            cluster=digest_of(passage)[:12],
        )


def _yes(line: Line, field: str) -> int:
    value = label(line, field)
    return int(value) if isinstance(value, bool) else gold_index(line, field, 2)
