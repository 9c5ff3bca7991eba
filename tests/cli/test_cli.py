"""The command line does what its help says, and starts fast enough to be asked for it."""

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from own_study import OwnStudy, Ran, write_own_study

from ablate.budget.plan import plan_study
from ablate.cli import app
from ablate.materials import Materials
from ablate.record import read_record, write_record
from ablate.tasks.registry import TASKS, task_class
from encoders.registry import ENCODERS

ROOT = Path(__file__).parents[2]
Run = Callable[..., Ran]


def cells(out: str) -> dict[str, list[str]]:
    """First cell of each row of the printed tables to the other cells; a folded cell is one text again."""
    rows: dict[str, list[str]] = {}
    for line in out.splitlines():
        if line.startswith("│"):
            first, *others = [cell.strip() for cell in line.strip("│").split("│")]
            if first:
                rows.setdefault(first, []).extend(others)
    return rows


# --- Help


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    def walk(name: str, command: typer.core.TyperCommand) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for word, below in getattr(command, "commands", {}).items():
            yield f"{name} {word}", below
            yield from walk(f"{name} {word}", below)

    root = typer.main.get_command(app)
    yield "ablate", root
    yield from walk("ablate", root)


def test_help_needs_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['ablate', *sys.argv[1:]]\n"
        "from ablate.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'lightning', 'numpy', 'pandas', 'scipy', 'pyarrow', 'omegaconf', 'matplotlib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    for words in (["--help"], ["run", "--help"], ["bench", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), f"ablate {' '.join(words)} imported {done.stderr}"
        assert "Usage: ablate" in done.stdout


def test_every_command_argument_and_option_has_help() -> None:
    found = dict(commands())
    assert {"ablate check", "ablate plan", "ablate run", "ablate report", "ablate bench step"} <= set(found)
    for name, command in found.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", ""), f"{name}: {parameter.name}"


def test_a_mistyped_command_or_a_missing_argument_is_told(ablate: Run) -> None:
    for words, said in ((("chekc",), "Did you mean 'check'?"), (("check",), "Missing argument 'recipe'")):
        ran = ablate(*words)
        assert ran.code == 2
        assert said in ran.err


# --- Check


def test_check_says_what_the_data_hold(check: Run) -> None:
    ran = check()
    assert (ran.code, ran.err) == (0, "")
    rows = cells(ran.out)
    assert rows["tokenizer"][0] == "300 tokens"
    assert rows["stream text"][0].startswith("60 documents")
    assert rows["stream pictures"][0] == "12 samples, 12 captions"
    assert rows["task questions"][0] == "16 held-out texts"


def test_a_folder_named_with_the_characters_of_a_glob_is_that_folder(
    ablate: Run, cache: Path, tmp_path: Path
) -> None:
    study = write_own_study(tmp_path, tmp_path / "[v1] what? *all*")
    (tmp_path / "v").mkdir()
    ran = ablate("check", study.recipe, "--cache", cache)
    assert (ran.code, ran.err) == (0, "")
    assert cells(ran.out)["stream text"][0].startswith("60 documents")


# --- Plan


def test_plan_prints_what_every_arm_spends_and_trains_nothing(
    ablate: Run,
    tiny_file: Path,
    cache: Path,
    materials: Materials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = ablate("plan", tiny_file, "--cache", cache)
    assert (ran.code, ran.err) == (0, "")
    assert list(tmp_path.iterdir()) == []
    rows = cells(ran.out)
    plans = plan_study(materials)
    assert {"text", "image", "image.captions_only", "image.shuffled"} == {plan.arm.name for plan in plans}
    components = ["backbone", "attention", "head", "encoder/pictures", "media_head/pictures"]
    places = [ran.out.index(component) for component in components]
    assert places == sorted(places)
    for plan in plans:
        # Steps, FLOPs, against the baseline, text tokens, captions, media positions, parameters, time.
        spent, by_component = rows[plan.arm.name][:8], rows[plan.arm.name][8:]
        assert spent[0] == str(plan.steps)
        assert abs(float(spent[2].rstrip("%"))) <= 1
        assert [value != "0" for value in by_component] == [
            part in plan.flops_per_step for part in components
        ]
        assert magnitude(spent[1]) == pytest.approx(plan.ledger.total_flops, rel=0.01)
        for value, part in zip(by_component, components, strict=True):
            assert magnitude(value) == pytest.approx(plan.flops_per_step.get(part, 0), rel=0.01)
    assert "4 arms x 2 seeds = 8 runs" in ran.out


def magnitude(shown: str) -> float:
    """`12.3M` as a number."""
    scale = {"k": 1e3, "M": 1e6, "G": 1e9}
    return float(shown[:-1]) * scale[shown[-1]] if shown[-1] in scale else float(shown)


def test_plan_refuses_pairs_that_do_not_match(
    ablate: Run, tiny_file: Path, cache: Path, materials: Materials
) -> None:
    ran = ablate("plan", tiny_file, "budget.steps=3", "--cache", cache)
    ran.refuses("tiny: flops", "more than 1%", "a larger budget")
    # Whole steps cannot meet so small a budget: the shares follow from the cost of a step.
    step = {plan.arm.name: sum(plan.flops_per_step.values()) for plan in plan_study(materials)}
    affordable = 3 * step["text"]
    share = round(affordable / step["image"]) * step["image"] / affordable - 1
    arms = ("image", "image.captions_only", "image.shuffled")
    assert ", ".join(f"{arm} {share:+.2%}" for arm in arms) in ran.err
    assert ran.out == ""


# --- Run and report


def test_a_study_is_run_reported_and_compared(
    ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    store, fresh, committed = tmp_path / "store", tmp_path / "fresh", tmp_path / "committed"
    command = ["run", own.recipe, "seeds=[0, 1]", "--store", store, "--cache", cache, "--results", fresh]
    ran = ablate(*command, "--slots", 1, "--threads", 1)
    assert (ran.code, ran.err) == (0, "")
    assert "own: 4 to train" in ran.out
    assert "[4/4] image seed 1: finished" in ran.out
    assert set(cells(ran.out)) == {"text", "image"}
    for name in ("table.md", "contrasts.csv", "scores.csv", "compute.csv", "forest.svg"):
        assert (fresh / name).stat().st_size > 100

    shutil.copytree(fresh, committed)
    same = ablate("report", fresh, "--against", committed)
    assert (same.code, same.err) == (0, "")
    assert "agree: image vs text on questions/accuracy" in same.out
    assert "DIFFER" not in same.out

    for path in (committed / "records").glob("image-*.json"):
        record = read_record(path)
        score = dataclasses.replace(record.scores["questions/accuracy"], value=0.9 + record.seed / 1000)
        write_record(dataclasses.replace(record, scores={"questions/accuracy": score}), path)
    other = ablate("report", fresh, "--against", committed)
    assert other.code == 1
    assert "DIFFER: image vs text on questions/accuracy" in other.out


def test_a_report_of_no_study_says_how_to_make_one(ablate: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.touch()
    for place in (tmp_path, recipe):
        ablate("report", place).refuses(str(place / "study.json"), "`ablate run RECIPE` makes one")


# --- List


def test_list_encoders_names_every_registered_one(ablate: Run) -> None:
    ran = ablate("list", "encoders")
    assert (ran.code, ran.err) == (0, "")
    rows = cells(ran.out)
    assert set(rows) == set(ENCODERS)
    # Modality, shape of an item, tokens an item, parameters, trunk, pretraining.
    assert rows["patches"] == ["image", "3x32x32", "16", "79.9k", "trained", "nothing"]
    assert {row[0] for row in rows.values()} == {"image", "video", "audio", "sensor"}


def test_list_tasks_names_every_kind_with_its_metrics(ablate: Run) -> None:
    ran = ablate("list", "tasks")
    assert (ran.code, ran.err) == (0, "")
    blocks = {block.split(" (version ")[0]: block for block in ran.out.split("\n\n")}
    assert set(TASKS) <= set(blocks)
    for kind in TASKS:
        assert set(task_class(kind).metrics) <= set(re.findall(r"\w+", blocks[kind]))


def test_one_kind_of_task_is_listed_with_its_settings(ablate: Run) -> None:
    ran = ablate("list", "tasks", "fine_tune")
    assert ran.code == 0
    assert {"text_fields", "label_field", "method", "freeze_backbone"} <= set(re.findall(r"\w+", ran.out))
    assert "blimp (version" not in ran.out
    unknown = ablate("list", "tasks", "fine_tume")
    assert unknown.code != 0
    assert "Did you mean 'fine_tune'" in unknown.err
