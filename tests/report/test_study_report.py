"""A study's folder in, its report out."""

import csv
import dataclasses
import io
import re
import subprocess
import sys

import pytest
from fabricated import ACCURACY, PLANTED, header, run, runs, write_study

from ablate.record import Pairing, RecordError, Score, write_record
from ablate.report.analysis import analyse
from ablate.report.document import disclosures
from ablate.report.study import (
    SUMMARY_COLUMNS,
    SUMMARY_WIDTHS,
    compare_verdicts,
    render,
    render_study,
    summary_rows,
    verdicts,
)

TABLES = {"table.md", "table.tex", "report.html"}
SHEETS = {f"{name}.csv" for name in ("contrasts", "decomposition", "scores", "compute")}
FIGURES = {
    f"{name}.{form}"
    for name in ("forest", "decomposition", "loss_flops", "loss_tokens")
    for form in ("svg", "png")
}
FILES = TABLES | SHEETS | FIGURES


@pytest.fixture
def folder(tmp_path):
    records = runs(PLANTED)
    return write_study(tmp_path / "fabricated", records, header(records))


def test_a_report_is_the_same_whenever_it_is_rendered(folder):
    first = render_study(folder)
    assert set(first.files) == FILES
    assert {path.name for path in folder.iterdir()} == FILES | {"study.json", "records"}
    again = render_study(folder)
    assert again.files == first.files
    for name, content in first.files.items():
        written = (folder / name).read_bytes()
        assert written == (content.encode("utf-8") if isinstance(content, str) else content)


def test_a_figure_that_has_nothing_to_show_any_more_is_removed(folder):
    render_study(folder)
    records = [r for r in runs(PLANTED) if r.arm in ("text", "image")]
    write_study(folder, records, header(records))
    for path in (folder / "records").glob("image.*"):
        path.unlink()
    render_study(folder)
    assert not (folder / "decomposition.svg").exists()


def test_the_verdict_comes_first_and_everything_else_follows(folder):
    text = render_study(folder).files["table.md"]
    places = [
        text.index(part)
        for part in (
            "# fabricated",
            "Do pictures help?",
            "**Verdict.** image helps (grounding: helps)",
            "Plan: not locked before the first run",
            "## Contrasts of the plan (not confirmatory",
            "(forest.svg)",
            "## Exploratory contrasts",
            "## Scores",
            "## Placebo arms beside chance",
            "## Compute",
            "## Disclosures",
            "## Provenance",
        )
    ]
    assert places == sorted(places)
    assert "## Missing and refused" not in text
    assert "commit c0ffee" in text
    assert "torch 2.14.1" in text
    assert "started" not in text


def test_a_helping_media_arm_is_nowhere_printed_without_its_grounding(folder):
    (folder / "study.json").unlink()
    records = [r for r in runs(PLANTED) if r.arm in ("text", "image")]
    rendered = render(analyse(header(records), records))
    for name in ("table.md", "contrasts.csv"):
        assert "helps (grounding not measured)" in rendered.files[name]
    assert "helps (grounding" in rendered.files["forest.svg"]
    for row in csv.DictReader(io.StringIO(rendered.files["contrasts.csv"])):
        assert row["verdict"] != "helps"


def test_missing_diverged_and_refused_stand_right_after_the_verdict(folder):
    (folder / "records" / "image-seed3.json").unlink()
    record = run("image", 2, {ACCURACY: 0.9}, pairing=Pairing("elsewhere", {}))
    write_record(record, folder / "records" / "image-seed2.json")
    rendered = render_study(folder)
    text = rendered.files["table.md"]
    assert (
        text.index("**Verdict.**")
        < text.index("## Missing and refused")
        < text.index("## Contrasts of the plan")
    )
    assert "| image, seed 3 | no record |" in text
    assert "image and text, seed 2: initial backbones differ" in text
    assert len(rendered.refusals) == 3
    assert "image is inconclusive" in text


def test_notes_borrowed_records_and_skips_are_disclosed():
    records = [
        run(arm, 0, {ACCURACY: 0.5}, notes=["the encoder read text before"]) for arm in ("text", "image")
    ]
    records[0] = dataclasses.replace(records[0], study="another", recipe_digest="ffff", notes=[])
    text = render(analyse(header(records, note="Too small to *mean* much."), records)).files["table.md"]
    assert r"- Too small to \*mean\* much." in text
    assert "- the encoder read text before (image)" in text
    assert "- 1 records were made under study another" in text
    assert "- 1 records were made under recipe digest ffff" in text


def test_provenance_that_differs_between_records_is_all_printed():
    records = [run("text", 0, {}), run("text", 1, {}, provenance={"commit": "beef", "dirty": True})]
    assert "commit c0ffee or beef" in render(analyse(header(records), records)).files["table.md"]


def test_what_every_run_has_of_its_own_does_not_flood_the_provenance():
    records = [run("text", s, {}, provenance={"final_weights": f"w{s}", "host": f"h{s}"}) for s in range(5)]
    text = render(analyse(header(records), records)).files["table.md"]
    assert "w3" not in text
    assert "host of 5 different values" in text


def test_no_markup_of_a_name_reaches_the_report():
    evil = "<script>alert(1)</script>|x"
    arm = "=cmd()<img onerror=x>"
    records = runs({"text": [0.1, 0.2, 0.3], arm: [0.2, 0.2, 0.4]})
    rendered = render(analyse(header(records, study="<b>study</b>", question=evil, note=evil), records))
    for name in ("table.md", "forest.svg"):
        assert "<script" not in rendered.files[name]
        assert "<img" not in rendered.files[name]
        assert "<b>" not in rendered.files[name]
    for name in ("contrasts.csv", "scores.csv", "compute.csv"):
        for row in csv.reader(io.StringIO(rendered.files[name])):
            assert not any(cell.startswith("=") for cell in row)


def test_nan_is_never_printed_as_a_number():
    records = runs(PLANTED)
    records[0] = run("text", 0, {ACCURACY: float("nan")})
    files = render(analyse(header(records), records)).files
    for row in csv.DictReader(io.StringIO(files["contrasts.csv"])):
        assert "nan" not in (value for key, value in row.items() if key != "note")
    assert "seed 0: text scored nan" in files["table.md"]


@pytest.mark.parametrize(
    "values",
    [
        {"text": [0.1], "image": [0.9]},
        {"text": [0.125] * 4, "image": [0.125] * 4, "image.shuffled": [0.125] * 4},
        {"text": [0.1, 0.2]},
    ],
)
def test_thin_studies_are_rendered_and_decide_nothing(values):
    records = runs(values)
    rendered = render(analyse(header(records), records))
    assert all(one.verdict == "inconclusive" for one in rendered.contrasts)
    for name in ("table.md", "contrasts.csv", "scores.csv"):
        assert not re.search(r"\bnan\b", rendered.files[name])


def test_records_that_disagree_stop_the_report():
    records = runs(PLANTED)
    forged = dataclasses.replace(records[0], scores={ACCURACY: Score(0.99, 256, True)})
    with pytest.raises(RecordError, match="disagree"):
        render(analyse(header(records), [*records, forged]))


def test_the_summary_fits_a_hundred_columns(folder):
    rows = summary_rows(render_study(folder))
    assert all(len(row) == len(SUMMARY_COLUMNS) for row in rows)
    for row in rows:
        for cell, width in zip(row, SUMMARY_WIDTHS, strict=True):
            assert all(len(line) <= width for line in cell.split("\n"))
    assert sum(SUMMARY_WIDTHS) + 3 * len(SUMMARY_WIDTHS) + 1 <= 100
    by_arm = {row[0]: row for row in rows}
    assert by_arm["text"][2:] == ("", "", "")
    _, scores, gain, controls, verdict = by_arm["image"]
    assert scores.split() == ["0.930", "0.940", "0.910", "0.950", "0.920"]
    assert gain.split("\n")[0] == "+0.806"
    assert "shuffled +0.8" in controls
    assert verdict.split() == ["helps", "(grounding:", "helps)"]


def test_verdicts_are_read_from_records(folder):
    found = verdicts(folder)
    assert found["image", "text", ACCURACY] == "helps (grounding: helps)"
    assert {path.name for path in folder.iterdir()} == {"study.json", "records"}


def test_agreeing_studies_agree_and_differing_ones_say_where(folder, tmp_path):
    nudged = {arm: [value + 0.001 * at for at, value in enumerate(values)] for arm, values in PLANTED.items()}
    records = runs(nudged)
    fresh = write_study(tmp_path / "fresh", records, header(records))
    lines = compare_verdicts(fresh, folder)
    assert lines[0] == "agree: image vs text on planted/accuracy: helps (grounding: helps)"
    assert all(line.startswith("agree: ") for line in lines[:2])
    assert len(lines) == 5
    records = runs(PLANTED | {"image": PLANTED["text"][::-1]})
    other = write_study(tmp_path / "other", records, header(records))
    assert compare_verdicts(other, folder)[0] == (
        "DIFFER: image vs text on planted/accuracy: fresh equivalent, committed helps (grounding: helps)"
    )


def test_a_contrast_that_only_one_study_has_differs(folder, tmp_path):
    records = [record for record in runs(PLANTED) if record.arm != "image.shuffled"]
    fresh = write_study(tmp_path / "fresh", records, header(records))
    lines = compare_verdicts(fresh, folder)
    assert "DIFFER: image vs image.shuffled on planted/accuracy: fresh not there, committed helps" in lines


def test_a_report_imports_neither_torch_nor_lightning(folder):
    code = (
        "import sys; from pathlib import Path; from ablate.report.study import render_study;"
        "render_study(Path(sys.argv[1])); print({'torch', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_a_note_of_every_run_is_printed_once_and_without_the_arms():
    everywhere, somewhere = "blimp: 3 of 9 items have alternatives of unlike token counts", "read text before"
    records = [
        dataclasses.replace(record, notes=[everywhere] + [somewhere] * (record.arm == "image"))
        for record in runs(PLANTED)
    ]
    records[-1] = dataclasses.replace(records[-1], status="diverged", scores={}, notes=["diverged: loss"])
    said = disclosures(header(records), records)
    assert said == [everywhere, f"{somewhere} (image)", "diverged: loss (image.shuffled)"]
    assert render(analyse(header(records), records)).files["table.md"].count(everywhere) == 1


def test_a_note_that_some_runs_lack_names_its_arms():
    records = [dataclasses.replace(record, notes=["cut"] if record.seed else []) for record in runs(PLANTED)]
    assert disclosures(header(records), records) == ["cut (text, image, image.captions_only, image.shuffled)"]


def test_the_legend_says_what_a_contrast_without_variance_is():
    records = runs({"text": [1.0] * 4, "other": [1.0] * 4})
    rendered = render(analyse(header(records), records))
    assert [one.verdict for one in rendered.contrasts] == ["inconclusive"]
    assert (
        "without variance over seeds (for instance both arms at 1.0) is inconclusive, because there is no t "
        "interval" in rendered.files["table.md"]
    )
