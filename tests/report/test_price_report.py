"""The page on prices: what is committed is what the runs give, and damaged runs are refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fabricated import BITS, header, run, write_study
from typer.testing import CliRunner

from ablate.cli import app
from ablate.report.analysis import read_study
from ablate.report.check import check
from ablate.report.load import StudyError, read_header, write_header
from ablate.report.price import render_price, write_price
from ablate.report.price_runs import PriceError, read_measurement
from ablate.report.registration import lock_plan
from ablate.report.study import render_study

RESULTS = Path(__file__).parents[2] / "results"
VARIANCE = RESULTS / "variance"


def measurement(folder: Path, seeds: int = 6) -> Path:
    """Two schedules, two averages; the second average of the second schedule halves the differences."""
    folder.mkdir(exist_ok=True)
    settings = {
        "settings_format": 1,
        "recipe": "",
        "baseline": "text",
        "arm": "other",
        "endpoint": BITS,
        "margin": 0.01,
        "schedules": {"decay": {}, "constant": {}},
        "averages": {"last weights": {}, "ema": {}},
        "device": "cpu",
        "aa": "",
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    random = np.random.Generator(np.random.PCG64(0))
    lines = []
    for seed in range(seeds):
        base, moved = random.normal(size=2)
        for schedule, scale in (("decay", 1.0), ("constant", 0.5)):
            for arm, away in (("text", 0.0), ("other", 0.05 * moved)):
                scores = {"last weights": 1 + 0.1 * base + away, "ema": 1 + 0.1 * base + scale * away}
                raw = {"seed": seed, "arm": arm, "schedule": schedule, "scores": scores, "flops": 1000}
                lines.append(json.dumps(raw))
    (folder / "runs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_the_committed_page_is_what_its_runs_and_the_aa_records_give() -> None:
    assert check([VARIANCE]) == []


def test_the_committed_last_weights_are_those_of_the_committed_aa_records() -> None:
    """The same runs again, trained under the first schedule: scoring may sum in another order since."""
    lines = (VARIANCE / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    seen = 0
    for raw in map(json.loads, lines):
        if raw["schedule"] == "decay to 0":
            path = RESULTS / "calibration" / "aa" / "records" / f"{raw['arm']}-seed{raw['seed']}.json"
            published = json.loads(path.read_text(encoding="utf-8"))["scores"]["prose/bits_per_byte"]["value"]
            assert raw["scores"]["last weights"] == pytest.approx(published, rel=1e-7)
            seen += 1
    assert seen >= 20


def test_half_the_differences_cost_a_quarter(tmp_path: Path) -> None:
    found = read_measurement(measurement(tmp_path))
    halved = next(way for way in found.ways if (way.schedule, way.average) == ("constant", "ema"))
    assert halved.against is not None
    assert halved.own is not None
    assert halved.against.ratio == pytest.approx(0.25)
    assert halved.own.ratio == pytest.approx(0.25)
    assert found.ways[0].against is None
    for way in found.ways:
        assert way.price.pairs is not None
        assert way.price.unpaired is not None
        assert way.price.unpaired > way.price.pairs


def test_a_seed_that_lacks_a_run_is_in_no_number_and_is_named(tmp_path: Path) -> None:
    folder = measurement(tmp_path)
    runs = (folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "runs.jsonl").write_text("\n".join(runs[:-1]) + "\n", encoding="utf-8")
    assert read_measurement(folder).seeds == tuple(range(5))
    assert "Seeds 5 lack a run" in render_price(folder)["table.md"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text + text.splitlines()[0] + "\n", "line 25: text seed 0, decay is there already"),
        (lambda text: text + '{"seed": 9', "not a line a run"),
        (lambda text: text.replace('"last weights": 1', '"last weights": NaN, "x": 1', 1), "is not finite"),
        (lambda text: "\n".join(text.splitlines()[:8]), "2 whole seeds"),
    ],
)
def test_damaged_runs_are_refused(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    folder = measurement(tmp_path)
    path = folder / "runs.jsonl"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(PriceError, match=said):
        read_measurement(folder)


def test_the_command_writes_the_page_and_finds_an_edited_one(tmp_path: Path) -> None:
    folder = measurement(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["price", str(folder)]).exit_code == 0
    assert runner.invoke(app, ["price", str(folder), "--check"]).exit_code == 0
    whole = runner.invoke(app, ["report", str(folder), "--check"])
    assert (whole.exit_code, "1 measured prices and 0 calibrations" in whole.output) == (0, True)
    (folder / "table.md").write_text("better", encoding="utf-8")
    assert runner.invoke(app, ["price", str(folder), "--check"]).exit_code == 1
    assert [path.name for path in write_price(folder)] == ["table.md", "price.csv"]
    assert check([folder]) == []


def covariate_study(folder: Path, *, locked: bool) -> Path:
    """Six pairs and ten further baseline seeds."""
    random = np.random.Generator(np.random.PCG64(5))
    base = 1 + 0.05 * random.normal(size=16)
    records = [run("text", seed, {BITS: value}) for seed, value in enumerate(base)]
    records += [run("image", seed, {BITS: 1.0 + 0.001 * seed}) for seed in range(6)]
    plan = header(records, {BITS: 0.01}, primary=BITS, seeds=list(range(6)))
    changes = {"covariate": "score", "baseline_seeds": list(range(6, 16))}
    plan = type(plan)(**{**plan.__dict__, **changes})
    if locked:
        lock_plan(plan, folder, now="0", commit="c0ffee")
    return write_study(folder, records, plan)


@pytest.mark.parametrize("locked", [False, True])
def test_a_report_shows_the_adjusted_gain_and_rests_on_it_only_under_a_lock(
    tmp_path: Path, locked: bool
) -> None:
    folder = covariate_study(tmp_path / "study", locked=locked)
    study = read_study(folder)
    (one,) = [one for one in study.contrasts if one.kind == "total"]
    assert study.registration.confirmatory == locked
    assert one.adjusted is not None
    assert one.rests_on_adjusted == locked
    text = str(render_study(folder).files["table.md"])
    assert "## Control variate" in text
    assert ("The locked plan declares it" in text) == locked
    assert ("No verdict rests on it" in text) != locked


def test_a_header_whose_further_seeds_are_pairs_too_is_refused(tmp_path: Path) -> None:
    folder = covariate_study(tmp_path / "study", locked=False)
    plan = read_header(folder)
    for wrong in ({"baseline_seeds": [0, 1]}, {"baseline_seeds": []}, {"covariate": "loss of the arm"}):
        with pytest.raises(StudyError):
            write_header(type(plan)(**{**plan.__dict__, **wrong}), tmp_path)
    shutil.copy(folder / "records" / "image-seed5.json", folder / "records" / "image-seed6.json")
    with pytest.raises(StudyError):
        read_study(folder)
