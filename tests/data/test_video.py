"""A clip becomes the frames that were filmed, in their order, or an error; never fewer frames."""

import contextlib
import io
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.bench.decoders import measure_decoders
from ablate.data import containers, video
from ablate.data.errors import DataError
from ablate.data.video import decode_video
from encoders.media_spec import VideoSpec

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 70, 230), (230, 220, 50), (200, 60, 210), (40, 200, 210)]


def filmed(
    frames: Iterable[np.ndarray],
    form: str = "mp4",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    sound: bool = False,
    rotated: int = 0,
) -> bytes:
    """A clip of ``frames`` uint8[height, width, 3] at ten a second."""
    frames = list(frames)
    # On disk, because an index that comes first is moved there after all is written.
    with tempfile.NamedTemporaryFile() as out:
        write(out.name, frames, form, codec, options or {}, container or {}, sound, rotated)
        return Path(out.name).read_bytes()


def write(path, frames, form, codec, options, container, sound, rotated) -> None:
    with av.open(path, "w", format=form, container_options=container) as sink:
        height, width = frames[0].shape[:2]
        stream = sink.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        if rotated:
            stream.set_display_rotation(rotated)
        if sound:
            sink.add_stream("aac", rate=16_000, layout="mono")
        for pixels in frames:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode(None))
        if sound:
            track = sink.streams.audio[0]
            for start in range(0, 8192, 1024):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts = 16_000, start
                sink.mux(track.encode(frame))
            sink.mux(track.encode(None))


def plain(count: int, height: int = 48, width: int = 48) -> list[np.ndarray]:
    """Frames of one colour each, which say their number: grey from 16 upwards in equal steps."""
    return [np.full((height, width, 3), 16 + n * (220 // max(1, count - 1)), np.uint8) for n in range(count)]


def numbers(decoded: np.ndarray, count: int) -> list[int]:
    """The numbers of `plain` frames."""
    grey = decoded.mean(axis=(1, 2, 3))
    return np.rint((grey - 16) / (220 // max(1, count - 1))).astype(int).tolist()


def sprite(count: int = 8, size: int = 48) -> list[np.ndarray]:
    """A bright square that moves from left to right over a dark ground."""
    frames = []
    for number in range(count):
        pixels = np.full((size, size, 3), (20, 30, 60), np.uint8)
        at = number * (size - 12) // max(1, count - 1)
        pixels[18:30, at : at + 12] = (240, 200, 40)
        frames.append(pixels)
    return frames


def bare(data: bytes, form: str = "mp4") -> np.ndarray:
    with av.open(io.BytesIO(data), "r", format=form) as source:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])


def error_of(data: bytes, spec: VideoSpec | None = None) -> str:
    with pytest.raises(DataError) as caught:
        decode_video(data, spec or VideoSpec(4, 32))
    return str(caught.value)


def boxes(data: bytes) -> list[tuple[bytes, int, int]]:
    """Type, offset and size of an mp4's outermost boxes."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], at, size))
        at += size
    return found


@given(st.integers(1, 14), st.integers(1, 9), st.sampled_from(["libx264", "mpeg4"]))
@settings(max_examples=15, deadline=None)
def test_the_frames_kept_lie_at_equal_distances_over_the_whole_clip(count, kept, codec):
    decoded = decode_video(filmed(plain(count), codec=codec), VideoSpec(kept, 48))
    assert decoded.shape == (kept, 3, 48, 48)
    assert decoded.dtype == np.uint8
    middles = [(2 * part + 1) * count / (2 * kept) for part in range(kept)]
    assert numbers(decoded, count) == [int(middle) for middle in middles]


def test_with_as_many_frames_as_the_clip_has_each_is_kept_once_in_order():
    assert numbers(decode_video(filmed(plain(9)), VideoSpec(9, 48)), 9) == list(range(9))


def test_a_shorter_clip_repeats_its_frames_in_order():
    decoded = decode_video(filmed(plain(3)), VideoSpec(6, 48))
    assert numbers(decoded, 3) == [0, 0, 1, 1, 2, 2]
    assert (decoded[0] == decoded[1]).all()


def test_frames_coded_out_of_order_come_in_the_order_of_their_showing():
    data = filmed(plain(12), options={"bf": "3", "b-adapt": "0", "g": "12"})
    with av.open(io.BytesIO(data), "r") as source:
        shown = [packet.pts for packet in source.demux(video=0) if packet.size]
    assert shown != sorted(shown)
    assert numbers(decode_video(data, VideoSpec(12, 48)), 12) == list(range(12))


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "libx264"), ("mp4", "mpeg4"), ("webm", "libvpx"), ("webm", "libvpx-vp9")]
)
def test_a_sprite_is_where_it_was_filmed(form, codec):
    decoded = decode_video(filmed(sprite(), form, codec), VideoSpec(8, 48)).astype(int)
    for number, pixels in enumerate(sprite()):
        assert np.abs(decoded[number] - pixels.transpose(2, 0, 1)).mean() < 8
        columns = np.flatnonzero(decoded[number, 0, 20:28].mean(axis=0) > 130)
        assert abs(columns.mean() - (number * 36 // 7 + 5.5)) < 1


@pytest.mark.parametrize("colour", COLOURS)
def test_where_the_size_fits_the_colours_are_those_of_pyav(colour):
    data = filmed([np.full((48, 48, 3), colour, np.uint8)] * 3)
    ours = decode_video(data, VideoSpec(3, 48)).astype(int)
    assert np.abs(ours - bare(data).transpose(0, 3, 1, 2)).max() <= 2
    assert np.abs(ours - np.array(colour)[None, :, None, None]).max() < 12


@given(st.integers(8, 40), st.integers(8, 40), st.integers(4, 40))
@settings(max_examples=20, deadline=None)
def test_any_shape_becomes_a_square_of_the_size(half_height, half_width, size):
    data = filmed(plain(2, 2 * half_height, 2 * half_width), codec="mpeg4")
    decoded = decode_video(data, VideoSpec(2, size))
    assert decoded.shape == (2, 3, size, size)
    assert numbers(decoded, 2) == [0, 1]


def test_a_wide_clip_is_resized_by_its_shorter_side_and_cut_in_the_middle():
    pixels = np.full((40, 120, 3), 16, np.uint8)
    pixels[:, 40:80] = 220
    for frames in ([pixels], [pixels.transpose(1, 0, 2).copy()]):
        decoded = decode_video(filmed(frames), VideoSpec(1, 20))
        assert decoded[:, :, 2:-2, 2:-2].min() > 200


def test_shrinking_averages_and_does_not_pick():
    checks = np.indices((96, 96)).sum(axis=0) % 2 * 255
    data = filmed([np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)], options={"qp": "1"})
    assert np.abs(decode_video(data, VideoSpec(1, 24)).astype(int) - 127).max() < 30


def test_a_rotation_that_the_file_states_is_applied():
    pixels = np.full((48, 48, 3), 16, np.uint8)
    pixels[:12] = 235
    for degrees, bright in ((90, np.s_[:, :8]), (180, np.s_[-8:]), (270, np.s_[:, -8:])):
        data = filmed([pixels] * 2, rotated=degrees)
        with av.open(io.BytesIO(data), "r") as source:
            assert next(source.decode(video=0)).rotation % 360 == degrees
        turned = decode_video(data, VideoSpec(1, 48))[0]
        assert turned[(slice(None), *np.atleast_1d(bright))].min() > 180, degrees
        assert (turned > 128).mean() < 0.3


def test_sound_beside_the_picture_does_not_matter():
    with_sound = filmed(plain(6), sound=True)
    assert b"mp4a" in with_sound
    assert (
        decode_video(with_sound, VideoSpec(6, 32)) == decode_video(filmed(plain(6)), VideoSpec(6, 32))
    ).all()


# Files that are cut short or damaged


@pytest.mark.parametrize(
    "container", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}]
)
def test_an_mp4_cut_short_is_an_error_at_any_length(container):
    data = filmed(sprite(12), container=container, options={"g": "4"})
    assert decode_video(data, VideoSpec(4, 32)).shape == (4, 3, 32, 32)
    cuts = {1, 2, 7, 8, 9, 40, *range(len(data) // 7, len(data), len(data) // 7), len(data) - 1}
    for cut in sorted(cuts):
        error_of(data[:-cut])
    assert "truncated mp4" in error_of(data[:-1])


def test_an_mp4_whose_index_comes_first_and_whose_last_frame_is_cut_is_an_error():
    """The decoder itself would give the other frames and say nothing."""
    data = filmed(sprite(12), container={"movflags": "faststart"}, options={"g": "4"})
    assert [kind for kind, _, _ in boxes(data)][-1] == b"mdat"
    with av.open(io.BytesIO(data), "r") as source:
        last = max(packet.pos for packet in source.demux(video=0) if packet.size)
    assert len(bare(data[:last])) == 11
    assert "truncated mp4" in error_of(data[:last])


def test_a_file_of_stated_length_whose_end_is_lost_is_an_error():
    """As a download that was allocated before it came: the boxes fit, the end is zeros."""
    data = bytearray(filmed(sprite(12), container={"movflags": "faststart"}, options={"g": "4"}))
    _, at, size = boxes(data)[-1]
    data[at + size // 2 :] = bytes(len(data) - at - size // 2)
    assert "corrupt" in error_of(bytes(data))


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_webm_cut_short_is_an_error_at_any_length(codec):
    data = filmed(sprite(12), "webm", codec)
    for cut in {1, 2, 40, *range(len(data) // 7, len(data), len(data) // 7)}:
        error_of(data[:-cut])
    assert "truncated WebM" in error_of(data[:-1])


@given(place=st.integers(0, 100_000), value=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_gives_frames_or_a_data_error_and_nothing_else(place, value):
    data = bytearray(CLIP)
    data[place % len(data)] ^= value
    with contextlib.suppress(DataError):
        assert decode_video(bytes(data), VideoSpec(4, 16)).shape == (4, 3, 16, 16)


CLIP = filmed(sprite(6))


def test_damage_in_the_middle_is_not_concealed():
    """Most flipped bits of a frame's data break its code, which the decoder would patch over in silence."""
    _, at, size = next(box for box in boxes(CLIP) if box[0] == b"mdat")
    found = 0
    for place in range(at + 8, at + size, 7):
        data = bytearray(CLIP)
        data[place] ^= 0xFF
        try:
            decode_video(bytes(data), VideoSpec(6, 48))
        except DataError:
            found += 1
    assert found > 0.5 * size / 7


def test_no_video_track_is_named():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sink:
        track = sink.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        sink.mux(track.encode(frame))
        sink.mux(track.encode(None))
    assert "no video track" in error_of(out.getvalue())


def test_a_video_without_frames_is_an_error():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", container_options={"movflags": "empty_moov"}) as sink:
        stream = sink.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        sink.start_encoding()
    assert "no frame of the video" in error_of(out.getvalue())


@pytest.mark.parametrize(
    "data", [b"", b"not a video at all", b"RIFF\0\0\0\0AVI LIST", b"#EXTM3U\nhttp://x/y.ts"]
)
def test_other_formats_are_refused_whatever_their_name(data):
    assert "not an mp4 or WebM" in error_of(data)


def test_a_format_is_not_guessed_behind_a_header():
    playlist = b"\0\0\0\x10ftypisom\0\0\0\0" + b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"
    assert "mp4" in error_of(playlist)


def test_a_codec_that_is_not_listed_never_runs():
    data = filmed(plain(3), "matroska", "ffv1" if "ffv1" in av.codecs_available else "huffyuv")
    assert "the video codec is" in error_of(data)


# Bounds


def test_frames_too_large_are_refused_before_they_are_decoded():
    wide = np.zeros((2304, 4608, 3), np.uint8)
    data = filmed([wide], codec="mpeg4")
    assert "above 9,437,184 pixels" in error_of(data)
    assert containers.MAX_PIXELS < 4608 * 2304


def test_a_frame_size_that_only_the_codec_states_is_refused_too():
    """The container says 64x64, the coded frames are larger than allowed."""
    data = bytearray(filmed([np.zeros((2304, 4608, 3), np.uint8)], codec="mpeg4"))
    at = data.index(b"mp4v") + 28
    assert struct.unpack(">HH", data[at : at + 4]) == (4608, 2304)
    data[at : at + 4] = struct.pack(">HH", 64, 64)
    error_of(bytes(data))


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_a_clip_of_too_many_frames_is_refused(form, monkeypatch):
    data = filmed(plain(12), form, "libvpx" if form == "webm" else "libx264")
    monkeypatch.setattr(video, "MAX_FRAMES", 12)
    assert decode_video(data, VideoSpec(4, 32)).shape == (4, 3, 32, 32)
    monkeypatch.setattr(video, "MAX_FRAMES", 11)
    assert "more than 11 frames" in error_of(data)


def test_a_clip_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(video, "MAX_SECONDS", 1.0)
    assert decode_video(filmed(plain(9)), VideoSpec(4, 32)).shape == (4, 3, 32, 32)
    assert "lasts 2 s" in error_of(filmed(plain(20)))


def test_a_clip_of_too_many_pixels_in_all_is_refused(monkeypatch):
    monkeypatch.setattr(video, "MAX_CLIP_PIXELS", 10 * 48 * 48)
    assert decode_video(filmed(plain(10)), VideoSpec(4, 32)).shape == (4, 3, 32, 32)
    assert "11 frames of 48x48" in error_of(filmed(plain(11)))


def test_the_decoder_bench_measures_what_it_says():
    found = measure_decoders(0.1)
    assert [entry.name for entry in found] == [
        "Opus to 16 kHz, against bare soundfile",
        "Opus to 16 kHz, against bare PyAV at 48 kHz",
        "mp4 decoding, against bare PyAV",
    ]
    assert all(entry.value > 1 and entry.reference > 1 for entry in found)
    assert found[0].value == found[1].value
