"""Markdown and CSV that cannot be turned against the reader."""

import csv
import io

import pytest
from fabricated import PLANTED, header, runs
from hypothesis import given
from hypothesis import strategies as st

from ablate.report.sentences import verdict_sentences
from ablate.report.tables import Table, number, p_text
from ablate.report.text import csv_text, markdown_table, markdown_text
from ablate.stats.contrasts import contrasts


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script&gt;"),
        ("[x](y)", r"\[x\](y)"),
        ("*a* `b`", r"\*a\* \`b\`"),
        ("bits_per_byte", "bits_per_byte"),
        ("_em_", r"\_em\_"),
        ("two\nlines", "two lines"),
        ("# heading", r"\# heading"),
        ("1. list", r"\1. list"),
        ("-0.5", "-0.5"),
        ("R&D", "R&amp;D"),
    ],
)
def test_markup_stays_text(text, escaped):
    assert markdown_text(text) == escaped


@given(st.lists(st.text(max_size=20), min_size=2, max_size=4))
def test_a_markdown_row_has_as_many_cells_as_columns_whatever_is_in_them(cells):
    lines = markdown_table(Table(["column"] * len(cells), [list(cells)])).split("\n")
    assert len(lines) == 4
    bare = lines[2].replace("\\\\", "").replace("\\|", "")
    assert bare.count("|") == len(cells) + 1
    assert "<" not in lines[2]


@given(st.text(max_size=20), st.sampled_from(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1"]))
def test_no_csv_cell_begins_like_a_formula(tail, head):
    table = Table(["=name"], [[head + tail], [tail]])
    for row in csv.reader(io.StringIO(csv_text(table), newline="")):
        for cell in row:
            assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_csv_numbers_are_exact_and_keep_their_sign(value):
    rows = list(csv.reader(io.StringIO(csv_text(Table(["x", "y"], [[value, None]])))))
    assert float(rows[1][0]) == value
    assert rows[1][1] == ""


def test_csv_says_nothing_for_nan_and_words_for_truth():
    assert csv_text(Table(["a", "b"], [[float("nan"), True]])) == "a,b\n,true\n"


def test_a_rounded_zero_has_no_sign():
    assert number(-0.00001, 3, signed=True) == "0.000"
    assert number(0.25, 2, signed=True) == "+0.25"
    assert number(None, 3) == "–"
    assert p_text(0.00099) == "<0.001"
    assert p_text(0.001) == "0.001"


def sentence(values, **changes):
    records = runs(values)
    plan = header(records, **changes)
    return verdict_sentences(contrasts(records, plan), plan)


def test_the_verdict_is_said_in_words_with_its_grounding():
    (said,) = sentence(PLANTED)
    assert said.startswith(
        "image helps (grounding: helps): planted/accuracy is better than with text (gain +0.8"
    )
    assert "Grounding, image against image.shuffled: helps (gain +0.8" in said
    assert "5 pairs" in said


def test_a_helping_arm_without_a_shuffled_control_says_grounding_was_not_measured():
    (said,) = sentence({"text": PLANTED["text"], "image": PLANTED["image"]})
    assert said.startswith("image helps (grounding not measured): ")


def test_every_verdict_has_its_sentence():
    base = [0.50, 0.51, 0.49, 0.50, 0.52]
    values = {
        "text": base,
        "worse": [v - 0.2 + d for v, d in zip(base, (0, 0.01, 0, 0.01, 0), strict=True)],
        "same": [v + d for v, d in zip(base, (0.001, 0, 0.002, 0.001, 0), strict=True)],
        "unclear": [0.4, 0.7, 0.5, 0.6, 0.3],
    }
    worse, same, unclear = sentence(values)
    assert worse.startswith("worse hurts: planted/accuracy is worse than with text (gain -0.19")
    assert same.startswith(
        "same is equivalent to text on planted/accuracy within the margin of 0.05 (gain +0.001"
    )
    assert "cannot be told yet" in unclear
    assert "pairs would show equivalence" in unclear
    (no_margin,) = sentence({"text": base, "same": base}, margins={})
    assert "no verdict, because no margin was stated" in no_margin


def test_a_primary_endpoint_that_nobody_scored_is_said():
    (said,) = sentence({"text": [0.1, 0.2], "other": [0.1, 0.3]}, primary="planted/acuracy", margins={})
    assert "no complete pair" in said
    assert "other has no score" in said
