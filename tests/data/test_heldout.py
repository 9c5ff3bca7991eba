"""A held-out text that was trained on is named."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ablate.data.documents import document_digest
from ablate.data.errors import DataError
from ablate.data.heldout import refuse_training_overlap
from ablate.materials import Materials


def digests(*texts: str) -> np.ndarray:
    return np.array([document_digest(text) for text in texts], dtype=np.uint64)


TRAINING = {"prose": digests("one text", "another"), "manuals": digests("a page", "one text")}


def test_text_apart_from_training_is_admitted():
    refuse_training_overlap(TRAINING, [("bpb:0", "a third"), ("bpb:1", "one tex")])
    refuse_training_overlap({}, [("bpb:0", "one text")])
    refuse_training_overlap(TRAINING, [])


def test_an_overlap_names_the_item_and_every_stream_it_is_in():
    with pytest.raises(DataError, match=r"^1 of 2 .* bpb:7 \(in prose, manuals\);"):
        refuse_training_overlap(TRAINING, [("bpb:6", "fine"), ("bpb:7", "one text")])


def test_other_whitespace_does_not_hide_an_overlap():
    with pytest.raises(DataError, match=r"bpb:0 \(in manuals\)"):
        refuse_training_overlap(TRAINING, [("bpb:0", "\n a \t page ")])


def test_the_first_few_of_many_are_shown_and_the_rest_counted():
    with pytest.raises(DataError, match=r"^9 of 9 .*t:0 .*t:4 \(in prose\) and 4 more;") as caught:
        refuse_training_overlap(TRAINING, [(f"t:{n}", "another") for n in range(9)])
    assert "t:5" not in str(caught.value)


def test_a_question_that_a_training_caption_answers_is_refused(
    prepared: Callable[..., Materials], tmp_path: Path
) -> None:
    leaked = prepared().media["pictures"].samples.texts(3)[0]
    path = tmp_path / "leaked.jsonl"
    path.write_text(json.dumps({"text": f"  {leaked} \n"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="pictures"):
        prepared(f"tasks.prose.paths=['{path}']")
