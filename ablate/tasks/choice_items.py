"""Items of a task of choices: alternatives, one of them right."""

from dataclasses import dataclass

from ablate.tasks.errors import TaskError


@dataclass(frozen=True)
class Choice:
    """One alternative."""

    context: str
    """What stands before; empty for nothing but BOS."""
    continuation: str
    """What is scored, with the delimiter that opens it."""
    text: str
    """What the choice says, whose UTF-8 bytes its bits and its length are counted in."""


@dataclass(frozen=True)
class ChoiceItem:
    """One item."""

    id: str
    where: str
    """File and line, for messages."""
    choices: tuple[Choice, ...]
    label: int
    """Index of the right choice, from 0."""
    subset: str = ""
    """Part of the task that the item is also averaged in; empty where there are none."""
    cluster: str = ""
    """Items of one cluster are resampled together; empty for a cluster of its own."""
    group: str = ""
    """One of the task's `groups`, in which its metrics are averaged too, as `metric.<group>`."""
    shares: tuple[float, ...] = ()
    """Share of people who gave each choice, where the source asked them; adds up to 1."""

    @property
    def question(self) -> str:
        """The text that word lists are looked up in: the common context, or else the right choice."""
        first = self.choices[0].context
        same = all(choice.context == first for choice in self.choices)
        return first if same and first.strip() else self.text(self.label)

    def text(self, index: int) -> str:
        """An alternative as it is read, context and continuation."""
        return (self.choices[index].context + self.choices[index].continuation).strip()

    @property
    def right(self) -> Choice:
        return self.choices[self.label]


def checked(item: ChoiceItem, fewest: int = 2) -> ChoiceItem:
    """``item``, if it can be scored.

    Raises:
        TaskError: there are fewer than ``fewest`` choices, one is empty, or the label is none of them.
    """
    if len(item.choices) < fewest:
        raise TaskError(f"{item.where}: {len(item.choices)} choices; an item has two or more")
    for index, choice in enumerate(item.choices):
        if not choice.continuation.strip() or not choice.text.strip():
            raise TaskError(f"{item.where}: choice {index} is empty")
    if not 0 <= item.label < len(item.choices):
        raise TaskError(
            f"{item.where}: the label is {item.label}, but there are {len(item.choices)} choices "
            f"(0 to {len(item.choices) - 1})"
        )
    return item
