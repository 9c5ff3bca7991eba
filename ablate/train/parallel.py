"""Data-parallel training: the process group, Lightning's strategy, and sharded weights.

DDP (Li et al. 2020) keeps a copy of the model on every rank and averages gradients. FSDP (Zhao et al. 2023;
here PyTorch's `fully_shard`) shards weights, gradients and optimiser over the ranks. Either way a step's
rows, counts and digests are those of the global batch.
"""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from ablate.model.fusion import FusedModel, LossSums
from ablate.recipe.schema import TrainConfig
from ablate.train.device import device_type
from ablate.train.ranks import TIMEOUT, Rank


@contextmanager
def joined(rank: Rank) -> Iterator[None]:
    """Be part of the run's process group: NCCL between GPUs, gloo between CPUs. The ranks leave together."""
    if rank.ranks == 1:
        yield
        return
    on_gpu = device_type() == "cuda"
    if on_gpu:
        torch.cuda.set_device(rank.local)
    timeout = timedelta(seconds=TIMEOUT)
    store = TCPStore(rank.address, rank.port, is_master=False, timeout=timeout)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank.number,
        world_size=rank.ranks,
        timeout=timeout,
        device_id=torch.device("cuda", rank.local) if on_gpu else None,
    )
    # After an error the others may be gone: the process ends without waiting for them.
    yield
    dist.barrier()
    dist.destroy_process_group()


class Placed(ClusterEnvironment):
    """Tells Lightning which rank this process is; nothing is read from the environment."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._rank.address

    @property
    def main_port(self) -> int:
        return self._rank.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._rank.ranks

    def set_world_size(self, size: int) -> None:
        assert size == self._rank.ranks

    def global_rank(self) -> int:
        return self._rank.number

    def set_global_rank(self, rank: int) -> None:
        assert rank == self._rank.number

    def local_rank(self) -> int:
        return self._rank.local

    def node_rank(self) -> int:
        return self._rank.node


def placement(config: TrainConfig, rank: Rank, model: FusedModel) -> dict[str, Any]:
    """What Lightning's Trainer is told of the devices."""
    # Named for one rank too: else Lightning would ask the environment, and find srun's or torchrun's there.
    if rank.ranks == 1:
        return {"devices": 1, "plugins": [Placed(rank)]}
    return {
        "devices": rank.devices,
        "num_nodes": rank.nodes,
        "strategy": _strategy(config, rank, model),
        "plugins": [Placed(rank)],
        # The rows of each rank follow from its number already.
        "use_distributed_sampler": False,
    }


def is_sharded(config: TrainConfig, rank: Rank) -> bool:
    """Whether the weights are sharded over the ranks."""
    return rank.ranks > 1 and config.strategy == "fsdp"


def _strategy(config: TrainConfig, rank: Rank, model: FusedModel) -> Strategy:
    if is_sharded(config, rank):
        return ModelParallelStrategy(
            data_parallel_size=rank.ranks, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    settings = inspect.signature(DistributedDataParallel.__init__).parameters
    # The older name of the same; buffers are the same on all ranks from the start and never change.
    syncing = "forward_sync_buffers" if "forward_sync_buffers" in settings else "broadcast_buffers"
    unsynced: dict[str, Any] = {syncing: False}
    return DDPStrategy(find_unused_parameters=_may_leave_unused(model), **unsynced)


def _may_leave_unused(model: FusedModel) -> bool:
    """Whether weights may get no gradient: media heads without a media loss, parts of others' encoders."""
    return bool(model.encoders) and (
        not model.media_loss or any(model.encoder(name).library_versions() for name in model.encoders)
    )


def shard(model: FusedModel, mesh: Any, *, compiled: bool) -> None:
    """Shard ``model`` over the ranks of ``mesh`` in place: block by block, and all else in one group.

    Blocks are compiled one by one: a graph of the whole model could not gather them as they are needed.
    """
    from torch.distributed.fsdp import fully_shard

    _register_sums()
    for block in model.backbone.model.layers:
        if compiled:
            block.compile()
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


@functools.cache
def _register_sums() -> None:
    """`fully_shard` finds the tensors of a model's output only in what PyTorch knows as a container."""
    torch.export.register_dataclass(LossSums, serialized_type_name="ablate.model.fusion.LossSums")


def whole_weights(model: FusedModel) -> dict[str, Tensor]:
    """The full weights of a sharded ``model``, on CPU: on rank 0, and none on the others. All ranks call."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    found = get_model_state_dict(model, options=options)
    return {name: weight for name, weight in found.items() if isinstance(weight, Tensor)}
