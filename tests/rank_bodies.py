"""What ranks do in tests; they import this module by its name."""

import os
import signal
import time
from pathlib import Path

from ablate.train.ranks import Rank, Send, run_ranks


class TellingError(ValueError):
    """An error that says what is wrong."""


def tells_its_number(rank: Rank, send: Send) -> int:
    send(f"rank {rank.number} of {rank.ranks}")
    return rank.number


def hangs(rank: Rank, send: Send) -> None:
    send(os.getpid())
    time.sleep(300)


def one_is_killed(rank: Rank, send: Send) -> None:
    if rank.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)


def one_errs(rank: Rank, send: Send) -> None:
    if rank.number == 1:
        raise TellingError("shard 7 is damaged")
    time.sleep(0.1)
    raise RuntimeError("Connection closed by peer")


def leaves_its_pid(rank: Rank, send: Send) -> None:
    (Path(os.environ["PIDS"]) / str(os.getpid())).touch()
    time.sleep(300)


if __name__ == "__main__":
    run_ranks(leaves_its_pid, [Rank(number, 2) for number in range(2)])
