"""Ways to score minimal pairs are timed on the same sentences, and must agree."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from ablate.bench.pairs import BAD, GOOD, PARADIGMS, write_pairs
from ablate.bench.scoring import BAR, ROWS, TREES, WHOLE, Contest, ScoringBench, measure_scoring
from ablate.cli import main

TINY = ScoringBench(layers=1, width=16, heads=2, context_length=128, vocabulary=300, pairs=67, rounds=2)
SHARED = "positions of all sentences, against those computed"


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_trees_are_held_against_rows_of_the_same_run(tmp_path):
    found = {one.name: one for one in measure_scoring(TINY, tmp_path)}
    assert list(found) == [
        TREES, ROWS, f"{TREES}, least ratio of 2 rounds", f"{TREES}, largest ratio of 2 rounds", SHARED,
    ]  # fmt: skip
    assert found[TREES].reference == found[ROWS].value > 0
    least, largest = (found[f"{TREES}, {which} ratio of 2 rounds"] for which in ("least", "largest"))
    assert 0 < least.value <= largest.value < math.inf
    assert least.reference == BAR
    assert found[SHARED].value > 1.1 * found[SHARED].reference


def test_made_up_pairs_differ_in_one_word(tmp_path):
    paths = write_pairs(tmp_path, 200, 500)
    assert len(paths) == PARADIGMS
    for path in paths:
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        assert len(rows) == 3
        for row in rows:
            good, bad = row[GOOD].split(), row[BAD].split()
            assert 4 <= len(good) == len(bad) <= 12
            assert sum(one != other for one, other in zip(good, bad, strict=True)) == 1


def test_ways_that_disagree_are_not_compared():
    contest = Contest()
    contest.time("one", lambda: [-3.0, -4.0])
    contest.time("another", lambda: [-3.0, -4.0005])
    for found in ([-3.0, -4.002], [-3.0, math.nan]):
        with pytest.raises(ValueError, match=r"a third: a log-likelihood is .* -4\.0 by the first way"):
            contest.time("a third", lambda found=found: found)


def test_ratios_are_to_the_fastest_of_a_round():
    contest = Contest()
    contest.seconds = {"ours": [1.0, 2.0], "theirs": [4.0, 2.0], "theirs too": [3.0, 5.0]}
    assert contest.ratios("ours", ["theirs", "theirs too"]) == [3.0, 1.0]
    assert contest.rate("ours", 30) == 20.0


def test_the_command_reads_pairs_and_text_of_ones_own(monkeypatch, capsys, tmp_path):
    (path, *_) = write_pairs(tmp_path, 67 * 40, 300)
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "Some words to learn tokens from. " * 9}), encoding="utf-8")
    out = tmp_path / "new" / "scoring.json"
    words = ["--layers", "1", "--width", "16", "--heads", "2", "--vocabulary", "300", "--rounds", "1"]
    words += ["--tasks", path, "--text", str(text), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["ablate", "bench", "scoring", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    rows = json.loads(out.read_text(encoding="utf-8"))
    assert [row["name"] for row in rows][:2] == [TREES, ROWS]
    assert "sentences/s" in capsys.readouterr().out


@pytest.mark.slow
def test_lm_evaluation_harness_gives_the_same_log_likelihoods(tmp_path):
    pytest.importorskip("lm_eval")
    bench = ScoringBench(**{**vars(TINY), "hf_batches": (4, 64), "rounds": 1})
    found = {one.name: one for one in measure_scoring(bench, tmp_path)}
    rivals = [name for name in found if "lm-eval" in name]
    assert [name.rpartition(" ")[2] for name in rivals] == ["4", "64", "4", "64"]
    assert found[TREES].reference == max(found[name].value for name in rivals[:2])
    assert found[WHOLE].reference == max(found[name].value for name in rivals[2:])
