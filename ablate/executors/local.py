"""Processes of this machine, one a run: any of them, or the driver, may be killed at any time."""

import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType, ModuleType

from ablate.executors.attempt import attempt
from ablate.executors.environment import import_path, thread_variables
from ablate.executors.events import Event, Finished, Lost, Moved, Started
from ablate.executors.job import Job, Work
from ablate.executors.placement import fitting
from ablate.executors.room import Room, Taken


@dataclass(frozen=True)
class _Running:
    job: Job
    process: BaseProcess
    taken: Taken


class LocalExecutor:
    """A pool of processes.

    Args:
        slots: most runs at a time, over all devices together.
        work: what a process does with a job.
        devices: ids of the GPUs that runs are spread over, as `CUDA_VISIBLE_DEVICES` names them; none
            leaves a process whatever the driver sees.
        memory: bytes of one device, or of the machine where runs train on its cores; 0 where unknown. Once
            runs have shown what they need, no more of them run at a time than fit.
        places: of each device, or of the cores, see `Room`; 0 leaves room for ``slots`` runs of one device.
    """

    def __init__(
        self, slots: int, work: Work, devices: Sequence[str] = (), memory: int = 0, places: int = 0
    ) -> None:
        self.slots = slots
        self.work = work
        self.memory = memory
        self.room = Room(devices, places or -(-slots // max(1, len(devices))))
        self._running: dict[Connection, _Running] = {}

    @property
    def reports(self) -> bool:
        """Processes report through a pipe."""
        return True

    def refuse(self, ranks: int) -> None:
        """Nothing: what is wider than this machine has all of it to itself, or is refused by its training."""

    def fits(self, job: Job) -> bool:
        """Whether there is a slot, and room on as many devices as it trains on."""
        return len(self._running) < self.slots and self.room.find(job.recipe.train.devices) is not None

    def submit(self, job: Job) -> Started:
        """Fork a process for ``job``, which `fits`."""
        taken = self.room.find(job.recipe.train.devices)
        assert taken is not None, "only what fits is submitted"
        resource_tracker.ensure_running()  # which would unblock the signal if it were started later
        with _interrupts_held_back():
            connection, process = _start(self.work, job, ",".join(taken.devices))
            self._running[connection] = _Running(job, process, taken)
            self.room.take(taken)
        return Started(job, process.pid or 0)

    def wait(self, timeout: float | None) -> list[Event]:
        """One event of every process that has something to say."""
        return [
            self._heard(ready)
            for ready in wait(list(self._running), timeout)
            if isinstance(ready, Connection)
        ]

    def _heard(self, connection: Connection) -> Event:
        one = self._running[connection]
        event = _receive(connection, one)
        if isinstance(event, Moved):
            return event
        del self._running[connection]
        self.room.give_back(one.taken)
        connection.close()
        one.process.join()
        if isinstance(event, Finished):
            fit = fitting(event.peak_bytes, self.memory)
            self.room.each = min(self.room.each, fit) if fit else self.room.each
        return event

    def cancel(self) -> None:
        """End every process; what ignores a request is killed."""
        for one in self._running.values():
            one.process.terminate()
        for connection, one in self._running.items():
            one.process.join(5)
            if one.process.is_alive():
                one.process.kill()
            connection.close()
            self.room.give_back(one.taken)
        self._running.clear()

    def close(self) -> None:
        """The same: nothing else is held."""
        self.cancel()


def _start(work: Work, job: Job, devices: str) -> tuple[Connection, BaseProcess]:
    # The server imports torch once, before any thread of it exists, and every run is forked from it.
    # Forking the driver itself, where torch may have threads, can hang.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__, __name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_run, args=(work, job, sender, devices), name=f"{job.arm}-seed{job.seed}"
    )
    with _environment(job.threads), _without_main():
        forkserver.ensure_running()
        process.start()
    sender.close()
    return receiver, process


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Have a Ctrl-C wait until the end of the block.

    A terminal sends it to every process. The server and its runs are born with it blocked and leave it to the
    driver, to which it comes when the run that is being started is whole and known, so that it can be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # to which no Ctrl-C comes
        return
    caught: list[tuple[int, FrameType | None]] = []
    # Other threads of the driver may be given the signal, whatever this one blocks.
    handler = signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if caught and callable(handler):
            handler(*caught[0])


@contextmanager
def _without_main() -> Iterator[None]:
    """Have no run execute the driver's main module again, as multiprocessing would: it needs nothing of it,
    and a command line takes longer to import than a trivial run."""
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What a process reads at its birth: the server finds what it has to import, libraries their threads."""
    wanted = {**thread_variables(threads), "PYTHONPATH": import_path()}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _receive(connection: Connection, one: _Running) -> Event:
    try:
        event: Event = connection.recv()
        return event
    except (EOFError, OSError):  # also in the middle of what it said
        one.process.join()
        code = one.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Lost(one.job, f"the process of this run ended with {how}")


def _run(work: Work, job: Job, connection: Connection, devices: str) -> None:
    """The body of a run's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends its runs itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices  # read when CUDA is first used, which no import does
    threading.Thread(target=_end_with_driver, args=(connection.fileno(),), daemon=True).start()
    try:
        connection.send(attempt(work, job, lambda progress: connection.send(Moved(job, progress))))
    except BrokenPipeError:
        os._exit(1)


def _end_with_driver(descriptor: int) -> None:
    """End this process once nobody can read its pipe: a driver that is gone would never take the result.

    At once, not at the next report: the driver that takes its place need not wait for the lease.
    """
    poll = select.poll()
    poll.register(descriptor, 0)  # errors are told whatever is asked for
    while True:
        if any(what & select.POLLERR for _, what in poll.poll()):
            os._exit(1)
