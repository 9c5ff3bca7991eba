"""The backbone over a tree of tokens: each node sees its ancestors and itself.

What many sequences begin with is computed once, in everything that works position by position (norms,
projections, MLP: nearly all of the arithmetic of short sequences), and nothing there is spent on padding.
Attention is computed along the paths from root to leaf, as plain causal attention: so every node gets what it
would get in a sequence of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ablate.model.attention import attend
from ablate.model.products import Product, product
from ablate.model.transformer import Block, Transformer


@dataclass(frozen=True)
class _Paths:
    """One group of paths of one width, on the model's device."""

    flat: Tensor
    """int64[p * w]: nodes, row by row; padding stands for node 0."""
    rows: int
    own: Tensor
    """int64[m]: slots of the next m nodes."""


class _FixedBlock:
    """A block whose weights do not change any more, its products joined where they read the same."""

    def __init__(self, block: Block) -> None:
        attention, mlp = block.self_attn, block.mlp
        self.norms = block.input_layernorm, block.post_attention_layernorm
        self.size = attention.size
        self.heads = attention.q_proj.out_features // self.size
        self.kv_heads = attention.k_proj.out_features // self.size
        self.read = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
        self.write = _joined(attention.o_proj)
        self.gate, self.up, self.down = _joined(mlp.gate_proj), _joined(mlp.up_proj), _joined(mlp.down_proj)

    def __call__(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], groups: Sequence[_Paths]) -> Tensor:
        """States float[n, width] after the block."""
        mixed = self._mixed(self.norms[0](hidden), rotary, groups)
        hidden = self.write.plus(mixed, hidden)
        normed = self.norms[1](hidden)
        return self.down.plus(self.up.times(normed, self.gate.silu(normed)), hidden)

    def _mixed(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], groups: Sequence[_Paths]) -> Tensor:
        """What attention reads for each node: float[n, heads * size]."""
        nodes, heads = len(hidden), (self.heads, self.kv_heads, self.kv_heads)
        states = self.read(hidden).view(nodes, sum(heads), self.size)
        _turn(states[:, : self.heads + self.kv_heads], *rotary)
        states = states.view(nodes, -1)
        mixed = states.new_empty(nodes, self.heads * self.size)
        start = 0
        for group in groups:
            along = states.index_select(0, group.flat).view(group.rows, -1, sum(heads), self.size)
            found = attend(*along.transpose(1, 2).split(heads, dim=1), None)
            stop = start + len(group.own)
            flat = found.transpose(1, 2).reshape(len(group.flat), -1)
            torch.index_select(flat, 0, group.own, out=mixed[start:stop])
            start = stop
        return mixed


def _joined(*linears: nn.Linear) -> Product:
    assert all(linear.bias is None for linear in linears)
    weights = [linear.weight for linear in linears]
    return product(weights[0] if len(weights) == 1 else torch.cat(weights))


def _turn(vectors: Tensor, cosine: Tensor, signed_sine: Tensor) -> None:
    """Turn vectors [n, heads, size] in place by their positions' angles, as `ablate.model.transformer.rotate`."""
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
    def states(self, tokens: Tensor, depth: Tensor, paths: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
        """Final hidden states float[n, width] of the n nodes of a tree.

        Args:
            tokens: int64[n], on the backbone's device, as all others.
            depth: int64[n], the node's position in its sequence.
            paths: int64[p, w] each: rows of nodes from root to leaf, filled up to the right with negative
                numbers.
            own: int64[m] for each of ``paths``: one slot, counted row by row, of each of the m nodes that are
                taken from there. Nodes are numbered in this order.
        """
        self._prepare()
        decoder = self.backbone.model
        cosine, sine = (table.view(len(tokens), 1, -1) for table in decoder.rotary(depth.unsqueeze(1)))
        low, high = sine.chunk(2, dim=-1)
        rotary = cosine, torch.cat([-low, high], dim=-1)
        groups = [
            _Paths(path.clamp(min=0).reshape(-1), len(path), slots)
            for path, slots in zip(paths, own, strict=True)
        ]
        hidden = self.backbone.embed(tokens)
        for block in self._blocks:
            hidden = block(hidden, rotary, groups)
        states: Tensor = decoder.norm(hidden)
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
