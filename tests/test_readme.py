"""Every command in the README is run, and what it shows is what it does."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALLER = {
    "recipes/aa.yaml": ["seeds=[0,1]", "budget.steps=20", "planted.documents=600"],
    "mine.yaml": [
        "seeds=[0,1]",
        "budget.text_tokens=60000",
        "train.rows=8",
        "model.layers=1",
        "model.width=32",
        "model.heads=2",
        "model.context_length=64",
        "tokenizer.vocabulary=512",
        "streams.pictures.encoder.image_size=32",
    ],
}
"""Overrides that shrink what the README runs at full size."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A checkout to run commands in, with a recipe of the reader's own and shards."""
    place = tmp_path_factory.mktemp("reader")
    for name in ("recipes", "results"):
        (place / name).symlink_to(ROOT / name) if name == "recipes" else (place / name).mkdir()
    (place / "results" / "quickstart").mkdir()
    for item in (ROOT / "results" / "quickstart").iterdir():
        if item.name != "fresh":
            (place / "results" / "quickstart" / item.name).symlink_to(item)
    (place / "shards").symlink_to(shards)
    (recipe,) = blocks("yaml")
    (place / "mine.yaml").write_text(recipe, encoding="utf-8")
    return place


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_first_screen_is_the_two_commands() -> None:
    assert [line.split()[:2] for line in commands()[:2]] == [["make", "demo"], ["make", "test"]]


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("ablate")])
def test_a_command_of_the_readme_works(line: str, folder: Path) -> None:
    program, *words = shlex.split(line)
    assert program == "ablate"
    if words[0] == "run" or words[:2] == ["plan", "mine.yaml"]:
        words += SMALLER[words[1]]
    if words[:2] == ["bench", "step"]:
        words += ["--layers", "1", "--width", "64", "--heads", "2", "--steps", "2", "--rounds", "2"]
    if words[:2] == ["bench", "data"]:
        words += ["--seconds", "0.1"]
    done = run([sys.executable, "-m", "ablate.cli", *words], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_make_demo_trains_afresh_and_compares_with_what_is_committed(folder: Path, tmp_path: Path) -> None:
    """At a reduced budget, with an installation that stands."""
    make = ["make", "-f", str(ROOT / "Makefile"), "-o", "install", "demo", f"BIN={tmp_path}"]
    script = tmp_path / "ablate"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m ablate.cli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    done = run([*make, "OVERRIDES=budget.steps=40 seeds=[0,1] arms.image.controls=[shuffled]"], folder)
    assert done.returncode == 0, done.stderr
    assert "6 to train" in done.stdout
    assert "beside results/quickstart" in done.stdout
    assert (folder / "results/quickstart/fresh/table.md").exists()


def test_the_table_on_the_first_screen_is_the_committed_one() -> None:
    """The numbers shown are those that the records give."""
    from rich.console import Console

    from ablate.report.study import load_records, read_header, render
    from ablate.show import summary_table

    study = ROOT / "results" / "quickstart"
    header = read_header(study)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(summary_table(render(header, load_records(study, header))))
    shown = re.search(r"<!-- demo -->\n```\n(.*?)```", README, flags=re.S)
    assert shown
    printed = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert [line.rstrip() for line in shown[1].splitlines()][: len(printed)] == printed


def test_the_encoder_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import registry

    (source,) = blocks("python")
    (tmp_path / "mean_colour.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.ENCODERS, "mean_colour", "mean_colour:MeanColour")
    encoder = registry.build_encoder({"name": "mean_colour"}, width=16)
    images = torch.zeros(2, *encoder.item_shape, dtype=torch.uint8)
    assert encoder(images).shape == (2, 1, 16)
    assert encoder.targets(images).shape == (2, 1, 3)
    assert encoder.flops_per_item().total == 2 * 2 * 3 * 16


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
