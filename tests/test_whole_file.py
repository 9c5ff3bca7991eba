"""Files are written whole, whoever writes the same one at the same time, and leave nothing when they fail."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ablate.whole_file import write_whole


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    path.write_text("old")
    write_whole(path, "planted\u202faccuracy\n")
    assert path.read_bytes() == "planted\u202faccuracy\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_writers_of_one_file_at_one_moment_each_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    contents = [letter * 50_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda content: [write_whole(path, content) for _ in range(25)], contents))
    assert path.read_text(encoding="utf-8") in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing_and_the_old_one_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "taken", "content")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]
