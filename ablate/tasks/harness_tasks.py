"""Tasks of lm-evaluation-harness, built by its own code, and their items as it renders them.

Importing this module imports lm-eval; call its functions inside `ablate.tasks.harness_guard.guarded`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from ablate.tasks.base import evenly_spaced
from ablate.tasks.errors import TaskError
from ablate.tasks.harness_files import LocalRows, read_local_rows, read_task_yaml, task_folders
from ablate.tasks.harness_guard import OTHER_SEED
from ablate.tasks.harness_items import HarnessItem, render

ITEMS, SHOTS = "items", "shots"
"""Splits that local files become."""


@dataclass(frozen=True)
class Wanted:
    """Which task, from which data, how."""

    name: str
    """What the recipe calls it."""
    task: str
    path: str
    paths: list[str]
    shots: int | None
    shot_paths: list[str]
    shot_sampler: str
    limit: int


@dataclass(frozen=True)
class Loaded:
    """Tasks by name, ready to be asked."""

    tasks: dict[str, Any]
    indices: dict[str, list[int] | None]
    """Task to the items that are kept; None for all."""
    items: list[HarnessItem]
    requests: list[Instance]
    """Every request of every item."""
    own_shots: bool
    """Whether worked examples are other items of those that are evaluated."""


def load(wanted: Wanted, cache: Path) -> Loaded:
    """Build the task, or every task of the group or tag, and its items.

    Raises:
        TaskError: lm-eval does not know the task, cannot read its data, or an item is refused.
    """
    serve = _Server(wanted, cache)
    try:
        with serve.in_place():
            tasks = _user_task(wanted) if wanted.path else serve.built()
    except TaskError as error:
        raise TaskError(f"task {wanted.name!r}: {wanted.task}: {error}") from error
    except Exception as error:  # lm-eval and its tasks raise anything
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise TaskError(
            f"task {wanted.name!r}: lm-eval cannot build {wanted.task!r} ({said:.300}); "
            + serve.advice(wanted)
        ) from error
    serve.refuse_unread(tasks)
    for name, task in tasks.items():
        _refuse(wanted.name, name, task)
        _set_shots(wanted, name, task)
    kept = {name: evenly_spaced(len(task.eval_docs), wanted.limit) for name, task in tasks.items()}
    # lm-eval looks each item up in the list of those to keep, which takes long where that is long.
    indices = {
        name: kept[name] if len(kept[name]) < len(task.eval_docs) else None for name, task in tasks.items()
    }
    build_requests(tasks, indices)
    items = [item for name, task in tasks.items() for item in render(name, task, kept[name], serve.where)]
    own = bool(wanted.paths) and not wanted.shot_paths
    own = own and any(task.config.num_fewshot and task.fewshot_cfg.split == ITEMS for task in tasks.values())
    requests = [request for task in tasks.values() for request in task.instances]
    return Loaded(tasks, indices, items, requests, own)


def build_requests(tasks: dict[str, Any], indices: dict[str, list[int] | None]) -> None:
    """Render every item, with the worked examples that lm-eval's own seed draws.

    Raises:
        TaskError: a template or a field fails; names the item where it can be told.
    """
    for name, task in tasks.items():
        task.set_fewshot_seed(seed=OTHER_SEED)
        try:
            task.build_all_requests(samples=indices[name], rank=0, world_size=1)
        except Exception as error:  # a template, a function of the task or the data
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise TaskError(f"{name}: {_first_failing(task)}cannot be rendered ({said:.300})") from error


def run(loaded: Loaded, model: Any, *, first_only: bool = False) -> dict[str, Any]:
    """What ``lm_eval.evaluator.evaluate`` returns, with every sample, and no bootstrap.

    Args:
        first_only: ask only the first item of each task.
    """
    for task in loaded.tasks.values():
        task.set_fewshot_seed(seed=OTHER_SEED)
    found: dict[str, Any] = evaluate(
        model,
        {"tasks": loaded.tasks, "groups": {}},
        samples=None if first_only else loaded.indices,
        limit=1 if first_only else None,
        bootstrap_iters=0,
        log_samples=True,
    )
    return found


class _Server:
    """Gives tasks local files in the place of their data sets, as they are built."""

    def __init__(self, wanted: Wanted, cache: Path) -> None:
        self.wanted = wanted
        self.rows = read_local_rows(wanted.name, wanted.paths, cache) if wanted.paths else None
        self.shots = read_local_rows(wanted.name, wanted.shot_paths, cache) if wanted.shot_paths else None
        self.by_name = False
        self.served: dict[int, LocalRows] = {}
        """Task object's id to its rows."""

    def built(self) -> dict[str, Any]:
        """The task of lm-eval's own, or every task of the group or tag."""
        folders = task_folders(self.wanted.task)
        manager = TaskManager(include_defaults=False, include_path=[str(folder) for folder in folders])
        if self.wanted.task not in manager.all_tasks:
            # A file may spell the name as YAML allows and `task_folders` does not see; this takes longer.
            manager = TaskManager()
        self.by_name = self.wanted.task not in manager.all_subtasks
        if not self.by_name and self.rows is not None:
            _refuse_python(manager.task_index[self.wanted.task])
        found: dict[str, Any] = manager.load([self.wanted.task])["tasks"]
        return found

    @contextmanager
    def in_place(self) -> Iterator[None]:
        original = ConfigurableTask.download

        def download(task: Any, dataset_kwargs: Any = None, **_: Any) -> None:
            if task.config.unsafe_code:
                raise TaskError("it runs code that the model writes (unsafe_code), which is refused")
            if self.wanted.shot_sampler:
                task.fewshot_cfg.sampler = self.wanted.shot_sampler
            if self.rows is None:
                plain = {k: v for k, v in (dataset_kwargs or {}).items() if k != "trust_remote_code"}
                original(task, plain)
            else:
                self._give(task, self.rows)

        with mock.patch.object(ConfigurableTask, "download", download):
            yield

    def _give(self, task: Any, rows: LocalRows) -> None:
        """The rows as the one split that is evaluated, and worked examples from the other files or, as
        lm-eval does without a training split, from other items."""
        config = task.config
        name, part = str(config.task), str(config.dataset_name or "")
        own = rows.of(name, part) if self.by_name else rows
        task.dataset = {ITEMS: own.dataset()}
        config.test_split, config.validation_split, config.training_split = ITEMS, None, None
        if self.shots is not None:
            shots = self.shots.of(name, part) if self.by_name else self.shots
            task.dataset[SHOTS] = shots.dataset()
            config.training_split = task.fewshot_cfg.split = SHOTS
        elif task.fewshot_cfg.samples is None:
            task.fewshot_cfg.split = ITEMS
        else:
            task.fewshot_cfg.split = None
        self.served[id(task)] = own

    def refuse_unread(self, tasks: dict[str, Any]) -> None:
        """Refuse files that no task read."""
        if self.rows is None:
            return
        for name, task in tasks.items():
            if id(task) not in self.served:
                raise TaskError(f"task {self.wanted.name!r}: {name} {_READS_ITSELF}")
        read = set().union(*(rows.files for rows in self.served.values()))
        if unread := sorted(self.rows.files - read):
            raise TaskError(
                f"task {self.wanted.name!r}: no task of {self.wanted.task} is called as {unread[0]} "
                f"({len(unread)} such files); leave out what is not part of it"
            )

    def where(self, name: str, task: Any, index: int) -> str:
        """File and line of an item, where its task keeps the order of the rows."""
        rows = self.served.get(id(task))
        if rows is not None and len(rows.lines) == len(task.eval_docs):
            return rows.lines[index].where
        return f"{name}: item {index}"

    def advice(self, wanted: Wanted) -> str:
        if self.rows is not None:
            return "check that the files of `paths` have the fields of the task's source"
        return (
            "give its data as local files in `paths`, in the fields of its source, or set download: true to "
            "let lm-eval fetch them"
        )


def _user_task(wanted: Wanted) -> dict[str, Any]:
    settings = read_task_yaml(Path(wanted.path), wanted.task)
    return {wanted.task: ConfigurableTask(config=settings)}


_READS_ITSELF = "is written in Python and reads its data itself; `paths` cannot be given to it"


def _refuse_python(entry: Any) -> None:
    if entry.kind.name == "PY_TASK":
        raise TaskError(_READS_ITSELF)


def _refuse(name: str, task_name: str, task: Any) -> None:
    where = f"task {name!r}: {task_name}"
    if getattr(task, "UNSAFE_CODE", False):
        raise TaskError(f"{where}: it runs code that the model writes (unsafe_code), which is refused")
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"{where}: it asks with pictures or sounds; text tasks are scored without media")
    if len(task.eval_docs) == 0:
        raise TaskError(f"{where}: it has no items")


def _set_shots(wanted: Wanted, name: str, task: Any) -> None:
    fixed = task.get_config("num_fewshot")
    if wanted.shots is None:
        task.set_config("num_fewshot", fixed or 0)
        return
    if fixed == 0 and wanted.shots:
        raise TaskError(
            f"task {wanted.name!r}: {name} is asked without worked examples by its own file, which lm-eval "
            "does not overrule; leave `shots` out"
        )
    pool = getattr(getattr(task, "sampler", None), "df", None)
    # lm-eval draws one more where the item itself may be among them.
    spare = int(bool(wanted.shots) and task.fewshot_cfg.split == task.config.test_split) if pool else 0
    if pool is not None and wanted.shots + spare > len(pool):
        raise TaskError(
            f"task {wanted.name!r}: shots is {wanted.shots}, and there are {len(pool)} items to take worked "
            "examples from; give more in shot_paths"
        )
    task.set_config("num_fewshot", wanted.shots)


def _first_failing(task: Any) -> str:
    """`item N: ` for the first item that a function of the task fails on; empty if none does alone."""
    asks: list[Callable[[Any], Any]] = [task.doc_to_text, task.doc_to_target]
    if task.get_config("doc_to_choice") is not None:
        asks.append(task.doc_to_choice)
    for index, doc in enumerate(task.eval_docs):
        try:
            for ask in asks:
                ask(doc)
        except Exception:  # the one that is looked for
            return f"item {index}: "
    return ""
