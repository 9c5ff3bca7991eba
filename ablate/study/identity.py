"""Which run is which: the digest under which a finished run is found again."""

import dataclasses
import functools
import hashlib
import json
from typing import Any

import torch

from ablate.budget.plan import Plan
from ablate.data.content import hash_file
from ablate.materials import Materials, build_columns
from ablate.model.transformer import mlp_width
from ablate.recipe.arms import arm_train
from ablate.recipe.schema import ModelConfig, TrainConfig, without_media
from ablate.train.averaging import idle_settings
from ablate.train.device import device_type, is_compiled, precision
from ablate.train.ranks import ranks_of
from encoders.base import weights_file

RUN_FORMAT = 2
"""Raised whenever training changes meaning, so that older runs are not taken for new ones."""

_WITHOUT_EFFECT = {"checkpoint_every", "log_every", "loggers", "data_workers", "devices", "nodes", "strategy"}
"""Training settings that change no weight, or (the last three) only where there are several ranks."""

_STREAM_SETTINGS = {"modality", "encoder", "also", "documents", "order", "items_per_row", "part"}


def resolved_arm(materials: Materials, plan: Plan) -> dict[str, Any]:
    """Everything that determines the training of one arm, besides data and seed; no names, no paths.

    Settings stand as they take effect, so that writing out a default makes no other run of it.
    """
    recipe, arm = materials.recipe, plan.arm
    columns = build_columns(recipe, arm)
    config = arm_train(recipe, arm)
    train = dataclasses.asdict(config) | {
        "precision": precision(config),
        "compile": is_compiled(config),
        "microbatch_rows": config.microbatch_rows or config.rows,
    }
    idle = _WITHOUT_EFFECT | idle_settings(config)
    streams = {name: dataclasses.asdict(recipe.streams[name]) for name in arm.mixture}
    return {
        "model": _model(recipe.model),
        "train": {key: value for key, value in train.items() if key not in idle} | _ranks(config),
        "streams": {
            name: {key: _by_content(value) for key, value in stream.items() if key in _STREAM_SETTINGS}
            for name, stream in streams.items()
        },
        "rows": columns.per_microbatch,
        "microbatches": columns.microbatches,
        "text_period": columns.text_period,
        "steps": plan.steps,
        "media_loss": arm.media_loss,
        "control": arm.control,
    }


def _ranks(config: TrainConfig) -> dict[str, Any]:
    """Over how many ranks sums are taken, and how, where there are several: that is how they are rounded."""
    ranks = ranks_of(config)
    return {"ranks": ranks, "strategy": config.strategy} if ranks > 1 else {}


def _model(config: ModelConfig) -> dict[str, Any]:
    """The shapes of the backbone and, where it starts from a folder, the digest of its weights: not where it
    lies."""
    settings = dataclasses.asdict(config)
    del settings["init_from"]
    return settings | {"kv_heads": config.kv_heads or config.heads, "mlp_width": mlp_width(config)}


def _by_content(settings: Any) -> Any:
    """``settings`` with the path of every file of weights replaced by the digest of what it holds."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: _weights_digest(value, weights_file(value).stat().st_mtime_ns)
        if key == "weights" and value
        else _by_content(value)
        for key, value in settings.items()
    }


@functools.cache
def _weights_digest(path: str, modified: int) -> str:
    """Digest of a file of weights, read once a process for each time it was ``modified``."""
    return hash_file(weights_file(path))


def used_digests(materials: Materials, plan: Plan) -> dict[str, str]:
    """Digests of the tokenizer, of the streams that the arm reads, and of its media as they are decoded.

    The last, `decoded/<stream>`, follow the versions of the decoders; an arm that shows no media has none.
    """
    names = ["tokenizer", *(f"stream/{name}" for name in plan.arm.mixture)]
    digests = {name: materials.digests[name] for name in names}
    if without_media(plan.arm.control):
        return digests
    media = [materials.media[name] for name in plan.arm.mixture if name in materials.media]
    return digests | {f"decoded/{slot}": one.digest for each in media for slot, one in each.decoded.items()}


def run_identity(materials: Materials, plan: Plan, seed: int) -> str:
    """The identity of one run: 32 hexadecimal digits."""
    parts = {
        "arm": resolved_arm(materials, plan),
        "data": used_digests(materials, plan),
        "seed": seed,
        "run_format": RUN_FORMAT,
        "torch": torch.__version__,
        "device": device_type(),
    }
    if plan.libraries:
        parts["libraries"] = plan.libraries
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
