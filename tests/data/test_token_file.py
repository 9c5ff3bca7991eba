"""Text is tokenised once, whole, and its parts are disjoint."""

import itertools
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from ablate.data.documents import Document, document_digest
from ablate.data.errors import DataError
from ablate.data.token_file import TokenFile, build_token_file, capped_token_file, parse_part
from ablate.data.tokenizer import TextTokenizer, train_tokenizer

TEXTS = [f"Document {n}: the square is {n * n}, <|eos|> is text; " + "long " * (n % 50) for n in range(700)]
DOCUMENTS = [Document("a.jsonl", n, text, "a") for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return train_tokenizer(TEXTS, 300, tmp_path_factory.mktemp("cache"), "c")


def test_each_document_is_its_tokens_and_one_end(tokenizer, tmp_path):
    file = build_token_file(iter(DOCUMENTS), tokenizer, tmp_path, "c")
    assert file.tokens.dtype == np.uint16
    assert len(file) == len(TEXTS)
    assert file.offsets[0] == 0
    assert file.offsets[-1] == len(file.tokens)
    for number, text in enumerate(TEXTS):
        tokens = file.document(number)
        assert tokens[-1] == tokenizer.eos
        assert (tokens == tokenizer.eos).sum() == 1
        assert tokenizer.bos not in tokens
        assert tokenizer.decode(tokens[:-1].tolist()) == text
    assert file.digests.tolist() == [document_digest(text) for text in TEXTS]


def test_parts_are_disjoint_and_together_whole(tokenizer, tmp_path):
    whole = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    parts = [build_token_file(DOCUMENTS, tokenizer, tmp_path, "c", f"{k}/3") for k in (1, 2, 3)]
    assert sorted(np.concatenate([part.digests for part in parts]).tolist()) == sorted(whole.digests.tolist())
    assert all(150 < len(part) < 320 for part in parts)
    assert len({part.digest for part in [whole, *parts]}) == 4


def test_a_copy_of_a_document_falls_into_the_same_part(tokenizer, tmp_path):
    copies = [*DOCUMENTS, *(Document("b", d.number, f"  {d.text}\n", "b") for d in DOCUMENTS)]
    first, second = (build_token_file(copies, tokenizer, tmp_path, "twice", f"{k}/2") for k in (1, 2))
    assert not set(first.digests.tolist()) & set(second.digests.tolist())


def test_the_digest_is_of_the_tokens(tokenizer, tmp_path):
    one = build_token_file(DOCUMENTS, tokenizer, tmp_path / "one", "c")
    two = build_token_file(DOCUMENTS, tokenizer, tmp_path / "two", "other name of the same")
    changed = [Document("a", 0, "Changed.", "a"), *DOCUMENTS[1:]]
    assert one.digest == two.digest
    assert one.digest != build_token_file(changed, tokenizer, tmp_path / "two", "d").digest


def test_where_documents_end_is_part_of_the_digest(tmp_path):
    tokenizer = train_tokenizer(["ab"], 259, tmp_path, "c")
    one = build_token_file([Document("a", 0, "ab", "a")], tokenizer, tmp_path, "one")
    two = build_token_file(
        [Document("a", 0, "a", "a"), Document("a", 1, "b", "a")], tokenizer, tmp_path, "two"
    )
    assert one.digest != two.digest


def test_a_vocabulary_beyond_two_bytes_takes_four(tmp_path):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    vocabulary = {f"w{number}": number for number in range(70_000)}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.add_special_tokens([AddedToken("</s>", special=True)])
    lossy = TextTokenizer(model, "</s>", "</s>", "</s>")
    file = build_token_file([Document("a", 0, "w69999 w1", "a")], lossy, tmp_path, "c")
    assert file.tokens.dtype == np.uint32
    assert file.tokens.tolist() == [69_999, 1, 70_000]


def test_documents_are_not_read_again_once_tokenised(tokenizer, tmp_path):
    build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")

    def unread():
        raise AssertionError("the documents were read again")
        yield DOCUMENTS[0]

    assert len(build_token_file(unread(), tokenizer, tmp_path, "c")) == len(TEXTS)


def test_a_failure_half_way_leaves_nothing_that_is_taken_for_the_whole(tokenizer, tmp_path):
    def failing():
        yield from DOCUMENTS[:600]
        raise DataError("a.jsonl: line 601: broken")

    with pytest.raises(DataError, match="line 601"):
        build_token_file(failing(), tokenizer, tmp_path, "c")
    assert [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()] == []
    assert len(build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")) == len(TEXTS)


def _sum(file: TokenFile) -> int:
    return int(file.tokens.astype(np.int64).sum())


def test_a_token_file_travels_as_its_path(tokenizer, tmp_path):
    file = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    assert len(pickle.dumps(file)) < 1000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_sum, file).result() == _sum(file)


def test_an_empty_result_is_refused(tokenizer, tmp_path):
    with pytest.raises(DataError, match="no documents are left; check"):
        build_token_file([], tokenizer, tmp_path, "c")
    kept = document_digest(TEXTS[0]) % 2 + 1
    with pytest.raises(DataError, match=f"left in part {3 - kept}/2"):
        build_token_file(DOCUMENTS[:1], tokenizer, tmp_path, "c", f"{3 - kept}/2")


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", ""])
def test_a_part_that_is_none_is_refused(tokenizer, tmp_path, part):
    with pytest.raises(DataError, match="must be k/n with 1 <= k <= n"):
        build_token_file(DOCUMENTS, tokenizer, tmp_path, "c", part)
    assert parse_part("2/2") == (2, 2)


def test_damaged_tokens_in_the_cache_are_refused(tokenizer, tmp_path: Path):
    file = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    with (file.folder / "tokens.bin").open("ab") as out:
        out.write(b"xx")
    with pytest.raises(DataError, match=r"damaged .* delete this folder"):
        build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")


def test_a_cap_keeps_whole_documents_in_the_order_of_their_digests(tokenizer, tmp_path):
    whole = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    capped = capped_token_file(whole, 1000, tmp_path, "text")
    order = sorted(range(len(whole)), key=lambda number: whole.digests[number])
    expected = [whole.document(number).tolist() for number in order[: len(capped)]]
    assert [capped.document(number).tolist() for number in range(len(capped))] == expected
    assert capped.digests.tolist() == sorted(whole.digests.tolist())[: len(capped)]
    left = len(whole.document(order[len(capped)]))
    assert 1000 - left < len(capped.tokens) <= 1000


def test_a_smaller_cap_keeps_the_beginning_of_what_a_larger_one_keeps(tokenizer, tmp_path):
    whole = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    files = [capped_token_file(whole, cap, tmp_path, "text") for cap in (500, 777, len(whole.tokens))]
    for small, large in itertools.pairwise(files):
        assert np.array_equal(large.tokens[: len(small.tokens)], small.tokens)
        assert np.array_equal(large.digests[: len(small)], small.digests)
    assert len(files[-1].tokens) == len(whole.tokens)
    assert len({file.digest for file in [whole, *files]}) == 4


def test_a_cap_beyond_the_stream_is_refused_with_the_number_that_is_there(tokenizer, tmp_path):
    whole = build_token_file(DOCUMENTS, tokenizer, tmp_path, "c")
    there = len(whole.tokens)
    with pytest.raises(DataError, match=rf"stream 'prose': .* {there + 1:,}, and there are {there:,} tokens"):
        capped_token_file(whole, there + 1, tmp_path, "prose")
    with pytest.raises(
        DataError, match=r"first document, which is kept whole, has \d+ tokens; raise streams"
    ):
        capped_token_file(whole, 1, tmp_path, "prose")
