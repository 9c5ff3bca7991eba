"""Fusion at the input: encoder tokens take the places of embeddings, then everything is one sequence."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablate.data.batch import UNSCORED, Batch, MediaBatch
from ablate.model.transformer import Transformer
from ablate.seeding import seeded_init
from encoders.base import Encoder


@dataclass(frozen=True)
class LossSums:
    """Sums over one microbatch; the caller divides by the counts of the global batch."""

    text: Tensor
    """Cross-entropy in nats, summed over scored positions: float32[]."""
    text_positions: Tensor
    """Scored positions: int64[]."""
    media: Tensor
    """Squared error of the next patch, a mean over its values, summed over media positions: float32[]."""
    media_positions: Tensor
    """Media positions regressed: int64[]."""


class FusedModel(nn.Module):
    """The backbone, and an encoder and a media head for each modality of each media stream."""

    def __init__(
        self, backbone: Transformer, encoders: dict[str, Encoder], *, media_loss: bool, seed: int
    ) -> None:
        """Wrap ``backbone``.

        Args:
            encoders: by stream, or `<stream>:<modality>`.
            media_loss: whether the next patch is regressed; the media heads exist in either case.
            seed: replicate, from which the media heads are drawn.
        """
        super().__init__()
        self.backbone = backbone
        self.media_loss = media_loss
        self.encoders = nn.ModuleDict(encoders)
        self.media_heads = nn.ModuleDict()
        for name, encoder in encoders.items():
            with seeded_init(seed, f"init/media_head/{name}"):
                self.media_heads[name] = nn.Linear(backbone.config.width, encoder.target_width)

    def embed(self, batch: Batch) -> Tensor:
        """Fused embeddings float[rows, context_length, width]: media encoded into their slots."""
        embeddings = self.backbone.embed(batch.tokens)
        if not batch.media:
            return embeddings
        rows, length, width = embeddings.shape
        # One row past the end takes the tokens of spare places, so that shapes never change.
        flat = torch.cat([embeddings.reshape(-1, width), embeddings.new_zeros(1, width)])
        for name, media in batch.media.items():
            encoded = self._encoded(name, media).to(flat.dtype)
            flat = flat.index_copy(0, media.slots.reshape(-1), encoded.reshape(-1, width))
        return flat[:-1].view(rows, length, width)

    def encoder(self, name: str) -> Encoder:
        """The encoder of a stream, or of `<stream>:<modality>`."""
        found = self.encoders[name]
        assert isinstance(found, Encoder)
        return found

    def _encoded(self, name: str, media: MediaBatch) -> Tensor:
        """float[items, tokens_per_item, width], from cached features where the batch has them."""
        encoder = self.encoder(name)
        if media.features is not None:
            return encoder.from_features(media.features)
        encoded: Tensor = encoder(media.values)
        return encoded

    def hidden(self, batch: Batch) -> Tensor:
        """Final hidden states float[rows, context_length, width]."""
        return self.backbone.hidden(self.embed(batch), batch.document, batch.position)

    def logits(self, batch: Batch) -> Tensor:
        """Logits float[rows, context_length, vocabulary]."""
        logits: Tensor = self.backbone.lm_head(self.hidden(batch))
        return logits

    def forward(self, batch: Batch) -> LossSums:
        """Loss sums of one microbatch."""
        hidden = self.hidden(batch)
        logits = self.backbone.lm_head(hidden)
        text = F.cross_entropy(
            logits.flatten(0, 1).float(), batch.labels.flatten(), ignore_index=UNSCORED, reduction="sum"
        )
        media, positions = text.new_zeros(()), torch.zeros((), dtype=torch.long, device=text.device)
        if self.media_loss:
            for name, item in batch.media.items():
                media = media + self._next_patch_error(name, item, hidden)
                positions = positions + item.present.sum() * self.encoder(name).regressed_tokens
        return LossSums(text, (batch.labels != UNSCORED).sum(), media, positions)

    def _next_patch_error(self, name: str, media: MediaBatch, hidden: Tensor) -> Tensor:
        """Summed error of regressing media tokens' patches from the position before each.

        Of tokens that hold one another's patches only the first is asked for: the others' answers stand
        in the input already (`Encoder.context_tokens`).
        """
        encoder = self.encoder(name)
        assert media.values is not None
        places = torch.cat([media.before.unsqueeze(1), media.slots[:, 1:] - 1], dim=1)
        before = hidden.flatten(0, 1)[places[:, :: encoder.context_tokens]]
        predicted = self.media_heads[name](before).float()
        wanted = encoder.targets(media.values)[:, :: encoder.context_tokens]
        error = (predicted - wanted).square().mean(dim=-1)
        total: Tensor = (error * media.present.unsqueeze(1)).sum()
        return total
