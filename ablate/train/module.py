"""One arm's training step as a Lightning module."""

import math
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from ablate.data.batch import Batch
from ablate.data.mixture import Step
from ablate.model.fusion import FusedModel, LossSums
from ablate.recipe.schema import TrainConfig
from ablate.record import CurvePoint
from ablate.train.account import Account
from ablate.train.optim import build_optimizer, learning_rate


class DivergedError(RuntimeError):
    """The loss is no longer a number; the run is recorded as diverged and shown."""


class PairedModule(L.LightningModule):
    """Trains a `FusedModel` on whole steps.

    One Lightning batch is one optimiser step: all microbatches of this rank. Losses are sums, divided by
    the counts of the global batch, so that accumulation and ranks change nothing but rounding.
    """

    def __init__(
        self, model: FusedModel, config: TrainConfig, steps: int, media_loss: float, flops_per_step: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.config = config
        self.steps = steps
        self.media_loss = media_loss
        self.flops_per_step = flops_per_step
        self.account = Account()
        # In a tuple, so that Lightning doesn't take the compiled form for a second model with weights.
        self._sums: tuple[Callable[[Batch], LossSums], ...] = (model,)

    def compile_sums(self) -> None:
        """Compute the loss sums with the compiled model from now on."""
        self._sums = (torch.compile(self.model),)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.model, self.config)

    def on_train_start(self) -> None:
        self._began = time.monotonic() - self.account.wall_seconds

    def training_step(self, batch: Step, batch_idx: int) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        rate = learning_rate(self.config, batch.number, self.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        text, media = self._backward(batch)
        log_now = (batch.number + 1) % self.config.log_every == 0 or batch.number + 1 == self.steps
        if not math.isfinite(float(text)):
            raise DivergedError(f"the loss is {float(text)} at step {batch.number + 1} of {self.steps}")
        self._clip()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.account.enter(batch)
        self.account.wall_seconds = time.monotonic() - self._began
        if log_now:
            self._enter_curve(float(text), float(media) if self.media_loss else None, rate)

    def _backward(self, batch: Step) -> tuple[Tensor, Tensor]:
        """Accumulate gradients over the microbatches; mean text and media loss of the global batch."""
        scored = batch.counts.scored_positions
        regressed = sum(
            int(media.present.sum()) * self.model.encoder(name).regressed_tokens
            for item in batch.microbatches
            for name, media in item.media.items()
        )
        scored, regressed = self._global_counts(scored, regressed)
        text_total = torch.zeros((), device=self.device)
        media_total = torch.zeros((), device=self.device)
        for microbatch in batch.microbatches:
            sums = self._sums[0](microbatch)
            text = sums.text / max(scored, 1)
            loss = text
            if self.media_loss:
                media = sums.media / max(regressed, 1)
                loss = loss + self.media_loss * media
                media_total += media.detach()
            # Data-parallel training averages gradients over ranks; the sum is what is wanted.
            self.manual_backward(loss * self.trainer.world_size)
            text_total += text.detach()
        return text_total, media_total

    def _global_counts(self, scored: int, regressed: int) -> tuple[int, int]:
        if self.trainer.world_size == 1:
            return scored, regressed
        counts = torch.tensor([scored, regressed], device=self.device)
        total = self.trainer.strategy.reduce(counts, reduce_op="sum")
        assert isinstance(total, Tensor)
        return int(total[0]), int(total[1])

    def _clip(self) -> None:
        """Clip the gradients of the backbone, each encoder and each media head apart, so that none shrinks
        another's."""
        if not self.config.clip:
            return
        nn.utils.clip_grad_norm_(self.model.backbone.parameters(), self.config.clip)
        for part in (*self.model.encoders.values(), *self.model.media_heads.values()):
            parameters = [weight for weight in part.parameters() if weight.requires_grad]
            if parameters:
                nn.utils.clip_grad_norm_(parameters, self.config.clip)

    def _enter_curve(self, text: float, media: float | None, rate: float) -> None:
        done = self.account.steps
        tokens = self.account.counts.text_tokens
        self.account.curve.append(CurvePoint(done, done * self.flops_per_step, tokens, text, media, rate))
        if self.loggers:
            values = {"loss": text, "learning_rate": rate, "text_tokens": float(tokens)}
            if media is not None:
                values["media_loss"] = media
            for logger in self.loggers:
                logger.log_metrics(values, step=done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["account"] = self.account.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.account = Account.from_state(checkpoint["account"])
