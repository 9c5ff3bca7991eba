"""A small pool of processes, one run each: any of them, or the driver, may be killed at any time."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from ablate.record import RunRecord
from ablate.study.run import Job, execute
from ablate.train.callbacks import Progress


@dataclass(frozen=True)
class Started:
    """A run has a process."""

    job: Job
    pid: int


@dataclass(frozen=True)
class Moved:
    """A run reports where it stands."""

    job: Job
    progress: Progress


@dataclass(frozen=True)
class Finished:
    """A run has its record."""

    job: Job
    record: RunRecord


@dataclass(frozen=True)
class Failed:
    """A run has no record: an error, or its process was killed. What it had saved is kept."""

    job: Job
    error: str
    """The message, or a traceback where the error is not one of ours."""


Event = Started | Moved | Finished | Failed


def run_pool(jobs: Sequence[Job], slots: int) -> Generator[Event, None, None]:
    """Run ``jobs`` in order, ``slots`` at a time, and say what happens.

    A failing run doesn't stop the others. Closing the iterator, or Ctrl-C, ends the processes; their
    checkpoints stay.
    """
    waiting = list(reversed(jobs))
    running: dict[Connection, tuple[Job, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                job = waiting.pop()
                connection, process = _start(job)
                running[connection] = (job, process)
                yield Started(job, process.pid or 0)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                job, process = running[ready]
                event = _receive(ready, job, process)
                if not isinstance(event, Moved):
                    del running[ready]
                    ready.close()
                    process.join()
                yield event
    finally:
        for _, process in running.values():
            process.terminate()
        for connection, (_, process) in running.items():
            process.join(5)
            if process.is_alive():
                process.kill()
            connection.close()


def _start(job: Job) -> tuple[Connection, BaseProcess]:
    # The server imports torch once, before any thread of it exists, and every run is forked from it.
    # Forking the driver itself, where torch may have threads, can hang.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ablate.study.run"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender), name=f"{job.arm}-seed{job.seed}")
    with _threads(job.threads):
        _start_server()
        process.start()
    sender.close()
    return receiver, process


def _start_server() -> None:
    """Start the server that runs are forked from, unless it runs.

    A terminal sends Ctrl-C to every process. The server and its runs are born with it blocked and leave
    it to the driver, where it is only held back for the moment of the birth, not lost.
    """
    resource_tracker.ensure_running()  # which would unblock the signal if it were started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Thread counts that numerical libraries read when a child process imports them."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(count) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _receive(connection: Connection, job: Job, process: BaseProcess) -> Event:
    try:
        event: Event = connection.recv()
        return event
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Failed(job, f"the process of this run ended with {how}; run the study again to resume it")


def _work(job: Job, connection: Connection) -> None:
    """The body of a run's process. A driver that is gone breaks the pipe and so ends the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends its runs itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def report(progress: Progress) -> None:
        connection.send(Moved(job, progress))

    try:
        connection.send(Finished(job, execute(job, report)))
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        expected = isinstance(error, ValueError | OSError) and not os.environ.get("ABLATE_TRACEBACK")
        text = _explain(error) if expected else traceback.format_exc()
        connection.send(Failed(job, text))


def _explain(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return str(error)
