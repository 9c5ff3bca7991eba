"""Runs as tasks of a Ray cluster whose nodes share the store, the cache and this checkout by their paths."""

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
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

    def fit(self, node: Mapping[str, float]) -> int:
        """Runs that a node with these resources has room for."""
        asked = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": float(self.memory)}
        room = [node.get(name, 0.0) / amount for name, amount in asked.items() if amount]
        return int(min(room) + 1e-9)

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs", f"{self.gpus:g} GPUs" if self.gpus else ""]
        parts.append(f"{self.memory / 2**30:.1f} GiB of memory" if self.memory else "")
        return ", ".join(part for part in parts if part)


class RayExecutor:
    """Tasks of a Ray cluster.

    Ray itself tries nothing again: the schedule does, for every executor alike. A run reports through its
    lease in the store, which its node renews.

    Args:
        address: `local` starts Ray on this machine, `auto` finds the cluster that it is part of, `HOST:PORT`
            names one. This machine has to be one of its nodes.
        work: what a worker does with a job.
        needs: what a run takes of a node.
        slots: runs at a time in the whole cluster; 0 takes as many as fit.

    Raises:
        RayAddressError: Ray is not installed, or no cluster answers.
        ClusterError: no node has room for a run.
    """

    def __init__(self, address: str, work: Work, needs: Needs, slots: int = 0) -> None:
        quiet_ray()
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise RayAddressError(
                "--executor ray: Ray is not installed; pip install 'ablate[ray]', or use --executor local"
            ) from None
        if address != "local":
            check_address(address)
        self._ray = ray
        self.work = work
        self.needs = needs
        self.slots = slots
        self._running: dict[Any, Job] = {}
        self._capacity, self._counted, self._seen = 0, 0.0, time.monotonic()
        self._own = address == "local"
        local: dict[str, Any] = (
            {"num_cpus": max(needs.cpus * slots, os.cpu_count() or 1)} if self._own else {}
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
        self._task = ray.remote(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory or None,
            max_retries=0,
            scheduling_strategy="SPREAD",
        )(ray_task.run_sent)
        if not self._count():
            sizes = "; ".join(_described(node) for node in self._nodes()) or "none"
            self.close()
            raise ClusterError(f"no node of the Ray cluster has room for a run ({needs}); its nodes: {sizes}")

    @property
    def reports(self) -> bool:
        """Runs report to the store alone."""
        return False

    def free(self) -> int:
        """Runs that fit the nodes that are alive, and the slots asked for, beside those that run.

        Raises:
            ClusterError: nothing runs, and for `NO_NODES_SECONDS` there was no node with room.
        """
        now = time.monotonic()
        if now - self._counted > _NODES_SECONDS:
            self._count()
        if self._capacity or self._running:
            self._seen = now
        elif now - self._seen > NO_NODES_SECONDS:
            raise ClusterError(
                f"for {NO_NODES_SECONDS:.0f} s no node of the Ray cluster had room for a run ({self.needs}); "
                "what was saved is kept: run the same command again once there is one"
            )
        limit = min(self.slots, self._capacity) if self.slots else self._capacity
        return limit - len(self._running)

    def _count(self) -> int:
        self._capacity = sum(self.needs.fit(node) for node in self._nodes())
        self._counted = time.monotonic()
        return self._capacity

    def _nodes(self) -> Sequence[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def submit(self, job: Job) -> Started:
        """Make a task of ``job``."""
        sent = pickle.dumps((self.work, _absolute(job)))
        task = self._task.remote(
            sent, os.getcwd(), import_path().split(os.pathsep), _environment(job.threads)
        )
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
