"""A sweep whose arms are tuned: the same trials for every arm of a setting, then the seeds that decide."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ablate.cli import app
from ablate.report.analysis import read_study
from ablate.report.check import check
from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_tables import compute_summary
from ablate.report.tuning import read_tuning
from ablate.study.plans import announced
from ablate.study.study import Places
from ablate.sweep.load import load_sweep
from ablate.sweep.plan import SweepPlan, plan_sweep, sweep_bytes

ARM = "image: {mixture: {text: 0.5, pictures: 0.5}, media_loss: 0.5, controls: [captions_only, shuffled]}"
TUNED = """
tune: {grid: {learning_rate: [1.0e-4, 1.0e-2]}, seeds: [7], endpoint: prose/bits_per_byte}
sweep:
  mixture: {streams: [text, pictures], design: list, points: [{pictures: 0.5}], controls: [shuffled]}
  across:
    note:
      plain: {train.log_every: 10}
      often: {train.log_every: 5}
    decay:
      weak: {}
      strong: {train.weight_decay: 0.5}
"""
"""Levels of `note` change nothing that a run depends on."""


@dataclass(frozen=True)
class Tuned:
    """A tuned sweep and the command line on it."""

    file: Path
    places: Places
    command: Callable[..., Result]

    def plan(self) -> SweepPlan:
        """As the next command would plan it."""
        return plan_sweep(load_sweep(self.file), self.places, 1)


def sweep_in(folder: Path, text: str, cache: Path) -> Tuned:
    """The sweep ``text`` with a store and results of its own."""
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    places = Places(folder / "store", cache, folder / "results" / "tiny")
    options = ["--store", places.store, "--cache", cache, "--results", places.results, "--slots", "2"]

    def command(*more: str) -> Result:
        return CliRunner().invoke(app, ["sweep", str(folder / "sweep.yaml"), *map(str, options), *more])

    return Tuned(folder / "sweep.yaml", places, command)


@pytest.fixture(scope="module")
def written(tiny_file: Path) -> str:
    tiny = tiny_file.read_text(encoding="utf-8").replace(ARM, "").replace("seeds: [0, 1]", "seeds: [0]")
    return tiny.replace("budget: {match: flops, steps: 60}", "budget: {match: positions, steps: 12}") + TUNED


@pytest.fixture(scope="module")
def before(written: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return sweep_in(tmp_path_factory.mktemp("before"), written, cache)


@pytest.fixture(scope="module")
def after(written: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuned, Result]:
    sweep = sweep_in(tmp_path_factory.mktemp("after"), written, cache)
    return sweep, sweep.command()


def test_a_dry_run_counts_the_trials_and_trains_nothing(before: Tuned) -> None:
    said = " ".join(before.command("--dry-run").output.split())
    assert "16 trials, 8 distinct" in said
    assert "to train: 8 trials" in said
    assert "which runs follow is known when they have ended" in said
    assert not before.places.results.exists()


def test_no_run_counts_as_finished_before_it_is_known_which_runs_follow(before: Tuned) -> None:
    assert not any(cell.finished for cell in before.plan().cells)


def test_two_sweeps_of_one_name_do_not_tune_at_once(before: Tuned) -> None:
    name = before.plan().sweep.name
    with announced([], before.places.store, sweep=(name, "0" * 32)):
        result = before.command()
    assert result.exit_code != 0
    assert "is being run there from another recipe" in str(result.exception)
    assert not before.places.results.exists()


def test_each_distinct_trial_is_run_once_and_every_setting_trains_with_its_own_picks(
    after: tuple[Tuned, Result],
) -> None:
    sweep, result = after
    assert result.exit_code == 0, result.output
    plan = sweep.plan()
    stored = len(list(sweep.places.store.glob("*/*/record.json")))
    distinct = {cell.identity for cell in (*plan.cells, *plan.trials)}
    assert stored == len(distinct) == 8 + 6, "2 arms x 2 points x 2 decays, then 3 arms x 2 decays"
    for setting in plan.settings:
        folder = sweep.places.results / setting.name
        tuning = read_tuning(folder)
        assert tuning is not None
        assert tuning.design.trials_per_arm == 2
        study = read_study(folder)
        assert study.tuning_faults == []
        picks = tuning.settings()
        for run in study.records:
            arm = run.mirrors or run.arm
            assert run.resolved["train"]["learning_rate"] == picks[arm]["learning_rate"]


def test_the_report_counts_each_distinct_trial_beside_the_runs(after: tuple[Tuned, Result]) -> None:
    sweep, _ = after
    rows = {row[0]: row for row in compute_summary(read_results(sweep.places.results)).rows}
    plan = sweep.plan()
    trials = {cell.identity: cell.flops for cell in plan.trials}
    assert rows["trials of tuning, distinct"][1:] == [8, f"{sum(trials.values()):.4g}".replace("e+", "e")]
    assert rows["trained, distinct"][1] == 6


def test_models_of_trials_take_disk_until_they_are_there(before: Tuned, after: tuple[Tuned, Result]) -> None:
    ahead = before.plan()
    untuned = dataclasses.replace(
        ahead, settings=[dataclasses.replace(one, tuning=None) for one in ahead.settings]
    )
    parameters = sum(ahead.settings[0].tuning.trials[0].plan.ledger.parameters.values())
    assert sweep_bytes(ahead, 1) > sweep_bytes(untuned, 1) + 4 * parameters * 7
    assert sweep_bytes(after[0].plan(), 1) == 0


def test_the_same_command_again_trains_nothing_and_its_report_stands(after: tuple[Tuned, Result]) -> None:
    sweep, _ = after
    again = sweep.command()
    assert again.exit_code == 0, again.output
    assert again.output.count("0 to train") == 2
    assert check([sweep.places.results]) == []


def test_a_setting_whose_trials_fail_is_named_and_the_others_are_trained(
    written: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hopeless = written.replace(
        "      strong: {train.weight_decay: 0.5}", "      broken: {train.weight_decay: 1.0e+30}"
    )
    sweep = sweep_in(tmp_path, hopeless, cache)
    result = sweep.command()
    assert result.exit_code == 1, result.output
    assert "setting plain.broken cannot be run" in result.output
    assert "tuning picked nothing" in result.output
    done = json.loads((sweep.places.results / "sweep.json").read_text())
    problems = {one["name"]: bool(one["problem"]) for one in done["settings"]}
    assert problems == {
        "plain.weak": False,
        "plain.broken": True,
        "often.weak": False,
        "often.broken": True,
    }
    assert list((sweep.places.results / "plain.weak" / "records").glob("*.json"))
