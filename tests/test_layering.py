"""Imports go one way: from the recipe down to the report, never back."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

MAY_IMPORT: dict[str, set[str]] = {
    "seeding": set(),
    "whole_file": set(),
    "budget.ledger": set(),
    "record": {"budget.ledger", "whole_file"},
    "recipe": {"tasks"},
    "data": {"seeding", "recipe"},
    "shards": {"data", "whole_file"},
    "tasks": {"record", "data"},
    "materials": {"seeding", "recipe", "data", "tasks"},
    "model": {"seeding", "recipe", "data"},
    "budget": {"budget.ledger", "recipe", "data", "materials", "model"},
    "train": {"record", "recipe", "data", "model"},
    "stats": {"record"},
    "report": {"record", "budget.ledger", "stats", "whole_file"},
    "executors": {"record", "recipe", "train", "whole_file"},
    "study": {
        *("record", "recipe", "data", "tasks", "materials", "model"),
        *("budget", "budget.ledger", "train", "executors", "report", "whole_file"),
    },
    "sweep": {
        *("seeding", "record", "recipe", "data", "materials", "budget", "executors"),
        *("stats", "report", "study"),
    },
    "bench": {
        *("seeding", "record", "recipe", "data", "tasks", "materials", "model"),
        *("budget", "budget.ledger", "train", "executors", "study"),
    },
}
"""Room to the rooms it may import. The command line (`cli...`, `show...`) may import all of them.

One exception to the order: `recipe` reads the settings classes of tasks by name, to refuse a typo in them.
"""


def room_of(module: str) -> str:
    """The room a module of `ablate` belongs to."""
    name = module.removeprefix("ablate.")
    return "budget.ledger" if name == "budget.ledger" else name.split(".")[0]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("ablate.")}


def test_no_room_imports_one_that_comes_after_it() -> None:
    wrong, seen = [], set()
    for path in sorted((ROOT / "ablate").glob("**/*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        room = room_of(module)
        if path.name == "__init__.py" or room.startswith(("cli", "show")):
            continue
        seen.add(room)
        for name in imports_of(path):
            if room_of(name) not in MAY_IMPORT[room] | {room}:
                wrong.append(f"{module} imports {name}")
    assert wrong == []
    assert seen == set(MAY_IMPORT)


def test_the_report_needs_no_torch() -> None:
    """Tables are made of records alone, also where torch is not installed."""
    import subprocess
    import sys

    program = "import ablate.report.study, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
