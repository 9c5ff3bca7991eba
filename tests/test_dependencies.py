"""What is imported is declared, and pinned for the run that proves it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = {"ablate", "encoders"}


def normal(name: str) -> str:
    """A distribution's name as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> set[str]:
    """Distributions that the modules below ``folder`` import, anywhere in them."""
    names = set()
    for path in (ROOT / folder).glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    neighbours = {path.stem for path in (ROOT / "tests").glob("**/*.py")}
    known = packages_distributions()
    return {normal(known[name][0]) for name in names - OWN - set(sys.stdlib_module_names) - neighbours}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): number for name, number in pairs}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return {normal(re.split(r"[<>=!~ ;\[]", line)[0]) for line in lines}


def test_everything_that_is_imported_is_a_dependency() -> None:
    assert imported("ablate") | imported("encoders") <= declared("tensorboard", "harness", "ray")
    assert imported("tests") <= declared("test", "tensorboard", "harness", "ray")
    assert {"torch", "av", "soundfile", "pillow", "webdataset"} <= imported("ablate")


def test_every_dependency_is_pinned() -> None:
    assert declared("test", "tensorboard", "harness", "ray") == set(pinned())
