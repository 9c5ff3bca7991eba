"""Keys that recipes got after studies had been published and plans locked.

They are left out of a recipe's content while all keys of their group stand at their defaults, so that an
older recipe keeps its digest and its text.
"""

from dataclasses import MISSING, asdict, fields
from typing import Any

from ablate.recipe.schema import EndpointsConfig, TrainConfig, TuneConfig

GROUPS: tuple[tuple[str, type, tuple[str, ...]], ...] = (
    ("train", TrainConfig, ("average", "average_from", "average_half_life", "average_checkpoints")),
    ("train", TrainConfig, ("devices", "nodes", "strategy")),
    ("endpoints", EndpointsConfig, ("covariate", "covariate_slope", "baseline_seeds")),
)
"""Block, its dataclass, and keys that came together."""


def without_later_keys(content: dict[str, Any]) -> None:
    """Delete from ``content``, a recipe as plain values, every group of keys that says nothing."""
    for block, kind, names in GROUPS:
        default = {
            item.name: item.default if item.default_factory is MISSING else item.default_factory()
            for item in fields(kind)
            if item.name in names
        }
        if all(content[block][name] == default[name] for name in names):
            for name in names:
                del content[block][name]
    for arm in content["arms"].values():
        if not arm["train"]:
            del arm["train"]
    for stream in content["streams"].values():
        if not stream["max_tokens"]:
            del stream["max_tokens"]
    for task in content["tasks"].values():
        if task.get("kind") == "bits_per_byte" and task.get("part") == "1/1":
            del task["part"]
    if content["tune"] == asdict(TuneConfig()):
        del content["tune"]
    # What tuning picked is found, not stated: a tuned recipe is the one that was written.
    content.pop("picks", None)
