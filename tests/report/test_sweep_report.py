"""The report of a sweep says where the best mixture lies, or that it cannot be told, and hides nothing."""

import dataclasses
import re

import pytest
from fabricated import ACCURACY
from read_latex import latex_tables
from small_sweep import hill, lattice, point, sweep_of, write
from test_four_formats import Tables, agrees, csv_rows, markdown_tables

from ablate.record import RecordError
from ablate.report.analysis import read_study
from ablate.report.load import StudyError
from ablate.report.sweep import render_results, sweep_numbers
from ablate.report.sweep_analysis import read_results
from ablate.report.sweep_file import write_sweep
from ablate.report.sweep_page import compose_sweep

TWO, THREE = ("text", "pictures"), ("text", "pictures", "sounds")
LOST, DIVERGED = ("pictures_image6", 1), ("pictures_image9", 2)


def rendered(folder):
    return render_results(read_results(folder))


def told(folder):
    """The document alone, without the time that figures take."""
    return composed(read_results(folder))


def composed(result):
    return compose_sweep(sweep_numbers(result))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three streams, one setting, nothing missing."""
    sweep = sweep_of(THREE, lattice(THREE))
    return write(tmp_path_factory.mktemp("whole") / "sweep", sweep, hill, seeds=5, noise=0.01)


@pytest.fixture(scope="module")
def holes(tmp_path_factory):
    """Two settings with a missing run, a diverged one and a stopped mixture, and a setting that failed."""
    sweep = sweep_of(TWO, lattice(TWO), ("x1", "x4"))
    dead = dataclasses.replace(
        sweep.settings[0], name="x16", folder="x16", problem="the shard %a.tar is not there"
    )
    folder = tmp_path_factory.mktemp("holes") / "sweep"
    gone = [("pictures_image12", seed) for seed in (2, 3)] + [("pictures_image12.shuffled", 3)]
    why = {"pictures_image12": "stopped after 2 seeds by the rule of the plan: it lay below 0"}
    why["pictures_image12.shuffled"] = why["pictures_image12"]
    write(folder, sweep, hill, lost=[LOST, *gone], diverged=[DIVERGED], stopped=why)
    failed = {"x4/pictures_image6, seed 1": "loss/bits: out of memory & time"}
    write_sweep(dataclasses.replace(sweep, settings=[*sweep.settings, dead], failed=failed), folder)
    return folder


@pytest.fixture(scope="module")
def report(whole):
    return rendered(whole)


@pytest.fixture(scope="module")
def holed(holes):
    return rendered(holes)


def section(found, key):
    found = getattr(found, "document", found)
    (own,) = [one for one in found.sections if one.key == key]
    return [dict(zip(own.table.columns, row, strict=True)) for row in own.table.rows]


def test_a_hill_between_two_streams_is_found_with_an_interval_and_its_grounding(report):
    (said,) = report.document.verdict
    assert said.startswith(f"{ACCURACY}: some mixture beats the baseline by +")
    assert re.search(r"the largest estimated gain is \+0\.\d+ \[\+0\.\d+, \+0\.\d+\] at text 0\.[45]", said)
    assert "Grounding, against shuffled media: " in said


def test_where_media_hurt_text_alone_is_the_optimum(tmp_path):
    sweep = sweep_of(TWO, lattice(TWO))
    found = told(write(tmp_path / "sweep", sweep, lambda shares, _: -0.2 * shares["pictures"]))
    assert "text alone is the optimum" in found.verdict[0]
    (row,) = section(found, "optima")
    assert (row["text-only may be best"], row["said"]) == ("yes", "baseline")


def test_noise_without_an_effect_cannot_be_told(tmp_path):
    sweep = sweep_of(TWO, lattice(TWO))
    found = told(write(tmp_path / "sweep", sweep, lambda shares, _: 0.0, noise=0.03))
    assert "cannot be told: the optimum may lie anywhere" in found.verdict[0]


def test_without_a_placebo_a_gain_is_not_called_grounded(tmp_path):
    sweep = sweep_of(TWO, lattice(TWO))
    found = told(write(tmp_path / "sweep", sweep, hill, controls=False))
    assert "Grounding was not measured: there is no shuffled placebo" in found.verdict[0]
    helps = [row for row in section(found, "points") if row["verdict"].startswith("helps")]
    assert helps
    assert {(row["verdict"], row["grounding"]) for row in helps} == {
        ("helps (grounding not measured)", "not measured")
    }


def test_verdicts_are_those_of_the_settings_own_study(holes, holed):
    for name in ("x1", "x4"):
        study = read_study(holes / name)
        own = {one.arm: one for one in study.contrasts if one.kind == "total"}
        rows = [row for row in section(holed, "points") if row["setting"] == name and row["arm"] != "text"]
        assert {row["arm"]: row["verdict"] for row in rows} == {
            arm: one.printed_verdict for arm, one in own.items()
        }


def test_what_is_missing_diverged_or_stopped_is_named_and_in_no_average(holed):
    rows = {(row["setting"], row["arm"]): row for row in section(holed, "points")}
    for arm in ("pictures_image6", "pictures_image9", "pictures_image12"):
        row = rows["x1", arm]
        assert (row["gain"], row["95% CI"]) == ("–", "–")
        assert "of 4 (without" in row["n"]
    assert rows["x1", "pictures_image3"]["gain"].startswith("+0.")
    missing = {(row["setting"], row["what"]): row["reason"] for row in section(holed, "missing")}
    assert missing["x1", "pictures_image6, seed 1"].startswith("no record")
    assert missing["x4", "pictures_image6, seed 1"] == "failed: loss/bits: out of memory & time"
    assert missing["x1", "pictures_image9, seed 2"].startswith("diverged")
    assert missing["x1", "pictures_image12, later seeds"].startswith("stopped after 2 seeds")
    assert ("x1", "pictures_image12, seed 3") not in missing
    assert missing["x16", "all runs"] == "the shard %a.tar is not there"
    said = holed.document.verdict
    assert "pictures_image6, seed 1 (no record" in said[0]
    assert "pictures_image9, seed 2 (diverged" in said[0]
    assert "Stopped early by the rule of the plan: pictures_image12." in said[0]
    assert said[2] == "Setting x16: nothing can be told: the shard %a.tar is not there."
    exact = [row for row in csv_rows(holed.files["points.csv"]) if row["missing_seeds"]]
    assert exact
    assert {(row["mean_gain"], row["ci95_low"]) for row in exact} == {("", "")}


def test_a_surface_that_was_asked_for_is_fitted_and_the_report_says_so(whole):
    asked = dataclasses.replace(read_results(whole).sweep, model="linear")
    found = composed(dataclasses.replace(read_results(whole), sweep=asked))
    assert {row["model"] for row in section(found, "fits")} == {"linear"}
    (models,) = [one for one in found.sections if one.key == "models"]
    assert "linear, as asked for" in models.legend


def test_a_surface_says_how_large_a_misfit_it_could_have_seen(report):
    (row,) = section(report, "fits")
    assert 0 < float(row["misfit seen at 80%"]) < 1


def test_the_page_of_a_sweep_is_headed_as_one(report):
    assert '<p class="kind">Sweep</p>' in report.files["report.html"]


def test_held_out_mixtures_are_predicted_and_not_fitted(whole, report):
    sweep = report.result.sweep
    held = {one.arm for one in sweep.points if one.roles == ["held_out"]}
    rows = section(report, "predictions")
    assert {row["mixture"] for row in rows} == held
    (fit,) = section(report, "fits")
    assert fit["mixtures"] == len(sweep.points) - len(held)
    other = dataclasses.replace(sweep, points=[one for one in sweep.points if one.arm not in held])
    without = composed(dataclasses.replace(report.result, sweep=other))
    assert section(without, "coefficients") == section(report, "coefficients")


def test_a_mixture_outside_the_design_is_shown_and_not_fitted(tmp_path):
    beyond = point({"text": 0.125, "pictures": 0.875}, "proportional")
    sweep = sweep_of(TWO, [*lattice(TWO), beyond])
    found = told(write(tmp_path / "sweep", sweep, hill, noise=0.02))
    (fit,) = section(found, "fits")
    assert fit["mixtures"] == 4
    assert [row["role"] for row in section(found, "points")].count("proportional") == 1
    assert "text 0.12" not in str(section(found, "optima"))


def test_a_sweep_without_the_baseline_says_that_no_gain_can_be_told(tmp_path):
    folder = write(tmp_path / "sweep", sweep_of(TWO, lattice(TWO)), hill)
    result = read_results(folder)
    points = [one for one in result.sweep.points if one.arm != "text"]
    found = composed(dataclasses.replace(result, sweep=dataclasses.replace(result.sweep, points=points)))
    assert "the optimum cannot be told: the baseline text is not among the mixtures" in found.verdict[0]


def test_a_run_that_settings_share_is_counted_once(report, whole):
    result = report.result
    (setting,) = result.settings
    again = dataclasses.replace(
        setting, setting=dataclasses.replace(setting.setting, name="again", folder="again")
    )
    both = composed(dataclasses.replace(result, settings=[setting, again]))
    rows = {row["quantity"]: (row["runs"], row["FLOPs"]) for row in section(both, "compute")}
    spent = float(sum(record.spent.total_flops for record in setting.records))
    assert rows["trained, distinct"] == (len(setting.records), f"{spent:.4g}".replace("e+", "e"))
    assert rows["planned, each on its own"] == (120, "1.2e14")
    assert rows["planned, distinct"] == (90, "9e13")
    assert rows["saved by sharing"] == (30, "3e13 (25.0%)")


def test_further_seeds_of_the_baseline_are_planned_runs_and_hide_no_missing_one(report):
    (setting,) = report.result.settings
    runs = len(setting.records)
    *_, last = setting.records
    further = [
        dataclasses.replace(run, seed=seed, identity=f"further{seed}")
        for run in setting.records
        if (run.arm, run.seed) == ("text", 0)
        for seed in (90, 91)
    ]
    plan = dataclasses.replace(setting.header, covariate="score", baseline_seeds=[90, 91])
    more = dataclasses.replace(setting, header=plan, records=[*setting.records[:-1], *further])
    (row,) = section(composed(dataclasses.replace(report.result, settings=[more])), "settings")
    assert last.arm != "text"
    assert (row["runs planned"], row["finished"], row["missing"]) == (runs + 2, runs + 1, 1)


def test_the_same_records_give_the_same_bytes(whole, report):
    assert rendered(whole).files == report.files


@pytest.mark.parametrize("name", ["report", "holed"])
def test_the_numbers_in_markdown_latex_and_page_are_those_of_the_document(name, request):
    found = request.getfixturevalue(name)
    shown = {
        one.key: [
            [" ".join(("–" if cell is None else str(cell)).split()) for cell in row]
            for row in [one.table.columns, *one.table.rows]
        ]
        for one in found.document.sections
    }
    titles = {one.key: one.title for one in found.document.sections}
    in_markdown = markdown_tables(found.files["table.md"])
    assert {key: in_markdown[titles[key]] for key in shown} == shown
    assert latex_tables(found.files["table.tex"]) == shown
    parser = Tables()
    parser.feed(found.files["report.html"])
    assert {key: parser.tables[key] for key in shown} == shown


@pytest.mark.parametrize(
    ("key", "named", "columns"),
    [
        (
            "points",
            ["setting", "endpoint", "arm"],
            {"gain": ["mean_gain"], "95% CI": ["ci95_low", "ci95_high"]},
        ),
        ("coefficients", ["setting", "endpoint", "term"], {"estimate": ["estimate"], "p": ["p_value"]}),
        (
            "predictions",
            ["setting", "endpoint", "mixture"],
            {"found": ["found"], "predicted": ["predicted"], "95% prediction": ["pi95_low", "pi95_high"]},
        ),
    ],
)
def test_csv_holds_the_shown_numbers_unrounded(report, key, named, columns):
    exact = {tuple(row[name] for name in named): row for row in csv_rows(report.files[f"{key}.csv"])}
    rows = section(report, key)
    assert rows
    for row in rows:
        source = exact[tuple(row[name] for name in named)]
        for column, sources in columns.items():
            assert agrees(str(row[column]), [source[one] for one in sources]), (row, column, source)


def test_text_of_a_recipe_is_escaped_in_every_format(tmp_path):
    attack = "<script>alert(1)</script> $x$ *b* \\input{a} 50% | & _"
    sweep = sweep_of(TWO, lattice(TWO), question=attack, note=attack)
    points = [dataclasses.replace(one, arm=one.arm.replace("pictures", "a&<b>$_%")) for one in sweep.points]
    found = rendered(write(tmp_path / "sweep", dataclasses.replace(sweep, points=points), hill))
    for text in (found.files["report.html"], found.files["table.md"], found.files["surface.svg"]):
        assert "<script>alert" not in text
        assert "&<b>" not in text
    assert "\\input{a}" not in found.files["table.tex"]
    assert "50% " not in found.files["table.tex"]


def test_an_edited_record_is_refused(tmp_path):
    folder = write(tmp_path / "sweep", sweep_of(TWO, lattice(TWO)), hill)
    path = folder / "all" / "records" / "text-seed0.json"
    path.write_text(path.read_text().replace('"arm": "text"', '"arm": "test"'))
    with pytest.raises(RecordError, match="text-seed0"):
        read_results(folder)


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(StudyError, match="there is no sweep here"):
        read_results(tmp_path)
