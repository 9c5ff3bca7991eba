"""All overlap of a study: what was found, what of it is taken out, and both in words."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ablate.data.overlap import StreamTexts, TaskOverlap, TaskTexts, count_overlap, task_texts
from ablate.data.overlap_words import words_of
from ablate.recipe.schema import DecontaminationConfig

COLUMNS = ("task", "item", "shared words", "stream", "first in", "texts")
"""Of `Overlaps.rows`: the text of the stream that holds the words first, and how many hold some of them."""


@dataclass(frozen=True)
class Overlaps:
    """What the tasks of a study share with its streams."""

    config: DecontaminationConfig
    tasks: dict[str, TaskTexts]
    streams: dict[str, StreamTexts]
    found: dict[str, dict[str, TaskOverlap]]
    """Stream to task to what they share; empty where overlap is not counted."""
    samples_gone: dict[str, int] = field(default_factory=dict)
    """Media stream to its samples that removal left without a caption."""

    def places(self, stream: str) -> set[tuple[int, int]]:
        """The texts of a stream that share words with any task, see `StreamTexts.read`."""
        return {
            (int(first), int(second))
            for overlap in self.found.get(stream, {}).values()
            for first, second in overlap.documents.tolist()
        }

    def removed(self, stream: str) -> set[tuple[int, int]]:
        """The texts of a stream that training goes without."""
        return self.places(stream) if self.config.remove else set()

    def rows(self) -> Iterator[tuple[str, str, str, str, str, int]]:
        """One row per run of shared words, see `COLUMNS` and `TaskOverlap.runs`; what several alternatives of
        an item share stands once."""
        for stream, by_task in self.found.items():
            for task, overlap in by_task.items():
                held = self.tasks[task]
                columns = (overlap.runs, overlap.words, overlap.first, overlap.holders)
                told: dict[tuple[str, str, str, str, str, int], None] = {}
                for (text, word), count, first, holders in zip(*(c.tolist() for c in columns), strict=True):
                    words = " ".join(words_of(held.texts[text])[word : word + count])
                    place = self.streams[stream].place(*first)
                    told[task, held.labels[held.item[text]], words, stream, place, holders] = None
                yield from told

    def notes(self, streams: Iterable[str]) -> list[str]:
        """What a reader of scores must know of the ``streams`` that a run read: one note per stream and task
        that share words, one per stream for the tasks that share none, one for what was taken out."""
        if not self.config.count:
            return ["overlap: words that test items share with training text were not looked for"]
        said = []
        for stream in streams:
            said += self._stream_notes(stream)
        mute = [task for task, held in self.tasks.items() if not held.texts]
        if said and mute:
            said.append(f"overlap: nothing can be told of {', '.join(mute)}, which names no held-out text")
        return said

    def _stream_notes(self, stream: str) -> list[str]:
        by_task = {task: one for task, one in self.found.get(stream, {}).items() if one.count}
        if not any(one.total for one in by_task.values()):
            return []  # no task has items, or the stream has no text
        said, clean = [], []
        removed = self.removed(stream)
        whole = self.config.shortest < self.config.ngram
        words = f"{self.config.ngram} words in a row with stream {stream}"
        before = " (before removal)" if removed else ""
        for task, overlap in by_task.items():
            short = f" ({overlap.too_short} too short to tell)" if overlap.too_short else ""
            items = f"{overlap.count} items{short}"
            if count := len(overlap.overlapping(self.tasks[task])):
                shared = f"share {words}" + (" or occur there whole" if whole else "")
                said.append(f"overlap: {task}: {count} of {items} {shared}{before}")
            else:
                clean.append(f"{task}, {items}")
        if clean:
            shared = f"shares {words}" + (" or occurs there whole" if whole else "")
            said.append(f"overlap: no item {shared}: {'; '.join(clean)}")
        if removed:
            total = next(iter(by_task.values())).total
            kind = self.streams[stream].kind
            gone = self.samples_gone.get(stream, 0)
            also = f", and {gone} samples that had no other" if gone else ""
            said.append(f"overlap: removed from stream {stream}: {len(removed)} of {total} {kind}{also}")
        return said


def find_overlaps(
    config: DecontaminationConfig,
    tasks: Mapping[str, Iterable[tuple[str, str]]],
    streams: Iterable[StreamTexts],
    cache: Path,
) -> Overlaps:
    """What each of ``tasks``, (label, text) of all that it holds out, shares with each of ``streams``.

    Raises:
        DataError: a stream cannot be read, or the cache is damaged.
    """
    if not config.count:
        return Overlaps(config, {}, {}, {})
    held = {name: task_texts(texts) for name, texts in tasks.items()}
    read = {stream.name: stream for stream in streams}
    found = {name: count_overlap(stream, held, config, cache) for name, stream in read.items()}
    return Overlaps(config, held, read, found)
