"""A picture becomes the same pixels whatever holds it, or an error; never an accident."""

import contextlib
import io
import json
import pickle
import struct
import tarfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablate.bench.data import measure_sources
from ablate.data import images
from ablate.data.decoded import DecodedMedia
from ablate.data.errors import DataError
from ablate.data.images import decode_image
from ablate.data.media import open_media
from encoders.media_spec import ImageSpec

DRAW = np.random.Generator(np.random.PCG64(0))


def smooth(height: int = 48, width: int = 48, channels: int = 3) -> np.ndarray:
    """uint8[height, width, channels] of soft colours, which JPEG keeps nearly exact."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        127 + 100 * np.sin(2 * np.pi * (x * (c + 1) / width / 3 + y / height / 2)) for c in range(channels)
    ]
    return np.stack(waves, axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(kind: str, pixels: np.ndarray | None = None, **options) -> bytes:
    return encoded(Image.fromarray(smooth() if pixels is None else pixels), kind, **options)


def error_of(data: bytes, size: int = 48) -> str:
    with pytest.raises(DataError) as caught:
        decode_image(data, size)
    return str(caught.value)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@given(st.integers(8, 60), st.integers(8, 60), st.integers(4, 40))
@settings(max_examples=25, deadline=None)
def test_any_shape_becomes_a_square_of_the_size(height, width, size):
    for kind in ("JPEG", "PNG", "WEBP"):
        decoded = decode_image(picture(kind, smooth(height, width)), size)
        assert decoded.shape == (3, size, size)
        assert decoded.dtype == np.uint8


def test_lossless_pictures_that_fit_keep_every_pixel():
    pixels = DRAW.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for data in (picture("PNG", pixels), picture("WEBP", pixels, lossless=True)):
        assert (decode_image(data, 48) == pixels.transpose(2, 0, 1)).all()


def test_a_jpeg_has_the_pixels_that_pillow_decodes():
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 1}):
        data = picture("JPEG", quality=90, **options)
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
        assert np.abs(decode_image(data, 48).astype(int) - theirs).max() <= 2


def test_the_fast_decoder_is_in_use_here():
    assert images._jpeg_decoder() is not None


def test_without_torchvisions_decoder_a_jpeg_has_the_same_pixels(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 3
    pictures = [picture("JPEG"), picture("JPEG", smooth(60, 90)), picture("JPEG", exif=exif)]
    before = [decode_image(data, 48).astype(int) for data in pictures]
    monkeypatch.setattr(images, "_jpeg_decoder", lambda: None)
    for data, expected in zip(pictures, before, strict=True):
        assert np.abs(decode_image(data, 48) - expected).max() <= 2
    assert "corrupt or truncated JPEG" in error_of(pictures[0][:400])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_where_the_shorter_side_fits_the_middle_is_cut_without_resampling(kind):
    pixels = DRAW.integers(0, 256, (40, 61, 3), dtype=np.uint8)
    data = picture(kind, pixels)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    found = decode_image(data, 40).transpose(1, 2, 0).astype(int)
    assert np.abs(found - whole[:, 10:50]).max() <= (0 if kind == "PNG" else 2)


def test_a_wide_picture_is_resized_by_its_shorter_side_and_cut_in_the_middle():
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = 200
    assert (decode_image(picture("PNG", pixels), 20)[:, :, 2:-2] == 200).all()


def test_grey_is_the_same_in_all_three_channels():
    grey = Image.fromarray(smooth()[..., 0])
    for data in (
        encoded(grey, "PNG"),
        encoded(grey, "JPEG", quality=95),
        encoded(grey, "WEBP", lossless=True),
    ):
        decoded = decode_image(data, 48)
        assert (decoded[0] == decoded[1]).all()
        assert np.abs(decoded[0].astype(int) - np.asarray(grey)).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped():
    deep = Image.fromarray((smooth()[..., 0].astype(np.uint16) << 8) + 77)
    assert (decode_image(encoded(deep, "PNG"), 48)[1] == smooth()[..., 0]).all()


def test_transparency_is_laid_on_white():
    layer = np.dstack([smooth(), np.zeros((48, 48), np.uint8)])
    layer[:24, :, 3] = 255
    half = np.full((48, 48, 4), (0, 0, 0, 128), np.uint8)
    for kind in ("PNG", "WEBP"):
        decoded = decode_image(picture(kind, layer, **({"lossless": True} if kind == "WEBP" else {})), 48)
        assert (decoded[:, 24:] == 255).all()
        assert (decoded[:, :24] == smooth().transpose(2, 0, 1)[:, :24]).all()
    assert set(np.unique(decode_image(picture("PNG", half), 48))) <= {126, 127, 128}


def test_a_palette_with_a_transparent_entry_becomes_rgb_on_white():
    indexed = Image.fromarray(np.tile(np.uint8([0, 1]), (16, 8)))
    indexed.putpalette([255, 0, 0, 0, 255, 0])
    plain = decode_image(encoded(indexed, "PNG"), 16)
    assert plain[:, 0, 0].tolist() == [255, 0, 0]
    assert plain[:, 0, 1].tolist() == [0, 255, 0]
    clear = decode_image(encoded(indexed, "PNG", transparency=1), 16)
    assert clear[:, 0, 0].tolist() == [255, 0, 0]
    assert clear[:, 0, 1].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb():
    data = encoded(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=95)
    found = decode_image(data, 48).astype(int) - smooth().transpose(2, 0, 1)
    assert np.abs(found).mean() < 6


def test_the_first_frame_of_an_animation_counts():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "lime", "blue")]
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
        assert (decode_image(data, 20) == np.uint8([255, 0, 0])[:, None, None]).all()


def test_an_exif_orientation_is_applied():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to view
    for kind in ("JPEG", "PNG", "WEBP"):
        turned = decode_image(picture(kind, pixels, exif=exif), 32)
        assert turned[:, :, -1].min() > 240, kind
        assert turned[:, :, 0].max() < 15, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_short_is_an_error_at_any_length(kind):
    data = picture(kind, DRAW.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    for length in [*range(1, 40), len(data) // 4, len(data) // 2, len(data) - 100]:
        error_of(data[:length])
    assert "corrupt or truncated" in error_of(data[: len(data) // 2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_gives_pixels_or_a_data_error_and_nothing_else(kind, place, value):
    data = bytearray(picture(kind))
    data[place % len(data)] ^= value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(DataError):
            assert decode_image(bytes(data), 16).shape == (3, 16, 16)


@given(place=st.integers(33, 100_000), value=st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_of_a_png_behind_its_header_is_an_error_and_never_another_picture(place, value):
    """Pillow alone gives other colours and says nothing: it compares no checksum of the rows."""
    data = bytearray(NOISE)
    data[33 + (place - 33) % (len(data) - 33)] ^= value
    error_of(bytes(data))


def test_a_png_that_ends_before_its_last_chunk_is_an_error_whatever_follows():
    for cut in range(1, 40):
        for tail in (b"", bytes(3), bytes(40)):
            assert "PNG" in error_of(NOISE[:-cut] + tail)


def test_a_png_with_several_chunks_of_rows_and_something_behind_its_end_is_read():
    rows = NOISE[NOISE.index(b"IDAT") + 4 : -16]
    parts = b"".join(chunk(b"IDAT", rows[at : at + 500]) for at in range(0, len(rows), 500))
    data = NOISE[:33] + chunk(b"tEXt", b"Comment\0hello") + parts + chunk(b"IEND", b"") + b"junk"
    assert (decode_image(data, 48) == decode_image(NOISE, 48)).all()


NOISE = picture("PNG", DRAW.integers(0, 256, (48, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("other", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused_whatever_their_name(other):
    assert "not a JPEG, PNG or WebP" in error_of(picture(other))
    assert "not a JPEG, PNG or WebP" in error_of(b"")
    assert "not a JPEG, PNG or WebP" in error_of(b"<svg></svg>")


def test_a_huge_png_is_refused_before_it_is_decoded():
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert "30000x30000 pixels" in error_of(data)


def test_a_huge_jpeg_and_webp_are_refused_by_their_headers():
    jpeg = bytearray(picture("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 50_000)
    assert "50000x60000 pixels" in error_of(bytes(jpeg))
    for options in ({}, {"lossless": True}):
        webp = bytearray(picture("WEBP", **options))
        if options:
            webp[21:25] = struct.pack("<I", 16_000 - 1 | (16_001 - 1) << 14)
        else:
            webp[26:30] = struct.pack("<HH", 16_000, 16_001)
        assert "16000x16001 pixels" in error_of(bytes(webp))
    extended = bytearray(picture("WEBP", np.dstack([smooth(), smooth()[..., 0]])))
    assert extended[12:16] == b"VP8X"
    extended[24:30] = (16_000 - 1).to_bytes(3, "little") + (16_001 - 1).to_bytes(3, "little")
    assert "16000x16001 pixels" in error_of(bytes(extended))


def test_the_limit_is_on_pixels_and_admits_what_is_at_it(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 48 * 48)
    for kind in ("JPEG", "PNG", "WEBP"):
        assert decode_image(picture(kind), 48).shape == (3, 48, 48)
        assert "49x48 pixels" in error_of(picture(kind, smooth(48, 49)))


# The decoded cache


def shard(path: Path, pictures: list[bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, data in enumerate(pictures):
            for extension, body in (("jpg", data), ("json", json.dumps({"captions": ["x"]}).encode())):
                entry = tarfile.TarInfo(f"{number:04}.{extension}")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
    return path


@pytest.fixture
def samples(tmp_path: Path):
    pictures = [picture(kind, np.roll(smooth(), n, 0)) for n, kind in enumerate(["JPEG", "PNG", "WEBP"] * 4)]
    pictures[5] = pictures[5][:60]
    pictures[7] = b"no picture"
    return open_media([shard(tmp_path / "s.tar", pictures)], "captions", tmp_path / "cache")


def test_cached_and_live_pictures_are_the_same(samples, tmp_path):
    order = np.array([11, 0, 5, 3, 3, 7])
    kept, live = (
        DecodedMedia(samples, ImageSpec(32), tmp_path / "cache", live=live) for live in (False, True)
    )
    (pixels, ok), (pixels_live, ok_live) = kept.get(order), live.get(order)
    assert (pixels == pixels_live).all()
    assert ok.tolist() == ok_live.tolist() == [True, True, False, True, True, False]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (6, 3, 32, 32)
    assert not pixels[~ok].any()
    assert (pixels[0] == decode_image(samples.read("image", 11), 32)).all()
    assert kept.errors == live.errors


def test_a_corrupt_picture_is_named_by_shard_and_key(samples, tmp_path):
    for _ in range(2):  # the second time from the cache
        errors = DecodedMedia(samples, ImageSpec(32), tmp_path / "cache").errors
        assert sorted(errors) == [5, 7]
        assert errors[7].startswith(f"{tmp_path / 's.tar'}: 0007: not a JPEG, PNG or WebP")
        assert "0005: corrupt or truncated WEBP" in errors[5]


def test_a_set_above_the_limit_is_decoded_live(samples, tmp_path):
    at = len(samples) * 3 * 32 * 32
    assert not DecodedMedia(samples, ImageSpec(32), tmp_path / "cache", limit=at).live
    above = DecodedMedia(samples, ImageSpec(32), tmp_path / "other", limit=at - 1)
    assert above.live
    assert not (tmp_path / "other" / "decoded").exists()
    assert pickle.loads(pickle.dumps(above)).live


def test_a_pass_that_is_killed_leaves_no_cache_that_is_taken_for_whole(samples, tmp_path, monkeypatch):
    calls = []

    def killed(data: bytes, size: int) -> np.ndarray:
        calls.append(size)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return decode_image(data, size)

    monkeypatch.setattr(images, "decode_image", killed)
    with pytest.raises(KeyboardInterrupt):
        DecodedMedia(samples, ImageSpec(32), tmp_path / "cache")
    monkeypatch.undo()
    folder = tmp_path / "cache" / "decoded"
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    assert DecodedMedia(samples, ImageSpec(32), tmp_path / "cache").get(range(12))[1].sum() == 10


def test_the_cache_is_per_size_and_content(samples, tmp_path):
    one = DecodedMedia(samples, ImageSpec(16), tmp_path / "cache")
    two = DecodedMedia(samples, ImageSpec(32), tmp_path / "cache")
    other = open_media([shard(tmp_path / "t.tar", [picture("PNG")])], "captions", tmp_path / "cache")
    three = DecodedMedia(other, ImageSpec(16), tmp_path / "cache")
    assert (one.shape, two.shape, three.shape) == ((12, 3, 16, 16), (12, 3, 32, 32), (1, 3, 16, 16))
    assert (pickle.loads(pickle.dumps(one)).get([3])[0] == one.get([3])[0]).all()


def test_pictures_cut_off_in_the_cache_are_refused(samples, tmp_path):
    DecodedMedia(samples, ImageSpec(16), tmp_path / "cache")
    (pixels,) = (tmp_path / "cache" / "decoded").glob("*/values.bin")
    pixels.write_bytes(pixels.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"damaged .* delete this folder"):
        DecodedMedia(samples, ImageSpec(16), tmp_path / "cache")


def test_the_bench_measures_what_it_says(tmp_path):
    found = measure_sources(tmp_path, 0.2)
    assert [entry.name for entry in found] == [
        "JPEG decoding, against torchvision.io.decode_jpeg",
        "JPEG decoding, against bare Pillow",
        "decoded cache, batches of 64",
    ]
    assert all(entry.value > 100 and entry.reference > 100 for entry in found)
    assert found[0].value == found[1].value
