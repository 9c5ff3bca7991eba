"""Items of lm-evaluation-harness, as its own code renders them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablate.tasks.errors import TaskError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

NO_LABEL = -1


@dataclass(frozen=True)
class HarnessItem:
    """One item as lm-eval asks it."""

    task: str
    id: str
    """Its number in the split that is evaluated, from 0."""
    where: str
    """File and line, or task and number, for messages."""
    arguments: list[tuple[Any, ...]]
    """What each of its requests asks."""
    asked: list[str]
    """The texts that it holds out, without worked examples: one a request."""
    choices: list[str]
    """The alternatives of multiple choice; empty elsewhere."""
    label: int
    """Index of the right choice; `NO_LABEL` where it is not one alone that is right."""
    target: Any
    """What lm-eval compares with."""


def render(
    name: str, task: Any, indices: Sequence[int], where_is: Callable[[str, Any, int], str]
) -> Iterator[HarnessItem]:
    """The items ``indices`` of lm-eval's ``task``, whose requests have been built.

    Args:
        where_is: where an item of the task of that name stands.

    Raises:
        TaskError: choices or label of an item are refused.
    """
    grouped: dict[int, list[Instance]] = {}
    for instance in task.instances:
        grouped.setdefault(int(instance.doc_id or 0), []).append(instance)
    for place, index in enumerate(indices):
        requests = sorted(grouped[place], key=lambda request: request.idx)
        doc, where = requests[0].doc, where_is(name, task, index)
        choices = (
            [str(one) for one in task.doc_to_choice(doc)] if task.OUTPUT_TYPE == "multiple_choice" else []
        )
        yield HarnessItem(
            task=name,
            id=str(index),
            where=where,
            arguments=[request.args for request in requests],
            asked=[_asked(task, request) for request in requests],
            choices=choices,
            label=_label(task, doc, choices, where) if choices else NO_LABEL,
            target=_plain(task.doc_to_target(doc)),
        )


def _asked(task: Any, request: "Instance") -> str:
    """The text of one request without worked examples; of an answer to be generated, with the right one."""
    if request.request_type == "loglikelihood_rolling":
        return str(request.args[0])
    context, continuation = str(request.args[0]), request.args[1]
    if task.config.num_fewshot:
        # The examples stand first, so that what follows them is what the item alone is rendered to.
        alone = task.fewshot_context(request.doc, 0, gen_prefix=task.doc_to_prefix(request.doc))
        context = alone[request.idx] if isinstance(alone, list) else str(alone)
    if request.request_type == "generate_until":
        continuation = f" {_plain(task.doc_to_target(request.doc))}"
    return f"{context}{continuation}".strip()


def _label(task: Any, doc: Any, choices: list[str], where: str) -> int:
    """Index of the right choice, as ``ConfigurableTask.process_results`` of lm-eval finds it.

    Raises:
        TaskError: there are fewer than two choices, one is empty, or the label is none of them.
    """
    if len(choices) < 2 or not all(choice.strip() for choice in choices):
        raise TaskError(f"{where}: a choice is empty, or there are fewer than two: {choices!r:.200}")
    if callable(task.config.process_results):
        return NO_LABEL  # it judges in its own way, as where several answers are true (TruthfulQA's MC2)
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    if isinstance(gold, str):
        gold = choices.index(gold) if gold in choices else -100
    if isinstance(gold, list):
        if any(not 0 <= int(one) < len(choices) for one in gold):
            raise TaskError(f"{where}: the labels are {gold}, and there are {len(choices)} choices")
        return NO_LABEL
    if not 0 <= int(gold) < len(choices):
        raise TaskError(
            f"{where}: the label is {gold}, but there are {len(choices)} choices (0 to {len(choices) - 1})"
        )
    return int(gold)


def _plain(value: Any) -> Any:
    """``value`` as JSON holds it."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
