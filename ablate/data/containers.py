"""What holds sound and moving pictures: told by its content, checked for its end, opened from memory.

A decoder that meets the end of its data ends quietly, so whether a file is whole is asked of the container:
it states its own length. Nothing is decoded here.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ablate.data.errors import DataError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_PIXELS = 4096 * 2304
"""Most pixels of one video frame; 4K fits."""

DECODERS = {
    "video": ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"),
    "audio": (
        *("opus", "vorbis", "aac", "mp3float", "mp3", "flac", "alac", "ac3", "eac3"),
        *("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_f32be"),
    ),
}
"""The FFmpeg decoders that may run; strangers' bytes do not reach its several hundred others."""

_OPTIONS = {
    "err_detect": "crccheck+bitstream+buffer+explode",
    "max_pixels": str(MAX_PIXELS),
    "codec_whitelist": ",".join(name for names in DECODERS.values() for name in names),
}
"""Of FFmpeg's decoders: an error is an error, not concealed; larger frames are never allocated."""

_DEMUXERS = {"mp4": "mp4", "WebM": "matroska", "Ogg": "ogg", "MP3": "mp3"}
"""Container to the name of FFmpeg's demuxer."""

_UNSTATED = 0xFFFFFFFF
"""The length that a program writes which cannot go back to state it."""


def container_of(data: bytes) -> str | None:
    """Name the container that ``data`` begins with: mp4, WebM, Ogg, MP3, WAV, FLAC, or None."""
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:4] == b"\x1aE\xdf\xa3":
        return "WebM"
    if data[:4] == b"OggS":
        return "Ogg"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    at = _after_id3(data)
    if data[at : at + 4] == b"fLaC":
        return "FLAC"
    if _is_mp3_frame(data[at : at + 4]) or (at and at >= len(data)):
        return "MP3"
    return None


def check_whole(data: bytes, container: str) -> None:
    """Refuse a file that ends before the length it states.

    What states no length passes, and its decoder must judge: a live WebM, an MP3 without a Xing header, an
    mp4 in fragments that ends behind one of them.

    Raises:
        DataError: the file is cut short.
    """
    stated = _STATED_LENGTH[container](data) if container in _STATED_LENGTH else None
    if stated is not None and stated > len(data):
        raise DataError(
            f"truncated {container}: {len(data):,} bytes, its header states {stated:,}; fetch the file again"
        )


@contextmanager
def opened(data: bytes, container: str) -> Iterator["InputContainer"]:
    """Open ``data`` as an mp4, WebM, Ogg or MP3 with FFmpeg, from memory, without any protocol.

    Raises:
        DataError: FFmpeg cannot open or, inside the ``with`` block, decode it.
    """
    import av

    try:
        with av.open(
            io.BytesIO(data),
            "r",
            format=_DEMUXERS[container],
            metadata_errors="replace",
            # Opening decodes a little to learn what a stream is, so the bounds hold here too.
            options=_OPTIONS,
            container_options={"protocol_whitelist": ""},
        ) as opened_container:
            yield opened_container
    except DataError:
        raise
    except Exception as error:  # FFmpeg's errors are ValueError, OSError, EOFError, MemoryError, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"corrupt or truncated {container} ({reason}); replace the file") from error


def opus_end(data: bytes) -> int:
    """Where an Ogg Opus ends, in samples at 48 kHz, as its last page states (RFC 7845, section 4)."""
    skipped = data.find(b"OpusHead") + 10
    last = data.rfind(b"OggS") + 6
    end = int.from_bytes(data[last : last + 8], "little")
    return end - int.from_bytes(data[skipped : skipped + 2], "little")


def bound_decoder(stream: "VideoStream | AudioStream") -> None:
    """Make the decoder of ``stream`` run on one thread, within bounds, and stop at the first error.

    Raises:
        DataError: no decoder of `DECODERS` reads it.
    """
    # None where FFmpeg knows no decoder.
    name = stream.codec_context.name if stream.codec_context is not None else "unknown"
    if name not in DECODERS[stream.type]:
        raise DataError(
            f"the {stream.type} codec is {name}; {', '.join(DECODERS[stream.type])} are decoded: "
            "convert the file"
        )
    stream.codec_context.thread_count = 1
    stream.codec_context.options = _OPTIONS


def _after_id3(data: bytes) -> int:
    """Offset behind an ID3v2 tag (id3.org, ID3v2.4.0, section 3.1), or 0."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if data[5] & 0x10 else 0)


def _is_mp3_frame(header: bytes) -> bool:
    """Whether an MPEG audio frame of layer III begins here (ISO/IEC 11172-3, 2.4.1.3)."""
    return len(header) == 4 and header[0] == 0xFF and header[1] & 0xE6 == 0xE2 and header[2] < 0xF0


def _mp4_length(data: bytes) -> int | None:
    """End of the last box (ISO/IEC 14496-12, 4.2); None where it reaches to the end of the file."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 0 and at + 8 <= len(data):
            return None
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at += max(size, 8)
    return at


def _webm_length(data: bytes) -> int | None:
    """End of the segment (RFC 8794, section 4; RFC 9559, section 5.1); None where it is live."""
    header, at = _ebml_size(data, 4)
    if header is None:
        return None
    at += header
    if data[at : at + 4] != b"\x18\x53\x80\x67":
        raise DataError("corrupt WebM: no segment behind its header; replace the file")
    size, at = _ebml_size(data, at + 4)
    return None if size is None else at + size


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """The variable-size integer at ``at`` (None for unknown) and the offset behind it."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        raise DataError("corrupt or truncated WebM: no segment; replace the file")
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, at + length


def _ogg_length(data: bytes) -> int:
    """End of the last page, which must be marked as the last of its stream (RFC 3533, section 6)."""
    at = data.rfind(b"OggS")
    lengths = data[at + 27 : at + 27 + data[at + 26]] if at + 26 < len(data) else b""
    end = at + 27 + (data[at + 26] if lengths else 0) + sum(lengths)
    if end <= len(data) and not data[at + 5] & 4:
        raise DataError("truncated Ogg: its last page does not end the stream; fetch the file again")
    return end


def _mp3_length(data: bytes) -> int | None:
    """First frame plus the bytes that a Xing or Info header in it states; None without one."""
    at = _after_id3(data)
    if at >= len(data):
        return at + 4
    one_channel, version_1 = data[at + 3] >> 6 == 3, data[at + 1] & 8
    side = (17 if one_channel else 32) if version_1 else (9 if one_channel else 17)
    tag = at + 4 + side
    if data[tag : tag + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(data[tag + 4 : tag + 8], "big")
    if not flags & 2:
        return None
    field = tag + 8 + (4 if flags & 1 else 0)
    return at + int.from_bytes(data[field : field + 4], "big")


def _wav_length(data: bytes) -> int | None:
    """End of the data chunk; chunks are padded to even lengths."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            return None if size == _UNSTATED else at + 8 + size
        at += 8 + size + size % 2
    raise DataError("truncated WAV: no data chunk; fetch the file again")


_STATED_LENGTH = {
    "mp4": _mp4_length,
    "WebM": _webm_length,
    "Ogg": _ogg_length,
    "MP3": _mp3_length,
    "WAV": _wav_length,
}
