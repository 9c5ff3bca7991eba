"""What lm-evaluation-harness is kept from while it works for us.

It opens no connection, unless a recipe says `download: true`; templates of prompts run in a sandbox (its own
Jinja environment would let a task file reach any Python object); nothing is loaded from the `evaluate` hub,
whose metrics are code; the global random states are given back as they were; and it prints nothing.
"""

import functools
import logging
import os
import random
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any
from unittest import mock

import numpy as np
import torch

from ablate.tasks.errors import TaskError

RANDOM_SEED, OTHER_SEED = 0, 1234
"""Seeds of `random`, and of NumPy, PyTorch and few-shot samplers, as in lm-eval's ``simple_evaluate``."""

_INTERNET = (socket.AF_INET, socket.AF_INET6)


def harness_version() -> str:
    """The version of lm-eval that is installed.

    Raises:
        TaskError: none is, with how to install it.
    """
    import importlib.metadata

    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise TaskError(
            "a task of kind harness needs lm-evaluation-harness; install it with "
            "`pip install -c constraints.txt -e '.[harness]'` in the checkout, or `pip install 'lm_eval[hf]'`"
        ) from error


@contextmanager
def guarded(download: bool = False) -> Iterator[None]:
    """A block that may call lm-eval.

    Args:
        download: whether it may open connections.
    """
    harness_version()
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_seeded())
        stack.enter_context(_sandboxed_templates())
        stack.enter_context(_without_hub_metrics())
        if not download:
            stack.enter_context(_offline())
        yield


@contextmanager
def _offline() -> Iterator[None]:
    """No connection, and libraries that know it, so that they look into their caches."""
    import datasets
    import huggingface_hub

    flags = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    with (
        mock.patch.dict(os.environ, flags),
        mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
        mock.patch.object(datasets.config, "HF_HUB_OFFLINE", True),
        mock.patch.object(datasets.config, "HF_DATASETS_OFFLINE", True, create=True),
        mock.patch.object(socket.socket, "connect", _refusing(socket.socket.connect)),
        mock.patch.object(socket.socket, "connect_ex", _refusing(socket.socket.connect_ex)),
    ):
        yield


def _refusing(connect: Any) -> Any:
    def refuse(self: socket.socket, address: Any) -> Any:
        if self.family in _INTERNET:
            raise OSError("no connection is opened while a task is read or scored")
        return connect(self, address)

    return refuse


@contextmanager
def _without_hub_metrics() -> Iterator[None]:
    """Metrics come from lm-eval's registry alone."""
    import lm_eval.api.metrics
    import lm_eval.api.registry
    import lm_eval.api.task

    def get_metric(name: str, hf_evaluate_metric: bool = False) -> Any:
        if hf_evaluate_metric or name not in lm_eval.api.registry.metric_registry:
            raise TaskError(f"its metric {name!r} is code of the `evaluate` hub, which is not run")
        return lm_eval.api.registry.get_metric(name)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {"HF_EVALUATE_OFFLINE": "1"}))
        stack.enter_context(mock.patch.object(lm_eval.api.task, "get_metric", get_metric))
        if "evaluate" in sys.modules:
            config = sys.modules["evaluate"].config
            stack.enter_context(mock.patch.object(config, "HF_EVALUATE_OFFLINE", True))
        yield


@contextmanager
def _sandboxed_templates() -> Iterator[None]:
    import lm_eval.utils
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    sandbox = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters.update(lm_eval.utils.env.filters)
    # lm-eval compiles a template anew for every item, which takes most of its time.
    sandbox.from_string = functools.cache(sandbox.from_string)  # type: ignore[method-assign,assignment]
    with mock.patch.object(lm_eval.utils, "env", sandbox):
        yield


@contextmanager
def _seeded() -> Iterator[None]:
    """Random states as lm-eval sets them; some tasks shuffle their choices by them."""
    plain, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(RANDOM_SEED)
        np.random.seed(OTHER_SEED)
        torch.default_generator.manual_seed(OTHER_SEED)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numbers)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, no log lines: what has to be said is said in errors and notes."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "evaluate")]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            redirect_stderr(nowhere),
            redirect_stdout(nowhere),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
