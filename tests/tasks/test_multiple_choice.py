"""Multiple choice: the likelier choice wins, a tie is shared, and what knows nothing scores chance."""

import math
import random
from pathlib import Path

import pytest
import torch

from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task

ROWS = [
    {"question": "The fox is", "choices": ["red", "transparent", "blü"], "label": 0, "part": "colour"},
    {"question": "Two and two are", "choices": ["four", "a"], "label": 1, "part": "sums"},
    {"question": "", "choices": ["Yes.", "No, not at all."], "label": 0, "part": "sums"},
    {
        "question": "Snow is ",
        "choices": ["cold", "hot", "dry", "a kind of sand"],
        "label": 3,
        "part": "colour",
    },
]


@pytest.fixture
def load(tmp_path: Path, write_rows):
    def load(rows, name: str = "quiz.jsonl", **settings):
        path = write_rows(tmp_path / name, rows)
        return load_task("quiz", {"kind": "multiple_choice", "paths": [path], **settings}, tmp_path / "cache")

    return load


def test_a_model_with_constant_logits_scores_chance_exactly_whatever_the_lengths(
    load, tokenizer, constant
) -> None:
    task = load(ROWS, subset_field="part")
    chance = (1 / 3 + 1 / 2 + 1 / 2 + 1 / 4) / 4
    shares = ("accuracy", "accuracy_per_byte", "probability")
    assert task.chance == pytest.approx(dict.fromkeys(shares, chance))
    result = task.score(constant(), tokenizer, 4)
    assert set(result.scores) == {
        f"quiz/{metric}{part}" for metric in task.metrics for part in ("", "/colour", "/sums")
    }
    for endpoint, score in result.scores.items():
        assert score.value == pytest.approx(score.chance, rel=1e-7 if "bits" in endpoint else 1e-12), endpoint
    assert result.scores["quiz/accuracy"].chance == pytest.approx(chance)
    assert result.scores["quiz/accuracy/sums"].chance == 0.5


def test_metrics_equal_those_of_log_likelihoods_computed_one_token_at_a_time(
    load, tokenizer, attention, brute_force
) -> None:
    model = attention()
    items = load(ROWS).score(model, tokenizer, 64).items
    for number, row in enumerate(ROWS, 1):
        (context,) = tokenizer.encode([row["question"].rstrip()])
        sums = []
        for choice in row["choices"]:
            (whole,) = tokenizer.encode([row["question"] + " " + choice])
            sums.append(brute_force(model, [tokenizer.bos, *context], whole[len(context) :]))
        sizes = [len(choice.encode()) for choice in row["choices"]]
        per_byte = [value / size for value, size in zip(sums, sizes, strict=True)]
        label = row["label"]
        expected = {
            "accuracy": float(sums[label] == max(sums)),
            "accuracy_per_byte": float(per_byte[label] == max(per_byte)),
            "probability": math.exp(sums[label]) / sum(map(math.exp, sums)),
            "bits": -sums[label] / math.log(2),
            "bytes": sizes[label],
        }
        found = items[items.item == f"quiz:{number}"].set_index("metric").value.to_dict()
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_tie_at_the_top_is_shared_by_those_in_it(load, tokenizer, bigram) -> None:
    # After the space, "a", "b" and "c" are equally likely and "d" is unlikely.
    table = torch.zeros(259, 259)
    table[3 + ord(" "), 3 + ord("d")] = -4.0
    rows = [{"question": "q", "choices": list("abcd"), "label": label} for label in range(4)]
    items = load(rows).score(bigram(table), tokenizer, 3).items
    assert items[items.metric == "accuracy"].value.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.0])
    weight = math.exp(-4)
    assert items[items.metric == "probability"].value.tolist() == pytest.approx(
        [1 / (3 + weight)] * 3 + [weight / (3 + weight)]
    )


def test_length_in_bytes_can_turn_the_answer(load, tokenizer, bigram) -> None:
    table = torch.zeros(259, 259)
    table[:, 3 + ord("a")] = 2.0
    result = load([{"question": "q", "choices": ["z", "aaaa"], "label": 1}]).score(
        bigram(table), tokenizer, 4
    )
    assert result.scores["quiz/accuracy"].value == 0.0
    assert result.scores["quiz/accuracy_per_byte"].value == 1.0


def test_length_is_counted_in_bytes_and_not_in_characters(load, tokenizer, bigram) -> None:
    # Behind "q" a space costs nothing, and elsewhere every byte costs the same: so much a byte for both.
    table = torch.zeros(259, 259)
    table[3 + ord("q"), 3 + ord(" ")] = 80.0
    result = load([{"question": "q", "choices": ["éé", "ab"], "label": 1}]).score(bigram(table), tokenizer, 4)
    assert result.scores["quiz/accuracy_per_byte"].value == 0.5


def test_white_space_that_ends_the_question_is_scored_with_the_choice(load, tokenizer, bigram) -> None:
    table = torch.zeros(259, 259)
    table[:, 3 + ord(" ")] = -4.0
    table[:, 3 + ord("a")] = -7.0
    # Two costly spaces before each choice: spread over two bytes they outweigh the costlier letters of "aa".
    result = load([{"question": "q ", "choices": ["z", "aa"], "label": 1}]).score(bigram(table), tokenizer, 4)
    assert result.scores["quiz/accuracy_per_byte"].value == 1.0
    # One space is not enough for that.
    result = load([{"question": "q", "choices": ["z", "aa"], "label": 1}]).score(bigram(table), tokenizer, 4)
    assert result.scores["quiz/accuracy_per_byte"].value == 0.0


def test_scores_are_the_same_at_any_batch_size_and_item_order(load, tokenizer, attention) -> None:
    draw = random.Random(5)
    rows = [
        {
            "id": str(index),
            "question": "".join(draw.choice("abcé ") for _ in range(draw.randint(0, 40))),
            "choices": ["".join(draw.choice("abcdé") for _ in range(draw.randint(1, 9))) for _ in range(3)],
            "label": draw.randrange(3),
        }
        for index in range(60)
    ]
    model, frames = attention(), []
    for batch_rows in (1, 7, 64):
        draw.shuffle(rows)
        result = load(rows, f"quiz{batch_rows}.jsonl", id_field="id").score(model, tokenizer, batch_rows)
        frames.append(result.items.set_index(["item", "metric"]).value.sort_index())
    for frame in frames[1:]:
        assert list(frame.index) == list(frames[0].index)
        assert (frame - frames[0]).abs().max() < 1e-5


def test_a_long_question_is_cut_from_the_left_and_counted_and_a_long_choice_refused(
    load, tokenizer, attention
) -> None:
    long = [{"question": "blah " * 20 + "so", "choices": ["yes", "no"], "label": 0}]
    short = [{"question": ("blah " * 20 + "so")[-28:], "choices": ["yes", "noo"], "label": 0}]
    result = load(long).score(attention(), tokenizer, 4)
    assert any("2 of 2 contexts cut from the left" in note for note in result.notes)
    long[0]["choices"][1] = "noo"
    cut, kept = (
        load(rows, name).score(attention(), tokenizer, 4).scores["quiz/probability"].value
        for rows, name in ((long, "long.jsonl"), (short, "short.jsonl"))
    )
    assert cut == pytest.approx(kept, rel=1e-5)
    long[0]["choices"][1] = "no" * 20
    with pytest.raises(TaskError, match=r"long\.jsonl:1: 41 tokens"):
        load(long, "long.jsonl").score(attention(), tokenizer, 4)


def test_what_length_alone_would_score_is_disclosed(load, tokenizer, attention) -> None:
    (note,) = load(ROWS).score(attention(), tokenizer, 4).notes
    # By bytes the shortest choices are: red (of 3 and 4 bytes), a, Yes., and hot with dry.
    assert "4 of 4 items" in note
    assert "would score 0.750" in note
    even = [{"question": "q", "choices": ["a", "b"], "label": 0}]
    assert load(even, "even.jsonl").score(attention(), tokenizer, 4).notes == []


def test_compression_and_folder_do_not_change_the_digest_but_an_item_does(load, tmp_path) -> None:
    import gzip

    import zstandard

    reference = load(ROWS)
    plain = (tmp_path / "quiz.jsonl").read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(plain))
    for name in ("a.jsonl.gz", "b.jsonl.zst"):
        settings = {"kind": "multiple_choice", "paths": [str(tmp_path / name)]}
        assert load_task("other", settings, tmp_path / "cache").digest == reference.digest
    changed = [{**ROWS[0], "label": 1}, *ROWS[1:]]
    assert load(changed, "changed.jsonl").digest != reference.digest
    assert load(ROWS, limit=2).digest != reference.digest


def test_file_names_do_not_change_which_items_a_limit_keeps(tmp_path, write_rows) -> None:
    parts = [
        [{"question": f"{part} {index}", "choices": ["a", "b"], "label": 0} for index in range(5)]
        for part in "xyz"
    ]
    digests = set()
    for folder, names in (("one", "abc"), ("two", "cab"), ("three", "bca")):
        for name, rows in zip(names, parts, strict=True):
            write_rows(tmp_path / folder / f"{name}.jsonl", rows)
        settings = {"kind": "multiple_choice", "paths": [str(tmp_path / folder / "*.jsonl")], "limit": 4}
        digests.add(load_task("quiz", settings, tmp_path / "cache").digest)
    assert len(digests) == 1


def test_a_limit_keeps_evenly_spaced_items(load, tokenizer, constant) -> None:
    rows = [{"question": str(index), "choices": ["a", "b"], "label": 0} for index in range(9)]
    task = load(rows, limit=3)
    assert sorted({label for label, _ in task.texts()}) == ["quiz/quiz:2", "quiz/quiz:5", "quiz/quiz:8"]
    assert task.score(constant(), tokenizer, 4).scores["quiz/accuracy"].items == 3
    assert len(load(rows, limit=100).items) == 9


def test_every_choice_is_held_out_text(load) -> None:
    assert [text for _, text in load(ROWS[:1]).texts()] == [
        "The fox is red",
        "The fox is transparent",
        "The fox is blü",
    ]


def test_files_of_one_name_are_told_apart(tmp_path, write_rows) -> None:
    paths = [write_rows(tmp_path / part / "quiz.jsonl", ROWS[:1]) for part in ("easy", "hard")]
    task = load_task("quiz", {"kind": "multiple_choice", "paths": paths}, tmp_path / "cache")
    assert {item.id for item in task.items} == {"easy.quiz:1", "hard.quiz:1"}


GOOD = {"question": "q", "choices": ["a", "b"], "label": 0, "id": "1"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"questoin": "q", "choices": ["a", "b"], "label": 0}, r"no field 'question'.*questoin.*'questoin'"),
        ({**GOOD, "label": 2}, r"label is 2, but there are 2 choices \(0 to 1\)"),
        ({**GOOD, "label": -1}, "label is -1"),
        ({**GOOD, "label": "0"}, "label is '0'"),
        ({**GOOD, "label": True}, "label is True"),
        ({**GOOD, "choices": ["a", " "]}, r"choices\[1\] is empty"),
        ({**GOOD, "choices": ["a", 3]}, r"choices\[1\] is 3, not text"),
        ({**GOOD, "choices": ["a"]}, "two or more"),
        ({**GOOD, "choices": "ab"}, "two or more"),
        ({**GOOD, "question": None}, "question is None, not text"),
        (["q"], "not a JSON object"),
        ({**GOOD}, r"id '1' occurs twice, first at .*quiz\.jsonl:1"),
        ({**GOOD, "id": 1.5}, "id is 1.5"),
        ({"question": "q", "choices": ["a", "b"], "label": 0}, "no field 'id'"),
    ],
)
def test_an_unusable_item_is_refused_with_its_line(load, row, message: str) -> None:
    with pytest.raises(TaskError, match=rf"quiz\.jsonl:2: .*{message}"):
        load([GOOD, row], id_field="id")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no items"),
        (b"\n\n", "no items"),
        (b'{"question": \n', r"bad\.jsonl:1: not JSON"),
        (b'{"question": "caf\xe9"}\n', r"bad\.jsonl:1: not UTF-8"),
        (b"[" * 100_000 + b"\n", r"bad\.jsonl:1: not JSON"),
        (
            b'{"question": "q", "choices": ["a", "b"], "label": 0, "label": 1}\n',
            r"bad\.jsonl:1: .*the key 'label' stands twice",
        ),
        (b'{"question": "\\ud800", "choices": ["a", "b"], "label": 0}\n', r"bad\.jsonl:1: .*surrogate"),
        (b"\x1f\x8b\x08\x00broken", "bad.jsonl"),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path, content: bytes, message: str) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(TaskError, match=message):
        load_task(
            "quiz", {"kind": "multiple_choice", "paths": [str(tmp_path / "bad.jsonl")]}, tmp_path / "cache"
        )


def test_a_choice_that_the_tokenizer_merges_into_the_question_is_refused(load, constant) -> None:
    class Merging:
        bos, eos, pad = 0, 1, 2

        def encode(self, texts: list[str]) -> list[list[int]]:
            return [[5] for _ in texts]

    with pytest.raises(TaskError, match=r"quiz\.jsonl:1: .*merges choice 'red'"):
        load(ROWS[:1]).score(constant(), Merging(), 4)


@pytest.mark.parametrize("subset_field", ["", "part"])
def test_endpoints_are_known_before_anything_is_scored(load, tokenizer, constant, subset_field) -> None:
    task = load(ROWS, subset_field=subset_field)
    assert task.endpoints() == list(task.score(constant(), tokenizer, 4).scores)


def test_a_choice_that_exceeds_the_context_is_refused_without_a_model_as_scoring_would(
    load, tokenizer, constant
) -> None:
    # A long question is cut; a choice and the space before it have to fit.
    rows = [*ROWS[:1], {"question": "blah " * 20 + "so", "choices": ["y" * 31, "no"], "label": 0}]
    load(rows).check(tokenizer, 32)
    rows[1]["choices"][0] = "y" * 32
    task = load(rows)
    with pytest.raises(TaskError, match=r"quiz\.jsonl:2: 33 tokens to score do not fit") as early:
        task.check(tokenizer, 32)
    with pytest.raises(TaskError) as late:
        task.score(constant(32), tokenizer, 4)
    assert str(early.value) == str(late.value)


def test_a_check_encodes_once(load, tokenizer) -> None:
    calls = []

    class Counting:
        bos, eos, pad = 0, 1, 2

        def encode(self, texts: list[str]) -> list[list[int]]:
            calls.append(len(texts))
            return tokenizer.encode(texts)

    load(ROWS).check(Counting(), 32)
    assert calls == [len(ROWS) + sum(len(row["choices"]) for row in ROWS)]


def test_word_lists_score_the_questions_that_hold_their_words(load, tmp_path, tokenizer, attention) -> None:
    (tmp_path / "things.txt").write_text("fox\nsnow\n", encoding="utf-8")
    (tmp_path / "numbers.txt").write_text("two\n", encoding="utf-8")
    rows = [*ROWS, {"question": "Two foxes, one fox are", "choices": ["a", "b"], "label": 0, "part": "sums"}]
    words = {name: str(tmp_path / f"{name}.txt") for name in ("things", "numbers")}
    plain = load(rows, subset_field="part")
    task = load(rows, subset_field="part", words=words)
    assert task.word_group == ["things", "numbers", "neither", "things", "both"]
    assert task.digest != plain.digest
    before, result = (each.score(attention(), tokenizer, 4) for each in (plain, task))
    assert {endpoint: result.scores[endpoint] for endpoint in before.scores} == before.scores
    assert task.endpoints() == list(result.scores)
    accuracy = before.items[before.items.metric == "accuracy"].set_index("item").value.to_numpy()
    for group, members in {"things": [0, 3], "numbers": [1], "both": [4], "neither": [2]}.items():
        score = result.scores[f"quiz/accuracy.{group}"]
        assert score.value == pytest.approx(accuracy[members].mean())
        assert score.items == len(members)
        assert (result.items.metric == f"accuracy.{group}").sum() == len(members)
    assert result.scores["quiz/probability.things"].chance == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_a_list_that_no_question_holds_a_word_of_is_refused(load, tmp_path) -> None:
    (tmp_path / "none.txt").write_text("cat\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"'quiz': no item holds a word of words\.animals"):
        load(ROWS, words={"animals": str(tmp_path / "none.txt")})
