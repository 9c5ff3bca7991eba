"""The clips of the planted world: a bright sprite on a grey ground that starts in the middle and moves.

Frames are drawn in integers. The bytes of a clip depend on the encoder's library, which
`encoder_version` names.
"""

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ablate.data.planted_draws import AMPLITUDE, TURN, Draws, Integers, sine

SIZE = 32
"""Pixels per side."""
FRAMES = 8
FRAMES_PER_SECOND = 8

_PIXEL = 256
"""Length of a pixel's side in the coordinates in which sprites are drawn."""

_LAST = FRAMES - 1

_INK, _GROUND = (210, 255), (88, 148)
"""Least and greatest value of a colour of the sprite and of the ground. The ground is grey in the middle of
the range, so that most of an encoder's input is near 0 and the sprite is what it reads."""

Frames = npt.NDArray[np.uint8]
Path = tuple[Integers, Integers]
"""Displacement from the start in units, right and down, int64[FRAMES] each."""


def render_clip(motion: str, draws: Draws) -> Frames:
    """A clip of ``motion`` as uint8[FRAMES, SIZE, SIZE, 3].

    Start, distance, form, size, colour, ground and noise come from ``draws``.

    Raises:
        KeyError: ``motion`` is none of `MOTIONS`.
    """
    start_x, start_y = (SIZE * _PIXEL // 2 + draws.between(-_PIXEL, _PIXEL) for _ in range(2))
    (right, down), half = MOTIONS[motion](draws), draws.between(17 * _PIXEL // 4, 5 * _PIXEL)
    halves = half + half * _GROWTH.get(motion, 0) * np.arange(FRAMES, dtype=np.int64) // (100 * _LAST)
    cover = _sprite(start_x + right, start_y + down, halves, diamond=draws.below(2) == 0)[..., None]
    ink = np.array([draws.between(*_INK) for _ in range(3)], dtype=np.int64)
    ground = np.array([draws.between(*_GROUND) for _ in range(3)], dtype=np.int64)
    noise = draws.octets(FRAMES * SIZE * SIZE).astype(np.int64).reshape(FRAMES, SIZE, SIZE, 1) // 16 - 8
    mixed = (cover * ink + (_PIXEL - cover) * ground) // _PIXEL + noise
    return np.clip(mixed, 0, 255).astype(np.uint8)


def encode_mp4(frames: Frames) -> bytes:
    """``frames`` uint8[frames, height, width, 3] as an MP4: H.264 (MPEG-4 part 2 where PyAV lacks x264).

    One thread, one group of pictures without B-frames, a constant quantiser and no version or time in the
    container: the bytes depend on the library alone. (With x264's rate control they do not: its macroblock
    tree gave 8 of 250 such clips other bytes when they were encoded again in one process.) The quality is
    high, for the sprite is a few pixels wide.
    """
    import av
    from av.video import VideoFrame, VideoStream

    name = _encoder_name()
    quality = {"qp": "14", "preset": "fast"} if name == "libx264" else {"qmin": "2", "qmax": "2"}
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(name, rate=FRAMES_PER_SECOND, options=quality)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = len(frames)
        stream.codec_context.max_b_frames = 0
        for pixels in frames:
            container.mux(stream.encode(VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def encoder_version() -> str:
    """The encoder and the library that the bytes of `encode_mp4` depend on."""
    import av

    codec = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return f"{_encoder_name()} av {av.__version__} libavcodec {codec}"


def _encoder_name() -> str:
    import av

    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _sprite(x: Integers, y: Integers, half: Integers, *, diamond: bool) -> Integers:
    """How much of each pixel the sprite covers in 256ths, int64[FRAMES, SIZE, SIZE]. Its middle lies at
    ``x``, ``y`` and it reaches ``half`` to each side, in units, int64[FRAMES] each."""
    middles = np.arange(SIZE, dtype=np.int64) * _PIXEL + _PIXEL // 2
    across = np.abs(middles[None, None, :] - x[:, None, None])
    along = np.abs(middles[None, :, None] - y[:, None, None])
    reach = half[:, None, None] + _PIXEL // 2
    covered: Integers = np.clip(reach - across, 0, _PIXEL) * np.clip(reach - along, 0, _PIXEL) // _PIXEL
    if diamond:  # of about the same area as the square
        covered = np.clip(half[:, None, None] * 7 // 5 + _PIXEL // 2 - across - along, 0, _PIXEL)
    return covered


def _straight(right: int, down: int) -> Callable[[Draws], Path]:
    def path(draws: Draws) -> Path:
        gone = draws.between(8 * _PIXEL, 10 * _PIXEL) * np.arange(FRAMES, dtype=np.int64) // _LAST
        return right * gone, down * gone

    return path


def _circle(draws: Draws) -> Path:
    """Out from the middle to the lower right, then three quarters of a turn clockwise."""
    time = np.arange(FRAMES, dtype=np.int64)
    radius = draws.between(7 * _PIXEL, 9 * _PIXEL) * np.minimum(time, 2) // 2
    first = TURN // 8 + draws.between(-TURN // 32, TURN // 32)
    angle = first + np.maximum(time - 2, 0) * (3 * TURN // 4) // (_LAST - 2)
    return radius * sine(angle + TURN // 4) // AMPLITUDE, radius * sine(angle) // AMPLITUDE


MOTIONS: dict[str, Callable[[Draws], Path]] = {
    "upward": _straight(0, -1),
    "downward": _straight(0, 1),
    "leftward": _straight(-1, 0),
    "rightward": _straight(1, 0),
    "growing": _straight(0, 0),
    "shrinking": _straight(0, 0),
    "circling": _circle,
    "still": _straight(0, 0),
}
"""Value word to the way the sprite goes."""

_GROWTH = {"growing": 120, "shrinking": -75}
"""Change of the sprite's extent over the clip, in percent."""
