"""Small causal models and a byte tokenizer that the tests of the tasks share."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

VOCABULARY = 259


class ByteTokenizer:
    """Every UTF-8 byte is a token; ids 0 to 2 are BOS, EOS and padding."""

    bos, eos, pad = 0, 1, 2

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[3 + byte for byte in text.encode("utf-8")] for text in texts]


class TinyAttention(nn.Module):
    """One layer of causal attention with learned positions; random weights, sharp enough to differ."""

    def __init__(self, context_length: int = 32, vocabulary: int = VOCABULARY, seed: int = 0) -> None:
        super().__init__()
        self.context_length, self.vocabulary = context_length, vocabulary
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(vocabulary, 32)
            self.place = nn.Embedding(context_length, 32)
            self.mix = nn.Linear(32, 96)
            self.head = nn.Linear(32, vocabulary)
            nn.init.normal_(self.head.weight, std=0.7)
        self.rows_seen: list[tuple[int, int]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.rows_seen.append((tokens.shape[0], tokens.shape[1]))
        hidden = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        query, key, value = self.mix(hidden).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.head(hidden + attended)


class ConstantLogits:
    """Knows nothing: the same logit for every token everywhere."""

    def __init__(self, context_length: int = 32, vocabulary: int = VOCABULARY) -> None:
        self.context_length, self.vocabulary = context_length, vocabulary

    def __call__(self, tokens: Tensor) -> Tensor:
        return torch.full((*tokens.shape, self.vocabulary), 3.25)


class Bigram:
    """Logits depend on the token before alone: ``table`` float[vocabulary, vocabulary]."""

    def __init__(self, table: Tensor, context_length: int = 32) -> None:
        self.table, self.context_length, self.vocabulary = table, context_length, len(table)

    def __call__(self, tokens: Tensor) -> Tensor:
        return self.table[tokens]


def one_token_at_a_time(model: Any, context: list[int], continuation: list[int]) -> float:
    """log p(continuation | context) in nats, one forward pass a token, nothing padded or batched."""
    total = 0.0
    for index, token in enumerate(continuation):
        with torch.no_grad():
            logits = model(torch.tensor([[*context, *continuation[:index]]]))[0, -1].double()
        total += float(logits[token] - torch.logsumexp(logits, 0))
    return total


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture
def attention() -> Callable[..., TinyAttention]:
    return TinyAttention


@pytest.fixture
def constant() -> Callable[..., ConstantLogits]:
    return ConstantLogits


@pytest.fixture
def bigram() -> Callable[..., Bigram]:
    return Bigram


@pytest.fixture
def brute_force() -> Callable[..., float]:
    return one_token_at_a_time


@pytest.fixture
def write_rows() -> Callable[[Path, Iterable[Any]], str]:
    """Writes objects as JSON Lines and returns the path as text."""

    def write(path: Path, rows: Iterable[Any]) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write
