"""lm-evaluation-harness on the same model and sentences, timed as it comes."""

import contextlib
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM

from ablate.bench.pairs import BAD, GOOD
from ablate.bench.scoring import EVALUATION, LIKELIHOODS, Contest
from ablate.bench.timing import clock, wait
from ablate.train.device import device_type


class _Timed(HFLM):  # type: ignore[misc]
    """lm-eval's `hf` model, which remembers what it answered and how long that took."""

    seconds = 0.0

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        now = clock()
        began = now()
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm)
        wait()
        self.seconds = now() - began
        self.answers = {request.args[1]: value for request, (value, _) in zip(requests, found, strict=True)}
        return found


class Harness:
    """lm-eval's `hf` model of an exported folder at some batch sizes, in fp32, and the pairs as its tasks."""

    def __init__(
        self, model: Path, paths: Sequence[str], sentences: Sequence[str], batches: Sequence[int]
    ) -> None:
        self._sentences = sentences
        with contextlib.redirect_stderr(io.StringIO()):
            self._tasks = {Path(path).name: _task(Path(path), model.parent / "datasets") for path in paths}
            self._models = {
                batch: _Timed(str(model), device=device_type(), dtype="float32", batch_size=batch)
                for batch in batches
            }

    def time(self, contest: Contest) -> None:
        """Evaluate all tasks at each batch size.

        The evaluation's time begins once lm-eval has read the files, and is without samples and bootstrap;
        that of the log-likelihoods is the part of it that the model takes, tokenisation included.
        """
        for batch, model in self._models.items():
            contest.time(f"{EVALUATION}{batch}", partial(self._evaluated, model))
            contest.seconds.setdefault(f"{LIKELIHOODS}{batch}", []).append(model.seconds)

    def _evaluated(self, model: _Timed) -> list[float]:
        with contextlib.redirect_stderr(io.StringIO()):
            evaluate(model, {"tasks": self._tasks}, bootstrap_iters=0, log_samples=False)
        return [model.answers[sentence] for sentence in self._sentences]


def _task(path: Path, cache: Path) -> ConfigurableTask:
    """Minimal pairs as lm-eval's own BLiMP tasks put them."""
    return ConfigurableTask(
        config={
            "task": path.name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"validation": str(path)}, "cache_dir": str(cache)},
            "validation_split": "validation",
            "output_type": "multiple_choice",
            "doc_to_text": "",
            "doc_to_target": 0,
            "target_delimiter": "",
            "doc_to_choice": f"{{{{[{GOOD}, {BAD}]}}}}",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0},
        }
    )
