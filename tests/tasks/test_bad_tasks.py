"""Bad task files: every kind refuses them with file and line before anything is scored."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import SAMPLES

from ablate.tasks.base import Task
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.registry import TASKS, load_task, task_class

Row = dict[str, Any]

FILES: dict[str, dict[str, list[Row]]] = {
    **{kind: files for kind, (files, _) in SAMPLES.items()},
    "fine_tune": {
        "test.jsonl": [{"text": "It snows.", "label": "cold"}, {"text": "It burns.", "label": "hot"}],
        "train.jsonl": [{"text": "Ice.", "label": "cold"}, {"text": "Fire.", "label": "hot"}],
    },
}
"""Kind to valid files of the fewest items."""

WITHOUT_FILES = {"harness"}
"""Kinds that read no file of their own form; they have tests of their own."""

KINDS = sorted(FILES)

LABELS: dict[str, tuple[str, list[Any]]] = {
    "multiple_choice": ("label", [3, -1, "1", True, None, 1.0]),
    "hellaswag": ("label", [4, -1, "", "x"]),
    "arc": ("answerKey", ["E", "", 7]),
    "openbookqa": ("answerKey", ["E", "", None]),
    "commonsense_qa": ("answerKey", ["F", "", 1]),
    "piqa": ("label", [2, -1, "a", None]),
    "copa": ("label", [2, -1, "a", None]),
    "winogrande": ("answer", ["3", "0", "", None]),
    "boolq": ("label", [2, -1, "maybe", None]),
    "fine_tune": ("label", ["warm", "", None, 0.5, 1]),
}
"""Kind to the key of its label and values that no label of its sample has."""

WITHOUT_LABELS = {
    "bits_per_byte",
    "minimal_pairs",
    "blimp",
    "sciq",
    "lambada",
    "ewok",
    "vicomte",
    "coda",
}
"""Kinds whose fields themselves say which text is right."""

NAMED = {"arc", "blimp", "boolq", "coda", "commonsense_qa", "copa", "openbookqa", "winogrande"}
"""Kinds whose source names its items."""

LINE = r"\.jsonl:(?: line)? ?\d+: "
"""File and line, as readers of tasks and as readers of text write them."""


@pytest.fixture
def load(tmp_path: Path):
    """Loads a kind from raw files, given as bytes by name in place of its own."""

    def load(kind: str, **instead: bytes) -> Task:
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        paths = []
        for name, rows in FILES[kind].items():
            path = folder / name
            path.write_bytes(instead.get(name.removesuffix(".jsonl"), as_lines(rows)))
            paths.append(str(path))
        settings = {"kind": kind, "paths": paths, **(SAMPLES[kind][1] if kind in SAMPLES else {})}
        if kind == "fine_tune":
            settings |= {"paths": paths[:1], "train_paths": paths[1:]}
        return load_task(kind, settings, tmp_path / "cache")

    return load


def as_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def first_file(kind: str) -> tuple[str, list[Row]]:
    """Name, without suffix, and rows of the first file of a kind."""
    name, rows = next(iter(FILES[kind].items()))
    return name.removesuffix(".jsonl"), rows


def asked(task: Task) -> list[str]:
    """All that a task asks, in no order."""
    return sorted(text for _, text in task.texts())


def outcome(load: Callable[..., Task], kind: str, **instead: bytes) -> tuple[Task | None, str]:
    """The task, or the message it is refused with."""
    try:
        return load(kind, **instead), ""
    except TaskError as error:
        return None, str(error)


def test_every_kind_has_a_valid_sample_here() -> None:
    assert set(KINDS) | WITHOUT_FILES == set(TASKS)
    assert set(LABELS) | WITHOUT_LABELS == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_itself_is_valid(load, kind: str) -> None:
    assert asked(load(kind))


NO_ITEMS = [
    (b"{oops", "not JSON|invalid JSON"),
    (b"[1, 2]", "not a JSON object|an object is needed"),
    (b'"text"', "not a JSON object|an object is needed"),
    (b"\xff\xfe", "UTF-8"),
    (b"{}", "no field|neither"),
    (b"[" * 100_000, "not JSON|invalid JSON"),
]
"""Lines and what is said of them."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_that_is_no_item_is_named(load, kind: str) -> None:
    name, rows = first_file(kind)
    # The blank line counts as a line and is no item.
    place = f"{name}{LINE}".replace(r"\d+", str(len(rows) + 2))
    for bad, message in NO_ITEMS:
        _, said = outcome(load, kind, **{name: as_lines(rows) + b"\n" + bad + b"\n"})
        assert re.search(place, said), said
        assert re.search(message, said), said


@pytest.mark.parametrize("content", [b"", b"\n\n"], ids=["empty", "blank"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_without_items_are_named(load, kind: str, content: bytes) -> None:
    instead = {name.removesuffix(".jsonl"): content for name in FILES[kind]}
    with pytest.raises(TaskError, match=rf"task '{kind}'.*({first_file(kind)[0]}\.jsonl|paths)"):
        load(kind, **instead)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_and_a_file_that_is_not_there_are_named(tmp_path: Path, kind: str) -> None:
    settings = {"kind": kind, **({"train_paths": [str(tmp_path)]} if kind == "fine_tune" else {})}
    for path in (tmp_path, tmp_path / "nothing.jsonl"):
        with pytest.raises(TaskError, match=re.escape(str(path))):
            load_task(kind, {**settings, "paths": [str(path)]}, tmp_path / "cache")


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_the_wrong_form_is_refused_or_changes_nothing(load, kind: str) -> None:
    """Fields that no item is made of may hold anything; an empty text may stand where the source has some."""
    name, rows = first_file(kind)
    whole = asked(load(kind))
    for value in (None, 2.5, [], {}, "", " ", "\ud800"):
        refused = 0
        for field in rows[-1]:
            task, said = outcome(load, kind, **{name: as_lines([*rows[:-1], {**rows[-1], field: value}])})
            if task is None:
                assert re.search(LINE, said), f"{field}: {said}"
                refused += 1
            else:
                assert asked(task) == whole or value in ("", " "), f"{field}: {value!r}"
        assert refused >= 1, f"{value!r}"


@pytest.mark.parametrize("kind", sorted(LABELS))
def test_a_label_out_of_range_is_refused_by_line(load, kind: str) -> None:
    name, rows = first_file(kind)
    field, values = LABELS[kind]
    for value in values:
        with pytest.raises(TaskError, match=rf"{name}{LINE}.*{field}"):
            load(kind, **{name: as_lines([*rows[:-1], {**rows[-1], field: value}])})


@pytest.mark.parametrize("kind", KINDS)
def test_no_item_has_an_empty_choice(load, kind: str) -> None:
    def emptied(value: Any) -> list[Any]:
        """``value`` with each text in it emptied in turn."""
        if isinstance(value, str):
            return ["", "\n"]
        if isinstance(value, list):
            return [[*value[:i], new, *value[i + 1 :]] for i, old in enumerate(value) for new in emptied(old)]
        if isinstance(value, dict):
            return [{**value, key: new} for key, old in value.items() for new in emptied(old)]
        return []

    name, rows = first_file(kind)
    for row in emptied(rows[-1]):
        task, said = outcome(load, kind, **{name: as_lines([*rows[:-1], row])})
        if task is None:
            assert re.search(LINE, said), said
            continue
        assert all(text.strip() for text in asked(task))
        for item in getattr(task, "items", []):
            assert all(choice.text.strip() and choice.continuation.strip() for choice in item.choices)


@pytest.mark.parametrize("kind", KINDS)
def test_two_items_never_share_an_id(load, kind: str) -> None:
    """A name that the source gives twice is refused; where it gives none, file and line tell items apart."""
    name, rows = first_file(kind)
    task, said = outcome(load, kind, **{name: as_lines([*rows, rows[-1]])})
    if task is None:
        assert re.search(rf"{name}\.jsonl:{len(rows) + 1}: .*twice", said), said
    else:
        labels = [label for label, _ in task.texts()]
        own = [item.id for item in getattr(task, "items", [])] or labels
        assert len(set(own)) == len(own)
    assert (task is None) == (kind in NAMED)


@pytest.mark.parametrize("kind", sorted(kind for kind in KINDS if issubclass(task_class(kind), ChoiceTask)))
def test_a_choice_longer_than_the_context_is_refused_and_a_context_is_cut(
    load, tokenizer, constant: Callable[..., Any], kind: str
) -> None:
    task = load(kind)
    with pytest.raises(TaskError, match=LINE):
        task.check(tokenizer, 1)
    requests = task.requests(tokenizer)
    room = max(len(request.continuation) for request in requests)
    task.check(tokenizer, room)
    long = sum(len(request.context) + len(request.continuation) - 1 > room for request in requests)
    notes = " ".join(task.score(constant(room), tokenizer, 8).notes)
    assert (f"{long} of {len(requests)} contexts cut from the left to fit {room} positions" in notes) == bool(
        long
    )
