"""The pictures of the planted world: one large coloured figure on a dark textured ground.

Integer arithmetic throughout, and PNG with stored (uncompressed) blocks, because compressed bytes
depend on the zlib that wrote them: the files are the same on every platform.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablate.data.planted_draws import Draws

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (240, 35, 60),
    "orange": (250, 138, 15),
    "yellow": (212, 226, 25),
    "green": (35, 195, 50),
    "teal": (20, 190, 175),
    "blue": (35, 85, 240),
    "purple": (140, 45, 225),
    "pink": (248, 80, 205),
}
"""RGB. The hues lie 32 degrees or more apart, so they stay apart when a patch is normalised to mean 0
and variance 1, which takes brightness and saturation away."""

_SUBPIXELS = 4
_UNIT = 1024
"""Length of the picture's side in the coordinates in which figures are drawn."""

_HALF_WIDTH = {"circle": 430, "square": 370, "triangle": 450, "cross": 420}
"""Half the figure's extent in units. The areas are alike and every quarter of the picture shows some."""

_SHIFT = 100
_PLACES = {"left": (-_SHIFT, 0), "right": (_SHIFT, 0), "top": (0, -_SHIFT), "bottom": (0, _SHIFT)}

Grid = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """What a picture shows: one value word for each attribute."""

    colour: str
    shape: str
    pattern: str
    place: str


def render(look: Look, size: int, draws: Draws) -> npt.NDArray[np.uint8]:
    """Render ``look`` as uint8[size, size, 3]; place, scale, light, ground and noise come from ``draws``."""
    x, y = _grid(size)
    shift_x, shift_y = _PLACES[look.place]
    centre_x = _UNIT // 2 + shift_x + draws.between(-28, 28)
    centre_y = _UNIT // 2 + shift_y + draws.between(-28, 28)
    half = _HALF_WIDTH[look.shape] * draws.between(95, 105) // 100
    figure = _figure(look.shape, x - centre_x, y - centre_y, half)
    marks = figure & _marks(look.pattern, x + draws.between(-28, 28), y + draws.between(-28, 28))
    light = draws.between(220, 256)
    base = np.array(COLOURS[look.colour], dtype=np.int64) * light // 256
    pale = base + (255 - base) * 45 // 100
    cover_marks = _coverage(marks, size)[..., None]
    cover_base = _coverage(figure, size)[..., None] - cover_marks
    ground = _ground(size, draws)
    full = _SUBPIXELS**2
    mixed = (cover_base * base + cover_marks * pale + (full - cover_base - cover_marks) * ground) // full
    noise = draws.octets(size * size * 3).astype(np.int64).reshape(size, size, 3) * 49 // 256 - 24
    return np.clip(mixed + noise, 0, 255).astype(np.uint8)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """``pixels`` uint8[height, width, 3] as a PNG (W3C PNG, third edition) with stored deflate blocks."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # a leading 0 on each line: no filter
    lines[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", _stored(lines.tobytes())) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _grid(size: int) -> tuple[Grid, Grid]:
    """Centres of the subpixels in units, int64[size * _SUBPIXELS, size * _SUBPIXELS] each."""
    count = size * _SUBPIXELS
    line = (2 * np.arange(count, dtype=np.int64) + 1) * _UNIT // (2 * count)
    return np.broadcast_to(line[None, :], (count, count)), np.broadcast_to(line[:, None], (count, count))


def _figure(shape: str, x: Grid, y: Grid, half: int) -> Mask:
    """Where the figure is; ``x`` and ``y`` are measured from its centre."""
    inside = (abs(x) <= half) & (abs(y) <= half)
    if shape == "circle":
        return x * x + y * y <= half * half
    if shape == "square":
        return inside
    if shape == "triangle":
        return inside & (2 * abs(x) <= y + half)
    return inside & ((3 * abs(x) <= half) | (3 * abs(y) <= half))


def _marks(pattern: str, x: Grid, y: Grid) -> Mask:
    """Where the pale marks are. The period is a quarter of the picture, so that each half shows two."""
    period = _UNIT // 4
    u, v = x % period, y % period
    if pattern == "striped":
        return 2 * v < period
    if pattern == "checked":
        return (2 * u < period) ^ (2 * v < period)
    if pattern == "spotted":
        return (u - period // 2) ** 2 + (v - period // 2) ** 2 <= (period * 32 // 100) ** 2
    return np.zeros(np.broadcast_shapes(u.shape, v.shape), dtype=np.bool_)


def _coverage(mask: Mask, size: int) -> Grid:
    """Subpixels of each pixel that lie in ``mask``, int64[size, size]."""
    covered: Grid = mask.reshape(size, _SUBPIXELS, size, _SUBPIXELS).sum(axis=(1, 3), dtype=np.int64)
    return covered


def _ground(size: int, draws: Draws) -> Grid:
    """A dark ground of tiles with slightly different tints, int64[size, size, 3]."""
    tile = max(2, size // 8)
    tiles = -(-size // tile) + 1
    tints = 24 + draws.octets(tiles * tiles * 3).astype(np.int64).reshape(tiles, tiles, 3) * 32 // 256
    tints += draws.octets(tiles * tiles).astype(np.int64).reshape(tiles, tiles, 1) * 24 // 256
    down, along = draws.below(tile), draws.below(tile)
    wide: Grid = tints.repeat(tile, axis=0).repeat(tile, axis=1)
    return wide[down : down + size, along : along + size]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored(data: bytes) -> bytes:
    """``data`` as a zlib stream of stored blocks (RFC 1950, RFC 1951 section 3.2.4)."""
    blocks = []
    for start in range(0, len(data), 65535):
        block = data[start : start + 65535]
        final = start + 65535 >= len(data)
        blocks.append(struct.pack("<BHH", final, len(block), len(block) ^ 0xFFFF) + block)
    return b"\x78\x01" + b"".join(blocks) + struct.pack(">I", zlib.adler32(data))
