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
    places: int
    """Runs of one device that share a GPU, or the cores."""
    ranks: tuple[int, int]
    """Devices that a run trains on, the least and the most."""


def _local(asked: Asked, work: Work) -> Executor:
    from ablate.executors.local import LocalExecutor
    from ablate.executors.placement import device_memory, visible_gpus

    gpus = visible_gpus()
    return LocalExecutor(asked.slots, work, gpus if len(gpus) > 1 else (), device_memory(), asked.places)


def _ray(asked: Asked, work: Work) -> Executor:
    from ablate.executors.placement import visible_gpus
    from ablate.executors.ray import Needs, RayExecutor

    needs = Needs(asked.threads, 1 / asked.places if visible_gpus() else 0.0)
    return RayExecutor(asked.address or "local", work, needs, asked.slots, asked.ranks)


EXECUTORS: dict[str, Callable[[Asked, Work], Executor]] = {"local": _local, "ray": _ray}


def build_executor(
    name: str,
    slots: int,
    threads: int,
    address: str = "",
    *,
    work: Work,
    places: int = 1,
    ranks: tuple[int, int] = (1, 1),
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
    return EXECUTORS[name](Asked(slots, threads, address, places, ranks), work)
