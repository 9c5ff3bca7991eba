"""Captions in a file are read exactly, or the line at fault is named."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.errors import DataError
from ablate.shards.captions import read_captions


def read(tmp_path, name: str, content: str | bytes, *fields: str) -> dict[str, list[str]]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_captions(path, *fields)


def error_of(tmp_path, name: str, content: str | bytes, *fields: str) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content, *fields)
    return str(caught.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(TEXT.map(str.strip).filter(bool), min_size=1))
def test_any_caption_comes_back_from_each_format(tmp_path_factory, captions):
    folder = tmp_path_factory.mktemp("captions")
    rows = [{"file_name": f"{at}.jpg", "caption": caption} for at, caption in enumerate(captions)]
    contents = {"c.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)}
    for name, delimiter in (("c.csv", ","), ("c.tsv", "\t")):
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, ["file_name", "caption"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        contents[name] = out.getvalue()
    for name, content in contents.items():
        assert list(read(folder, name, content).values()) == [[caption] for caption in captions]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_any_system_ends_them(tmp_path, end):
    assert read(tmp_path, "c.csv", end.join(["file_name,caption", "a.jpg,One.", ""])) == {"a.jpg": ["One."]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.xlsx", "", "read from .csv, .tsv or .jsonl"),
        ("c.csv", "", "has no lines"),
        ("c.csv", "file_name,caption\n", "has no lines"),
        ("c.csv", b"file_name,caption\na.jpg,\xe9\n", "not UTF-8 at byte 24"),
        ("c.csv", "file,caption\na.jpg,x\n", "c.csv:2: has no 'file_name'; it has file, caption: name the"),
        ("c.csv", "file,caption\na.jpg,x\n", "--file-field"),
        ("c.csv", "file_name,text\na.jpg,x\n", "--caption-field"),
        ("c.csv", "file_name,caption\na.jpg,x\nb.jpg,one, two\n", "c.csv:3: has another number of columns"),
        ("c.csv", "file_name,caption\na.jpg\n", "c.csv:2: has another number of columns"),
        ("c.csv", 'file_name,caption\n"a\nb.jpg",x\nc.jpg,\n', "c.csv:4: 'caption' is empty"),
        ("c.csv", 'file_name,caption\na.jpg,"x', "damaged CSV"),
        ("c.csv", 'file_name,caption\na.jpg,"x"y\n', "damaged CSV"),
        ("c.csv", "file_name,caption\na.jpg," + "x" * 200_000, "damaged CSV"),
        ("c.csv", "file_name,caption\n/etc/a.jpg,x\n", "leaves the folder"),
        ("c.csv", "file_name,caption\nb/../../a.jpg,x\n", "leaves the folder"),
        ("c.csv", "file_name,caption\n ,x\n", "the file name is ' '"),
        ("c.jsonl", '{"file_name": "a.jpg", "caption": "x"}\n[]\n', "c.jsonl:2: not a JSON object"),
        ("c.jsonl", "{\n", "c.jsonl:1: invalid JSON"),
        ("c.jsonl", "[" * 100_000, "c.jsonl:1: invalid JSON"),
        ("c.jsonl", '{"file_name": "a.jpg", "caption": 3}', "'caption' is int, not text"),
        ("c.jsonl", '{"file_name": "a.jpg", "caption": []}', "'caption' is empty"),
        ("c.jsonl", '{"file_name": "a.jpg", "caption": ["x", " "]}', "'caption' is empty"),
        ("c.jsonl", '{"file_name": 3, "caption": "x"}', "the file name is 3"),
        ("c.jsonl", '{"file_name": "a.jpg", "caption": "\\ud800"}', "surrogate"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_line(tmp_path, name, content, said):
    assert said in error_of(tmp_path, name, content)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        read_captions(tmp_path / "none.csv")
