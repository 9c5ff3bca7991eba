"""What arms spent, beside what was matched."""

import dataclasses

import pytest
from fabricated import PLANTED, header, ledger, run, runs

from ablate.report.compute import QUANTITIES, compute_rows, compute_table
from ablate.stats.samples import index_runs


def rows(table):
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def test_every_quantity_stands_beside_the_matched_one():
    records = runs(PLANTED)
    plan = header(records)
    found = rows(compute_table(index_runs(records), plan))
    titles = [one.title for one in QUANTITIES.values() if one.title != "FLOPs charged"]
    for column in ["FLOPs charged (matched)", *titles]:
        assert all(row[column] for row in found.values())
    image = found["image"]
    assert image["FLOPs charged (matched)"] == "1.001e12"
    assert image["FLOPs executed"] == "1e12"
    assert (image["text tokens"], image["unique text tokens"], image["text epochs"]) == (
        "900,000",
        "500,000",
        "1.80",
    )
    assert (image["caption tokens"], image["media positions"]) == ("10,000", "40,000")
    assert image["parameters"] == "1,010,000"
    assert image["matched quantity off by"] == "+0.10%"
    assert found["text"]["matched quantity off by"] == "–"


def test_text_that_a_control_read_again_stands_in_the_table():
    records = [run("text", 0, {}), run("image.repeat_text", 0, {}, spent=ledger(repeated_tokens=1_234))]
    found = index_runs(records)
    table, machine = (rows(make(found, header(records))) for make in (compute_table, compute_rows))
    assert table["image.repeat_text"]["repeated tokens"] == "1,234"
    assert table["text"]["repeated tokens"] == "0"
    assert machine["image.repeat_text"]["repeated_tokens_max"] == 1_234


def test_a_range_is_printed_only_where_seeds_differ():
    records = [run("text", seed, {}, spent=ledger(wall_seconds=10.0 + seed)) for seed in (0, 1, 2)]
    found = rows(compute_table(index_runs(records), header(records)))["text"]
    assert found["wall seconds"] == "10.00 to 12.00"
    assert found["positions"] == "1,000,000"


def test_an_arm_that_lacks_a_run_says_how_many_it_has():
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image", 3)]
    assert rows(compute_table(index_runs(records), header(records)))["image"]["runs"] == "4 of 5"


def test_an_arm_without_runs_is_empty_and_not_nan():
    records = runs({"text": PLANTED["text"]})
    plan = header(records, arms=["text", "image"])
    assert set(rows(compute_table(index_runs(records), plan))["image"].values()) == {"image", "0 of 5", "–"}
    assert set(rows(compute_rows(index_runs(records), plan))["image"].values()) == {"image", 0, None}


def test_the_csv_holds_the_same_arms_with_components():
    records = runs(PLANTED)
    records[5] = dataclasses.replace(records[5], spent=ledger(40_000, flops=1_005_000_000_000))
    found = rows(compute_rows(index_runs(records), header(records)))
    image = found["image"]
    assert (image["flops/backbone_min"], image["flops/backbone_max"]) == (10**12, 1_005_000_000_000)
    assert (image["flops/encoder/pictures_min"], found["text"]["flops/encoder/pictures_max"]) == (10**9, 0)
    assert image["off_max"] == pytest.approx(1.005 * 1.001 - 1)
    assert image["total_flops_max"] == 1_006_005_000_000


def test_the_worst_mismatch_is_printed_whatever_its_sign():
    records = runs({"text": [0.1, 0.2], "other": [0.1, 0.2]})
    records[2] = dataclasses.replace(records[2], spent=ledger(flops=994 * 10**9))
    records[3] = dataclasses.replace(records[3], spent=ledger(flops=1001 * 10**9))
    assert (
        rows(compute_table(index_runs(records), header(records)))["other"]["matched quantity off by"]
        == "-0.60%"
    )
