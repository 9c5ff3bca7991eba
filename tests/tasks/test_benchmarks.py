"""Every task kind: what knows nothing scores chance, and nothing but model and items moves a score."""

import random
import re
from pathlib import Path

import pandas as pd
import pytest
from benchmark_samples import SAMPLES

from ablate.show_data import WIDTH
from ablate.show_tasks import task_lines
from ablate.tasks.base import Task
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.registry import TASKS, load_task, task_class

CONTEXT = 160
"""Positions enough for every sample, in bytes."""

OWN_TESTS = {
    kind: sorted(Path(__file__).parent.glob(f"test_{kind}*.py")) for kind in ("fine_tune", "harness")
}
"""Kinds that need more than a model with logits, and the modules that hold them to the same bars."""


@pytest.fixture
def load(tmp_path: Path, write_rows):
    """Loads a kind's sample, or other rows in its place."""

    def load(kind: str, files=None, folder: str = "data", **settings) -> Task:
        sample, own = SAMPLES[kind]
        paths = [write_rows(tmp_path / folder / name, rows) for name, rows in (files or sample).items()]
        return load_task(kind, {"kind": kind, "paths": paths, **own, **settings}, tmp_path / "cache")

    return load


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_every_kind_has_a_sample_or_tests_of_its_own(kind: str) -> None:
    assert (kind in SAMPLES) != bool(OWN_TESTS.get(kind))


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_a_constant_model_scores_chance_exactly(load, tokenizer, constant, kind: str) -> None:
    task = load(kind)
    result = task.score(constant(CONTEXT), tokenizer, 4)
    assert list(result.scores) == task.endpoints()
    without = {
        name.split("/")[1].split(".")[0] for name, score in result.scores.items() if score.chance is None
    }
    assert without <= {"margin"}
    for name, score in result.scores.items():
        if score.chance is not None:
            # The logarithm of a constant model's probability is rounded to fp32; what compares is exact.
            rounded = any(part in name for part in ("bits_per_byte", "nats"))
            assert score.value == pytest.approx(score.chance, rel=1e-6 if rounded else 1e-12, abs=1e-12), name
    for metric, level in task.chance.items():
        assert result.scores[f"{kind}/{metric}"].chance == pytest.approx(level, rel=1e-12)


def values_by_content(task: Task, items: pd.DataFrame) -> pd.Series:
    """Item-level values by metric and by what is asked, whatever an item is called."""
    said: dict[str, str] = {}
    for label, text in task.texts():
        said[label] = said.get(label, "") + "|" + text
    items = items.assign(said=[said[f"{task.name}/{item}"] for item in items.item])
    return items.set_index(["metric", "said"]).value.sort_index()


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_batch_size_and_item_order_move_no_score(load, tokenizer, attention, kind: str) -> None:
    model, draw = attention(CONTEXT), random.Random(3)
    files = {name: list(rows) for name, rows in SAMPLES[kind][0].items()}
    scores, items = [], []
    for batch_rows in (1, 7, 64):
        task = load(kind, files, folder=f"{batch_rows}")
        result = task.score(model, tokenizer, batch_rows)
        scores.append({name: score.value for name, score in sorted(result.scores.items())})
        items.append(values_by_content(task, result.items))
        for rows in files.values():
            draw.shuffle(rows)
    for other, frame in zip(scores[1:], items[1:], strict=True):
        assert other == pytest.approx(scores[0], abs=1e-5)
        assert list(frame.index) == list(items[0].index)
        assert (frame - items[0]).abs().max() < 1e-5


def prompt_patterns(prompt: str) -> list[re.Pattern[str]]:
    """The quoted parts of a prompt form as patterns; what stands in braces may be anything."""
    parts = [part.replace(r"\n", "\n") for part in re.findall(r'"([^"]*)"', prompt)]
    return [re.compile(re.sub(r"\\\{.*?\\\}", "(?s:.*)", re.escape(part))) for part in parts]


@pytest.mark.parametrize("kind", sorted(kind for kind in SAMPLES if issubclass(task_class(kind), ChoiceTask)))
def test_the_prompt_a_kind_states_is_the_one_it_asks(load, kind: str) -> None:
    task = load(kind)
    patterns = prompt_patterns(task.prompt)
    contexts, continuations = patterns[: max(1, len(patterns) - 1)], patterns[1:]
    for choice in task.items[0].choices:
        assert any(pattern.fullmatch(choice.context) for pattern in contexts), choice
        assert any(pattern.fullmatch(choice.continuation) for pattern in continuations), choice


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_every_kind_states_prompt_chance_source_and_clusters(load, kind: str) -> None:
    found = task_class(kind)
    assert found.prompt
    assert found.chance_level
    assert found.source
    assert found.clusters or not any(item.cluster for item in getattr(load(kind), "items", []))


def test_the_listing_fits_a_terminal_and_tells_all_of_every_kind() -> None:
    lines = task_lines()
    assert max(map(len, lines)) <= WIDTH
    text = " ".join(" ".join(lines).split())
    for kind in TASKS:
        found = task_class(kind)
        assert f"{kind} (version {found.version})" in lines
        for said in (found.prompt, found.source, found.clusters, found.chance_level):
            assert " ".join(said.split()) in text
        for metric, info in found.metrics.items():
            assert f"  {metric}" in lines or f"  {metric}, {kind}" in lines
            assert " ".join(info.description.split()) in text


@pytest.mark.parametrize("kind", sorted(kind for kind in SAMPLES if kind not in ("bits_per_byte", "coda")))
def test_worked_examples_open_every_prompt(load, write_rows, tmp_path, tokenizer, kind: str) -> None:
    files = SAMPLES[kind][0]
    name, rows = next(iter(files.items()))
    examples = write_rows(tmp_path / "shots" / name, rows[:1])
    rest = {name: rows[1:] or [{"question": "Ice is", "choices": ["cold", "a hot thing"], "label": 0}]}
    if rows[0].get("good"):
        rest = {name: rows[1:]}
    task = load(kind, rest, shots=1, shot_paths=[examples])
    assert task.shots[0].right.text in task.prefix
    opened = tokenizer.encode([task.prefix.rstrip()])[0]
    for request in task.requests(tokenizer):
        assert request.context[1:][: len(opened)] == opened


FILES = [
    (kind, name) for kind, (files, _) in sorted(SAMPLES.items()) for name in files if kind != "bits_per_byte"
]


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_a_missing_field_is_refused_by_line_or_is_no_part_of_an_item(load, kind: str, name: str) -> None:
    rows = SAMPLES[kind][0][name]
    whole, refused = asked(load(kind)), 0
    for field in rows[-1]:
        damaged = {**SAMPLES[kind][0], name: [*rows[:-1], {k: v for k, v in rows[-1].items() if k != field}]}
        try:
            left = asked(load(kind, damaged, folder=f"without_{field}"))
        except TaskError as error:
            refused += bool(re.search(rf"{re.escape(name)}:\d+: ", str(error)))
        else:
            assert left == whole, field
    assert refused >= min(2, len(rows[-1]))


def asked(task: ChoiceTask) -> list[str]:
    """What is asked and what is right, in no order."""
    return sorted(repr((item.choices, item.label, item.subset, item.shares)) for item in task.items)
