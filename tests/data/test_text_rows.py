"""Rows of text: nothing lost, nothing doubled, and each row a function of its number alone."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.data.text_rows import TextRows

BOS, PAD, EOS = 1, 0, 2


@dataclass(frozen=True)
class Documents:
    tokens: NDArray[np.uint16]
    offsets: NDArray[np.int64]


def documents(lengths: list[int]) -> Documents:
    """Documents of numbered tokens, each closed by an end token."""
    parts, at = [], 3
    for length in lengths:
        parts.append(np.append(np.arange(at, at + length), EOS))
        at += length
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    return Documents(np.concatenate(parts).astype(np.uint16), offsets.astype(np.int64))


def text_rows(lengths: list[int], context_length: int, seed: int = 0, name: str = "text") -> TextRows:
    return TextRows(documents(lengths), context_length, BOS, PAD, seed, name)


worlds = st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(8, 33))


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_every_token_of_an_epoch_is_in_exactly_one_row(world: tuple[list[int], int]) -> None:
    lengths, context_length = world
    rows = text_rows(lengths, context_length)
    epochs = 3
    # So many rows span a whole number of epochs.
    count = rows.places_per_epoch * epochs
    made = rows.rows(np.arange(count))
    seen = made.tokens[(made.tokens != BOS) & (made.document != NO_DOCUMENT)]
    expected = np.sort(np.tile(rows.tokens.tokens.astype(np.int64), epochs * (context_length - 1)))
    assert np.array_equal(np.sort(seen), expected)


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_every_row_begins_with_bos_and_every_document_does(world: tuple[list[int], int]) -> None:
    lengths, context_length = world
    made = text_rows(lengths, context_length).rows(np.arange(40))
    assert (made.tokens[:, 0] == BOS).all()
    begins = made.position == 0
    assert (made.tokens[begins & (made.document != NO_DOCUMENT)] == BOS).all()
    assert ((made.tokens == BOS) == (begins & (made.document != NO_DOCUMENT))).all()


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_each_token_is_scored_once_and_after_its_own_document(world: tuple[list[int], int]) -> None:
    lengths, context_length = world
    made = text_rows(lengths, context_length).rows(np.arange(40))
    rows, places = np.nonzero(made.labels != UNSCORED)
    assert (made.labels[rows, places] == made.tokens[rows, places + 1]).all()
    assert (made.document[rows, places] == made.document[rows, places + 1]).all()
    text = (made.document != NO_DOCUMENT) & (made.tokens != BOS)
    assert text.sum() == len(rows)


@given(worlds, st.permutations(range(30)))
@settings(max_examples=40, deadline=None)
def test_a_row_depends_on_its_number_alone(world: tuple[list[int], int], order: list[int]) -> None:
    lengths, context_length = world
    together = text_rows(lengths, context_length).rows(np.arange(30))
    apart = text_rows(lengths, context_length)
    for number in order[:8]:
        alone = apart.rows(np.asarray([number]))
        for name in ("tokens", "labels", "document", "position"):
            assert np.array_equal(getattr(alone, name)[0], getattr(together, name)[number])


def test_positions_count_from_the_beginning_of_each_document() -> None:
    made = text_rows([5, 30, 3], 16).rows(np.arange(20))
    for row in range(20):
        for document in set(made.document[row]) - {NO_DOCUMENT}:
            places = np.nonzero(made.document[row] == document)[0]
            assert made.position[row, places].tolist() == list(range(len(places)))


def test_epochs_are_shuffled_anew_and_seeds_and_streams_apart() -> None:
    lengths = [6] * 50  # with BOS and end, a document fills the places of one row

    def epoch(seed: int, name: str, number: int) -> list[int]:
        rows = text_rows(lengths, 9, seed, name)
        per_epoch = rows.places_per_epoch // 8
        assert per_epoch * 8 == rows.places_per_epoch
        return rows.rows(np.arange(number * per_epoch, (number + 1) * per_epoch)).tokens.flatten().tolist()

    kinds = [epoch(0, "text", 0), epoch(0, "text", 1), epoch(1, "text", 0), epoch(0, "other", 0)]
    assert len({tuple(kind) for kind in kinds}) == 4
    assert all(sorted(kind) == sorted(kinds[0]) for kind in kinds)


@pytest.mark.parametrize("lengths", [[200], [1]])
def test_a_corpus_of_one_document_longer_or_shorter_than_a_row_works(lengths: list[int]) -> None:
    made = text_rows(lengths, 16).rows(np.arange(50))
    assert made.tokens.shape == (50, 16)
    assert (made.labels != UNSCORED).any()
