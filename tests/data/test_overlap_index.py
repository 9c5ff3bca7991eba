"""Shared words are found where they are, all of them and no others."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data import overlap_index
from ablate.data.overlap_index import GramIndex
from ablate.data.overlap_words import words_of

# Few words, so that texts share many runs of them.
SENTENCE = st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join)
TEXTS = st.lists(SENTENCE, min_size=1, max_size=6)


def found(texts: list[str], documents: list[str], ngram: int, shortest: int) -> set[tuple[int, int, int]]:
    """(text, its word, document) of every n-gram of ``texts`` that occurs in a document."""
    index = GramIndex(texts, ngram, shortest)
    grams, owner = index.find([index.number(words_of(document)) for document in documents])
    pairs = set(zip(grams.tolist(), owner.tolist(), strict=True))
    assert len(pairs) == len(grams)
    return {
        (text, place, document)
        for text in range(len(texts))
        for place, gram in enumerate(index.gram[index.starts[text] : index.starts[text + 1]].tolist())
        for document in range(len(documents))
        if gram >= 0 and (gram, document) in pairs
    }


def searched(texts: list[str], documents: list[str], ngram: int, shortest: int) -> set[tuple[int, int, int]]:
    """The same, by trying every place."""

    def runs(words: list[str], length: int) -> list[list[str]]:
        return [words[at : at + length] for at in range(len(words) - length + 1)]

    hits = set()
    for text, words in enumerate(map(words_of, texts)):
        length = min(ngram, len(words))
        for place, run in enumerate(runs(words, length) if len(words) >= min(ngram, shortest) else []):
            for document, other in enumerate(map(words_of, documents)):
                if run in runs(other, length):
                    hits.add((text, place, document))
    return hits


@given(TEXTS, TEXTS, st.integers(1, 6), st.integers(1, 6))
def test_the_index_finds_what_a_search_at_every_place_finds(
    texts: list[str], documents: list[str], ngram: int, shortest: int
) -> None:
    shortest = min(ngram, shortest)
    assert found(texts, documents, ngram, shortest) == searched(texts, documents, ngram, shortest)


def test_words_that_share_a_hash_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, documents = ["a b c", "c b a", "b b d"], ["x a b c", "b c a b", "d b b d"]
    scattered = overlap_index._scattered

    def worst(count: int, salt: int) -> np.ndarray:
        return np.zeros(count, dtype=np.uint64) if salt == 0 else scattered(count, salt)

    monkeypatch.setattr(overlap_index, "_scattered", worst)
    assert found(texts, documents, 3, 3) == searched(texts, documents, 3, 3) == {(0, 0, 0), (2, 0, 2)}
    # One n-gram alone collides with no other of the index, but here with every run of three words.
    assert found(texts[:1], documents, 3, 3) == {(0, 0, 0)}


def test_no_run_reaches_from_one_document_into_the_next() -> None:
    assert found(["a b c"], ["x a b", "c", "", "a b c"], 3, 3) == {(0, 0, 3)}


def test_a_text_shorter_than_the_ngram_is_found_whole_or_not_at_all() -> None:
    texts = ["one two three four five", "one two three"]
    assert found(texts, ["he said one two three four then five"], 8, 4) == set()
    assert found(texts, ["he said one two three four five then"], 8, 4) == {(0, 0, 0)}
    assert GramIndex(texts, 8, 4).too_short.tolist() == [False, True]


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_has_the_same_words_among_other_scripts(text: str) -> None:
    assert words_of(text) == words_of(f"{text} ü")[:-1]


def test_case_punctuation_and_spacing_hide_nothing() -> None:
    plain = words_of("the cat didnt sit on the mat 42 times")
    assert words_of("The CAT didn't sit\non the_mat --- 42 times.") == plain
    assert words_of("\u201cThe cat didn\u2019t sit on the mat\u201d\u200942\u00a0times\u2026") == plain


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_how_an_accent_is_written_hides_nothing(form: str) -> None:
    assert words_of(unicodedata.normalize(form, "Ärger über Straße №5 हिन्दी")) == [
        "ärger", "über", "strasse", "no5", "हिन्दी",
    ]  # fmt: skip
