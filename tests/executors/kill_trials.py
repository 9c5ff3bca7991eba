"""Kill -9 at random moments, and what is left: no finished run lost or repeated, the same results in the end.

    python tests/executors/kill_trials.py --trials 20 [--executor local|ray] [--seed 0]

A trial is a study of tiny runs in a store of its own. While it runs, its driver, a worker or (under `ray`) a
node is killed, several times at random moments; a driver that is gone is started again, as a node is. Then
the same command runs until it ends, and its records are held against those of an undisturbed study.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RECIPE = """
# Tiny runs, several seconds each, that save often.
study: trial
question: Is anything lost or repeated when processes are killed?
seeds: [0, 1]
baseline: text
streams:
  text: {modality: text, paths: ["${data_root}/text.jsonl"]}
  pictures:
    modality: image
    paths: ["${data_root}/pictures-*.tar"]
    encoder: {name: patches, image_size: 32, patch_size: 16}
arms:
  text: {mixture: {text: 1.0}}
  image: {mixture: {text: 0.5, pictures: 0.5}, media_loss: 0.5, controls: [shuffled]}
planted: {entities: 264, held_out: 256, images_per_entity: 1, documents: 200}
model: {layers: 1, width: 32, heads: 2, context_length: 48}
tokenizer: {vocabulary: 512}
budget: {match: flops, steps: 150}
train: {rows: 8, microbatch_rows: 4, learning_rate: 1.0e-2, checkpoint_every: 0.2}
tasks:
  planted: {kind: multiple_choice, paths: ["${data_root}/questions.jsonl"], limit: 16}
  prose: {kind: bits_per_byte, paths: ["${data_root}/prose-heldout.jsonl"], max_documents: 4}
endpoints:
  primary: planted/accuracy
  margins: {planted/accuracy: 0.1}
"""
TIMES = {"started", "scored_at_commit", "commit", "dirty"}
"""Parts of a record's provenance that differ between two runs of one identity."""


@dataclass
class Trial:
    """One study under fire."""

    recipe: Path
    folder: Path
    cache: Path
    overrides: Sequence[str] = ()
    executor: str = "local"
    cluster: Any = None
    slots: int = 2
    seen: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    """Finished identities to inode, time of change and content of their record when it was first seen."""
    killed: Counter[str] = field(default_factory=Counter)
    driver: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start the driver, in a session of its own."""
        command = [sys.executable, "-m", "ablate.cli", "run", self.recipe, *self.overrides]
        command += [
            "--store",
            self.folder / "store",
            "--results",
            self.folder / "results",
            "--cache",
            self.cache,
        ]
        command += ["--slots", self.slots, "--threads", 1, "--executor", self.executor]
        if self.cluster is not None:
            command += ["--ray-address", self.cluster.address]
        with (self.folder / "driver.log").open("a") as log:
            self.driver = subprocess.Popen(
                list(map(str, command)),
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def look(self) -> None:
        """Note every record that is there, and that those seen before are what they were."""
        for path in (self.folder / "store").glob("*/*/record.json"):
            status = path.stat()
            found = (status.st_ino, status.st_mtime_ns, path.read_bytes())
            before = self.seen.setdefault(path.parent.name, found)
            assert before == found, f"{path}: a finished run was written again"
        there = {path.parent.name for path in (self.folder / "store").glob("*/*/record.json")}
        assert set(self.seen) <= there, "a finished run was lost"

    def wait(self, seconds: float) -> bool:
        """Look on for so long, or until the driver ends; whether it runs."""
        assert self.driver is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.driver.poll() is None:
            self.look()
            time.sleep(0.05)
        return self.driver.poll() is None

    def kill(self, victim: str, dice: random.Random) -> None:
        """Kill the driver, a worker as soon as there is one, or a node; nothing if all has ended."""
        assert self.driver is not None
        if victim == "node":
            self._kill_node(dice)
            return
        pids = [self.driver.pid] if victim == "driver" else self._workers()
        while not pids and self.wait(0.1):
            pids = self._workers()
        if not pids:
            return
        os.kill(dice.choice(pids), signal.SIGKILL)
        self.killed[victim] += 1
        if victim == "driver":
            self.driver.wait()
            self.look()
            self.start()

    def _workers(self) -> list[int]:
        assert self.driver is not None
        if self.cluster is not None:
            roots = {node.all_processes["raylet"][0].process.pid for node in self.cluster.list_all_nodes()}
            return [
                pid
                for pid, parent, command in processes()
                if parent in roots and command.startswith("ray::run_sent")
            ]
        found = {pid: (parent, command) for pid, parent, command in processes()}
        servers = {
            pid for pid, (parent, command) in found.items() if parent == self.driver.pid and _forks(command)
        }
        return [pid for pid, (parent, _) in found.items() if parent in servers]

    def _kill_node(self, dice: random.Random) -> None:
        nodes = sorted(self.cluster.worker_nodes, key=lambda node: str(node.unique_id))
        node = dice.choice(nodes)
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        self.killed["node"] += 1
        self.wait(dice.uniform(0.0, 3.0))
        self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.add_node(num_cpus=2)

    def finish(self, seconds: float = 900.0) -> None:
        """Run the same command until it ends well; at most three times, as a run killed often has failed."""
        for _ in range(3):
            assert self.driver is not None
            assert not self.wait(seconds), (
                f"not ended after {seconds:.0f} s; see {self.folder / 'driver.log'}"
            )
            self.look()
            if self.driver.returncode == 0:
                return
            self.start()
        raise AssertionError((self.folder / "driver.log").read_text()[-2000:])

    def stop(self) -> None:
        """End what is left of it."""
        if self.driver is not None and self.driver.poll() is None:
            os.killpg(self.driver.pid, signal.SIGKILL)
            self.driver.wait()


def _forks(command: str) -> bool:
    return "multiprocessing.forkserver" in command


def processes() -> list[tuple[int, int, str]]:
    """Process id, parent and command line of every process that runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if state != "Z":
            found.append((int(folder.name), int(parent), command))
    return found


def what_remains(results: Path) -> dict[str, Any]:
    """Every record without its measured times, and the contrasts made of them."""
    kept: dict[str, Any] = {}
    for path in sorted((results / "records").glob("*.json")):
        record = json.loads(path.read_text())
        del record["seal"], record["spent"]["wall_seconds"]
        record["provenance"] = {key: value for key, value in record["provenance"].items() if key not in TIMES}
        kept[path.name] = record
    return kept | {"contrasts": (results / "contrasts.csv").read_text()}


def run_trial(trial: Trial, victims: Sequence[str], dice: random.Random, longest: float) -> dict[str, Any]:
    """Start the study, kill each of ``victims`` after up to ``longest`` seconds more, and let it end.

    Returns:
        What remains; see `what_remains`.

    Raises:
        AssertionError: a finished run was lost or written again, or the command never ended well.
    """
    trial.folder.mkdir(parents=True)
    try:
        trial.start()
        for victim in victims:
            if not trial.wait(dice.uniform(0.0, longest)):
                break
            trial.kill(victim, dice)
        trial.finish()
    finally:
        trial.stop()
    return what_remains(trial.folder / "results")


def undisturbed(recipe: Path, folder: Path, cache: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What remains of a study that nobody disturbed, and how long it took."""
    began = time.monotonic()
    remains = run_trial(Trial(recipe, folder, cache, overrides), (), random.Random(0), 0.0)
    return {"remains": remains, "seconds": time.monotonic() - began}


def main() -> int:
    """Run the trials, a line each; 1 if any of them lost, repeated or changed something."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--trials", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--kills", type=int, default=3, help="in each trial")
    options.add_argument("--executor", choices=["local", "ray"], default="", help="both in turns if left out")
    asked = options.parse_args()
    sys.path.insert(0, str(ROOT))
    dice = random.Random(asked.seed)
    failed, killed = 0, Counter[str]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        recipe, cache = folder / "trial.yaml", folder / "cache"
        recipe.write_text(RECIPE)
        undisturbed(recipe, folder / "first", cache)  # the cache is filled
        reference = undisturbed(recipe, folder / "undisturbed", cache)
        print(
            f"undisturbed: {len(reference['remains']) - 1} records in {reference['seconds']:.0f} s",
            flush=True,
        )
        cluster = None
        if asked.executor != "local":
            from ablate.bench.ray_cluster import small_cluster

            cluster = stack.enter_context(small_cluster())
        for number in range(asked.trials):
            executor = asked.executor or ("local", "ray")[number % 2]
            kinds = ["driver", "worker"] if executor == "local" else ["driver", "worker", "node"]
            victims = [kinds[(number // 2 + turn) % len(kinds)] for turn in range(asked.kills)]
            ray = cluster if executor == "ray" else None
            trial = Trial(recipe, folder / f"trial{number}", cache, executor=executor, cluster=ray)
            began = time.monotonic()
            try:
                remains = run_trial(trial, victims, dice, reference["seconds"] / asked.kills)
                said = "the same" if remains == reference["remains"] else "DIFFERS"
            except AssertionError as error:
                said = f"FAILED: {error}"
            failed += said != "the same"
            killed += trial.killed
            took = time.monotonic() - began
            print(
                f"trial {number}: {executor}, killed {dict(trial.killed)}: {said}, {took:.0f} s", flush=True
            )
    print(
        f"{asked.trials - failed} of {asked.trials} trials ended in the same records; killed: {dict(killed)}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
