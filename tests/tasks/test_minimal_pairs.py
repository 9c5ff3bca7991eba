"""Minimal pairs: whole sentences, BOS in front, ties worth one half."""

import random
from pathlib import Path

import pytest

from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task

PAIRS = [
    {
        "sentence_good": "The cats sleep.",
        "sentence_bad": "The cats sleeps.",
        "UID": "agreement",
        "pairID": "0",
    },
    {
        "sentence_good": "Who did she see?",
        "sentence_bad": "Who did she see who?",
        "UID": "gap",
        "pairID": "1",
    },
    {"sentence_good": "Él ríe.", "sentence_bad": "Él reír.", "UID": "agreement", "pairID": "2"},
]
BLIMP = {"good_field": "sentence_good", "bad_field": "sentence_bad"}


@pytest.fixture
def load(tmp_path: Path, write_rows):
    def load(rows, name: str = "pairs.jsonl", **settings):
        path = write_rows(tmp_path / name, rows)
        return load_task(
            "blimp", {"kind": "minimal_pairs", "paths": [path], **BLIMP, **settings}, tmp_path / "cache"
        )

    return load


def test_a_model_with_constant_logits_scores_one_half_whatever_the_lengths(load, tokenizer, constant) -> None:
    result = load(PAIRS, subset_field="UID").score(constant(), tokenizer, 4)
    metrics = ("accuracy", "margin", "accuracy_per_byte", "probability", "bits_per_byte")
    assert set(result.scores) == {
        f"blimp/{metric}{part}" for metric in metrics for part in ("", "/agreement", "/gap")
    }
    for metric in ("accuracy", "accuracy_per_byte", "probability"):
        for part in ("", "/agreement", "/gap"):
            score = result.scores[f"blimp/{metric}{part}"]
            assert score.value == score.chance == 0.5
    score = result.scores["blimp/bits_per_byte"]
    assert score.value == pytest.approx(score.chance, rel=1e-7)


def test_accuracy_and_margin_are_those_of_whole_sentences_after_bos(
    load, tokenizer, attention, brute_force
) -> None:
    model = attention()
    result = load(PAIRS).score(model, tokenizer, 64)
    margins = [
        brute_force(model, [tokenizer.bos], tokenizer.encode([pair["sentence_good"]])[0])
        - brute_force(model, [tokenizer.bos], tokenizer.encode([pair["sentence_bad"]])[0])
        for pair in PAIRS
    ]
    items = result.items
    assert items[items.metric == "margin"].value.tolist() == pytest.approx(margins, abs=1e-4)
    assert items[items.metric == "accuracy"].value.tolist() == [float(margin > 0) for margin in margins]
    assert result.scores["blimp/margin"].value == pytest.approx(sum(margins) / 3, abs=1e-4)
    assert result.scores["blimp/margin"].chance is None
    swapped = [
        {"sentence_good": pair["sentence_bad"], "sentence_bad": pair["sentence_good"]} for pair in PAIRS
    ]
    other = load(swapped, "swapped.jsonl").score(model, tokenizer, 64)
    assert other.scores["blimp/accuracy"].value == pytest.approx(1 - result.scores["blimp/accuracy"].value)


def test_one_sentence_twice_is_a_tie_and_is_disclosed(load, tokenizer, attention) -> None:
    same = {"sentence_good": "It rains.", "sentence_bad": "It rains."}
    result = load([same]).score(attention(), tokenizer, 4)
    assert result.scores["blimp/accuracy"].value == 0.5
    assert result.notes == ["blimp: 1 of 1 items have equal alternatives, always a tie"]


def test_scores_are_the_same_at_any_batch_size_and_item_order(load, tokenizer, attention) -> None:
    draw = random.Random(2)
    words = ["sees", "the", "dog", "é", "who", "never", "."]
    rows = [
        {
            "sentence_good": " ".join(draw.choices(words, k=draw.randint(1, 5))),
            "sentence_bad": " ".join(draw.choices(words, k=draw.randint(1, 5))),
            "pairID": index,
        }
        for index in range(80)
    ]
    model, frames = attention(), []
    for batch_rows in (1, 7, 64):
        draw.shuffle(rows)
        result = load(rows, f"pairs{batch_rows}.jsonl", id_field="pairID").score(model, tokenizer, batch_rows)
        frames.append(result.items.set_index(["item", "metric"]).value.sort_index())
    for frame in frames[1:]:
        assert (frame - frames[0]).abs().max() < 1e-5


def test_without_a_subset_field_each_file_is_a_subset(tmp_path, write_rows, tokenizer, constant) -> None:
    for name, rows in (("island.jsonl", PAIRS[:1]), ("binding.jsonl", PAIRS[1:])):
        write_rows(tmp_path / "blimp" / name, rows)
    settings = {"kind": "minimal_pairs", "paths": [str(tmp_path / "blimp" / "*.jsonl")], **BLIMP}
    result = load_task("blimp", settings, tmp_path / "cache").score(constant(), tokenizer, 4)
    own = {name: score.items for name, score in result.scores.items() if name.split("/")[1] == "accuracy"}
    assert own == {
        "blimp/accuracy": 3,
        "blimp/accuracy/island": 1,
        "blimp/accuracy/binding": 2,
    }


def test_both_sentences_are_held_out_text(load) -> None:
    assert [text for _, text in load(PAIRS[:1]).texts()] == ["The cats sleep.", "The cats sleeps."]


def test_the_digest_follows_the_pairs_and_the_settings(load) -> None:
    reference = load(PAIRS).digest
    assert load(PAIRS, "elsewhere/pairs.jsonl").digest == reference
    assert load(PAIRS[:2], "fewer.jsonl").digest != reference
    assert load(PAIRS, subset_field="UID").digest != reference


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"good": "a", "bad": "b"}, r"no field 'sentence_good'; found: good, bad"),
        ({**PAIRS[0], "sentence_bad": ""}, "sentence_bad is empty"),
        ({**PAIRS[0], "pairID": "1"}, r"id '1' occurs twice, first at .*pairs\.jsonl:1"),
        ({**PAIRS[0], "UID": "syntax/gap"}, "subset 'syntax/gap'"),
        ({**PAIRS[0], "UID": 3}, "UID is 3, not text"),
    ],
)
def test_an_unusable_pair_is_refused_with_its_line(load, row, message: str) -> None:
    with pytest.raises(TaskError, match=rf"pairs\.jsonl:2: .*{message}"):
        load([PAIRS[1], row], id_field="pairID", subset_field="UID")


def test_a_sentence_longer_than_the_context_is_refused_before_anything_is_scored(
    load, tokenizer, attention
) -> None:
    model = attention(context_length=16)
    with pytest.raises(TaskError, match=r"pairs\.jsonl:2: 20 tokens"):
        load(PAIRS).score(model, tokenizer, 4)
    assert model.rows_seen == []


@pytest.mark.parametrize("subset_field", ["", "UID"])
def test_endpoints_are_known_before_any_pair_is_scored(load, tokenizer, constant, subset_field) -> None:
    task = load(PAIRS, subset_field=subset_field)
    assert task.endpoints() == list(task.score(constant(), tokenizer, 4).scores)


def test_a_sentence_longer_than_the_context_is_refused_without_a_model_as_scoring_would(
    load, tokenizer, constant
) -> None:
    task = load(PAIRS)
    task.check(tokenizer, 20)
    with pytest.raises(TaskError, match=r"pairs\.jsonl:2: 20 tokens") as early:
        task.check(tokenizer, 19)
    with pytest.raises(TaskError) as late:
        task.score(constant(19), tokenizer, 4)
    assert str(early.value) == str(late.value)


def test_word_lists_score_the_pairs_whose_acceptable_sentence_holds_their_words(
    load, tmp_path, tokenizer, attention
) -> None:
    (tmp_path / "animals.txt").write_text("cats\n", encoding="utf-8")
    words = {"animals": str(tmp_path / "animals.txt"), "function": "builtin:function"}
    # "who" stands in the second sentence of the last pair only.
    rows = [*PAIRS, {"sentence_good": "Cats.", "sentence_bad": "Cats who.", "UID": "gap", "pairID": "3"}]
    plain, task = load(rows, subset_field="UID"), load(rows, subset_field="UID", words=words)
    assert task.word_group == ["both", "function", "neither", "animals"]
    before, result = (each.score(attention(), tokenizer, 4) for each in (plain, task))
    assert {endpoint: result.scores[endpoint] for endpoint in before.scores} == before.scores
    assert task.endpoints() == list(result.scores)
    margins = before.items[before.items.metric == "margin"].value.tolist()
    own = {"both": margins[0], "function": margins[1], "neither": margins[2], "animals": margins[3]}
    for group, margin in own.items():
        assert result.scores[f"blimp/margin.{group}"].value == pytest.approx(margin)
        assert result.scores[f"blimp/accuracy.{group}"].chance == 0.5
    # Rows keep their paradigm, so that items can be resampled by it.
    kept = result.items[result.items.metric == "margin.function"]
    assert kept.subset.tolist() == ["gap"]
    assert task.digest != plain.digest
