"""Item scores are read as they were scored, or a fault says what is wrong with which file."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from fabricated import run
from hypothesis import given
from hypothesis import strategies as st
from large_study import ENDPOINTS, item_frame, item_values, scores_of, write_large_study

from ablate.record import Score
from ablate.report.items import read_items
from ablate.stats.bootstrap import crossed_bootstrap

ALL = [*ENDPOINTS, "prose/bits_per_byte/prose", "pairs/accuracy/agreement", "pairs/accuracy/islands"]


@pytest.fixture
def study(tmp_path):
    """Two arms of three seeds over 20 items a task, and their records."""
    return tmp_path, write_large_study(tmp_path, arms=2, seeds=3, rows=100)


def path_of(folder, run_name):
    return folder / "items" / f"{run_name}.parquet"


def edit(folder, run_name, change):
    """Rewrite one file of item scores."""
    path = path_of(folder, run_name)
    frame = change(pd.read_parquet(path))
    frame.to_parquet(path, compression="zstd", index=False)


def test_every_endpoint_gives_back_the_scores_of_the_records(study):
    folder, records = study
    found, faults = read_items(folder, records, ALL)
    assert faults == []
    assert list(found) == ALL
    for endpoint, scores in found.items():
        for record in records:
            values = scores.values[record.arm, record.seed]
            again = values.sum() / scores.weights.sum()
            assert again == pytest.approx(record.scores[endpoint].value, rel=1e-12)


def test_bits_per_byte_comes_as_bits_over_bytes(study):
    folder, records = study
    scores = read_items(folder, records, ["prose/bits_per_byte"])[0]["prose/bits_per_byte"]
    frame = pd.read_parquet(path_of(folder, "text-seed1")).set_index("metric")
    assert scores.values["text", 1].tolist() == frame.loc["bits", "value"].tolist()
    assert scores.weights.tolist() == frame.loc["bytes", "value"].tolist()
    assert scores.items == frame.loc["bits", "item"].tolist()


def test_bits_of_a_group_of_words_come_over_the_bytes_of_those_words(tmp_path):
    """Documents without such words have no rows: other items than the whole text's, and as many."""
    rows = [("a", "bits", 30.0), ("a", "bytes", 10.0), ("b", "bits", 40.0), ("b", "bytes", 20.0)]
    rows += [("b", "bits.concrete", 9.0), ("b", "bytes.concrete", 4.0)]
    (tmp_path / "items").mkdir()
    frame = pd.DataFrame([("prose", "news", *row) for row in rows])
    frame.columns = ["task", "subset", "item", "metric", "value"]
    frame.to_parquet(path_of(tmp_path, "text-seed0"), index=False)
    concrete = Score(9.0 / 4.0, 1, False)
    told = {"prose/bits_per_byte": Score(70.0 / 30.0, 2, False), "prose/bits_per_byte.concrete": concrete}
    records = [run("text", 0, told | {"prose/bits_per_byte.concrete/news": concrete})]
    found, faults = read_items(tmp_path, records, records[0].scores)
    assert faults == []
    assert found["prose/bits_per_byte.concrete/news"].items == ["b"]
    assert found["prose/bits_per_byte.concrete"].weights.tolist() == [4.0]
    assert found["prose/bits_per_byte"].items == ["a", "b"]


def test_a_metric_of_whole_sets_has_no_items_and_that_is_no_fault(study):
    folder, records = study
    told = [
        dataclasses.replace(one, scores=one.scores | {"cola/matthews": Score(0.1, 20, True)})
        for one in records
    ]
    assert read_items(folder, told, ["cola/matthews"]) == ({}, [])


def with_clusters(folder, records, cluster):
    """Write a column ``cluster``, a function of the row's place, into every file."""
    for one in records:
        edit(folder, f"{one.arm}-seed{one.seed}", lambda frame: frame.assign(cluster=cluster(frame)))


def test_clusters_that_the_task_states_take_the_place_of_the_subsets(study):
    folder, records = study
    with_clusters(folder, records, lambda frame: [f"c{place % 5}" for place in range(len(frame))])
    found, faults = read_items(folder, records, ["pairs/accuracy", "pairs/accuracy/agreement"])
    assert faults == []
    assert len(set(found["pairs/accuracy"].clusters)) == 5
    assert len(set(found["pairs/accuracy/agreement"].clusters)) == 5


def test_an_item_with_an_empty_cluster_stands_for_itself(study):
    folder, records = study
    with_clusters(folder, records, lambda frame: ["one" if p % 2 else "" for p in range(len(frame))])
    clusters = read_items(folder, records, ["pairs/accuracy"])[0]["pairs/accuracy"].clusters
    assert sorted(np.bincount(clusters)) == [1] * 10 + [10]


def test_where_all_items_are_one_cluster_each_stands_for_itself(study):
    """As one paradigm of BLiMP, scored by itself."""
    folder, records = study
    with_clusters(folder, records, lambda frame: list(frame["subset"]))
    found, _ = read_items(folder, records, ["pairs/accuracy", "pairs/accuracy/agreement"])
    assert found["pairs/accuracy"].clusters.tolist() == [0] * 10 + [1] * 10
    assert found["pairs/accuracy/agreement"].clusters.tolist() == list(range(10))


def test_an_empty_column_is_as_none(study):
    folder, records = study
    before = read_items(folder, records, ALL)[0]
    with_clusters(folder, records, lambda frame: [None if p % 2 else "" for p in range(len(frame))])
    after, faults = read_items(folder, records, ALL)
    assert faults == []
    for name in ALL:
        assert after[name].clusters.tolist() == before[name].clusters.tolist()


def test_a_run_that_states_other_clusters_is_a_fault_and_one_that_states_none_is_not(study):
    folder, records = study
    with_clusters(folder, records, lambda frame: [f"c{place % 5}" for place in range(len(frame))])
    edit(folder, "text-seed0", lambda frame: frame.drop(columns="cluster"))
    assert read_items(folder, records, ALL)[1] == []
    edit(folder, "text-seed1", lambda frame: frame.assign(cluster="other"))
    found, faults = read_items(folder, records, ["pairs/accuracy"])
    assert faults == [
        "items/text-seed1.parquet: pairs/accuracy: 20 items are of another cluster than in most runs"
    ]
    assert ("text", 1) not in found["pairs/accuracy"].values


def test_items_of_one_subset_are_a_cluster_where_there_are_several(study):
    folder, records = study
    found, _ = read_items(folder, records, ALL)
    assert found["pairs/accuracy"].clusters.tolist() == [0] * 10 + [1] * 10
    assert found["pairs/accuracy"].subsets == ["agreement"] * 10 + ["islands"] * 10
    for alone in ("planted/accuracy", "prose/bits_per_byte", "pairs/accuracy/islands"):
        assert len(set(found[alone].clusters.tolist())) == len(found[alone].items)


def test_an_edited_record_disagrees_with_its_items_and_is_left_out(study):
    folder, records = study
    score = records[4].scores["planted/accuracy"]
    edited = records[4].scores | {"planted/accuracy": dataclasses.replace(score, value=score.value + 1e-6)}
    records[4] = dataclasses.replace(records[4], scores=edited)
    found, faults = read_items(folder, records, ALL)
    assert len(faults) == 1
    assert faults[0].startswith("items/image1-seed1.parquet: planted/accuracy: the items give ")
    assert "the record was edited by hand, or the items are of another run" in faults[0]
    assert ("image1", 1) not in found["planted/accuracy"].values
    assert ("image1", 1) in found["pairs/accuracy"].values


def test_items_of_another_run_are_found_out(study):
    folder, records = study
    path_of(folder, "text-seed0").write_bytes(path_of(folder, "image1-seed2").read_bytes())
    found, faults = read_items(folder, records, ["prose/bits_per_byte"])
    assert [fault.split(":")[0] for fault in faults] == ["items/text-seed0.parquet"]
    assert len(found["prose/bits_per_byte"].values) == 5


def test_a_missing_file_is_named(study):
    folder, records = study
    path_of(folder, "text-seed2").unlink()
    found, faults = read_items(folder, records, ALL)
    assert faults == ["items/text-seed2.parquet: no such file; the run has a record and no item scores"]
    assert all(len(scores.values) == 5 for scores in found.values())


def test_a_study_without_item_scores_says_it_once(tmp_path):
    records = [run("text", seed, {"planted/accuracy": 0.5}) for seed in range(4)]
    found, faults = read_items(tmp_path, records, ["planted/accuracy"])
    assert found == {}
    assert faults == ["no run has its item scores in items/: intervals over items cannot be given"]


def test_a_value_that_is_no_number_is_counted_and_its_run_left_out(study):
    folder, records = study

    def lose(frame):
        frame.loc[[0, 3], "value"] = np.nan
        return frame

    edit(folder, "image1-seed0", lose)
    found, faults = read_items(folder, records, ALL)
    assert faults == [
        "items/image1-seed0.parquet: planted/accuracy: 2 of 20 item scores are not finite numbers"
    ]
    assert ("image1", 0) not in found["planted/accuracy"].values


def test_other_items_than_most_runs_have_are_a_fault(study):
    folder, records = study

    def rename(frame):
        frame["item"] = frame["item"].replace("questions:7", "questions:700")
        return frame

    edit(folder, "text-seed0", rename)
    found, faults = read_items(folder, records, ALL)
    assert faults == [
        "items/text-seed0.parquet: planted/accuracy: other items than most runs have: 1 are missing and 1 "
        "are extra"
    ]
    assert "questions:7" in found["planted/accuracy"].items


def test_the_same_items_in_another_order_are_the_same_items(study):
    folder, records = study
    before, _ = read_items(folder, records, ALL)
    edit(folder, "text-seed0", lambda frame: frame.sample(frac=1.0, random_state=1))
    found, faults = read_items(folder, records, ALL)
    assert faults == []
    for endpoint, scores in found.items():
        assert scores.items == before[endpoint].items
        assert scores.values["text", 0].tolist() == before[endpoint].values["text", 0].tolist()


@given(codec=st.sampled_from(["snappy", "gzip", None]), group=st.integers(1, 120), dictionary=st.booleans())
def test_how_a_file_is_stored_does_not_matter(tmp_path_factory, codec, group, dictionary):
    folder = tmp_path_factory.mktemp("stored")
    records = write_large_study(folder, arms=2, seeds=1, rows=100)
    frame = pd.read_parquet(path_of(folder, "text-seed0"))
    frame.to_parquet(
        path_of(folder, "text-seed0"),
        compression=codec,
        row_group_size=group,
        use_dictionary=dictionary,
        index=False,
    )
    found, faults = read_items(folder, records, ALL)
    assert faults == []
    assert all(len(scores.values) == 2 for scores in found.values())


def test_an_item_that_is_there_twice_is_a_fault(study):
    folder, records = study
    edit(folder, "text-seed1", lambda frame: pd.concat([frame, frame.iloc[[0]]]))
    _, faults = read_items(folder, records, ["planted/accuracy"])
    said = "items of planted/accuracy that are there more than once: 1"
    assert faults == [f"items/text-seed1.parquet: planted/accuracy: {said}"]


def test_bytes_that_differ_between_runs_are_a_fault(study):
    folder, records = study

    def double(frame):
        frame.loc[frame["metric"].isin(["bits", "bytes"]), "value"] *= 2.0
        return frame

    edit(folder, "text-seed0", double)
    _, faults = read_items(folder, records, ["prose/bits_per_byte"])
    assert faults == [
        "items/text-seed0.parquet: prose/bits_per_byte: weights of the items are not those of most runs"
    ]


def test_an_endpoint_that_the_items_lack_is_a_fault_of_those_runs(study):
    folder, records = study
    edit(folder, "text-seed0", lambda frame: frame[frame["task"] != "pairs"])
    _, faults = read_items(folder, records, ["pairs/accuracy", "planted/accuracy"])
    assert faults == ["items/text-seed0.parquet: pairs/accuracy: no item scores of pairs/accuracy"]


def test_fewer_items_than_the_record_counts_are_a_fault(study):
    folder, records = study
    records = [
        dataclasses.replace(
            record,
            scores={name: dataclasses.replace(score, items=256) for name, score in record.scores.items()},
        )
        for record in records
    ]
    found, faults = read_items(folder, records, ["planted/accuracy"])
    assert found == {}
    assert faults[0] == "items/text-seed0.parquet: planted/accuracy: 20 items, the record says 256"


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not a parquet file at all", b"PAR1" + b"\0" * 64 + b"PAR1"]
)
def test_a_file_that_cannot_be_read_is_named(study, content):
    folder, records = study
    path_of(folder, "text-seed0").write_bytes(content)
    found, faults = read_items(folder, records, ALL)
    assert len(faults) == 1
    assert faults[0].startswith("items/text-seed0.parquet: not a file of item scores (")
    assert all(len(scores.values) == 5 for scores in found.values())


def test_every_single_byte_of_damage_is_a_fault_or_without_effect(study):
    """A damaged file must not crash the report or change a number of another run."""
    folder, records = study
    whole = path_of(folder, "text-seed0").read_bytes()
    before, _ = read_items(folder, records, ["planted/accuracy"])
    for place in np.random.default_rng(3).integers(0, len(whole), 150).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path_of(folder, "text-seed0").write_bytes(bytes(damaged))
        found, _ = read_items(folder, records, ["planted/accuracy"])
        for key, values in found["planted/accuracy"].values.items():
            same = values.tolist() == before["planted/accuracy"].values[key].tolist()
            assert same or key == ("text", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="subset"), "lacks the columns subset"),
        (lambda frame: frame.assign(value="high"), "not a file of item scores"),
        (lambda frame: frame.assign(item=None), "does not say what it scores"),
        (lambda frame: frame.iloc[:0], "no item scores of planted/accuracy"),
    ],
)
def test_a_file_of_other_columns_is_named(study, change, said):
    folder, records = study
    edit(folder, "image1-seed1", change)
    _, faults = read_items(folder, records, ["planted/accuracy"])
    assert len(faults) == 1
    assert faults[0].startswith("items/image1-seed1.parquet: ")
    assert said in faults[0]


def test_diverged_runs_and_unknown_endpoints_are_no_faults_of_items(study):
    folder, records = study
    records[0] = dataclasses.replace(records[0], status="diverged", scores={})
    path_of(folder, "text-seed0").unlink()
    found, faults = read_items(folder, records, ["planted/accuracy", "nowhere/accuracy"])
    assert faults == []
    assert list(found) == ["planted/accuracy"]
    assert len(found["planted/accuracy"].values) == 5


def test_a_mean_of_values_that_cancel_agrees_with_its_record(tmp_path):
    """Margins of minimal pairs: a mean near zero of large values of both signs."""
    value = np.array([1e6, -1e6, 3.0, -2.9999999, 1e5, -1e5])
    frame = pd.DataFrame(
        {"task": "pairs", "subset": "", "item": list("abcdef"), "metric": "margin", "value": value}
    )
    (tmp_path / "items").mkdir()
    frame.to_parquet(path_of(tmp_path, "text-seed0"), index=False)
    records = [run("text", 0, {"pairs/margin": float(np.sum(value[::-1])) / 6})]
    records[0].scores["pairs/margin"] = dataclasses.replace(records[0].scores["pairs/margin"], items=6)
    assert read_items(tmp_path, records, ["pairs/margin"])[1] == []


def test_what_is_read_is_what_the_bootstrap_takes(study):
    folder, records = study
    scores = read_items(folder, records, ["prose/bits_per_byte"])[0]["prose/bits_per_byte"]
    treated, reference = (
        np.stack([scores.values[arm, seed] for seed in range(3)]) for arm in ("image1", "text")
    )
    found = crossed_bootstrap(treated, reference, scores.weights, scores.clusters, False, "image1/text")
    gains = [
        records[seed].scores["prose/bits_per_byte"].value
        - records[seed + 3].scores["prose/bits_per_byte"].value
        for seed in range(3)
    ]
    assert found.mean_gain == pytest.approx(np.mean(gains), abs=1e-12)


def test_a_thousand_files_take_about_a_second(tmp_path):
    """The bar is 10 s for 10,000 files of 500 rows; here ten times that is allowed, for busy machines."""
    frame, rng, records = item_frame(100), np.random.default_rng(1), []
    (tmp_path / "items").mkdir()
    for number in range(10):
        frame["value"] = item_values(frame, rng, 0.5)
        frame.to_parquet(path_of(tmp_path, f"text-seed{number}"), compression="zstd", index=False)
        content = path_of(tmp_path, f"text-seed{number}").read_bytes()
        for seed in range(number, 1000, 10):
            path_of(tmp_path, f"text-seed{seed}").write_bytes(content)
            records.append(run("text", seed, scores_of(frame)))
    start = time.process_time()
    found, faults = read_items(tmp_path, records, ALL)
    assert time.process_time() - start < 10
    assert faults == []
    assert len(found["prose/bits_per_byte"].values) == 1000
