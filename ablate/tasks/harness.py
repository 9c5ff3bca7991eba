"""Any task of lm-evaluation-harness, through its own code, on a checkpoint of ours.

lm-eval builds the prompts, asks, filters and compares; what it asks is answered by
`ablate.tasks.likelihood` and `ablate.tasks.decoding`. Items keep lm-eval's numbers and the log-likelihood of
every alternative. lm-eval gives a tie to the first choice; beside its numbers stand those of
`ablate.tasks.choices`, which share it.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from ablate.tasks.base import (
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    check_limits,
    digest_of,
    endpoint_names,
)
from ablate.tasks.choice_scores import SHARES
from ablate.tasks.decoding import DecodingTokenizer
from ablate.tasks.errors import TaskError
from ablate.tasks.harness_guard import OTHER_SEED, guarded, harness_version
from ablate.tasks.harness_metrics import COMMON_METRICS, MetricRule, rules_of, told_aggregates
from ablate.tasks.harness_scores import HarnessScores, Measured

if TYPE_CHECKING:
    from ablate.tasks.harness_model import HarnessModel


@dataclass(frozen=True)
class HarnessConfig:
    """A task, group or tag of lm-evaluation-harness."""

    task: str
    """lm-eval's name of it (`piqa`, `blimp`), or the task in the file that `path` names."""
    path: str = ""
    """A task file of your own, in lm-eval's YAML; prompts are templates, `!function` is refused. It needs
    `paths`."""
    paths: list[str] = field(default_factory=list)
    """JSON Lines files or globs in the fields of the task's source, in the place of its data set. Of a group
    each task takes the file that is called as it or as its source's part (`adjunct_island.jsonl.gz`). Empty:
    what lm-eval finds on this machine."""
    shots: int | None = None
    """Worked examples before every item. Null: as many as the task's own file says, or none."""
    shot_paths: list[str] = field(default_factory=list)
    """Files of the worked examples. Empty with `paths`: other items, as lm-eval takes them where there is no
    training split."""
    shot_sampler: Literal["", "default", "first_n"] = ""
    """How worked examples are chosen: drawn by lm-eval's seed (`default`), or the first. Empty: as the task
    has it."""
    limit: int = 0
    """Items to keep of each task, evenly spaced. 0 keeps all."""
    max_tokens: int = 0
    """Most tokens of a generated answer. 0: as the task has it."""
    download: bool = False
    """Let lm-eval fetch the task's data from its hub."""

    def __post_init__(self) -> None:
        check_limits(limit=self.limit, shots=self.shots or 0, max_tokens=self.max_tokens)
        if not self.task:
            raise TaskError("task is empty; name a task, group or tag of lm-evaluation-harness")
        if self.path and not self.paths:
            raise TaskError("path names a task file of your own, and paths no file with its items")
        if self.shot_paths and not self.paths:
            raise TaskError("shot_paths is given without paths; local examples go with local items")


class Harness(Task):
    """What lm-evaluation-harness says of the model."""

    Config = HarnessConfig
    kind = "harness"
    version = 1
    metrics: ClassVar[dict[str, MetricInfo]] = COMMON_METRICS
    open_metrics: ClassVar[bool] = True
    """Whether there are metrics besides, which only the items tell: endpoints are checked against those."""
    prompt = "as lm-evaluation-harness renders it"
    source = "the extra `harness` (lm_eval[hf]); data in the fields of the task's source"
    clusters = "task, of a group of tasks"
    chance_level = "1 / number of choices for accuracy and probability; none for what is lm-eval's own"

    def __init__(self, name: str, config: HarnessConfig, cache: Path) -> None:
        self.name = name
        self.config = config
        with guarded(config.download):
            from ablate.tasks.harness_model import Unasked
            from ablate.tasks.harness_tasks import Wanted, load

            settings = {
                key: value for key, value in asdict(config).items() if key not in ("max_tokens", "download")
            }
            self.loaded = load(Wanted(name=name, **settings), cache)
            self._learn_metrics(Unasked())
            self._digest = self._content_digest()
            self._texts = self._held_out()
        self.chance = {}
        choices = [len(one.item.choices) for one in self.measured if one.is_choice]
        if len(choices) == len(self.measured):
            self.chance = dict.fromkeys(SHARES, fsum(1 / count for count in choices) / len(choices))

    def _learn_metrics(self, unasked: Any) -> None:
        """Find the metrics by having lm-eval judge one made-up answer of each task.

        Raises:
            TaskError: a task cannot be judged, or has nothing that is told item by item.
        """
        from ablate.tasks.harness_tasks import run

        try:
            samples = run(self.loaded, unasked, first_only=True)["samples"]
        except Exception as error:  # functions of tasks raise anything
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise TaskError(f"task {self.name!r}: lm-eval cannot judge an answer ({said:.300})") from error
        self.rules: dict[str, list[MetricRule]] = {}
        self.untold: dict[str, list[str]] = {}
        for task, own in samples.items():
            filters = list(dict.fromkeys(sample["filter"] for sample in own))
            found = [rules_of(self.loaded.tasks[task], sample, filters) for sample in own]
            self.rules[task] = [rule for rules, _ in found for rule in rules]
            self.untold[task] = [metric for _, without in found for metric in without]
        grouped = len(self.loaded.tasks) > 1
        self.measured = [
            Measured(
                item,
                str(self.loaded.tasks[item.task].OUTPUT_TYPE),
                item.task if grouped else "",
                self.rules[item.task],
            )
            for item in self.loaded.items
        ]
        if not self.endpoints():
            raise TaskError(
                f"task {self.name!r}: {self.config.task} has no metric that is told item by item "
                f"({', '.join(sorted(set().union(*self.untold.values())))}), so no interval can be given"
            )

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text) of every item, with each of its alternatives and without worked examples."""
        yield from self._texts

    def _held_out(self) -> list[tuple[str, str]]:
        return [
            ("/".join(filter(None, (self.name, one.subset, one.item.id))), text)
            for one in self.measured
            for text in dict.fromkeys(one.item.asked)
        ]

    @property
    def digest(self) -> str:
        return self._digest

    def _content_digest(self) -> str:
        """Of everything that is asked, as it is rendered, and of what judges it."""
        tasks = {
            name: [
                task.OUTPUT_TYPE,
                str(task.VERSION),
                [[rule.metric, rule.filter, rule.endpoint] for rule in self.rules[name]],
            ]
            for name, task in self.loaded.tasks.items()
        }
        items = [
            [
                item.task,
                item.id,
                json.loads(json.dumps(item.arguments, default=str)),
                item.choices,
                item.label,
                item.target,
            ]
            for item in self.loaded.items
        ]
        return digest_of([self.kind, self.version, harness_version(), self.config.max_tokens, tasks, items])

    def endpoints(self) -> list[str]:
        subsets: dict[str, list[str]] = {}
        for one in self.measured:
            for metric in one.metrics():
                subsets.setdefault(metric, []).append(one.subset)
        return [name for metric, own in subsets.items() for name in endpoint_names(self.name, [metric], own)]

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse an answer that does not fit the context or that the tokenizer merges into its prompt, and
        answers drawn at random; see `Task.check`. A prompt that is too long is no fault: it is cut and
        counted."""
        with guarded():
            from ablate.tasks.harness_model import Rehearsal

            rehearsal = Rehearsal(_decoding(tokenizer), context_length, self.config.max_tokens)
            asked = defaultdict(list)
            for request in self.loaded.requests:
                asked[request.request_type].append(request)
            try:
                for kind, requests in asked.items():
                    getattr(rehearsal, kind)(requests)
            except TaskError as error:
                raise TaskError(f"task {self.name!r}: {error}") from error

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every item; see `Task.score`."""
        with guarded(self.config.download):
            from ablate.tasks.harness_model import HarnessModel
            from ablate.tasks.harness_tasks import run

            asked = HarnessModel(model, _decoding(tokenizer), batch_rows, self.config.max_tokens)
            found = run(self.loaded, asked)
        samples: dict[tuple[str, str], dict[str, Any]] = {}
        for task, own in found["samples"].items():
            for sample in own:
                samples.setdefault((task, str(sample["doc_id"])), {})[sample["filter"]] = sample
        scores = HarnessScores(self.name, asked)
        for one in self.measured:
            scores.add(one, samples[one.item.task, one.item.id])
        return TaskResult(*scores.result(self.endpoints()), self._notes(found["results"], asked))

    def _notes(self, results: dict[str, Any], asked: "HarnessModel") -> list[str]:
        tasks = self.loaded.tasks
        versions = sorted({str(task.VERSION) for task in tasks.values()})
        shots = sorted({str(task.config.num_fewshot) for task in tasks.values()})
        notes = [
            f"{self.name}: lm-evaluation-harness {harness_version()}, {self.config.task} version "
            f"{', '.join(versions)}, {', '.join(shots)} worked examples (seed {OTHER_SEED}); "
            f"{'the first task ' if len(tasks) > 1 else ''}asked by {_prompt(next(iter(tasks.values())))}"
        ]
        if self.loaded.own_shots:
            notes.append(f"{self.name}: worked examples are other items of those that are scored")
        if any(one.is_choice and {"acc", "acc_norm"} & one.metrics().keys() for one in self.measured):
            notes.append(
                f"{self.name}: acc and acc_norm are lm-eval's own, which gives a tie to the first choice; "
                "accuracy and accuracy_per_byte share it"
            )
        told = [
            f"{f'{task} ' if len(tasks) > 1 else ''}{text}"
            for task in tasks
            for text in told_aggregates(results[task], self.rules[task])
        ]
        if told:
            notes.append(
                f"{self.name}: lm-eval's own aggregates that are no mean over items: {'; '.join(told)}"
            )
        return notes + self._cuts(asked)

    def _cuts(self, asked: "HarnessModel") -> list[str]:
        notes = []
        if asked.truncations.cut:
            notes.append(
                f"{self.name}: {asked.truncations.cut} of {asked.truncations.asked} texts cut from the left, "
                f"BOS with them, as lm-eval does, to fit {asked.model.context_length} positions"
            )
        if asked.rolled:
            cost = fsum(-one.opening for one in asked.rolled.values()) / len(asked.rolled)
            notes.append(
                f"{self.name}: each text's likelihood holds that of BOS after BOS, as lm-eval scores it "
                f"where a tokenizer opens texts with BOS: {cost:.3f} nats a text"
            )
        return notes


def _decoding(tokenizer: Tokenizer) -> DecodingTokenizer:
    """``tokenizer``, which must give text back where answers are generated."""
    return cast(DecodingTokenizer, tokenizer)


def _prompt(task: Any) -> str:
    """The templates or functions that lm-eval renders a task by; no item, whose text may not be passed on."""
    said = []
    for key in ("description", "doc_to_text", "doc_to_choice", "doc_to_target", "target_delimiter"):
        value = task.get_config(key)
        if value is not None and value != "":
            where = f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', '')}"
            said.append(f"{key} {where if callable(value) else json.dumps(value, default=str)}")
    return ", ".join(said) or "a class of its own"
