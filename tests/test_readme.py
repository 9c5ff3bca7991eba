"""Every command in the README is run, and what it shows is what it does."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from recipe_shards import write_pictures_folder

from ablate.materials import Materials, build_mixture

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALLER = {
    "recipes/aa.yaml": ["seeds=[0]", "budget.steps=20", "planted.documents=600"],
    "mine.yaml": [
        "seeds=[0]",
        "budget.text_tokens=60000",
        "train.rows=8",
        "model.layers=1",
        "model.width=32",
        "model.heads=2",
        "model.context_length=64",
        "tokenizer.vocabulary=512",
        "streams.pictures.encoder.image_size=32",
    ],
    "both.yaml": ["seeds=[0,1]", "train.rows=8", "model.layers=1", "model.width=32", "model.heads=2"],
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
    for study in ("quickstart", "quickstart_two_thirds", "calibration/aa"):
        (place / "results" / study).mkdir(parents=True)
        for item in (ROOT / "results" / study).iterdir():
            if item.name != "fresh":
                (place / "results" / study / item.name).symlink_to(item)
    (place / "shards").symlink_to(shards)
    for name, recipe in zip(("widths.yaml", "mine.yaml", "both.yaml"), blocks("yaml"), strict=True):
        (place / name).write_text(recipe, encoding="utf-8")
    write_pictures_folder(place / "photos")
    return place


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_first_screen_is_the_two_commands() -> None:
    assert [line.split()[:2] for line in commands()[:2]] == [["make", "demo"], ["make", "test"]]


def shown(name: str) -> list[str]:
    """The lines of the output that the README shows between `<!-- name -->` and `<!-- /name -->`."""
    (block,) = re.findall(rf"<!-- {name} -->\n```\n(.*?)```\n<!-- /{name} -->", README, flags=re.S)
    return [line.rstrip() for line in block.splitlines() if line.strip()]


def printed(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


CHAINED = ("ablate data", "ablate export", "ablate generate", "ablate sweep", "ablate status")
ALONE = [line for line in commands() if line.startswith("ablate") and not line.startswith(CHAINED)]
"""Commands that need none of those before them."""


@pytest.mark.slow
@pytest.mark.parametrize("line", ALONE)
def test_a_command_of_the_readme_works(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: another would spend most of its time on imports."""
    from ablate.cli import main

    program, *words = shlex.split(line)
    assert program == "ablate"
    if words[0] in ("run", "screen") or (words[0] == "plan" and words[1] in SMALLER):
        words += SMALLER[words[1]]
    if "--until-decided" in words:
        words[words.index("--max-seeds") + 1] = "3"
        words += ["--results", f"results/{words[0]}"]
    if words[0] == "calibrate":
        words += ["--studies", "50", "--out", "calibration"]
    if words[:2] in (["bench", "step"], ["bench", "media"]):
        words += ["--layers", "1", "--width", "64", "--heads", "2", "--steps", "2", "--rounds", "2"]
    if words[:2] == ["bench", "scoring"]:
        words += ["--layers", "1", "--width", "64", "--heads", "2", "--pairs", "50", "--rounds", "1"]
    if words[:2] == ["bench", "data"]:
        words += ["--seconds", "0.1"]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ablate", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert said.out.strip()


@pytest.mark.slow
def test_the_sweep_of_the_readme_is_planned_run_and_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablate.cli import main

    smaller = ["seeds=[0]", "budget.steps=20", "budget.match=positions", "planted.documents=600"]
    smaller += ["sweep.mixture.shares=[0.5]", "sweep.mixture.held_out=0", "sweep.mixture.controls=[]"]
    monkeypatch.chdir(folder)
    said = {}
    for line in (line for line in commands() if line.startswith(("ablate sweep", "ablate status"))):
        words = shlex.split(line)
        monkeypatch.setattr(sys, "argv", [*words, *(smaller if words[1] == "sweep" else [])])
        with pytest.raises(SystemExit) as ended:
            main()
        shown_now = capsys.readouterr()
        assert not ended.value.code, shown_now.err
        said[line] = shown_now.out
    planned, done, status = said.values()
    assert "Nothing was trained" in planned
    assert "report.html" in done
    assert "finished" in status


def test_the_sweep_that_the_readme_writes_down_is_two_settings_of_four_mixtures_with_their_placebos(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablate.cli import main

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["ablate", "sweep", "widths.yaml", "--dry-run", "planted.documents=600"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert "54 runs, 54 distinct" in said.out, "2 widths, 3 seeds, text and 4 mixtures with a placebo each"
    assert said.out.count("held_out") == 1


def test_a_folder_of_photographs_becomes_the_shard_that_the_readme_shows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablate.cli import main

    monkeypatch.chdir(folder)
    said = []
    for line in (line for line in commands() if line.startswith("ablate data")):
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        said.append(capsys.readouterr().out)
    packed, held = said
    assert printed(packed) == shown("import")
    assert "shards/mine/photos-000000.tar" in held
    assert "a wall, a cat" in (folder / "samples.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_of_ones_own_is_exported_and_writes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablate.cli import main

    monkeypatch.chdir(folder)
    lines = [line for line in commands() if line.startswith(("ablate export", "ablate generate"))]
    for line in ["ablate run mine.yaml " + " ".join(SMALLER["mine.yaml"]), *lines]:
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
    assert said.out.strip()
    card = (folder / "image-model" / "README.md").read_text(encoding="utf-8")
    assert "Do my pictures help?" in card


@pytest.mark.parametrize("ending", ["txt", "json", "jsonl", "tsv"])
def test_captions_are_read_wherever_the_readme_says_they_may_be(ending: str, tmp_path: Path) -> None:
    import json

    from ablate.shards.gather import GatherOptions
    from ablate.shards.importer import import_folder

    photos = tmp_path / "photos"
    write_pictures_folder(photos)
    (photos / "captions.csv").unlink()
    for number, photo in enumerate(sorted(photos.iterdir())):
        line = {"file_name": photo.name, "caption": f"caption {number}"}
        if ending == "txt":
            photo.with_suffix(".txt").write_text(line["caption"])
        elif ending == "json":
            photo.with_suffix(".json").write_text(json.dumps({"captions": [line["caption"]]}))
        else:
            with (tmp_path / f"captions.{ending}").open("a") as out:
                head = "" if ending == "jsonl" or number else "file_name\tcaption\n"
                out.write(
                    f"{json.dumps(line)}\n" if ending == "jsonl" else head + "\t".join(line.values()) + "\n"
                )
    given = None if ending in ("txt", "json") else tmp_path / f"captions.{ending}"
    assert import_folder(photos, tmp_path / "out", GatherOptions(captions=given)).captions == 3


def test_the_encoders_of_the_readme_are_those_that_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from ablate.show import show_encoders

    show_encoders()
    assert printed(capsys.readouterr().out) == shown("encoders")


def test_the_readme_names_every_medium_and_every_control() -> None:
    from ablate.data.controls import KEEPS_AND_CHANGES
    from ablate.data.media import MEDIA

    section = README.partition("## Modalities")[2].partition("\n## ")[0]
    for modality, extensions in MEDIA.items():
        (row,) = re.findall(rf"^\| {modality} \|(.*)$", section, flags=re.M)
        assert all(f"`{extension}`" in row for extension in extensions if extension != "jpeg")
    assert all(f"`{control}`" in section for control in KEEPS_AND_CHANGES)


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

    from ablate.report.analysis import analyse
    from ablate.report.study import load_records, read_header, render
    from ablate.show_report import summary_table

    study = ROOT / "results" / "quickstart"
    header = read_header(study)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(summary_table(render(analyse(header, load_records(study, header)))))
    table = printed(console.export_text())
    assert shown("demo")[: len(table)] == table


def test_the_verdict_of_the_sweep_is_the_committed_one() -> None:
    from ablate.report.sweep import sweep_numbers
    from ablate.report.sweep_analysis import read_results
    from ablate.report.sweep_page import compose_sweep

    document = compose_sweep(sweep_numbers(read_results(ROOT / "results" / "image_share_planted")))
    assert " ".join(" ".join(shown("sweep")).split()) == document.verdict[0]


def test_the_encoder_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[..., Materials]
) -> None:
    from ablate.budget.plan import plan_study
    from ablate.model.build import build_model
    from encoders import registry

    (source,) = blocks("python")
    (tmp_path / "mean_colour.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.ENCODERS, "mean_colour", "mean_colour:MeanColour")
    encoder = registry.build_encoder({"name": "mean_colour"}, width=16)
    images = torch.zeros(2, *encoder.spec.shape, dtype=torch.uint8)
    assert encoder(images).shape == (2, 1, 16)
    assert encoder.targets(images).shape == (2, 1, 3)
    assert encoder.flops_per_item().total == 2 * 2 * 3 * 16
    # A recipe that names it is planned, and a batch of it goes through the model and back.
    named = ("streams.pictures.encoder.name=mean_colour", "streams.pictures.encoder.patch_size=null")
    materials = prepared(*named)
    plan = next(plan for plan in plan_study(materials) if plan.arm.name == "image")
    model = build_model(materials.recipe, plan.arm, materials.tokenizer.vocabulary, 0)
    sums = model(build_mixture(materials, plan.arm, 0).step(0).microbatches[0])
    (sums.text + sums.media).backward()
    assert all(weight.grad is not None for weight in model.encoders.parameters())


def test_the_readme_names_every_kind_of_task() -> None:
    from ablate.tasks.registry import TASKS

    section = README.partition("## Text tasks")[2].partition("\n## ")[0]
    assert {kind for kind in TASKS if f"`{kind}`" not in section} == set()


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
