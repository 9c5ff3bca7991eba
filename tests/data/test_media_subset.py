"""Captions that are removed take nothing else with them; a sample without any goes with its picture."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest

from ablate.data.media import MediaSamples, open_media
from ablate.data.media_subset import samples_without
from ablate.data.overlap_streams import media_stream


def shard(path: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for extension, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


def told(*captions: str) -> bytes:
    return json.dumps({"captions": captions}).encode()


@pytest.fixture
def captioned(tmp_path: Path) -> MediaSamples:
    paths = [
        shard(tmp_path / "a.tar", {"x": {"jpg": b"px", "json": told("one", "two", "three")}}),
        shard(tmp_path / "b.tar", {f"y{n}": {"jpg": b"p%d" % n, "txt": b"t%d" % n} for n in range(3)}),
    ]
    return open_media(paths, "captions", tmp_path / "cache")


def held(samples: MediaSamples) -> list[tuple[str, list[str], bytes]]:
    pictures = [samples.read("image", item) for item in range(len(samples))]
    return [(samples.keys[at], samples.texts(at), pictures[at]) for at in range(len(samples))]


def test_what_stays_is_what_it_was(captioned: MediaSamples, tmp_path: Path) -> None:
    places = {samples: at for at, samples in enumerate(captioned.keys)}
    gone = {(places["x"], 1), (places["y1"], 0)}
    left = samples_without(captioned, gone, tmp_path / "cache")
    expected = []
    for key, texts, picture in held(captioned):
        kept = [text for number, text in enumerate(texts) if (places[key], number) not in gone]
        expected += [(key, kept, picture)] if kept else []
    assert held(left) == expected
    assert {key: texts for key, texts, _ in held(left)} == {
        "x": ["one", "three"],
        "y0": ["t0"],
        "y2": ["t2"],
    }
    assert left.items["image"].sample.tolist() == [0, 1, 2]
    assert {left.name("image", item) for item in range(3)} <= {captioned.name("image", n) for n in range(4)}
    assert held(pickle.loads(pickle.dumps(left))) == held(left)  # between processes


def test_the_digest_follows_what_is_removed(captioned: MediaSamples, tmp_path: Path) -> None:
    assert samples_without(captioned, set(), tmp_path / "cache") is captioned
    digests = [
        samples_without(captioned, gone, tmp_path / "cache").digest
        for gone in ({(0, 0)}, {(1, 0)}, {(0, 0), (1, 0)}, {(1, 0), (0, 0)})
    ]
    assert len({captioned.digest, *digests}) == 4
    assert digests[2] == digests[3]


def test_an_interleaved_document_is_read_and_removed_whole(tmp_path: Path) -> None:
    documents = {
        key: {"texts": [f"{key} begins", None, "and ends", None], "images": [None, "0.png", None, "1.png"]}
        for key in ("a", "b", "c")
    }
    members = {
        key: {"0.png": key.encode(), "1.png": key.encode() * 2, "json": json.dumps(one).encode()}
        for key, one in documents.items()
    }
    path = shard(tmp_path / "s.tar", members)
    samples = open_media([path], "captions", tmp_path / "cache", documents="interleaved")
    stream = media_stream("web", samples)
    assert list(stream.read()) == [(at, 0, f"{key} begins and ends") for at, key in enumerate("abc")]
    assert (stream.kind, stream.place(1, 0)) == ("documents", "s.tar:b")
    left = samples_without(samples, {(1, 0)}, tmp_path / "cache")
    assert left.keys == ["a", "c"]
    assert [left.texts(1), left.segments.tolist()] == [samples.texts(2), [0, -1, 1, -2] * 2]
    assert [left.read("image", item) for item in range(4)] == [b"a", b"aa", b"c", b"cc"]
    assert left.items["image"].sample.tolist() == [0, 0, 1, 1]
