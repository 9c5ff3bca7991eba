"""A Ray cluster of several nodes on this machine, as Ray's own tests use it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ablate.executors.ray import quiet_ray
from ablate.executors.ray_probe import RayAddressError


@contextmanager
def small_cluster(nodes: int = 2, cpus: int = 2) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of ``nodes`` nodes with ``cpus`` CPUs each, and a head that runs nothing.

    Its `address` is what `--ray-address` takes. CPUs are what Ray is told, not cores.

    Raises:
        RayAddressError: Ray is not installed.
    """
    quiet_ray()
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray runs workers behind everything else
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # on a busy machine a node is slow to start
    try:
        utils: Any = import_module("ray.cluster_utils")
    except ImportError:
        raise RayAddressError("Ray is not installed; pip install -c constraints.txt -e '.[ray]'") from None
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=cpus)
        yield cluster
    finally:
        cluster.shutdown()
