"""Executors by name."""

from collections.abc import Callable
from dataclasses import dataclass

from ablate.executors.job import Work
from ablate.executors.schedule import Executor


class ExecutorError(ValueError):
    """An executor that is not known, or options that do not go with it."""


@dataclass(frozen=True)
class Asked:
    """What is asked of an executor."""

    slots: int
    """Runs at a time. Under `local` at least 1; under `ray` over the whole cluster, 0 for as many as fit."""
    threads: int
    """CPU threads of each run."""
    address: str
    """Of a Ray cluster."""
    per_gpu: int
    """Runs that share a GPU."""
    ranks: int
    """Devices that one run trains on."""


def _local(asked: Asked, work: Work) -> Executor:
    from ablate.executors.local import LocalExecutor
    from ablate.executors.placement import device_memory, visible_gpus

    gpus = visible_gpus()
    return LocalExecutor(asked.slots, work, gpus if len(gpus) > 1 else (), device_memory())


def _ray(asked: Asked, work: Work) -> Executor:
    from ablate.executors.placement import visible_gpus
    from ablate.executors.ray import Needs, RayExecutor

    gpus = 0.0
    if visible_gpus():
        gpus = float(asked.ranks) if asked.ranks > 1 else 1 / asked.per_gpu
    return RayExecutor(asked.address or "local", work, Needs(asked.threads * asked.ranks, gpus), asked.slots)


EXECUTORS: dict[str, Callable[[Asked, Work], Executor]] = {"local": _local, "ray": _ray}


def build_executor(
    name: str, slots: int, threads: int, address: str = "", *, work: Work, per_gpu: int = 1, ranks: int = 1
) -> Executor:
    """The executor called ``name``; see `Asked` for the other arguments. Close it when done.

    Raises:
        ExecutorError: the name is not known, or an address is given to an executor that has none.
        RayAddressError: no Ray cluster answers.
        ClusterError: no node of it has room for a run.
    """
    if name not in EXECUTORS:
        raise ExecutorError(f"--executor {name!r}: expected {' or '.join(EXECUTORS)}")
    if address and name != "ray":
        raise ExecutorError(f"--ray-address {address} goes with --executor ray")
    return EXECUTORS[name](Asked(slots, threads, address, per_gpu, ranks), work)
