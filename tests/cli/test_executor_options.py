"""`ablate run --executor`: what cannot be used is one message and exit code 2, before any data are read."""

import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from own_study import OwnStudy, Ran, places


def test_a_ray_address_that_does_not_answer_is_one_message_and_exit_code_two(
    ablate: Callable[..., Ran], own: OwnStudy, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ["--executor", "ray", "--ray-address", address, *places(tmp_path, tmp_path / "cache")]
        began = time.monotonic()
        ran = ablate("run", own.recipe, *options)
    assert time.monotonic() - began < 20
    ran.refuses(f"--ray-address {address}: no Ray cluster answers", "ray start")
    assert ran.code == 2
    assert not (tmp_path / "cache").exists(), "nothing was prepared"


def test_an_unknown_executor_names_the_known_ones(
    ablate: Callable[..., Ran], own: OwnStudy, tmp_path: Path
) -> None:
    ran = ablate("run", own.recipe, "--executor", "slurm", *places(tmp_path, tmp_path / "cache"))
    ran.refuses("--executor 'slurm'", "local or ray")
    assert ran.code == 2
