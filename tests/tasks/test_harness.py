"""lm-evaluation-harness through our model, and our exported folder through lm-eval's own: one set of numbers.

lm-eval takes seconds to import, so all that needs it is here.
"""

import json
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from ablate.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from ablate.model.fusion import FusedModel
from ablate.model.huggingface import save_checkpoint
from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig
from ablate.study.run import TextOnly
from ablate.tasks.errors import TaskError
from ablate.tasks.registry import load_task

pytest.importorskip("lm_eval", reason="the extra `harness` is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

WORDS = ["the", "cat", "dog", "that", "saw", "every", "apple", "green", "runs", "ran", "because", "it", "was"]
CORPUS = os.environ.get("ABLATE_CORPUS", "")


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words)).capitalize() + "."


def rows(count: int, seed: int) -> dict[str, list[dict]]:
    """Items in the fields of the sources, by task."""
    draw = random.Random(seed)

    def text(words: int = 6) -> str:
        return sentence(draw, draw.randint(2, words))

    return {
        "adjunct_island": [
            {
                "sentence_good": text(),
                "sentence_bad": text(),
                "UID": "adjunct_island",
                "field": "syntax",
                "pairID": str(number),
            }
            for number in range(count)
        ],
        "piqa": [
            # The last goal does not fit the context.
            {
                "goal": sentence(draw, 80) if number == count - 1 else text(),
                "sol1": text(),
                "sol2": text(),
                "label": number % 2,
            }
            for number in range(count)
        ],
        "copa": [
            {
                "premise": text(),
                "choice1": text(),
                "choice2": text(),
                "question": ("cause", "effect")[number % 2],
                "label": draw.randint(0, 1),
                "idx": number,
            }
            for number in range(count)
        ],
        "lambada": [{"text": text(12).removesuffix(".")} for _ in range(count)],
        "wikitext": [{"page": " ".join(text(12) for _ in range(number + 1))} for number in range(count)],
    }


@dataclass(frozen=True)
class World:
    """A tiny random model, in both its forms, and task files."""

    root: Path
    tokenizer: TextTokenizer
    model: TextOnly
    folder: Path

    def path(self, name: str) -> list[str]:
        return [str(self.root / f"{name}.jsonl")]

    def task(self, **settings):
        return load_task("t", {"kind": "harness", **settings}, self.root / "cache")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("harness")
    draw = random.Random(1)
    tokenizer = train_tokenizer([sentence(draw, 12) for _ in range(300)], 330, root / "cache", "corpus")
    config = ModelConfig(layers=2, width=32, heads=2, context_length=64)
    backbone = Transformer(config, tokenizer.vocabulary)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in backbone.parameters():
            weight.normal_(0.0, 0.3, generator=generator)
    save_checkpoint(FusedModel(backbone, {}, media_loss=False, seed=0), tokenizer, root / "model")
    for name, items in rows(9, seed=2).items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    return World(root, tokenizer, TextOnly(backbone), root / "model")


@pytest.fixture(scope="module")
def hf(world: World):
    """The exported folder in lm-eval's own `hf`, as it stands."""
    from ablate.tasks.harness_guard import guarded

    with guarded():
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=str(world.folder), device="cpu", dtype="float32", batch_size=4)


def through_hf(task, hf):
    """lm-eval's samples by item, and its results."""
    from ablate.tasks.harness_guard import guarded
    from ablate.tasks.harness_tasks import run

    with guarded():
        found = run(task.loaded, hf)
    ((name, samples),) = found["samples"].items()
    return {str(sample["doc_id"]): sample for sample in samples}, found["results"][name]


def column(result, metric: str) -> dict[str, float]:
    chosen = result.items[result.items.metric == metric]
    return dict(zip(chosen.item, chosen.value, strict=True))


PARITY = {
    "adjunct_island": {"task": "blimp_adjunct_island"},
    "piqa": {"task": "piqa"},
    "piqa, two first examples": {"task": "piqa", "shots": 2, "shot_sampler": "first_n"},
    "copa": {"task": "copa"},
    "copa, one drawn example": {"task": "copa", "shots": 1},
    "lambada": {"task": "lambada_openai"},
    "wikitext": {"task": "wikitext"},
}


@pytest.mark.parametrize("name", PARITY)
def test_a_task_has_the_likelihoods_and_scores_of_lm_evals_hf_on_the_exported_folder(world, hf, name):
    task = world.task(paths=world.path(name.partition(",")[0]), **PARITY[name])
    result = task.score(world.model, world.tokenizer, 7)
    samples, results = through_hf(task, hf)
    requests = len(next(iter(samples.values()))["resps"])
    for place in range(requests):
        metric = "log_likelihood" if requests == 1 else f"log_likelihood_{place}"
        ours = column(result, metric)
        assert ours.keys() == samples.keys()
        for item, value in ours.items():
            theirs = samples[item]["resps"][place][0]
            assert value == pytest.approx(theirs[0] if isinstance(theirs, tuple) else theirs, abs=1e-3)
    for metric in ("acc", "acc_norm"):
        if f"{metric},none" in results:
            assert result.scores[f"t/{metric}"].value == pytest.approx(results[f"{metric},none"], abs=1e-12)
            assert column(result, metric) == {item: one[metric] for item, one in samples.items()}
    if "perplexity,none" in results:
        nats = result.scores["t/log_perplexity"].value
        assert math.exp(nats) == pytest.approx(results["perplexity,none"], rel=1e-4)
    if "bits_per_byte,none" in results:
        assert result.scores["t/bits_per_byte"].value == pytest.approx(
            results["bits_per_byte,none"], rel=1e-5
        )
        assert any("BOS after BOS" in note for note in result.notes)


def test_answers_are_generated_as_by_lm_evals_hf(world, hf, tmp_path):
    file = tmp_path / "answers.yaml"
    file.write_text(
        "task: answers\noutput_type: generate_until\ndoc_to_text: 'Q: {{text}}'\ndoc_to_target: 'the'\n"
        "generation_kwargs: {until: ['cat'], max_gen_toks: 12}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    task = world.task(task="answers", path=str(file), paths=world.path("lambada"))
    task.check(world.tokenizer, 64)
    samples, results = through_hf(task, hf)
    theirs = [samples[str(number)]["resps"][0][0] for number in range(9)]
    from ablate.tasks.harness_guard import guarded
    from ablate.tasks.harness_model import HarnessModel

    with guarded():
        asked = HarnessModel(world.model, world.tokenizer, 4)
        assert asked.generate_until(task.loaded.requests) == theirs
    assert len(set(theirs)) > 1
    result = task.score(world.model, world.tokenizer, 4)
    assert result.scores["t/exact_match"].value == results["exact_match,none"]


NATIVE = {
    "adjunct_island": ("blimp_adjunct_island", "blimp", ("accuracy", "margin", "bits")),
    "piqa": ("piqa", "piqa", ("accuracy", "accuracy_per_byte", "bits")),
    "copa": ("copa", "copa", ("accuracy", "accuracy_per_byte", "bits")),
    "lambada": ("lambada_openai", "lambada", ("accuracy", "bits")),
}


@pytest.mark.parametrize("file", NATIVE)
def test_the_native_task_scores_every_item_as_lm_eval_asks_it(world, file):
    name, kind, metrics = NATIVE[file]
    theirs = world.task(task=name, paths=world.path(file)).score(fitting(world), world.tokenizer, 7)
    native = load_task("t", {"kind": kind, "paths": world.path(file)}, world.root / "cache")
    ours = native.score(fitting(world), world.tokenizer, 7)
    for metric in metrics:
        expected, found = list(column(theirs, metric).values()), list(column(ours, metric).values())
        assert found == pytest.approx(expected, abs=1e-5)


def test_worked_examples_stand_as_in_the_native_task(world, tmp_path):
    shots = tmp_path / "shots.jsonl"
    shots.write_text("".join(json.dumps(row) + "\n" for row in rows(4, seed=9)["piqa"][:2]))
    settings = {"paths": world.path("piqa"), "shots": 2, "shot_paths": [str(shots)]}
    theirs = world.task(task="piqa", shot_sampler="first_n", **settings)
    native = load_task("t", {"kind": "piqa", **settings}, world.root / "cache")
    found = [task.score(fitting(world), world.tokenizer, 7) for task in (theirs, native)]
    for metric in ("accuracy", "accuracy_per_byte", "probability", "bits"):
        expected, ours = (list(column(result, metric).values()) for result in found)
        assert ours == pytest.approx(expected, abs=1e-5)


def test_a_model_that_writes_the_last_word_guesses_it(world, bigram, tmp_path):
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps({"text": "the cat saw green"}) + "\n")
    task = world.task(task="lambada_openai", paths=[str(file)])
    whole, context = world.tokenizer.encode(["the cat saw green", "the cat saw"])
    table = torch.zeros(world.tokenizer.vocabulary, world.tokenizer.vocabulary)
    for before, after in zip(whole[len(context) - 1 :], whole[len(context) :], strict=False):
        table[before, after] = 5.0
    scores = task.score(bigram(table), world.tokenizer, 1).scores
    assert scores["t/acc"].value == scores["t/accuracy"].value == 1.0
    table[whole[-2], 5] = 6.0
    scores = task.score(bigram(table), world.tokenizer, 1).scores
    assert scores["t/acc"].value == scores["t/accuracy"].value == 0.0


def fitting(world: World) -> TextOnly:
    """The model with room for every item: what is cut natively keeps BOS, and lm-eval cuts it."""
    config = ModelConfig(layers=2, width=32, heads=2, context_length=512)
    backbone = Transformer(config, world.tokenizer.vocabulary)
    backbone.load_state_dict(world.model.backbone.state_dict())
    return TextOnly(backbone)


def test_every_score_is_what_its_items_give(world):
    for name, settings in PARITY.items():
        task = world.task(paths=world.path(name.partition(",")[0]), **settings)
        result = task.score(world.model, world.tokenizer, 64)
        assert list(result.scores) == task.endpoints()
        for endpoint, score in result.scores.items():
            metric = endpoint.partition("/")[2]
            if metric == "bits_per_byte":
                value = sum(column(result, "bits").values()) / sum(column(result, "bytes").values())
            else:
                value = sum(column(result, metric).values()) / 9
            assert score.value == pytest.approx(value, rel=1e-9)
            assert score.items == 9


def test_the_batch_size_moves_no_score(world):
    task = world.task(task="piqa", paths=world.path("piqa"))
    once, *others = (task.score(world.model, world.tokenizer, size).items.value for size in (1, 7, 64))
    for other in others:
        assert (other - once).abs().max() < 1e-5


@pytest.fixture
def blimp(tmp_path) -> list[str]:
    """All 67 paradigms, two pairs each, in files called as BLiMP's own."""
    import lm_eval.tasks
    import yaml

    folder = Path(lm_eval.tasks.__file__).parent / "blimp"
    draw = random.Random(3)
    for name in yaml.safe_load((folder / "_blimp.yaml").read_text())["task"]:
        pairs = [{"sentence_good": sentence(draw, 4), "sentence_bad": sentence(draw, 5)} for _ in range(2)]
        lines = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (tmp_path / f"{name.removeprefix('blimp_')}.jsonl").write_text(lines)
    return [str(tmp_path / "*.jsonl")]


def test_a_group_is_scored_by_task_and_a_constant_model_scores_chance_in_each(world, constant, blimp):
    task = world.task(task="blimp", paths=blimp)
    result = task.score(constant(64, world.tokenizer.vocabulary), world.tokenizer, 64)
    scores = {name: score for name, score in result.scores.items() if name.startswith("t/accuracy")}
    assert len(scores) == 2 * (1 + 67)
    assert {score.value for score in scores.values()} == {0.5} == {score.chance for score in scores.values()}
    assert scores["t/accuracy/blimp_wh_island"].items == 2
    assert result.scores["t/probability"].value == 0.5
    uniform = result.scores["t/bits_per_byte"]
    assert uniform.value == pytest.approx(uniform.chance, rel=1e-6)


def test_a_constant_model_guesses_a_word_at_chance(world, constant):
    task = world.task(task="lambada_openai", paths=world.path("lambada"))
    result = task.score(constant(64, world.tokenizer.vocabulary), world.tokenizer, 64)
    assert result.scores["t/accuracy"].value == pytest.approx(result.scores["t/accuracy"].chance, rel=1e-9)


def test_a_file_of_a_group_that_is_missing_or_too_many_is_named(world, tmp_path):
    for name in ("lambada_openai", "lambada_standard", "extra"):
        (tmp_path / f"{name}.jsonl").write_bytes(Path(world.path("lambada")[0]).read_bytes())
    paths = [str(tmp_path / "*.jsonl")]
    with pytest.raises(TaskError, match=r"no task of lambada is called as .*extra\.jsonl"):
        world.task(task="lambada", paths=paths)
    (tmp_path / "extra.jsonl").unlink()
    assert set(world.task(task="lambada", paths=paths).loaded.tasks) == {"lambada_openai", "lambada_standard"}
    (tmp_path / "lambada_standard.jsonl").unlink()
    with pytest.raises(TaskError, match=r"no file of `paths` is called .*lambada_standard\.jsonl"):
        world.task(task="lambada", paths=paths)


def test_the_digest_is_of_what_is_asked_and_not_of_where_it_lies(world, tmp_path):
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(Path(world.path("piqa")[0]).read_bytes())
    digest = world.task(task="piqa", paths=world.path("piqa")).digest
    assert world.task(task="piqa", paths=[str(moved)]).digest == digest
    assert world.task(task="piqa", paths=[str(moved)], shots=1).digest != digest
    assert world.task(task="piqa", paths=[str(moved)], limit=5).digest != digest


def test_what_is_held_out_are_the_items_without_worked_examples(world):
    plain = world.task(task="piqa", paths=world.path("piqa"), limit=3)
    shown = world.task(task="piqa", paths=world.path("piqa"), limit=3, shots=2)
    assert list(plain.texts()) == list(shown.texts())
    assert len(list(plain.texts())) == 6
    first = rows(9, seed=2)["piqa"][1]
    assert ("t/1", f"Question: {first['goal']}\nAnswer: {first['sol1']}") in list(plain.texts())
    assert [item.id for item in plain.loaded.items] == ["1", "4", "7"]


def test_worked_examples_come_from_their_own_files_or_from_other_items(world, tmp_path):
    own = tmp_path / "shots.jsonl"
    own.write_text(json.dumps({"goal": "G", "sol1": "S", "sol2": "T", "label": 1}) + "\n")
    task = world.task(task="piqa", paths=world.path("piqa"), shots=1, shot_paths=[str(own)])
    assert all(ask[0].startswith("Question: G\nAnswer: T\n\n") for ask in task.loaded.items[0].arguments)
    with pytest.raises(TaskError, match="shots is 2, and there are 1 items to take worked examples from"):
        world.task(task="piqa", paths=world.path("piqa"), shots=2, shot_paths=[str(own)])
    others = world.task(task="piqa", paths=world.path("piqa"), shots=8)
    for item, row in zip(others.loaded.items, rows(9, seed=2)["piqa"], strict=True):
        assert item.arguments[0][0].count(row["goal"]) == 1
    with pytest.raises(TaskError, match="asked without worked examples by its own file"):
        world.task(task="blimp_adjunct_island", paths=world.path("adjunct_island"), shots=1)


def test_what_is_cut_is_told(world):
    result = world.task(task="piqa", paths=world.path("piqa")).score(world.model, world.tokenizer, 8)
    assert any("2 of 18 texts cut from the left, BOS with them" in note for note in result.notes)


def test_an_answer_longer_than_the_context_is_refused_before_training(world):
    task = world.task(task="adjunct_island", path=yaml_of(world), paths=world.path("adjunct_island"))
    task.check(world.tokenizer, 64)
    with pytest.raises(TaskError, match="do not fit the model's context of 4"):
        task.check(world.tokenizer, 4)


def yaml_of(world: World, **settings) -> str:
    """A task file of one's own for pairs of sentences."""
    import yaml

    base = {
        "task": "adjunct_island",
        "output_type": "multiple_choice",
        "doc_to_text": "",
        "doc_to_target": 0,
        "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    path = world.root / "own.yaml"
    path.write_text(yaml.safe_dump(base | settings))
    return str(path)


def test_a_task_file_of_ones_own_asks_what_lm_evals_asks(world):
    own = world.task(task="adjunct_island", path=yaml_of(world), paths=world.path("adjunct_island"))
    theirs = world.task(task="blimp_adjunct_island", paths=world.path("adjunct_island"))
    for mine, other in zip(own.loaded.items, theirs.loaded.items, strict=True):
        assert mine.arguments == other.arguments


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task: t\nprocess_docs: !function os.system\n", r"own\.yaml:2: .*tags such as !function run code"),
        ("task: t\ndoc_to_text: !!python/name:os.system ''\n", r"own\.yaml:2: .*tags such as"),
        ("task: t\ninclude: ../../etc/other.yaml\n", "include leaves the folder of the task file"),
        ("task: t\ninclude: own.yaml\n", "includes itself"),
        ("task: t\nclass: os.system\n", "class: names Python code"),
        ("task: t\nunsafe_code: true\n", "code that a model writes is not run"),
        ("task: t\nuse_prompt: promptsource:x\n", "use_prompt: reads prompts of another library"),
        ("task: other\n", "its task is 'other', and the recipe names 't'"),
        ("a: &a [1]\nb: *a\ntask: t\n", r"line 2: an alias \(\*name\)"),
        ("- task: t\n", "not a mapping with named keys"),
        (
            "task: t\noutput_type: loglikelihood\ndoc_to_target: 'x'\ndoc_to_text: "
            "\"{{ ''.__class__.__mro__[1].__subclasses__() }}\"\n",
            "SecurityError.*unsafe",
        ),
        (
            "task: t\noutput_type: loglikelihood\ndoc_to_target: 'x'\ndoc_to_text: 'y'\n"
            "metric_list: [{metric: someones/metric, aggregation: mean, higher_is_better: true}]\n",
            "'someones/metric' is code of the `evaluate` hub",
        ),
    ],
)
def test_a_task_file_that_reaches_for_code_or_other_files_is_refused(world, tmp_path, text, said):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(TaskError, match=said):
        world.task(task="t", path=str(file), paths=world.path("lambada"))


def test_a_task_that_would_run_the_models_code_is_refused(world):
    with pytest.raises(TaskError, match=r"unsafe_code|cannot build 'humaneval'"):
        world.task(task="humaneval", paths=world.path("lambada"))


def test_answers_drawn_at_random_are_refused_before_training(world):
    path = yaml_of(
        world, output_type="generate_until", doc_to_choice=None, doc_to_target="x", doc_to_text="y",
        generation_kwargs={"do_sample": True, "temperature": 0.7, "until": ["."]},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )  # fmt: skip
    task = world.task(task="adjunct_island", path=path, paths=world.path("lambada"))
    with pytest.raises(TaskError, match="draws its answers at random"):
        task.check(world.tokenizer, 64)


def test_a_task_without_local_data_is_refused_with_what_to_give(world):
    with pytest.raises(
        TaskError, match=r"cannot build 'piqa'.* give its data as local files in `paths`.*download"
    ):
        world.task(task="piqa")


def test_a_task_that_reads_its_data_itself_takes_no_files(world):
    with pytest.raises(TaskError, match="squadv2"):
        world.task(task="squadv2", paths=world.path("lambada"))


def test_an_unknown_name_is_answered_with_the_nearest(world):
    with pytest.raises(TaskError, match=r"no task, group or tag 'pica'; near it: .*piqa"):
        world.task(task="pica", paths=world.path("piqa"))


BAD = {
    "other fields": (
        [{"goal": "a", "sol1": "b", "sol2": "c", "label": 0}, {"goal": "a"}],
        r"\.jsonl:2: field",
    ),
    "no such field": ([{"question": "a", "label": 0}], "'goal' is undefined"),
    "mixed types": (
        [{"goal": "a", "sol1": "b", "sol2": "c", "label": label} for label in (0, "one")],
        "a field has values of several types",
    ),
    "label out of range": (
        [{"goal": "a", "sol1": "b", "sol2": "c", "label": label} for label in (0, 2)],
        r"\.jsonl:2: the label is 2, but there are 2 choices",
    ),
    "empty choice": ([{"goal": "a", "sol1": "b", "sol2": " ", "label": 0}], r"\.jsonl:1: a choice is empty"),
    "no rows": ([], "has no items"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_asked_is_refused_with_its_line(world, tmp_path, name):
    items, said = BAD[name]
    file = tmp_path / "bad.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(TaskError, match=said):
        world.task(task="piqa", paths=[str(file)])


def test_reading_a_task_draws_no_random_number_and_opens_no_connection_for_good(world):
    import socket

    connect = socket.socket.connect
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), float(torch.rand(()))
    random.seed(5)
    torch.manual_seed(5)
    world.task(task="copa", paths=world.path("copa"), shots=2)
    assert (random.random(), float(torch.rand(()))) == expected
    assert socket.socket.connect is connect


def test_without_lm_eval_the_message_says_how_to_install_it(world, monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(TaskError, match=r"'\.\[harness\]'"):
        world.task(task="piqa", paths=world.path("piqa"))


@pytest.mark.skipif(not CORPUS, reason="ABLATE_CORPUS does not name a folder with tasks/")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("blimp_wh_island", "blimp/wh_island"),
        ("blimp_adjunct_island", "blimp/adjunct_island"),
        ("blimp_principle_A_case_2", "blimp/principle_A_case_2"),
        ("piqa", "piqa_dev"),
        ("lambada_openai", "lambada"),
        ("copa", "copa"),
    ],
)
def test_on_the_real_items_all_likelihoods_are_those_of_lm_evals_hf(world, name, file, tmp_path):
    from ablate.tasks.harness_guard import guarded

    model = fitting(world)
    save_checkpoint(FusedModel(model.backbone, {}, media_loss=False, seed=0), world.tokenizer, tmp_path)
    assert load_tokenizer(tmp_path).digest == world.tokenizer.digest
    task = world.task(task=name, paths=[f"{CORPUS}/tasks/{file}.jsonl.gz"], limit=50)
    result = task.score(model, world.tokenizer, 32)
    with guarded():
        from lm_eval.models.huggingface import HFLM

        theirs = HFLM(pretrained=str(tmp_path), device="cpu", dtype="float32", batch_size=16)
    samples, results = through_hf(task, theirs)
    for item, value in column(
        result, "log_likelihood" if name == "lambada_openai" else "log_likelihood_1"
    ).items():
        assert value == pytest.approx(samples[item]["resps"][-1][0][0], abs=1e-3)
    assert result.scores["t/acc"].value == pytest.approx(results["acc,none"], abs=1e-12)
