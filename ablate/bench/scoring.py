"""Scoring minimal pairs over trees, in padded rows and by lm-evaluation-harness, in turns, in one process."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ablate.bench.measurement import Measurement
from ablate.bench.pairs import BAD, GOOD, write_pairs
from ablate.bench.timing import clock, wait
from ablate.data.content import expand_paths
from ablate.data.documents import read_documents
from ablate.data.tokenizer import TextTokenizer, train_tokenizer
from ablate.model.fusion import FusedModel
from ablate.model.huggingface import save_checkpoint
from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig
from ablate.seeding import seeded_init
from ablate.study.run import SCORING_ROWS, TextOnly
from ablate.tasks.likelihood import Request, continuation_log_likelihoods
from ablate.tasks.minimal_pairs import MinimalPairs, MinimalPairsConfig
from ablate.tasks.packing import pack

AGREEMENT = 1e-3
"""Most nats by which two ways to score a sentence may differ."""
BAR = 3.0
"""Scoring is to be at least this many times as fast as lm-evaluation-harness."""
_SHARPER = 3.0
"""The random weights are multiplied by this, or all sentences of a length would be about as likely."""


@dataclass(frozen=True)
class ScoringBench:
    """What is timed."""

    layers: int = 6
    width: int = 384
    heads: int = 6
    context_length: int = 256
    vocabulary: int = 8192
    pairs: int = 1000
    """Made-up pairs, where ``tasks`` is empty."""
    tasks: tuple[str, ...] = ()
    """Files or globs of minimal pairs in BLiMP's fields."""
    text: tuple[str, ...] = ()
    """Files or globs of the text to train the tokenizer on. Empty: the sentences themselves."""
    hf_batches: tuple[int, ...] = ()
    """Batch sizes at which lm-evaluation-harness scores the same; none: it is left out."""
    rounds: int = 3
    threads: int = 1

    @property
    def model(self) -> ModelConfig:
        """The backbone."""
        return ModelConfig(
            layers=self.layers, width=self.width, heads=self.heads, context_length=self.context_length
        )


class PaddedRows:
    """A model that hides that it reads trees."""

    def __init__(self, model: TextOnly) -> None:
        self.context_length, self.vocabulary = model.context_length, model.vocabulary
        self._model = model

    def __call__(self, tokens: Tensor) -> Tensor:
        return self._model(tokens)


class Contest:
    """Ways to score the same sentences, timed in turns."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self._first: list[float] = []

    def time(self, name: str, score: Callable[[], list[float] | None]) -> None:
        """Call ``score``, which may return the log-likelihood of every sentence.

        Raises:
            ValueError: one of them is not what the first call returned.
        """
        now = clock()
        wait()
        began = now()
        found = score()
        wait()
        self.seconds.setdefault(name, []).append(now() - began)
        if found is not None:
            self._compare(name, found)

    def starting(self, beginning: str) -> list[str]:
        """Names that begin so."""
        return [name for name in self.seconds if name.startswith(beginning)]

    def _compare(self, name: str, found: list[float]) -> None:
        self._first = self._first or found
        for one, other in zip(found, self._first, strict=True):
            if not abs(one - other) <= AGREEMENT:
                raise ValueError(f"{name}: a log-likelihood is {one}, and {other} by the first way")

    def rate(self, name: str, items: int) -> float:
        """Items a second, the median over the rounds."""
        return items / statistics.median(self.seconds[name])

    def ratios(self, name: str, others: list[str]) -> list[float]:
        """How many times as fast ``name`` was as the fastest of ``others``, round by round."""
        rounds = zip(self.seconds[name], *(self.seconds[other] for other in others), strict=True)
        return [min(those) / own for own, *those in rounds]


TREES, ROWS, WHOLE = "log-likelihoods", "log-likelihoods in padded rows", "whole task"
LIKELIHOODS, EVALUATION = (
    "log-likelihoods by lm-eval's hf, batch ",
    "whole evaluation by lm-eval's hf, batch ",
)


def measure_scoring(bench: ScoringBench, folder: Path) -> list[Measurement]:
    """Sentences a second, tokenisation included on every side; medians over the rounds.

    ``folder`` gets the exported model and the made-up pairs.

    Raises:
        ValueError: two ways to score a sentence differ.
    """
    torch.set_num_threads(bench.threads)
    paths = _files(bench, folder)
    config = MinimalPairsConfig(paths, good_field=GOOD, bad_field=BAD)
    task = MinimalPairs("pairs", config, folder / "cache")
    sentences = [text for _, text in task.texts()]
    tokenizer = _tokenizer(bench, sentences, folder)
    backbone = _backbone(bench)
    save_checkpoint(FusedModel(backbone, {}, media_loss=False, seed=0), tokenizer, folder / "model")
    model = TextOnly(backbone)
    rival = None
    if bench.hf_batches:
        from ablate.bench.scoring_harness import Harness

        rival = Harness(folder / "model", paths, sentences, bench.hf_batches)
    contest = Contest()
    for _ in range(bench.rounds):
        contest.time(TREES, lambda: _scored(model, sentences, tokenizer))
        if rival is None:
            contest.time(ROWS, lambda: _scored(PaddedRows(model), sentences, tokenizer))
        else:
            rival.time(contest)
            contest.time(WHOLE, lambda: _whole_task(config, folder, model, tokenizer))
    return [*_rates(contest, len(sentences)), _sharing(sentences, tokenizer, model)]


def _files(bench: ScoringBench, folder: Path) -> list[str]:
    if bench.tasks:
        return [str(path) for path in expand_paths(list(bench.tasks))]
    return write_pairs(folder, bench.pairs, bench.vocabulary // 2)


def _tokenizer(bench: ScoringBench, sentences: list[str], folder: Path) -> TextTokenizer:
    if not bench.text:
        return train_tokenizer(sentences, bench.vocabulary, folder / "tokenizers", "sentences")
    documents = read_documents(expand_paths(list(bench.text)), "text", folder / "cache")
    texts = (document.text for document in documents)
    return train_tokenizer(texts, bench.vocabulary, folder / "tokenizers", "text")


def _backbone(bench: ScoringBench) -> Transformer:
    with seeded_init(0, "init/backbone"):
        backbone = Transformer(bench.model, bench.vocabulary)
    with torch.no_grad():
        for weight in backbone.parameters():
            if weight.ndim >= 2:
                weight.mul_(_SHARPER)
    return backbone


def _scored(model: TextOnly | PaddedRows, sentences: Sequence[str], tokenizer: TextTokenizer) -> list[float]:
    requests = [Request([tokenizer.bos], tokens) for tokens in tokenizer.encode(list(sentences))]
    return continuation_log_likelihoods(model, requests, tokenizer.pad, SCORING_ROWS)


def _whole_task(config: MinimalPairsConfig, folder: Path, model: TextOnly, tokenizer: TextTokenizer) -> None:
    MinimalPairs("pairs", config, folder / "cache").score(model, tokenizer, SCORING_ROWS)


def _rates(contest: Contest, items: int) -> Iterator[Measurement]:
    """Every way's rate, beside that of the fastest rival, and how far the ratio went from round to round."""
    for name, rivals in (
        (TREES, contest.starting(LIKELIHOODS) or [ROWS]),
        (WHOLE, contest.starting(EVALUATION)),
    ):
        if not rivals:
            continue
        rates = {rival: contest.rate(rival, items) for rival in rivals}
        yield Measurement(name, contest.rate(name, items), "sentences/s", max(rates.values()))
        for rival, rate in rates.items():
            yield Measurement(rival, rate, "sentences/s", 0.0)
        ratios = contest.ratios(name, rivals)
        for which, ratio in (("least", min(ratios)), ("largest", max(ratios))):
            yield Measurement(f"{name}, {which} ratio of {len(ratios)} rounds", ratio, "times", BAR)


def _sharing(sentences: Sequence[str], tokenizer: TextTokenizer, model: TextOnly) -> Measurement:
    """Positions that rows without padding would have, beside those that the trees have."""
    requests = [([tokenizer.bos], tokens) for tokens in tokenizer.encode(list(sentences))]
    trees = pack(requests, range(len(requests)), model.tree_nodes)
    nodes = sum(len(packed.tree.tokens) for packed in trees)
    return Measurement(
        "positions of all sentences, against those computed",
        sum(len(tokens) for _, tokens in requests),
        "positions",
        nodes,
    )
