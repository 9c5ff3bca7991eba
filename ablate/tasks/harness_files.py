"""What a task of lm-evaluation-harness is made from: its list of tasks, a user's YAML, local data files."""

import difflib
import functools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ablate.tasks.errors import TaskError
from ablate.tasks.harness_guard import harness_version
from ablate.tasks.json_lines import Line, read_json_lines

MAX_YAML_BYTES = 1 << 18

_REFUSED = {
    "class": "names Python code",
    "custom_dataset": "names Python code",
    "use_prompt": "reads prompts of another library",
    "doc_to_image": "asks with pictures",
    "doc_to_audio": "asks with sounds",
    "group": "is a group; give one task a file",
    "task_list": "is a list of tasks; give one task a file",
}
"""Keys of a task file that are not taken, and why."""


def task_folders(task: str) -> list[Path]:
    """The folders of lm-eval's task files that ``task``, or all members of that group or tag, lie in.

    lm-eval's own list of its 15,000 tasks takes ten seconds to make; looking for names takes about one.

    Raises:
        TaskError: lm-eval knows no such name; the nearest are given.
    """
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    names = _names_below(root)
    found = names.folders(task)
    if not found:
        near = difflib.get_close_matches(task, names.known, n=3)
        raise TaskError(
            f"lm-evaluation-harness {harness_version()} has no task, group or tag {task!r}"
            + (f"; near it: {', '.join(near)}" if near else "")
        )
    waiting, seen = {task}, set()
    while waiting:
        seen.add(name := waiting.pop())
        found |= names.folders(name)
        waiting |= names.members.get(name, set()) - seen
    # Where two folders define one name lm-eval takes the first, and of several roots the last.
    return [root / folder for folder in sorted(found, reverse=True)]


_NAME = r"[\"']?([\w.:+-]+)[\"']?[ \t]*$"
_DEFINED = re.compile(rf"^[\"']?(task|group)[\"']?:[ \t]*{_NAME}", re.MULTILINE)
_TAG = re.compile(rf"^[\"']?tag[\"']?:[ \t]*{_NAME}", re.MULTILINE)
_LISTED = re.compile(rf"^[ \t]*-[ \t]*(?:[\"']?(?:task|group)[\"']?:[ \t]*)?{_NAME}", re.MULTILINE)


@dataclass(frozen=True)
class _Names:
    """What the task files of lm-eval say by their lines alone."""

    defined: dict[str, set[str]]
    """Task or group to the folders with a file of it."""
    listed: dict[str, set[str]]
    """Name to the folders where it is a tag or stands in a list, which tags may."""
    members: dict[str, set[str]]
    """Group to the names that its file lists."""

    @property
    def known(self) -> list[str]:
        return sorted({*self.defined, *self.listed})

    def folders(self, name: str) -> set[str]:
        return set(self.defined.get(name) or self.listed.get(name) or ())


@functools.cache
def _names_below(root: Path) -> _Names:
    names = _Names({}, {}, {})
    for folder, text in _task_files(root):
        lists = set(_LISTED.findall(text))
        for kind, name in _DEFINED.findall(text):
            names.defined.setdefault(name, set()).add(folder)
            if kind == "group":
                names.members.setdefault(name, set()).update(lists)
        for name in {*_TAG.findall(text), *lists}:
            names.listed.setdefault(name, set()).add(folder)
    return names


def _task_files(root: Path) -> Iterator[tuple[str, str]]:
    """Folder below ``root`` and text of every task file. (`Path.rglob` takes three times as long.)"""
    for folder in sorted(entry.name for entry in os.scandir(root) if entry.is_dir()):
        for place, _, files in os.walk(root / folder):
            for file in files:
                if file.endswith(".yaml"):
                    with open(os.path.join(place, file), encoding="utf-8", errors="replace") as text:
                        yield folder, text.read()


class _PlainLoader(yaml.SafeLoader):
    """YAML that is only text, numbers, lists and mappings."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {mark.line + 1}: an alias (*name); write the value out")
        return super().compose_node(parent, index)


def read_task_yaml(path: Path, task: str) -> dict[str, Any]:
    """Settings of the one task in a user's YAML file, in lm-eval's own keys.

    `include` may name files of the same folder or below it. No tag, and so no `!function`, is taken.

    Raises:
        TaskError: the file is missing, no such YAML, or has a key that is refused; names it.
    """
    settings = _with_includes(path, path.resolve().parent, [])
    if settings.get("task") != task:
        raise TaskError(f"{path}: its task is {settings.get('task')!r}, and the recipe names {task!r}")
    for key, why in _REFUSED.items():
        if settings.get(key) is not None:
            raise TaskError(f"{path}: {key}: {why}, which a task file from outside lm-eval may not")
    if settings.get("unsafe_code"):
        raise TaskError(f"{path}: unsafe_code: code that a model writes is not run")
    return {key: value for key, value in settings.items() if key not in ("tag", "dataset_kwargs")}


def _with_includes(path: Path, folder: Path, seen: list[Path]) -> dict[str, Any]:
    whole = path.resolve()
    if not whole.is_relative_to(folder):
        raise TaskError(f"{path}: include leaves the folder of the task file; copy the file there")
    if whole in seen:
        raise TaskError(f"{path}: includes itself")
    settings = _plain_yaml(path)
    includes = settings.pop("include", [])
    merged: dict[str, Any] = {}
    for name in includes if isinstance(includes, list) else [includes]:
        merged |= _with_includes(path.parent / str(name), folder, [*seen, whole])
    return merged | settings


def _plain_yaml(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_YAML_BYTES:
            raise TaskError(f"{path}: {len(raw):,} bytes; a task file has at most {MAX_YAML_BYTES:,}")
        settings = yaml.load(raw.decode("utf-8-sig"), Loader=_PlainLoader)
    except OSError as error:
        raise TaskError(f"{path}: cannot be read ({error.strerror}); check `path`") from error
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise TaskError(
            f"{path}:{line}: {error.problem}; tags such as !function run code and are refused: write the "
            "prompt as a template"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise TaskError(f"{path}: not plain YAML ({' '.join(str(error).split())})") from error
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise TaskError(f"{path}: not a mapping with named keys")
    return settings


@dataclass(frozen=True)
class LocalRows:
    """Rows of local files in the fields of a task's source."""

    lines: list[Line]

    def of(self, name: str, stem: str) -> "LocalRows":
        """The rows of the file that is called as the task ``name``, or as its source's part ``stem``.

        Raises:
            TaskError: no file is.
        """
        wanted = {name, stem} - {""}
        found = [line for known in sorted(wanted) for line in self._by_stem.get(known, [])]
        if not found:
            raise TaskError(f"no file of `paths` is called {' or '.join(sorted(wanted))}.jsonl")
        return LocalRows(found)

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[Line]]:
        """Name of a file without suffixes to its rows."""
        stems = {path: path.name.split(".")[0] for path in self.files}
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(stems[line.path], []).append(line)
        return found

    @property
    def files(self) -> set[Path]:
        return {line.path for line in self.lines}

    def dataset(self) -> Any:
        """The rows as a `datasets.Dataset` in memory.

        Raises:
            TaskError: a row has other fields than the first, or values of another type.
        """
        from datasets import Dataset

        fields = self.lines[0].row.keys()
        for line in self.lines:
            if different := fields ^ line.row.keys():
                raise TaskError(
                    f"{line.where}: field {min(different)!r} is in one of this line and the first "
                    f"({self.lines[0].where}), not in both; all lines need the same fields"
                )
        try:
            return Dataset.from_list([line.row for line in self.lines])
        except (ValueError, TypeError, OverflowError) as error:
            raise TaskError(
                f"{self.lines[0].path}: a field has values of several types ({error}); make them one"
            ) from error


def read_local_rows(name: str, paths: Sequence[str], cache: Path) -> LocalRows:
    """All rows of ``paths``.

    Raises:
        TaskError: a file is missing or damaged, or there is no row.
    """
    lines = list(read_json_lines(paths, cache))
    if not lines:
        raise TaskError(f"task {name!r} has no items: {', '.join(paths)}; add items or leave the task out")
    return LocalRows(lines)
