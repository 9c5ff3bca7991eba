"""What a large store costs: its status, the decision what is left to train, and an index that was lost.

The store is made up. Every run has a folder of its own with a record of 40 kB, of a few hundred steps; each
file has 5,000 names (hard links), so that 100,000 records take megabytes of disk, not gigabytes.
"""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import run

from ablate.bench.measurement import Measurement
from ablate.budget.ledger import Ledger
from ablate.record import CurvePoint, Pairing, RunRecord, Score, write_record
from ablate.study.index import Index, append_entries, entry_of
from ablate.study.plans import PlannedRun, StudyPlan, write_plan
from ablate.study.standing import standing
from ablate.study.store import Store, tasks_digest

STATUS_SECONDS = 2.0
DECISION_SECONDS = 5.0
MEMORY_BYTES = 1024.0**3

STUDY = "made_up"
_SEEDS = 5
_POINTS = 300
_LINKS = 5_000
"""Names of one file: ext4 allows 65,000."""


def measure_store(folder: Path, records: int) -> list[Measurement]:
    """Seconds and bytes of a store of ``records`` runs.

    Args:
        folder: an existing folder; the store is left in it.
    """
    plan = build_store(folder, records)
    found = [*measure_looks(plan, folder), *_command(folder), *measure_loss(plan, folder)]
    return [replace(one, name=f"{one.name}, {records:,} records") for one in found]


def measure_looks(plan: StudyPlan, store: Path) -> list[Measurement]:
    """What looking at a store costs whose index is there."""
    found = [
        *_seconds("status", STATUS_SECONDS, lambda: standing([plan], Index(store))),
        *_seconds("decision what to train", DECISION_SECONDS, lambda: left_to_train(plan, store)),
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return [*found, Measurement("peak memory of both", peak, "bytes", MEMORY_BYTES)]


def measure_loss(plan: StudyPlan, store: Path) -> list[Measurement]:
    """What looking costs once where the index was lost, and the next time."""
    shutil.rmtree(store / "index")
    return [
        *_seconds("status, index lost", 0.0, lambda: standing([plan], Index(store))),
        *_seconds("status, index found again", STATUS_SECONDS, lambda: standing([plan], Index(store))),
    ]


def left_to_train(plan: StudyPlan, store: Path) -> list[PlannedRun]:
    """The runs of ``plan`` without a record that was scored on its tasks, as `look_up` decides it."""
    index = Index(store)
    return [
        each
        for each in plan.runs
        if (entry := index.entry(each.identity)) is None or not entry.is_scored(plan.tasks)
    ]


def build_store(folder: Path, records: int) -> StudyPlan:
    """A store of ``records`` finished runs, indexed, and the plan of a study that has them and one more."""
    store = Store(folder)
    runs = list(_runs(records + 1))
    record = made_up_record()
    entries, template = [], folder / ".template"
    for number, each in enumerate(runs[:-1]):
        if number % _LINKS == 0:
            template.unlink(missing_ok=True)
            write_record(record, template)
            found = template.stat()
        place = store.folder(each.identity)
        place.mkdir(parents=True)
        os.link(template, place / "record.json")
        entries.append(entry_of(record, each.identity, found))
    template.unlink(missing_ok=True)
    append_entries(folder, entries)
    plan = StudyPlan(STUDY, "0" * 32, tasks_digest(record.data_digests), runs)
    write_plan(plan, folder)
    return plan


def _runs(count: int) -> Iterator[PlannedRun]:
    for number in range(count):
        identity = f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:016x}"  # spread over the folders
        yield PlannedRun(f"arm{number // _SEEDS % 200}", number % _SEEDS, identity, _POINTS, 10**12)


def made_up_record() -> RunRecord:
    """A finished run of the size that runs of the recipes have."""
    ledger = Ledger(
        steps=_POINTS,
        flops={"backbone": 10**12},
        flops_executed=10**12,
        positions=10**6,
        text_tokens=10**6,
        caption_tokens=0,
        media_positions=0,
        scored_positions=10**6,
        unique_text_tokens=10**6,
        text_epochs=1.0,
        parameters={"backbone": 400_000},
        wall_seconds=45.0,
    )
    steps = range(1, _POINTS + 1)
    return RunRecord(
        identity="0" * 32,
        study=STUDY,
        arm="text",
        seed=0,
        status="finished",
        control=None,
        mirrors=None,
        recipe_digest="0" * 32,
        resolved={"model": {"layers": 2, "width": 128}},
        data_digests={"task/made_up": "0" * 32},
        pairing=Pairing("0" * 32, {str(s): {f"text/{r}": "0" * 32 for r in range(16)} for s in (1, 16, 256)}),
        planned=ledger,
        spent=ledger,
        skips={},
        curve=[CurvePoint(s, s * 10**9, s * 1000, 9.0 / s, None, 1e-3 / s) for s in steps],
        scores={f"made_up/accuracy/{s}": Score(0.5, 256, True, 0.125) for s in range(20)},
        final_weights="0" * 32,
        provenance={},
    )


def _seconds(name: str, bar: float, call: Callable[[], object]) -> list[Measurement]:
    """Seconds by the clock, and of processor time, which other processes of the machine do not lengthen."""
    began, worked = time.monotonic(), time.process_time()
    call()
    return [
        Measurement(name, time.monotonic() - began, "s", bar),
        Measurement(f"{name}, processor time", time.process_time() - worked, "s", bar),
    ]


def _command(store: Path) -> list[Measurement]:
    """`ablate status` as it is called."""
    command = [sys.executable, "-m", "ablate.cli", "status", STUDY, "--store", str(store)]
    began, before = time.monotonic(), _children()
    done = run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode != 3:
        raise ValueError(f"`ablate status` ended with exit code {done.returncode}: {done.stderr}")
    return [
        Measurement("`ablate status`", seconds, "s", STATUS_SECONDS),
        Measurement("`ablate status`, processor time", _children() - before, "s", STATUS_SECONDS),
    ]


def _children() -> float:
    """Processor seconds of processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
