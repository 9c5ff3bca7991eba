"""Fine-tuned scores: what a trained head or the label's words get out of a backbone, and nothing more."""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ablate.model.transformer import Transformer, weights_digest
from ablate.recipe.load import resolve_paths
from ablate.recipe.schema import ModelConfig
from ablate.study.run import TextOnly
from ablate.tasks.errors import TaskError
from ablate.tasks.fine_tune_scores import macro_f1, matthews
from ablate.tasks.fine_tune_training import learning_rate_share, new_head, visiting_order
from ablate.tasks.registry import load_task

VOCABULARY = 259
FAST = {"epochs": 4, "batch_rows": 16, "seeds": [0, 1], "head_learning_rate": 0.05, "learning_rate": 0.02}


class Reader(nn.Module):
    """Its final hidden state says which bytes it has read; ``blind``, it is the same whatever it reads."""

    def __init__(self, context_length: int = 64, blind: bool = False) -> None:
        super().__init__()
        self.context_length, self.vocabulary, self.blind = context_length, VOCABULARY, blind
        self.table = nn.Parameter(torch.ones(VOCABULARY, 4) if blind else torch.eye(VOCABULARY))
        self.readout = nn.utils.skip_init(nn.Linear, self.table.shape[1], VOCABULARY)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def hidden(self, tokens: Tensor) -> Tensor:
        embedded = self.table[tokens]
        return embedded if self.blind else embedded.cummax(dim=1).values

    def logits(self, hidden: Tensor) -> Tensor:
        return self.readout(hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits(self.hidden(tokens))

    def trainable_copy(self) -> "Reader":
        return copy.deepcopy(self)


def items(count: int, seed: int, label: Callable[[random.Random, str], Any] | None = None) -> list[dict]:
    """Texts over `abcd`; those with an `a` are `yes`, unless ``label`` says otherwise."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        text = "".join(draw.choices("bcd", k=8)) + f" {number * 1000 + seed:06d}"
        if draw.random() < 0.5:
            text = text.replace(text[3], "a", 1)
        found.append({"text": text, "label": label(draw, text) if label else "yes" if "a" in text else "no"})
    return found


@pytest.fixture
def load(tmp_path: Path, write_rows):
    """A `fine_tune` task of these rows."""

    def load(train, test, name: str = "task", **own):
        paths = {
            "train_paths": [write_rows(tmp_path / name / "train.jsonl", train)],
            "paths": [write_rows(tmp_path / name / "test.jsonl", test)],
        }
        return load_task("probe", {"kind": "fine_tune", **paths, **FAST, **own}, tmp_path / "cache")

    return load


def by_item(result) -> Any:
    return result.items.set_index(["item", "metric"]).value.sort_index()


METHODS = [{"freeze_backbone": True}, {}, {"method": "verbalised", "epochs": 8}]


@pytest.mark.parametrize("method", METHODS, ids=["probe", "head", "verbalised"])
def test_a_label_that_the_hidden_state_holds_is_read_out(load, tokenizer, method) -> None:
    result = load(items(160, 1), items(60, 2), **method).score(Reader(), tokenizer, 16)
    assert result.scores["probe/accuracy"].value > 0.95
    assert result.scores["probe/matthews"].value > 0.9
    assert result.scores["probe/bits"].value < 0.7 < result.scores["probe/bits"].chance


@pytest.mark.parametrize("method", METHODS[:2], ids=["probe", "head"])
def test_a_state_that_holds_nothing_scores_the_stated_chance(load, tokenizer, method) -> None:
    """Chance is the share of the class that is most frequent in training, not one over the classes."""
    share = {"label": lambda draw, text: "yes" if int(text[-6:]) % 10_000 < 7000 else "no"}
    task = load(items(100, 1, **share), items(50, 2, **share), **method, epochs=8)
    result = task.score(Reader(blind=True), tokenizer, 16)
    for metric in ("accuracy", "matthews"):
        score = result.scores[f"probe/{metric}"]
        assert score.value == score.chance == task.chance[metric]
    assert task.chance["accuracy"] == 0.7
    assert task.chance["probability"] == pytest.approx(0.7**2 + 0.3**2)
    for metric in ("probability", "bits"):
        score = result.scores[f"probe/{metric}"]
        assert score.value == pytest.approx(score.chance, abs=0.03)


def test_of_two_classes_alike_in_number_a_blind_model_knows_neither(load, tokenizer) -> None:
    even = {"label": lambda draw, text: int(text[-6:]) // 1000 % 2}
    task = load(items(40, 1, **even), items(20, 2, **even), freeze_backbone=True)
    assert task.chance == {"accuracy": 0.5, "probability": 0.5, "bits": 1.0, "matthews": 0.0}
    assert task.score(Reader(blind=True), tokenizer, 16).scores["probe/accuracy"].value == 0.5


def test_labels_drawn_at_random_are_not_read_out(load, tokenizer) -> None:
    drawn = {"label": lambda draw, text: draw.choice(["no", "yes"])}
    result = load(items(200, 1, **drawn), items(200, 2, **drawn)).score(Reader(), tokenizer, 64)
    # Three standard deviations of 200 guesses.
    assert abs(result.scores["probe/accuracy"].value - 0.5) < 3 * (0.25 / 200) ** 0.5


def small_transformer() -> TextOnly:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = ModelConfig(layers=1, width=16, heads=2, context_length=32, tied=True)
        return TextOnly(Transformer(config, VOCABULARY))


@pytest.mark.parametrize("method", METHODS, ids=["probe", "head", "verbalised"])
def test_the_run_keeps_its_weights_and_scores_the_same_to_the_bit(
    load, tokenizer, write_rows, tmp_path, method
) -> None:
    model = small_transformer()
    before, state = weights_digest(model.backbone), torch.get_rng_state()
    pairs = [{"good": "a b c", "bad": "c b a"}]
    path = write_rows(tmp_path / "pairs.jsonl", pairs)
    other = load_task("pairs", {"kind": "minimal_pairs", "paths": [path]}, tmp_path / "cache")
    first = other.score(model, tokenizer, 4).items
    task = load(items(40, 1), items(20, 2), **method | {"epochs": 1})
    one = task.score(model, tokenizer, 4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    two = task.score(model, tokenizer, 4)
    torch.set_rng_state(state)
    assert one.scores == two.scores
    assert one.items.equals(two.items)
    assert weights_digest(model.backbone) == before
    assert all(weight.grad is None for weight in model.backbone.parameters())
    assert other.score(model, tokenizer, 4).items.equals(first)


@pytest.mark.parametrize("method", METHODS, ids=["probe", "head", "verbalised"])
def test_neither_the_files_order_nor_the_batch_size_moves_a_score(load, tokenizer, method) -> None:
    train, test = items(40, 1), items(30, 2)
    for place, row in enumerate(test):
        row["name"] = f"item{place}"
    model, draw, frames, digests = small_transformer(), random.Random(3), [], set()
    for batch_rows in (1, 7, 64):
        draw.shuffle(train)
        draw.shuffle(test)
        settings = method | {"epochs": 1, "id_field": "name"}
        task = load(train, test, f"b{batch_rows}", **settings, train_limit=32)
        frames.append(by_item(task.score(model, tokenizer, batch_rows)))
        digests.add(json.dumps(sorted(example.texts for example in task.data.train)))
    assert len(digests) == 1
    for frame in frames[1:]:
        assert (frame - frames[0]).abs().max() < 1e-5


def test_the_scores_are_what_the_items_give(load, tokenizer) -> None:
    train, test = items(60, 1), items(40, 2)
    for place, row in enumerate(test):
        row["genre"] = "odd" if place % 2 else "even"
    task = load(train, test, subset_field="genre", epochs=1)
    result = task.score(small_transformer(), tokenizer, 16)
    assert list(result.scores) == task.endpoints()
    frame = result.items
    for subset, part in [("", frame), *(("/" + name, own) for name, own in frame.groupby("subset"))]:
        columns = {metric: own.value.tolist() for metric, own in part.groupby("metric")}
        for metric in ("accuracy", "probability", "bits"):
            score = result.scores[f"probe/{metric}{subset}"]
            assert score.value == pytest.approx(np.mean(columns[metric]), abs=1e-12)
            assert score.items == len(columns[metric])
        seeds = [columns["predicted.seed0"], columns["predicted.seed1"]]
        for metric, measure in (("macro_f1", macro_f1), ("matthews", matthews)):
            found = [measure(columns["label"], own) for own in seeds]
            assert result.scores[f"probe/{metric}{subset}"].value == pytest.approx(np.mean(found), abs=1e-12)
        right = np.mean([np.equal(columns["label"], own) for own in seeds])
        assert result.scores[f"probe/accuracy{subset}"].value == pytest.approx(right)
    accuracies = [
        np.mean(by_item(result).xs("label", level=1) == by_item(result).xs(f"predicted.seed{seed}", level=1))
        for seed in (0, 1)
    ]
    assert f"accuracy {np.std(accuracies, ddof=1):.4f}" in result.notes[-1]


def test_the_notes_say_that_no_budget_paid_for_the_training(load, tokenizer) -> None:
    notes = load(items(40, 1), items(20, 2), seeds=[3]).score(Reader(), tokenizer, 16).notes
    assert notes == [
        "probe: mean over 1 fine-tuning seeds of a copy of the model trained on 40 items for 4 epochs, "
        "which no arm's budget is charged for"
    ]


def test_a_training_item_that_is_scored_too_is_left_out_and_counted(load, tokenizer) -> None:
    train, test = items(40, 1), items(20, 2)
    twice = [{"text": f"  {row['text']} ", "label": row["label"]} for row in test[:3]]
    task = load([*train, *twice], test)
    assert len(task.data.train) == 40
    notes = task.score(Reader(), tokenizer, 16).notes
    assert "probe: 3 training items left out because they are test items too" in notes


def test_a_long_text_loses_its_beginning_and_is_counted(load, tokenizer) -> None:
    """Ten positions: what stands before the last nine bytes is not read."""
    early = [{**row, "text": row["text"] + " " * 2} for row in items(60, 1)]
    late = [{**row, "text": row["text"][9:] + row["text"][:8]} for row in items(60, 1)]
    kept, lost = (
        load(rows[:40], rows[40:], name, freeze_backbone=True, epochs=12).score(Reader(10), tokenizer, 16)
        for name, rows in (("late", late), ("early", early))
    )
    assert kept.scores["probe/accuracy"].value > 0.95
    assert lost.scores["probe/accuracy"].value < 0.8
    for result in (kept, lost):
        assert (
            "probe: 40 of 40 training and 20 of 20 test items cut from the left to fit 10 positions"
            in result.notes
        )


class Explosive(Reader):
    """Overflows once a weight of its table has grown by 1.3."""

    def hidden(self, tokens: Tensor) -> Tensor:
        return (40 * super().hidden(tokens)).exp()


@pytest.mark.parametrize("method", METHODS[1:], ids=["head", "verbalised"])
def test_a_seed_that_diverges_is_scored_at_chance_and_shown(load, tokenizer, method) -> None:
    task = load(items(60, 1), items(20, 2), **method | {"learning_rate": 1.0})
    result = task.score(Explosive(), tokenizer, 16)
    for seed, note in enumerate(note for note in result.notes if "diverged" in note):
        assert note.startswith(f"probe: fine-tuning seed {seed} diverged (the loss is ")
        assert note.endswith(
            "it is scored as a model that knows the classes' frequencies alone: lower the learning rates"
        )
    assert sum("diverged" in note for note in result.notes) == 2
    for metric in task.chance:
        score = result.scores[f"probe/{metric}"]
        assert score.value == pytest.approx(score.chance, abs=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=["probe", "head", "verbalised"])
def test_a_model_that_had_diverged_before_is_an_error(load, tokenizer, method) -> None:
    model = small_transformer()
    with torch.no_grad():
        model.backbone.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TaskError, match=r"(train.jsonl:\d+|task 'probe'): .*diverged, and nothing is scored"):
        load(items(40, 1), items(20, 2), **method).score(model, tokenizer, 16)


def test_a_model_that_gives_no_weights_is_refused(load, tokenizer, constant) -> None:
    with pytest.raises(TaskError, match="probe: this model gives logits alone"):
        load(items(40, 1), items(20, 2)).score(constant(), tokenizer, 16)


def test_a_pair_is_read_in_the_form_of_the_prompt_and_its_text_stays_text(load) -> None:
    rows = [{"one": f"{{two}} {n}", "two": f"b{n}", "label": n % 2} for n in range(8)]
    plain = load(rows[:4], rows[4:], text_fields=["one", "two"])
    assert next(text for _, text in plain.texts()) == "{two} 4\nb4"
    form = load(rows[:4], rows[4:], text_fields=["one", "two"], prompt="{two}! {one}?", name="form")
    assert form._prompted(form.data.test)[0].text == "b4! {two} 4?"


def test_the_digest_follows_items_and_settings_and_not_where_they_stand(load) -> None:
    train, test = items(20, 1), items(10, 2)
    reference = load(train, test).digest
    assert load(train[::-1], test, "elsewhere").digest == reference
    assert load(train[1:], test, "fewer").digest != reference
    assert load(train, test[1:], "less").digest != reference
    assert load(train, test, epochs=5).digest != reference


def test_classes_are_ordered_by_size_or_alphabet(load) -> None:
    def rows(labels):
        return [{"text": f"t{n} {label}", "label": label} for n, label in enumerate(labels)]

    for labels, order in (
        ([10, 9, -1], ("-1", "9", "10")),
        (["b", "a"], ("a", "b")),
        ([True, False], ("false", "true")),
    ):
        assert load(rows(labels), [{"text": "x", "label": labels[0]}]).data.classes == order


GOOD = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}]
TEST = [{"text": "three", "label": "a"}]


@pytest.mark.parametrize(
    ("train", "test", "settings", "message"),
    [
        (
            GOOD,
            [{"text": "x", "label": "c"}],
            {},
            r"test.jsonl:1: label is 'c', which no training item has; .*a, b",
        ),
        ([{"text": "x", "label": 0}, {"text": "y", "label": 1}], [{"text": "z", "label": -1}], {}, "as -1"),
        (GOOD[:1], TEST, {}, "'probe'.*1 kept, all have the label 'a'"),
        ([], TEST, {}, "'probe' has no items in train_paths: .*train.jsonl"),
        (GOOD, [], {}, "'probe' has no items in paths: .*test.jsonl"),
        (TEST, TEST, {}, "1 left out for being test items too and 0 kept, none is left"),
        ([GOOD[0], {"text": " ", "label": "b"}], TEST, {}, "train.jsonl:2: text is empty"),
        ([GOOD[0], {"text": "x"}], TEST, {}, "train.jsonl:2: no field 'label'; found: text"),
        (
            [GOOD[0], {"txt": "x", "label": "a"}],
            TEST,
            {},
            "train.jsonl:2: no field 'text'.*Did you mean 'txt'",
        ),
        (
            [GOOD[0], {"text": "x", "label": 1}],
            TEST,
            {},
            "train.jsonl:2: label is 1, but the lines before have n",
        ),
        ([GOOD[0], {"text": "x", "label": 2.5}], TEST, {}, "train.jsonl:2: label is 2.5; a class is a name"),
        ([GOOD[0], {"text": "x", "label": ""}], TEST, {}, "train.jsonl:2: label is ''"),
        (
            GOOD,
            [{"text": text, "label": "a", "id": 7} for text in "xy"],
            {"id_field": "id"},
            "test.jsonl:2: id '7' occurs twice",
        ),
        (GOOD, TEST, {"method": "lora"}, "'probe': method is 'lora'; it is head or verbalised"),
        (GOOD, TEST, {"method": "verbalised", "freeze_backbone": True}, "leaves nothing to train"),
        (GOOD, TEST, {"label_words": {"a": "yes"}}, "label_words is for the method verbalised"),
        (GOOD, TEST, {"method": "verbalised", "label_words": {"c": "yes"}}, "label_words has 'c'"),
        (GOOD, TEST, {"method": "verbalised", "label_words": {"a": "b"}}, "words of its own"),
        (GOOD, TEST, {"method": "verbalised", "label_words": {"a": " "}}, "words of its own"),
        (GOOD, TEST, {"text_fields": []}, "text_fields"),
        (GOOD, TEST, {"text_fields": ["text", "text"]}, "text_fields"),
        (GOOD, TEST, {"prompt": "{txt}"}, "must hold {text}"),
        (GOOD, TEST, {"prompt": "none"}, "must hold {text}"),
        (GOOD, TEST, {"seeds": []}, "one or more seeds"),
        (GOOD, TEST, {"seeds": [1, 1]}, "each once"),
        (GOOD, TEST, {"epochs": 0}, "epochs is 0"),
        (GOOD, TEST, {"batch_rows": 0}, "batch_rows is 0"),
        (GOOD, TEST, {"learning_rate": 0.0}, "learning_rate is 0; it is above 0 and at most 1"),
        (GOOD, TEST, {"head_learning_rate": float("nan")}, "head_learning_rate is nan"),
        (GOOD, TEST, {"train_limit": -1}, "train_limit is -1"),
    ],
)
def test_bad_items_and_settings_are_refused_with_their_place(load, train, test, settings, message) -> None:
    with pytest.raises(TaskError, match=message):
        load(train, test, **settings)


def test_words_longer_than_the_context_are_refused_before_training(load, tokenizer) -> None:
    task = load(GOOD, TEST, method="verbalised", label_words={"a": "a" * 40})
    task.check(tokenizer, 64)
    with pytest.raises(TaskError, match=r"train.jsonl:[12]: 41 tokens to score do not fit"):
        task.check(tokenizer, 32)


def test_globs_of_training_files_find_a_data_root_with_brackets(tiny, tmp_path: Path, write_rows) -> None:
    root = tmp_path / "data [v2]"
    paths = {
        name: write_rows(root / f"{name}.jsonl", rows) for name, rows in (("train", GOOD), ("test", TEST))
    }
    settings = "kind: fine_tune, train_paths: ['${data_root}/tr*.jsonl'], paths: ['${data_root}/te*.jsonl']"
    recipe = resolve_paths(tiny(f"tasks.probe={{{settings}}}"), root)
    task = load_task("probe", recipe.tasks["probe"], tmp_path / "cache")
    assert [example.where for example in task.data.test] == [f"{paths['test']}:1"]


@settings(max_examples=25)
@given(st.lists(st.text(max_size=3), unique=True, min_size=2, max_size=12), st.randoms(), st.integers(0, 5))
def test_the_order_of_an_epoch_follows_from_seed_and_content_alone(keys, draw, seed) -> None:
    visited = [keys[place] for place in visiting_order(seed, 1, keys)]
    assert sorted(visited) == sorted(keys)
    shuffled = draw.sample(keys, len(keys))
    assert [shuffled[place] for place in visiting_order(seed, 1, shuffled)] == visited


def test_another_seed_or_epoch_is_another_order_and_another_seed_another_head() -> None:
    keys = [str(number) for number in range(50)]
    orders = [visiting_order(seed, epoch, keys) for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    assert torch.equal(new_head(4, 2, 0).weight, new_head(4, 2, 0).weight)
    assert not torch.equal(new_head(4, 2, 0).weight, new_head(4, 2, 1).weight)


@given(st.integers(1, 300))
def test_the_learning_rate_rises_to_its_peak_once_and_falls_to_nearly_nothing(steps: int) -> None:
    shares = [learning_rate_share(step, steps) for step in range(steps)]
    top = shares.index(max(shares))
    assert max(shares) == 1 if steps > 1 else shares == [1]
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert shares[-1] <= 1 / max(1, 0.9 * steps - 1)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_matthews_is_the_correlation_of_two_classes(pairs) -> None:
    labels, predicted = map(list, zip(*pairs, strict=True))
    found = matthews(labels, predicted)
    if len(set(labels)) == 1 or len(set(predicted)) == 1:
        assert found == 0.0
    else:
        assert found == pytest.approx(np.corrcoef(labels, predicted)[0, 1], abs=1e-9)
    assert matthews(labels, labels) == (len(set(labels)) > 1)


def test_macro_f1_of_a_worked_example() -> None:
    # Class 0: precision 1/2, recall 1; class 1: 1 and 1/3; class 2: 1 and 1.
    assert macro_f1([0, 1, 1, 1, 2], [0, 1, 0, 3, 2]) == pytest.approx((2 / 3 + 1 / 2 + 1 + 0) / 4)
    assert macro_f1([1, 1], [1, 1]) == 1.0
