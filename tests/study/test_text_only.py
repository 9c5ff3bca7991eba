"""The backbone as tasks see it: over trees or in rows, the same fp32 log-likelihoods."""

import math
import random

import pytest
import torch

from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig
from ablate.study.run import TextOnly
from ablate.tasks.base import LogitModel, TreeModel
from ablate.tasks.errors import TaskError
from ablate.tasks.likelihood import (
    Request,
    Scored,
    continuation_log_likelihoods,
    greedy_log_likelihoods,
    token_log_likelihoods,
)
from ablate.tasks.packing import TokenTree

PAD, VOCABULARY, CONTEXT = 2, 97, 40


class Rows:
    """The same model without trees."""

    context_length, vocabulary = CONTEXT, VOCABULARY

    def __init__(self, model: TextOnly) -> None:
        self.model = model

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(tokens)


def text_only(scale: float = 0.25) -> TextOnly:
    config = ModelConfig(layers=2, width=32, heads=4, kv_heads=2, context_length=CONTEXT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = Transformer(config, VOCABULARY)
        for weight in backbone.parameters():
            torch.nn.init.normal_(weight, std=scale)
    return TextOnly(backbone)


@pytest.fixture(scope="module")
def model() -> TextOnly:
    return text_only()


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Pairs that differ in one token, choices of one question, long contexts to be cut, and repetitions."""
    draw = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(3, VOCABULARY) for _ in range(count)]

    found = []
    for _ in range(40):
        sentence = tokens(draw.randint(4, 16))
        changed = [*sentence]
        changed[-2] = draw.randrange(3, VOCABULARY)
        found += [Request([0], sentence), Request([0], changed)]
    for _ in range(15):
        question = [0, *tokens(draw.randint(0, 60))]
        found += [Request(question, tokens(draw.randint(1, 5))) for _ in range(4)]
    return [*found, *found[:7]]


def test_the_backbone_is_read_as_trees(model, requests) -> None:
    assert isinstance(model, TreeModel)
    assert not isinstance(Rows(model), TreeModel)
    positions = []
    model.backbone.model.embed_tokens.register_forward_hook(
        lambda _module, given, _found: positions.append(given[0].numel())
    )
    continuation_log_likelihoods(model, requests, PAD, 64)
    over_trees = sum(positions)
    positions.clear()
    continuation_log_likelihoods(Rows(model), requests, PAD, 64)
    assert over_trees < sum(positions) / 2


def test_trees_rows_and_one_token_at_a_time_agree(model, requests) -> None:
    over_trees = token_log_likelihoods(model, requests, PAD, 64)
    in_rows = token_log_likelihoods(Rows(model), requests, PAD, 64)
    for request, found, expected in zip(requests, over_trees, in_rows, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)
        assert len(found) == len(request.continuation)
    for index in range(0, len(requests), 13):
        request = requests[index]
        surplus = len(request.context) + len(request.continuation) - 1 - CONTEXT
        read = request.context[:1] + request.context[1 + max(0, surplus) :]
        for token, value in zip(request.continuation, over_trees[index], strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([read]))[0, -1].double()
            assert value == pytest.approx(float(logits[token] - logits.logsumexp(0)), abs=1e-5)
            read = [*read, token]


@pytest.mark.parametrize("way", [lambda model: model, Rows])
def test_scores_do_not_depend_on_batch_size_or_order(model, requests, way) -> None:
    reference = continuation_log_likelihoods(way(model), requests, PAD, 64)
    for batch_rows in (1, 7, 64):
        order = random.Random(batch_rows).sample(range(len(requests)), len(requests))
        found = continuation_log_likelihoods(
            way(model), [requests[index] for index in order], PAD, batch_rows
        )
        assert found == pytest.approx([reference[index] for index in order], abs=1e-5)


def test_no_tree_is_larger_than_the_rows_that_were_allowed(model, requests) -> None:
    sizes = []

    class Watched(TextOnly):
        def tree_states(self, tree: TokenTree) -> torch.Tensor:
            sizes.append(len(tree.tokens))
            return super().tree_states(tree)

    continuation_log_likelihoods(Watched(model.backbone), requests, PAD, 2)
    assert 2 * CONTEXT >= max(sizes) > CONTEXT


def greedily(model: LogitModel, request: Request) -> float:
    """The definition, one token at a time, for a model without exact ties."""
    read = [*request.context]
    for token in request.continuation:
        with torch.no_grad():
            if int(model(torch.tensor([read]))[0, -1].argmax()) != token:
                return 0.0
        read.append(token)
    return 1.0


@pytest.mark.parametrize("way", [lambda model: model, Rows])
def test_greedy_is_what_greedy_decoding_would_write(model, requests, way) -> None:
    draw = random.Random(1)
    asked = []
    for _ in range(20):
        context = [0, *(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(0, 9)))]
        written: list[int] = []
        for _ in range(3):
            with torch.no_grad():
                written.append(int(model(torch.tensor([context + written]))[0, -1].argmax()))
        asked += [
            Request(context, written),
            Request(context, [*written[:2], 3]),
            Request(context, written[:1]),
        ]
    found = greedy_log_likelihoods(way(model), [*asked, *requests[:40]], PAD, 7)
    assert [one.greedy for one in found] == [greedily(model, request) for request in [*asked, *requests[:40]]]
    assert sum(one.greedy for one in found) >= 40
    assert [one.log_likelihood for one in found] == pytest.approx(
        continuation_log_likelihoods(model, [*asked, *requests[:40]], PAD, 7), abs=1e-5
    )


@pytest.mark.parametrize("way", [lambda model: model, Rows])
def test_a_constant_model_writes_every_continuation_equally_often(requests, way) -> None:
    model = text_only(scale=0.0)
    for request, found in zip(requests, greedy_log_likelihoods(way(model), requests, PAD, 64), strict=True):
        assert found.log_likelihood == pytest.approx(-len(request.continuation) * math.log(VOCABULARY))
        assert found.greedy == pytest.approx(VOCABULARY ** -len(request.continuation), rel=1e-12)


def test_tokens_that_share_the_top_share_the_chance() -> None:
    class TwoOfEight:
        context_length, vocabulary = 16, 8

        def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(*tokens.shape, 8)
            logits[..., 3], logits[..., 5] = 2.0, 2.0 + 1e-7
            return logits

    asked = [Request([0], [3]), Request([0], [5, 3]), Request([0], [5, 4])]
    found = greedy_log_likelihoods(TwoOfEight(), asked, PAD, 4)
    assert [one.greedy for one in found] == [0.5, 0.25, 0.0]
    assert isinstance(found[0], Scored)


def test_a_diverged_backbone_is_not_scored() -> None:
    model = text_only()
    with torch.no_grad():
        model.backbone.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(TaskError, match=r"items:1.*diverged"):
        continuation_log_likelihoods(model, [Request([0, 4], [5], "items:1")], PAD, 4)


def test_weights_that_are_not_fp32_are_made_so(model) -> None:
    half = TextOnly(text_only().backbone.bfloat16())
    states = half.backbone(torch.tensor([[0, 3]]))
    assert states.dtype == torch.float32
    assert len(token_log_likelihoods(half, [Request([0], [3, 4])], PAD, 4)[0]) == 2
