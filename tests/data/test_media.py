"""Image and text stay together: each sample has one picture and its own captions, or is named."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from ablate.data.captions import build_caption_tokens
from ablate.data.errors import DataError
from ablate.data.media import MediaSamples, open_media
from ablate.data.tokenizer import train_tokenizer


def shard(path: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for key, members in samples.items():
            for extension, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(out.getvalue()) if path.suffix == ".gz" else out.getvalue())
    return path


def told(*captions: str) -> bytes:
    return json.dumps({"captions": captions, "source": "x"}).encode()


GOOD = {"jpg": b"\xff\xd8 picture", "txt": b"a caption\n"}


def opened(path: Path, field: str = "captions") -> MediaSamples:
    return open_media([path], field, path.parent / "cache")


def refused(tmp_path: Path, members: dict[str, bytes], pattern: str) -> None:
    path = shard(tmp_path / "s.tar", {"k0": GOOD, "k1": members})
    with pytest.raises(DataError, match=pattern) as caught:
        opened(path)
    assert f"{path}: k1" in str(caught.value)


def test_the_list_in_json_comes_before_the_text_file(tmp_path):
    samples = opened(
        shard(
            tmp_path / "s.tar",
            {
                "0": {"jpg": b"p0", "txt": b"first", "json": told("first", "sec\u00f6nd")},
                "1": {"jpg": b"p1", "txt": b"alone\n", "json": b'{"source": "x"}'},
                "2": {"png": b"p2", "txt": "unterwegs \u2192".encode()},
                "3": {"webp": b"p3", "json": told("no text file")},
            },
        )
    )
    expected = [["first", "secönd"], ["alone"], ["unterwegs →"], ["no text file"]]
    assert [samples.texts(n) for n in range(4)] == expected
    assert [samples.read("image", n) for n in range(4)] == [b"p0", b"p1", b"p2", b"p3"]
    assert samples.keys == list("0123")
    assert samples.first.tolist() == [0, 2, 3, 4, 5]


def test_another_field_can_hold_the_captions(tmp_path):
    path = shard(tmp_path / "s.tar", {"0": {"jpg": b"p", "txt": b"t", "json": b'{"alt": ["a", "b"]}'}})
    assert opened(path, "alt").texts(0) == ["a", "b"]
    assert opened(path).texts(0) == ["t"]
    assert opened(path, "alt").digest != opened(path).digest


def test_copies_of_a_picture_share_a_digest(tmp_path):
    pictures = [b"one", b"two", b"one"]
    members = {str(n): {"jpg": data, "txt": b"t"} for n, data in enumerate(pictures)}
    digests = opened(shard(tmp_path / "s.tar", members)).items["image"].digest
    assert digests.dtype == np.uint64
    assert digests[0] == digests[2] != digests[1]
    expected = hashlib.blake2b(b"two", digest_size=8).digest()
    assert int(digests[1]) == int.from_bytes(expected, "big")


def test_moving_or_renaming_shards_changes_neither_order_nor_digest(tmp_path):
    bodies = [{f"{n}-{k}": {"jpg": bytes([n, k]), "txt": b"t"} for k in range(3)} for n in range(4)]
    found = []
    for names in (["a", "b", "c", "d"], ["d", "c", "b", "a"], ["z/1", "y/2", "x/3", "w/4"]):
        folder = tmp_path / names[0].replace("/", "-")
        paths = [shard(folder / f"{name}.tar", body) for name, body in zip(names, bodies, strict=True)]
        found.append(open_media(sorted(paths), "captions", tmp_path / "cache"))
    for other in found[1:]:
        assert other.keys == found[0].keys
        assert other.digest == found[0].digest
        assert [other.read("image", n) for n in range(12)] == [found[0].read("image", n) for n in range(12)]
    assert [found[0].read("image", n)[0] for n in range(12)] == [int(key[0]) for key in found[0].keys]


def test_a_gzip_shard_gives_the_same_samples(tmp_path):
    members = {str(n): {"jpg": b"p%d" % n, "txt": b"t%d" % n} for n in range(5)}
    one, two = opened(shard(tmp_path / "s.tar", members)), opened(shard(tmp_path / "s.tar.gz", members))
    assert one.items["image"].digest.tolist() == two.items["image"].digest.tolist()
    assert two.name("image", 3) == f"{tmp_path / 's.tar.gz'}: 3"


def _last(samples: MediaSamples) -> tuple[bytes, list[str]]:
    return samples.read("image", len(samples) - 1), samples.texts(len(samples) - 1)


def test_samples_travel_as_paths(tmp_path):
    members = {f"{n:04}": {"jpg": b"p%d" % n, "txt": b"t%d" % n} for n in range(500)}
    samples = opened(shard(tmp_path / "s.tar", members))
    assert len(pickle.dumps(samples)) < 2000
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_last, samples).result() == (b"p499", ["t499"])


def test_members_of_other_kinds_are_left_alone(tmp_path):
    path = shard(tmp_path / "s.tar", {"0": {**GOOD, "cls": b"3", "seg.npy": b"mask", "png.bak": b"old"}})
    assert opened(path).read("image", 0) == GOOD["jpg"]


def test_a_sample_with_two_pictures_or_none_is_named(tmp_path):
    refused(tmp_path, {**GOOD, "png": b"other"}, r"has 2 images; it has \.jpg, \.png")
    refused(tmp_path, {"txt": b"t", "flac": b"sound"}, r"has no image .*it has \.txt, \.flac")


def test_a_second_picture_is_counted_whatever_stands_before_its_last_ending(tmp_path):
    refused(tmp_path, {**GOOD, "1.png": b"other"}, r"has 2 images; it has \.jpg, \.1\.png: keep one")
    one = shard(tmp_path / "one.tar", {"0": {"0.jpg": b"p", "txt": b"t"}})
    assert opened(one).read("image", 0) == b"p"


def test_a_rate_is_read_for_recordings_alone(tmp_path):
    about = json.dumps({"captions": ["x"], "rate_hz": "48 kHz"}).encode()
    path = shard(tmp_path / "s.tar", {"0": {"jpg": b"p", "npy": b"r", "json": about}})
    assert np.isnan(opened(path).items["image"].rate_hz).all()
    with pytest.raises(DataError, match=r'0\.json: rate_hz is "48 kHz"; write a number a second'):
        open_media([path], "captions", tmp_path / "cache", kinds=("image", "sensor"))


def test_a_missing_caption_is_named(tmp_path):
    refused(tmp_path, {"jpg": b"p"}, r"no caption: no \.txt, no \.json")
    refused(
        tmp_path,
        {"jpg": b"p", "json": b'{"caption": ["x"]}'},
        r"no field 'captions'; there are: caption; did you mean 'caption'\?",
    )


@pytest.mark.parametrize(
    "members", [{"txt": b" \n"}, {"json": told()}, {"txt": b"t", "json": told("a", " ")}]
)
def test_an_empty_caption_is_a_missing_one(tmp_path, members):
    refused(tmp_path, {"jpg": b"p", **members}, "caption missing: .* is empty")


@pytest.mark.parametrize("body", [b'{"captions": "one string"}', b'{"captions": [1]}', b'{"captions": {}}'])
def test_captions_that_are_no_list_of_strings_are_refused(tmp_path, body):
    refused(
        tmp_path, {**GOOD, "json": body}, "'captions' is .*, not a (list of strings|string); (write|correct)"
    )


def test_text_that_cannot_be_read_is_named(tmp_path):
    refused(tmp_path, {"jpg": b"p", "txt": b"caf\xe9"}, r"k1\.txt: not UTF-8 at byte 3")
    refused(tmp_path, {**GOOD, "json": b"{"}, r"k1\.json: invalid JSON")
    refused(tmp_path, {**GOOD, "json": b"[]"}, r"k1\.json: not a JSON object")
    refused(tmp_path, {**GOOD, "json": b'{"captions": ["\\ud800"]}'}, "half a surrogate pair")


def test_caption_tokens_follow_samples_and_captions(tmp_path):
    members = {
        str(n): {"jpg": b"p", "json": told(*(f"sample {n} caption {c}" for c in range(n + 1)))}
        for n in range(6)
    }
    samples = opened(shard(tmp_path / "s.tar", members))
    tokenizer = train_tokenizer(["sample caption 0 1 2"], 280, tmp_path / "cache", "c")
    built = build_caption_tokens(samples, tokenizer, tmp_path / "cache")
    assert built.first.tolist() == [0, 1, 3, 6, 10, 15, 21]
    assert len(built.offsets) == 22
    for sample in range(6):
        for place, caption in enumerate(samples.texts(sample)):
            at = built.first[sample] + place
            tokens = built.tokens[built.offsets[at] : built.offsets[at + 1]].tolist()
            assert tokens[-1] == tokenizer.eos
            assert tokenizer.decode(tokens[:-1]) == caption
    assert pickle.loads(pickle.dumps(built)).digest == built.digest


def test_opening_many_samples_again_reads_no_shard(tmp_path):
    members = {f"{n:06}": {"jpg": b"p%d" % n, "json": told(f"caption {n}")} for n in range(4000)}
    path = shard(tmp_path / "s.tar", members)
    seconds = []
    for _ in range(2):
        start = time.process_time()
        samples = opened(path)
        seconds.append(time.process_time() - start)
    assert seconds[1] < seconds[0] / 4
    assert samples.texts(3999) == ["caption 3999"]
