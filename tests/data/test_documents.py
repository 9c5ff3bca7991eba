"""Text is read exactly, in an order that names cannot change, or refused by file and line."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.data import content, documents
from ablate.data.documents import document_digest, documents_digest, read_documents
from ablate.data.errors import DataError

TEXTS = ["First text.\n", "Zweiter Text: äöü", "3 \u2028 third, with a separator", "{not json}"]


def lines(items) -> bytes:
    return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)


def refused(path: Path, pattern: str, field: str = "text") -> None:
    with pytest.raises(DataError, match=pattern) as caught:
        list(read_documents([path], field, path.parent / "cache"))
    assert str(path) in str(caught.value)


def read(path: Path, field: str = "text"):
    return list(read_documents([path], field, path.parent / "cache"))


def write(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        data = gzip.compress(data)
    if path.suffix == ".zst":
        # Two frames, as parallel compressors write them.
        data = b"".join(zstandard.compress(part) for part in (data[: len(data) // 2], data[len(data) // 2 :]))
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson", "a.jsonl.gz", "a.json.zst", "a.jsonl.zst"])
def test_json_lines_are_read_whatever_squeezes_them(tmp_path, name):
    path = write(tmp_path / name, lines({"text": text} for text in TEXTS))
    found = read(path)
    assert [d.text for d in found] == TEXTS
    assert [(d.source, d.number, d.domain) for d in found] == [(name, n, "a") for n in range(4)]


def test_parquet_is_read(tmp_path):
    path = tmp_path / "p-00001-of-00004.parquet"
    pq.write_table(pa.table({"body": TEXTS, "domain": ["x", "y", "x", "y"]}), path, row_group_size=2)
    assert [(d.text, d.domain) for d in read(path, "body")] == list(zip(TEXTS, "xyxy", strict=True))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_a_plain_file_is_one_document(tmp_path, name):
    (found,) = read(write(tmp_path / name, "\n".join(TEXTS).encode()))
    assert found.text == "\n".join(TEXTS)


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["t-000.tar", "t-000.tar.gz"])
def test_tar_members_are_documents(tmp_path, name):
    path = tar_of(tmp_path / name, {"0.txt": b"one", "1.txt": b"two", "1.json": b'{"domain": "d"}'})
    assert [(d.text, d.domain) for d in read(path)] == [("one", "t"), ("two", "d")]


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("brown-train-000.jsonl", "brown-train"),
        ("wiki.part_0001.jsonl.gz", "wiki"),
        ("c4-00001-of-00128.jsonl", "c4"),
        ("news.2020.jsonl", "news"),
        ("utf8.jsonl", "utf8"),
    ],
)
def test_the_domain_is_the_name_without_shard_number(tmp_path, name, domain):
    assert read(write(tmp_path / name, lines([{"text": "x"}])))[0].domain == domain


def test_a_shard_named_by_number_alone_takes_its_folder_as_domain(tmp_path):
    (tmp_path / "wiki").mkdir()
    assert read(write(tmp_path / "wiki" / "00000.jsonl", lines([{"text": "x"}])))[0].domain == "wiki"


def test_renaming_files_does_not_change_the_order(tmp_path):
    bodies = [lines([{"text": f"text {n}", "domain": "d"}]) for n in range(6)]
    orders = []
    for names in ("abcdef", "fedcba", "cafbed"):
        folder = tmp_path / names
        folder.mkdir()
        paths = [write(folder / f"{name}.jsonl", body) for name, body in zip(names, bodies, strict=True)]
        orders.append([d.text for d in read_documents(sorted(paths), "text", tmp_path / "cache")])
    assert orders[0] == orders[1] == orders[2]
    assert sorted(orders[0]) == [f"text {n}" for n in range(6)]


def test_the_digest_depends_on_the_field_that_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl", lines([{"text": "x", "title": "y"}]))
    digests = {documents_digest([path], field, tmp_path / "cache") for field in ("text", "title")}
    assert len(digests) == 2


def test_a_byte_order_mark_and_blank_lines_are_no_text(tmp_path):
    path = write(
        tmp_path / "a.jsonl", b"\xef\xbb\xbf" + lines([{"text": "a"}]) + b"\n\r\n" + lines([{"text": "b"}])
    )
    assert [d.text for d in read(path)] == ["a", "b"]


def test_text_that_is_not_utf8_is_named_by_line_and_byte(tmp_path):
    path = write(tmp_path / "a.jsonl.gz", lines([{"text": "fine"}]) + b'{"text": "caf\xe9"}\n')
    refused(path, r"line 2: not UTF-8 at byte 30 .*b'\\xe9'.*iconv")
    bom = write(tmp_path / "bom.jsonl", b"\xef\xbb\xbf" + lines([{"text": "fine"}]) + b"\xe9\n")
    refused(bom, "line 2: not UTF-8 at byte 20 ")
    refused(write(tmp_path / "b.txt", b"caf\xe9"), r"not UTF-8 at byte 3")
    refused(tar_of(tmp_path / "c.tar", {"k.txt": b"caf\xe9"}), r"k\.txt: not UTF-8 at byte 3")


def test_invalid_json_is_named_by_line(tmp_path):
    refused(write(tmp_path / "a.jsonl", lines([{"text": "x"}]) + b'{"text": \n'), "line 2: invalid JSON")
    refused(write(tmp_path / "b.jsonl", b"[" * 100_000), "line 1: invalid JSON")
    refused(write(tmp_path / "c.json", b'[\n {"text": "x"}\n]'), "one JSON array")
    refused(write(tmp_path / "d.jsonl", b'"text"\n'), "an object is needed")


def test_a_missing_field_lists_the_fields_there_are_and_the_nearest(tmp_path):
    path = write(tmp_path / "a.jsonl", lines([{"txt": "x", "id": 1}]))
    refused(path, r"line 1: no field 'text'; there are: id, txt; did you mean 'txt'\?")
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "b.parquet")
    refused(
        tmp_path / "b.parquet", r"no field 'contents'; there are: content; did you mean 'content'", "contents"
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "a number"), (None, "null"), (["x"], "a list"), ({}, "an object"), (True, "a boolean")],
)
def test_a_field_that_is_no_string_is_refused(tmp_path, value, kind):
    refused(write(tmp_path / "a.jsonl", lines([{"text": value}])), f"line 1: 'text' is {kind}, not a string")
    refused(write(tmp_path / "b.jsonl", lines([{"text": "x", "domain": value}])), f"'domain' is {kind}")


def test_a_parquet_null_and_a_damaged_parquet_are_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "row 1: 'text' is null")
    data = (tmp_path / "a.parquet").read_bytes()
    refused(write(tmp_path / "b.parquet", data[: len(data) // 2]), "not a Parquet file, or damaged")


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path):
    broken = pa.array([b"ok", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "not UTF-8")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.txt", "a.parquet"])
def test_an_empty_file_is_refused(tmp_path, name):
    if name == "a.parquet":
        pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / name)
        refused(tmp_path / name, "holds no documents")
    else:
        refused(write(tmp_path / name, b""), "holds no documents")


def test_an_empty_text_and_half_a_surrogate_are_refused(tmp_path):
    refused(write(tmp_path / "a.jsonl", lines([{"text": "x"}, {"text": " \n"}])), "line 2: the text is empty")
    refused(write(tmp_path / "b.jsonl", b'{"text": "a\\ud800b"}\n'), "line 1: .*surrogate")


def test_an_unknown_ending_lists_the_known_ones(tmp_path):
    refused(write(tmp_path / "a.csv", b"x"), r"known: \.jsonl")


def test_a_sample_without_text_is_named(tmp_path):
    refused(tar_of(tmp_path / "a.tar", {"k.jpg": b"x"}), r"k has no \.txt \(it has jpg\)")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_compressed_file_cut_short_is_refused_not_read_to_the_cut(tmp_path, name):
    whole = write(tmp_path / name, lines({"text": f"{n} {n * n}"} for n in range(5000))).read_bytes()
    (tmp_path / name).write_bytes(whole[:-20])
    refused(tmp_path / name, "damaged or cut short")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_bomb_is_stopped(tmp_path, name, monkeypatch):
    monkeypatch.setattr(content, "FREE_BYTES", 1 << 20)
    path = write(tmp_path / name, lines({"text": "a" * 1000} for _ in range(8000)))
    assert path.stat().st_size * content.MAX_RATIO < 8_000_000
    refused(path, "inflates to more than")


def parquet_bomb(path: Path, how: str, rows: int) -> Path:
    """``rows`` texts of 1 MiB in a file of a few hundred bytes, its metadata counting one of them."""
    text = "a" * (1 << 20)
    if how == "delta":
        table = pa.table({"text": [text] * rows})
        pq.write_table(
            table,
            path,
            compression="zstd",
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY"},
        )
    else:
        held = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
        pq.write_table(pa.table({"text": held}), path, compression="zstd", store_schema=how == "stored")
    (chunk,) = (pq.ParquetFile(path).metadata.row_group(0).column(0),)
    assert path.stat().st_size < 2000
    assert chunk.total_uncompressed_size < 1.1 * (1 << 20)
    return path


@pytest.mark.parametrize("how", ["dictionary", "stored", "delta"])
def test_a_parquet_bomb_is_stopped(tmp_path, how):
    path = parquet_bomb(tmp_path / "a.parquet", how, 20_000 if how != "delta" else 80)
    refused(path, r"row 64: inflates to more than 67,108,864 bytes")


READ_TWO = """
import itertools, pathlib, resource, sys
import pyarrow.parquet
from ablate.data.documents import read_documents
path = pathlib.Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = list(itertools.islice(read_documents([path], "text", path.parent / "cache"), 2))
assert [len(document.text) for document in found] == [1 << 20] * 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("how", ["dictionary", "stored", "delta"])
def test_two_documents_of_a_parquet_bomb_take_the_memory_of_two(tmp_path, how):
    path = parquet_bomb(tmp_path / "a.parquet", how, 20_000 if how != "delta" else 256)
    run = subprocess.run(
        [sys.executable, "-c", READ_TWO, str(path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 64 << 10  # KiB


def test_a_parquet_domain_is_bounded_as_the_text_is(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "FREE_BYTES", 1 << 16)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"] * 400, "domain": ["d" * 50_000] * 400}), path, compression="zstd")
    refused(path, "inflates to more than")


def test_a_parquet_cell_longer_than_a_document_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_DOCUMENT", 10)
    for name in ("text", "domain"):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": ["x", "x"], "domain": ["d", "d"], name: ["é" * 5, "é" * 6]}), path)
        refused(path, f"row 1: '{name}' is longer than 10 bytes")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_every_kind_of_parquet_string_is_read_over_many_row_groups(tmp_path, kind):
    texts = [f"text {number} {number % 7}" for number in range(1500)]
    table = pa.table({"text": pa.array(texts).cast(kind), "domain": pa.array(["x", "y"] * 750).cast(kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=400)
    found = read(tmp_path / "a.parquet")
    assert [d.text for d in found] == texts
    assert [d.domain for d in found] == ["x", "y"] * 750


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string()), pa.binary()], ids=str)
def test_a_parquet_column_that_is_no_string_is_refused_before_it_is_read(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.array([None], kind)}), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", "column 'text' is .*, not a string")


@given(st.text(), st.sampled_from([" ", "\n", "\t", "\r\n ", "\u00a0"]))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_document_digest_ignores_whitespace_alone(text, space):
    spaced = space + space.join(text.split()) + space
    assert document_digest(spaced) == document_digest(text)
    assert 0 <= document_digest(text) < 1 << 64
    assert document_digest(text + "x") != document_digest(text)
