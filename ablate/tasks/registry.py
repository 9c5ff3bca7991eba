"""Tasks by kind, imported only when built. A new kind is one file and one line here.

Importing this module imports neither torch nor pandas.
"""

import difflib
import importlib
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.tasks.errors import TaskError, UnknownTaskError

if TYPE_CHECKING:
    from ablate.tasks.base import Task

TASKS: dict[str, str] = {
    "bits_per_byte": "ablate.tasks.bits_per_byte:BitsPerByte",
    "fine_tune": "ablate.tasks.fine_tune:FineTune",
    "harness": "ablate.tasks.harness:Harness",
    "minimal_pairs": "ablate.tasks.minimal_pairs:MinimalPairs",
    "multiple_choice": "ablate.tasks.multiple_choice:MultipleChoice",
    "blimp": "ablate.tasks.benchmarks.blimp:Blimp",
    "hellaswag": "ablate.tasks.benchmarks.hellaswag:HellaSwag",
    "arc": "ablate.tasks.benchmarks.answer_key:Arc",
    "openbookqa": "ablate.tasks.benchmarks.answer_key:OpenBookQA",
    "commonsense_qa": "ablate.tasks.benchmarks.answer_key:CommonsenseQA",
    "piqa": "ablate.tasks.benchmarks.piqa:Piqa",
    "copa": "ablate.tasks.benchmarks.copa:Copa",
    "winogrande": "ablate.tasks.benchmarks.winogrande:WinoGrande",
    "sciq": "ablate.tasks.benchmarks.reading:SciQ",
    "boolq": "ablate.tasks.benchmarks.reading:BoolQ",
    "lambada": "ablate.tasks.benchmarks.lambada:Lambada",
    "ewok": "ablate.tasks.benchmarks.ewok:Ewok",
    "vicomte": "ablate.tasks.benchmarks.vicomte:Vicomte",
    "coda": "ablate.tasks.benchmarks.coda:Coda",
}
"""Kind to `module:Class`."""


def task_class(kind: str) -> "type[Task]":
    """The class registered as ``kind``.

    Raises:
        UnknownTaskError: no task has that kind.
    """
    if kind not in TASKS:
        raise UnknownTaskError(
            f"no task kind is called {kind!r}; known: {', '.join(sorted(TASKS))}.{_did_you_mean(kind, TASKS)}"
        )
    module, _, attribute = TASKS[kind].partition(":")
    found: type[Task] = getattr(importlib.import_module(module), attribute)
    return found


def complete_task_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` (`kind` and the fields of its Config) with every default filled in.

    Raises:
        UnknownTaskError: no task has that kind.
        TaskError: `kind` or a required field is missing, a field is unknown, a value is refused.
    """
    kind = _kind(settings)
    return {"kind": kind, **asdict(_config(kind, settings))}


def load_task(name: str, settings: dict[str, Any], cache: Path) -> "Task":
    """Read and check the items of one task.

    Args:
        name: what the recipe calls it; the first part of its endpoints.
        settings: `kind` and the fields of that kind's Config.
        cache: folder that readers of held-out text may keep inflated files in.

    Raises:
        UnknownTaskError: no task has that kind.
        TaskError: the settings or an item of the task are refused.
    """
    if not name or "/" in name:
        raise TaskError(f"task {name!r}: a task's name is not empty and has no '/', which parts an endpoint")
    try:
        kind = _kind(settings)
        config = _config(kind, settings)
    except UnknownTaskError as error:
        raise UnknownTaskError(f"task {name!r}: {error}") from error
    except TaskError as error:
        raise TaskError(f"task {name!r}: {error}") from error
    return task_class(kind)(name, config, cache)


def _kind(settings: dict[str, Any]) -> str:
    if "kind" not in settings:
        raise TaskError(f"`kind` is missing; known kinds: {', '.join(sorted(TASKS))}")
    return str(settings["kind"])


def _config(kind: str, settings: dict[str, Any]) -> Any:
    config_class = task_class(kind).Config
    known = {item.name: item for item in fields(config_class)}
    given = {key: value for key, value in settings.items() if key != "kind"}
    for key in given:
        if key not in known:
            raise TaskError(
                f"{kind} has no setting {key!r}; it has: {', '.join(known)}.{_did_you_mean(key, known)}"
            )
    for key, item in known.items():
        if key not in given and item.default is MISSING and item.default_factory is MISSING:
            raise TaskError(f"{kind} needs the setting {key!r}")
    return config_class(**given)


def _did_you_mean(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
