"""One arm's training step as a Lightning module."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor, nn

from ablate.data.batch import Batch
from ablate.data.mixture import Step, StepCounts
from ablate.model.fusion import FusedModel, LossSums
from ablate.recipe.schema import TrainConfig
from ablate.record import CurvePoint
from ablate.train.account import Account, is_digest_step
from ablate.train.device import is_compiled
from ablate.train.optim import build_optimizer, learning_rate
from ablate.train.parallel import shard
from ablate.train.ranks import RankError


class DivergedError(RuntimeError):
    """The loss is no longer a number; the run is recorded as diverged and shown."""


class PairedModule(L.LightningModule):
    """Trains a `FusedModel` on whole steps.

    One Lightning batch is one optimiser step: all microbatches of this rank. Losses are sums, divided by
    the counts of the global batch, so that accumulation and ranks change nothing but rounding. What is
    logged and accounted for is that of the global batch too, on every rank.
    """

    wants_to_save = False
    """Whether this rank asks for a checkpoint after the step at hand."""
    all_save = False
    """Whether a rank asked for one: they save together."""

    def __init__(
        self,
        model: FusedModel,
        config: TrainConfig,
        steps: int,
        media_loss: float,
        flops_per_step: int,
        *,
        sharded: bool = False,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.config = config
        self.steps = steps
        self.media_loss = media_loss
        self.flops_per_step = flops_per_step
        self.account = Account()
        self._to_shard = sharded
        # In a tuple, so that Lightning doesn't take the compiled form for a second model with weights.
        self._sums: tuple[Callable[[Batch], LossSums], ...] = (model,)

    def compile_sums(self) -> None:
        """Compute the loss sums with the compiled model from now on."""
        # Dynamo would cut the graph where DDP's buckets end, and cannot where attention is FlexAttention.
        torch._dynamo.config.optimize_ddp = False
        self._sums = (torch.compile(self.model),)

    def configure_model(self) -> None:
        """Shard the weights where the strategy does; Lightning may call this more than once."""
        if self._to_shard:
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"], compiled=is_compiled(self.config))
            self._to_shard = False

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.model, self.config)

    def on_train_start(self) -> None:
        self._began = time.monotonic() - self.account.wall_seconds
        self._refuse_disagreement()

    def training_step(self, batch: Step, batch_idx: int) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        rate = learning_rate(self.config, batch.number, self.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch, regressed = self._of_all_ranks(batch)
        text, media = self._backward(batch, regressed)
        log_now = (batch.number + 1) % self.config.log_every == 0 or batch.number + 1 == self.steps
        if not math.isfinite(float(text)):
            self._settle(now=True)
            raise DivergedError(f"the loss is {float(text)} at step {batch.number + 1} of {self.steps}")
        self._clip()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.account.enter(batch)
        self._settle()
        self.account.wall_seconds = time.monotonic() - self._began
        if log_now:
            self._enter_curve(float(text), float(media) if self.media_loss else None, rate)

    def _of_all_ranks(self, batch: Step) -> tuple[Step, int]:
        """``batch`` with the counts of the global batch, and the media positions regressed in all of it."""
        regressed = sum(
            int(media.present.sum()) * self.model.encoder(name).regressed_tokens
            for item in batch.microbatches
            for name, media in item.media.items()
        )
        if self.trainer.world_size == 1:
            self.all_save = self.wants_to_save
            return batch, regressed
        told = [*batch.counts.values(), regressed, int(self.wants_to_save)]
        *counts, regressed, saving = self._summed(torch.tensor(told, device=self.device)).tolist()
        self.all_save = saving > 0
        return replace(batch, counts=StepCounts(*counts)), regressed

    def _summed(self, values: Tensor) -> Tensor:
        """``values`` summed over the ranks."""
        total = self.trainer.strategy.reduce(values, reduce_op="sum")
        assert isinstance(total, Tensor)
        return total

    def _backward(self, batch: Step, regressed: int) -> tuple[Tensor, Tensor]:
        """Accumulate gradients over the microbatches; mean text and media loss of the global batch."""
        scored = batch.counts.scored_positions
        text_total = torch.zeros((), device=self.device)
        media_total = torch.zeros((), device=self.device)
        for place, microbatch in enumerate(batch.microbatches, 1):
            sums = self._sums[0](microbatch)
            text = sums.text / max(scored, 1)
            loss = text
            if self.media_loss:
                media = sums.media / max(regressed, 1)
                loss = loss + self.media_loss * media
                media_total += media.detach()
            # Data-parallel training averages gradients over ranks; the sum is what is wanted.
            # Gradients travel once a step, with its last microbatch.
            with self._gathering_later(place < len(batch.microbatches)):
                self.manual_backward(loss * self.trainer.world_size)
            text_total += text.detach()
        if self.trainer.world_size == 1:
            return text_total, media_total
        text_total, media_total = self._summed(torch.stack([text_total, media_total])).unbind()
        return text_total, media_total

    def _gathering_later(self, later: bool) -> AbstractContextManager[None]:
        strategy = self.trainer.strategy
        if later and isinstance(strategy, ParallelStrategy):
            context: AbstractContextManager[None] = strategy.block_backward_sync()
            return context
        return nullcontext()

    def _settle(self, *, now: bool = False) -> None:
        """Let the ranks tell one another of their rows where the account is about to be read, or ``now``."""
        account = self.account
        if self.trainer.world_size == 1:
            account.settle([account.part])
        elif now or self.all_save or account.steps == self.steps or is_digest_step(account.steps):
            parts: list[Any] = [None] * self.trainer.world_size
            dist.all_gather_object(parts, account.part)
            account.settle(parts)

    def _refuse_disagreement(self) -> None:
        """Refuse to train where the ranks stand at different steps, as on a disk that shows them different
        checkpoints."""
        if self.trainer.world_size == 1:
            return
        parts: list[Any] = [None] * self.trainer.world_size
        dist.all_gather_object(parts, self.account.steps)
        if len(set(parts)) > 1:
            raise RankError(
                f"the ranks of this run would go on from different steps, {sorted(set(parts))}: the nodes do "
                "not see the same store; put --store on a disk that all of them share"
            )

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
