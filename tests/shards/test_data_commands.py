"""`ablate data` prints what was done and what was not, and its exit code says whether all is well."""

import os
import re

import pytest
from own_media import clip, picture, recording, tone, write_folder, write_tar

FILES = {
    "a.jpg": picture(), "a.txt": "A picture.", "b.wav": tone(), "b.txt": "A <script> tone.",
    "c.mp4": clip(), "c.txt": "A clip.", "d.npy": recording(), "d.json": '{"rate_hz": 10}', "d.txt": "A.",
}  # fmt: skip


def test_import_then_inspect_then_look(data, tmp_path):
    write_folder(tmp_path / "media", FILES | {"notes.pdf": "x", ".DS_Store": "x"})
    ran = data("import", "media", "shards", "--name", "mine", "--per-shard", 3)
    assert (ran.code, ran.err) == (0, "")
    assert "4 samples (1 audio, 1 image, 1 sensor, 1 video), 4 captions, 0 samples without caption" in ran.out
    assert "in 2 shards, shards/mine-000000.tar to mine-000001.tar" in ran.out
    assert "Not packed: 2 files (1 .pdf, 1 hidden)" in ran.out
    assert "notes.pdf" in ran.out

    ran = data("inspect", "shards/*.tar", "--html", "page.html")
    assert (ran.code, ran.err) == (0, "")
    whole = ran.out[ran.out.index("2 shards together") :]
    rows = {line.strip("│ ").split("│")[0].strip(): line for line in whole.splitlines() if "│" in line}
    assert re.search(r"samples\s+│\s+4 ", rows["samples"])
    assert re.search(r"failures\s+│\s+0 ", rows["failures"])
    for what in (
        "image: width",
        "audio: rate_hz",
        "video: frames",
        "sensor: seconds",
        ".json rate_hz: number",
    ):
        assert what in rows
    assert "Written: page.html (4 of 4 samples)" in ran.out
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_a_medium_that_does_not_decode_is_exit_code_1_and_a_broken_shard_2(data, tmp_path):
    write_tar(
        tmp_path / "bad.tar", {"a.jpg": picture()[:-50], "a.txt": "x", "b.jpg": picture(), "b.txt": "x"}
    )
    ran = data("inspect", "bad.tar")
    assert ran.code == 1
    assert "a.jpg: corrupt or truncated JPEG" in ran.out
    write_tar(tmp_path / "cut.tar", {"a.jpg": picture()})
    (tmp_path / "cut.tar").write_bytes((tmp_path / "cut.tar").read_bytes()[:700])
    ran = data("inspect", "cut.tar")
    assert ran.code == 2
    assert ran.err.startswith("ablate: cut.tar: cut short")
    assert data("inspect", "nothing-*.tar").code == 2


def test_a_compressed_shard_is_inspected_as_it_is(data, tmp_path):
    write_tar(tmp_path / "s.tar.gz", {"a.jpg": picture(), "a.txt": "x"}, "w:gz")
    ran = data("inspect", "s.tar.gz")
    assert ran.code == 0
    assert "s.tar.gz" in ran.out


def test_sample_decodes_only_so_many(data, tmp_path):
    members = {f"{at}.jpg": picture() if at == 4 else b"broken" for at in range(9)}
    write_tar(tmp_path / "s.tar", members)
    ran = data("inspect", "s.tar", "--sample", 1)
    assert ran.code == 0
    assert re.search(r"media decoded\s+│\s+1 ", ran.out)
    assert re.search(r"\.jpg bytes\s+│\s+9 ", ran.out)


def test_text_of_strangers_cannot_command_the_terminal(data, tmp_path):
    members = {"[red]a.jpg": picture(), "[red]a.json": '{"\\u001b[31mred\\u0007": 1, "[bold]x": 1}'}
    write_tar(tmp_path / "s.tar", members | {"[blink]b.jpg": b"\x1b[2J"})
    ran = data("inspect", "s.tar")
    assert ran.code == 1
    assert "\x1b" not in ran.out
    assert "\x07" not in ran.out
    assert "[blink]b.jpg: not a JPEG" in ran.out
    assert ".json [bold]x: number" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "nowhere", "out"], "nowhere: no such folder"),
        (["import", "media", "out", "--captions", "none.csv"], "none.csv: cannot be read"),
        (["import", "media", "out", "--name", "a/b"], "cannot name shards"),
        (["import", "bare", "out"], "1 of 1 files have no caption"),
    ],
)
def test_what_cannot_be_imported_is_one_message_and_exit_code_2(data, tmp_path, words, said):
    write_folder(tmp_path / "media", FILES)
    write_folder(tmp_path / "bare", {"a.jpg": picture()})
    ran = data(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("ablate: ")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not list(tmp_path.glob("out/*.tar"))


def test_ctrl_c_says_that_no_shard_was_written(data, tmp_path, monkeypatch):
    write_folder(tmp_path / "media", FILES)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ablate.shards.importer.examine", stopped)
    ran = data("import", "media", "out")
    assert (ran.code, ran.err) == (130, "ablate: stopped; no shard was written to out\n")
    assert os.listdir(tmp_path / "out") == [".media.lock"]


def test_skips_are_printed(data, tmp_path):
    write_folder(tmp_path / "media", FILES | {"z.jpg": b"broken", "z.txt": "x"})
    assert data("import", "media", "out").code == 2
    ran = data("import", "media", "out", "--max-skips", 1)
    assert ran.code == 0
    assert "Skipped, as they do not decode: 1" in ran.out
    assert "media/z.jpg: not a JPEG" in ran.out
    assert "exists" in data("import", "media", "out", "--max-skips", 1).err
    assert data("import", "media", "out", "--max-skips", 1, "--force").code == 0
