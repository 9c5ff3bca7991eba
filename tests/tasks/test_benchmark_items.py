"""What is particular to single benchmarks: clusters, both ways round, distributions, hidden labels."""

import math
import os
from pathlib import Path

import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from benchmark_samples import (
    ANNOTATIONS,
    ARC_HUB,
    ARC_ORIGINAL,
    BLIMP,
    COMMONSENSE_QA,
    EWOK,
    HELLASWAG,
    LAMBADA,
    OBJECTS,
    PIQA,
    SAMPLES,
    VICOMTE,
    WINOGRANDE,
    annotated,
)
from hypothesis import given
from hypothesis import strategies as st

from ablate.tasks.benchmarks.coda import COLOURS, jensen_shannon, spearman
from ablate.tasks.benchmarks.hellaswag import cleaned
from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task

CORPUS = os.environ.get("ABLATE_CORPUS")
"""Folder with `tasks/blimp/*.jsonl.gz` and the other published files; see the README."""


@pytest.fixture
def load(tmp_path: Path, write_rows):
    def load(kind: str, rows, name: str = "items", **settings):
        files = rows if isinstance(rows, dict) else {f"{name}.jsonl": rows}
        paths = [write_rows(tmp_path / file, content) for file, content in files.items()]
        return load_task(kind, {"kind": kind, "paths": paths, **settings}, tmp_path / "cache")

    return load


def test_blimp_is_scored_by_paradigm_by_field_and_overall(load, tokenizer, attention) -> None:
    task = load("blimp", BLIMP)
    result = task.score(attention(64), tokenizer, 4)
    accuracy = {name: score for name, score in result.scores.items() if name.startswith("blimp/accuracy")}
    assert accuracy["blimp/accuracy"].items == 6
    assert accuracy["blimp/accuracy/coordinate_island"].items == 2
    assert accuracy["blimp/accuracy.syntax"].items == 2
    # The one that the source writes with a slash.
    assert accuracy["blimp/accuracy.syntax_semantics"].items == 1
    assert set(result.items.cluster) == {row["UID"] for row in BLIMP}
    assert task.items[0].right.continuation == " Who does Ann admire?"
    bare = load("blimp", BLIMP, leading_space=False)
    assert bare.items[0].right.continuation == "Who does Ann admire?"
    assert bare.digest != task.digest


def test_endings_lose_what_the_markup_left(load) -> None:
    item = load("hellaswag", HELLASWAG).items[0]
    assert item.right.context == "Baking bread: How to bake. Mix the flour. Then she"
    assert item.right.text == "puts it into the oven."
    assert item.choices[1].text == "flies off ."
    assert cleaned(" [header] a [title] b  c") == " a. b c"


def test_both_forms_of_a_question_are_one_item(load) -> None:
    hub = {
        "id": "Mercury_1",
        "question": "Which is hot?",
        "choices": {"text": ["ice", "the sun", "tea pot"], "label": ["1", "2", "3"]},
        "answerKey": "2",
    }
    digests = {load("arc", [row], name).digest for name, row in (("old", ARC_ORIGINAL), ("new", hub))}
    assert len(digests) == 1
    assert load("arc", [*ARC_HUB, ARC_ORIGINAL]).chance["accuracy"] == pytest.approx(
        (1 / 4 + 1 / 4 + 1 / 3) / 3
    )


def test_items_of_one_passage_concept_or_twin_are_a_cluster(load) -> None:
    clusters = {
        kind: [item.cluster for item in load(kind, next(iter(SAMPLES[kind][0].values()))).items]
        for kind in ("boolq", "commonsense_qa", "winogrande", "hellaswag")
    }
    assert clusters["winogrande"] == ["A", "A", "B"]
    assert clusters["commonsense_qa"] == ["money", "book", "book"]
    assert clusters["hellaswag"] == ["wikihow~1", "wikihow~1", "activitynet~v"]
    first, second, third = clusters["boolq"]
    assert first == second != third


def test_winogrande_scores_what_follows_the_blank_and_nothing_else(load, tokenizer) -> None:
    task = load("winogrande", WINOGRANDE[:1])
    requests = task.requests(tokenizer)
    assert [request.continuation for request in requests] == tokenizer.encode([" was late."]) * 2
    heads = tokenizer.encode(["Ann left Bea since Ann", "Ann left Bea since Bea"])
    assert [request.context[1:] for request in requests] == heads


def test_piqa_takes_its_labels_from_a_file_beside_the_rows(load, tmp_path) -> None:
    bare = [{key: value for key, value in row.items() if key != "label"} for row in PIQA]
    labels = tmp_path / "valid-labels.lst"
    labels.write_text("0\n1\n0\n", encoding="utf-8")
    task = load("piqa", bare, labels=str(labels))
    assert [item.label for item in task.items] == [0, 1, 0]
    assert task.digest == load("piqa", PIQA, "with").digest
    labels.write_text("0\n1\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"valid-labels\.lst: 2 labels for 3 rows of .*items\.jsonl"):
        load("piqa", bare, labels=str(labels))
    labels.write_text("0\n2\n0\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"valid-labels\.lst:2: '2' is neither 0 nor 1"):
        load("piqa", bare, labels=str(labels))
    with pytest.raises(TaskError, match="has a label, and so has"):
        load("piqa", PIQA, labels=str(labels))
    with pytest.raises(TaskError, match=r"labels of one file, and there are 2: .*two\.jsonl"):
        load("piqa", {"one.jsonl": bare[:1], "two.jsonl": bare[1:]}, labels=str(labels))


def test_ewok_asks_every_line_both_ways_round(load, tokenizer, attention) -> None:
    line = EWOK[0]
    task = load("ewok", [line])
    assert [[(one.context, one.text) for one in item.choices] for item in task.items] == [
        [(line["Context1"], line["Target1"]), (line["Context2"], line["Target1"])],
        [(line["Context2"], line["Target2"]), (line["Context1"], line["Target2"])],
    ]
    other = load("ewok", [line], compare="targets")
    assert [[(one.context, one.text) for one in item.choices] for item in other.items] == [
        [(line["Context1"], line["Target1"]), (line["Context1"], line["Target2"])],
        [(line["Context2"], line["Target2"]), (line["Context2"], line["Target1"])],
    ]
    # A file that holds every item twice, as BabyLM's does, asks the same.
    swapped = line | {
        f"{part}{a}": line[f"{part}{b}"] for part in ("Context", "Target") for a, b in ("12", "21")
    }
    twice = load("ewok", [line, swapped], both_ways=False)
    assert [item.choices for item in twice.items] == [item.choices for item in task.items]
    result = load("ewok", EWOK).score(attention(96), tokenizer, 4)
    assert result.scores["ewok/accuracy/social-relations"].items == 4
    assert result.items[result.items.metric == "accuracy"].cluster.value_counts().eq(2).all()


def test_a_model_that_ignores_the_subject_scores_chance_once_common_values_are_discounted(
    load, tokenizer, bigram
) -> None:
    """It prefers `white` everywhere, which is right: by the plain accuracy it knows all."""
    table = torch.zeros(259, 259)
    table[3 + ord(" "), 3 + ord("w")] = 40.0
    rows = {
        "color.jsonl": [{"sub": sub, "obj": "white", "alt": "green"} for sub in ("snow", "milk", "paper")]
    }
    scores = load("vicomte", rows).score(bigram(table, 64), tokenizer, 4).scores
    assert scores["vicomte/accuracy"].value == 1.0
    assert scores["vicomte/accuracy_pmi"].value == scores["vicomte/accuracy_pmi"].chance == 0.5
    objects = [OBJECTS[0] | {"class_id": str(number), "object_pl": f"{number}s"} for number in range(4)]
    annotations = [annotated(str(number), 0, white=3, red=1) for number in range(4)]
    task = load("coda", {"objects.jsonl": objects, "annotations.jsonl": annotations})
    scores = task.score(bigram(table, 64), tokenizer, 4).scores
    assert scores["coda/accuracy"].value == 1.0
    assert scores["coda/accuracy_pmi"].value == pytest.approx(1 / 11)


def test_accuracy_pmi_is_that_of_the_differences_computed_one_token_at_a_time(
    load, tokenizer, attention, brute_force
) -> None:
    model, rows = attention(64), VICOMTE["color"]
    task = load("vicomte", {"color.jsonl": rows})

    def nats(subject: str, value: str) -> float:
        context, continuation = tokenizer.encode([f"The color of the {subject} is", f" {value}."])
        return brute_force(model, [tokenizer.bos, *context], continuation)

    right = [
        nats(row["sub"], row["obj"]) - nats("thing", row["obj"])
        > nats(row["sub"], row["alt"]) - nats("thing", row["alt"])
        for row in rows
    ]
    score = task.score(model, tokenizer, 4).scores["vicomte/accuracy_pmi"]
    assert score.value == pytest.approx(sum(right) / len(right))


def test_vicomte_says_what_common_values_alone_would_score(load, tokenizer, attention) -> None:
    notes = (
        load("vicomte", {f"{name}.jsonl": rows for name, rows in VICOMTE.items()})
        .score(attention(64), tokenizer, 4)
        .notes
    )
    # white is right twice and black once, so black, which is wrong in the last, does not mislead.
    assert any("vicomte/color: " in note and "would score 1.000" in note for note in notes)
    assert any("vicomte/size_larger: " in note and "2 items would score 1.000" in note for note in notes)


def test_a_relation_comes_from_the_file_its_folder_or_the_setting(load) -> None:
    rows = [{"sub": "window", "obj": "glass", "alt": "cotton"}]
    for files, settings in (
        ({"material.jsonl": rows}, {}),
        ({"material/test.jsonl": rows}, {}),
        ({"mine.jsonl": rows}, {"relation": "material"}),
    ):
        (item,) = load("vicomte", files, **settings).items
        assert (item.subset, item.cluster) == ("material", "window")
        assert item.text(0) == "The window is made of glass."
    with pytest.raises(TaskError, match=r"mine\.jsonl:1: neither the file nor its folder is called color"):
        load("vicomte", {"mine.jsonl": rows})
    with pytest.raises(TaskError, match="relation is 'colour'; it is one of color, shape"):
        load("vicomte", {"mine.jsonl": rows}, relation="colour")


def test_coda_takes_the_mean_of_what_each_worker_said(load, tokenizer, attention) -> None:
    task = load("coda", {"objects.jsonl": OBJECTS, "annotations.jsonl": ANNOTATIONS})
    (pigs,) = [item for item in task.items if item.id == "/m/1"]
    expected = {"pink": (6 / 8 + 1 / 4) / 2, "black": (2 / 8 + 2 / 4) / 2, "white": 1 / 8}
    assert dict(zip(COLOURS, pigs.shares, strict=True)) == pytest.approx(
        dict.fromkeys(COLOURS, 0.0) | expected
    )
    assert pigs.right.text == "pink"
    assert pigs.text(pigs.label) == "Most pigs are pink."
    notes = task.score(attention(64), tokenizer, 4).notes
    assert any("annotations of 1 classes that are none of the objects" in note for note in notes)
    tied = [annotated("/m/1", 0, red=2, blue=2), annotated("/m/2", 0, green=1)]
    task = load("coda", {"objects.jsonl": OBJECTS, "annotations.jsonl": tied})
    assert {item.right.text for item in task.items} == {"blue", "green"}
    notes = task.score(attention(64), tokenizer, 4).notes
    assert any("1 of 2 objects have several most frequent colours" in note for note in notes)


def test_coda_compares_the_whole_distribution_with_peoples(load, tokenizer, attention, brute_force) -> None:
    model = attention(64)
    task = load("coda", {"objects.jsonl": OBJECTS, "annotations.jsonl": ANNOTATIONS})
    items = task.score(model, tokenizer, 4).items
    for item in task.items:
        context, *continuations = tokenizer.encode(
            [item.choices[0].context, *(choice.continuation for choice in item.choices)]
        )
        sums = [brute_force(model, [tokenizer.bos, *context], one) for one in continuations]
        shares = torch.tensor(sums, dtype=torch.float64).softmax(0).tolist()
        found = items[items.item == item.id].set_index("metric").value
        assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(item.shares, shares).statistic)
        divergence = scipy.spatial.distance.jensenshannon(item.shares, shares, base=2) ** 2
        assert found["jensen_shannon"] == pytest.approx(divergence, rel=1e-4)


shares = st.lists(st.integers(0, 6), min_size=3, max_size=11).filter(any)


@given(shares, st.randoms(use_true_random=False))
def test_the_two_distances_are_scipys(counts: list[int], draw) -> None:
    other = [draw.randint(0, 6) for _ in counts]
    other[draw.randrange(len(other))] += 1
    left, right = ([count / sum(side) for count in side] for side in (counts, other))
    assert jensen_shannon(left, right) == pytest.approx(
        scipy.spatial.distance.jensenshannon(left, right, base=2) ** 2, abs=1e-12
    )
    assert jensen_shannon(left, left) == 0.0
    if len(set(counts)) > 1 and len(set(other)) > 1:
        assert spearman(left, right) == pytest.approx(scipy.stats.spearmanr(left, right).statistic, abs=1e-9)
    else:
        assert spearman(left, right) == 0.0


def test_lambada_asks_for_every_token_of_the_word_and_shares_ties(load, tokenizer, bigram) -> None:
    table = torch.zeros(259, 259)
    for before, after in (" d", "do", "og"):
        table[3 + ord(before), 3 + ord(after)] = 5.0
    table[3 + ord("k"), 3 + ord(" ")] = 5.0
    rows = [{"text": "We walk the dog and walk dog"}, {"text": "We walk the dog and walk dot"}]
    result = load("lambada", rows).score(bigram(table, 64), tokenizer, 4)
    accuracy = result.items[result.items.metric == "accuracy"].value.tolist()
    assert accuracy == [1.0, 0.0]
    # `g` and `e` tie behind `o`.
    table[3 + ord("o"), 3 + ord("e")] = 5.0
    result = load("lambada", rows[:1]).score(bigram(table, 64), tokenizer, 4)
    assert result.scores["lambada/accuracy"].value == 0.5


def test_lambadas_nats_are_those_of_the_word_one_token_at_a_time(
    load, tokenizer, attention, brute_force
) -> None:
    model = attention(96)
    result = load("lambada", LAMBADA).score(model, tokenizer, 4)
    total = 0.0
    for row in LAMBADA:
        head, _, word = row["text"].rpartition(" ")
        context, continuation = tokenizer.encode([head.rstrip(), row["text"][len(head.rstrip()) :]])
        total -= brute_force(model, [tokenizer.bos, *context], continuation)
        assert word
    assert result.scores["lambada/nats"].value == pytest.approx(total / len(LAMBADA), rel=1e-5)
    size = sum(len(row["text"].split(" ")[-1]) for row in LAMBADA)
    assert result.scores["lambada/bits_per_byte"].value == pytest.approx(total / math.log(2) / size, rel=1e-5)


def first(kind: str, **changes):
    """The first row of a kind's sample, changed."""
    return next(iter(SAMPLES[kind][0].values()))[0] | changes


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("hellaswag", first("hellaswag", label=""), "label is '': a label that is kept back.*validation"),
        ("piqa", first("piqa", label=-1), "label is -1: a label that is kept back.*development"),
        ("boolq", first("boolq", label=-1), "label is -1: a label that is kept back"),
        ("winogrande", first("winogrande", answer=""), "answer is '': a label that is kept back"),
        ("copa", first("copa", label=-1), "label is -1: a label that is kept back"),
        ("commonsense_qa", first("commonsense_qa", answerKey=""), "answerKey is '': a label that is kept"),
        ("piqa", {"goal": "g", "sol1": "a", "sol2": "b"}, "no field 'label'.*Test splits"),
        ("winogrande", first("winogrande", answer="3"), r"answer is 3, but there are 2 choices \(1 to 2\)"),
        ("hellaswag", first("hellaswag", label="four"), "label is 'four'; it is the right choice's number"),
        ("hellaswag", first("hellaswag", label=4), r"label is 4, but there are 4 choices \(0 to 3\)"),
        ("hellaswag", first("hellaswag", endings=["a", "[b]"]), "choice 1 is empty"),
        ("arc", first("arc", answerKey="E"), "answerKey is 'E'; the choices are called A, B, C, D"),
        (
            "arc",
            first("arc", choices={"text": ["a", "b"], "label": ["A"]}),
            "lists `text` and `label` of one",
        ),
        ("arc", first("arc", choices=["a", "b"]), "lists `text` and `label` of one length"),
        ("commonsense_qa", COMMONSENSE_QA[0] | {"choices": ARC_HUB[0]["choices"]}, "a question has five"),
        ("winogrande", first("winogrande", sentence="Nobody left."), "sentence has no '_'"),
        ("winogrande", first("winogrande", sentence="We saw _"), "or nothing after it"),
        ("copa", first("copa", question="why"), "question is 'why'; expected cause, effect"),
        ("lambada", {"text": "word"}, "does not end in a space and a word"),
        ("lambada", {"text": "many words "}, "does not end in a space and a word"),
        ("blimp", first("blimp", field="phonology"), "field is 'phonology'; expected morphology"),
        ("blimp", first("blimp", UID="a/b"), "a subset's name is not empty and has no '/'"),
        ("blimp", first("blimp", sentence_bad=" "), "sentence_bad is empty"),
        ("sciq", first("sciq", distractor2=""), "distractor2 is empty"),
        ("ewok", first("ewok", Target2=3), "Target2 is 3, not text"),
    ],
)
def test_an_unusable_item_is_refused_with_file_and_line(load, kind: str, row, message: str) -> None:
    with pytest.raises(TaskError, match=rf"items\.jsonl:1: .*{message}"):
        load(kind, [row])


@pytest.mark.parametrize("kind", ["blimp", "arc", "copa", "boolq", "winogrande", "openbookqa"])
def test_an_id_that_occurs_twice_is_refused(load, kind: str) -> None:
    with pytest.raises(TaskError, match=r"items\.jsonl:2: id '.*' occurs twice, first at .*items\.jsonl:1"):
        load(kind, [first(kind), first(kind)])


@pytest.mark.parametrize(
    ("objects", "annotations", "message"),
    [
        (OBJECTS, [], "2 objects and annotations of 0; paths has to name both files"),
        ([], ANNOTATIONS, "0 objects and annotations of 3"),
        (OBJECTS, ANNOTATIONS[:2], r"objects\.jsonl:2: no annotation of '/m/2' is included"),
        ([*OBJECTS, OBJECTS[0]], ANNOTATIONS, r"objects\.jsonl:3: id '/m/1' occurs twice"),
        (OBJECTS, [annotated("/m/1", 0)], r"annotations\.jsonl:1: all counts are 0"),
        (OBJECTS, [annotated("/m/1", 0, red=-1)], r"annotations\.jsonl:1: red is -1"),
        (OBJECTS, [{**ANNOTATIONS[0], "included": 1}], r"annotations\.jsonl:1: included is 1"),
    ],
)
def test_unusable_colours_are_refused(load, objects, annotations, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load("coda", {"objects.jsonl": objects, "annotations.jsonl": annotations})


@pytest.mark.skipif(not CORPUS, reason="ABLATE_CORPUS does not say where the published task files lie")
@pytest.mark.parametrize(
    ("kind", "files", "items", "subsets"),
    [
        ("blimp", "blimp/*.jsonl.gz", 67_000, 67),
        ("copa", "copa.jsonl.gz", 100, 0),
        ("lambada", "lambada.jsonl.gz", 5_153, 0),
        ("piqa", "piqa_dev.jsonl.gz", 1_838, 0),
        ("multiple_choice", "wordnet_hypernyms.jsonl.gz", 2_000, 0),
        ("vicomte", "vicomte/*.jsonl.gz", 9_006, 5),
        ("coda", "coda/*.jsonl.gz", 521, 0),
    ],
)
def test_the_published_files_load_whole(tmp_path, kind: str, files: str, items: int, subsets: int) -> None:
    task = load_task(kind, {"kind": kind, "paths": [f"{CORPUS}/tasks/{files}"]}, tmp_path)
    assert len(task.items) == items
    assert len({item.subset for item in task.items} - {""}) == subsets
