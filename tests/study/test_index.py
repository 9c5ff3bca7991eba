"""What records say is known without reading them, and an index that is lost or wrong costs time only."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from ablate.bench.store import made_up_record
from ablate.record import RecordError, RunRecord, write_record
from ablate.study import index as index_module
from ablate.study.index import MOST_FILES, Index, append_entries
from ablate.study.states import keep_record, write_failure
from ablate.study.store import Store, tasks_digest

RECORD = made_up_record()


def kept(root: Path, count: int) -> list[str]:
    """Identities of ``count`` runs with records."""
    names = [f"{number:032x}" for number in range(count)]
    for name in names:
        Store(root).folder(name).mkdir(parents=True)
        keep_record(Store(root), dataclasses.replace(RECORD, identity=name))
    return names


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Records that were read to answer."""
    seen: list[Path] = []
    read = index_module.read_record

    def noted(path: Path) -> RunRecord:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(index_module, "read_record", noted)
    return seen


def test_what_was_kept_is_known_without_reading_a_record(tmp_path: Path, reads: list[Path]) -> None:
    names = kept(tmp_path, 3)
    index = Index(tmp_path)
    for name in names:
        entry = index.entry(name)
        assert entry is not None
        assert (entry.status, entry.flops) == ("finished", RECORD.spent.total_flops)
        assert entry.is_scored(tasks_digest(RECORD.data_digests))
        assert not entry.is_scored(tasks_digest({"task/made_up": "1" * 32}))
    assert index.entry("f" * 32) is None
    assert reads == []


def test_a_diverged_run_has_nothing_to_score(tmp_path: Path) -> None:
    (Store(tmp_path).folder(RECORD.identity)).mkdir(parents=True)
    keep_record(Store(tmp_path), dataclasses.replace(RECORD, status="diverged", scores={}))
    entry = Index(tmp_path).entry(RECORD.identity)
    assert entry is not None
    assert entry.status == "diverged"
    assert entry.is_scored("any")


@pytest.mark.parametrize("damage", ["lost", "torn", "garbage", "wrong"])
def test_an_index_that_is_damaged_is_mended_by_one_reading(
    tmp_path: Path, reads: list[Path], damage: str
) -> None:
    names = kept(tmp_path, 4)
    sound = {name: Index(tmp_path).entry(name) for name in names}
    (path,) = (tmp_path / "index").iterdir()
    lines = path.read_bytes()
    if damage == "lost":
        shutil.rmtree(tmp_path / "index")
    elif damage == "torn":
        path.write_bytes(lines[: len(lines) // 2])
    elif damage == "garbage":
        path.write_bytes(
            b'\xff\x00\n{"a": [1]}\n[1,2]\n' + b"[" * 5000 + b"\n" + lines.splitlines()[0] + b"\n7\n"
        )
    else:
        path.write_bytes(lines.replace(b'"finished"', b'"running"'))
    found = Index(tmp_path)
    assert {name: found.entry(name) for name in names} == sound
    assert reads
    found.flush()
    del reads[:]
    again = Index(tmp_path)
    assert {name: again.entry(name) for name in names} == sound
    assert reads == []


def test_a_record_that_was_replaced_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    (name,) = kept(tmp_path, 1)
    index = Index(tmp_path)
    index.entry(name)
    diverged = dataclasses.replace(RECORD, identity=name, status="diverged")
    write_record(diverged, Store(tmp_path).folder(name) / "record.json")
    entry = index.entry(name)
    assert entry is not None
    assert entry.status == "diverged"
    assert len(reads) == 1


def test_an_edited_record_is_refused_though_the_index_knows_it(tmp_path: Path) -> None:
    (name,) = kept(tmp_path, 1)
    path = Store(tmp_path).folder(name) / "record.json"
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9', 1))
    with pytest.raises(RecordError, match="edited after it was written"):
        Index(tmp_path).entry(name)


def test_a_record_that_is_gone_is_to_be_trained_again(tmp_path: Path) -> None:
    (name,) = kept(tmp_path, 1)
    shutil.rmtree(Store(tmp_path).folder(name))
    assert Index(tmp_path).entry(name) is None


def test_many_files_become_one_and_say_the_same(tmp_path: Path, reads: list[Path]) -> None:
    names = kept(tmp_path, 5)
    (path,) = (tmp_path / "index").iterdir()
    for number in range(MOST_FILES + 1):
        shutil.copyfile(path, tmp_path / "index" / f"node{number}.jsonl")
    before = {name: Index(tmp_path).entry(name) for name in names}
    (whole,) = (tmp_path / "index").iterdir()
    assert len(whole.read_bytes().splitlines()) == 5
    index = Index(tmp_path)
    assert {name: index.entry(name) for name in names} == before
    assert reads == []


def test_what_others_append_is_seen_without_reading_the_whole_again(
    tmp_path: Path, reads: list[Path]
) -> None:
    first, second = kept(tmp_path, 2)
    entries = [Index(tmp_path).entry(name) for name in (first, second)]
    shutil.rmtree(tmp_path / "index")
    append_entries(tmp_path, [entries[0]])
    index = Index(tmp_path)
    append_entries(tmp_path, [entries[1]])
    index.refresh()
    assert [index.entry(name) for name in (first, second)] == entries
    assert reads == []


def test_an_index_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder belongs")
    (name,) = kept(tmp_path, 1)
    index = Index(tmp_path)
    assert index.entry(name) is not None
    index.flush()


def test_a_success_forgets_the_failures_before_it(tmp_path: Path) -> None:
    folder = Store(tmp_path).folder(RECORD.identity)
    write_failure(folder, "out of memory")
    keep_record(Store(tmp_path), RECORD)
    assert os.listdir(folder) == ["record.json"]
