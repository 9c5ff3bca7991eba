"""A store of many records is looked at in little time, and an index that is lost is found again."""

from pathlib import Path

from ablate.bench.store import build_store, left_to_train, made_up_record, measure_looks, measure_loss
from ablate.record import write_record
from ablate.study.store import Store

RECORDS = 2000


def test_a_store_of_2000_records_is_looked_at_in_a_tenth_of_the_time_of_100000(tmp_path: Path) -> None:
    plan = build_store(tmp_path, RECORDS)
    found = {one.name: one for one in measure_looks(plan, tmp_path)}
    # A fiftieth would do; the machine may be slow.
    for name in ("status", "decision what to train"):
        spent = found[f"{name}, processor time"]
        assert spent.value < spent.reference / 10


def test_an_index_that_was_lost_is_found_again(tmp_path: Path) -> None:
    plan = build_store(tmp_path, 100)
    _, lost, _, again = measure_loss(plan, tmp_path)
    assert again.value < lost.value


def test_the_decision_finds_what_has_no_record(tmp_path: Path) -> None:
    plan = build_store(tmp_path, 20)
    (Store(tmp_path).folder(plan.runs[3].identity) / "record.json").unlink()
    assert left_to_train(plan, tmp_path) == [plan.runs[3], plan.runs[-1]]


def test_records_of_the_bench_are_as_large_as_real_ones(tmp_path: Path) -> None:
    write_record(made_up_record(), tmp_path / "record.json")
    real = [path.stat().st_size for path in Path(__file__).parents[2].glob("results/*/records/*.json")]
    assert min(real) < (tmp_path / "record.json").stat().st_size < max(real)
