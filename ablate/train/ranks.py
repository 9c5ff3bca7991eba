"""One run over several processes, one for each device: where each stands, how they start, how they end.

The process that a run is given starts the ranks of its node and does nothing else until they have ended,
so that a rank that dies or hangs can never hang it. It also keeps the store by which the ranks of all nodes
find one another (`torch.distributed.TCPStore`, as torchrun's agent does).

torch is imported in the ranks only: this module is light.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ablate.recipe.schema import TrainConfig

GRACE = 3.0
"""Seconds in which the other ranks may say what they saw, after one has failed."""

TIMEOUT = 1800.0
"""Seconds that a rank waits for another; preparing data may take one longer than its fellows."""

_LOOK = 0.5
"""Seconds between looks at whether the ranks are to go on."""


class RankError(ValueError):
    """A run over several devices that cannot start, or lost a rank; says which, and what to do."""


@dataclass(frozen=True)
class Rank:
    """One process of a run."""

    number: int = 0
    """From 0, over all nodes; node k has the numbers from k * devices on."""
    devices: int = 1
    """Processes on each node."""
    nodes: int = 1
    address: str = "127.0.0.1"
    """Where the store is by which the ranks find one another."""
    port: int = 0

    @property
    def ranks(self) -> int:
        """Processes of the run, on all nodes."""
        return self.devices * self.nodes

    @property
    def local(self) -> int:
        """The device of its node that this rank trains on."""
        return self.number % self.devices

    @property
    def node(self) -> int:
        return self.number // self.devices


ALONE = Rank()
"""A run in one process."""

Send = Callable[[Any], None]
Body = Callable[[Rank, Send], Any]
"""What a rank does; it can be pickled, as can all it sends and returns."""


@dataclass(frozen=True)
class _Sent:
    value: Any


@dataclass(frozen=True)
class _Returned:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception
    trace: str


@dataclass(frozen=True)
class _Died:
    exitcode: int


class _RemoteTraceback(Exception):
    """The traceback of a rank, as the cause of the error that it raised."""


def ranks_of(config: TrainConfig) -> int:
    """Processes that a run is trained by, on all nodes."""
    return config.devices * config.nodes


def refuse_unable(config: TrainConfig, device: str, devices: int, nodes: int) -> None:
    """Refuse what this machine cannot run, before anything is started.

    Args:
        device: `cuda` or `cpu`.
        devices: GPUs that are visible here; not looked at on a CPU.
        nodes: nodes that the command was started on.

    Raises:
        RankError: names the key of the recipe and what there is.
    """
    if ranks_of(config) == 1:
        return
    if config.strategy == "fsdp" and device != "cuda":
        raise RankError(
            "train.strategy is fsdp, which shards a model over GPUs, and there is no GPU here; "
            "use ddp on CPUs"
        )
    if device == "cuda" and config.devices > devices:
        raise RankError(
            f"train.devices is {config.devices}, and the GPUs that are visible here are {devices}; lower it, "
            "or give the run more"
        )
    if config.nodes > 1 and config.nodes != nodes:
        raise RankError(
            f"train.nodes is {config.nodes}, and this command was started on {nodes}; start it once on each "
            f"node: srun --nodes {config.nodes} --ntasks-per-node 1 ablate run RECIPE, or "
            f"torchrun --nnodes {config.nodes} --nproc-per-node 1 --no-python ablate run RECIPE"
        )


@contextmanager
def meeting_point(config: TrainConfig) -> Iterator[int]:
    """The store by which the ranks of a run find one another, on a free port, which is returned."""
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    # "0.0.0.0" listens for other nodes too; a run of one node is nobody else's business.
    host = "127.0.0.1" if config.nodes == 1 else "0.0.0.0"
    store = TCPStore(
        host, 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=TIMEOUT), use_libuv=True
    )
    try:
        yield store.port
    finally:
        del store


def node_ranks(config: TrainConfig, node: int, address: str, port: int) -> list[Rank]:
    """The ranks that node number ``node`` starts."""
    first = node * config.devices
    return [
        Rank(number, config.devices, config.nodes, address, port)
        for number in range(first, first + config.devices)
    ]


def run_ranks(
    body: Body,
    ranks: Sequence[Rank],
    see: Send | None = None,
    *,
    preload: Sequence[str] = (),
    goes_on: Callable[[], bool] = lambda: True,
) -> Any:
    """Run ``body`` as each of ``ranks`` in a process of its own; what the first of them returns.

    No process is left when this ends, however it ends; if this process is killed, its ranks end themselves.

    Args:
        see: is called with what the first rank sends.
        preload: modules that are imported once for all ranks.
        goes_on: asked about twice a second; the ranks are ended as soon as it says no.

    Raises:
        RankError: a rank was killed, or `goes_on` said no.
        Exception: what a rank raised, its traceback as the cause. Where several fail, the one that the
            others followed.
    """
    running: dict[Connection, tuple[Rank, BaseProcess]] = {}
    ended: dict[Rank, _Returned | _Raised | _Died] = {}
    processes: list[BaseProcess] = []
    deadline: float | None = None
    try:
        for rank in ranks:
            receiver, process = _start(body, rank, preload)
            running[receiver] = (rank, process)
            processes.append(process)
        while running and (deadline is None or time.monotonic() < deadline):
            if not goes_on():
                raise RankError("the other nodes have given this run up")
            for ready in wait(list(running), timeout=_LOOK):
                assert isinstance(ready, Connection)
                rank, process = running[ready]
                message = _receive(ready, process)
                if isinstance(message, _Sent):
                    if see is not None and rank == ranks[0]:
                        see(message.value)
                    continue
                ended[rank] = message
                del running[ready]
                ready.close()
                if not isinstance(message, _Returned) and deadline is None:
                    deadline = time.monotonic() + GRACE
    finally:
        _end([process for _, process in running.values()], processes)
        for connection in running:
            connection.close()
    return _result(ranks, ended)


def _start(body: Body, rank: Rank, preload: Sequence[str]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(body, rank, sender), name=f"rank{rank.number}")
    process.start()
    sender.close()
    return receiver, process


def _receive(connection: Connection, process: BaseProcess) -> _Sent | _Returned | _Raised | _Died:
    try:
        message: _Sent | _Returned | _Raised = connection.recv()
    except EOFError:
        process.join()
        return _Died(process.exitcode or 0)
    return message


def _end(running: Sequence[BaseProcess], processes: Sequence[BaseProcess]) -> None:
    """Kill the ``running`` ones: a checkpoint is whole at any moment, and a rank that waits for a dead one
    heeds nothing less. Wait for all."""
    for process in running:
        process.kill()
    for process in processes:
        process.join(GRACE)
        if process.is_alive():
            process.kill()
            process.join()


def _result(ranks: Sequence[Rank], ended: dict[Rank, _Returned | _Raised | _Died]) -> Any:
    died = [(rank, end.exitcode) for rank, end in ended.items() if isinstance(end, _Died)]
    raised = [end for end in ended.values() if isinstance(end, _Raised)]
    if died:
        rank, code = died[0]
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise RankError(
            f"rank {rank.number} of {rank.ranks} of this run ended with {how}, and the others were ended; "
            "run the study again to go on from the last checkpoint"
        )
    if raised:
        # A rank that lost its fellow in mid-sum raises a RuntimeError: it follows, it is not the cause.
        cause = next((end for end in raised if not isinstance(end.error, RuntimeError)), raised[0])
        raise cause.error from _RemoteTraceback(cause.trace)
    first = ended[ranks[0]]
    assert isinstance(first, _Returned)
    return first.value


def _work(body: Body, rank: Rank, connection: Connection) -> None:
    """The body of a rank's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the run ends it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_parent()
    try:
        connection.send(_Returned(body(rank, lambda value: connection.send(_Sent(value)))))
    except Exception as error:
        connection.send(_Raised(*_sendable(error)))
        # Not by the usual way out, where a broken process group may wait for the other ranks.
        os._exit(1)


def _sendable(error: Exception) -> tuple[Exception, str]:
    """``error`` and its traceback, or an error that says the same where it cannot be pickled."""
    import pickle

    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(trace), trace
    return error, trace


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, whatever killed that."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()
