"""A copy of a trained backbone that a task may fine-tune."""

import copy

from torch import Tensor, nn

from ablate.model.transformer import Transformer
from ablate.train.device import device_type


class TrainableText(nn.Module):
    """A backbone with weights of its own; see `ablate.tasks.base.TrainableBackbone`."""

    def __init__(self, backbone: Transformer) -> None:
        """Copy ``backbone``, which keeps its weights and gradients."""
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(True)
        self.context_length = backbone.context_length
        self.vocabulary = backbone.vocabulary

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits float32[n, t, vocabulary] of tokens int64[n, t]."""
        return self.logits(self.hidden(tokens))

    def hidden(self, tokens: Tensor) -> Tensor:
        """Final hidden states float32[n, t, width] of tokens int64[n, t]."""
        return self.backbone.hidden(self.backbone.embed(tokens.to(device_type())), None, None)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits float32[..., vocabulary] of hidden float32[..., width]."""
        logits: Tensor = self.backbone.lm_head(hidden)
        return logits
