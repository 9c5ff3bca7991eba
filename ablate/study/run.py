"""One run: an arm and a seed, from plan to record."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ablate.budget.ledger import Ledger
from ablate.budget.plan import Plan
from ablate.executors.job import Job
from ablate.materials import Materials
from ablate.model.build import build_encoders
from ablate.model.huggingface import load_backbone
from ablate.model.pretrained import initial_notes
from ablate.model.transformer import Transformer
from ablate.model.tree import TreeForward
from ablate.recipe.load import recipe_digest
from ablate.recipe.schema import Recipe
from ablate.record import Pairing, RunRecord, Score
from ablate.study.identity import resolved_arm, used_digests
from ablate.study.lease import Lease, claim
from ablate.study.provenance import provenance
from ablate.study.states import keep_record
from ablate.study.store import Store, disk_errors
from ablate.study.trainable import TrainableText
from ablate.study.training import planned, pretraining_notes, train_run
from ablate.tasks.packing import TokenTree
from ablate.train.account import Account
from ablate.train.averaging import averaging_notes
from ablate.train.callbacks import Progress
from ablate.train.device import device_type
from ablate.train.fit import Fit
from ablate.train.ranks import ranks_of

SCORING_ROWS = 64
"""Sequences scored at a time; scores do not depend on it."""

TREE_NODES = {"cpu": 2048, "cuda": 16384}
"""Positions computed at a time: enough for efficient products, on a CPU few enough for its caches."""


class TextOnly:
    """The trained backbone as the tasks see it: text in, fp32 logits out, no media."""

    def __init__(self, backbone: Transformer) -> None:
        self.backbone = backbone.to(device_type()).float().eval()
        self.context_length = backbone.context_length
        self.vocabulary = backbone.vocabulary
        self.tree_nodes = TREE_NODES[device_type()]
        self._tree = TreeForward(self.backbone)

    def __call__(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.backbone(tokens.to(device_type()))
        return logits

    def trainable_copy(self) -> TrainableText:
        """A copy of the backbone for a task to fine-tune; this model keeps its weights."""
        return TrainableText(self.backbone)

    def tree_states(self, tree: TokenTree) -> Tensor:
        """Final hidden states float32[n, width] of the nodes of ``tree``."""
        return self._tree.states(tree.tokens, tree.depth)

    def tree_logits(self, states: Tensor) -> Tensor:
        """Logits float32[m, vocabulary] of ``states`` float32[m, width]."""
        return self._tree.logits(states)


def execute(job: Job, report: Callable[[Progress], None] | None = None) -> RunRecord:
    """Train and score one run, or return its record if it is finished.

    A run that was killed goes on from its last checkpoint. The record is written last.

    Raises:
        LeasedError: another process trains this run now.
        LeaseLostError: another process took the run over, as this one gave no sign of life.
    """
    torch.set_num_threads(job.threads)
    materials, plan = planned(job)
    store, identity = Store(job.store), job.identity
    folder = store.folder(identity)
    with disk_errors(job.store):
        record = store.record(identity)
        if record is None or not is_scored(record, materials):
            folder.mkdir(parents=True, exist_ok=True)
            with claim(folder) as lease:
                record = store.record(identity)  # by whoever had the lease before
                if record is None:
                    record = _train_and_score(job, materials, plan, identity, lease, report)
                elif not is_scored(record, materials):
                    record = _score_again(record, materials, plan, store, lease)
    return relabel(record, job.recipe, plan, materials)


def relabel(record: RunRecord, recipe: Recipe, plan: Plan, materials: Materials) -> RunRecord:
    """The record under this study's names and charges, with what its streams share with test items.

    A control's run of one identity is charged as whichever arm it mirrors in the study at hand. How overlap
    is counted is no part of the identity, so the store holds none.
    """
    per_step = sum(plan.flops_per_step.values())
    charged = plan.flops(record.spent.steps)
    once = sum(plan.flops_once.values())
    return dataclasses.replace(
        record,
        study=recipe.study,
        arm=plan.arm.name,
        mirrors=plan.arm.mirrors,
        recipe_digest=recipe_digest(recipe),
        planned=plan.ledger,
        spent=dataclasses.replace(record.spent, flops=charged),
        curve=[dataclasses.replace(point, flops=once + point.step * per_step) for point in record.curve],
        # Once each, also of a record that was labelled before.
        notes=list(dict.fromkeys([*record.notes, *materials.overlaps.notes(plan.arm.mixture)])),
    )


def is_scored(record: RunRecord, materials: Materials) -> bool:
    """Whether a run that has ended was scored on the tasks of this study, or has nothing to score."""
    tasks = {name: digest for name, digest in record.data_digests.items() if name.startswith("task/")}
    return record.status == "diverged" or tasks == _task_digests(materials)


def _score_again(
    record: RunRecord, materials: Materials, plan: Plan, store: Store, lease: Lease
) -> RunRecord:
    """Score a finished run on other tasks, from its checkpoint: nothing is trained."""
    recipe, folder = materials.recipe, lease.folder
    backbone = load_backbone(recipe.model, materials.vocabulary, folder / "model")
    scores, items, notes = score(backbone, materials)
    lease.check()
    data = {name: digest for name, digest in record.data_digests.items() if not name.startswith("task/")}
    data |= _task_digests(materials)
    items.to_parquet(store.items(record.identity, data), compression="zstd", index=False)
    encoders = build_encoders(recipe, plan.arm, record.seed)
    averaged = averaging_notes(recipe.train, plan.steps)
    notes = [*initial_notes(recipe.model), *pretraining_notes(encoders), *averaged, *notes]
    origin = {**record.provenance, "scored_at_commit": provenance()["commit"]}
    record = dataclasses.replace(record, scores=scores, data_digests=data, notes=notes, provenance=origin)
    lease.check()
    keep_record(store, record)
    return record


def _task_digests(materials: Materials) -> dict[str, str]:
    return {name: digest for name, digest in materials.digests.items() if name.startswith("task/")}


def _train_and_score(
    job: Job,
    materials: Materials,
    plan: Plan,
    identity: str,
    lease: Lease,
    report: Callable[[Progress], None] | None,
) -> RunRecord:
    recipe, folder, store = materials.recipe, lease.folder, Store(job.store)
    origin = provenance() | _ranks(recipe)
    backbone, trained = train_run(job, materials, plan, folder, _renewing(lease, report))
    result = trained.fit
    scores, items, notes = ({}, None, []) if result.diverged else score(backbone, materials)
    lease.check()
    if items is not None:
        items.to_parquet(store.items(identity, materials.digests), compression="zstd", index=False)
    averaged = [] if result.diverged else averaging_notes(recipe.train, plan.steps)
    notes = [*initial_notes(recipe.model), *trained.notes, *averaged, *notes]
    digests = (trained.initial, trained.final)
    record = _record(job, materials, plan, identity, digests, result, scores, origin, notes)
    lease.check()
    keep_record(store, record)
    (folder / "checkpoint.ckpt").unlink(missing_ok=True)
    return record


def _renewing(lease: Lease, report: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """``report`` after the lease has been told; a run whose lease is lost ends there."""

    def told(progress: Progress) -> None:
        lease.progress(progress.step, progress.steps, progress.loss, progress.seconds_left)
        if report is not None:
            report(progress)

    return told


def _ranks(recipe: Recipe) -> dict[str, Any]:
    """Over what a run was spread, where it was."""
    train = recipe.train
    if ranks_of(train) == 1:
        return {}
    return {"devices": train.devices, "nodes": train.nodes, "strategy": train.strategy}


def score(backbone: Transformer, materials: Materials) -> tuple[dict[str, Score], pd.DataFrame, list[str]]:
    """Score every task of the recipe: endpoints, item-level scores, disclosures."""
    model = TextOnly(backbone)
    scores: dict[str, Score] = {}
    frames: list[pd.DataFrame] = []
    notes: list[str] = []
    for task in materials.tasks.values():
        result = task.score(model, materials.tokenizer, SCORING_ROWS)
        scores.update(result.scores)
        frames.append(result.items)
        notes.extend(result.notes)
    items = pd.concat(frames, ignore_index=True)
    if "cluster" in items:
        items["cluster"] = items["cluster"].fillna("")
    return scores, items, notes


def _spent(plan: Plan, account: Account) -> Ledger:
    """The account of what was really run; one that stopped short read its share of the planned epochs."""
    counts = account.counts
    share = account.steps / plan.steps
    return Ledger(
        steps=account.steps,
        flops=plan.flops(account.steps),
        flops_executed=plan.executed_per_step * account.steps + plan.executed_once,
        positions=counts.positions,
        text_tokens=counts.text_tokens,
        caption_tokens=counts.caption_tokens,
        media_positions=counts.media_positions,
        scored_positions=counts.scored_positions,
        unique_text_tokens=round(min(plan.ledger.unique_text_tokens, counts.text_tokens)),
        text_epochs=plan.ledger.text_epochs * share,
        parameters=plan.ledger.parameters,
        repeated_tokens=counts.repeated_tokens,
        wall_seconds=round(account.wall_seconds, 2),
    )


def _record(
    job: Job,
    materials: Materials,
    plan: Plan,
    identity: str,
    digests: tuple[str, str],
    result: Fit,
    scores: dict[str, Score],
    origin: dict[str, Any],
    notes: list[str],
) -> RunRecord:
    if result.diverged:
        notes = [*notes, f"diverged: {result.diverged}"]
    return RunRecord(
        identity=identity,
        study=job.recipe.study,
        arm=plan.arm.name,
        seed=job.seed,
        status="diverged" if result.diverged else "finished",
        control=plan.arm.control,
        mirrors=plan.arm.mirrors,
        recipe_digest=recipe_digest(job.recipe),
        resolved=resolved_arm(materials, plan),
        data_digests={**used_digests(materials, plan), **_task_digests(materials)},
        pairing=Pairing(digests[0], result.account.proof()),
        planned=plan.ledger,
        spent=_spent(plan, result.account),
        skips=result.account.skips,
        curve=result.account.curve,
        scores=scores,
        final_weights=digests[1],
        provenance=origin,
        notes=notes,
    )
