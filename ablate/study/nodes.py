"""One run over several nodes: the first node leads, the others lend their devices.

The same command is started once on each node, by srun or torchrun. On the first it does what it always does;
on the others `follow` waits for runs that need them. They find one another in the store, which all nodes see:

STORE/nodes/<launch>.json          the first node's sign of life, and whether it has ended
                  .run.json        the run that wants ranks just now, and where they meet
                  .lost-<k>.json   why node k left it

No clock of one node is compared with another's.
"""

import functools
import json
import os
import re
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.executors.job import Job
from ablate.recipe.load import dump_recipe, load_recipe
from ablate.recipe.schema import TrainConfig
from ablate.train.ranks import RankError, node_ranks, run_ranks
from ablate.whole_file import write_whole

BEAT = 2.0
"""Seconds between signs of life."""

LOST = 300.0
"""Seconds without one after which a node is given up."""


@dataclass(frozen=True)
class Node:
    """Where this command runs, among those it was started on."""

    number: int = 0
    nodes: int = 1
    address: str = ""
    """Of this node, for the others."""
    launch: str = "alone"
    """What the nodes of one command have in common."""


def this_node(environment: Mapping[str, str] = os.environ) -> Node:
    """This node, as torchrun or srun says; the only one where neither started the command.

    Raises:
        RankError: the command was started more than once on this node.
    """
    address = environment.get("MASTER_ADDR") or socket.gethostname()
    if "GROUP_RANK" in environment:
        number, nodes = environment["GROUP_RANK"], environment.get("GROUP_WORLD_SIZE", "1")
        here = environment.get("LOCAL_WORLD_SIZE", "1")
        names: tuple[str, ...] = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
        once = "--nproc-per-node 1"
    elif "SLURM_STEP_NUM_NODES" in environment:
        number, nodes = environment["SLURM_NODEID"], environment["SLURM_STEP_NUM_NODES"]
        here = str(int(environment.get("SLURM_STEP_NUM_TASKS", nodes)) // int(nodes))
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID")
        once = "--ntasks-per-node 1"
    else:
        return Node(address=address)
    if int(here) > 1:
        raise RankError(f"this command was started {here} times on each node; start it once: {once}")
    launch = "-".join(environment.get(name, "") for name in names)
    return Node(int(number), int(nodes), address, re.sub(r"[^A-Za-z0-9_.-]", "_", launch))


def refuse_launch(configs: Sequence[TrainConfig], node: Node) -> None:
    """Refuse a command that was started on several nodes, where its runs ask for another number of them.

    What a command on one node lacks is said by `ablate.train.ranks.refuse_unable`, of each recipe.

    Raises:
        RankError: says how to start it.
    """
    most = max(config.nodes for config in configs)
    if node.nodes == 1 or most == node.nodes:
        return
    start = f"once on each of {most} nodes" if most > 1 else "once, on one node"
    raise RankError(
        f"this command was started on {node.nodes} nodes, and train.nodes is {most}; start it {start}, or "
        f"set train.nodes={node.nodes}"
    )


def _file(store: Path, node: Node, what: str = "") -> Path:
    return store / "nodes" / f"{node.launch}{what}.json"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@contextmanager
def leading(store: Path, node: Node) -> Iterator[None]:
    """Keep the other nodes of this command, if there are any, waiting for runs until this ends."""
    if node.nodes == 1:
        yield
        return
    token, ended = secrets.token_hex(8), threading.Event()

    def sign(count: int) -> None:
        _write(_file(store, node), {"token": token, "beat": count, "over": False})

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT):
            count += 1
            sign(count)

    sign(0)  # before any run is announced, which names the token that lies here
    thread = threading.Thread(target=beat, name="leading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _write(_file(store, node), {"token": token, "beat": -1, "over": True})


@contextmanager
def announced(job: Job, node: Node, folder: Path, port: int) -> Iterator[Callable[[], bool]]:
    """Have the other nodes start their ranks of ``job``; whether all of them are still at it.

    Args:
        folder: the run's own.
        port: of the store on this node by which the ranks meet.
    """
    if job.recipe.train.nodes == 1:
        yield lambda: True
        return
    attempt = secrets.token_hex(8)
    _write(
        _file(job.store, node, ".run"),
        {
            "token": _read(_file(job.store, node)).get("token"),
            "attempt": attempt,
            "recipe": dump_recipe(job.recipe),
            "arm": job.arm,
            "seed": job.seed,
            "threads": job.threads,
            "identity": job.identity,
            "folder": str(folder.relative_to(job.store)),
            "address": node.address,
            "port": port,
        },
    )

    def all_there() -> bool:
        for number in range(1, node.nodes):
            lost = _read(_file(job.store, node, f".lost-{number}"))
            if lost.get("attempt") == attempt:
                raise RankError(f"node {number} of {node.nodes} left this run: {lost.get('error')}")
        return True

    try:
        yield all_there
    finally:
        _write(_file(job.store, node, ".run"), {})


def follow(store: Path, cache: Path, node: Node, say: Callable[[str], None] = lambda text: None) -> None:
    """Lend this node's devices to the runs of the first node, until that has ended.

    Args:
        cache: this node's; what is not there is derived anew.
        say: is told of every run that begins and of every one that fails here.

    Raises:
        RankError: the first node gives no sign of life.
    """
    leader = _Leader(store, node)
    done: set[str] = set()
    while leader.goes_on():
        run = _read(_file(store, node, ".run"))
        attempt = run.get("attempt")
        if attempt is None or attempt in done or run.get("token") != leader.token:
            time.sleep(BEAT / 4)
            continue
        done.add(attempt)
        say(f"node {node.number} of {node.nodes}: {run['arm']} seed {run['seed']}")
        try:
            _lend(run, store, cache, node, functools.partial(leader.wants, attempt))
        except Exception as error:
            if leader.wants(attempt):
                content = {"attempt": attempt, "error": str(error)}
                _write(_file(store, node, f".lost-{node.number}"), content)
                say(f"node {node.number} of {node.nodes}: {run['arm']} seed {run['seed']}: {error}")


class _Leader:
    """The first node, as another sees it."""

    def __init__(self, store: Path, node: Node) -> None:
        self.store, self.node = store, node
        self.token: str | None = None
        """Of the command that runs; none before its life has been seen, for files of an older one may lie
        there."""
        self.seen: dict[str, Any] | None = None
        self.since = time.monotonic()

    def goes_on(self) -> bool:
        """Whether the first node has not ended.

        Raises:
            RankError: it gave no sign of life for long.
        """
        said = _read(_file(self.store, self.node))
        if self.token is not None and said and said.get("token") != self.token:
            return False  # that command is gone, and another has nodes of its own
        if said != self.seen:
            if self.seen is not None and said:
                self.token = said.get("token")
            self.seen, self.since = said, time.monotonic()
        silent = time.monotonic() - self.since
        if said.get("over") and (said.get("token") == self.token or silent > 10 * BEAT):
            return False
        if silent > LOST:
            raise RankError(
                f"node {self.node.number}: in {self.store / 'nodes'} the first node gave no sign of life "
                f"for {LOST:.0f} s; --store has to be a disk that all nodes share"
            )
        return True

    def wants(self, attempt: str) -> bool:
        """Whether it still waits for the ranks of a run."""
        return self.goes_on() and _read(_file(self.store, self.node, ".run")).get("attempt") == attempt


def _lend(run: dict[str, Any], store: Path, cache: Path, node: Node, goes_on: Callable[[], bool]) -> None:
    from ablate.study.training import PRELOAD, train_rank

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "recipe.yaml"
        path.write_text(run["recipe"], encoding="utf-8")
        recipe = load_recipe(path)
    job = Job(recipe, run["arm"], run["seed"], store, cache, run["threads"], run["identity"])
    ranks = node_ranks(recipe.train, node.number, run["address"], run["port"])
    body = functools.partial(train_rank, job, store / run["folder"])
    run_ranks(body, ranks, preload=PRELOAD, goes_on=goes_on)
