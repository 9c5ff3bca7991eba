"""Train one run, in this process or over several ranks: from a job to a trained backbone."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ablate.budget.plan import Plan, plan_study
from ablate.executors.job import Job
from ablate.materials import Materials, build_mixture, prepare
from ablate.model.build import build_model
from ablate.model.features import attach_features
from ablate.model.fusion import FusedModel
from ablate.model.huggingface import load_backbone, save_checkpoint
from ablate.model.transformer import Transformer, weights_digest
from ablate.recipe.arms import arm_train
from ablate.study.identity import run_identity
from ablate.study.nodes import Node, announced, this_node
from ablate.study.store import StoreError
from ablate.train.callbacks import Progress
from ablate.train.device import device_type
from ablate.train.fit import Fit, fit
from ablate.train.parallel import joined
from ablate.train.ranks import ALONE, Rank, meeting_point, node_ranks, ranks_of, refuse_unable, run_ranks
from encoders.base import Encoder

PRELOAD = ("ablate.study.training",)
"""What the ranks of a node import once for all of them."""


@dataclass(frozen=True)
class Trained:
    """What a run's training leaves behind, beside the model in the run's folder."""

    fit: Fit
    initial: str
    """Digest of the initial backbone."""
    final: str
    """Digest of the trained backbone."""
    notes: list[str]
    """What encoders saw before this run."""


def planned(job: Job) -> tuple[Materials, Plan]:
    """The data and the plan of a job, from the cache.

    Raises:
        StoreError: they are not those that the job was planned with.
    """
    materials = prepare(job.recipe, job.cache)
    plan = next(plan for plan in plan_study(materials) if plan.arm.name == job.arm)
    identity = run_identity(materials, plan, job.seed)
    if identity != job.identity:
        raise StoreError(
            f"{job.arm} seed {job.seed}: the data or the installation changed since the study was planned "
            f"(identity {job.identity[:12]} became {identity[:12]}); run the study again"
        )
    return materials, plan


def train_run(
    job: Job,
    materials: Materials,
    plan: Plan,
    folder: Path,
    report: Callable[[Progress], None] | None,
) -> tuple[Transformer, Trained]:
    """Train one run, go on from the checkpoint in ``folder`` if there is one, and save the model there.

    Raises:
        RankError: this machine has not the devices that the recipe asks for, or a rank was lost.
    """
    config = job.recipe.train
    if ranks_of(config) == 1:
        model, trained = _train(job, materials, plan, folder, report, ALONE)
        return model.backbone, trained
    node = this_node() if config.nodes > 1 else Node()
    refuse_unable(config, device_type(), torch.cuda.device_count(), node.nodes)
    body = functools.partial(train_rank, job, folder)
    with meeting_point(config) as port, announced(job, node, folder, port) as all_there:
        ranks = node_ranks(config, 0, "127.0.0.1", port)
        trained = run_ranks(body, ranks, report, preload=PRELOAD, goes_on=all_there)
    return load_backbone(materials.recipe.model, materials.vocabulary, folder / "model"), trained


def train_rank(
    job: Job, folder: Path, rank: Rank, report: Callable[[Progress], None] | None = None
) -> Trained:
    """One rank's part of a run: everything is prepared anew, from the cache, and nothing is sent around.

    Rank 0 saves the model; only what it returns is whole.
    """
    torch.set_num_threads(job.threads)
    with joined(rank):
        materials, plan = planned(job)
        return _train(job, materials, plan, folder, report if rank.number == 0 else None, rank)[1]


def _train(
    job: Job,
    materials: Materials,
    plan: Plan,
    folder: Path,
    report: Callable[[Progress], None] | None,
    rank: Rank,
) -> tuple[FusedModel, Trained]:
    recipe, arm = materials.recipe, plan.arm
    model = build_model(recipe, arm, materials.vocabulary, job.seed)
    initial = weights_digest(model.backbone)
    mixture = build_mixture(materials, arm, job.seed)
    attach_features(model.to(device_type()), mixture, job.cache, media_loss=arm.media_loss > 0)
    result = fit(
        model,
        mixture,
        arm_train(recipe, arm),
        steps=plan.steps,
        media_loss=arm.media_loss,
        flops_per_step=sum(plan.flops_per_step.values()),
        folder=folder,
        report=report,
        rank=rank,
    )
    if rank.number > 0:
        return model, Trained(replace(result, whole=None), initial, "", [])
    if result.whole is not None:
        model = build_model(recipe, arm, materials.vocabulary, job.seed)
        model.load_state_dict(result.whole)
        result = replace(result, whole=None)
    save_checkpoint(model, materials.tokenizer, folder / "model")
    final = weights_digest(model.backbone)
    return model, Trained(result, initial, final, pretraining_notes(model.encoders))


def pretraining_notes(encoders: Mapping[str, Encoder] | nn.ModuleDict) -> list[str]:
    """What encoders saw before this run: one that read text before leaks language supervision."""
    return [
        f"the encoder of {name} was pretrained on {encoder.pretraining}"
        for name, encoder in encoders.items()
        if isinstance(encoder, Encoder) and encoder.pretraining
    ]
