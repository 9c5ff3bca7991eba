"""What tasks share with streams is counted by item, said where it is, and looked for once."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.data import overlap
from ablate.data.errors import DataError
from ablate.data.overlap import StreamTexts, count_overlap, task_texts
from ablate.data.overlap_summary import Overlaps, find_overlaps
from ablate.recipe.schema import DecontaminationConfig

FIVE = DecontaminationConfig(ngram=5, shortest=3)
TRAINING = [
    "Once a very small red bird sang in the old house.",
    "Nothing of interest.",
    "They say a very small red bird sang; then it flew.",
    "The stone falls!",
]
PAIRS = [
    ("pairs/0", "A very small red bird sang by the river."),
    ("pairs/0", "A very small red birds sang by the river."),
    ("pairs/1", "A very small blue bird sang."),
    ("pairs/2", "The stone falls"),
    ("pairs/3", "Bird sang"),
]


class Stream:
    """Texts in memory, and how often they were read."""

    def __init__(self, texts: list[str]) -> None:
        self.read = 0
        self.lines = texts

    def texts(self) -> StreamTexts:
        def read() -> Iterator[tuple[int, int, str]]:
            self.read += 1
            for number, text in enumerate(self.lines):
                yield 0, number, text

        return StreamTexts("text", "documents", " ".join(self.lines), read, lambda file, n: f"{file}:{n}")


def overlaps(
    tmp_path: Path,
    config: DecontaminationConfig = FIVE,
    stream: Stream | None = None,
    **tasks: list[tuple[str, str]],
) -> Overlaps:
    return find_overlaps(config, tasks, [(stream or Stream(TRAINING)).texts()], tmp_path)


def test_items_are_counted_once_and_those_that_cannot_be_told_apart(tmp_path: Path) -> None:
    found = overlaps(tmp_path, pairs=PAIRS)
    one = found.found["text"]["pairs"]
    # Both sentences of pair 0 share words, pair 2 occurs whole, pair 3 has too few words.
    assert (one.count, one.overlapping(found.tasks["pairs"]), one.too_short) == (4, [0, 2], 1)
    assert found.places("text") == {(0, 0), (0, 2), (0, 3)}


def test_the_listing_gives_the_longest_run_and_the_first_text_that_holds_it(tmp_path: Path) -> None:
    assert list(overlaps(tmp_path, pairs=PAIRS).rows()) == [
        ("pairs", "pairs/0", "a very small red bird sang", "text", "0:0", 2),
        ("pairs", "pairs/2", "the stone falls", "text", "0:3", 1),
    ]


def test_a_text_that_is_read_in_many_batches_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {"pairs": PAIRS, "more": [("more/0", TRAINING[2]), ("more/1", "nothing of interest")]}
    whole = overlaps(tmp_path / "whole", **tasks)
    monkeypatch.setattr(overlap, "_BATCH_WORDS", 1)
    parts = overlaps(tmp_path / "parts", **tasks)
    assert list(parts.rows()) == list(whole.rows())
    for task in tasks:
        for name in ("documents", "runs", "first", "holders", "texts"):
            arrays = [getattr(one.found["text"][task], name).tolist() for one in (parts, whole)]
            assert arrays[0] == arrays[1]


def test_tasks_that_are_read_together_are_what_they_are_alone(tmp_path: Path) -> None:
    tasks = {"pairs": PAIRS, "clean": [("clean/0", "nobody wrote this sentence before")], "none": []}
    together = overlaps(tmp_path / "together", **tasks)
    for name, pairs in tasks.items():
        alone = overlaps(tmp_path / name, **{name: pairs})
        assert [row for row in together.rows() if row[0] == name] == list(alone.rows())
        mine, its = together.found["text"][name], alone.found["text"][name]
        assert (mine.count, mine.too_short, mine.documents.tolist()) == (
            its.count,
            its.too_short,
            its.documents.tolist(),
        )


def test_a_stream_is_read_once_for_what_is_asked_of_it(tmp_path: Path) -> None:
    stream = Stream(TRAINING)
    first = list(overlaps(tmp_path, stream=stream, pairs=PAIRS).rows())
    again = overlaps(tmp_path, stream=stream, other=[(f"new {label}", text) for label, text in PAIRS])
    assert stream.read == 1, "the same texts under another name are the same texts"
    assert [row[2:] for row in again.rows()] == [row[2:] for row in first]
    assert [row[1] for row in again.rows()] == ["new pairs/0", "new pairs/2"]
    overlaps(tmp_path, stream=stream, pairs=PAIRS, more=PAIRS[1:])
    assert stream.read == 2, "a task more is a question more"
    overlaps(tmp_path, dataclasses.replace(FIVE, ngram=6), stream, pairs=PAIRS)
    overlaps(tmp_path, stream=Stream([*TRAINING, "a very small blue bird sang"]), pairs=PAIRS)
    assert stream.read == 3


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    overlaps(tmp_path, pairs=PAIRS)
    (file,) = (tmp_path / "overlap").glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"{file}: .*damaged.*delete this file"):
        count_overlap(Stream(TRAINING).texts(), {"pairs": task_texts(PAIRS)}, FIVE, tmp_path)


def test_notes_say_how_many_items_overlap_how_many_do_not_and_how_many_cannot_be_told(tmp_path: Path) -> None:
    found = overlaps(tmp_path, pairs=PAIRS, clean=[("clean/0", "nobody wrote this sentence")], mute=[])
    assert found.notes(["text", "pictures"]) == [
        "overlap: pairs: 2 of 4 items (1 too short to tell) share 5 words in a row with stream text "
        "or occur there whole",
        "overlap: no item shares 5 words in a row with stream text or occurs there whole: clean, 1 items",
        "overlap: nothing can be told of mute, which names no held-out text",
    ]
    assert found.notes([]) == []


def test_notes_say_what_was_removed_and_that_nobody_looked(tmp_path: Path) -> None:
    removing = overlaps(tmp_path, dataclasses.replace(FIVE, shortest=5, remove=True), pairs=PAIRS)
    assert removing.notes(["text"]) == [
        "overlap: pairs: 1 of 4 items (2 too short to tell) share 5 words in a row with stream text "
        "(before removal)",
        "overlap: removed from stream text: 2 of 4 documents",
    ]
    blind = overlaps(tmp_path, dataclasses.replace(FIVE, count=False), pairs=PAIRS)
    assert blind.notes(["text"]) == [
        "overlap: words that test items share with training text were not looked for"
    ]
    assert blind.removed("text") == set()
