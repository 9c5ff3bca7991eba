"""One row an item: gains over the pairs that both arms have, largest first, nothing averaged in silence."""

import numpy as np
import pytest
from fabricated import ACCURACY, BITS, header, run, runs
from small_page import item_scores

from ablate.report.document import Document
from ablate.report.page import page
from ablate.report.page_items import MOST_ITEMS, item_table
from ablate.stats.contrasts import contrasts

ARMS = {"text": [0.5, 0.5], "image": [0.75, 0.75], "image.shuffled": [0.5, 0.5]}
VALUES = {
    ("text", 0): [0.0, 1.0, 0.0],
    ("text", 1): [0.0, 1.0, 1.0],
    ("image", 0): [1.0, 0.0, 0.0],
    ("image", 1): [1.0, 1.0, 1.0],
    ("image.shuffled", 0): [1.0, 1.0, 0.0],
    ("image.shuffled", 1): [0.0, 1.0, 1.0],
}


def table_of(values, arms=ARMS, endpoint=ACCURACY, **named):
    records = runs(arms, endpoint)
    plan = header(records, {endpoint: 0.05}, primary=endpoint)
    return item_table(item_scores(values, endpoint=endpoint, **named), contrasts(records, plan), plan)


def test_gain_and_grounding_are_mean_differences_over_seeds():
    found = table_of(VALUES)
    assert found.table.columns == ["item", "gain", "grounding", "text", "image", "image.shuffled"]
    assert found.table.rows == [
        ["q0", "+1.000", "+0.500", "0.000", "1.000", "0.500"],
        ["q1", "-0.500", "-0.500", "1.000", "0.500", "1.000"],
        ["q2", "0.000", "0.000", "0.500", "0.500", "0.500"],
    ]
    assert found.arms == {3: "text", 4: "image", 5: "image.shuffled"}
    assert "2 pairs" in found.legend
    assert found.cluster is None


def test_where_lower_is_better_a_gain_is_a_fall_in_the_score_by_weight():
    values = {key: row for key, row in VALUES.items() if "shuffled" not in key[0]}
    arms = {"text": [2.0, 2.0], "image": [1.0, 1.0]}
    found = table_of(values, arms, BITS, weights=[2.0, 4.0, 2.0])
    assert found.table.columns == ["item", "weight", "gain", "text", "image"]
    assert found.table.rows[0] == ["q0", "2", "-0.500", "0.000", "0.500"]
    assert found.table.rows[1] == ["q1", "4", "+0.125", "0.250", "0.125"]


def test_the_gains_average_to_the_contrasts_own():
    found = table_of(VALUES)
    gains = [float(row[1]) for row in found.table.rows]
    scores = {key: np.mean(row) for key, row in VALUES.items()}
    assert np.mean(gains) == pytest.approx(
        np.mean([scores["image", seed] - scores["text", seed] for seed in (0, 1)]), abs=1e-3
    )


def test_a_pair_without_item_scores_is_told_and_not_averaged_over():
    values = {key: row for key, row in VALUES.items() if key != ("text", 1)}
    found = table_of(values)
    assert found.table.rows[0][:2] == ["q0", "+1.000"]
    assert "1 of 2 pairs have no item scores" in found.legend


def test_a_score_that_is_not_a_number_leaves_its_item_without_a_mean_and_last():
    found = table_of(VALUES | {("image", 0): [float("nan"), 0.0, 0.0]})
    assert found.table.rows[-1] == ["q0", "–", "–", "0.000", "–", "0.500"]


def test_the_largest_gains_stay_when_there_are_too_many_items():
    count = MOST_ITEMS + 10
    values = {(arm, seed): [0.0] * count for arm in ("text", "image") for seed in (0, 1)}
    for seed in (0, 1):
        values["image", seed][-1] = -1.0
    found = table_of(values, {"text": [0.5, 0.5], "image": [0.4, 0.4]})
    assert len(found.table.rows) == MOST_ITEMS
    assert found.table.rows[0][:2] == [f"q{count - 1}", "-1.000"]
    assert found.total == count
    text = page(Document("a", "b", [], [], [], [], ""), {}, [], {}, "", found)
    assert "The first 2,000 of 2,010 rows are here; those of largest gain" in text


def test_clusters_are_named_by_their_subset():
    found = table_of(VALUES, subsets=["islands", "islands", "agreement"])
    assert found.table.columns[1] == "cluster"
    assert found.cluster == 1
    assert [row[1] for row in found.table.rows] == ["islands", "islands", "agreement"]


def test_every_row_names_the_runs_of_the_arms_it_shows():
    sources = table_of(VALUES).table.sources
    assert sources == [tuple(f"{arm}-seed{seed}" for arm in ARMS for seed in (0, 1))] * 3


def test_of_many_arms_only_those_of_the_contrast_are_shown_and_it_says_so():
    arms = ARMS | {f"audio{place}": [0.5, 0.5] for place in range(9)}
    values = VALUES | {(f"audio{place}", seed): [0.0, 0.0, 0.0] for place in range(9) for seed in (0, 1)}
    found = table_of(values, arms)
    assert list(found.arms.values()) == list(ARMS)
    assert "of 3 of 12 arms" in found.legend


def test_nothing_to_compare_gives_no_table():
    assert table_of({("text", 0): [1.0]}) is None
    records = [run("text", 0, {ACCURACY: 0.5})]
    plan = header(records)
    assert item_table(item_scores({("text", 0): [1.0]}), contrasts(records, plan), plan) is None
