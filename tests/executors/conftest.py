"""The server that runs are forked from, which the tests of studies in this process use as well."""

import multiprocessing
from multiprocessing import forkserver

import pytest


@pytest.fixture(scope="session", autouse=True)
def server() -> None:
    """Have it import torch once: the first to start it decides what it holds for all that come."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["ablate.study.dispatch"])
    forkserver.ensure_running()
