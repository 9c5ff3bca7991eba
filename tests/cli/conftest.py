"""The command line, run in this process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from own_study import OwnStudy, Ran, write_own_study


@pytest.fixture
def own(tmp_path: Path) -> OwnStudy:
    """A sound study, for a test to spoil."""
    return write_own_study(tmp_path, tmp_path / "data")


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """`ablate WORDS...`, as the installed script runs it."""
    from ablate.cli import main

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["ablate", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def check(ablate: Callable[..., Ran], own: OwnStudy, cache: Path) -> Callable[..., Ran]:
    """`ablate check` on one's own study, with overrides."""
    return lambda *overrides: ablate("check", own.recipe, *overrides, "--cache", cache)
