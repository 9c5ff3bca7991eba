"""Pictures decoded to uint8[3, size, size].

JPEG goes through torchvision's libjpeg-turbo operator (over twice the rate of Pillow at 64x64, see
`ablate bench data`), PNG and WebP through Pillow. The size that a header states is checked before
anything is decoded.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache as once
from typing import TYPE_CHECKING

import numpy as np

from ablate.data.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000
"""Most pixels a picture may have before it is resized."""
# Markers that carry a frame header: SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# What may come before it: DHT, DAC, DNL to EXP, APP0 to APP15 and COM, all with a length. TEM and RST0 to
# RST7 have none; a decoder reads on behind them.
_BEFORE_FRAME = frozenset({0xC4, 0xCC, *range(0xDB, 0xF0), 0xFE})
_segment = struct.Struct(">xBH").unpack_from
_frame = struct.Struct(">HHB").unpack_from


def decode_image(data: bytes, size: int) -> np.ndarray:
    """Decode a JPEG, PNG or WebP, told by its content, to uint8[3, size, size].

    The shorter side is resized to ``size`` (bicubic, antialiased) and the middle kept; nothing is resampled
    where the shorter side is ``size`` already. Of an animation the first frame counts; transparency
    is laid on white; grey, palette and CMYK become RGB; an Exif orientation is applied.

    Raises:
        DataError: another format, more than `MAX_PIXELS`, or data that is corrupt or cut short.
    """
    if data[:3] == b"\xff\xd8\xff":
        height, width, components = _jpeg_frame(data)
        _check_pixels(height, width)
        # Four components are CMYK or YCCK, stored inverted or not: left to Pillow.
        if components in (1, 3) and (decode := _jpeg_decoder()) is not None:
            return _fitted(_decode_jpeg(decode, data, height, width), size)
        return _decode_pillow(data, "JPEG", (width, height), size)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        if data[12:16] != b"IHDR" or len(data) < 24:
            raise DataError("corrupt PNG: no header; replace the picture")
        width, height = struct.unpack(">II", data[16:24])
        _check_pixels(height, width)
        _check_png(data)
        return _decode_pillow(data, "PNG", (width, height), size)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        height, width = _webp_size(data)
        _check_pixels(height, width)
        return _decode_pillow(data, "WEBP", (width, height), size)
    raise DataError(f"not a JPEG, PNG or WebP (begins with {data[:8]!r}); convert the picture or remove it")


def _check_pixels(height: int, width: int) -> None:
    if height * width > MAX_PIXELS or not height or not width:
        raise DataError(
            f"the picture is {width}x{height} pixels; 1 to {MAX_PIXELS:,} pixels are decoded: resize it"
        )


def _jpeg_frame(data: bytes) -> tuple[int, int, int]:
    """Height, width and components of the first frame header (ITU-T T.81, annex B)."""
    at, end = 2, len(data) - 9
    while at < end:
        if data[at] != 0xFF:
            break
        marker, length = _segment(data, at)
        if marker in _FRAME:
            height, width, components = _frame(data, at + 5)
            return height, width, components
        # A fill byte may precede a marker; a segment's length counts its own two bytes.
        if marker == 0xFF:
            at += 1
        elif marker in _BEFORE_FRAME:
            at += 2 + length
        else:
            raise DataError(
                f"corrupt JPEG: marker FF{marker:02X} stands before its frame header; replace the picture"
            )
    raise DataError("corrupt or truncated JPEG: no frame header; replace the picture")


def _check_png(data: bytes) -> None:
    """Refuse a PNG that does not reach its last chunk, or with a critical chunk that is damaged.

    (W3C PNG, third edition, section 5.3.) Pillow stops when it has all rows, right or wrong, and so compares
    no checksum of theirs.
    """
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        is_critical = not kind[0] & 0x20
        if is_critical and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise DataError(
                f"corrupt PNG: its chunk {kind!r} does not have the checksum it states; replace the picture"
            )
        if kind == b"IEND":
            return
        at = end
    raise DataError(
        f"corrupt or truncated PNG: {len(data):,} bytes end before its last chunk; replace the picture"
    )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Height and width of the canvas (RFC 9649, section 2)."""
    kind = data[12:16]
    if len(data) >= 30:
        if kind == b"VP8X":
            return int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1
        if kind == b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        if kind == b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return height & 0x3FFF, width & 0x3FFF
    raise DataError("corrupt or truncated WebP: no header; replace the picture")


@once
def _jpeg_decoder() -> Callable[[bytes], np.ndarray] | None:
    """torchvision's libjpeg-turbo operator, or None where torchvision has it no longer.

    `torchvision.io.decode_jpeg` is a thin call of the operator that warns of its deprecation (since 0.29)
    each time and takes a fifth longer at 64x64. The operator is tried once on a picture made here.
    """
    import torch
    from PIL import Image

    trial = io.BytesIO()
    Image.new("RGB", (2, 1)).save(trial, "JPEG")
    try:
        from torchvision.io import ImageReadMode

        operator, rgb = torch.ops.image.decode_jpeg.default, ImageReadMode.RGB.value
        from_buffer, byte = torch.frombuffer, torch.uint8

        def decode(data: bytes) -> np.ndarray:
            # The last argument applies the Exif orientation.
            pixels: np.ndarray = operator(from_buffer(bytearray(data), dtype=byte), rgb, True).numpy()
            return pixels

        return decode if decode(trial.getvalue()).shape == (3, 1, 2) else None
    except (ImportError, AttributeError, RuntimeError, TypeError):
        return None


def _decode_jpeg(decode: Callable[[bytes], np.ndarray], data: bytes, height: int, width: int) -> np.ndarray:
    try:
        pixels = decode(data)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"corrupt or truncated JPEG ({reason}); replace the picture") from error
    if pixels.shape[1:] not in ((height, width), (width, height)):  # an orientation may turn it
        raise DataError(
            f"corrupt JPEG: its header states {width}x{height} pixels, it decodes to "
            f"{pixels.shape[2]}x{pixels.shape[1]}; replace the picture"
        )
    return pixels


def _fitted(pixels: np.ndarray, size: int) -> np.ndarray:
    _, height, width = pixels.shape
    if height == size and width == size:
        return pixels
    if min(height, width) == size:
        return _middle(pixels, size)
    from PIL import Image

    return _resized(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))), size)


def _middle(pixels: np.ndarray, size: int) -> np.ndarray:
    top, left = (pixels.shape[1] - size) // 2, (pixels.shape[2] - size) // 2
    return np.ascontiguousarray(pixels[:, top : top + size, left : left + size])


def _resized(image: "Image", size: int) -> np.ndarray:
    from PIL.Image import Resampling

    if min(image.size) != size:
        # Resampling only the square in the middle equals resizing the shorter side and cropping.
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return _middle(np.asarray(image).transpose(2, 0, 1), size)


def _decode_pillow(data: bytes, kind: str, stated: tuple[int, int], size: int) -> np.ndarray:
    """``stated``: the width and height that were checked, which Pillow must find as well."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            if image.size != stated:
                first, other = (f"{width}x{height}" for width, height in (stated, image.size))
                raise ValueError(f"it states {first} and {other} pixels")
            image.load()
            return _resized(_rgb(ImageOps.exif_transpose(image)), size)
    except Exception as error:  # decoders of strangers' bytes raise OSError, SyntaxError, struct.error, ...
        raise DataError(f"corrupt or truncated {kind} ({error}); replace the picture") from error


def _rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):
        # 16-bit grey: convert() would clip every value above 255.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
