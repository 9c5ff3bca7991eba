"""The backbone: a Llama-shaped decoder whose weights carry the names Hugging Face gives them."""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.model.attention import DocumentMask, attend, document_mask
from ablate.model.rotary import frequencies, scaling_of
from ablate.recipe.schema import ModelConfig, RotaryScaling

INIT_STD = 0.02


def mlp_width(config: ModelConfig) -> int:
    """Hidden width of the SwiGLU block: as given, or 8/3 of the width rounded up to a multiple of 64."""
    return config.mlp_width or -(-8 * config.width // (3 * 64)) * 64


class RotaryTable(nn.Module):
    """Cosines and sines of rotary positions (Su et al. 2021), halves rotated as Llama does."""

    def __init__(self, size: int, length: int, theta: float, scaling: RotaryScaling | None = None) -> None:
        super().__init__()
        frequency = frequencies(size, theta, scaling)
        angle = torch.arange(length, dtype=torch.float64).unsqueeze(1) * frequency
        angle = torch.cat([angle, angle], dim=-1)
        self.register_buffer("cosine", angle.cos().float(), persistent=False)
        self.register_buffer("sine", angle.sin().float(), persistent=False)

    def forward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine, each float[rows, 1, length, size], for position int64[rows, length]."""
        cosine, sine = self.get_buffer("cosine"), self.get_buffer("sine")
        return cosine[position].unsqueeze(1), sine[position].unsqueeze(1)


def rotary_table(config: ModelConfig) -> RotaryTable:
    """The rotary positions of a backbone, for its heads and context."""
    size = config.width // config.heads
    return RotaryTable(size, config.context_length, config.rope_theta, scaling_of(config))


def rotate(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn vectors [rows, heads, length, size] by their positions' angles."""
    low, high = vectors.chunk(2, dim=-1)
    turned = torch.cat([-high, low], dim=-1)
    return (vectors * cosine + turned * sine).to(vectors.dtype)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.size = config.width // config.heads
        kv_width = (config.kv_heads or config.heads) * self.size
        self.q_proj = nn.Linear(config.width, config.width, bias=False)
        self.k_proj = nn.Linear(config.width, kv_width, bias=False)
        self.v_proj = nn.Linear(config.width, kv_width, bias=False)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], mask: DocumentMask | None) -> Tensor:
        rows, length, _ = hidden.shape
        query, key, value = (
            projection(hidden).view(rows, length, -1, self.size).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(rotate(query, *rotary), rotate(key, *rotary), value, mask)
        projected: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, length, -1))
        return projected


class SwiGLU(nn.Module):
    """Gated MLP (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden = mlp_width(config)
        self.gate_proj = nn.Linear(config.width, hidden, bias=False)
        self.up_proj = nn.Linear(config.width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, config.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return projected


class Block(nn.Module):
    """Pre-norm attention, then pre-norm MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = SwiGLU(config)
        self.input_layernorm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.width, eps=config.norm_eps)

    def forward(self, hidden: Tensor, rotary: tuple[Tensor, Tensor], mask: DocumentMask | None) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), rotary, mask)
        update: Tensor = self.mlp(self.post_attention_layernorm(hidden))
        return hidden + update


class Decoder(nn.Module):
    """Embeddings, blocks and the final norm."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.rotary = rotary_table(config)

    def forward(self, embeddings: Tensor, position: Tensor, mask: DocumentMask | None) -> Tensor:
        rotary = self.rotary(position)
        hidden = embeddings
        for layer in self.layers:
            hidden = layer(hidden, rotary, mask)
        normed: Tensor = self.norm(hidden)
        return normed


class Transformer(nn.Module):
    """The text model. Its `state_dict` is that of `LlamaForCausalLM`."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        """Draw initial weights from torch's global CPU generator, which the caller seeds.

        Args:
            vocabulary: number of token ids, from the study's tokenizer.
        """
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.context_length = config.context_length
        self.model = Decoder(config, vocabulary)
        self.lm_head = nn.Linear(config.width, vocabulary, bias=False)
        self._draw_weights()
        if config.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def _draw_weights(self) -> None:
        """Normal weights; those that write to the residual stream shrink with depth (Radford et al. 2019)."""
        shrunk = INIT_STD / (2 * self.config.layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.ndim >= 2:
                nn.init.normal_(
                    weight, std=shrunk if name.endswith(("o_proj.weight", "down_proj.weight")) else INIT_STD
                )

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings float[rows, length, width] of tokens int64[rows, length]."""
        embedded: Tensor = self.model.embed_tokens(tokens)
        return embedded

    def hidden(self, embeddings: Tensor, document: Tensor | None, position: Tensor | None) -> Tensor:
        """Final hidden states float[rows, length, width].

        Args:
            embeddings: float[rows, length, width].
            document: int64[rows, length], or None where each row is one document.
            position: int64[rows, length], or None to count from 0 in each row.
        """
        mask = document_mask(document) if document is not None and self.config.document_mask else None
        if position is None:
            position = torch.arange(embeddings.shape[1], device=embeddings.device).unsqueeze(0)
        states: Tensor = self.model(embeddings, position, mask)
        return states

    def forward(
        self, tokens: Tensor, document: Tensor | None = None, position: Tensor | None = None
    ) -> Tensor:
        """Logits float[rows, length, vocabulary] of tokens int64[rows, length]."""
        logits: Tensor = self.lm_head(self.hidden(self.embed(tokens), document, position))
        return logits


def weights_digest(module: nn.Module) -> str:
    """Digest of all weights of ``module``: names, shapes and bits, in the order of the names."""
    digest = hashlib.blake2b(digest_size=16)
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
