"""How many runs share a device: as many as fit its memory and gain by it, as was measured."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ablate.recipe.schema import Recipe
from ablate.whole_file import write_whole

MEMORY_SHARE = 0.9
"""Share of a device's memory that runs may fill together."""


@dataclass(frozen=True)
class Shared:
    """A measurement: some runs at a time on one device."""

    runs: int
    threads: int
    """CPU threads of each."""
    rate: float
    """Steps a second of all of them together."""
    peak_bytes: int
    """Most memory of one of them."""


class PlacementError(ValueError):
    """A measurement in the cache that cannot be read; names the file."""


def fitting(peak_bytes: int, memory: int) -> int:
    """Runs of ``peak_bytes`` that fit ``memory`` bytes, at least 1; 0 where either is unknown."""
    if not peak_bytes or not memory:
        return 0
    return max(1, int(MEMORY_SHARE * memory / peak_bytes))


def best_runs(measured: Sequence[Shared], memory: int) -> int:
    """Runs at a time with the highest rate among those that fit; the fewest of equal ones."""
    fit = [one for one in measured if one.runs == 1 or one.runs <= fitting(one.peak_bytes, memory)]
    return max(fit, key=lambda one: (one.rate, -one.runs)).runs


def placement_key(recipe: Recipe, threads: int) -> dict[str, Any]:
    """What a measurement holds for: device, library, and whatever in the recipe shapes a step.

    Args:
        threads: of each run, as asked for; 0 shares the cores among the runs.
    """
    import torch

    train = asdict(recipe.train)
    shaping = ("rows", "microbatch_rows", "precision", "compile", "data_workers", "devices", "strategy")
    return {
        "device": device_name(),
        "torch": torch.__version__,
        "cores": cores(),
        "threads": threads,
        "model": asdict(recipe.model),
        "vocabulary": recipe.tokenizer.vocabulary,
        "train": {name: train[name] for name in shaping if name in train},
        "encoders": {name: [stream.encoder, stream.also] for name, stream in recipe.streams.items()},
        "arms": {name: [arm.mixture, arm.media_loss] for name, arm in recipe.arms.items()},
    }


def _path(cache: Path, key: dict[str, Any]) -> Path:
    text = json.dumps(key, sort_keys=True)
    return cache / "placement" / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"


def write_placement(cache: Path, key: dict[str, Any], measured: Sequence[Shared]) -> Path:
    """Keep a measurement; the file that holds it."""
    path = _path(cache, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"holds_for": key, "measured": [asdict(one) for one in measured]}
    write_whole(path, json.dumps(found, indent=1) + "\n")
    return path


def read_placement(cache: Path, key: dict[str, Any]) -> list[Shared]:
    """The measurement for ``key``; empty where there is none.

    Raises:
        PlacementError: there is one that cannot be read.
    """
    path = _path(cache, key)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return [Shared(**one) for one in raw["measured"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise PlacementError(
            f"{path}: not a measurement of slots ({error}); delete it and run `ablate bench slots` again"
        ) from error


def runs_per_device(recipes: Sequence[Recipe], cache: Path, threads: int = 0) -> int:
    """Runs at a time on one device: as measured, else one per core or one per GPU.

    A measurement is one of `ablate bench slots`; it holds for the recipes of its shapes. Of several recipes,
    the one that needs the fewest runs at a time decides.

    Raises:
        PlacementError: a measurement cannot be read.
    """
    found = [read_placement(cache, placement_key(recipe, threads)) for recipe in recipes]
    return min(best_runs(one, device_memory()) if one else default_runs() for one in found)


def places_per_device(recipes: Sequence[Recipe], cache: Path, threads: int = 0, slots: int = 0) -> int:
    """Places of each GPU of this machine, or of its cores, see `ablate.executors.room.Room`.

    Args:
        slots: runs at a time that are asked for; 0 leaves it to what was measured of runs of one device.

    Raises:
        PlacementError: a measurement cannot be read.
    """
    gpus = len(visible_gpus())
    if slots:
        return -(-slots // gpus) if gpus else slots * rank_range(recipes)[1]
    narrow = [recipe for recipe in recipes if recipe.train.devices == 1]
    return runs_per_device(narrow, cache, threads) if narrow else default_runs()


def runs_here(recipes: Sequence[Recipe], cache: Path, threads: int = 0) -> int:
    """Runs at a time on all devices of this machine, of those that train on most; such a run has its GPUs to
    itself.

    Raises:
        PlacementError: a measurement cannot be read.
    """
    gpus, ranks = len(visible_gpus()), rank_range(recipes)[1]
    if ranks > 1:
        return max(1, (gpus or cores()) // ranks)
    return runs_per_device(recipes, cache, threads) * max(1, gpus)


def rank_range(recipes: Sequence[Recipe]) -> tuple[int, int]:
    """Devices of a node that a run of these recipes trains on: the least and the most."""
    found = [recipe.train.devices for recipe in recipes]
    return min(found), max(found)


def default_runs() -> int:
    """Runs at a time on one device of which nothing was measured."""
    return 1 if visible_gpus() else cores()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Ids of the GPUs that runs may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def device_name() -> str:
    """What runs train on: the GPU's name, or the processor's architecture."""
    import platform

    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


def device_memory() -> int:
    """Bytes of one GPU, or of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:  # a container may have less
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return physical
