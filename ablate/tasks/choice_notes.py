"""What a reader must know of a task of choices beside its scores."""

from collections import Counter
from collections.abc import Sequence

from ablate.tasks.choice_items import ChoiceItem


def choice_notes(
    name: str, items: Sequence[ChoiceItem], shots: int, cut: int, requests: int, context_length: int
) -> list[str]:
    """Contexts that were cut, items that cannot be told, worked examples, and what one answer is worth.

    Args:
        shots: worked examples before every item.
        cut: how many of ``requests`` contexts were cut to ``context_length`` positions.
    """
    notes = []
    if cut:
        notes.append(
            f"{name}: {cut} of {requests} contexts cut from the left to fit {context_length} positions"
        )
    # BLiMP has some (principle_A_case_2); dropping them would make the task another one.
    if equal := sum(len(item.choices) > 1 == len(set(item.choices)) for item in items):
        notes.append(f"{name}: {equal} of {len(items)} items have equal alternatives, always a tie")
    if shots:
        notes.append(f"{name}: scored with {shots} worked examples before every item")
    return notes + _one_answer(name, items)


def _one_answer(name: str, items: Sequence[ChoiceItem]) -> list[str]:
    """Where all items offer the same choices (yes or no, letters, colours), what always giving the best of
    them would score, if that is above chance: a model may learn to prefer it without reading."""
    offered = {tuple(choice.text for choice in item.choices) for item in items}
    if len(offered) > 1 or len(items) < 2:
        return []
    (texts,) = offered
    ((label, count),) = Counter(item.label for item in items).most_common(1)
    if len(texts) < 2 or count * len(texts) <= len(items):
        return []
    return [
        f"{name}: every item offers the same {len(texts)} choices; always choosing {texts[label]!r} would "
        f"score {count / len(items):.3f}"
    ]
