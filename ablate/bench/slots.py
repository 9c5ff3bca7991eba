"""How many runs should share a device: throughput and memory of one, two and four at a time."""

import dataclasses
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ablate.bench.measurement import Measurement
from ablate.bench.timing import steps_per_second
from ablate.budget.plan import Plan, plan_study
from ablate.executors.attempt import explain, peak_bytes
from ablate.executors.placement import Shared, cores
from ablate.materials import build_mixture, prepare
from ablate.model.build import build_model
from ablate.model.features import attach_zeros
from ablate.recipe.schema import Recipe


@dataclass(frozen=True)
class SlotsBench:
    """What is timed."""

    recipe: Recipe
    cache: Path
    runs: Sequence[int] = (1, 2, 4)
    """Runs at a time; 1 is always measured."""
    steps: int = 20
    """Timed steps of each run, after some that warm up."""
    threads: int = 0
    """CPU threads of each run; 0 shares the cores."""

    def threads_of(self, runs: int) -> int:
        """CPU threads of each of ``runs`` at a time."""
        return self.threads or max(1, cores() // runs)


def measure_slots(bench: SlotsBench) -> list[Shared]:
    """Train the recipe's largest arm for some steps at each number of runs at a time.

    Data are prepared once, beforehand. The runs of one measurement begin their timed steps together; the rate
    is that of the wall clock, and counts all of them.

    Raises:
        ValueError: one run alone cannot be trained; says why. A number of runs that do not fit the device is
            left out.
    """
    prepare(bench.recipe, bench.cache)
    found: list[Shared] = []
    for runs in sorted({1, *bench.runs}):
        try:
            found.append(_together(bench, runs))
        except ValueError:
            if runs == 1:
                raise
            break  # more do not fit either
    return found


def slots_table(found: Sequence[Shared]) -> list[Measurement]:
    """Rates relative to one run at a time, and memory."""
    alone = found[0].rate
    rows: list[Measurement] = []
    for one in found:
        each = f"{one.runs} at a time, {one.threads} thread{'' if one.threads == 1 else 's'} each"
        rows.append(Measurement(each, one.rate, "steps/s", alone))
        rows.append(Measurement(f"{each}: memory of one", one.peak_bytes / 2**20, "MiB", 0.0))
    return rows


def largest_arm(plans: Sequence[Plan]) -> Plan:
    """The arm whose step takes most parameters, and of these most FLOPs: what fits with it fits with any."""

    def size(plan: Plan) -> tuple[int, int]:
        return sum(plan.ledger.parameters.values()), plan.executed_per_step

    return max((plan for plan in plans if plan.arm.control is None), key=size)


def _together(bench: SlotsBench, runs: int) -> Shared:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(runs)
    pipes = [context.Pipe(duplex=False) for _ in range(runs)]
    settings = dataclasses.replace(bench, threads=bench.threads_of(runs))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    try:
        processes = [context.Process(target=_measured, args=(settings, start, end)) for _, end in pipes]
        for process in processes:
            process.start()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    for _, end in pipes:
        end.close()
    answers = [_answer(receiver, start) for receiver, _ in pipes]
    for process in processes:
        process.join()
    errors = [answer for answer in answers if isinstance(answer, str)]
    if errors:
        raise ValueError(f"{runs} at a time: {errors[0]}")
    rates = [answer for answer in answers if not isinstance(answer, str)]
    return Shared(runs, settings.threads, sum(rate for rate, _ in rates), max(peak for _, peak in rates))


def _answer(receiver: Connection, start: Any) -> tuple[float, int] | str:
    """Steps a second and peak bytes of one process, or why it has none."""
    try:
        answer: tuple[float, int] | str = receiver.recv()
    except EOFError:
        answer = "its process was killed, as the system does when memory runs out"
    if isinstance(answer, str):
        start.abort()  # the others would wait for it
    return answer


def _measured(bench: SlotsBench, start: Any, sender: Connection) -> None:
    """The body of one process."""
    import threading

    try:
        sender.send((_rate(bench, _clock(start)), peak_bytes()))
    except threading.BrokenBarrierError:
        sender.send("another run could not be trained beside it")
    except Exception as error:
        sender.send(explain(error))


def _clock(start: Any) -> Callable[[], float]:
    """The wall clock; the first to read it waits until all processes do."""
    waited = False

    def now() -> float:
        nonlocal waited
        if not waited:
            start.wait()
            waited = True
        return time.monotonic()

    return now


def _rate(bench: SlotsBench, now: Callable[[], float]) -> float:
    import torch

    from ablate.train.device import device_type

    torch.set_num_threads(bench.threads)
    materials = prepare(bench.recipe, bench.cache)
    plan = largest_arm(plan_study(materials))
    seed = bench.recipe.seeds[0]
    model = build_model(materials.recipe, plan.arm, materials.vocabulary, seed).to(device_type())
    mixture = build_mixture(materials, plan.arm, seed)
    attach_zeros(model, mixture, media_loss=plan.arm.media_loss > 0)
    config = dataclasses.replace(bench.recipe.train, loggers=[])
    return steps_per_second(model, mixture, config, bench.steps, media_loss=plan.arm.media_loss, now=now)
