"""Words that training text shares with test items: n-gram overlap, counted stream by stream and task by task.

An item overlaps with a stream if one of its runs of ``ngram`` words occurs in a text of the stream: 13 words,
as GPT-3 filtered its training text by (Brown et al. 2020, appendix C). An item with fewer words overlaps if
all of it occurs there in a row; one with fewer than ``shortest`` is counted as too short to tell. GPT-3 takes
8 words at least, so as not to count common phrases of an item; a whole item is more than a phrase of it, and
most sentences of BLiMP have fewer than 8. Items and texts are compared word by word
(`ablate.data.overlap_words`), so that what is counted is there.

What was found is cached by the contents of stream and task.
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ablate.data.content import digest_of, write_once
from ablate.data.errors import DataError
from ablate.data.overlap_index import GramIndex, Ints
from ablate.data.overlap_words import words_of
from ablate.recipe.schema import DecontaminationConfig

_FORMAT = "overlap-2"
_BATCH_WORDS = 1 << 19
"""Words of training text that are looked up at a time."""


@dataclass(frozen=True)
class StreamTexts:
    """The texts of one stream, told apart by two numbers."""

    name: str
    kind: str
    """What one text is, in the plural: `documents`, `captions`."""
    key: str
    """Digest of everything that `read` yields."""
    read: Callable[[], Iterator[tuple[int, int, str]]]
    """(file, place in it, text), or (sample, caption of it, text), in the stream's order."""
    place: Callable[[int, int], str]
    """The name of a text, such as `news-000.jsonl.gz:17`."""


@dataclass(frozen=True)
class TaskTexts:
    """What one task holds out."""

    labels: list[str]
    """Label of each item."""
    texts: list[str]
    item: list[int]
    """The item of each text: the alternatives of a question are texts of one item."""

    @cached_property
    def key(self) -> str:
        """Digest of texts and items, whatever these are called."""
        return digest_of("task texts", " ".join(map(str, self.item)), *self.texts)


def task_texts(heldout: Iterable[tuple[str, str]]) -> TaskTexts:
    """The (label, text) of a task, the texts of one label taken together."""
    numbers: dict[str, int] = {}
    found = TaskTexts([], [], [])
    for label, text in heldout:
        found.item.append(numbers.setdefault(label, len(numbers)))
        found.texts.append(text)
    found.labels.extend(numbers)
    return found


@dataclass(frozen=True)
class TaskOverlap:
    """What one task shares with one stream.

    A run is as many words in a row of one text of the task as occur, n-gram by n-gram, first in one and the
    same text of the stream.
    """

    items: Ints
    """int64[2]: items of the task, and how many of them are too short to tell."""
    documents: Ints
    """int64[documents, 2]: the texts of the stream that share words with the task, see `StreamTexts.read`."""
    runs: Ints
    """int64[runs, 2]: the text of the task, and its word that the run begins with."""
    words: Ints
    """int64[runs]: words of the run."""
    first: Ints
    """int64[runs, 2]: the text of the stream that each run occurs in first."""
    holders: Ints
    """int64[runs]: texts of the stream that share an n-gram of the run, where they are most."""
    texts: Ints
    """int64[1]: texts of the stream."""

    @property
    def count(self) -> int:
        """Items of the task."""
        return int(self.items[0])

    @property
    def total(self) -> int:
        """Texts of the stream."""
        return int(self.texts[0])

    @property
    def too_short(self) -> int:
        """Items with too few words to tell."""
        return int(self.items[1])

    def overlapping(self, task: TaskTexts) -> list[int]:
        """The items that overlap, in order."""
        return sorted({task.item[text] for text in self.runs[:, 0].tolist()})


def count_overlap(
    stream: StreamTexts, tasks: Mapping[str, TaskTexts], config: DecontaminationConfig, cache: Path
) -> dict[str, TaskOverlap]:
    """Task to what it shares with ``stream``. The stream is read once for all tasks that the cache lacks.

    Raises:
        DataError: the stream cannot be read, or the cache is damaged.
    """
    files = {name: _cached(stream, task, config, cache) for name, task in tasks.items()}
    missing = {name: tasks[name] for name, file in files.items() if not file.exists()}
    if missing:
        for name, overlap in _scan(stream, missing, config).items():
            write_once(files[name], partial(_write, overlap))
    return {name: _read(file) for name, file in files.items()}


def _cached(stream: StreamTexts, task: TaskTexts, config: DecontaminationConfig, cache: Path) -> Path:
    key = digest_of(_FORMAT, stream.key, task.key, f"{config.ngram} {config.shortest}")
    return cache / "overlap" / f"{key}.npz"


def _write(overlap: TaskOverlap, path: Path) -> None:
    with path.open("wb") as out:
        np.savez_compressed(out, **{one.name: getattr(overlap, one.name) for one in fields(overlap)})


def _read(path: Path) -> TaskOverlap:
    try:
        with np.load(path, allow_pickle=False) as held:
            return TaskOverlap(**{one.name: held[one.name] for one in fields(TaskOverlap)})
    except (OSError, ValueError, KeyError, NotImplementedError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: the cached overlap is damaged ({error}); delete this file") from error


@dataclass
class _Found:
    """What a pass over a stream collects."""

    place: "array[int]"
    """Two numbers of each text read so far."""
    first: Ints
    """int64[n-grams]: the text that holds each n-gram first, -1 where none does."""
    holders: Ints
    """int64[n-grams]: how many texts hold it."""
    documents: list[list[Ints]]
    """Per task, the texts that hold any of its n-grams, in order."""


def _scan(
    stream: StreamTexts, tasks: Mapping[str, TaskTexts], config: DecontaminationConfig
) -> dict[str, TaskOverlap]:
    index = GramIndex([text for task in tasks.values() for text in task.texts], config.ngram, config.shortest)
    ends = np.cumsum([0, *(len(task.texts) for task in tasks.values())])
    ranges = [slice(int(index.starts[ends[at]]), int(index.starts[ends[at + 1]])) for at in range(len(tasks))]
    held = []
    for words in ranges:
        of_task = np.zeros(index.count, dtype=bool)
        grams = index.gram[words]
        of_task[grams[grams >= 0]] = True
        held.append(of_task)
    found = _Found(
        array("q"),
        np.full(index.count, -1, dtype=np.int64),
        np.zeros(index.count, dtype=np.int64),
        [[] for _ in tasks],
    )
    for begin, batch in _batches(stream, index, found.place):
        grams, owner = index.find(batch)
        owner += begin
        np.add.at(found.holders, grams, 1)
        new, at = np.unique(grams, return_index=True)
        # The pairs are sorted by text, so the first of an n-gram is its first text.
        unseen = found.first[new] < 0
        found.first[new[unseen]] = owner[at[unseen]]
        for documents, of_task in zip(found.documents, held, strict=True):
            documents.append(np.unique(owner[of_task[grams]]))
    return {
        name: _task_overlap(index, found, task, int(ends[at]), ranges[at], found.documents[at])
        for at, (name, task) in enumerate(tasks.items())
    }


def _batches(
    stream: StreamTexts, index: GramIndex, place: "array[int]"
) -> Iterator[tuple[int, list[NDArray[np.int32]]]]:
    """(number of the first text, words of each text) of batches of texts; their places go to ``place``."""
    batch: list[NDArray[np.int32]] = []
    begin = size = 0
    for file, number, text in stream.read():
        place.extend((file, number))
        batch.append(index.number(words_of(text)))
        size += len(batch[-1]) + 1
        if size >= _BATCH_WORDS:
            yield begin, batch
            begin, size, batch = begin + len(batch), 0, []
    if batch:
        yield begin, batch


def _task_overlap(
    index: GramIndex, found: _Found, task: TaskTexts, text: int, words: slice, documents: Sequence[Ints]
) -> TaskOverlap:
    """What ``task`` shares. Its texts begin with number ``text`` of the index, its words are ``words``."""
    place = np.array(found.place, dtype=np.int64).reshape(-1, 2)
    hits = np.flatnonzero(index.gram[words] >= 0) + words.start
    hits = hits[found.first[index.gram[hits]] >= 0]
    gram = index.gram[hits]
    owner = np.searchsorted(index.starts, hits, side="right") - 1
    begins = np.flatnonzero(
        (np.diff(hits, prepend=-2) != 1)
        | (np.diff(owner, prepend=-1) != 0)
        | (np.diff(found.first[gram], prepend=-1) != 0)
    )
    last = np.append(begins[1:], len(hits))[: len(begins)] - 1
    told = np.zeros(len(task.labels), dtype=bool)
    short = index.too_short[text : text + len(task.texts)]
    told[np.asarray(task.item, dtype=np.int64)[~short]] = True
    return TaskOverlap(
        items=np.array([len(told), np.count_nonzero(~told)], dtype=np.int64),
        documents=place[np.concatenate(documents)] if documents else place[:0],
        runs=np.stack([owner[begins] - text, hits[begins] - index.starts[owner[begins]]], axis=1),
        words=hits[last] - hits[begins] + index.lengths[hits[last]],
        first=place[found.first[gram[begins]]],
        holders=np.maximum.reduceat(found.holders[gram], begins) if len(begins) else begins,
        texts=np.array([len(place)], dtype=np.int64),
    )
