"""Minimal pairs: does the model find the acceptable sentence likelier than its unacceptable twin?

Whole sentences are scored with BOS in front, as BLiMP does (Warstadt et al. 2020, "full LM" method).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from ablate.tasks.base import (
    LogitModel,
    MetricInfo,
    Task,
    TaskResult,
    Tokenizer,
    check_limits,
    check_subset,
    digest_of,
    endpoint_names,
    evenly_spaced,
    length_notes,
    mean_scores,
)
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line, read_json_lines
from ablate.tasks.likelihood import (
    Request,
    continuation_log_likelihoods,
    is_uniform,
    tied,
    truncate_contexts,
)
from ablate.tasks.words import (
    BOTH,
    NEITHER,
    check_words,
    digest_settings,
    group_metrics,
    group_scores,
    item_groups,
    read_word_lists,
)


@dataclass(frozen=True)
class MinimalPairsConfig:
    """Pairs of sentences that differ in what makes one of them unacceptable."""

    paths: list[str]
    """JSON Lines files or globs (.jsonl, .jsonl.gz, .jsonl.zst)."""
    good_field: str = "good"
    """Key of the acceptable sentence (BLiMP: `sentence_good`)."""
    bad_field: str = "bad"
    """Key of the unacceptable sentence (BLiMP: `sentence_bad`)."""
    subset_field: str = ""
    """Key of the subset that a pair is also averaged in (BLiMP: `UID`). Empty: the file's name."""
    id_field: str = ""
    """Key of the pair's id. Empty: file and line number."""
    limit: int = 0
    """Pairs to keep, evenly spaced over all files. 0 keeps all."""

    words: dict[str, str] = field(default_factory=dict)
    """Name to a list of words, a file with one word a line or `builtin:function`. `metric.<name>` scores the
    pairs whose acceptable sentence holds words of that list alone, `metric.both` those with words of several
    lists, `metric.neither` those with none."""

    def __post_init__(self) -> None:
        check_limits(limit=self.limit)
        check_words(self.words)


@dataclass(frozen=True)
class Pair:
    """One item."""

    id: str
    where: str
    """File and line, for messages."""
    subset: str
    good: str
    bad: str


class MinimalPairs(Task):
    """Is the acceptable sentence of a pair the likelier one?"""

    Config = MinimalPairsConfig
    kind = "minimal_pairs"
    version = 1
    metrics = {  # noqa: RUF012
        "accuracy": MetricInfo(
            True,
            "share of pairs",
            "the acceptable sentence has the larger summed log-probability; a tie counts one half",
        ),
        "margin": MetricInfo(
            True, "nats", "log-probability of the acceptable sentence less that of the unacceptable one"
        ),
    }

    word_groups = (BOTH, NEITHER)
    """Endpoints `metric.<group>` beside those of the lists themselves."""

    def __init__(self, name: str, config: MinimalPairsConfig, cache: Path) -> None:
        self.name = name
        self.config = config
        self.lists = read_word_lists(name, config.words)
        self.pairs = _read_pairs(name, config, cache)
        self.groups = item_groups(name, self.lists, [pair.good for pair in self.pairs])
        self.chance = {"accuracy": 0.5}

    def texts(self) -> Iterator[tuple[str, str]]:
        """(label, text): both sentences of every pair."""
        for pair in self.pairs:
            yield f"{self.name}/{pair.id}", pair.good
            yield f"{self.name}/{pair.id}", pair.bad

    @property
    def digest(self) -> str:
        settings = digest_settings(asdict(self.config), self.lists)
        del settings["paths"]
        # An id made of file name and line is no part of what is asked.
        pairs = [
            [pair.id if self.config.id_field else "", pair.subset, pair.good, pair.bad] for pair in self.pairs
        ]
        return digest_of([self.kind, self.version, settings, pairs])

    def endpoints(self) -> list[str]:
        subsets = [pair.subset for pair in self.pairs]
        groups = group_metrics(self.metrics, self.groups)
        return [*endpoint_names(self.name, self.metrics, subsets), *endpoint_names(self.name, groups, [])]

    def check(self, tokenizer: Tokenizer, context_length: int) -> None:
        """Refuse a sentence longer than the context; see `Task.check`."""
        truncate_contexts(self._requests(tokenizer), context_length)

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every pair; see `Task.score`. A sentence longer than the context is refused."""
        requests = self._requests(tokenizer)
        found = continuation_log_likelihoods(model, requests, tokenizer.pad, batch_rows)
        values: dict[str, list[float]] = {"accuracy": [], "margin": []}
        counts = []
        for index in range(0, len(requests), 2):
            good, bad = found[index : index + 2]
            tokens = [len(request.continuation) for request in requests[index : index + 2]]
            undecided = tied(good, bad) or is_uniform([good, bad], tokens, model.vocabulary)
            values["accuracy"].append(0.5 if undecided else float(good > bad))
            values["margin"].append(good - bad)
            counts.append(tokens)
        subsets, ids = [pair.subset for pair in self.pairs], [pair.id for pair in self.pairs]
        chance = {"accuracy": [0.5] * len(self.pairs)}
        scores, frame = mean_scores(self.name, self.metrics, subsets, ids, values, chance)
        if self.groups:
            of_groups = group_scores(self.name, self.metrics, self.groups, subsets, ids, values, chance)
            scores |= of_groups[0]
            frame = pd.concat([frame, *of_groups[1]], ignore_index=True)
        notes = []
        # BLiMP has some (principle_A_case_2); dropping them would make the task another one.
        if equal := sum(pair.good == pair.bad for pair in self.pairs):
            notes.append(
                f"{self.name}: {equal} of {len(self.pairs)} pairs are one sentence twice, always a tie"
            )
        notes += length_notes(self.name, counts, [0] * len(counts))
        return TaskResult(scores, frame, notes)

    def _requests(self, tokenizer: Tokenizer) -> list[Request]:
        """Two requests per pair, the acceptable sentence first, in the pairs' order."""
        sentences = [sentence for pair in self.pairs for sentence in (pair.good, pair.bad)]
        wheres = [pair.where for pair in self.pairs for _ in range(2)]
        return [
            Request([tokenizer.bos], tokens, where)
            for tokens, where in zip(tokenizer.encode(sentences), wheres, strict=True)
        ]


def _read_pairs(name: str, config: MinimalPairsConfig, cache: Path) -> list[Pair]:
    found: list[Pair] = []
    seen: dict[str, str] = {}
    for line in read_json_lines(config.paths, cache):
        pair = _pair(line, config)
        if pair.id in seen:
            raise TaskError(f"{line.where}: id {pair.id!r} occurs twice, first at {seen[pair.id]}")
        seen[pair.id] = line.where
        found.append(pair)
    if not found:
        found_in = ", ".join(config.paths) or "paths is empty"
        raise TaskError(f"task {name!r} has no items: {found_in}; add items or leave the task out")
    return [found[index] for index in evenly_spaced(len(found), config.limit)]


def _pair(line: Line, config: MinimalPairsConfig) -> Pair:
    good, bad = line.text(config.good_field), line.text(config.bad_field)
    for key, sentence in ((config.good_field, good), (config.bad_field, bad)):
        if not sentence.strip():
            raise TaskError(f"{line.where}: {key} is empty")
    subset = line.text(config.subset_field) if config.subset_field else line.file
    check_subset(subset, line.where)
    return Pair(line.identifier(config.id_field), line.where, subset, good, bad)
