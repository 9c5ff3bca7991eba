"""Bits per byte: every byte of the held-out text is paid for exactly once."""

import json
import math
import random
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.data.planted_documents import held_out_prose, make_documents
from ablate.data.planted_entities import make_entities
from ablate.recipe.schema import PlantedConfig
from ablate.tasks.bits_per_byte import windows
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import continuation_log_likelihoods, token_log_likelihoods
from ablate.tasks.registry import load_task

TEXTS = {
    "news": ["The cabinet met on Tuesday. " * 4, "Rain.", "Ünïcödé: 数学は楽しい 🦊 " * 3],
    "manuals": ["x", "Type `make` and wait.\n" * 7],
}


@pytest.fixture
def held_out(tmp_path: Path, write_rows) -> list[str]:
    return [
        write_rows(
            tmp_path / "held" / f"{domain}.jsonl", [{"text": text, "domain": domain} for text in texts]
        )
        for domain, texts in TEXTS.items()
    ]


def _load(paths: list[str], cache: Path, **settings):
    return load_task("heldout", {"kind": "bits_per_byte", "paths": paths, **settings}, cache)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 33))
def test_every_token_is_scored_once_with_the_longest_context_of_its_window(count: int, context: int) -> None:
    tokens = list(range(1000, 1000 + count))
    scored: list[int] = []
    for request in windows(tokens, 0, context):
        assert request.context[0] == 0
        assert len(request.context) + len(request.continuation) - 1 <= context
        # What is read before the scored tokens is what stands before them in the document, unbroken.
        before = request.context[1:]
        assert before == tokens[len(scored) - len(before) : len(scored)]
        assert not scored or len(before) == context - max(1, context // 2)
        scored += request.continuation
    assert scored == tokens


@pytest.mark.parametrize("context", [8, 13, 32, 400])
def test_bits_equal_a_computation_token_by_token(
    held_out, tmp_path, tokenizer, attention, brute_force, context
) -> None:
    model = attention(context_length=context)
    stride = context // 2
    bits, size = 0.0, 0
    for text in (text for texts in TEXTS.values() for text in texts):
        (tokens,) = tokenizer.encode([text])
        size += len(text.encode())
        for index, token in enumerate(tokens):
            window = max(0, math.ceil((index + 1 - context) / stride))
            context_tokens = [tokenizer.bos, *tokens[window * stride : index]]
            bits -= brute_force(model, context_tokens, [token]) / math.log(2)
    score = _load(held_out, tmp_path).score(model, tokenizer, 7).scores["heldout/bits_per_byte"]
    assert score.value == pytest.approx(bits / size, rel=1e-6)
    assert score.items == 5
    assert not score.higher_is_better


def test_bytes_are_utf8_and_counted_once(held_out, tmp_path, tokenizer, constant) -> None:
    items = _load(held_out, tmp_path).score(constant(), tokenizer, 8).items
    counted = items[items.metric == "bytes"].value.sum()
    assert counted == sum(len(text.encode()) for texts in TEXTS.values() for text in texts)
    # A byte tokenizer and constant logits: log2(vocabulary) bits for every byte, no more and no less.
    bits = items[items.metric == "bits"].value.sum()
    assert bits / counted == pytest.approx(math.log2(259), rel=1e-6)


def test_a_model_with_constant_logits_scores_chance(held_out, tmp_path, tokenizer, constant) -> None:
    for score in _load(held_out, tmp_path).score(constant(), tokenizer, 8).scores.values():
        assert score.value == pytest.approx(score.chance, rel=1e-6)


def test_domains_are_subsets_and_the_whole_weighs_bytes(held_out, tmp_path, tokenizer, attention) -> None:
    result = _load(held_out, tmp_path).score(attention(), tokenizer, 8)
    assert set(result.scores) == {
        "heldout/bits_per_byte",
        "heldout/bits_per_byte/news",
        "heldout/bits_per_byte/manuals",
    }
    assert list(result.items.columns) == ["task", "subset", "item", "metric", "value"]
    wide = result.items.pivot(index=["subset", "item"], columns="metric", values="value")
    assert len(wide) == 5
    assert (wide.bits / wide.bytes).tolist() == pytest.approx(wide.bits_per_byte.tolist())
    assert result.scores["heldout/bits_per_byte"].value == pytest.approx(wide.bits.sum() / wide.bytes.sum())
    news = wide.loc["news"]
    assert result.scores["heldout/bits_per_byte/news"].value == pytest.approx(
        news.bits.sum() / news.bytes.sum()
    )


def test_scores_are_the_same_at_any_batch_size_and_document_order(
    tmp_path, write_rows, tokenizer, attention
) -> None:
    draw = random.Random(3)
    texts = ["".join(draw.choice("abc déf🦊 ") for _ in range(draw.randint(1, 150))) for _ in range(30)]
    model, found = attention(), []
    for batch_rows in (1, 7, 64):
        draw.shuffle(texts)
        path = write_rows(
            tmp_path / f"b{batch_rows}.jsonl", [{"text": text, "domain": "d"} for text in texts]
        )
        found.append(_load([path], tmp_path).score(model, tokenizer, batch_rows).scores)
    for scores in found[1:]:
        for endpoint, score in scores.items():
            assert score.value == pytest.approx(found[0][endpoint].value, abs=1e-5)


def test_max_documents_keeps_evenly_spaced_documents_of_each_domain(tmp_path, write_rows) -> None:
    rows = [{"text": f"{domain} {index}", "domain": domain} for index in range(10) for domain in ("a", "b")]
    task = _load([write_rows(tmp_path / "x.jsonl", rows)], tmp_path, max_documents=2)
    assert [text for _, text in task.texts()] == ["a 2", "a 7", "b 2", "b 7"]


def test_max_bytes_is_never_exceeded_and_documents_stay_whole(tmp_path, write_rows) -> None:
    rows = [{"text": "é" * (index + 1), "domain": "a"} for index in range(20)]
    path = write_rows(tmp_path / "x.jsonl", rows)
    kept = [text for _, text in _load([path], tmp_path, max_bytes=100).texts()]
    assert 50 < sum(len(text.encode()) for text in kept) <= 100
    assert set(kept) <= {row["text"] for row in rows}
    with pytest.raises(TaskError, match="max_bytes of 1 is too small"):
        _load([path], tmp_path, max_bytes=1)


def test_the_digest_follows_content_and_settings_and_not_the_folder(held_out, tmp_path, write_rows) -> None:
    reference = _load(held_out, tmp_path).digest
    rows = [{"text": text, "domain": domain} for domain, texts in TEXTS.items() for text in texts]
    moved = write_rows(tmp_path / "elsewhere" / "all.jsonl", rows)
    assert _load([moved], tmp_path).digest == reference
    assert _load([moved], tmp_path, max_documents=1).digest != reference
    rows[0]["text"] += "!"
    changed = write_rows(tmp_path / "changed" / "all.jsonl", rows)
    assert _load([changed], tmp_path).digest != reference


def test_shards_of_one_name_in_two_folders_keep_their_documents_apart(
    tmp_path, write_rows, tokenizer, constant
) -> None:
    paths = [
        write_rows(tmp_path / folder / "0.jsonl", [{"text": folder, "domain": "d"}])
        for folder in ("one", "two")
    ]
    items = _load(paths, tmp_path).score(constant(), tokenizer, 4).items
    assert items[items.metric == "bits"].item.nunique() == 2


def test_unusable_documents_are_refused_by_name(tmp_path, write_rows) -> None:
    path = write_rows(tmp_path / "x.jsonl", [{"text": "fine", "domain": "a"}, {"body": "no text"}])
    with pytest.raises(TaskError, match=r"'heldout'.*x\.jsonl.*2.*'text'"):
        _load([path], tmp_path)
    path = write_rows(tmp_path / "y.jsonl", [{"text": "fine", "domain": "a/b"}])
    with pytest.raises(TaskError, match=r"y\.jsonl:0: subset 'a/b'"):
        _load([path], tmp_path)
    with pytest.raises(TaskError, match="nowhere"):
        _load([str(tmp_path / "nowhere*.jsonl")], tmp_path)
    with pytest.raises(TaskError, match="no items"):
        _load([], tmp_path)
    with pytest.raises(TaskError, match="max_documents is -1"):
        _load([path], tmp_path, max_documents=-1)


def test_endpoints_are_known_before_any_document_is_scored(held_out, tmp_path, tokenizer, constant) -> None:
    task = _load(held_out, tmp_path)
    assert task.endpoints() == list(task.score(constant(), tokenizer, 4).scores)


def test_a_document_longer_than_the_context_is_no_fault(held_out, tmp_path, tokenizer, constant) -> None:
    task = _load(held_out, tmp_path)
    task.check(tokenizer, 8)
    assert task.score(constant(8), tokenizer, 4).scores


# --- Words

RESULTS = Path(__file__).parents[2] / "results"


class Bytes:
    """The byte tokenizer, giving text back."""

    bos, eos, pad = 0, 1, 2

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[3 + byte for byte in text.encode("utf-8")] for text in texts]

    def decode(self, ids: list[int]) -> str:
        return bytes(token - 3 for token in ids).decode("utf-8", errors="replace")


@pytest.fixture
def words(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "concrete.txt").write_text("# things\nrain\ncabinet\n数学は楽しい\n", encoding="utf-8")
    return {"concrete": str(tmp_path / "concrete.txt"), "function": "builtin:function"}


CONCRETE = [" cabinet", "Rain", " 数学は楽しい"]
"""What the list selects of `TEXTS`, with the space before it."""


def test_without_word_lists_a_committed_study_keeps_the_digest_of_its_task(tmp_path, write_rows) -> None:
    config = PlantedConfig()
    prose = held_out_prose(config, make_documents(config, make_entities(config)))
    task = _load([write_rows(tmp_path / "prose-heldout.jsonl", prose)], tmp_path)
    record = json.loads((RESULTS / "quickstart/records/text-seed0.json").read_text(encoding="utf-8"))
    assert task.digest == record["data_digests"]["task/prose"]


def test_word_lists_add_endpoints_and_change_no_other_score_by_one_bit(
    held_out, tmp_path, attention, words
) -> None:
    plain, listed = _load(held_out, tmp_path), _load(held_out, tmp_path, words=words)
    assert listed.digest != plain.digest
    for batch_rows in (1, 7, 64):
        before, after = (task.score(attention(), Bytes(), batch_rows) for task in (plain, listed))
        kept = {endpoint: after.scores[endpoint] for endpoint in before.scores}
        assert repr(kept) == repr(before.scores)
        pd.testing.assert_frame_equal(after.items[: len(before.items)], before.items, check_exact=True)


def test_log_likelihoods_of_tokens_add_up_to_those_of_their_continuation_bit_by_bit(attention) -> None:
    draw = random.Random(5)
    requests = []
    for _ in range(60):
        tokens = [draw.randrange(3, 259) for _ in range(draw.randint(1, 90))]
        requests += windows(tokens, 0, 32)
    requests += requests[:3]
    whole = continuation_log_likelihoods(attention(), requests, 2, 7)
    for request, values, total in zip(
        requests, token_log_likelihoods(attention(), requests, 2, 7), whole, strict=True
    ):
        assert len(values) == len(request.continuation)
        summed = 0.0
        for value in values:
            summed += value
        assert summed == total


def test_the_bits_of_a_list_are_those_of_its_words_token_by_token(
    held_out, tmp_path, attention, brute_force, words
) -> None:
    model, tokenizer = attention(context_length=400), Bytes()
    bits, size, holding = 0.0, 0, 0
    for text in (text for texts in TEXTS.values() for text in texts):
        (tokens,) = tokenizer.encode([text])
        own = {
            byte
            for word in CONCRETE
            for start in range(len(text))
            if text.startswith(word, start)
            for byte in range(len(text[:start].encode()), len(text[:start].encode()) + len(word.encode()))
        }
        for byte in own:
            bits -= brute_force(model, [0, *tokens[:byte]], [tokens[byte]]) / math.log(2)
        size, holding = size + len(own), holding + bool(own)
    task = _load(held_out, tmp_path, words=words)
    score = task.score(model, tokenizer, 7).scores["heldout/bits_per_byte.concrete"]
    assert score.value == pytest.approx(bits / size, rel=1e-6)
    assert score.items == holding == 3
    assert not score.higher_is_better


def test_a_model_that_knows_nothing_scores_chance_on_every_list(held_out, tmp_path, constant, words) -> None:
    scores = _load(held_out, tmp_path, words=words).score(constant(), Bytes(), 8).scores
    assert {"heldout/bits_per_byte.concrete", "heldout/bits_per_byte.other/news"} <= scores.keys()
    for score in scores.values():
        assert score.value == pytest.approx(math.log2(259), rel=1e-6)
        assert score.chance == pytest.approx(math.log2(259), rel=1e-12)


def test_a_model_that_is_worse_at_one_lists_words_alone_shows_it_there(
    tmp_path, write_rows, bigram, words
) -> None:
    path = write_rows(tmp_path / "x.jsonl", [{"text": "not rain but rain", "domain": "a"}])
    task = _load([path], tmp_path, words=words)
    table = torch.zeros(259, 259)
    fair = task.score(bigram(table), Bytes(), 8).scores
    table[3 + ord("a"), 3 + ord("i")] -= 3  # "ai" occurs in rain only
    worse = task.score(bigram(table), Bytes(), 8).scores
    ends = {name: f"heldout/bits_per_byte.{name}" for name in ("concrete", "function")}
    assert worse[ends["concrete"]].value - fair[ends["concrete"]].value > 0.5
    assert worse[ends["function"]].value == pytest.approx(fair[ends["function"]].value, abs=1e-6)


def test_items_let_a_report_make_every_word_score_again(held_out, tmp_path, attention, words) -> None:
    result = _load(held_out, tmp_path, words=words).score(attention(), Bytes(), 8)
    wide = result.items.pivot(index=["subset", "item"], columns="metric", values="value")
    parts = ("concrete", "function", "other")
    for name in parts:
        for domain in ("", "news", "manuals"):
            mine = wide.loc[[domain]] if domain else wide
            bits, size = mine[f"bits.{name}"].sum(), mine[f"bytes.{name}"].sum()
            assert not (mine[f"bytes.{name}"] == 0).any()
            endpoint = f"heldout/bits_per_byte.{name}" + (f"/{domain}" if domain else "")
            assert (endpoint in result.scores) == (size > 0)
            if size:
                assert result.scores[endpoint].value == pytest.approx(bits / size, rel=1e-12)
                assert result.scores[endpoint].items == (mine[f"bytes.{name}"] > 0).sum()
    # A document without such words is no item of the list.
    assert wide["bytes.concrete"].isna().sum() == wide["bits.concrete"].isna().sum() == 2
    # What is left is what no word has: punctuation and other white space.
    rest = wide.bytes - sum(wide[f"bytes.{name}"].fillna(0) for name in parts)
    assert (rest >= 0).all()
    text = TEXTS["news"][0]
    assert rest.loc["news"].iloc[0] == sum(not c.isalnum() for c in text) - text.rstrip().count(" ")


def test_endpoints_of_words_are_known_before_scoring_and_left_out_where_there_are_none(
    held_out, tmp_path, constant, words
) -> None:
    task = _load(held_out, tmp_path, words=words)
    result = task.score(constant(), Bytes(), 4)
    assert task.endpoints() == list(result.scores)
    assert "heldout/bits_per_byte.concrete/manuals" not in result.scores
    (note,) = result.notes
    shares = [float(share) for share in note.replace("%", "").replace(",", "").split() if "." in share]
    assert "share of the bytes by word list: concrete " in note
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_the_digest_follows_the_words_and_not_the_file_they_are_in(held_out, tmp_path, words) -> None:
    digest = _load(held_out, tmp_path, words=words).digest
    moved = tmp_path / "moved.txt"
    moved.write_text("Cabinet\nrain\nRAIN # twice\n数学は楽しい\n", encoding="utf-8")
    assert _load(held_out, tmp_path, words=words | {"concrete": str(moved)}).digest == digest
    moved.write_text("cabinet\nrain\n", encoding="utf-8")
    assert _load(held_out, tmp_path, words=words | {"concrete": str(moved)}).digest != digest
    assert _load(held_out, tmp_path, words={"function": "builtin:function"}).digest != digest


def test_a_list_none_of_whose_words_occurs_is_refused(held_out, tmp_path) -> None:
    (tmp_path / "none.txt").write_text("cabinets\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"'heldout': no document holds a word of words\.rare"):
        _load(held_out, tmp_path, words={"rare": str(tmp_path / "none.txt")})


def test_a_tokenizer_that_gives_no_text_back_is_refused_before_training(
    held_out, tmp_path, tokenizer, words
) -> None:
    task = _load(held_out, tmp_path, words=words)
    task.check(Bytes(), 32)
    with pytest.raises(TaskError, match="no `decode`"):
        task.check(tokenizer, 32)


def test_a_diverged_model_is_not_scored_by_words_either(held_out, tmp_path, bigram, words) -> None:
    task = _load(held_out, tmp_path, words=words)
    with pytest.raises(TaskError, match="diverged"):
        task.score(bigram(torch.full((259, 259), float("nan"))), Bytes(), 8)


def test_parts_share_no_document_and_leave_none_out(held_out, tmp_path) -> None:
    def texts(**settings) -> list[str]:
        return [text for _, text in _load(held_out, tmp_path, **settings).texts()]

    first, second = texts(part="1/2"), texts(part="2/2")
    assert first
    assert second
    assert not set(first) & set(second)
    assert sorted(first + second) == sorted(texts())


def test_a_part_is_another_task_and_the_whole_is_the_task_it_was(held_out, tmp_path) -> None:
    whole = _load(held_out, tmp_path)
    assert whole.digest == _load(held_out, tmp_path, part="1/1").digest
    assert whole.digest != _load(held_out, tmp_path, part="1/2").digest


@pytest.mark.parametrize("part", ["0/2", "3/2", "half"])
def test_a_part_that_is_none_is_refused(held_out, tmp_path, part: str) -> None:
    with pytest.raises(TaskError, match=f"heldout.*part.*{part}"):
        _load(held_out, tmp_path, part=part)
