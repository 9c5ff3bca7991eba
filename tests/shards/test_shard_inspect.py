"""What inspection counts is what is there; what is wrong with a sample is named and stops nothing."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_media import MAKERS, clip, picture, recording, tone, write_tar

from ablate.data.errors import DataError
from ablate.data.media import open_media
from ablate.data.tar_index import index_tar
from ablate.shards.inspect import (
    Contents,
    Spread,
    chosen_samples,
    evenly_spaced,
    inspect_shard,
    open_shards,
)
from ablate.shards.properties import examine, kind_of, mime_type
from ablate.shards.sample import read_sample_text


def inspected(tmp_path: Path, members: dict, decode: list[int] | None = None) -> Contents:
    shard = index_tar(write_tar(tmp_path / "s.tar", members), tmp_path / "cache")
    return inspect_shard(shard, decode)


def spread(found: Contents, kind: str, name: str) -> tuple[float, float, float]:
    one = Spread.of(found.numbers[kind, name])
    assert one is not None
    return one.smallest, one.median, one.largest


# --- Properties of a medium


def test_sizes_lengths_and_formats_are_those_the_media_were_made_with():
    assert examine("image", picture("PNG", 40, 30)).numbers == {"width": 40, "height": 30}
    for kind, form in (("WAV", "wav"), ("FLAC", "flac"), ("OGG", "vorbis")):
        found = examine("audio", tone(kind, 0.5, 22_050, 2))
        assert found.format == form
        assert found.numbers == {"seconds": 0.5, "rate_hz": 22_050, "channels": 2}
    mp3 = examine("audio", tone("MP3", 0.5, 22_050))
    assert mp3.format == "mp3"
    assert mp3.numbers["seconds"] == pytest.approx(0.5, abs=0.1)
    found = examine("video", clip(10, 5, 64, 48))
    assert (found.format, found.numbers) == (
        "h264", {"width": 64, "height": 48, "seconds": 2, "fps": 5, "frames": 10},
    )  # fmt: skip
    assert examine("video", clip(sound=True)).format == "h264 + aac"
    assert examine("audio", clip(sound=True)).format == "aac"
    series = examine("sensor", recording(50, 3), 20.0)
    assert series.numbers == {"steps": 50, "channels": 3, "rate_hz": 20, "seconds": 2.5}
    assert examine("sensor", recording(50, 3)).numbers == {"steps": 50, "channels": 3}


@pytest.mark.parametrize("kind", ["image", "audio", "video", "sensor"])
@given(st.data())
def test_no_bytes_make_examination_fail_otherwise_than_by_a_data_error(kind, data):
    whole = {"image": picture("PNG"), "audio": tone("OGG", 0.1), "video": CLIP, "sensor": recording()}[kind]
    cut = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=24))
    with pytest.raises(DataError):
        examine(kind, whole[:cut] + junk if cut < len(whole) // 2 else junk)


CLIP = clip(4)


def test_a_type_is_told_by_content():
    types = {"image/jpeg": picture(), "image/png": picture("PNG"), "image/webp": picture("WEBP"),
             "audio/wav": tone(), "audio/flac": tone("FLAC"), "audio/ogg": tone("OGG"),
             "audio/mpeg": tone("MP3"), "video/mp4": CLIP}  # fmt: skip
    for mime, data in types.items():
        assert mime_type(data) == mime
    for data in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'>", b"<html>", recording(), b"RIFF....AVI "):
        assert mime_type(data) is None


def test_the_last_ending_tells_the_kind():
    assert [kind_of(name) for name in ("jpg", "0.jpg", "jpg.txt", "npy", "seg.png")] == [
        "image", "image", None, "sensor", "image",
    ]  # fmt: skip


# --- Counting


def mixed() -> dict:
    """A shard with one medium of each kind, and one sample of text alone."""
    members: dict[str, bytes | str] = {}
    for extension, make in MAKERS.items():
        members[f"{extension}1.{extension}"] = make()
        members[f"{extension}1.txt"] = f"A {extension}."
    return members | {"text.txt": "Words alone."}


def test_samples_members_and_captions_are_counted(tmp_path):
    members = mixed()
    found = inspected(tmp_path, members)
    assert (found.samples, found.decoded, found.without_medium, found.failures) == (5, 4, 1, [])
    assert {name: list(sizes) for name, sizes in found.sizes.items()} == {
        **{name: [len(members[f"{name}1.{name}"])] for name in MAKERS},
        "txt": [6, 6, 6, 6, 12],
    }
    assert found.formats == {
        ("image", "jpeg"): 1, ("audio", "wav"): 1, ("video", "h264"): 1, ("sensor", "float32"): 1,
    }  # fmt: skip
    assert list(found.captions) == [1] * 5
    assert list(found.words) == [2] * 5
    assert list(found.characters) == [6, 6, 6, 6, 12]


def test_fields_are_counted_by_type_and_captions_come_from_the_list(tmp_path):
    items = [{"captions": ["one", "two words"], "n": 1}, {"captions": [], "n": "1"}, {"n": None}, {}]
    members = {f"{at}.json": json.dumps(item) for at, item in enumerate(items)}
    found = inspected(tmp_path, members | {"3.txt": "three", "0.txt": "one"})
    assert found.fields == {
        ("captions", "list"): 2, ("n", "number"): 1, ("n", "string"): 1, ("n", "null"): 1,
    }  # fmt: skip
    assert list(found.captions) == [2, 0, 0, 1]
    assert (found.without_caption, found.without_medium, found.failures) == (2, 4, [])


def test_rates_and_channels_that_vary_within_a_shard_show(tmp_path):
    members = {
        f"{rate}.wav": tone("WAV", 0.2, rate, channels) for rate, channels in ((8_000, 1), (44_100, 2))
    }
    members["a.npy"], members["a.json"] = recording(10, 3), '{"rate_hz": 5}'
    members["b.npy"], members["b.json"] = recording(10, 6), '{"rate_hz": 50}'
    found = inspected(tmp_path, members)
    assert spread(found, "audio", "rate_hz") == (8_000, 26_050, 44_100)
    assert spread(found, "audio", "channels") == (1, 1.5, 2)
    assert spread(found, "sensor", "channels") == (3, 4.5, 6)
    assert spread(found, "sensor", "rate_hz") == (5, 27.5, 50)
    assert spread(found, "sensor", "seconds") == (0.2, 1.1, 2)


def test_two_media_of_a_kind_in_one_sample_are_counted(tmp_path):
    members = {"a.0.jpg": picture(), "a.1.jpg": picture(), "a.wav": tone(), "b.jpg": picture()}
    found = inspected(tmp_path, members)
    assert (found.samples, found.decoded) == (2, 4)
    assert found.several == {"image": 1}


def test_interleaved_documents_count_their_pieces(tmp_path):
    document = {"texts": ["First.", None, "Then."], "images": [None, "a.0.jpg", None]}
    damaged = {"texts": ["First."], "images": [None, None]}
    members = {"a.json": json.dumps(document), "b.json": json.dumps(damaged)}
    members |= {"a.0.jpg": picture(), "b.0.jpg": picture()}
    found = inspected(tmp_path, members)
    assert (found.interleaved, list(found.captions), found.without_caption) == (2, [2, 0], 1)
    assert [one.member for one in found.failures] == ["b.json"]
    assert "`texts` has 1" in found.failures[0].reason


# --- What is wrong


DAMAGED = {
    "cut.jpg": (picture()[:-50], "corrupt or truncated JPEG"),
    "short.mp4": (clip()[:-50], "truncated mp4"),
    "none.wav": (tone(seconds=0), "no samples"),
    "rank.npy": (b"", "not a .npy"),
    "bad.json": ("{", "invalid JSON"),
    "list.json": ("[]", "not a JSON object"),
    "latin.txt": (b"\xe9", "not UTF-8 at byte 0"),
    "number.json": ('{"captions": 3}', "not a list of strings"),
    "half.json": ('{"captions": ["\\ud83d"]}', "half a surrogate pair"),
}


def test_every_damaged_member_is_named_with_its_reason_and_the_others_are_counted(tmp_path):
    sound = {"ok.jpg": picture(), "ok.txt": "fine"}
    found = inspected(tmp_path, {name: data for name, (data, _) in DAMAGED.items()} | sound)
    assert {one.member for one in found.failures} == set(DAMAGED)
    for one in found.failures:
        assert DAMAGED[one.member][1] in one.reason
    assert (found.samples, found.formats) == (len(DAMAGED) + 1, {("image", "jpeg"): 1})


def test_a_huge_png_and_arrays_that_are_no_recordings_are_failures(tmp_path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    arrays = {"nan": np.full((4, 2), np.nan, np.float32), "flat": np.zeros(4), "words": np.array([["a"]])}
    members: dict[str, bytes] = {"huge.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)}
    for name, array in arrays.items():
        out = io.BytesIO()
        np.save(out, array)
        members[f"{name}.npy"] = out.getvalue()
    members["objects.npy"] = recording(dtype=object)
    # A header that claims 8 TB must not be believed.
    claim = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        claim, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 1)}
    )
    members["claim.npy"] = claim.getvalue()
    reasons = {one.member: one.reason for one in inspected(tmp_path, members).failures}
    assert set(reasons) == set(members)
    assert "30000x30000 pixels" in reasons["huge.png"]
    assert "object" in reasons["objects.npy"]


@pytest.mark.parametrize(
    "text",
    [
        {"a.txt": " one \n"}, {"a.json": '{"captions": ["one", " two"]}', "a.txt": "x"}, {"a.json": "{}"},
        {"a.json": '{"captions": null}', "a.txt": "x"}, {"a.json": '{"captions": []}', "a.txt": "x"},
        {"a.json": '{"captions": "x"}'}, {"a.txt": ""}, {"a.txt": b"\xff"},
        {"a.json": '{"captions": ["\\ud800"]}'},
    ],
)  # fmt: skip
def test_inspection_and_training_agree_on_the_captions(tmp_path, text):
    path = write_tar(tmp_path / "s.tar", {"a.jpg": picture()} | text)
    shard = index_tar(path, tmp_path / "cache")
    found = read_sample_text(shard, shard.members(0), "captions")
    try:
        trained = open_media([path], "captions", tmp_path / "cache").texts(0)
    except DataError:
        assert found.failures or not found.captions
    else:
        assert (found.captions, found.failures) == (trained, [])


# --- Several shards, and some of the samples


@given(st.integers(0, 500), st.integers(1, 600))
def test_evenly_spaced_samples_are_distinct_in_order_and_even(total, count):
    found = evenly_spaced(total, count)
    assert len(found) == min(total, count)
    assert found == sorted(set(found))
    if found:
        assert 0 <= found[0] <= found[-1] < total
        gaps = np.diff(found)
        assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_only_the_chosen_samples_are_decoded_and_all_are_counted(tmp_path):
    paths = []
    for number in range(3):
        members = {f"{at}.jpg": picture() if at else b"broken" for at in range(6)}
        paths.append(write_tar(tmp_path / f"{number}.tar", members))
    shards = open_shards(paths, tmp_path / "cache")
    chosen = chosen_samples(shards, 6)
    assert chosen == [[1, 4], [1, 4], [1, 4]]
    total = Contents("all")
    for shard, numbers in zip(shards, chosen, strict=True):
        total.add(inspect_shard(shard, numbers))
    assert (total.samples, total.decoded, total.failures) == (18, 6, [])
    assert len(total.sizes["jpg"]) == 18
    assert chosen_samples(shards, None) == [list(range(6))] * 3


def test_a_total_has_the_median_of_all_and_names_the_shards_of_failures(tmp_path):
    sizes = ((10, 20, 90), (30, 40))
    total = Contents("all")
    for number, widths in enumerate(sizes):
        members = {f"{at}.png": picture("PNG", width) for at, width in enumerate(widths)}
        path = write_tar(tmp_path / f"{number}.tar", members | {"x.jpg": b""})
        total.add(inspect_shard(index_tar(path, tmp_path / "cache")))
    assert spread(total, "image", "width") == (10, 30, 90)
    assert [one.member for one in total.failures] == [
        f"{tmp_path / name}: x.jpg" for name in ("0.tar", "1.tar")
    ]


def test_of_nothing_there_is_no_spread():
    assert Spread.of([]) is None
