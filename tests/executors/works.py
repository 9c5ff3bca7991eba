"""What runs do in tests of executors: they need no data and no torch."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ablate.bench.executors import blank_record
from ablate.executors.job import BusyError, Job, Report
from ablate.record import RunRecord


@dataclass(frozen=True)
class Scripted:
    """Seeds to what their runs do, one letter an attempt; runs leave a line in ``folder`` each time.

    `k`: the process is killed. `r`: an error is raised. `b`: somebody else is at it. Then it ends well.
    """

    folder: Path
    script: tuple[tuple[int, str], ...] = ()
    seconds: float = 0.0

    def __call__(self, job: Job, report: Report) -> RunRecord:
        log = self.folder / f"{job.arm}-{job.seed}"
        with log.open("a") as out:
            out.write("attempt\n")
        time.sleep(self.seconds)
        attempt = len(log.read_text().splitlines())
        what = dict(self.script).get(job.seed, "")[attempt - 1 : attempt]
        if what == "k":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "r":
            raise ValueError(f"seed {job.seed} cannot be run")
        if what == "b":
            raise BusyError("process 7 on elsewhere")
        return blank_record(job)

    def attempts(self, seed: int) -> int:
        """Times that the run of ``seed`` was begun."""
        return len((self.folder / f"sleep-{seed}").read_text().splitlines())


@dataclass(frozen=True)
class Talkative:
    """The first attempt of seed 0 ends with more to say than a pipe takes at once."""

    folder: Path

    def __call__(self, job: Job, report: Report) -> RunRecord:
        record = blank_record(job)
        sign = self.folder / "about-to-say"
        if job.seed == 0 and not sign.exists():
            sign.touch()
            record.notes.extend(f"{at:08d}" for at in range(20_000))
        return record


@dataclass(frozen=True)
class Leaving:
    """A run that leaves its process id, and then sleeps long."""

    folder: Path

    def __call__(self, job: Job, report: Report) -> RunRecord:
        partial = self.folder / f".{job.seed}.partial"
        partial.write_text(str(os.getpid()))
        partial.rename(self.folder / f"{job.seed}.pid")
        time.sleep(60)
        return blank_record(job)


@dataclass(frozen=True)
class Environment:
    """A run whose record says what it finds around it."""

    def __call__(self, job: Job, report: Report) -> RunRecord:
        import ablate

        record = blank_record(job)
        names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
        found = {name: os.environ.get(name, "") for name in names}
        record.provenance.update(found, folder=os.getcwd(), code=str(Path(ablate.__file__).parent))
        return record
