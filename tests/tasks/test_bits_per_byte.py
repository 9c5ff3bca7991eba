"""Bits per byte: every byte of the held-out text is paid for exactly once."""

import math
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.tasks.bits_per_byte import windows
from ablate.tasks.errors import TaskError
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
