"""The size that is checked is the size that is decoded, whatever a stranger writes around the header."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ablate.data import images
from ablate.data.errors import DataError
from ablate.data.images import decode_image


def picture(kind: str, width: int = 64, height: int = 48, mode: str = "RGB", turned: bool = False) -> bytes:
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif, out = Image.Exif(), io.BytesIO()
    if turned:
        exif[0x0112] = 6
    Image.fromarray(pixels).convert(mode).save(out, kind, exif=exif)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def hidden(marker: int, mode: str = "RGB") -> bytes:
    """A JPEG of 64x48 that shows 16x16 to whoever takes what follows ``marker`` for its length."""
    whole = picture("JPEG", mode=mode)
    at = whole.index(b"\xff\xc0")
    length = 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
    frame, rest = whole[at : at + length], whole[2:at] + whole[at + length :]
    fake = b"\xff\xc0\x00\x11\x08" + struct.pack(">HHB", 16, 16, 3)
    lead = b"\xff\xd8" + bytes([0xFF, marker]) + frame
    comments = b""
    jump = 4 + 0xFFC0  # where the length FFC0 of the segment at byte 2 leads
    while len(lead) + len(comments) < jump + 1000:
        comments += segment(0xFE, 4000 * b"-")
    place = jump - len(lead)
    assert comments[place : place + len(fake)] == len(fake) * b"-"
    return lead + comments[:place] + fake + comments[place + len(fake) :] + rest


@pytest.mark.parametrize("marker", [0x00, 0x01, *range(0xD0, 0xD8)], ids=hex)
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_marker_without_a_length_cannot_hide_the_frame_of_a_jpeg(marker: int, mode: str) -> None:
    with pytest.raises(DataError, match=f"marker FF{marker:02X} stands before its frame header"):
        decode_image(hidden(marker, mode), 16)


def test_libjpeg_does_decode_the_frame_that_is_hidden_so() -> None:
    decode = images._jpeg_decoder()
    assert decode is not None
    assert decode(hidden(0x01)).shape == (3, 48, 64)


def test_fill_bytes_and_segments_before_the_frame_are_no_reason_to_refuse() -> None:
    whole = picture("JPEG")
    extras = (
        b"\xff\xff\xff" + segment(0xFE, b"hello") + b"\xff" + segment(0xEF, b"") + segment(0xDD, bytes(2))
    )
    assert (decode_image(whole[:2] + extras + whole[2:], 48) == decode_image(whole, 48)).all()


def test_a_jpeg_that_decodes_to_another_size_than_it_stated_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for components in (3, 4):  # the fast decoder, and Pillow
        monkeypatch.setattr(images, "_jpeg_frame", lambda data, components=components: (16, 16, components))
        with pytest.raises(DataError, match=r"corrupt .*16x16.*64x48"):
            decode_image(picture("JPEG"), 16)


def test_a_png_with_two_headers_is_refused_by_the_size_that_was_not_checked() -> None:
    whole = picture("PNG")
    body = b"IHDR" + struct.pack(">II", 16, 16) + whole[24:29]
    small = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    with Image.open(io.BytesIO(whole[:8] + small + whole[8:])) as image:
        assert image.size == (64, 48), "Pillow takes the second"
    with pytest.raises(DataError, match="it states 16x16 and 64x48 pixels"):
        decode_image(whole[:8] + small + whole[8:], 16)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_turned_picture_that_is_not_square_has_the_size_it_stated(kind: str) -> None:
    assert decode_image(picture(kind, turned=True), 16).shape == (3, 16, 16)
