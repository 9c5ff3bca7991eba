"""Rows of media: the same captions scored in the same places, whatever becomes of the pictures."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ablate.data.batch import NO_DOCUMENT, UNSCORED
from ablate.data.media_rows import MediaRowArrays, MediaRows, Medium, RowDocuments
from ablate.recipe.schema import Control, Order

BOS, PAD, EOS = 1, 0, 2
TOKENS_PER_ITEM = 4


@dataclass(frozen=True)
class Captions:
    tokens: NDArray[np.uint16]
    offsets: NDArray[np.int64]
    first: NDArray[np.int64]


def captions(lengths: list[list[int]]) -> Captions:
    """Captions of numbered tokens; one list of lengths per sample."""
    parts, at = [], 3
    for length in (one for sample in lengths for one in sample):
        parts.append(np.append(np.arange(at, at + length), EOS))
        at += length
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    first = np.cumsum([0, *(len(sample) for sample in lengths)])
    return Captions(np.concatenate(parts).astype(np.uint16), offsets, first)


def media_rows(
    lengths: list[list[int]],
    *,
    seed: int = 0,
    order: Order = "mixed",
    control: Control | None = None,
    context_length: int = 24,
    items_per_row: int = 2,
    name: str = "pictures",
) -> MediaRows:
    count = len(lengths)
    return MediaRows(
        captions=captions(lengths),  # type: ignore[arg-type]
        keys=np.arange(count, dtype=np.uint64) * 7919,
        media=(Medium(name, TOKENS_PER_ITEM, np.arange(count, dtype=np.uint64)),),
        context_length=context_length,
        items_per_row=items_per_row,
        order=order,
        bos=BOS,
        pad=PAD,
        seed=seed,
        name=name,
        control=control,
    )


def laid(
    rows: MediaRows, numbers: NDArray[np.int64], *, attended: bool
) -> tuple[RowDocuments, MediaRowArrays]:
    found = rows.documents(numbers)
    seen = {name: np.full(len(shown.item), attended) for name, shown in found.media.items()}
    return found, rows.assemble(found, len(numbers), seen)


def slots_of(made: MediaRowArrays) -> NDArray[np.int64]:
    return np.concatenate([slots.flatten() for slots in made.slots.values()])


def visits(rows: MediaRows, numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Sample and caption of every document."""
    found = rows.documents(numbers)
    assert rows.captions is not None
    last = [segments[-1].end for segments in found.segments]
    captions = np.searchsorted(rows.captions.offsets, last) - 1
    return list(zip(found.unit.tolist(), captions.tolist(), strict=True))


worlds = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=3), min_size=4, max_size=20)


@given(worlds, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_sample_is_shown_once_in_every_epoch(lengths: list[list[int]], seed: int) -> None:
    rows = media_rows(lengths, seed=seed)
    shown = rows.documents(np.arange(6 * len(lengths))).unit.tolist()
    for epoch in range(3):
        part = shown[epoch * len(lengths) : (epoch + 1) * len(lengths)]
        assert sorted(part) == list(range(len(lengths)))


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_captions_only_keeps_rows_captions_and_scored_tokens_of_the_real_arm(
    lengths: list[list[int]],
) -> None:
    numbers = np.arange(12)
    _, real = laid(media_rows(lengths), numbers, attended=True)
    _, placebo = laid(media_rows(lengths, control="captions_only"), numbers, attended=False)
    assert np.array_equal(real.rows.tokens, placebo.rows.tokens)
    assert np.array_equal(real.rows.position, placebo.rows.position)
    for row in range(12):
        scored = [sorted(one.rows.labels[row][one.rows.labels[row] != UNSCORED]) for one in (real, placebo)]
        assert scored[0] == scored[1]


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_unattended_slots_are_padding_that_no_text_sees(lengths: list[list[int]]) -> None:
    rows = media_rows(lengths, control="captions_only")
    _, made = laid(rows, np.arange(8), attended=False)
    slots = slots_of(made)
    assert (made.rows.document.flatten()[slots] == NO_DOCUMENT).all()
    assert (made.rows.labels.flatten()[slots] == UNSCORED).all()


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_media_are_never_a_text_label_and_every_caption_token_is_scored(lengths: list[list[int]]) -> None:
    _, made = laid(media_rows(lengths), np.arange(8), attended=True)
    rows, places = np.nonzero(made.rows.labels != UNSCORED)
    assert (made.rows.labels[rows, places] == made.rows.tokens[rows, places + 1]).all()
    is_media = np.zeros(made.rows.tokens.size, dtype=bool)
    is_media[slots_of(made)] = True
    assert not is_media.reshape(made.rows.tokens.shape)[rows, places + 1].any()
    caption = (made.rows.document != NO_DOCUMENT) & (made.rows.tokens != BOS)
    assert caption.sum() - slots_of(made).size == len(rows)


@given(worlds)
@settings(max_examples=60, deadline=None)
def test_documents_are_whole_and_close_together(lengths: list[list[int]]) -> None:
    items, made = laid(media_rows(lengths), np.arange(8), attended=True)
    for item, row in enumerate(items.row):
        places = np.nonzero(made.rows.document[row] == item)[0]
        assert places.tolist() == list(range(places[0], places[0] + len(places)))
        assert made.rows.tokens[row, places[0]] == BOS
        assert made.rows.tokens[row, places[-1]] == EOS
        assert made.rows.position[row, places].tolist() == list(range(len(places)))


def test_the_order_of_media_and_caption_is_as_asked() -> None:
    lengths = [[3]] * 40
    for order, expected in (("media_first", {False}), ("text_first", {True}), ("mixed", {False, True})):
        rows = media_rows(lengths, order=order)  # type: ignore[arg-type]
        found = rows.documents(np.arange(20))
        # With the text first, the first segment holds the caption's words; else it is empty.
        assert {segments[0].end > segments[0].begin for segments in found.segments} == expected


def test_shuffled_changes_the_pictures_and_nothing_else() -> None:
    lengths = [[3, 5]] * 30
    real, placebo = media_rows(lengths), media_rows(lengths, control="shuffled")
    numbers = np.arange(30)
    one, other = real.documents(numbers), placebo.documents(numbers)
    for name in ("row", "unit", "epoch"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.segments == other.segments
    own, others = one.media["pictures"], other.media["pictures"]
    assert np.array_equal(own.item, others.item)
    assert np.array_equal(own.shown, own.item)
    assert (others.shown != others.item).all()


def test_the_caption_of_a_visit_depends_on_seed_epoch_and_key_alone() -> None:
    """More samples must not move the captions of those that were there."""
    few, many = media_rows([[2, 2, 2]] * 10), media_rows([[2, 2, 2]] * 25)

    def chosen(rows: MediaRows) -> dict[int, int]:
        first: dict[int, int] = {}
        for sample, caption in visits(rows, np.arange(14)):
            first.setdefault(sample, caption)
        return first

    both = chosen(few), chosen(many)
    shared = set(both[0]) & set(both[1])
    assert len(shared) >= 5
    assert all(both[0][sample] == both[1][sample] for sample in shared)
    again = media_rows([[2] * 3] * 30)
    epochs = [{caption % 3 for _, caption in visits(again, np.arange(15 * e, 15 * e + 15))} for e in (0, 1)]
    assert epochs[0] == {0, 1, 2}


def test_a_caption_longer_than_the_row_is_cut_and_counted() -> None:
    rows = media_rows([[40], [3], [3], [3]], context_length=16)
    _, made = laid(rows, np.arange(4), attended=True)
    assert made.captions_cut == 1


def test_an_item_that_leaves_no_room_for_a_caption_is_refused() -> None:
    with pytest.raises(ValueError, match=r"raise model\.context_length"):
        media_rows([[3]] * 4, context_length=5)
