"""LAMBADA (Paperno et al. 2016): the last word of a passage that only the whole passage gives away.

The passage is parted at its last space, as lm-evaluation-harness does.
"""

from math import log
from typing import ClassVar

from ablate.tasks.base import LogitModel, MetricInfo, TaskResult, Tokenizer
from ablate.tasks.choice_items import Choice, ChoiceItem
from ablate.tasks.choice_scores import BITS_PER_BYTE
from ablate.tasks.choices import ChoiceTask
from ablate.tasks.errors import TaskError
from ablate.tasks.json_lines import Line
from ablate.tasks.likelihood import greedy_log_likelihoods, truncate_contexts


class Lambada(ChoiceTask):
    """Does the model write the last word?"""

    kind = "lambada"
    version = 1
    metrics: ClassVar[dict[str, MetricInfo]] = {
        "accuracy": MetricInfo(
            True,
            "share of items",
            "every token of the word has the largest logit at its place; a tie of k counts 1/k",
        ),
        "nats": MetricInfo(
            False,
            "nats per word",
            "negative log-likelihood of the word; exp of it is lm-evaluation-harness's perplexity",
        ),
        BITS_PER_BYTE: MetricInfo(
            False, "bits per UTF-8 byte", "negative log2-likelihood of all words over their bytes"
        ),
    }
    prompt = '"{text up to its last space}" + " {last word}"'
    source = "zenodo.org/record/2630551; cimec/lambada or EleutherAI/lambada_openai on the Hub"
    chance_level = "accuracy: mean of vocabulary ** -tokens; the others: log(vocabulary) a token"
    fewest_choices = 1

    def item(self, line: Line) -> ChoiceItem:
        context, space, word = line.filled("text").rpartition(" ")
        if not space or not context.strip() or not word.strip():
            raise TaskError(f"{line.where}: text does not end in a space and a word, so there is none to ask")
        return ChoiceItem(
            id=line.identifier(""),
            where=line.where,
            choices=(Choice(context, f" {word}", word),),
            label=0,
        )

    def shown(self, item: ChoiceItem) -> str:
        """With two spaces before the word: in worked examples lm-evaluation-harness puts its delimiter before
        a target that opens with a space."""
        return f"{item.right.context} {item.right.continuation}"

    def levels(self, item: ChoiceItem) -> dict[str, float]:
        """None: they depend on the tokenizer, see `score`."""
        return {}

    def score(self, model: LogitModel, tokenizer: Tokenizer, batch_rows: int) -> TaskResult:
        """Score every word; see `Task.score`."""
        requests, cut = truncate_contexts(self.requests(tokenizer), model.context_length)
        found = greedy_log_likelihoods(model, requests, tokenizer.pad, batch_rows)
        tokens = [[len(request.continuation)] for request in requests]
        rows = [{"accuracy": one.greedy, "nats": -one.log_likelihood} for one in found]
        knows_nothing = [constant_model(count, model.vocabulary) for (count,) in tokens]
        sums = [[one.log_likelihood] for one in found]
        scores, frame = self._aggregate(rows, knows_nothing, sums, tokens, model.vocabulary)
        return TaskResult(scores, frame, self._notes(cut, len(requests), model.context_length))


def constant_model(tokens: int, vocabulary: int) -> dict[str, float]:
    """Metric to what a model with constant logits scores on a word of so many tokens."""
    return {"accuracy": float(vocabulary) ** -tokens, "nats": tokens * log(vocabulary)}
