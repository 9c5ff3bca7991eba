"""A screen is made of its records and says so in every format; what it excludes confirms nothing."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs, write_study

from ablate.record import Score
from ablate.report.analysis import analyse, read_study
from ablate.report.check import check
from ablate.report.document import compose
from ablate.report.load import StudyError, read_header, write_header
from ablate.report.markdown import markdown
from ablate.report.registration import LOCK_FILE, lock_plan, read_registration
from ablate.report.screen import SCREEN_FILE, read_screen
from ablate.report.screen_document import screen_sentences
from ablate.report.study import render_study
from ablate.show_power import family_size, power_lines

SEEDS, ITEMS = (0, 1, 2), 200
LADDER = {"text.x0.125": 0.125, "text.x0.25": 0.25, "text.x0.5": 0.5}
TRUTHS = {"pairs/accuracy/rises": (0.55, 0.65, 0.75, 0.85), "pairs/accuracy/guesses": (0.5,) * 4}
EXCLUDED = {BITS: "at floor: scores 3 where chance is 3"}


def screen_records(folder):
    """Runs of a baseline and three rungs, with item scores of two subsets of minimal pairs."""
    rng, records = np.random.default_rng(0), []
    (folder / "items").mkdir(parents=True)
    for place, arm in enumerate([*LADDER, "text"]):
        for seed in SEEDS:
            answers = {name: rng.random(ITEMS) < truth[place] for name, truth in TRUTHS.items()}
            scores = {name: Score(float(right.mean()), ITEMS, True, 0.5) for name, right in answers.items()}
            frames = [
                pd.DataFrame(
                    {
                        "task": "pairs",
                        "subset": name.split("/")[2],
                        "item": [str(item) for item in range(ITEMS)],
                        "metric": "accuracy",
                        "value": right.astype(float),
                    }
                )
                for name, right in answers.items()
            ]
            pd.concat(frames).to_parquet(folder / "items" / f"{arm}-seed{seed}.parquet", index=False)
            settings = {"model": {"layers": 2}, "steps": 100, "rows": {"text": 8}}
            digests = {"tokenizer": "a", "stream/text": "b", "task/pairs": "c"}
            one = run(arm, seed, scores, control=None, mirrors=None, resolved=settings, data_digests=digests)
            records.append(one)
    return records


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A screen that ran, rendered once."""
    place = tmp_path_factory.mktemp("screen") / "fabricated_screen"
    records = screen_records(place)
    arms = ["text", *LADDER]
    primary = "pairs/accuracy/rises"
    plan = header(records, {primary: 0.01}, primary=primary, arms=arms, baseline="text", controls={})
    write_study(place, records, dataclasses.replace(plan, ladder=LADDER, purpose="screen"))
    render_study(place)
    return place


@pytest.fixture
def folder(rendered, tmp_path):
    """A copy of it, to spoil."""
    return shutil.copytree(rendered, tmp_path / "fabricated_screen")


def test_the_screen_finds_what_was_made_to_rise_and_what_was_made_to_guess(rendered):
    found = {one.endpoint: one for one in read_study(rendered).screening}
    assert found["pairs/accuracy/rises"].verdict == "usable"
    assert found["pairs/accuracy/guesses"].verdict == "at floor"
    assert found["pairs/accuracy/rises"].clusters == ITEMS


def test_every_format_holds_the_verdicts(rendered):
    for name in ("table.md", "table.tex", "report.html", "screen.csv", SCREEN_FILE):
        text = (rendered / name).read_text(encoding="utf-8")
        assert "usable" in text
        assert "at floor" in text
    assert "1 of 2 endpoints is usable: pairs/accuracy/rises." in screen_sentences(
        read_study(rendered).screening
    )
    assert not (rendered / "contrasts.csv").exists()


def test_a_screen_is_checked_against_its_records_as_every_study_is(folder):
    assert check([folder]) == []
    path = folder / SCREEN_FILE
    path.write_text(path.read_text(encoding="utf-8").replace("at floor", "usable"), encoding="utf-8")
    assert len(check([folder])) == 1
    with pytest.raises(StudyError, match="edited after it was written"):
        read_screen(path)


def test_the_file_says_what_it_is_about(rendered):
    found = read_screen(rendered / SCREEN_FILE)
    assert found.resolved["steps"] == 100
    assert found.data_digests == {"tokenizer": "a", "stream/text": "b", "task/pairs": "c"}
    assert found.shares == (0.125, 0.25, 0.5, 1.0)
    assert found.verdicts["pairs/accuracy/guesses"][0] == "at floor"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no screen here; `ablate screen RECIPE` makes one"),
        ("{", "not a screen"),
        ("[]", "screen_format is 'list'"),
        ('{"screen_format": 99}', "screen_format is 99"),
    ],
)
def test_a_file_that_is_no_screen_is_refused(tmp_path, text, said):
    path = tmp_path / SCREEN_FILE
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=said):
        read_screen(path)


def test_a_lost_run_is_named_and_nothing_is_told(folder):
    (folder / "records" / "text.x0.25-seed1.json").unlink()
    found = read_study(folder).screening
    assert {one.verdict for one in found} == {"cannot be told"}
    assert "text.x0.25, seed 1: no record" in found[0].reason


def test_without_item_scores_nothing_is_above_chance_and_the_report_says_so(folder):
    for path in (folder / "items").iterdir():
        path.unlink()
    study = read_study(folder)
    assert {one.verdict for one in study.screening} == {"cannot be told"}
    assert "no run has its item scores" in study.faults[0]


# --- What a study does with its screen


@pytest.fixture
def judged():
    """A planted study of two endpoints, one of which is screened out."""
    records = [
        dataclasses.replace(one, scores=one.scores | {BITS: Score(3.0 + 0.01 * one.seed, 256, False, 3.0)})
        for one in runs(PLANTED)
    ]
    plan = header(records, {ACCURACY: 0.05, BITS: 0.05})
    return records, plan, dataclasses.replace(plan, screen="ab" * 16, screened=EXCLUDED)


def test_a_screened_endpoint_confirms_nothing_and_the_family_shrinks(judged):
    records, plan, screened = judged
    before, after = (analyse(one, records).contrasts for one in (plan, screened))
    confirmatory = [one for one in after if one.confirmatory]
    assert {one.endpoint for one in confirmatory} == {ACCURACY}
    assert {one.family for one in confirmatory} == {sum(one.confirmatory for one in before) // 2}
    for one in after:
        if one.endpoint == BITS:
            assert one.verdict is None
            assert one.printed_verdict == "at floor"
            assert one.note.startswith("screened out, at floor: scores 3")
            assert one.p_difference_adjusted is None or one.family > len(confirmatory)


def test_two_arms_at_chance_are_not_called_equivalent(judged):
    """Without the screen they are, to the last digit."""
    records = [
        dataclasses.replace(
            one,
            scores=one.scores | {BITS: Score(3.0 + 0.001 * (one.seed * len(one.arm) % 5), 256, False, 3.0)},
        )
        for one in judged[0]
    ]
    before, after = (analyse(one, records).contrasts for one in judged[1:])
    assert "equivalent" in {one.verdict for one in before if one.endpoint == BITS}
    assert {one.verdict for one in after if one.endpoint == BITS} == {None}


def test_report_and_plan_list_what_was_screened_out(judged):
    records, plan, screened = judged
    text = markdown(compose(analyse(screened, records)))
    assert "## Screened out" in text
    assert f"| {BITS} | 0.05 | at floor: scores 3 where chance is 3 |" in text
    assert family_size(screened) == family_size(plan) // 2
    lines = power_lines(screened, None)
    assert lines[-1] == f"Screened out, in no confirmatory contrast: {BITS}, {EXCLUDED[BITS]}."
    assert not any(line.startswith("5 seeds declare prose") for line in lines)


def test_the_lock_holds_the_screen(judged, tmp_path):
    _, plan, screened = judged
    assert lock_plan(screened, tmp_path, now="2026", commit="c0ffee")
    assert read_registration(tmp_path, screened, []).deviations == ()
    (deviation, second) = read_registration(tmp_path, plan, []).deviations
    assert deviation.startswith("screen: locked 'abab")
    assert second.startswith(f"screened of {BITS}: locked at floor")


def test_a_lock_and_a_header_of_before_there_were_screens_stay_what_they_were(judged, tmp_path):
    _, plan, _ = judged
    lock_plan(plan, tmp_path, now="2026", commit="c0ffee")
    write_header(plan, tmp_path)
    path = tmp_path / "study.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    for name in ("purpose", "screen", "screened"):
        del raw[name]
    path.write_text(json.dumps(raw), encoding="utf-8")
    old = read_header(tmp_path)
    assert old == plan
    lock = json.loads((tmp_path / LOCK_FILE).read_text(encoding="utf-8"))
    for name in ("purpose", "screen", "screened"):
        del lock["plan"][name]
    (tmp_path / LOCK_FILE).write_text(json.dumps(lock), encoding="utf-8")
    deviations = read_registration(tmp_path, old, []).deviations
    assert not any("screen" in one for one in deviations)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"screened": {ACCURACY: "at floor: x"}, "screen": "ab"}, "the primary endpoint .* is screened out"),
        ({"screened": {BITS: "at floor: x"}}, "screened out by no screen"),
        ({"screened": {"no/margin": "at floor: x"}, "screen": "ab"}, "is screened out and has no margin"),
        ({"screened": [BITS], "screen": "ab"}, "screened does not map endpoints to reasons"),
        ({"screen": 3}, "screen is not text"),
        ({"purpose": "fun"}, "purpose is 'fun'"),
        ({"purpose": "screen"}, "a screen has other arms than the baseline and its ladder"),
    ],
)
def test_a_header_that_contradicts_itself_about_its_screen_is_refused(judged, tmp_path, changes, said):
    with pytest.raises(StudyError, match=said):
        write_header(dataclasses.replace(judged[1], **changes), tmp_path)
