"""What gives an answer away is found: examples that show it, answers that are common, training text that
holds the item without the prompt's own words."""

from pathlib import Path

import pytest
from benchmark_samples import ARC_HUB, BLIMP, COMMONSENSE_QA, COPA, HELLASWAG, OBJECTS, PIQA, annotated

from ablate.data.overlap import StreamTexts
from ablate.data.overlap_summary import find_overlaps
from ablate.data.overlap_words import words_of
from ablate.recipe.schema import DecontaminationConfig
from ablate.tasks.benchmarks.prior import pmi_share
from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task


@pytest.fixture
def load(tmp_path: Path, write_rows):
    def load(kind: str, rows, **settings):
        files = rows if isinstance(rows, dict) else {"items.jsonl": rows}
        paths = [write_rows(tmp_path / file, content) for file, content in files.items()]
        return load_task(kind, {"kind": kind, "paths": paths, **settings}, tmp_path / "cache")

    return load


def quiz(question: str, *choices: str, label: int = 0) -> dict:
    return {"question": question, "choices": list(choices), "label": label}


@pytest.mark.parametrize(
    "example",
    [
        quiz("The sky is", "red", "blue", label=1),
        quiz("The sky is", "blue", "green", "red"),
        quiz("the  sky is ", "Blue", "a stone"),
    ],
)
def test_an_example_that_shows_an_items_right_answer_is_refused(load, tmp_path, write_rows, example) -> None:
    shots = write_rows(tmp_path / "train.jsonl", [example])
    with pytest.raises(TaskError, match=r"this worked example is an item .*items\.jsonl:1"):
        load("multiple_choice", [quiz("The sky is", "blue", "a stone")], shots=1, shot_paths=[shots])


def test_an_example_with_the_same_question_and_another_answer_gives_nothing_away(
    load, tmp_path, write_rows
) -> None:
    shots = write_rows(tmp_path / "train.jsonl", [quiz("The sky is", "grey", "a stone")])
    assert load("multiple_choice", [quiz("The sky is", "blue", "red")], shots=1, shot_paths=[shots]).shots


def test_rounding_breaks_no_tie_between_differences() -> None:
    """log-likelihoods of 60 nats in fp32 are right to 4e-6, and so are differences that should be equal."""
    assert pmi_share([-62.770954, -57.876156], [-62.770950, -57.876156], 0) == 0.5
    assert pmi_share([-62.770954, -57.876156], [-62.760950, -57.876156], 0) == 0.0
    assert pmi_share([-62.7, -57.8], [-62.8, -57.8], 0) == 1.0


def test_a_note_says_what_one_answer_to_everything_would_score(load, tokenizer, attention) -> None:
    rows = [quiz(f"Is {number} odd?", "no", "yes", label=number > 0) for number in range(4)]
    rows = [row | {"label": int(row["label"])} for row in rows]
    notes = load("multiple_choice", rows).score(attention(64), tokenizer, 4).notes
    said = "every item offers the same 2 choices; always choosing 'yes' would score 0.750"
    assert f"multiple_choice: {said}" in notes
    balanced = load("multiple_choice", rows[:2]).score(attention(64), tokenizer, 4).notes
    assert not any("offers the same" in note for note in balanced)


def test_coda_says_what_knowing_how_common_colours_are_is_worth(load, tokenizer, attention) -> None:
    objects = [OBJECTS[0] | {"class_id": str(number), "object_pl": f"{number}s"} for number in range(4)]
    annotations = [annotated(str(number), 0, white=3, red=1) for number in range(4)]
    task = load("coda", {"objects.jsonl": objects, "annotations.jsonl": annotations})
    notes = task.score(attention(96), tokenizer, 4).notes
    assert any("always choosing 'white' would score 1.000" in note for note in notes)
    assert any("would score spearman 1.000, jensen_shannon 0.000" in note for note in notes)


def held_out(task) -> set[str]:
    return {" ".join(words_of(text)) for _, text in task.texts()}


@pytest.mark.parametrize(
    ("kind", "rows", "as_in_training"),
    [
        ("arc", ARC_HUB, "Which is cold? A very hot stone"),
        ("piqa", PIQA, f"{PIQA[0]['goal']} {PIQA[0]['sol1']}"),
        ("copa", COPA, f"{COPA[0]['premise']} {COPA[0]['choice1']}"),
        ("hellaswag", HELLASWAG, "How to bake. Mix the flour. Then she sings"),
        (
            "commonsense_qa",
            COMMONSENSE_QA,
            f"{COMMONSENSE_QA[0]['question']} {COMMONSENSE_QA[0]['choices']['text'][1]}",
        ),
    ],
)
def test_held_out_text_is_also_looked_for_without_the_prompts_words(load, kind, rows, as_in_training) -> None:
    assert " ".join(words_of(as_in_training)) in held_out(load(kind, rows))


def test_training_text_that_holds_a_short_question_and_its_answer_overlaps(load, tmp_path) -> None:
    task = load("arc", ARC_HUB)
    text = "Quiz night. Which is cold? Ice. Who knew?"
    stream = StreamTexts("web", "documents", "key", lambda: iter([(0, 1, text)]), lambda *_: "web:1")
    config = DecontaminationConfig(ngram=13, shortest=4)
    found = find_overlaps(config, {"arc": task.texts()}, [stream], tmp_path / "cache")
    assert found.places("web") == {(0, 1)}


def test_word_lists_do_not_look_at_the_prompts_words(load, tmp_path) -> None:
    words = tmp_path / "abstract.txt"
    words.write_text("question\nanswer\nwet\n")
    task = load("arc", ARC_HUB, words={"abstract": str(words)})
    assert list(task.word_group) == ["neither", "abstract"]


def test_a_word_list_cannot_take_the_name_of_a_tasks_own_group(load) -> None:
    with pytest.raises(TaskError, match="'syntax' is a group of blimp; rename the list"):
        load("blimp", BLIMP, words={"syntax": "builtin:function"})


@pytest.mark.parametrize("hidden", ["\u00ad", "\u200d", "\u200c", "\u2060", "\ufeff"])
def test_signs_that_nobody_sees_hide_no_word(hidden: str) -> None:
    assert words_of(f"An exam{hidden}ple, caf\u00e9") == words_of("an example caf\u00e9")
