"""A committed report cannot drift from its records: whatever differs is found, and named."""

import io
import shutil

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, write_study
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ablate.report.check
from ablate.record import read_record, write_record
from ablate.report.check import check, examine, studies_under
from ablate.report.study import render_study


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    records = [
        run(arm, seed, {ACCURACY: value, BITS: 2.0 - value / 3})
        for arm, values in PLANTED.items()
        for seed, value in enumerate(values[:3])
    ]
    study = write_study(folder / "fabricated", records, header(records, {ACCURACY: 0.05, BITS: 0.02}))
    render_study(study)
    return folder


@pytest.fixture
def results(rendered, tmp_path):
    """The folder `results` of one sound study."""
    return shutil.copytree(rendered, tmp_path / "results")


@pytest.fixture
def study(results):
    return results / "fabricated"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_sound_report_has_no_difference_and_nothing_is_written(results, study):
    (study / "README.md").write_text("what a person puts beside a report is left alone")
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    found = examine([results])
    assert (found.differences, found.remarks) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_a_number_edited_in_a_table_is_found_with_its_line(results, study):
    edit(study / "table.md", "+0.807", "+0.907")
    (said,) = check([results])
    assert said.startswith(f"{study / 'table.md'}, line ")
    assert "+0.907" in said
    assert "+0.807" in said


def test_a_record_that_changed_makes_tables_and_figures_stale(results, study):
    path = study / "records" / "image-seed1.json"
    record = read_record(path)
    score = record.scores[ACCURACY]
    record.scores[ACCURACY] = type(score)(0.5, score.items, True, score.chance)
    write_record(record, path)
    stale = {line.split(",")[0].split(": ")[0].rpartition("/")[2] for line in check([results])}
    assert {"table.md", "table.tex", "report.html", "contrasts.csv", "scores.csv"} <= stale
    assert {"forest.svg", "forest.png", "decomposition.svg", "decomposition.png"} <= stale


def test_missing_files_and_tables_that_nothing_renders_are_found(results, study):
    missing = ["contrasts.csv", "forest.png", "forest.svg", "table.md"]
    stale = ["forest2.svg", "old.csv", "table2.md"]
    for name in missing:
        (study / name).unlink()
    for name in stale:
        (study / name).write_text("stale")
    assert sorted(check([results])) == sorted(
        [f"{study / name}: missing; the records make it" for name in missing]
        + [f"{study / name}: no rendering makes this file; it is stale, delete it" for name in stale]
    )


def test_a_last_digit_that_another_processor_rounds_otherwise_is_remarked_on(results, study):
    path = study / "contrasts.csv"
    lines = path.read_text().split("\n")
    cells = lines[1].split(",")
    at = next(place for place, cell in enumerate(cells) if len(cell) > 16 and cell.startswith("0."))
    cells[at] = repr(float(np.nextafter(float(cells[at]), 2.0)))
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    found = examine([results])
    assert found.differences == []
    assert found.remarks == [f"{path}: numbers differ after the ninth digit only (another processor?)"]
    cells[at] = repr(float(cells[at]) * (1 + 1e-6))
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    assert len(check([results])) == 1


def test_a_figure_of_other_numbers_is_a_difference_whoever_drew_it(results, study):
    path = study / "forest.svg"
    text = path.read_text()
    digest = text.partition("<metadata>numbers ")[2][:32]
    edit(path, digest, digest[::-1])
    edit(path, "; matplotlib ", "; matplotlib 1.")
    assert check([results]) == [f"{path}: shows other numbers or words than the records make"]


def test_a_figure_of_the_same_numbers_drawn_by_another_matplotlib_is_remarked_on(results, study):
    edit(study / "forest.svg", "; matplotlib ", "; matplotlib 1.")
    edit(study / "forest.svg", "<path", '<path class="other"')
    found = examine([results])
    assert found.differences == []
    (remark,) = found.remarks
    assert "drawn by matplotlib 1." in remark
    assert "the numbers agree" in remark


def test_a_figure_edited_by_hand_is_a_difference(results, study):
    edit(study / "forest.svg", "image vs text", "image vs texts")
    (said,) = check([results])
    assert "the numbers agree, and the picture differs" in said


def test_a_coordinate_that_another_platform_rounds_otherwise_is_remarked_on(results, study):
    text = (study / "forest.svg").read_text()
    number = text.partition('<path d="M ')[2].split()[0]
    edit(study / "forest.svg", f'<path d="M {number}', f'<path d="M {float(number) + 0.25:.6f}')
    found = examine([results])
    assert found.differences == []
    assert "drawn slightly otherwise" in found.remarks[0]
    edit(study / "forest.svg", f'<path d="M {float(number) + 0.25:.6f}', '<path d="M 300.0')
    assert "was it edited?" in check([results])[0]


def repaint(path, paint):
    with Image.open(path) as picture:
        said = PngInfo()
        for key in ("Software", "Numbers"):
            said.add_text(key, picture.info[key])
        pixels = np.array(picture.convert("RGB"))
    paint(pixels)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="png", pnginfo=said)
    path.write_bytes(out.getvalue())


def test_a_picture_with_another_shade_here_and_there_is_remarked_on_and_a_painted_one_is_not(results, study):
    def speckle(pixels):
        pixels[::40, ::40] //= 2

    def overpaint(pixels):
        pixels[:200, :200] = 0

    repaint(study / "forest.png", speckle)
    found = examine([results])
    assert found.differences == []
    assert "drawn slightly otherwise" in found.remarks[0]
    repaint(study / "forest.png", overpaint)
    assert "was it edited?" in check([results])[0]


def test_a_broken_figure_is_a_difference_and_no_crash(results, study):
    broken = {
        "forest.svg": b"<svg/>",
        "forest.png": b"\x89PNG\r\n\x1a\n broken",
        "decomposition.svg": b"\xff\xfe",
        "decomposition.png": b"",
    }
    for name, content in broken.items():
        (study / name).write_bytes(content)
    said = "carries no digest of its numbers; `ablate report` writes it anew"
    assert sorted(check([results])) == sorted(f"{study / name}: {said}" for name in broken)


def test_a_page_whose_figures_alone_are_drawn_otherwise_is_remarked_on(results, study):
    edit(study / "forest.svg", "; matplotlib ", "; matplotlib 1.")
    edit(study / "report.html", "<path", '<path fill-rule="evenodd"')
    found = examine([results])
    assert found.differences == []
    assert found.remarks[1] == (
        f"{study / 'report.html'}: only the figures in it are drawn otherwise; the numbers agree"
    )


def test_a_page_whose_figures_were_edited_is_a_difference(results, study):
    edit(study / "report.html", "image vs text", "image vs texts")
    (said,) = check([results])
    assert said.startswith(f"{study / 'report.html'}, line ")


def test_a_table_that_is_not_text_and_line_ends_that_were_changed_are_differences(results, study):
    (study / "table.md").write_bytes(b"\xff\xfe")
    path = study / "scores.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    broken, changed = check([results])
    assert "not UTF-8" in broken
    assert "\\r" in changed


def test_a_study_that_cannot_be_rendered_is_a_difference(results, study):
    (study / "records" / "image-seed1.json").write_text("{}")
    (said,) = check([results])
    assert said.startswith(f"{study}: cannot be rendered: ")
    assert "image-seed1.json" in said


def test_a_folder_without_a_study_is_a_difference(tmp_path):
    assert check([tmp_path / "nowhere"]) == [f"{tmp_path / 'nowhere'}: there is no study here, no study.json"]


def test_studies_are_found_however_deep_and_displaced_ones_are_not(results, study):
    shutil.copytree(study, results / "calibration" / "aa")
    shutil.copytree(study, results / "fabricated" / "displaced" / "x")
    assert studies_under(results) == [results / "calibration" / "aa", results / "fabricated"]
    assert studies_under(study) == [study]


def test_every_study_is_examined(results, study):
    other = shutil.copytree(study, results / "other")
    for folder in (study, other):
        (folder / "compute.csv").unlink()
    assert len(check([results])) == 2
    assert len(ablate.report.check.check([study, other])) == 2
