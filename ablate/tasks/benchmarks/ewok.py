"""EWoK, Elements of World Knowledge (Ivanova et al. 2024, arXiv 2405.09605): does a context go with a target?

An item has two contexts and two targets, the first with the first and the second with the second. Two ways of
scoring are in use. The paper's: each target should be likelier behind its own context than behind the other
one; the targets are scored, so what is compared has the same tokens. BabyLM's pipelines of 2024 and 2025:
behind each context its own target should be likelier than the other one. Either way an item is asked both
ways round, which counts one half each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ablate.tasks.base import check_subset
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choices import ChoiceConfig, ChoiceTask
from ablate.tasks.json_lines import Line


@dataclass(frozen=True)
class EwokConfig(ChoiceConfig):
    """EWoK's items."""

    compare: Literal["contexts", "targets"] = "contexts"
    """What is varied: `contexts` (the paper) scores one target behind both contexts, `targets` (BabyLM) both
    targets behind one context."""
    both_ways: bool = True
    """Ask every line both ways round. False for files that already hold each item twice, the second time with
    contexts and targets exchanged, as BabyLM's filtered files do."""


class Ewok(ChoiceTask):
    """Does the model find what a context makes plausible the likelier?"""

    Config = EwokConfig
    kind = "ewok"
    version = 1
    prompt = '"{Context1}" or "{Context2}" + " {Target1}"; then both + " {Target2}"'
    clusters = "line: both ways round"
    source = "ewok-core/ewok-core-1.0 on the Hub (asks not to be republished as plain text)"

    def item(self, line: Line) -> ChoiceItem:
        return self._ask(line, "1", "2")

    def items_of(self, line: Line) -> Sequence[ChoiceItem]:
        """A line's item, and the same the other way round."""
        first = self.item(line)
        return [first, self._ask(line, "2", "1")] if self.config.both_ways else [first]

    def _ask(self, line: Line, own: str, other: str) -> ChoiceItem:
        domain = line.filled("Domain")
        check_subset(domain, line.where)
        context, target = line.filled(f"Context{own}"), line.filled(f"Target{own}")
        contexts, targets = [context, context], [target, target]
        if self.config.compare == "contexts":
            contexts[1] = line.filled(f"Context{other}")
        else:
            targets[1] = line.filled(f"Target{other}")
        where = line.identifier("")
        return ChoiceItem(
            id=f"{where}:{own}",
            where=line.where,
            choices=tuple(
                Choice(context, f" {target}", target)
                for context, target in zip(contexts, targets, strict=True)
            ),
            label=0,
            subset=domain,
            cluster=where,
        )
