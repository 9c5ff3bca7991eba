"""Texts with a class label, for fine-tuning: one set to learn from and one to be scored on."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import log
from pathlib import Path

from ablate.tasks.base import check_subset, digest_of, evenly_spaced
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line, read_json_lines

_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Fields:
    """Where an item's parts stand in its JSON object; see `FineTuneConfig`."""

    texts: tuple[str, ...]
    label: str
    subset: str = ""
    id: str = ""


@dataclass(frozen=True)
class Example:
    """One item."""

    id: str
    where: str
    """File and line, for messages."""
    subset: str
    texts: tuple[str, ...]
    """One text, or the two of a pair."""
    label: str
    """Name of the class; whole numbers and truth values are written out."""

    @property
    def content(self) -> tuple[str, ...]:
        """What the item asks, white space aside."""
        return tuple(" ".join(text.split()) for text in self.texts)

    @property
    def key(self) -> str:
        """Digest of texts and label: what the item's place in any order follows from."""
        return digest_of([self.texts, self.label])


@dataclass(frozen=True)
class LabelledTexts:
    """The items of a task."""

    classes: tuple[str, ...]
    """Every label of the training items, whole numbers by size and names by the alphabet."""
    train: list[Example]
    """In an order that the files' order does not change."""
    test: list[Example]
    """In the files' order."""
    left_out: int
    """Training items that were left out because a test item holds the same text."""

    def log_frequencies(self) -> list[float]:
        """Log of each class's share of the training items: all that a model can know without reading."""
        counts = Counter(example.label for example in self.train)
        return [log(counts[name] / len(self.train)) for name in self.classes]

    def labels(self) -> list[int]:
        """Index of each test item's class."""
        place = {name: index for index, name in enumerate(self.classes)}
        return [place[example.label] for example in self.test]


def read_labelled_texts(
    name: str,
    train_paths: Sequence[str],
    paths: Sequence[str],
    fields: Fields,
    train_limit: int,
    limit: int,
    cache: Path,
) -> LabelledTexts:
    """Read and check both sets.

    A training item whose text is also a test item's is left out and counted. ``train_limit`` keeps those
    with the smallest content digests, a random choice that is the same whatever the files' order;
    ``limit`` keeps evenly spaced test items. 0 keeps all.

    Raises:
        TaskError: an item is refused, a set has no items, the training items have one class alone, or a
            test item has a class that no training item has.
    """
    test = _read(name, "paths", paths, fields, cache)
    test = [test[index] for index in evenly_spaced(len(test), limit)]
    # Training items are not named in any table, so they need neither id nor subset.
    found = _read(name, "train_paths", train_paths, replace(fields, subset="", id=""), cache)
    asked = {example.content for example in test}
    train = [example for example in found if example.content not in asked]
    train.sort(key=lambda example: example.key)
    left_out = len(found) - len(train)
    kept = train[: train_limit or len(train)]
    classes = _classes(kept)
    if len(classes) < 2:
        what = f"all have the label {classes[0]!r}" if classes else "none is left"
        raise TaskError(
            f"task {name!r}: of {len(found)} training items, {left_out} left out for being test items too "
            f"and {len(kept)} kept, {what}; two classes or more are needed: check label_field and train_limit"
        )
    for example in test:
        if example.label not in classes:
            hint = "; GLUE's test files hide their labels as -1" if example.label == "-1" else ""
            raise TaskError(
                f"{example.where}: {fields.label} is {example.label!r}, which no training item has; "
                f"their labels: {', '.join(classes[:12])}{' ...' if len(classes) > 12 else ''}{hint}"
            )
    return LabelledTexts(classes, kept, test, left_out)


def fill(template: str, names: Sequence[str], texts: Sequence[str]) -> str:
    """``template`` with `{name}` replaced by its text; without a template, the texts one a line."""
    if not template:
        return "\n".join(texts)
    given = dict(zip(names, texts, strict=True))
    return _PLACE.sub(lambda found: given[found[1]], template)


def check_template(template: str, names: Sequence[str]) -> None:
    """Refuse a template that leaves a text out or asks for another.

    Raises:
        TaskError: naming the texts it may and must hold.
    """
    held = _PLACE.findall(template)
    if template and set(held) != set(names):
        wanted = " and ".join(f"{{{name}}}" for name in names)
        raise TaskError(f"prompt {template!r} must hold {wanted} and nothing else in braces")


def _read(name: str, key: str, paths: Sequence[str], fields: Fields, cache: Path) -> list[Example]:
    found: list[Example] = []
    seen: dict[str, str] = {}
    numbered: bool | None = None
    for line in read_json_lines(paths, cache):
        example = _example(line, fields)
        if example.id in seen:
            raise TaskError(f"{line.where}: id {example.id!r} occurs twice, first at {seen[example.id]}")
        seen[example.id] = line.where
        number = type(line.row[fields.label]) is int
        if numbered not in (None, number):
            raise TaskError(
                f"{line.where}: {fields.label} is {line.row[fields.label]!r:.60}, but the lines before have "
                f"{'names' if number else 'whole numbers'}; write all labels one way"
            )
        numbered = number
        found.append(example)
    if not found:
        raise TaskError(f"task {name!r} has no items in {key}: {', '.join(paths) or 'it is empty'}")
    return found


def _example(line: Line, fields: Fields) -> Example:
    texts = tuple(line.filled(field) for field in fields.texts)
    value = line.value(fields.label)
    if isinstance(value, bool | int):
        label = str(value).lower()
    elif isinstance(value, str) and value.strip():
        label = line.as_text(value, fields.label)
    else:
        raise TaskError(
            f"{line.where}: {fields.label} is {value!r:.60}; a class is a name, a whole number, true or false"
        )
    subset = ""
    if fields.subset:
        subset = line.text(fields.subset)
        check_subset(subset, line.where)
    return Example(line.identifier(fields.id), line.where, subset, texts, label)


def _classes(examples: Sequence[Example]) -> tuple[str, ...]:
    names = {example.label for example in examples}
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def labelled(name: str, data: LabelledTexts) -> Iterator[tuple[str, str]]:
    """(label, text) of every test item, the two texts of a pair one a line."""
    for example in data.test:
        yield f"{name}/{example.id}", "\n".join(example.texts)
