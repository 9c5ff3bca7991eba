"""A tar shard is read whole, from any process, or refused by name."""

import errno
import gzip
import io
import os
import pickle
import signal
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.data import content
from ablate.data.content import cache_errors, content_digest, expand_paths, file_digest, write_once
from ablate.data.errors import DataError
from ablate.data.tar_index import TarIndex, index_tar


def write_tar(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def contents(index: TarIndex) -> dict[str, bytes]:
    return {f"{m.key}.{m.extension}": index.read(m) for members in index for m in members}


PAIR = [("a/0.jpg", b"\xff\xd8pixels"), ("a/0.txt", b"a caption")]

component = st.text(st.sampled_from("abcXYZ019_- é漢"), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.tuples(component, component), unique=True, min_size=1, max_size=6),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    data=st.binary(max_size=1500),
)
def test_every_member_is_read_back_whatever_the_tar_dialect(tmp_path, names, form, data):
    members = [
        (f"{folder}/{base}.{ending}", data + ending.encode())
        for folder, base in names
        for ending in ("jpg", "txt")
    ]
    try:
        path = write_tar(tmp_path / "x.tar", members, form)
    except ValueError:
        return  # ustar cannot hold every long name
    index = index_tar(path, tmp_path / "cache")
    assert contents(index) == dict(members)
    assert index.keys == [f"{folder}/{base}" for folder, base in names]


def test_names_too_long_for_ustar_are_read_from_gnu_and_pax_headers(tmp_path):
    name = "d" * 90 + "/" + "k" * 120
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        path = write_tar(tmp_path / f"{form}.tar", [(name + ".txt", b"x"), ("b.txt", b"y")], form)
        assert index_tar(path, tmp_path / "cache").keys == [name, "b"]


def test_the_key_ends_at_the_first_dot_of_the_base_name(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("v1.0/a.seg.PNG", b"1"), ("./b.txt", b"2")])
    members = [member for sample in index_tar(path, tmp_path) for member in sample]
    assert [(m.key, m.extension) for m in members] == [("v1.0/a", "seg.png"), ("b", "txt")]


def test_members_of_one_key_are_one_sample_even_when_apart(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"3"), ("b.txt", b"4")])
    index = index_tar(path, tmp_path)
    assert [[m.extension for m in sample] for sample in index] == [["jpg", "txt"], ["jpg", "txt"]]
    assert contents(index)["a.txt"] == b"3"


def test_a_gzip_tar_reads_as_the_plain_one_and_is_told_by_its_content(tmp_path):
    plain = write_tar(tmp_path / "x.tar", PAIR)
    squeezed = tmp_path / "misnamed.tar"
    squeezed.write_bytes(gzip.compress(plain.read_bytes()))
    index = index_tar(squeezed, tmp_path / "cache")
    assert contents(index) == contents(index_tar(plain, tmp_path / "cache")) == dict(PAIR)
    assert index.source == squeezed
    assert index.path.parent == tmp_path / "cache" / "tar"


def _read_first(index: TarIndex) -> bytes:
    return index.read(index.members(0)[0])


def test_an_index_reads_in_another_process(tmp_path):
    index = index_tar(write_tar(tmp_path / "x.tar", PAIR), tmp_path / "cache")
    _read_first(index)
    assert _read_first(pickle.loads(pickle.dumps(index))) == PAIR[0][1]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_read_first, index).result() == PAIR[0][1]


def test_a_second_call_does_not_read_the_tar_again(tmp_path):
    path = write_tar(tmp_path / "x.tar", PAIR)
    index_tar(path, tmp_path / "cache")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "tar").iterdir() if p.suffix == ".npz"}
    copy = tmp_path / "elsewhere.tar"
    copy.write_bytes(path.read_bytes())
    assert contents(index_tar(copy, tmp_path / "cache")) == dict(PAIR)
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache" / "tar").iterdir() if p.suffix == ".npz"}
    assert before == after


def test_a_tar_cut_anywhere_is_refused(tmp_path):
    whole = write_tar(tmp_path / "x.tar", [*PAIR, ("a/1.txt", b"z" * 700)]).read_bytes()
    used = 512 * 2 + 512 * 2 + 512 + 1024
    for length in [*range(1, used, 100), 512, 1024, 2048, used]:
        cut = tmp_path / f"cut{length}.tar"
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"cut{length}.tar"):
            index_tar(cut, tmp_path / "cache")


def test_a_truncated_tar_names_the_member_it_breaks_in(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.txt", b"x" * 2000)])
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"x\.tar: cut short inside a\.txt \(988 of 2,000 bytes\)"):
        index_tar(path, tmp_path / "cache")


def test_a_damaged_header_does_not_hide_the_samples_behind_it(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.txt", b"1"), ("b.txt", b"2"), ("c.txt", b"3")])
    data = bytearray(path.read_bytes())
    data[1024 + 3] ^= 0xFF
    path.write_bytes(data)
    with tarfile.open(path) as lenient:
        assert lenient.getnames() == ["a.txt"]
    with pytest.raises(DataError, match=r"no valid header after a\.txt"):
        index_tar(path, tmp_path / "cache")


def test_tars_joined_end_to_end_are_refused_not_half_read(tmp_path):
    one = write_tar(tmp_path / "1.tar", [("a.txt", b"1")]).read_bytes()
    two = write_tar(tmp_path / "2.tar", [("b.txt", b"2")]).read_bytes()
    joined = tmp_path / "joined.tar"
    joined.write_bytes(one + two)
    with pytest.raises(DataError, match="after its end-of-archive marker"):
        index_tar(joined, tmp_path / "cache")


def test_an_empty_shard_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.tar: holds no samples"):
        index_tar(write_tar(tmp_path / "none.tar", []), tmp_path / "cache")
    (tmp_path / "zero.tar").touch()
    with pytest.raises(DataError, match=r"zero\.tar"):
        index_tar(tmp_path / "zero.tar", tmp_path / "cache")


@pytest.mark.parametrize("name", ["a.pkl", "a.pyd", "a.pickle", "a.PT", "a.pth", "a.x.pkl", "a.pkl.gz"])
def test_a_pickle_member_is_refused_by_name(tmp_path, name):
    path = write_tar(tmp_path / "x.tar", [*PAIR, (name, b"cos\nsystem\n.")])
    with pytest.raises(DataError, match=rf"x\.tar: member '{name}' is pickled"):
        index_tar(path, tmp_path / "cache")


def test_a_language_code_is_not_taken_for_a_pickle(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.pt.txt", b"uma legenda")])
    assert index_tar(path, tmp_path / "cache").keys == ["a"]


@pytest.mark.parametrize("name", ["../a.txt", "x/../../a.txt", "/etc/a.txt", "C:a.txt"])
def test_a_name_that_reaches_outside_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=r"absolute path or '\.\.'"):
        index_tar(write_tar(tmp_path / "x.tar", [(name, b"1")]), tmp_path / "cache")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("a.txt")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(DataError, match=r"a\.txt is a link, device or special file"):
        index_tar(path, tmp_path / "cache")


def test_a_folder_entry_is_no_sample(tmp_path):
    path = tmp_path / "x.tar"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("text")
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "in", "in")
    assert index_tar(path, tmp_path / "cache").keys == ["in/a"]


def test_a_doubled_member_and_one_without_extension_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt occurs twice"):
        index_tar(write_tar(tmp_path / "1.tar", [("a.txt", b"1"), ("a.txt", b"2")]), tmp_path / "cache")
    with pytest.raises(DataError, match=r"'README' is not named KEY\.EXTENSION"):
        index_tar(write_tar(tmp_path / "2.tar", [("README", b"1")]), tmp_path / "cache")


def raw_entry(name: bytes, kind: bytes, body: bytes, size: bytes | None = None) -> bytes:
    """One tar entry with a right checksum, whatever its size field says."""
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = (b"%011o" % len(body) if size is None else size).ljust(12, b"\0")
    header[156:157] = kind
    header[257:265] = b"ustar\00000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + body + bytes(-len(body) % 512)


def raw_tar(path: Path, *entries: bytes) -> Path:
    path.write_bytes(b"".join(entries) + bytes(1024))
    return path


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Ends an endless loop as a failure instead of hanging the tests."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "body",
    [b"0 a=b\nxx", b"4 =\n", b"999 a=b\n", b"-6 a=b\n", b"+6 a=b\n", b"6_0 a=b\n", b"9" * 5000 + b" a=b\n"],
)
def test_a_pax_record_of_impossible_length_is_refused_and_does_not_loop(tmp_path, body):
    path = raw_tar(tmp_path / "x.tar", raw_entry(b"h", b"x", body), raw_entry(b"a.txt", b"0", b"1"))
    with at_most(5), pytest.raises(DataError, match=r"x\.tar: damaged pax header after its beginning"):
        index_tar(path, tmp_path / "cache")


def test_the_shortest_pax_record_and_many_of_them_are_read(tmp_path):
    path = raw_tar(
        tmp_path / "x.tar", raw_entry(b"h", b"x", b"5 a=\n" * 200_000), raw_entry(b"a.txt", b"0", b"1")
    )
    with at_most(5):
        assert contents(index_tar(path, tmp_path / "cache")) == {"a.txt": b"1"}


@pytest.mark.parametrize(
    "size", [b"-0000001000", b"+0000000001", b"0o000000001", b"0000_000001", b"00000000009"]
)
def test_a_size_that_is_not_plain_octal_is_refused_and_does_not_loop(tmp_path, size):
    path = raw_tar(tmp_path / "x.tar", raw_entry(b"a.txt", b"0", b"1"), raw_entry(b"b/", b"5", b"", size))
    with at_most(5), pytest.raises(DataError, match=r"no valid header after a\.txt"):
        index_tar(path, tmp_path / "cache")


@pytest.mark.parametrize("size", ["\u00b2", "\u0661", "-1", "1.5", "9" * 5000])
def test_a_pax_size_is_ascii_digits_or_refused(tmp_path, size):
    record = b" size=" + size.encode() + b"\n"
    length = len(record) + 2
    length = next(n for n in range(length - 1, length + 4) if len(str(n)) + len(record) == n)
    path = raw_tar(
        tmp_path / "x.tar", raw_entry(b"h", b"x", b"%d" % length + record), raw_entry(b"a.txt", b"0", b"1")
    )
    with pytest.raises(DataError, match=r"x\.tar: damaged pax header .*size"):
        index_tar(path, tmp_path / "cache")


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\x7f", "\x85"])
def test_a_control_character_in_a_name_is_refused_not_indexed_as_another_sample(tmp_path, character):
    name = f"k{character}z.jpg".encode()
    record = b"path=" + name + b"\n"
    pax = b"%d " % (len(record) + 3) + record
    entry = raw_entry(b"b.jpg", b"0", b"1")
    for number, longer in enumerate([raw_entry(b"L", b"L", name + b"\0"), raw_entry(b"h", b"x", pax)]):
        path = raw_tar(tmp_path / f"{number}.tar", longer, entry, raw_entry(b"a.jpg", b"0", b"2"))
        with pytest.raises(DataError, match=rf"{number}\.tar: member 'k.*z\.jpg' has a control character"):
            index_tar(path, tmp_path / "cache")


def test_something_else_than_a_tar_is_named_for_what_it_is(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(DataError, match="is zip, not tar"):
        index_tar(tmp_path / "x.tar", tmp_path / "cache")
    (tmp_path / "y.tar").write_bytes(b"hello world " * 100)
    with pytest.raises(DataError, match="not a tar, or damaged"):
        index_tar(tmp_path / "y.tar", tmp_path / "cache")


def test_a_decompression_bomb_is_stopped_and_leaves_nothing(tmp_path):
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=9) as out:
        for _ in range(content.FREE_BYTES // (1 << 20) + 8):
            out.write(bytes(1 << 20))
    with pytest.raises(DataError, match=r"bomb\.tar\.gz: inflates to more than"):
        index_tar(path, tmp_path / "cache")
    left = [p for p in (tmp_path / "cache" / "tar").iterdir() if not p.name.endswith(".lock")]
    assert left == []


def test_a_gzip_cut_short_or_damaged_is_refused(tmp_path):
    squeezed = gzip.compress(write_tar(tmp_path / "x.tar", [("a.txt", os.urandom(5000))]).read_bytes())
    flipped = bytearray(squeezed)
    flipped[len(flipped) // 2] ^= 0xFF
    for name, data in (("cut", squeezed[:-100]), ("flipped", bytes(flipped))):
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"{name}\.tar\.gz: the compressed data is damaged or cut short"):
            index_tar(path, tmp_path / "cache")


def test_a_tar_shortened_while_in_use_is_noticed(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.txt", b"x" * 2000)])
    index = index_tar(path, tmp_path / "cache")
    os.truncate(path, 1000)
    with pytest.raises(DataError, match=r"a\.txt ends early"):
        index.read(index.members(0)[0])


# Paths and digests


def test_globs_are_sorted_and_a_file_named_twice_is_read_once(tmp_path):
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = expand_paths([f"{tmp_path}/*.txt", f"{tmp_path}/a.txt", f"{tmp_path}/**/c.txt"])
    assert [path.name for path in found] == ["a.txt", "b.txt", "c.txt"]


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing-\*\.tar' matches no file"):
        expand_paths([f"{tmp_path}/nothing-*.tar"])
    with pytest.raises(DataError, match="braces are not expanded"):
        expand_paths([f"{tmp_path}/x-{{000..003}}.tar"])


@pytest.mark.parametrize("address", ["pipe:cat /etc/passwd", " pipe:id", "s3://b/x.tar", "https://h/x.tar"])
def test_an_address_is_refused_and_not_run(address):
    with pytest.raises(DataError, match="neither run nor fetched"):
        expand_paths([address])


def test_the_digest_follows_the_contents_not_the_folder_or_the_name(tmp_path):
    paths = []
    for name, data in (("one/x", b"1"), ("one/y", b"2"), ("two/y", b"1"), ("two/x", b"2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    cache = tmp_path / "cache"
    assert content_digest(paths[:2], cache) == content_digest(paths[2:], cache)
    paths[3].write_bytes(b"3")
    assert content_digest(paths[:2], cache) != content_digest(paths[2:], cache)


def test_a_digest_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path, cache = tmp_path / "x", tmp_path / "cache"
    path.write_bytes(b"1")
    monkeypatch.setattr(content, "_SETTLED_SECONDS", 0.01)
    time.sleep(0.02)
    first = file_digest(path, cache)
    (memo,) = (cache / "digests").glob("*.json")
    memo.write_text(memo.read_text().replace(first, "remembered"))
    assert file_digest(path, cache) == "remembered"
    path.write_bytes(b"2")
    assert file_digest(path, cache) not in (first, "remembered")


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path):
    path, cache = tmp_path / "x", tmp_path / "cache"
    path.write_bytes(b"1")
    file_digest(path, cache)
    assert list(cache.glob("digests/*.json")) == []


# The cache


def _build_slowly(target: Path) -> None:
    def build(partial: Path) -> None:
        with (target.parent / "builds").open("a") as log:
            log.write("x")
        time.sleep(0.2)
        partial.write_text("whole")

    write_once(target, build)


def test_processes_that_start_together_build_once(tmp_path):
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        list(pool.map(_build_slowly, [tmp_path / "t"] * 3))
    assert (tmp_path / "builds").read_text() == "x"
    assert (tmp_path / "t").read_text() == "whole"


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path):
    def build(partial: Path) -> None:
        partial.mkdir()
        (partial / "first").write_text("some bytes")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(DataError, match=r"the disk is full .* free some space"):
        write_once(tmp_path / "c" / "t", build)
    assert [p.name for p in (tmp_path / "c").iterdir()] == [".t.lock"]
    write_once(tmp_path / "c" / "t", lambda partial: partial.write_text("later"))
    assert (tmp_path / "c" / "t").read_text() == "later"


def test_what_a_killed_process_left_is_not_taken_for_the_whole(tmp_path):
    (tmp_path / ".t.partial").mkdir()
    (tmp_path / ".t.partial" / "half").write_text("half")
    write_once(tmp_path / "t", lambda partial: partial.write_text("whole"))
    assert (tmp_path / "t").read_text() == "whole"


def test_only_errors_of_the_disk_are_turned_into_data_errors(tmp_path):
    with pytest.raises(DataError, match="choose another cache folder"), cache_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(InterruptedError), cache_errors(tmp_path):
        raise InterruptedError(errno.EINTR, "x")
