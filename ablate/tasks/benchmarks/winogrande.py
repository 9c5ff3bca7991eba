"""WinoGrande (Sakaguchi et al. 2020) by partial evaluation (Trinh and Le 2018): each option is put into the
blank, and what is scored is the rest of the sentence, the same for both."""

from ablate.tasks.benchmarks.gold import gold_index
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line

BLANK = "_"


class WinoGrande(ChoiceTask):
    """Behind which of two options is the rest of the sentence the likelier?"""

    kind = "winogrande"
    version = 1
    prompt = '"{sentence up to _}{option}" + " {rest of sentence}"'
    clusters = "twin sentences (qID without its last part)"
    source = "winogrande.allenai.org, or allenai/winogrande (winogrande_xl) on the Hub; the validation split"

    def item(self, line: Line) -> ChoiceItem:
        sentence = line.filled("sentence")
        before, blank, rest = sentence.partition(BLANK)
        rest = rest.strip()
        if not blank or not rest:
            raise TaskError(f"{line.where}: sentence has no {BLANK!r}, or nothing after it: {sentence!r:.60}")
        options = [line.filled("option1"), line.filled("option2")]
        pair = line.text("qID") if "qID" in line.row else ""
        return ChoiceItem(
            id=pair or line.identifier(""),
            where=line.where,
            choices=tuple(Choice(before + option, f" {rest}", rest) for option in options),
            label=gold_index(line, "answer", 2, first=1),
            cluster=pair.rpartition("-")[0],
        )
