"""Train one run: from a model and a mixture to trained weights and an account."""

import logging
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor

from ablate.data.mixture import Mixture
from ablate.model.fusion import FusedModel
from ablate.recipe.schema import TrainConfig
from ablate.train.account import Account
from ablate.train.averaging import weight_average
from ablate.train.callbacks import Averaging, Checkpoint, Progress, ReportProgress
from ablate.train.device import device_type, is_compiled, precision
from ablate.train.module import DivergedError, PairedModule
from ablate.train.parallel import is_sharded, placement, whole_weights
from ablate.train.ranks import ALONE, Rank
from ablate.train.steps import StepData


@dataclass(frozen=True)
class Fit:
    """A run that has ended."""

    account: Account
    diverged: str
    """Why the run stopped short, or empty."""
    whole: dict[str, Tensor] | None = None
    """Where weights were sharded: all of them, on rank 0. The model holds shards and is no use to others."""


def _loggers(config: TrainConfig, folder: Path) -> list[Logger]:
    kinds = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
    return [kinds[name](save_dir=folder, name=name, version="") for name in config.loggers]


def _is_whole(checkpoint: Path) -> bool:
    """Whether training can go on from there: a file that a power cut has torn is as good as none, and would
    stand in the way of its run for ever. torch writes archives, whose end holds their table."""
    return checkpoint.is_dir() or zipfile.is_zipfile(checkpoint)


def fit(
    model: FusedModel,
    mixture: Mixture,
    config: TrainConfig,
    *,
    steps: int,
    media_loss: float,
    flops_per_step: int,
    folder: Path,
    report: Callable[[Progress], None] | None = None,
    watching: Sequence[L.Callback] = (),
    rank: Rank = ALONE,
) -> Fit:
    """Train ``model`` in place for ``steps`` steps, from the checkpoint in ``folder`` if there is one.

    With `train.average` it ends with the averaged weights; the checkpoint keeps the last ones beside them.

    Args:
        flops_per_step: charged FLOPs, for the loss curve's axis.
        folder: where checkpoint and logs of this run lie.
        report: called about once a second.
        watching: further callbacks, called after each step before a checkpoint is written.
        rank: which of the run's processes this is; within `ablate.train.parallel.joined` where there are
            several.
    """
    sharded = is_sharded(config, rank)
    module = PairedModule(model, config, steps, media_loss, flops_per_step, sharded=sharded)
    if is_compiled(config) and not sharded:
        module.compile_sums()
    data = StepData(mixture, steps, config.data_workers, lambda: module.account.steps)
    checkpoint = folder / "checkpoint.ckpt"
    average = weight_average(config, steps)
    averaging = [Averaging(average)] if average else []
    callbacks: list[L.Callback] = [*averaging, *watching, Checkpoint(checkpoint, config.checkpoint_every)]
    if report is not None:
        callbacks.append(ReportProgress(report))
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    # Deterministic kernels need no memory filled before it is written; filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    trainer = L.Trainer(
        accelerator=device_type(),
        **placement(config, rank, model),
        precision=precision(config),
        max_epochs=1,
        max_steps=steps,
        logger=_loggers(config, folder),
        callbacks=callbacks,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        deterministic=device_type() == "cpu",
        inference_mode=False,
    )
    diverged = ""
    with warnings.catch_warnings():
        # Lightning advises more loader workers whatever the rows cost; the recipe decides.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # Frozen trunks are in eval mode by design.
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
        # Which parameters a step uses may differ between arms; in some it is all of them.
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True.*")
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=str(checkpoint) if _is_whole(checkpoint) else None,
                weights_only=True,
            )
        except DivergedError as error:
            diverged = str(error)
    if average and not diverged:
        average.copy_to(model)
    whole = whole_weights(model) if sharded else None
    weights = model.parameters() if whole is None else whole.values()
    if not all(bool(weight.isfinite().all()) for weight in weights):
        diverged = diverged or f"weights are no numbers after step {module.account.steps} of {steps}"
    return Fit(module.account, diverged, whole)
