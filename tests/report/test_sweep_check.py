"""A sweep on disk: `ablate report` writes it, and `--check` sees whatever is not what the records give."""

import shutil

import pytest
from fabricated import ACCURACY
from small_sweep import hill, lattice, sweep_of, write
from typer.testing import CliRunner

from ablate.cli import app
from ablate.record import read_record, write_record
from ablate.report.check import examine, sweeps_under
from ablate.report.sweep import render_sweep

TWO = ("text", "pictures")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write(folder / "sweep", sweep_of(TWO, lattice(TWO, 2)), hill, seeds=3, noise=0.02, controls=False)
    for name in ("surface-2.svg", "trend.csv", "README.md", "mine.csv"):
        (folder / "sweep" / name).write_text("x")
    render_sweep(folder / "sweep")
    return folder


@pytest.fixture
def results(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "results")


def test_files_of_an_earlier_form_go_and_those_of_a_person_stay(rendered):
    left = {path.name for path in (rendered / "sweep").iterdir()}
    assert {"README.md", "mine.csv", "table.md", "table.tex", "report.html", "surface.svg"} <= left
    assert not {"surface-2.svg", "trend.csv"} & left
    assert (rendered / "sweep" / "all" / "table.md").is_file()


def test_a_sound_sweep_passes_the_check_with_its_studies(results):
    assert sweeps_under(results) == [results / "sweep"]
    (results / "sweep" / "mine.csv").unlink()
    done = CliRunner().invoke(app, ["report", "--check", str(results / "sweep")], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "1 studies, 1 sweeps and 0 calibrations" in done.output


def test_a_record_that_changed_makes_the_sweep_and_its_study_stale(results):
    path = results / "sweep" / "all" / "records" / "text-seed1.json"
    record = read_record(path)
    score = record.scores[ACCURACY]
    record.scores[ACCURACY] = type(score)(0.5, score.items, True, score.chance)
    write_record(record, path)
    stale = " ".join(examine([results]).differences)
    for name in (
        "sweep/table.md",
        "sweep/report.html",
        "sweep/points.csv",
        "sweep/surface.svg",
        "all/table.md",
    ):
        assert name in stale


def test_a_sweep_file_that_was_edited_is_a_difference_and_no_crash(results):
    path = results / "sweep" / "sweep.json"
    path.write_text(path.read_text().replace('"baseline": "text"', '"baseline": 7'))
    said = examine([results]).differences
    assert any("cannot be rendered" in one and "baseline is 7" in one for one in said)


def test_the_command_reports_a_sweep_and_compares_its_settings(results):
    shutil.copytree(results / "sweep", results / "other")
    done = CliRunner().invoke(
        app, ["report", str(results / "sweep"), "--against", str(results / "other")], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    assert "planted/accuracy: " in done.output
    assert "agree: pictures_image" in done.output
