"""Runs as tasks of a Ray cluster whose nodes share the store, the cache and this checkout by their paths."""

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ablate.executors import ray_task
from ablate.executors.attempt import attempt
from ablate.executors.environment import import_path, thread_variables
from ablate.executors.events import Event, Failed, Lost, Started
from ablate.executors.job import Job, Work
from ablate.executors.ray_probe import RayAddressError, check_address

NO_NODES_SECONDS = 300.0
"""How long runs wait for a node they fit on after all have gone."""
_NODES_SECONDS = 5.0
"""How long the list of nodes is believed."""


class ClusterError(ValueError):
    """The cluster has no node that a run fits on; says what a run needs."""


@dataclass(frozen=True)
class Needs:
    """What one run takes of a node."""

    cpus: int = 1
    gpus: float = 0.0
    """A fraction lets several runs share a GPU."""
    memory: int = 0
    """Bytes; 0 reserves none."""

    def of(self, ranks: int) -> "Needs":
        """What a run of ``ranks`` devices takes, if this is what one of one device does: GPUs of its own."""
        if ranks == 1:
            return self
        return Needs(self.cpus * ranks, float(ranks) if self.gpus else 0.0, self.memory * ranks)

    def asked(self) -> dict[str, float]:
        """Amounts by Ray's names of resources, without those of which nothing is asked."""
        amounts = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": float(self.memory)}
        return {name: amount for name, amount in amounts.items() if amount}

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs", f"{self.gpus:g} GPUs" if self.gpus else ""]
        parts.append(f"{self.memory / 2**30:.1f} GiB of memory" if self.memory else "")
        return ", ".join(part for part in parts if part)


def pack(wanted: Sequence[Needs], nodes: Sequence[Mapping[str, float]]) -> bool:
    """Whether nodes with these resources hold all of ``wanted`` at a time, the largest placed first."""
    left = [dict(node) for node in nodes]
    for needs in sorted(wanted, key=lambda one: (one.gpus, one.cpus, one.memory), reverse=True):
        asked = needs.asked()
        room = (node for node in left if all(node.get(name, 0) + 1e-9 >= of for name, of in asked.items()))
        node = next(room, None)
        if node is None:
            return False
        for name, amount in asked.items():
            node[name] -= amount
    return True


class RayExecutor:
    """Tasks of a Ray cluster.

    Ray itself tries nothing again: the schedule does, for every executor alike. A run reports through its
    lease in the store, which its node renews.

    Args:
        address: `local` starts Ray on this machine, `auto` finds the cluster that it is part of, `HOST:PORT`
            names one. This machine has to be one of its nodes.
        work: what a worker does with a job.
        needs: what a run of one device takes of a node.
        slots: runs at a time in the whole cluster; 0 takes as many as fit.
        ranks: devices that the runs to come train on, the least and the most.

    Raises:
        RayAddressError: Ray is not installed, or no cluster answers.
        ClusterError: no node has room for any run.
    """

    def __init__(
        self, address: str, work: Work, needs: Needs, slots: int = 0, ranks: tuple[int, int] = (1, 1)
    ) -> None:
        quiet_ray()
        if find_spec("ray") is None:
            raise RayAddressError(
                "--executor ray: Ray is not installed; pip install -c constraints.txt -e '.[ray]', or use "
                "--executor local"
            )
        if address != "local":
            os.environ.update(check_address(address))  # read when Ray is imported
        ray: Any = import_module("ray")
        self._ray = ray
        self.work = work
        self.needs = needs
        self.slots = slots
        self._running: dict[Any, Job] = {}
        self._nodes: list[dict[str, float]] = []
        self._counted, self._seen = 0.0, time.monotonic()
        self._own = address == "local"
        local: dict[str, Any] = (
            {"num_cpus": max(needs.of(ranks[1]).cpus * max(1, slots), os.cpu_count() or 1)}
            if self._own
            else {}
        )
        if self._own:
            local["include_dashboard"] = False
        ray.init(
            address=address,
            logging_level="ERROR",
            log_to_driver=False,
            **local,
        )
        ray.cloudpickle.register_pickle_by_value(ray_task)
        self._task = ray.remote(max_retries=0, scheduling_strategy="SPREAD")(ray_task.run_sent)
        try:
            self.refuse(ranks[0])
        except ClusterError:
            self.close()
            raise

    @property
    def reports(self) -> bool:
        """Runs report to the store alone."""
        return False

    def refuse(self, ranks: int) -> None:
        """Refuse runs of so many devices if no node has room for one.

        Raises:
            ClusterError: says what a run needs, and what the nodes have.
        """
        self._count()
        needs = self.needs.of(ranks)
        if not pack([needs], self._nodes):
            sizes = "; ".join(_described(node) for node in self._nodes) or "none"
            raise ClusterError(f"no node of the Ray cluster has room for a run ({needs}); its nodes: {sizes}")

    def fits(self, job: Job) -> bool:
        """Whether the nodes that are alive have room for it beside what runs, and a slot is free.

        Raises:
            ClusterError: nothing runs, and for `NO_NODES_SECONDS` there was no node with room.
        """
        now = time.monotonic()
        if now - self._counted > _NODES_SECONDS:
            self._count()
        wanted = [self.needs.of(one.recipe.train.devices) for one in (*self._running.values(), job)]
        room = pack(wanted, self._nodes)
        if room or self._running:
            self._seen = now
        elif now - self._seen > NO_NODES_SECONDS:
            raise ClusterError(
                f"for {NO_NODES_SECONDS:.0f} s no node of the Ray cluster had room for a run ({wanted[-1]}); "
                "what was saved is kept: run the same command again once there is one"
            )
        return room and (not self.slots or len(self._running) < self.slots)

    def _count(self) -> None:
        self._nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._counted = time.monotonic()

    def submit(self, job: Job) -> Started:
        """Make a task of ``job``."""
        sent = pickle.dumps((self.work, _absolute(job)))
        needs = self.needs.of(job.recipe.train.devices)
        task = self._task.options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory or None
        ).remote(sent, os.getcwd(), import_path().split(os.pathsep), _environment(job.threads))
        self._running[task] = job
        return Started(job, 0)

    def wait(self, timeout: float | None) -> list[Event]:
        """The ends of the tasks that have ended."""
        running = list(self._running)
        ended, _ = self._ray.wait(running, num_returns=1, timeout=timeout)
        if ended:  # and whatever else has ended
            ended, _ = self._ray.wait(running, num_returns=len(running), timeout=0)
        return [self._ended(self._running.pop(one), one) for one in ended]

    def _ended(self, job: Job, task: Any) -> Event:
        gone = self._ray.exceptions
        lost = (gone.WorkerCrashedError, gone.NodeDiedError, gone.OutOfMemoryError, gone.ObjectLostError)
        try:
            event: Event = pickle.loads(self._ray.get(task))
        except lost as error:
            self._counted = 0.0  # its node may be gone with it
            return Lost(job, f"its Ray worker is gone ({str(error).splitlines()[0].rstrip('.')})")
        except gone.RayError as error:
            return Failed(job, f"Ray could not run it: {getattr(error, 'cause', None) or error}")
        return event

    def cancel(self) -> None:
        """End every task."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=5)
        self._running.clear()

    def close(self) -> None:
        """Leave the cluster; one that was started for these runs ends."""
        self.cancel()
        self._ray.shutdown()


def quiet_ray() -> None:
    """Have Ray send nothing home and warn of no change to come; to be called before it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")


def _environment(threads: int) -> dict[str, str]:
    found = thread_variables(threads)
    if asked := os.environ.get("ABLATE_TRACEBACK"):
        found["ABLATE_TRACEBACK"] = asked
    return found


def _described(node: Mapping[str, float]) -> str:
    return (
        f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs, {node.get('memory', 0) / 2**30:.1f} GiB"
    )


def _absolute(job: Job) -> Job:
    return replace(job, store=job.store.absolute(), cache=job.cache.absolute())


def do_sent(sent: bytes, folder: str) -> bytes:
    """The body of a task. Paths in a recipe are relative to ``folder``, where the driver was started."""
    try:
        os.chdir(folder)
    except OSError as error:
        where = f"{folder}: {error.strerror} on node {os.uname().nodename}"
        raise FileNotFoundError(f"{where}; every node has to share the folder of the driver") from None
    work, job = pickle.loads(sent)
    return pickle.dumps(attempt(work, job, lambda progress: None))
