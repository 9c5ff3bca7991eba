"""A folder becomes shards that the project reads, or an error names what is in the way; nothing is lost."""

import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_media import clip, members_of, picture, recording, tone, write_folder

from ablate.data.errors import DataError
from ablate.data.media import MEDIA, open_media
from ablate.shards.gather import GatherOptions, key_of
from ablate.shards.importer import Imported, ShardOptions, import_folder

SOUND = {
    "dogs/rex.jpg": picture(),
    "dogs/rex.txt": "Rex, a dog.\n",
    "cats/tom.v1.png": picture("PNG"),
    "cats/tom.v1.txt": "Tom, a cat.",
}


def packed(tmp_path: Path, files: dict, out: str = "out", gather: dict | None = None, **options) -> Imported:
    folder = write_folder(tmp_path / "media", files)
    return import_folder(
        folder, tmp_path / out, GatherOptions(**(gather or {})), ShardOptions(**({"name": "x"} | options))
    )


def error_of(tmp_path: Path, files: dict, gather: dict | None = None, **options) -> str:
    with pytest.raises(DataError) as caught:
        packed(tmp_path, files, gather=gather, **options)
    assert not list((tmp_path / "out").glob("*.tar")) or options.get("force") is not None
    return str(caught.value)


# --- What is packed


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        (
            "image",
            {"a.jpg": picture(), "b.png": picture("PNG"), "c.webp": picture("WEBP"), "d.JPEG": picture()},
        ),
        ("audio", {"a.wav": tone(), "b.flac": tone("FLAC"), "c.ogg": tone("OGG"), "d.mp3": tone("MP3")}),
        ("video", {"a.mp4": clip(), "b.mp4": clip(sound=True)}),
        ("sensor", {"a.npy": recording(), "b.npy": recording(steps=7)}),
    ],
)
def test_what_is_imported_is_what_open_media_reads(tmp_path, kind, files):
    texts = {f"{name.partition('.')[0]}.txt": f"It is {name}." for name in files}
    done = packed(tmp_path, files | texts)
    assert (done.samples, done.captions, done.media, done.unused) == (
        len(files),
        len(files),
        {kind: len(files)},
        [],
    )
    samples = open_media(done.shards, "captions", tmp_path / "cache", (kind,))
    assert samples.keys == ["a", "b", "c", "d"][: len(files)]
    for number, (name, content) in enumerate(files.items()):
        assert samples.read(kind, number) == content
        assert samples.texts(number) == [f"It is {name}."]


def test_a_sample_is_medium_first_caption_and_json_beside_one_another(tmp_path):
    (shard,) = packed(tmp_path, SOUND).shards
    assert shard == tmp_path / "out" / "x-000000.tar"
    members = members_of(shard)
    assert list(members) == [
        "cats__tom_v1.json", "cats__tom_v1.png", "cats__tom_v1.txt",
        "dogs__rex.jpg", "dogs__rex.json", "dogs__rex.txt",
    ]  # fmt: skip
    assert members["dogs__rex.jpg"] == SOUND["dogs/rex.jpg"]
    assert members["dogs__rex.txt"] == b"Rex, a dog."
    assert json.loads(members["dogs__rex.json"]) == {"captions": ["Rex, a dog."], "source": "dogs/rex.jpg"}


def test_the_same_files_give_the_same_bytes_wherever_and_whenever_they_lie(tmp_path):
    first = packed(tmp_path / "one", SOUND)
    backwards = dict(reversed(SOUND.items()))
    for name in SOUND:
        write_folder(tmp_path / "two/media", {name: SOUND[name]})
        os.utime(tmp_path / "two/media" / name, (1, 1))
    second = packed(tmp_path / "two", backwards)
    assert first.shards[0].read_bytes() == second.shards[0].read_bytes()
    with tarfile.open(first.shards[0]) as tar:
        assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in tar} == {(0, 0, 0, "")}


def test_shards_hold_no_more_samples_than_asked_and_miss_none(tmp_path):
    files = {f"{number}.jpg": picture(shade=number) for number in range(7)}
    texts = {f"{number}.txt": f"Number {number}." for number in range(7)}
    done = packed(tmp_path, files | texts, per_shard=3)
    assert [path.name for path in done.shards] == ["x-000000.tar", "x-000001.tar", "x-000002.tar"]
    held = [[name for name in members_of(path) if name.endswith("jpg")] for path in done.shards]
    assert held == [["0.jpg", "1.jpg", "2.jpg"], ["3.jpg", "4.jpg", "5.jpg"], ["6.jpg"]]


def test_a_json_beside_a_medium_keeps_its_fields(tmp_path):
    about = {"rate_hz": 20, "captions": ["It waves.", "It moves."], "source": "arm 3"}
    done = packed(tmp_path, {"a.npy": recording(), "a.json": json.dumps(about), "a.txt": "It waves."})
    assert json.loads(members_of(done.shards[0])["a.json"]) == about
    assert (done.captions, done.unused) == (2, [])
    samples = open_media(done.shards, "captions", tmp_path / "cache", ("sensor",))
    assert samples.texts(0) == ["It waves.", "It moves."]
    assert samples.items["sensor"].rate_hz[0] == 20


def test_an_unpacked_shard_imports_to_the_same_samples(tmp_path):
    first = packed(tmp_path, SOUND).shards[0]
    write_folder(tmp_path / "again/media", members_of(first))
    assert members_of(packed(tmp_path / "again", {}).shards[0]) == members_of(first)


def test_files_of_one_name_form_one_sample_only_if_asked(tmp_path):
    files = {"run.mp4": clip(), "run.npy": recording(), "run.txt": "It grasps."}
    said = error_of(tmp_path, files)
    assert "'run.mp4', 'run.npy' would share the key 'run'" in said
    assert "--group" in said
    done = packed(tmp_path, {}, gather={"group": True})
    assert (done.samples, done.media) == (1, {"video": 1, "sensor": 1})
    samples = open_media(done.shards, "captions", tmp_path / "cache", ("video", "sensor"))
    assert samples.read("video", 0) == files["run.mp4"]
    assert samples.read("sensor", 0) == files["run.npy"]
    assert json.loads(members_of(done.shards[0])["run.json"])["source"] == ["run.mp4", "run.npy"]


# --- Keys


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1),
        min_size=1,
    )
)
def test_a_key_is_safe_in_a_tar_whatever_the_path(parts):
    key = key_of("/".join(parts) + ".jpg")
    assert key
    assert not set(key) & set('/\\.:*?"<>|\0 ')


@pytest.mark.parametrize("gather", [{}, {"group": True}])
@pytest.mark.parametrize("other", ["a_b.jpg", "a__b.png", "a/b.PNG", "a/b.JPG"])
def test_two_files_of_one_key_are_refused_by_name(tmp_path, other, gather):
    files = {"a/b.jpg": picture(), other: picture("PNG")}
    captions = {f"{name.rpartition('.')[0]}.txt": "x" for name in files}
    if key_of("a/b.jpg") != key_of(other):
        assert packed(tmp_path, files | captions, gather=gather).samples == 2
        return
    said = error_of(tmp_path, files | captions, gather=gather)
    assert "'a/b.jpg'" in said
    assert repr(other) in said


def test_names_of_any_script_are_kept(tmp_path):
    done = packed(tmp_path, {"große Hunde/犬 1.jpg": picture(), "große Hunde/犬 1.txt": "犬"})
    (sample,) = {name.partition(".")[0] for name in members_of(done.shards[0])}
    assert sample == "große_Hunde__犬_1"
    assert open_media(done.shards, "captions", tmp_path / "cache").texts(0) == ["犬"]


# --- Captions


def test_a_table_of_captions_names_files_and_several_lines_are_several_captions(tmp_path):
    table = (
        '\ufefffile_name,caption\r\na.jpg,"A dog, ""Rex"",\r\nruns."\r\n./b/c.jpg,A cat.\r\na.jpg,Rex.\r\n'
    )
    files = {"a.jpg": picture(), "b/c.jpg": picture(), "captions.csv": table, "a.txt": "not this"}
    done = packed(tmp_path, files, gather={"captions": tmp_path / "media/captions.csv"})
    samples = open_media(done.shards, "captions", tmp_path / "cache")
    assert [samples.texts(number) for number in (0, 1)] == [['A dog, "Rex",\r\nruns.', "Rex."], ["A cat."]]
    assert done.unused == ["a.txt"]


def test_json_lines_of_captions_with_fields_of_other_names(tmp_path):
    lines = '{"path": "a.jpg", "text": ["One\u2028two.", "Three."]}\n\n{"path": "b.jpg", "text": "Four."}\n'
    files = {"a.jpg": picture(), "b.jpg": picture(), "m.jsonl": lines}
    gather = {"captions": tmp_path / "media/m.jsonl", "file_field": "path", "caption_field": "text"}
    done = packed(tmp_path, files, gather=gather)
    assert (done.captions, done.unused) == (3, [])


def test_a_file_without_caption_is_refused_by_name_unless_allowed(tmp_path):
    files = {"a.jpg": picture(), "a.txt": "A.", "b.jpg": picture()}
    assert "1 of 2 files have no caption beside them (.txt or .json): 'b.jpg'" in error_of(tmp_path, files)
    done = packed(tmp_path, {}, gather={"without_captions": True})
    assert (done.samples, done.without_caption) == (2, 1)
    members = members_of(done.shards[0])
    assert "b.txt" not in members
    assert json.loads(members["b.json"]) == {"source": "b.jpg"}
    assert len(open_media(done.shards, "captions", tmp_path / "cache", documents="media_only")) == 2


def test_a_line_whose_file_is_missing_is_refused_by_name(tmp_path):
    files = {"a.jpg": picture(), "c.csv": "file_name,caption\na.jpg,A.\nb.jpg,B.\nc.csv,C.\n"}
    said = error_of(tmp_path, files, gather={"captions": tmp_path / "media/c.csv"})
    assert "names 2 files that are no media" in said
    assert "'b.jpg', 'c.csv'" in said


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": " \n"}, "caption is empty"),
        ({"a.txt": b"\xff"}, "not UTF-8 at byte 0"),
        ({"a.json": '{"captions": []}'}, "caption is empty"),
        ({"a.json": '{"captions": "one"}'}, "not a list of strings"),
        ({"a.json": '{"captions": ["\\ud800"]}'}, "surrogate"),
        ({"a.json": "[]"}, "not a JSON object"),
        ({"a.json": "{"}, "invalid JSON"),
        ({"a.json": "[" * 100_000}, "invalid JSON"),
    ],
)
def test_captions_beside_a_medium_that_cannot_be_used_are_named(tmp_path, files, said):
    assert said in error_of(tmp_path, {"a.jpg": picture()} | files)
    assert "media/a." in error_of(tmp_path, {})


# --- What is not packed is told


def test_everything_that_is_not_packed_is_listed(tmp_path):
    extra = {"notes.pdf": "x", "README": "x", ".hidden.jpg": "x", ".git/a.jpg": "x", "lone.txt": "x"}
    done = packed(tmp_path, SOUND | extra)
    assert done.unused == sorted(extra)
    assert done.samples == 2


def test_a_folder_without_media_says_what_it_has(tmp_path):
    assert "it has 2 .gif, 1 .txt" in error_of(tmp_path, {"a.gif": "x", "b.gif": "x", "a.txt": "x"})
    with pytest.raises(DataError, match="no such folder"):
        import_folder(tmp_path / "nowhere", tmp_path / "out")


# --- Links


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    write_folder(tmp_path, {"secret.jpg": picture()})
    write_folder(tmp_path / "media", SOUND)
    (tmp_path / "media/out.jpg").symlink_to(tmp_path / "secret.jpg")
    said = error_of(tmp_path, {"out.txt": "x"})
    assert "media/out.jpg: is a link that leaves the folder" in said


@pytest.mark.parametrize(
    "target", ["..", "dogs", "missing.jpg", "loop", "/etc/hostname", "../media-too/a.jpg"]
)
def test_links_to_folders_to_nothing_and_to_a_neighbour_are_refused(tmp_path, target):
    write_folder(tmp_path / "media-too", {"a.jpg": picture()})
    write_folder(tmp_path / "media", SOUND)
    (tmp_path / "media/loop").symlink_to(target)
    assert "media/loop: is a" in error_of(tmp_path, {})


def test_a_link_within_the_folder_is_read(tmp_path):
    write_folder(tmp_path / "media", SOUND)
    (tmp_path / "media/again.jpg").symlink_to("dogs/rex.jpg")
    done = packed(tmp_path, {"again.txt": "Rex again."})
    assert members_of(done.shards[0])["again.jpg"] == SOUND["dogs/rex.jpg"]


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    write_folder(tmp_path / "media", SOUND)
    os.mkfifo(tmp_path / "media/a.jpg")
    assert "a.jpg: is a pipe" in error_of(tmp_path, {})


# --- What does not decode

BROKEN = {
    "a.jpg": (picture()[:-100], "corrupt or truncated JPEG"),
    "a.wav": (tone(seconds=0), "no samples"),
    "a.mp4": (clip()[:-50], "truncated mp4"),
    "a.flac": (tone("FLAC")[:-100], "truncated FLAC"),
    "a.npy": (recording()[:-1], "truncated .npy"),
    "b.npy": (recording(dtype=object), "object"),
    "c.npy": (recording(steps=0), "nothing in it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_medium_that_does_not_decode_stops_the_import_by_name(tmp_path, name):
    content, reason = BROKEN[name]
    captions = {f"{name[0]}.txt": "x", "z.txt": "y"}
    said = error_of(tmp_path, {name: content, "z.jpg": picture()} | captions)
    assert f"media/{name}: " in said
    assert reason in said
    assert "Nothing was written" in said
    assert os.listdir(tmp_path / "out") == [".x.lock"]


def test_skips_within_the_limit_are_listed_and_one_more_stops(tmp_path):
    files = {f"{n}.jpg": picture() if n > 1 else b"no picture" for n in range(5)}
    texts = {f"{n}.txt": "x" for n in range(5)}
    assert "1 may be skipped" in error_of(tmp_path, files | texts, max_skips=1)
    done = packed(tmp_path, {}, max_skips=2, per_shard=2)
    assert (done.samples, len(done.skipped)) == (3, 2)
    assert all("not a JPEG" in line for line in done.skipped)
    assert [len(members_of(path)) for path in done.shards] == [6, 3]


def test_an_import_of_which_nothing_is_left_is_an_error(tmp_path):
    assert "not one sample decodes" in error_of(tmp_path, {"a.jpg": b"x", "a.txt": "x"}, max_skips=5)


def test_without_decoding_broken_media_are_packed_as_they_are(tmp_path):
    done = packed(tmp_path, {"a.jpg": b"no picture", "a.txt": "x"}, decode=False)
    assert members_of(done.shards[0])["a.jpg"] == b"no picture"


# --- Existing shards


def test_existing_shards_are_never_replaced_unless_asked(tmp_path):
    first = packed(tmp_path, SOUND, per_shard=1)
    before = [path.read_bytes() for path in first.shards]
    assert len(before) == 2
    with pytest.raises(DataError, match=r"x-000000.tar exists \(2 shards.*--force"):
        packed(tmp_path, {})
    assert [path.read_bytes() for path in first.shards] == before
    assert packed(tmp_path, {}, name="y").samples == 2
    assert packed(tmp_path, {}, name="x-000000").samples == 2
    # Two shards become one: the second must go, or a glob would read its samples twice.
    packed(tmp_path, {}, force=True)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == [
        "x-000000-000000.tar", "x-000000.tar", "y-000000.tar",
    ]  # fmt: skip


def test_a_failed_import_with_force_leaves_the_old_shards(tmp_path):
    first = packed(tmp_path, SOUND)
    before = first.shards[0].read_bytes()
    assert "a.jpg" in error_of(tmp_path, {"a.jpg": b"x", "a.txt": "x"}, force=True)
    assert first.shards[0].read_bytes() == before


def test_an_interrupted_import_leaves_nothing_and_the_next_succeeds(tmp_path):
    folder = write_folder(tmp_path / "media", SOUND)

    def stop(done: int, total: int) -> None:
        assert total == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(folder, tmp_path / "out", see=stop)
    assert os.listdir(tmp_path / "out") == [".media.lock"]
    write_folder(tmp_path / "out/.media.partial", {"000000.tar": "left by a killed import"})
    done = import_folder(folder, tmp_path / "out")
    assert [path.name for path in done.shards] == ["media-000000.tar"]
    assert not (tmp_path / "out/.media.partial").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "-x", ".x", "a b"])
def test_a_name_that_could_reach_elsewhere_is_refused(tmp_path, name):
    assert "cannot name shards" in error_of(tmp_path, SOUND, name=name)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_mix_of_files_is_packed_or_listed_and_none_is_lost(tmp_path_factory, data):
    tmp_path = tmp_path_factory.mktemp("mix")
    extensions = [
        *(extension for endings in MEDIA.values() for extension in endings),
        "txt",
        "json",
        "pdf",
        "gz",
    ]
    stems = data.draw(
        st.lists(st.sampled_from(["a", "b", "d/a", "d/e/c", ".h", "a.b"]), unique=True, min_size=1)
    )
    names = [f"{stem}.{data.draw(st.sampled_from(extensions))}" for stem in stems]
    bodies = {name: "{}" if name.endswith("json") else "x" for name in names}
    folder = write_folder(tmp_path / "media", bodies | {"sure.jpg": "x"})
    done = import_folder(
        folder, tmp_path / "out", GatherOptions(without_captions=True), ShardOptions(decode=False)
    )
    members = members_of(done.shards[0])
    sources = [json.loads(body).get("source") for name, body in members.items() if name.endswith("json")]
    assert len(sources) == done.samples
    assert set(sources) | set(done.unused) == set(names) | {"sure.jpg"}


def test_a_sidecar_is_never_both_used_and_listed(tmp_path):
    files = {"a.jpg": picture(), "a.txt": "A.", "a.json": "{}", "b.json": "{}", "b.txt": "B."}
    assert packed(tmp_path, files).unused == ["b.json", "b.txt"]
