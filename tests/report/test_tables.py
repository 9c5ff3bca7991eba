"""The numbers in tables: what is averaged, what is named, what is beside chance."""

import dataclasses
import math

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs

from ablate.record import Score
from ablate.report.contrast_tables import contrast_rows, contrast_table
from ablate.report.tables import (
    chance_table,
    endpoint_places,
    missing_table,
    score_rows,
    score_table,
    skip_table,
)
from ablate.stats.binomial import chance_interval
from ablate.stats.contrasts import contrasts
from ablate.stats.samples import index_runs


def study(records, **changes):
    plan = header(records, **changes)
    return index_runs(records), plan, contrasts(records, plan)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_the_markdown_rows_are_the_csv_rows_rounded():
    _, _, found = study(runs(PLANTED))
    for shown, exact in zip(rows(contrast_table(found)), rows(contrast_rows(found)), strict=True):
        assert shown["contrast"] == f"{exact['arm']} vs {exact['reference']}"
        assert float(shown["mean gain"]) == pytest.approx(exact["mean_gain"], abs=5.1e-4)
        low, high = map(float, shown["95% CI"].strip("[]").split(","))
        assert (low, high) == pytest.approx((exact["ci95_low"], exact["ci95_high"]), abs=5.1e-4)
        assert shown["verdict"] == exact["verdict"]
        assert int(shown["n"]) == exact["n"] == 5
        assert (exact["adjustment"] == "holm") == exact["planned_confirmatory"]


def test_missing_seeds_stand_in_the_row():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image", 3)]
    _, _, found = study(records)
    row = rows(contrast_table(found))[0]
    assert row["n"] == "4 of 5 (without 3)"
    assert "seed 3: image has no record" in row["note"]
    assert row["p differs"] == "–"
    assert rows(contrast_rows(found))[0]["missing_seeds"] == "3"


def test_an_average_with_a_missing_part_is_not_printed():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image", 3)]
    records[0] = dataclasses.replace(records[0], status="diverged", scores={})
    by_arm = {row["arm"]: row for row in rows(score_table(*study(records)[:2], {}))}
    assert by_arm["image"]["seed 3"] == "no record"
    assert by_arm["image"]["mean"] == by_arm["image"]["sd"] == "–"
    assert by_arm["text"]["seed 0"] == "diverged"
    assert by_arm["text"]["mean"] == "–"
    shuffled = by_arm["image.shuffled"]
    assert float(shuffled["mean"]) == pytest.approx(np.mean(PLANTED["image.shuffled"]), abs=5e-5)
    assert float(shuffled["sd"]) == pytest.approx(np.std(PLANTED["image.shuffled"], ddof=1), abs=5e-5)


def test_a_score_that_is_not_a_number_is_shown_and_not_averaged():
    records = runs(PLANTED)
    records[1] = run("text", 1, {ACCURACY: math.nan})
    runs_, plan, found = study(records)
    assert rows(score_table(runs_, plan, {}))[0]["seed 1"] == "nan"
    assert rows(score_table(runs_, plan, {}))[0]["mean"] == "–"
    missing = [row for row in rows(score_rows(runs_, plan)) if row["missing"]]
    assert [(row["arm"], row["seed"], row["value"], row["missing"]) for row in missing] == [
        ("text", 1, None, "nan")
    ]
    assert ["text, seed 1, planted/accuracy", "score nan"] in missing_table(runs_, plan, found).rows


def test_every_score_is_in_the_csv_unrounded():
    records = runs({"text": [1 / 3, 2 / 3], "other": [1 / 7, 2 / 7]})
    values = [row["value"] for row in rows(score_rows(*study(records)[:2]))]
    assert values == [1 / 3, 2 / 3, 1 / 7, 2 / 7]


def test_placebos_stand_beside_the_interval_of_chance_over_all_of_them():
    records = runs(PLANTED | {"image.shuffled": [0.12, 0.14, 0.12, 0.12, 0.30]})
    found = {row["arm"]: row for row in rows(chance_table(*study(records)[:2], {ACCURACY: 3}))}
    assert list(found) == ["text", "image.captions_only", "image.shuffled"]
    low, high = chance_interval(256, 0.125, runs=15)
    assert found["text"]["interval"] == f"{low:.3f} to {high:.3f}"
    assert found["text"]["within"] == "5 of 5"
    assert found["image.shuffled"]["within"] == "4 of 5"


def test_only_accuracies_are_held_against_the_binomial():
    score = Score(0.2, 256, True, 0.125)
    records = [run(arm, 0, {"planted/probability": score, BITS: 2.0}) for arm in ("text", "other")]
    margins = {"planted/probability": 0.01, BITS: 0.01}
    assert not chance_table(*study(records, margins=margins, primary=BITS)[:2], {}).rows


def test_decimal_places_show_two_digits_of_the_margin():
    records = [
        run(arm, s, {ACCURACY: 0.5 + s / 10, BITS: 2.0 + s / 10})
        for arm in ("text", "other")
        for s in (0, 1, 2)
    ]
    _, _, found = study(records, margins={ACCURACY: 0.05, BITS: 0.005})
    assert endpoint_places(found) == {ACCURACY: 3, BITS: 4}


def test_missing_diverged_and_refused_runs_are_listed():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image", 3)]
    records[0] = dataclasses.replace(records[0], status="diverged", scores={})
    far = dataclasses.replace(records[1].spent, flops={"backbone": 2 * 10**12})
    records[1] = dataclasses.replace(records[1], spent=far)
    table = missing_table(*study(records))
    assert ["text, seed 0", "diverged after step 90"] in table.rows
    assert ["image, seed 3", "no record"] in table.rows
    assert sum(row[0] == "pair refused" for row in table.rows) == 3
    assert not missing_table(*study(runs(PLANTED))).rows


def test_skips_are_counted_per_arm_and_reason():
    records = [run("text", 0, {}), run("image", 0, {}, skips={"pictures/decode": 2, "pictures/none": 0})]
    records += [run("text", 1, {}), run("image", 1, {}, skips={"pictures/decode": 1200})]
    assert skip_table(*study(records)[:2]).rows == [["image", "pictures/decode", "2 to 1,200"]]
