"""A page of samples stands alone, plays, and cannot be made to run or to fetch anything."""

import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_media import clip, picture, recording, tone, write_tar

from ablate.shards.inspect import open_shards
from ablate.shards.page import Page, shown, write_page
from ablate.shards.plot import HEIGHT, WIDTH, channel_plot

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</blockquote></article></main></body><iframe src=//evil.example>",
    "<!-- ", "]]>", "&lt;script&gt;", "\u202egpj.exe", "\x1b[31mred", "\x00", "' onload='x",
    "<svg/onload=alert(1)>", "<style>@import url(//x.example)</style>", "</style><base href=//x.example>",
]  # fmt: skip
VOID = {"meta", "img", "polyline", "br"}
KNOWN = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "main", "article", "img", "audio",
    "video", "figure", "figcaption", "svg", "polyline", "blockquote", "details", "summary", "pre",
}  # fmt: skip


class Reader(HTMLParser):
    """The elements of a page; every one has to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tmp_path: Path, members: dict, count: int = 24, **options) -> tuple[Reader, Page, str]:
    shards = open_shards([write_tar(tmp_path / "s.tar", members)], tmp_path / "cache")
    page = write_page(tmp_path / "page.html", shards, count, **options)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    return Reader(text), page, text


def embedded(source: str) -> tuple[str, bytes]:
    mime, data = re.fullmatch(r"data:([a-z/0-9]+);base64,([A-Za-z0-9+/=]+)", source).groups()
    return mime, base64.b64decode(data)


# --- Media


def test_every_medium_is_embedded_as_the_bytes_it_is_and_can_be_played(tmp_path):
    members = {
        "a.jpg": picture(), "b.png": picture("PNG"), "c.webp": picture("WEBP"),
        "d.wav": tone(), "e.flac": tone("FLAC"), "f.ogg": tone("OGG"), "g.mp3": tone("MP3"), "h.mp4": clip(),
    }  # fmt: skip
    reader, page, _ = page_of(tmp_path, members)
    shown_media = [embedded(one["src"]) for tag in ("img", "audio", "video") for one in reader.all(tag)]
    assert shown_media == list(zip(
        ["image/jpeg", "image/png", "image/webp", "audio/wav", "audio/flac", "audio/ogg", "audio/mpeg",
         "video/mp4"],
        members.values(), strict=True,
    ))  # fmt: skip
    assert all("controls" in one for tag in ("audio", "video") for one in reader.all(tag))
    assert (page.samples, page.of, page.left_out) == (8, 8, 0)


def test_the_type_is_told_by_content_never_by_the_name(tmp_path):
    page = "<script>alert(1)</script>"
    members = {
        "a.jpg": picture("PNG"),
        "b.jpg": page,
        "c.mp4": page,
        "d.ogg": clip(sound=True),
        "e.png": "<svg/>",
    }
    reader, _, text = page_of(tmp_path, members)
    assert [embedded(one["src"]) for one in reader.all("img")] == [("image/png", members["a.jpg"])]
    assert [embedded(one["src"])[0] for one in reader.all("audio")] == ["audio/mp4"]
    assert reader.all("video") == []
    assert base64.b64encode(page.encode()).decode() not in text
    assert "not a JPEG, PNG or WebP" in text


def test_a_medium_that_does_not_decode_is_named_and_not_embedded(tmp_path):
    reader, _, text = page_of(tmp_path, {"a.jpg": picture()[:-50], "b.npy": recording()[:-1]})
    assert reader.all("img") == reader.all("svg") == []
    assert "corrupt or truncated JPEG" in text
    assert "truncated .npy" in text


def test_every_channel_is_a_plot_with_its_name_and_range(tmp_path):
    about = json.dumps({"channels": ["x", "<b>y", "z"], "rate_hz": 10})
    reader, _, text = page_of(
        tmp_path, {"a.npy": recording(20, 3), "a.json": about, "b.npy": recording(5, 2)}
    )
    labels = [one["aria-label"].partition(":")[0] for one in reader.all("svg")]
    assert labels == ["x", "<b>y", "z", "channel 0", "channel 1"]
    assert len(reader.all("polyline")) == 5
    assert "float32, 20 steps, 3 channels, 2 s, 10 Hz" in text


def test_what_exceeds_the_bound_is_left_out_and_told(tmp_path):
    sound = tone(seconds=0.1)
    members = {f"{at}.wav": sound for at in range(4)} | {"z.jpg": picture(width=8, height=8)}
    reader, page, text = page_of(tmp_path, members, max_media_bytes=2 * len(sound) + 900)
    # What is small still finds room after something large was left out.
    assert (len(reader.all("audio")), len(reader.all("img")), page.left_out) == (2, 1, 2)
    assert text.count("left out: this page holds no more media") == 2


def test_long_texts_and_many_captions_and_channels_are_cut_and_told(tmp_path):
    about = json.dumps({"captions": ["x" * 9_000] + ["y"] * 99, "notes": "z" * 9_000})
    _, _, text = page_of(tmp_path, {"a.jpg": picture(), "a.json": about, "b.npy": recording(4, 70)})
    assert "(5,000 more characters)" in text
    assert "and 80 more captions" in text
    assert "and 6 more channels" in text
    assert len(text) < 60_000


def test_samples_are_evenly_spaced_over_the_shards(tmp_path):
    paths = [
        write_tar(tmp_path / f"{n}.tar", {f"{n}-{at}.png": picture("PNG", 2, 2) for at in range(10)})
        for n in range(2)
    ]
    shards = open_shards(paths, tmp_path / "cache")
    page = write_page(tmp_path / "deep/page.html", shards, 4)
    text = (tmp_path / "deep/page.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == ["0-2", "0-7", "1-2", "1-7"]
    assert (page.samples, page.of) == (4, 20)
    assert "4 of 20 samples" in text


# --- Hostile content


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_captions_keys_and_fields_stay_text(tmp_path, text):
    about = json.dumps({"captions": [text, "second"], text: text, "channels": [text, text]})
    key = re.sub(r"[\x00-\x1f./\\:]", "_", text)
    members = {
        f"{key}.jpg": picture(),
        f"{key}.json": about,
        f"{key}2.npy": recording(9, 2),
        f"{key}2.json": about,
    }
    reader, _, _ = page_of(tmp_path, members)
    assert {tag for tag, _ in reader.elements} <= KNOWN
    for tag, attributes in reader.elements:
        assert not any(name.startswith("on") or name in ("href", "style", "srcset") for name in attributes), (
            tag
        )
        assert attributes.get("src", "data:").startswith("data:")
    clean = text.replace("\x1b", "\ufffd").replace("\0", "\ufffd")
    assert clean in "".join(reader.texts)
    assert len(reader.all("blockquote")) == 4


def test_the_policy_forbids_everything_but_the_style_and_data_media(tmp_path):
    import hashlib

    reader, _, text = page_of(tmp_path, {"a.jpg": picture()})
    (policy,) = [one["content"] for one in reader.all("meta") if one.get("http-equiv")]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style = re.search("<style>(.*?)</style>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "media-src": "data:", "base-uri": "'none'",
        "form-action": "'none'", "style-src": f"'sha256-{digest}'",
    }  # fmt: skip
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)


@given(st.text(st.characters()))
def test_shown_text_is_valid_html_text_and_loses_no_printable_letter(text):
    made = shown(text)
    made.encode()
    assert not set(made) & set("<>\"'")
    back = html.unescape(made)
    assert len(back) == len(text)
    for before, after in zip(text, back, strict=True):
        assert after in (before, "\ufffd")
        assert after == before or not before.isprintable()


# --- Plots


@given(st.lists(st.floats(width=32), max_size=2_000))
def test_a_plot_stays_within_its_frame_whatever_the_values(values):
    plot = channel_plot(np.array(values, dtype=np.float32), "x")
    for points in re.findall('points="(.*?)"', plot):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_a_long_recording_keeps_its_extremes_and_few_points():
    values = np.zeros(100_000)
    values[12_345], values[77_777] = 5, -3
    plot = channel_plot(values, "x")
    assert "x: -3 to 5" in plot
    heights = [float(point.split(",")[1]) for point in re.search('points="(.*?)"', plot).group(1).split()]
    assert (min(heights), max(heights)) == (2, HEIGHT - 2)
    assert len(heights) <= 2 * 280


def test_steps_without_value_leave_a_gap():
    plot = channel_plot(np.array([0, 1, np.nan, 2, 3]), "x")
    assert len(re.findall("<polyline", plot)) == 2
