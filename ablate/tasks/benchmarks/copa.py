"""COPA, the Choice of Plausible Alternatives (Roemmele et al. 2011), in SuperGLUE's fields."""

import re

from ablate.tasks.benchmarks.gold import gold_index
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.json_lines import Line

CONNECTORS = {"cause": "because", "effect": "therefore"}


class Copa(ChoiceTask):
    """Which of two sentences is the cause, or the effect, of the premise?

    Two spaces stand before the choice, as lm-evaluation-harness has it: its choices open with one, and its
    delimiter is another.
    """

    kind = "copa"
    version = 1
    added = re.compile(r" (?:because|therefore)$")
    prompt = '"{premise} because" or "... therefore" + "  {choice}", first letters small'
    source = "people.ict.usc.edu/~gordon/copa.html, or aps/super_glue (copa) on the Hub; not the test split"

    def item(self, line: Line) -> ChoiceItem:
        connector = CONNECTORS[line.one_of("question", tuple(CONNECTORS))]
        context = f"{line.filled('premise').strip()[:-1]} {connector}"
        choices = [text[0].lower() + text[1:] for text in (line.filled("choice1"), line.filled("choice2"))]
        return ChoiceItem(
            id=line.identifier("idx" if "idx" in line.row else ""),
            where=line.where,
            choices=tuple(Choice(context, f"  {text}", text) for text in choices),
            label=gold_index(line, "label", 2),
        )
