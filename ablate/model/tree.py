"""The backbone over a tree of tokens: each node sees its ancestors and itself.

What many sequences begin with is computed once, and nothing is spent on padding in all that works position
by position: norms, projections, MLP. For attention the nodes, which stand depth first, are cut into spans.
What a node of a span sees is part of the span itself and of the path to its first node, so a span attends to
these alone, under a mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ablate.model.attention import attend
from ablate.model.products import Product, product
from ablate.model.transformer import Block, Transformer

SHORTEST_SPAN, LONGEST_SPAN = 32, 128
"""Nodes of a span: a quarter of the deepest position, within these bounds. A long one computes much that is
masked, a short one reads its path for few nodes."""


@dataclass(frozen=True)
class Spans:
    """Spans with paths of about one length."""

    members: Tensor
    """int64[s]: which spans of the tree."""
    keys: Tensor
    """int64[s, k]: the nodes on the path to each span's first node, filled up with node 0, and the span's."""
    mask: Tensor
    """float32[s, 1, span, k]: 0 where a node sees a key, else minus infinity."""


def tree_spans(depth: NDArray[np.int64], span: int) -> Iterator[Spans]:
    """The spans of a tree, those with paths of like lengths together.

    Args:
        depth: int64[n], a multiple of ``span``: position of each node, depth first.
    """
    rows = depth.reshape(-1, span)
    paths = list(_paths(depth, span))
    widths = np.array([_padded(len(path)) for path in paths])
    for width in np.unique(widths):
        members = np.flatnonzero(widths == width)
        keys = np.zeros((len(members), width + span), dtype=np.int64)
        for row, member in enumerate(members):
            keys[row, : len(paths[member])] = paths[member]
        keys[:, width:] = members[:, None] * span + np.arange(span)
        seen = np.concatenate([_sees_path(rows[members], width), _sees_span(rows[members])], axis=2)
        mask = np.where(seen, np.float32(0), np.float32(-np.inf))
        yield Spans(torch.from_numpy(members), torch.from_numpy(keys), torch.from_numpy(mask).unsqueeze(1))


def _paths(depth: NDArray[np.int64], span: int) -> Iterator[list[int]]:
    """The ancestors of the first node of each span, from the root."""
    path: list[int] = []
    for node, place in enumerate(depth.tolist()):
        if node % span == 0:
            yield path[:place]
        path[place:] = [node]


def _padded(length: int) -> int:
    """``length`` or at most a quarter more (or up to 15): few different widths, all multiples of 16."""
    step = max(16, 1 << max(0, length.bit_length() - 3))
    return -(-length // step) * step


def _sees_path(rows: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """bool[s, span, width]: an ancestor of the first node is one of a later node as long as no node up to
    there is as high as it or higher."""
    highest = np.minimum.accumulate(rows, axis=1)
    found: NDArray[np.bool_] = highest[:, :, None] > np.arange(width)
    return found


def _sees_span(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[s, span, span]: node j is an ancestor of node i after it if all from j + 1 to i are deeper."""
    span = rows.shape[1]
    after = np.tri(span, k=-1, dtype=bool)
    deepest = rows.max() + 1
    # highest[s, j, i] is the least depth of the nodes j + 1 to i.
    highest = np.minimum.accumulate(np.where(after.T, rows[:, None, :], deepest), axis=2)
    below = (highest > rows[:, :, None]).transpose(0, 2, 1)
    found: NDArray[np.bool_] = (below & after) | np.eye(span, dtype=bool)
    return found


class _FixedBlock:
    """A block whose weights do not change any more, products of one input joined."""

    def __init__(self, block: Block) -> None:
        attention, mlp = block.self_attn, block.mlp
        self.norms = block.input_layernorm, block.post_attention_layernorm
        self.size = attention.size
        self.query = _joined(attention.q_proj)
        self.key_value = _joined(attention.k_proj, attention.v_proj)
        self.write = _joined(attention.o_proj)
        self.gate, self.up, self.down = _joined(mlp.gate_proj), _joined(mlp.up_proj), _joined(mlp.down_proj)

    def __call__(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], groups: list[Spans]) -> Tensor:
        """States float[n, width] after the block."""
        hidden = self.write.plus(self._mixed(self.norms[0](hidden), rotary, groups), hidden)
        normed = self.norms[1](hidden)
        return self.down.plus(self.up.times(normed, self.gate.silu(normed)), hidden)

    def _mixed(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], groups: list[Spans]) -> Tensor:
        """What attention reads for each node: float[n, heads * size]."""
        nodes, span = len(hidden), groups[0].mask.shape[2]
        query = self.query(hidden).view(nodes, -1, self.size)
        key_value = self.key_value(hidden).view(nodes, -1, self.size)
        kv_heads = key_value.shape[1] // 2
        _turn(query, *rotary)
        _turn(key_value[:, :kv_heads], *rotary)
        spans, flat = query.view(nodes // span, span, -1, self.size), key_value.view(nodes, -1)
        mixed = torch.empty_like(spans)
        for group in groups:
            read = flat.index_select(0, group.keys.view(-1)).view(*group.keys.shape, 2 * kv_heads, self.size)
            key, value = read.transpose(1, 2).chunk(2, dim=1)
            asking = spans.index_select(0, group.members).transpose(1, 2)
            mixed[group.members] = attend(asking, key, value, group.mask).transpose(1, 2)
        return mixed.view(nodes, -1)


def _joined(*linears: nn.Linear) -> Product:
    assert all(linear.bias is None for linear in linears)
    weights = [linear.weight for linear in linears]
    return product(weights[0] if len(weights) == 1 else torch.cat(weights))


def _turn(vectors: Tensor, cosine: Tensor, signed_sine: Tensor) -> None:
    """Turn vectors [n, heads, size] in place by their positions' angles, as `ablate.model.transformer.rotate`
    does."""
    low, high = vectors.chunk(2, dim=-1)
    swapped = torch.cat([high, low], dim=-1)
    vectors.mul_(cosine).addcmul_(swapped, signed_sine)


class TreeForward:
    """Forward passes of a backbone over trees, for scoring."""

    def __init__(self, backbone: Transformer) -> None:
        self.backbone = backbone
        self._weights = list(backbone.parameters())
        self._versions: list[tuple[int, int]] = []
        self._blocks: list[_FixedBlock] = []
        self._head: Product | None = None

    @torch.inference_mode()
    def states(self, tokens: Tensor, depth: Tensor) -> Tensor:
        """Final hidden states float[n, width], on the backbone's device, of the n nodes of a tree.

        Args:
            tokens: int64[n], on the CPU.
            depth: int64[n], on the CPU: position of each node in its sequences. Nodes stand depth first.
        """
        self._prepare()
        decoder, nodes, device = self.backbone.model, len(tokens), self._weights[0].device
        span = min(LONGEST_SPAN, max(SHORTEST_SPAN, (1 << int(depth.max()).bit_length()) // 4))
        # The last span is filled up with roots, which nobody sees.
        tokens, depth = (F.pad(values, (0, -nodes % span)) for values in (tokens, depth))
        groups = [
            Spans(one.members.to(device), one.keys.to(device), one.mask.to(device))
            for one in tree_spans(depth.numpy(), span)
        ]
        cosine, sine = (table.squeeze(1) for table in decoder.rotary(depth.to(device).unsqueeze(1)))
        low, high = sine.chunk(2, dim=-1)
        rotary = cosine, torch.cat([-low, high], dim=-1)
        hidden = self.backbone.embed(tokens.to(device))
        for block in self._blocks:
            hidden = block(hidden, rotary, groups)
        states: Tensor = decoder.norm(hidden[:nodes])
        return states

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Logits float[m, vocabulary] of the token after nodes with ``states`` float[m, width], as `states`
        gave them."""
        assert self._head is not None, "logits are made of states"
        return self._head(states)

    def _prepare(self) -> None:
        """Take over the weights, again if they were changed since."""
        versions = [(weight.data_ptr(), weight._version) for weight in self._weights]
        if versions != self._versions:
            blocks = (block for block in self.backbone.model.layers if isinstance(block, Block))
            self._blocks = [_FixedBlock(block) for block in blocks]
            self._head = _joined(self.backbone.lm_head)
            self._versions = versions
