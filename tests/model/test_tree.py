"""A node of a tree gets what the backbone computes for its sequence alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.model import products
from ablate.model.products import OneDnnProduct, Product, product
from ablate.model.transformer import Transformer
from ablate.model.tree import TreeForward, tree_spans
from ablate.recipe.schema import ModelConfig
from ablate.tasks.packing import TokenTree, pack

SHAPES = {
    "plain": ModelConfig(layers=2, width=32, heads=2, context_length=24),
    "grouped queries, untied": ModelConfig(
        layers=2, width=32, heads=4, kv_heads=2, context_length=24, tied=False
    ),
}


def backbone(config: ModelConfig, seed: int = 0) -> Transformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(config, 50).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return model


def sequences(count: int = 40) -> list[list[int]]:
    """Of different lengths, many with a common beginning."""
    draw = random.Random(0)
    openings = [[0, *(draw.randrange(1, 50) for _ in range(length))] for length in (0, 3, 12)]
    return [
        draw.choice(openings) + [draw.randrange(1, 50) for _ in range(draw.randint(1, 11))]
        for _ in range(count)
    ]


def tree_of(found: list[list[int]]) -> TokenTree:
    requests = [(tokens[:1], [*tokens[1:], 1]) for tokens in found]
    (packed,) = pack(requests, range(len(found)), 10_000)
    return packed.tree


def states_of(forward: TreeForward, tree: TokenTree) -> torch.Tensor:
    return forward.states(tree.tokens, tree.depth)


def paths_of(depth: list[int]) -> list[list[int]]:
    """The nodes from the root down to each node, itself included, by the order depth first."""
    found: list[list[int]] = []
    path: list[int] = []
    for node, place in enumerate(depth):
        path = [*path[:place], node]
        found.append(path)
    return found


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_each_sequence_alone(shape, onednn, monkeypatch) -> None:
    if onednn and not products._has_onednn():
        pytest.skip("this PyTorch has no oneDNN operators")
    monkeypatch.setattr(products, "_has_onednn", lambda: onednn)
    model, found = backbone(SHAPES[shape]), sequences()
    forward, tree = TreeForward(model), tree_of(found)
    logits = forward.logits(states_of(forward, tree))
    assert len(tree.tokens) < sum(map(len, found)) / 1.5
    for nodes in paths_of(tree.depth.tolist()):
        with torch.no_grad():
            alone = model(tree.tokens[nodes].unsqueeze(0))[0]
        torch.testing.assert_close(logits[nodes], alone, rtol=1e-4, atol=1e-5)


@st.composite
def depths(draw) -> list[int]:
    """Of the nodes of a tree with one or more roots, depth first."""
    found = [0]
    for _ in range(draw(st.integers(0, 70))):
        found.append(draw(st.integers(0, found[-1] + 1)))
    return found + [0] * (-len(found) % 8)


@settings(max_examples=40)
@given(depths())
def test_a_node_sees_its_path_and_nothing_else(depth) -> None:
    paths, seen = paths_of(depth), {}
    for group in tree_spans(np.array(depth), 8):
        for member, keys, mask in zip(group.members.tolist(), group.keys, group.mask[:, 0], strict=True):
            assert set(mask.unique().tolist()) <= {0.0, -torch.inf}
            for row in range(8):
                seen[member * 8 + row] = keys[mask[row] == 0].tolist()
    assert [seen[node] for node in range(len(depth))] == paths


def test_a_long_path_is_read_in_few_widths() -> None:
    depth = np.arange(4096)
    widths = [group.keys.shape[1] for group in tree_spans(depth, 128)]
    assert len(widths) <= 20
    assert max(widths) <= 1.25 * 4096 + 128
    assert all(width % 16 == 0 for width in widths)


def test_weights_that_were_trained_on_are_taken_over() -> None:
    model, tree = backbone(SHAPES["plain"]), tree_of(sequences())
    forward = TreeForward(model)
    before = states_of(forward, tree)
    assert torch.equal(states_of(forward, tree), before)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(2.0)
    after = states_of(forward, tree)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, states_of(TreeForward(model), tree))


def test_products_by_onednn_are_those_of_pytorch() -> None:
    if not products._has_onednn():
        pytest.skip("this PyTorch has no oneDNN operators")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weight, values, other = torch.randn(40, 24), torch.randn(7, 24), torch.randn(7, 40)
    fast, plain = product(weight), Product(weight)
    assert isinstance(fast, OneDnnProduct)
    for found, expected in (
        (fast(values), plain(values)),
        (fast.silu(values), plain.silu(values)),
        (fast.times(values, other), plain.times(values, other)),
        (fast.plus(values, other), plain.plus(values, other)),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert type(product(weight.double())) is Product


def test_an_installation_whose_operators_went_uses_pytorchs(monkeypatch) -> None:
    def gone(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(OneDnnProduct, "__init__", gone)
    products._has_onednn.cache_clear()
    try:
        assert type(product(torch.ones(8, 4))) is Product
    finally:
        monkeypatch.undo()
        products._has_onednn.cache_clear()
