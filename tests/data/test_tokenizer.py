"""One tokenizer a study: it loses no byte, takes text for text, and leaves for transformers unchanged."""

import json
import pickle
import random
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.data.errors import DataError
from ablate.data.tokenizer import SMALLEST_VOCABULARY, TextTokenizer, load_tokenizer, train_tokenizer

SPECIALS = ["<|pad|>", "<|bos|>", "<|eos|>"]


def corpus(count: int = 300) -> list[str]:
    draw = random.Random(0)
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 7))) for _ in range(80)]
    return [" ".join(draw.choices(words, k=20)) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return train_tokenizer(corpus(), 400, tmp_path_factory.mktemp("cache"), "corpus")


def plain_file(path: Path, specials: list[tuple[str, bool]]) -> Path:
    """A small tokenizer.json of someone else, with the tokens ``specials`` (content, marked special)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator(corpus(20), trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    model.add_tokens([AddedToken(name, special=special, normalized=False) for name, special in specials])
    model.enable_truncation(4)
    model.enable_padding(length=16)
    path.write_text(model.to_str())
    return path


def test_the_special_tokens_have_the_first_ids(tokenizer):
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (0, 1, 2)
    assert tokenizer.vocabulary == 400


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_any_text_comes_back_as_it_was(tokenizer, text):
    (ids,) = tokenizer.encode([text])
    assert tokenizer.decode(ids) == text
    assert all(3 <= number < tokenizer.vocabulary for number in ids)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*SPECIALS, " ", "\n", "a", "<", "|>", "eos"]), min_size=1).map("".join))
def test_text_that_spells_a_special_token_stays_text(tokenizer, text):
    for once in (tokenizer, pickle.loads(pickle.dumps(tokenizer))):
        (ids,) = once.encode([text])
        assert not {0, 1, 2} & set(ids)
        assert once.decode(ids) == text


def test_a_special_token_frequent_in_the_training_text_is_not_learned(tmp_path):
    found = train_tokenizer(["<|eos|>" * 5, "<|eos|>"] * 500, 300, tmp_path, "adversary")
    (ids,) = found.encode(["<|eos|> <|eos|>"])
    assert found.eos not in ids
    assert found.decode(ids) == "<|eos|> <|eos|>"


def test_a_text_is_encoded_alike_alone_and_in_a_batch(tokenizer):
    texts = [*corpus(40), "", "x" * 5000]
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_training_twice_gives_the_same_tokenizer(tmp_path):
    one = train_tokenizer(corpus(), 350, tmp_path / "one", "c")
    two = train_tokenizer(iter(corpus()), 350, tmp_path / "two", "c")
    assert one.digest == two.digest
    assert one.digest != train_tokenizer(corpus(), 351, tmp_path / "one", "c").digest


def test_the_cache_is_asked_before_the_text(tmp_path):
    first = train_tokenizer(corpus(), 300, tmp_path, "c")

    def unread():
        raise AssertionError("the texts were read again")
        yield ""

    assert train_tokenizer(unread(), 300, tmp_path, "c").digest == first.digest
    with pytest.raises(AssertionError):
        train_tokenizer(unread(), 300, tmp_path, "other content")


def test_a_vocabulary_too_small_for_every_byte_is_refused(tmp_path):
    with pytest.raises(DataError, match="258 is too small; 259"):
        train_tokenizer(["x"], SMALLEST_VOCABULARY - 1, tmp_path, "c")
    assert train_tokenizer(["é"], SMALLEST_VOCABULARY, tmp_path, "c").encode(["é"]) != [[]]


def test_no_text_at_all_is_refused(tmp_path):
    with pytest.raises(DataError, match="no text to train on"):
        train_tokenizer([], 300, tmp_path, "c")


def test_transformers_loads_what_is_saved(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path / "model")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "model"))
    text = "An unseen sentence, é and \n\n two lines. "
    assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode([text])[0]
    assert (theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id) == (0, 1, 2)
    assert len(theirs) == tokenizer.vocabulary
    assert theirs.decode(tokenizer.encode([text])[0]) == text


def test_a_saved_tokenizer_loads_as_itself(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        found = load_tokenizer(path)
        assert found.digest == tokenizer.digest
        assert found.encode(corpus(5)) == tokenizer.encode(corpus(5))


def test_what_is_saved_opens_a_text_with_bos_for_transformers(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    text = corpus(1)[0]
    assert theirs.encode(text) == [tokenizer.bos, *tokenizer.encode([text])[0]]
    assert theirs.encode("") == [tokenizer.bos]


def test_what_a_file_puts_around_texts_makes_no_other_tokenizer(tmp_path):
    from tokenizers import Tokenizer, processors

    path = plain_file(tmp_path / "tokenizer.json", [("<s>", True), ("</s>", True)])
    plain = load_tokenizer(path)
    model = Tokenizer.from_file(str(path))
    names = [("<s>", plain.bos), ("</s>", plain.eos)]
    model.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=names)
    path.write_text(model.to_str())
    found = load_tokenizer(path)
    assert found.digest == plain.digest
    assert found.encode(["a b"]) == plain.encode(["a b"])


def test_the_end_token_serves_where_others_are_missing(tmp_path):
    found = load_tokenizer(plain_file(tmp_path / "tokenizer.json", [("<|endoftext|>", True)]))
    assert found.bos == found.pad == found.eos == found.vocabulary - 1


def test_the_config_beside_it_is_believed_before_the_usual_names(tmp_path):
    path = plain_file(tmp_path / "tokenizer.json", [("<s>", True), ("</s>", True), ("<done>", True)])
    usual = load_tokenizer(path)
    assert [usual.bos, usual.eos] == [usual.vocabulary - 3, usual.vocabulary - 2]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<done>"}}))
    assert load_tokenizer(path).eos == usual.vocabulary - 1


def test_truncation_and_padding_in_the_file_cut_nothing(tmp_path):
    found = load_tokenizer(plain_file(tmp_path / "tokenizer.json", [("</s>", True)]))
    text = corpus(1)[0]
    assert found.decode(found.encode([text])[0]) == text
    assert len(found.encode(["a"])[0]) == 1


def test_a_tokenizer_without_end_is_refused_with_what_to_add(tmp_path):
    with pytest.raises(DataError, match=r"no end-of-text token .*<\|endoftext\|>.* added_tokens"):
        load_tokenizer(plain_file(tmp_path / "tokenizer.json", []))


def test_an_end_token_that_text_can_spell_is_refused(tmp_path):
    path = plain_file(tmp_path / "tokenizer.json", [("</s>", False)])
    with pytest.raises(DataError, match="turns the text '</s>' into the special token"):
        load_tokenizer(path)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"not a tokenizer\.json"):
        load_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match=r"missing\.json: cannot be read"):
        load_tokenizer(tmp_path / "missing.json")


def lossy_file(path: Path, loss: str) -> Path:
    """A tokenizer.json that loses text in the way ``loss`` names."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = Tokenizer.from_file(str(plain_file(path, [("</s>", True)])))
    if loss == "lower":
        model.normalizer = normalizers.Lowercase()
    elif loss == "strip":
        model.normalizer = normalizers.Strip()
    elif loss == "accents":
        model.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    elif loss == "spaces":
        model.normalizer = normalizers.Replace("  ", " ")
    else:
        unknown = "[UNK]" if loss == "unknown" else "missing"
        model = Tokenizer(models.WordLevel({"[UNK]": 0, "The": 1, "fox": 2}, unk_token=unknown))
        model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        model.decoder = decoders.WordPiece()
        model.add_special_tokens([AddedToken("</s>", special=True)])
    path.write_text(model.to_str())
    return path


@pytest.mark.parametrize("loss", ["lower", "strip", "accents", "spaces", "unknown", "no unknown"])
def test_a_tokenizer_that_loses_text_is_refused_with_what_came_back(tmp_path, loss):
    path = lossy_file(tmp_path / "tokenizer.json", loss)
    with pytest.raises(DataError, match=r"bits per byte .* byte-level or byte-fallback") as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)
    assert ("came back as" in str(caught.value)) == (loss != "no unknown")


def test_a_tokenizer_that_opens_every_text_with_a_space_is_taken(tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers

    path = plain_file(tmp_path / "tokenizer.json", [("</s>", True)])
    model = Tokenizer.from_file(str(path))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    path.write_text(model.to_str())
    found = load_tokenizer(path)
    assert found.decode(found.encode(["a"])[0]) == " a"


def test_a_byte_fallback_tokenizer_is_taken(tmp_path):
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}, "\u2581": 257, "a": 258}
    model = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    model.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    model.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    model.add_special_tokens([AddedToken("</s>", special=True)])
    (tmp_path / "tokenizer.json").write_text(model.to_str())
    found = load_tokenizer(tmp_path / "tokenizer.json")
    assert found.decode(found.encode(["a \u6f22"])[0]) == "a \u6f22"


@pytest.mark.parametrize("vocabulary", [SMALLEST_VOCABULARY, 300, 1000])
def test_a_trained_tokenizer_passes_the_check_on_loading(tmp_path, vocabulary):
    trained = train_tokenizer(corpus(), vocabulary, tmp_path / "cache", "c")
    trained.save(tmp_path)
    assert load_tokenizer(tmp_path).digest == trained.digest
