"""One measured rate, and rates of several calls taken in turns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


@dataclass(frozen=True)
class Measurement:
    """One measured rate."""

    name: str
    value: float
    unit: str
    reference: float
    """What the value is held against, in the same unit: the bare library in the same run, or a bar."""


def rates_in_turns(
    calls: Sequence[Callable[[Item], Any]],
    items: Sequence[Item],
    seconds: float,
    *,
    slices: int = 20,
    at_a_time: int = 1,
) -> list[float]:
    """Items a second of this thread's processor time for each of ``calls``, the median of ``slices`` taken
    in turns, so that neither other processes nor a slow moment of the machine favour one of them.

    Args:
        seconds: time for all of them together.
        at_a_time: calls between two looks at the clock: many where one takes microseconds.
    """
    found: list[list[float]] = [[] for _ in calls]
    begin = [0] * len(calls)
    span = seconds / (slices * len(calls))
    for call in calls:
        for item in items[:at_a_time]:
            call(item)
    for _ in range(slices):
        for which, call in enumerate(calls):
            done, start = 0, time.thread_time()
            while (spent := time.thread_time() - start) < span or not done:
                for at in range(at_a_time):
                    call(items[(begin[which] + done + at) % len(items)])
                done += at_a_time
            begin[which] += done
            found[which].append(done / spent)
    return [float(np.median(rates)) for rates in found]
