"""What all tasks of choices share: worked examples, bits of the right choice, clusters of items."""

import math
from pathlib import Path

import pytest

from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task

ROWS = [
    {"question": "The sky is", "choices": ["blue", "a stone"], "label": 0, "passage": "p1"},
    {"question": "A stone is", "choices": ["wet", "hard", "ëh"], "label": 1, "passage": "p1"},
]
EXAMPLES = [
    {"question": "Grass is", "choices": ["red", "green"], "label": 1, "passage": "p2"},
    {"question": "Snow is", "choices": ["white", "hot"], "label": 0, "passage": "p2"},
    {"question": "Coal is", "choices": ["black", "white"], "label": 0, "passage": "p2"},
]


@pytest.fixture
def load(tmp_path: Path, write_rows):
    examples = write_rows(tmp_path / "train.jsonl", EXAMPLES)

    def load(rows=ROWS, name: str = "quiz.jsonl", shots: int = 0, **settings):
        path = write_rows(tmp_path / name, rows)
        given = {"shots": shots, "shot_paths": [examples]} if shots else {}
        return load_task(
            "quiz", {"kind": "multiple_choice", "paths": [path], **given, **settings}, tmp_path / "cache"
        )

    return load


def test_worked_examples_stand_before_every_item_and_are_not_scored(load, tokenizer) -> None:
    plain, shown = load().requests(tokenizer), load(shots=2).requests(tokenizer)
    (before,) = tokenizer.encode(["Grass is green\n\nSnow is white\n\n"])
    for alone, behind in zip(plain, shown, strict=True):
        assert behind.context == [tokenizer.bos, *before, *alone.context[1:]]
        assert behind.continuation == alone.continuation


def test_worked_examples_change_the_digest_and_are_disclosed(load, tokenizer, attention) -> None:
    digests = {load(shots=count).digest for count in (0, 1, 2, 3)}
    assert len(digests) == 4
    notes = load(shots=2).score(attention(256), tokenizer, 4).notes
    assert "quiz: scored with 2 worked examples before every item" in notes


def test_an_example_that_is_an_item_is_refused(load) -> None:
    with pytest.raises(TaskError, match=r"train\.jsonl:2: this worked example is an item .*quiz\.jsonl:3"):
        load([*ROWS, EXAMPLES[1]], shots=2)
    # The one that is not shown does no harm.
    load([*ROWS, EXAMPLES[2]], shots=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shots": 4}, "shots is 4, and shot_paths holds 3"),
        ({"shots": -1}, "shots is -1"),
    ],
)
def test_examples_that_cannot_be_shown_are_refused(load, settings, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load(**settings)


def test_shots_without_examples_and_examples_without_shots_are_refused(load) -> None:
    with pytest.raises(TaskError, match="shot_paths names no file"):
        load_task("quiz", {"kind": "multiple_choice", "paths": ["x"], "shots": 2}, Path("unused"))
    with pytest.raises(TaskError, match="shots is 0"):
        load_task("quiz", {"kind": "multiple_choice", "paths": ["x"], "shot_paths": ["y"]}, Path("unused"))


def test_bits_per_byte_is_the_bits_of_all_right_choices_over_their_bytes(
    load, tokenizer, attention, brute_force
) -> None:
    model = attention()
    bits = 0.0
    for row in ROWS:
        context, choice = row["question"], row["choices"][row["label"]]
        nats = brute_force(
            model, [tokenizer.bos, *tokenizer.encode([context])[0]], tokenizer.encode([" " + choice])[0]
        )
        bits -= nats / math.log(2)
    score = load().score(model, tokenizer, 4).scores["quiz/bits_per_byte"]
    assert score.value == pytest.approx(bits / len("bluehard"), rel=1e-5)
    assert not score.higher_is_better


def test_a_score_is_what_its_items_give(load, tokenizer, attention) -> None:
    """A report recomputes it from them."""
    result = load().score(attention(), tokenizer, 4)
    columns = result.items.groupby("metric").value
    assert result.scores["quiz/bits_per_byte"].value == pytest.approx(
        columns.sum()["bits"] / columns.sum()["bytes"]
    )
    for metric in ("accuracy", "accuracy_per_byte", "probability"):
        assert result.scores[f"quiz/{metric}"].value == pytest.approx(columns.mean()[metric])


def test_items_carry_their_cluster_where_there_is_one(load, tokenizer, attention) -> None:
    items = load(cluster_field="passage").score(attention(), tokenizer, 4).items
    assert set(items.cluster) == {"p1"}
    assert "cluster" not in load().score(attention(), tokenizer, 4).items
