"""The calibration page: the verdict first, the same bytes from the same records, nothing left unsaid."""

import csv
import io
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from fabricated import BITS, PLANTED, header, runs, write_study

from ablate.report.calibration import calibrate, coverage_json, outdated, read_aa, recalibrate
from ablate.report.calibration_page import page as page_text
from ablate.report.calibration_page import sentences
from ablate.report.load import StudyError
from ablate.stats.calibration import CalibrationError
from ablate.stats.coverage import measured_coverage
from ablate.stats.simulation import POPULATIONS, SIZES

ROOT = Path(__file__).parents[2]
STUDIES = 60


def write_aa(folder, seeds=23, lacking=(), **changes):
    rng = np.random.default_rng(2)
    base = rng.normal(2.0, 0.03, seeds)
    records = runs({"text": list(base), "other": list(base + rng.normal(0.0, 0.02, seeds))}, BITS)
    plan = header(records, {BITS: 0.01}, primary=BITS, **changes)
    return write_study(folder, [one for one in records if (one.arm, one.seed) not in lacking], plan)


def write_planted(folder):
    records = runs({arm: [*scores, *scores[:1]] for arm, scores in PLANTED.items()})
    return write_study(folder, records, header(records))


def table_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    aa = write_aa(folder / "calibration" / "aa", lacking={("other", 22)})
    planted = write_planted(folder / "quickstart")
    return folder / "calibration", calibrate(aa, folder / "calibration", STUDIES, [planted])


def written(page, folder):
    """The page of another A/A study beside the same simulation."""
    aa, simulation = read_aa(folder), page[1].simulation
    return page_text(sentences(aa, [], simulation), aa, [], simulation)


def test_the_page_begins_with_how_often_a_difference_was_claimed(page):
    out, rendered = page
    judged = rendered.aa.cut[0]
    assert judged.n == 5
    assert len(judged.studies) == 4
    first = (out / "table.md").read_text().split("**Verdict.** ")[1]
    assert first.startswith(
        f"In {judged.claims.count} of 4 disjoint A/A studies of 5 seeds the instrument claimed"
    )
    assert "nominal 0.05" in first.splitlines()[0]
    assert "In 2 of 2 disjoint planted studies of 3 seeds" in first


def test_the_page_says_how_many_studies_there_are_and_that_resampling_adds_none(page):
    text = (page[0] / "table.md").read_text()
    assert (
        "The 4 studies of 5 seeds are all the evidence there is: resampling the same pairs adds none" in text
    )
    assert "is no evidence beyond those pairs" in text


def test_left_over_and_missing_seeds_are_named(page):
    out, rendered = page
    rows = {
        row["seeds_a_study"] + "/" + row["seeds"]: row for row in table_rows(rendered.files["aa_studies.csv"])
    }
    assert rows["2/20 21"]["complete"] == "true"
    by_size = {one.n: one for one in rendered.aa.cut}
    assert by_size[5].left_over == (20, 21, 22)
    assert by_size[2].left_over == (22,)
    assert "20, 21, 22" in (out / "table.md").read_text()


def test_a_study_that_lacks_a_run_is_shown_with_the_reason(page, tmp_path):
    aa = write_aa(tmp_path / "aa", seeds=10, lacking={("other", 6), ("text", 7), ("other", 8)})
    text = written(page, aa)
    assert "seed 6, 8: other has no record; seed 7: text has no record" in text
    assert "In 0 of 1 disjoint" in text or "In 1 of 1 disjoint" in text


def test_the_numbers_of_the_csv_are_those_of_the_judged_studies(page):
    _, rendered = page
    rates = {(r["seeds_a_study"], r["quantity"]): r for r in table_rows(rendered.files["calibration.csv"])}
    for one in rendered.aa.cut:
        row = rates[str(one.n), "rejections"]
        assert (int(row["count"]), int(row["of"])) == (one.rejections.count, one.rejections.of)
        if one.rejections.of:
            assert float(row["low"]) == pytest.approx(one.rejections.interval[0], abs=1e-6)
    assert rates["3", "planted_power"]["rate"] == "1.0"


def test_every_population_and_size_is_published_with_its_interval(page):
    _, rendered = page
    rows = table_rows(rendered.files["simulation.csv"])
    covered = {(row["population"], int(row["n"])) for row in rows if row["quantity"] == "coverage95"}
    assert covered == {(name, n) for name in [*(p.name for p in POPULATIONS), "aa_residuals"] for n in SIZES}
    assert all(float(row["low"]) <= float(row["rate"]) <= float(row["high"]) for row in rows)
    looks = table_rows(rendered.files["looks.csv"])
    assert {row["by_pairs"] for row in looks if row["rule"] == "anytime"} == {str(n) for n in range(2, 21)}


def test_the_same_records_give_the_same_bytes(page):
    out, rendered = page
    assert outdated(out) == []
    assert {path.name for path in out.iterdir() if path.is_file()} == set(rendered.files)


def test_a_published_file_that_differs_from_its_records_is_named(page, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(page[0].parent, folder)
    table = folder / "calibration" / "table.md"
    table.write_text(table.read_text().replace("0.05", "0.06"))
    (folder / "calibration" / "looks.csv").unlink()
    assert outdated(folder / "calibration") == ["looks.csv", "table.md"]


def test_the_settings_name_studies_relative_to_the_page(page):
    raw = json.loads((page[0] / "settings.json").read_text())
    assert (raw["aa"], raw["planted"]) == ("aa", ["../quickstart"])


def test_simulation_alone_says_that_nothing_comes_from_real_runs(tmp_path):
    rendered = calibrate(None, tmp_path, STUDIES)
    assert rendered.sentences[0] == "No A/A study was given: nothing here comes from real runs."
    assert "A/A studies" not in rendered.files["table.md"]
    assert table_rows(rendered.files["calibration.csv"]) == []


def test_the_plot_is_well_formed_and_its_labels_are_text(page):
    text = page[1].files["calibration.svg"]
    ET.fromstring(text)
    assert "p values of 4 disjoint A/A studies, n = 5" in text
    assert "coverage of the 95% t interval" in text


def test_equal_arms_are_no_crash(tmp_path):
    records = runs({"text": [2.0] * 6, "other": [2.0] * 6}, BITS)
    folder = write_study(tmp_path / "aa", records, header(records, {BITS: 0.01}, primary=BITS))
    text = calibrate(folder, tmp_path / "out", STUDIES).files["table.md"]
    assert "The residuals of the A/A study are not simulated" in text
    assert "without variance there is no t interval" in text
    assert "nan" not in text


def test_one_seed_is_too_few_and_the_page_says_so(page, tmp_path):
    folder = write_aa(tmp_path / "aa", seeds=1)
    assert "No disjoint A/A study of 5 seeds is complete: nothing can be said yet." in written(page, folder)


def test_markup_in_a_study_name_is_escaped(page, tmp_path):
    text = written(page, write_aa(tmp_path / "aa", seeds=5, study="<script>x"))
    assert "<script>" not in text
    assert "&lt;script&gt;x" in text


def test_a_study_with_media_cannot_be_an_aa_study(tmp_path):
    with pytest.raises(CalibrationError, match="A/A study"):
        calibrate(write_planted(tmp_path / "planted"), tmp_path / "out", STUDIES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"settings_format": 1}', '{"settings_format": 9}'])
def test_a_folder_without_usable_settings_is_refused_with_its_path(tmp_path, content):
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    with pytest.raises(StudyError, match=r"settings\.json"):
        recalibrate(tmp_path)


def test_the_packages_coverage_is_written_from_the_same_simulation(page):
    _, rendered = page
    raw = json.loads(coverage_json(rendered.simulation))
    found = {(row["population"], row["n"]): row["covered"] for row in raw["rows"]}
    assert found == {(one.population, one.n): one.coverage95.count for one in rendered.simulation.simulated}
    assert (raw["studies"], raw["seed"]) == (STUDIES, 0)


def test_the_published_simulation_and_the_packages_coverage_agree():
    path = ROOT / "results" / "calibration" / "simulation.csv"
    if not path.exists():
        pytest.skip("results/calibration is not published yet")
    rows = [row for row in table_rows(path.read_text()) if row["quantity"] == "coverage95"]
    published = {(row["population"], int(row["n"])): (int(row["count"]), int(row["of"])) for row in rows}
    packaged = {
        (name, n): (rate.count, rate.of) for n in SIZES for name, rate in measured_coverage(n).rates.items()
    }
    assert published == packaged
