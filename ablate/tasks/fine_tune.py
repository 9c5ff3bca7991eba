"""Text classification after fine-tuning, in the manner of GLUE (Wang et al. 2019).

A copy of the run's backbone is trained on labelled texts, once for each fine-tuning seed, and scored on
others. Two methods. `head`: a linear layer reads the final hidden state of the text's last token (Radford
et al. 2018, without their extract token, and transformers' `LlamaForSequenceClassification`). `verbalised`:
the model learns to write the label's words after the text, and the label whose words are likeliest is the
answer (Schick and Schuetze 2021); words are parted from the text as in `ablate.tasks.choices`.

BOS stands before the text, which loses tokens after BOS where it is longer than the context. An endpoint is
the mean over the fine-tuning seeds; the run's own weights stay as they are. The compute of fine-tuning is the
task's and not the arm's: it is not charged to the budget.

Chance is what a model scores that cannot read and knows how often each class occurs in training: it names the
most frequent class (a tie counts 1/k) and gives every class its frequency as probability. So the chance level
of accuracy is the majority class's share of the test items, not one over the classes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd

from ablate.record import Score
from ablate.tasks.base import (
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    TrainableModel,
    check_limits,
    digest_of,
    endpoint_name,
    endpoint_names,
    item_frame,
    mean_scores,
    subset_members,
)
from ablate.tasks.errors import TaskError
from ablate.tasks.fine_tune_items import (
    Example,
    Fields,
    check_template,
    fill,
    labelled,
    read_labelled_texts,
)
from ablate.tasks.fine_tune_methods import (
    HeadLearner,
    Learner,
    Prompted,
    WordLearner,
    head_rows,
    word_requests,
)
from ablate.tasks.fine_tune_scores import (
    OF_WHOLE_SETS,
    first_of_top,
    item_values,
    mean_over_seeds,
    mean_values,
    spread_notes,
)
from ablate.tasks.fine_tune_training import DivergedError, FineTuning
from ablate.tasks.likelihood import truncate_contexts

_BLIND = "it is scored as a model that knows the classes' frequencies alone: lower the learning rates"


@dataclass(frozen=True)
class FineTuneConfig:
    """Labelled texts to train on and to be scored on, and how to train.

    The fields of GLUE as the Hugging Face hub spells them, all with `label_field: label`: SST-2 and CoLA
    `text_fields: [sentence]` (CoLA is scored by `matthews`); MNLI `[premise, hypothesis]`; RTE, MRPC and WNLI
    `[sentence1, sentence2]`; QQP `[question1, question2]`; QNLI `[question, sentence]`. GLUE hides the labels
    of its test files: score on the validation file. Of SuperGLUE's own JSON Lines, BoolQ is `[passage,
    question]`, RTE and CB are `[premise, hypothesis]`.
    """

    train_paths: list[str]
    """JSON Lines files or globs (.jsonl, .jsonl.gz, .jsonl.zst) to train on."""
    paths: list[str]
    """The same, of the items that are scored. A training item with the text of one of them is left out."""
    text_fields: list[str] = field(default_factory=lambda: ["text"])
    """Keys of the text, or of the two texts of a pair."""
    label_field: str = "label"
    """Key of the class: a name, a whole number, true or false. The training items say which classes there
    are."""
    method: Literal["head", "verbalised"] = "head"
    """`head`: a linear head on the last token's final hidden state. `verbalised`: the label's words as the
    text's continuation, trained by language-model loss and scored by likelihood."""
    prompt: str = ""
    """What the model reads, with `{key}` in the place of each of `text_fields`. Empty: one text a line."""
    label_words: dict[str, str] = field(default_factory=dict)
    """Label to the words that `verbalised` writes for it. A label that is not here stands for itself."""
    freeze_backbone: bool = False
    """Train the head alone (a linear probe)."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Fine-tuning seeds: of the head's initial weights and of the order of the items. Every run has the same,
    whatever its own seed."""
    epochs: int = 3
    """Passes over the training items."""
    learning_rate: float = 3e-4
    """Peak learning rate of the backbone."""
    head_learning_rate: float = 1e-3
    """Peak learning rate of the head."""
    batch_rows: int = 32
    """Items a step."""
    train_limit: int = 0
    """Training items to keep, chosen by a digest of their content. 0 keeps all."""
    limit: int = 0
    """Items to score, evenly spaced over all files. 0 keeps all."""
    subset_field: str = ""
    """Key of the subset that an item of `paths` is also averaged in. Empty: no subsets."""
    id_field: str = ""
    """Key of the id of an item of `paths`. Empty: file and line number."""

    def __post_init__(self) -> None:
        check_limits(train_limit=self.train_limit, limit=self.limit)
        if self.method not in ("head", "verbalised"):
            raise TaskError(f"method is {self.method!r}; it is head or verbalised")
        if len(self.text_fields) not in (1, 2) or len(set(self.text_fields)) < len(self.text_fields):
            raise TaskError(f"text_fields is {self.text_fields!r}; it holds one key, or the two of a pair")
        check_template(self.prompt, self.text_fields)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise TaskError(f"seeds is {self.seeds!r}; it holds one or more seeds, each once")
        for name in ("epochs", "batch_rows"):
            if getattr(self, name) < 1:
                raise TaskError(f"{name} is {getattr(self, name)}; it is at least 1")
        for name in ("learning_rate", "head_learning_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise TaskError(f"{name} is {getattr(self, name):g}; it is above 0 and at most 1")
        if self.method == "verbalised" and self.freeze_backbone:
            raise TaskError(
                "freeze_backbone leaves nothing to train where method is verbalised; to score the labels' "
                "words without training, use the kind multiple_choice"
            )
        if self.method == "head" and self.label_words:
            raise TaskError("label_words is for the method verbalised; a head reads no words")


class FineTune(Task):
    """How well does the model tell classes of texts apart once it is trained to?"""

    Config = FineTuneConfig
    kind = "fine_tune"
    version = 1
    metrics: ClassVar[dict[str, MetricInfo]] = {
        "accuracy": MetricInfo(
            True, "share of items", "the right class is the likeliest; a tie of k at the top counts 1/k"
        ),
        "macro_f1": MetricInfo(
            True, "F1", "harmonic mean of precision and recall, averaged over the classes"
        ),
        "matthews": MetricInfo(
            True, "correlation", "Matthews correlation of predicted and right classes (CoLA's metric)"
        ),
        "probability": MetricInfo(True, "probability", "softmax over the classes, at the right one"),
        "bits": MetricInfo(False, "bits an item", "negative log2 of the probability of the right class"),
    }
    prompt = '"{text}" for a head on its last token, or "{text}" + " {label\'s words}"'
    source = "GLUE (nyu-mll/glue on the Hub), or files of one's own: text, label; train_paths and paths"
    chance_level = (
        "the majority class's share for accuracy, training frequencies for probability and bits; matthews: 0"
    )

    def __init__(self, name: str, config: FineTuneConfig, cache: Path) -> None:
        self.name = name
        self.config = config
        fields = Fields(tuple(config.text_fields), config.label_field, config.subset_field, config.id_field)
        self.data = data = read_labelled_texts(
            name, config.train_paths, config.paths, fields, config.train_limit, config.limit, cache
        )
        self.words = _label_words(name, data.classes, config.label_words)
        blind = item_values([data.log_frequencies()] * len(data.test), data.labels())
        self.chance = {metric: math.fsum(column) / len(column) for metric, column in blind.items()}
        self.chance["matthews"] = 0.0

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text) of every item that is scored."""
        return labelled(self.name, self.data)

    @property
    def digest(self) -> str:
        settings = asdict(self.config)
        del settings["paths"], settings["train_paths"]
        items = [[example.texts, example.label] for example in self.data.train]
        # An id made of file name and line is no part of what is asked.
        held = [
            [example.id if self.config.id_field else "", example.subset, example.texts, example.label]
            for example in self.data.test
        ]
        return digest_of([self.kind, self.version, settings, items, held])

    def endpoints(self) -> list[str]:
        return endpoint_names(self.name, self.metrics, [example.subset for example in self.data.test])

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse label words that do not fit the context or that the tokenizer merges into the text; see
        `Task.check`. A text that is too long is no fault: it is cut and counted."""
        for items in (self._prompted(self.data.train), self._prompted(self.data.test)):
            if self.config.method == "verbalised":
                for requests in word_requests(items, self.words, tokenizer):
                    truncate_contexts(requests, context_length)
            else:
                head_rows(items, tokenizer)

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Fine-tune a copy of the model for each seed and score every item; see `Task.score`.

        A seed whose training diverges is scored as a model that cannot read (see the module's text on
        chance), and a note says so: it is neither left out of the mean nor does it end the run.

        Raises:
            TaskError: the model does not give its weights away, or an item is refused, or the model's
                hidden states are not finite before any training.
        """
        if not isinstance(model, TrainableModel):
            raise TaskError(
                f"{self.name}: this model gives logits alone, and fine_tune trains weights; "
                "score a checkpoint of a study, or leave the task out"
            )
        learner = self._learner(model, tokenizer, batch_rows)
        answers, failures = [], []
        for seed in self.config.seeds:
            try:
                answers.append(learner.answers(seed))
            except DivergedError as error:
                answers.append([self.data.log_frequencies()] * len(self.data.test))
                failures.append(f"{self.name}: fine-tuning seed {seed} diverged ({error}); {_BLIND}")
            except TaskError as error:
                raise TaskError(f"task {self.name!r}: {error}") from error
        predicted = [[first_of_top(one) for one in own] for own in answers]
        notes = [*self._notes(learner.cut, model.context_length), *failures]
        notes += spread_notes(self.name, self.data.labels(), predicted)
        return TaskResult(*self._scores(answers, predicted), notes)

    def _learner(self, model: TrainableModel, tokenizer: Tokenizer, batch_rows: int) -> Learner:
        config, items = self.config, (self._prompted(self.data.train), self._prompted(self.data.test))
        settings = FineTuning(
            config.epochs, config.batch_rows, config.learning_rate, config.head_learning_rate
        )
        if config.method == "verbalised":
            return WordLearner(model, tokenizer, items, self.words, settings, batch_rows)
        classes = len(self.data.classes)
        return HeadLearner(model, tokenizer, items, classes, settings, batch_rows, config.freeze_backbone)

    def _prompted(self, examples: Sequence[Example]) -> list[Prompted]:
        place = {name: index for index, name in enumerate(self.data.classes)}
        return [
            Prompted(
                fill(self.config.prompt, self.config.text_fields, example.texts),
                place[example.label],
                example.key,
                example.where,
            )
            for example in examples
        ]

    def _scores(
        self, answers: Sequence[Sequence[Sequence[float]]], predicted: Sequence[Sequence[int]]
    ) -> tuple[dict[str, Score], pd.DataFrame]:
        """Scores and the item-level frame, from the log-probabilities [seeds, items, classes] and the
        predicted classes [seeds, items]."""
        test, labels, config = self.data.test, self.data.labels(), self.config
        subsets, ids = [example.subset for example in test], [example.id for example in test]
        values = mean_values(answers, labels)
        chance = item_values([self.data.log_frequencies()] * len(test), labels)
        scores, frame = mean_scores(self.name, self.metrics, subsets, ids, values, chance)
        for metric, measure in OF_WHOLE_SETS.items():
            for subset, chosen in subset_members(subsets).items():
                scores[endpoint_name(self.name, metric, subset)] = Score(
                    value=mean_over_seeds(measure, labels, predicted, chosen),
                    items=len(chosen),
                    higher_is_better=self.metrics[metric].higher_is_better,
                    # Correlation with a constant is zero; what F1 a guess has depends on how it guesses.
                    chance=0.0 if metric == "matthews" else None,
                )
        parts = {"label": labels} | {
            f"predicted.seed{seed}": list(own) for seed, own in zip(config.seeds, predicted, strict=True)
        }
        frames = [
            item_frame(self.name, metric, subsets, ids, [float(value) for value in column])
            for metric, column in parts.items()
        ]
        return {name: scores[name] for name in self.endpoints()}, pd.concat(
            [frame, *frames], ignore_index=True
        )

    def _notes(self, cut: tuple[int, int], context_length: int) -> list[str]:
        """What every run of a study discloses alike."""
        config, data = self.config, self.data
        what = "a linear head" if config.freeze_backbone else "a copy of the model"
        notes = [
            f"{self.name}: mean over {len(config.seeds)} fine-tuning seeds of {what} trained on "
            f"{len(data.train)} items for {config.epochs} epochs, which no arm's budget is charged for"
        ]
        if data.left_out:
            notes.append(
                f"{self.name}: {data.left_out} training items left out because they are test items too"
            )
        if any(cut):
            notes.append(
                f"{self.name}: {cut[0]} of {len(data.train)} training and {cut[1]} of {len(data.test)} "
                f"test items cut from the left to fit {context_length} positions"
            )
        return notes


def _label_words(name: str, classes: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """What is written for each class.

    Raises:
        TaskError: words are empty, two classes share them, or they are given for no class.
    """
    for label in given:
        if label not in classes:
            raise TaskError(
                f"task {name!r}: label_words has {label!r}, which no training item has; "
                f"their labels: {', '.join(classes[:12])}"
            )
    words = [given.get(label, label).strip() for label in classes]
    for place, own in enumerate(words):
        if not own or own in words[:place]:
            raise TaskError(
                f"task {name!r}: label_words writes {own!r} for {classes[place]!r}; "
                "every label needs words of its own"
            )
    return words
