"""Word lists: which bytes are a word's, what a model paid for them, and what is refused."""

import random
import unicodedata
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.tokenizer import TextTokenizer, train_tokenizer
from ablate.tasks.errors import TaskError
from ablate.tasks.words import (
    BUILTIN,
    TokenBytes,
    WordLists,
    bits_by_class,
    check_words,
    folded,
    item_groups,
    read_word_lists,
    word_spans,
)

LISTS = WordLists({"concrete": frozenset({"dog", "café"}), "function": BUILTIN["builtin:function"]})
TEXT = "The dog's café — isn't_old? Dogs, 3 dog\nnot\tThe 数学 of नमस्ते 🦊"


def words_of(text: str) -> list[str]:
    return [text[start:stop] for start, stop in word_spans(text)]


def bytes_of(lists: WordLists, text: str, name: str) -> bytes:
    """The bytes of ``text`` that are of the class ``name``, one after another."""
    mine = lists.byte_classes(text) == lists.classes.index(name) + 1
    return bytes(np.frombuffer(text.encode(), dtype=np.uint8)[mine])


def test_a_word_is_a_run_of_letters_marks_and_digits_with_apostrophes_inside() -> None:
    text = "'Tis the dogs' t-shirt, _old_ café’s naïve 2nd नमस्ते"
    expected = ["Tis", "the", "dogs", "t", "shirt", "old", "café’s", "naïve", "2nd", "नमस्ते"]
    for form in ("NFC", "NFD"):
        found = words_of(unicodedata.normalize(form, text))
        assert [unicodedata.normalize("NFC", word) for word in found] == expected


def test_the_one_space_before_a_word_is_the_words_and_other_white_space_nobodys() -> None:
    assert bytes_of(LISTS, "dog dog  dog\ndog\tdog.dog", "concrete") == b"dog dog dogdogdogdog"


def test_case_composition_and_the_shape_of_an_apostrophe_do_not_matter() -> None:
    decomposed = unicodedata.normalize("NFD", "CAFÉ")
    assert bytes_of(LISTS, decomposed, "concrete") == decomposed.encode()
    assert bytes_of(LISTS, "ISN’T", "function") == "ISN’T".encode()


def test_a_possessive_is_of_its_words_list_and_other_forms_have_to_be_listed() -> None:
    assert bytes_of(LISTS, "dog’s dog's dogs", "concrete") == "dog’s dog's".encode()
    assert bytes_of(LISTS, "dogs", "other") == b"dogs"
    # Listed itself, a form with 's is what it is listed as.
    assert bytes_of(LISTS, "it's", "function") == b"it's"


def test_the_built_in_list_holds_words_as_they_are_compared() -> None:
    for word in BUILTIN["builtin:function"]:
        assert words_of(word) == [word] == [folded(word)]
    assert {"the", "of", "and", "is", "they", "not", "don't"} <= BUILTIN["builtin:function"]
    assert not {"dog", "run", "idea", "quickly", "happy"} & BUILTIN["builtin:function"]


@given(st.text(st.sampled_from("dog café'’ the\n_—3é数🦊"), max_size=40))
def test_every_byte_is_of_one_class_and_words_cover_what_is_alphanumeric(text: str) -> None:
    classes = LISTS.byte_classes(text)
    assert len(classes) == len(text.encode())
    assert LISTS.class_bytes(text) == [int((classes == place).sum()) for place in (1, 2, 3)]
    offset = 0
    for index, character in enumerate(text):
        size = len(character.encode())
        own = set(classes[offset : offset + size].tolist())
        offset += size
        assert len(own) == 1  # no character is torn
        if character.isalnum():
            assert own != {0}
        elif character in "\n_—":
            assert own == {0}
        elif character == " ":
            assert (own != {0}) == (text[index + 1 : index + 2].isalnum())


# --- Bits


@st.composite
def paid_texts(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]], list[float]]:
    """A text, cut into runs of tokens at random bytes, and bits of every token."""
    text = draw(st.text(st.sampled_from("dog the é🦊.\n"), min_size=1, max_size=40))
    size = len(text.encode())
    cuts = sorted(draw(st.sets(st.integers(1, size - 1)))) if size > 1 else []
    sizes = np.diff([0, *cuts, size]).tolist()
    runs = [(draw(st.integers(1, 3)), piece) for piece in sizes]
    count = sum(tokens for tokens, _ in runs)
    return text, runs, draw(st.lists(st.floats(0, 50), min_size=count, max_size=count))


@given(paid_texts())
def test_bits_are_spread_evenly_over_bytes_and_none_is_lost(paid) -> None:
    text, runs, bits = paid
    classes = LISTS.byte_classes(text)
    exact = [Fraction(0)] * 4
    place = byte = 0
    for tokens, size in runs:
        run_bits = sum(map(Fraction, bits[place : place + tokens]))
        for own in classes[byte : byte + size].tolist():
            exact[own] += run_bits / size
        place, byte = place + tokens, byte + size
    assert sum(exact) == sum(map(Fraction, bits))
    found = bits_by_class(classes, runs, bits, 4)
    assert found == pytest.approx([float(value) for value in exact[1:]], rel=1e-12, abs=1e-12)
    # With the bytes of no word as a class of their own, the parts are the whole.
    shifted = bits_by_class((classes + 1).astype(np.int16), runs, bits, 5)
    assert sum(shifted) == pytest.approx(sum(bits), rel=1e-12, abs=1e-12)


def test_a_run_within_one_class_keeps_its_bits_to_the_last_digit() -> None:
    bits = [0.1, 1 / 3, 2.7]
    assert bits_by_class(np.array([1, 1, 1, 2, 2, 2, 2], dtype=np.int16), [(1, 3), (2, 4)], bits, 3) == [
        0.1,
        1 / 3 + 2.7,
    ]


# --- Tokens


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    texts = [TEXT, "the dog and the café " * 9]
    return train_tokenizer(texts, 290, tmp_path_factory.mktemp("bpe"), "words")


def sentencepiece(*pieces: str) -> TextTokenizer:
    """A tokenizer as Llama has it: spaces are `▁`, one opens every text, unknown bytes are tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = ["<unk>", "<s>", "</s>", *byte_tokens, "▁", *sorted({*"".join(pieces)} - {"▁"}), *pieces]
    ids = {token: place for place, token in enumerate(dict.fromkeys(vocabulary))}
    merges = [
        (piece[:stop], piece[stop])
        for piece in pieces
        for stop in range(1, len(piece))
        if piece[: stop + 1] in ids
    ]
    model = Tokenizer(
        models.BPE(ids, list(dict.fromkeys(merges)), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    model.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    model.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return TextTokenizer(model, "<s>", "</s>", "</s>")


@given(st.text(st.sampled_from("dog the'é🦊数\n\ufffd"), min_size=1, max_size=40))
def test_runs_of_byte_level_tokens_hold_whole_characters_and_every_byte(bpe, text: str) -> None:
    (tokens,) = bpe.encode([text])
    runs = TokenBytes(bpe).runs(text, tokens, "here")
    assert sum(count for count, _ in runs) == len(tokens)
    place = byte = 0
    for count, size in runs:
        piece = text.encode()[byte : byte + size].decode()  # a torn character would not decode
        assert piece == bpe.decode(tokens[place : place + count])
        if "\ufffd" not in text:
            # No run could be cut further.
            assert all(bpe.decode(tokens[place : place + cut]).endswith("\ufffd") for cut in range(1, count))
        place, byte = place + count, byte + size
    assert byte == len(text.encode())


def test_spaces_that_a_tokenizer_drops_or_adds_are_given_to_the_token_that_stands_for_them() -> None:
    steps = ("▁t", "▁th", "▁the", "▁d", "▁do", "▁dog")
    tokenizer = sentencepiece(*steps)
    text = "the dog  the\ndog é."
    (tokens,) = tokenizer.encode([text])
    runs = TokenBytes(tokenizer).runs(text, tokens, "here")
    assert [size for _, size in runs[:4]] == [3, 4, 1, 4]  # "the", " dog", " ", " the"
    assert sum(size for _, size in runs) == len(text.encode())
    assert (2, 2) in runs  # the two byte tokens of é are one run
    # A first token that stands for no byte of the text goes with the one after it.
    (tokens,) = tokenizer.encode(["\nthe"])
    assert TokenBytes(tokenizer).runs("\nthe", tokens, "here")[0] == (2, 1)


def test_a_tokenizer_that_changes_the_text_is_refused_with_the_place() -> None:
    class Lower:
        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids)).lower()

    with pytest.raises(TaskError, match=r"doc 3: .*from character 2 on \('C'\).*lossless"):
        TokenBytes(Lower()).runs("abC", [97, 98, 99], "doc 3")
    with pytest.raises(TaskError, match="no `decode`"):
        TokenBytes(object())


# --- Lists


def read(folder: Path, **contents: str | bytes) -> WordLists | None:
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.txt").write_bytes(data)
    return read_word_lists("heldout", {name: str(folder / f"{name}.txt") for name in contents})


def test_a_list_is_one_word_a_line_with_comments(tmp_path: Path) -> None:
    lists = read(tmp_path, concrete="\ufeff# from a norm\nDog\n\n  café # a place\r\nDOG\n")
    assert lists is not None
    assert lists.words == {"concrete": frozenset({"dog", "café"})}
    assert read_word_lists("heldout", {}) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dog\nhot dog\n", r"concrete\.txt:2: 'hot dog' is not one word"),
        ("word\tconcreteness\n", r"concrete\.txt:1: .*other columns"),
        ("t-shirt", "is not one word"),
        ("# nothing\n\n", "holds no words"),
        ("", "holds no words"),
        (b"caf\xe9\n", r"concrete\.txt: not UTF-8 \(byte 3\)"),
    ],
)
def test_an_unusable_list_is_refused_by_file_and_line(tmp_path: Path, content, message: str) -> None:
    with pytest.raises(TaskError, match=rf"'heldout': words\.concrete: .*{message}"):
        read(tmp_path, concrete=content)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(TaskError, match="no such file"):
            read_word_lists("heldout", {"concrete": str(path)})


def test_lists_that_share_words_are_refused_because_bits_are_counted_once(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"words\.a and words\.b share 'café', 'dog'; .*counted once"):
        read(tmp_path, a="dog\nCafé\nhouse\n", b="cafe\u0301\nDog\n")
    (tmp_path / "abstract.txt").write_text("idea\n" + "\n".join(sorted(BUILTIN["builtin:function"])))
    with pytest.raises(TaskError, match=r"share \d+ words, such as 'a', "):
        read_word_lists("t", {"abstract": str(tmp_path / "abstract.txt"), "function": "builtin:function"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"other": "a.txt"}, "'other' stands for words outside the lists"),
        ({"both": "a.txt"}, "'both' stands for"),
        ({"a.b": "a.txt"}, "letters, digits"),
        ({"a/b": "a.txt"}, "letters, digits"),
        ({"": "a.txt"}, "letters, digits"),
        ({"a": " "}, "words.a is empty"),
        ({"a": "builtin"}, "built in: builtin:function"),
        ({"a": "builtin:functions"}, "built in: builtin:function"),
    ],
)
def test_a_setting_that_no_file_could_mend_is_refused_at_once(words: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        check_words(words)


# --- Items


def test_an_item_is_of_the_list_it_holds_words_of_of_both_or_of_neither() -> None:
    lists = WordLists({"concrete": frozenset({"dog", "cat"}), "abstract": frozenset({"idea"})})
    texts = ["A dog's bowl.", "An idea!", "The dog had an idea.", "", "dogs", "Dog, cat, dog."]
    assert item_groups("quiz", lists, texts) == [
        "concrete",
        "abstract",
        "both",
        "neither",
        "neither",
        "concrete",
    ]
    assert item_groups("quiz", None, texts) == []
    with pytest.raises(TaskError, match=r"'quiz': no item holds a word of words\.abstract"):
        item_groups("quiz", lists, ["dog"])


def test_groups_do_not_depend_on_the_order_of_the_words() -> None:
    lists = WordLists({"concrete": frozenset({"dog"}), "abstract": frozenset({"idea"})})
    words = ["dog", "idea", "stone", "dog", "the"]
    for seed in range(20):
        random.Random(seed).shuffle(words)
        assert lists.group(" ".join(words)) == "both"
