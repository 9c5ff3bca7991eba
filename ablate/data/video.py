"""Videos decoded to uint8[frames, 3, size, size], by FFmpeg through PyAV, in memory and on one thread."""

from typing import TYPE_CHECKING

import numpy as np

from ablate.data.containers import MAX_PIXELS, bound_decoder, check_whole, container_of, opened
from ablate.data.errors import DataError
from encoders.media_spec import VideoSpec

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

MAX_FRAMES = 20_000
"""Most frames a clip may have; every one is decoded, whatever number is kept."""
MAX_SECONDS = 1200.0
"""Longest clip in seconds."""
MAX_CLIP_PIXELS = 1 << 34
"""Most pixels of all frames together: some minutes of decoding."""


def decode_video(data: bytes, spec: VideoSpec) -> np.ndarray:
    """Decode an mp4 or WebM, told by its content, to uint8[frames, 3, size, size].

    The clip is divided into ``spec.frames`` equal parts by number of frames, and the frame in the middle
    of each is kept; a clip with fewer frames repeats them. The shorter side is resized to ``spec.size``
    (bicubic, antialiased) and the middle kept; nothing is resampled where the shorter side fits
    already. A rotation that the container states is applied. Of several video tracks the first counts.

    Every frame is decoded, those that are not kept too: a clip that is cut or damaged anywhere is an error.

    Raises:
        DataError: another format, no video track, beyond `containers.MAX_PIXELS`, `MAX_FRAMES`,
            `MAX_SECONDS` or `MAX_CLIP_PIXELS`, or data that is corrupt or cut short.
    """
    container = container_of(data)
    if container not in ("mp4", "WebM"):
        raise DataError(f"not an mp4 or WebM (begins with {data[:12]!r}); convert the video or remove it")
    check_whole(data, container)
    with opened(data, container) as source:
        stream = video_stream(source)
        _check_bounds(source, stream)
        packets = packets_of(source, stream)
        count = sum(map(is_shown, packets))
        if not count:
            raise DataError("the video has no frames; remove it")
        if count * stream.width * stream.height > MAX_CLIP_PIXELS:
            raise DataError(
                f"the video has {count:,} frames of {stream.width}x{stream.height}; "
                f"{MAX_CLIP_PIXELS:,} pixels are decoded: cut or resize it"
            )
        return _kept_frames(packets, count, spec)


def video_stream(source: "InputContainer") -> "VideoStream":
    """The first video track of ``source`` that is not a cover picture, its decoder bounded.

    Raises:
        DataError: there is none, or no decoder of `containers.DECODERS` reads it.
    """
    from av.stream import Disposition

    for stream in source.streams.video:
        # A cover picture is a track of one frame.
        if not stream.disposition & Disposition.attached_pic:
            bound_decoder(stream)
            return stream
    raise DataError("no video track; remove the file or use it as sound")


def _check_bounds(source: "InputContainer", stream: "VideoStream") -> None:
    width, height = stream.width, stream.height
    if not width * height:
        # FFmpeg learns the size from a frame, and opens none that is larger.
        raise DataError(
            f"no frame of the video can be opened: there is none, or above {MAX_PIXELS:,} pixels; replace it"
        )
    if width * height > MAX_PIXELS:
        raise DataError(
            f"the video is {width}x{height}; {MAX_PIXELS:,} pixels at most are decoded: resize it"
        )
    if stream.frames > MAX_FRAMES:
        raise _too_many()
    seconds = (source.duration or 0) / 1e6
    if seconds > MAX_SECONDS:
        raise DataError(f"the video lasts {seconds:,.0f} s; the limit is {MAX_SECONDS:,.0f} s: cut it")


def _too_many() -> DataError:
    return DataError(f"the video has more than {MAX_FRAMES:,} frames, the limit: cut it")


def packets_of(source: "InputContainer", stream: "VideoStream") -> "list[Packet]":
    """The coded frames, still compressed, and the empty packet that makes the decoder give its last ones.

    Raises:
        DataError: more than `MAX_FRAMES`.
    """
    packets: list[Packet] = []
    for packet in source.demux(stream):
        packets.append(packet)
        if len(packets) > MAX_FRAMES + 1:
            raise _too_many()
    return packets


def is_shown(packet: "Packet") -> bool:
    """Whether a frame comes out: not of what an edit list cuts off, nor of VP8's hidden reference frames
    (RFC 6386, section 9.1)."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & 0x10)


def _kept_frames(packets: "list[Packet]", count: int, spec: VideoSpec) -> np.ndarray:
    from av.video.reformatter import VideoReformatter

    wanted = [(2 * part + 1) * count // (2 * spec.frames) for part in range(spec.frames)]
    out = np.empty(spec.shape, dtype=np.uint8)
    # One reformatter keeps its scaling tables from frame to frame.
    scaler = VideoReformatter()
    decoded, kept = 0, 0
    for packet in packets:
        for frame in packet.decode():
            if frame.is_corrupt:
                raise DataError(f"corrupt video: frame {decoded} is damaged; replace the file")
            first = kept
            while kept < spec.frames and wanted[kept] == decoded:
                if kept == first:
                    _fit(frame, scaler, out[kept])
                else:
                    out[kept] = out[first]
                kept += 1
            decoded += 1
    if decoded != count:
        raise DataError(f"corrupt video: {decoded} of {count} frames could be decoded; replace the file")
    return out


def _fit(frame: "VideoFrame", scaler: "VideoReformatter", out: np.ndarray) -> None:
    """Resize the shorter side and copy the middle into ``out`` uint8[3, size, size]."""
    from av.video.reformatter import Interpolation

    size, (width, height) = out.shape[1], (frame.width, frame.height)
    shorter = min(width, height)
    width, height = max(size, round(width * size / shorter)), max(size, round(height * size / shorter))
    planar = scaler.reformat(
        frame, width=width, height=height, format="gbrp", interpolation=Interpolation.BICUBIC, threads=1
    )
    top, left = (height - size) // 2, (width - size) // 2
    turns = round(frame.rotation / 90) % 4
    for plane, channel in zip(planar.planes, (1, 2, 0), strict=True):
        rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)
        middle = rows[top : top + size, left : left + size]
        out[channel] = np.rot90(middle, turns) if turns else middle
