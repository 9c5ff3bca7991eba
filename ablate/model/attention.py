"""Causal attention that keeps the documents of a row apart."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DocumentMask = Any
"""A boolean mask for scaled dot-product attention, or a block mask for FlexAttention."""


def visible(document: Tensor) -> Tensor:
    """Which key each query may see: bool[rows, 1, length, length], from document int64[rows, length].

    A position sees the earlier positions of its own document and itself, so that padding (all of one
    number) never leaves a query without a key.
    """
    length = document.shape[1]
    same = document.unsqueeze(2) == document.unsqueeze(1)
    causal = torch.ones(length, length, dtype=torch.bool, device=document.device).tril()
    return (same & causal).unsqueeze(1)


@functools.cache
def _flex() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    return torch.compile(create_block_mask), torch.compile(flex_attention)


def document_mask(document: Tensor) -> DocumentMask:
    """The mask of `visible` in the form that serves the device best.

    On a GPU, FlexAttention skips the blocks that hold no visible pair; on CPU the dense mask is fastest.
    """
    if not document.is_cuda:
        return visible(document)
    rows, length = document.shape
    return _flex()[0](sees(document), rows, None, length, length, device=document.device)


def sees(document: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The rule of `visible` as FlexAttention asks for it: from (row, head, query, key) to a truth value."""

    def rule(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (document[row, query] == document[row, key])

    return rule


def attend(query: Tensor, key: Tensor, value: Tensor, mask: DocumentMask | None) -> Tensor:
    """Attention of query float[rows, heads, length, size] over key and value [rows, kv_heads, length, size].

    Without a mask it is plain causal attention.
    """
    grouped = key.shape[1] != query.shape[1]
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
    if isinstance(mask, Tensor):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=grouped)
    attended: Tensor = _flex()[1](query, key, value, block_mask=mask, enable_gqa=grouped)
    return attended
