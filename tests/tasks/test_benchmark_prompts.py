"""What is asked is, to the letter, what lm-evaluation-harness asks for the task of the same name."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmark_samples import ARC_HUB, SAMPLES

from ablate.tasks.choices import ChoiceTask
from ablate.tasks.registry import load_task

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (pip install 'lm_eval[hf]')")

FILES = {
    "arc": "arc/arc_easy.yaml",
    "blimp": "blimp/adjunct_island.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "commonsense_qa": "commonsense_qa/default.yaml",
    "copa": "super_glue/copa/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "lambada": "lambada/lambada_openai.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "piqa": "piqa/piqa.yaml",
    "sciq": "sciq/sciq.yaml",
    "winogrande": "winogrande/default.yaml",
}
"""Kind to the file of lm-eval's task."""


def rows_of(kind: str) -> list[Any]:
    """The sample in the form of the Hub, one type a column: Arrow, which lm-eval reads by, has no other."""
    if kind == "arc":
        return ARC_HUB
    (rows,) = SAMPLES[kind][0].values()
    if kind == "hellaswag":
        return [{**row, "label": str(row["label"])} for row in rows]
    return [{**row, "label": int(row["label"])} if kind == "boolq" else row for row in rows]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Builds lm-eval's own task over local rows."""
    import datasets
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    class Local(ConfigurableTask):
        def __init__(self, rows: dict[str, Any], config: dict[str, Any]) -> None:
            self.rows = rows
            super().__init__(config=config)

        def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
            self.dataset = datasets.DatasetDict(
                {split: datasets.Dataset.from_list(rows) for split, rows in self.rows.items()}
            )

    folder = Path(lm_eval.tasks.__file__).parent

    def build(kind: str, items: list[Any], examples: list[Any]) -> Any:
        config = load_yaml(folder / FILES[kind], resolve_func=True)
        splits = {config.get(f"{split}_split") for split in ("validation", "test")} - {None}
        rows = dict.fromkeys(splits, items)
        del config["metric_list"]  # no metric is computed, and some would be looked up on the Hub
        config.pop("training_split", None)
        if examples:
            config |= {"training_split": "examples", "fewshot_config": {"sampler": "first_n"}}
            rows["examples"] = examples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Local(rows, config)

    return build


def asked_by_harness(task: Any, shots: int) -> tuple[list[list[tuple[str, str]]], list[Any]]:
    """(context, continuation) of every request, and the right answer, of each item."""
    asked, right = [], []
    for doc in task.eval_docs:
        context = task.fewshot_context(doc, shots)
        instances = task.construct_requests(doc, context)
        found = instances if isinstance(instances, list) else [instances]
        asked.append([instance.args for instance in found])
        # Where the contexts differ, lm-eval keeps the right one's number in the place of the text.
        target = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
        right.append(target)
    return asked, right


@pytest.mark.parametrize("kind", sorted(FILES))
@pytest.mark.parametrize("shots", [0, 2])
def test_contexts_and_continuations_are_those_of_lm_eval(build, write_rows, tmp_path, kind, shots) -> None:
    rows = rows_of(kind)
    examples = [] if not shots else altered(rows)[:2]
    paths = {"paths": [write_rows(tmp_path / "items.jsonl", rows)]}
    if shots:
        paths |= {"shots": shots, "shot_paths": [write_rows(tmp_path / "shots.jsonl", examples)]}
    task = load_task(kind, {"kind": kind, **paths}, tmp_path / "cache")
    assert isinstance(task, ChoiceTask)
    ours = [[(task.prefix + one.context, one.continuation) for one in item.choices] for item in task.items]
    theirs, right = asked_by_harness(build(kind, rows, examples), shots)
    assert ours == theirs
    for item, target in zip(task.items, right, strict=True):
        names = [str(item.label), item.right.text, item.right.continuation, item.right.continuation[1:]]
        assert str(target) in names or (kind == "commonsense_qa" and target == item.right.text)


def altered(rows: list[Any]) -> list[Any]:
    """Rows that are none of ``rows``, and as long a list of them."""
    texts = (
        "stem",
        "question",
        "premise",
        "goal",
        "sentence",
        "passage",
        "activity_label",
        "sentence_good",
        "text",
    )
    changed = json.loads(json.dumps(rows))
    for row in changed:
        for field in (*texts, "question_stem"):
            if field in row and row[field] not in ("cause", "effect"):
                row[field] = f"Once {row[field]}"
        for field in ("id", "qID", "pairID"):
            if field in row:
                row[field] = f"9{row[field]}"
        if "sentence_bad" in row:
            row["sentence_bad"] = f"Once {row['sentence_bad']}"
    return changed
