"""What one encoded medium is: its type by content, its size and length, and whether it decodes whole.

Sizes and lengths come from headers (Pillow, soundfile, PyAV, numpy), which are read from memory with the
format told by the first bytes, never by a name.
"""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.data.containers import container_of, opened
from ablate.data.errors import DataError
from ablate.data.media import MEDIA
from encoders.media_spec import SeriesSpec, VideoSpec

if TYPE_CHECKING:
    from av.container import InputContainer

MAX_SECONDS = 600.0
"""Length of a sound that is decoded to see whether it can be; the rest is taken on trust."""
_SIZE = 32
"""Pixels per side that a picture or clip is resized to while it is tried."""
_MIME = {
    "mp4": "video/mp4",
    "WebM": "video/webm",
    "Ogg": "audio/ogg",
    "MP3": "audio/mpeg",
    "WAV": "audio/wav",
    "FLAC": "audio/flac",
}


@dataclass(frozen=True)
class Properties:
    """What the header of a medium says."""

    kind: str
    """image, audio, video or sensor."""
    format: str
    """Codec or number type, such as jpeg, opus, h264 + aac, float32."""
    numbers: dict[str, float]
    """Width and height in pixels; seconds, rate_hz and channels; frames and fps; steps and channels."""


def kind_of(extension: str) -> str | None:
    """The kind of media that a member's extension (lower case, no leading dot) stands for, or None.

    Of several endings the last counts: `0.jpg` is the first picture of a sample with several.
    """
    ending = extension.rpartition(".")[2]
    return next((kind for kind, endings in MEDIA.items() if ending in endings), None)


def mime_type(data: bytes) -> str | None:
    """MIME type of pictures, sounds and clips that a browser shows, told by content; None for all else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return _MIME.get(container_of(data) or "")


def examine(kind: str, data: bytes, rate_hz: float | None = None) -> Properties:
    """Read the header of ``data`` and decode it whole, as training would; what is decoded is dropped.

    Of a sound the first `MAX_SECONDS` are decoded; the sound track of a video is tried too. ``rate_hz``
    is the rate of a sensor recording, which its own header does not state.

    Raises:
        DataError: it is something else, corrupt, cut short, or too large to decode.
    """
    if kind == "image":
        return _image(data)
    if kind == "audio":
        return _audio(data)
    if kind == "video":
        return _video(data)
    return _sensor(data, rate_hz)


def _image(data: bytes) -> Properties:
    from PIL import Image

    from ablate.data.images import decode_image

    decode_image(data, _SIZE)
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
        form = (image.format or "").lower()
        return Properties("image", form, {"width": float(image.width), "height": float(image.height)})


def _audio(data: bytes) -> Properties:
    found = _soundfile_header(data) or _sound_header(data)
    # Opus decodes at 48 kHz (RFC 7845, section 5.1), whatever rate its header says was recorded.
    rate_hz = 48_000 if found.format == "opus" else found.numbers["rate_hz"]
    _decode_sound(data, rate_hz, found.numbers["seconds"])
    return found


def _decode_sound(data: bytes, rate_hz: float, seconds: float) -> None:
    from ablate.data.audio import decode_waveform

    # At the decoder's rate nothing is resampled. Where the header states no length, the limit is one.
    decode_waveform(data, max(1, int(rate_hz)), min(seconds, MAX_SECONDS) if seconds > 0 else MAX_SECONDS)


def _soundfile_header(data: bytes) -> Properties | None:
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
        return None
    form = info.subtype.lower() if info.format in ("OGG", "MPEG") else info.format.lower()
    numbers = {"seconds": info.duration, "rate_hz": float(info.samplerate), "channels": float(info.channels)}
    return Properties("audio", "mp3" if info.format == "MPEG" else form, numbers)


def _sound_header(data: bytes) -> Properties:
    container = container_of(data)
    if container in (None, "WAV", "FLAC"):
        # The decoder says what is wrong with these.
        return Properties("audio", "unknown", {"seconds": 1.0, "rate_hz": 16_000.0, "channels": 1.0})
    with opened(data, container) as source:
        if not source.streams.audio:
            raise DataError("no sound track; remove the file or use it as video")
        stream = source.streams.audio[0]
        numbers = {
            "seconds": _seconds(source, stream),
            "rate_hz": float(stream.sample_rate),
            "channels": float(stream.channels),
        }
        return Properties("audio", stream.codec_context.name, numbers)


def _video(data: bytes) -> Properties:
    from ablate.data.video import decode_video

    # Every frame is decoded, however many are kept.
    decode_video(data, VideoSpec(frames=1, size=_SIZE))
    found, sound_hz = _video_header(data)
    if sound_hz:
        try:
            _decode_sound(data, sound_hz, found.numbers["seconds"])
        except DataError as error:
            raise DataError(f"its sound track: {error}") from error
    return found


def _video_header(data: bytes) -> tuple[Properties, float]:
    """What the header of a clip that decodes says, and the rate of its sound track, 0 without one."""
    from ablate.data.video import is_shown, packets_of, video_stream

    container = container_of(data)
    assert container is not None
    with opened(data, container) as source:
        stream = video_stream(source)
        form, sound_hz = stream.codec_context.name, 0.0
        if source.streams.audio:
            track = source.streams.audio[0]
            form, sound_hz = f"{form} + {track.codec_context.name}", float(track.sample_rate)
        numbers = {
            "width": float(stream.width),
            "height": float(stream.height),
            "seconds": _seconds(source, stream),
            "fps": float(stream.average_rate or 0),
            # Counted: WebM states no number of frames.
            "frames": float(sum(map(is_shown, packets_of(source, stream)))),
        }
    return Properties("video", form, numbers), sound_hz


def _seconds(source: "InputContainer", stream: Any) -> float:
    """Length of a stream, or of the whole file where the stream states none; 0 if neither does."""
    import av

    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (source.duration or 0) / av.time_base


def _sensor(data: bytes, rate_hz: float | None) -> Properties:
    from ablate.data.series import decode_series

    steps, channels = _npy_shape(data)
    decode_series(data, SeriesSpec(steps=steps, channels=channels), rate_hz)
    numbers = {"steps": float(steps), "channels": float(channels)}
    if rate_hz:
        numbers |= {"rate_hz": rate_hz, "seconds": steps / rate_hz}
    return Properties("sensor", read_series(data).dtype.name, numbers)


def _npy_shape(data: bytes) -> tuple[int, int]:
    """Steps and channels that a .npy states; (1, 1) of one that `decode_series` refuses anyway."""
    source = io.BytesIO(data)
    try:
        first = np.lib.format.read_magic(source) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, kind = read(source)
        steps, channels = shape
    except Exception:  # numpy parses the header as Python literals: ValueError, SyntaxError, ...
        return 1, 1
    return (steps, channels) if steps * channels * kind.itemsize <= len(data) else (1, 1)


def read_series(data: bytes) -> np.ndarray:
    """The values ``[steps, channels]`` of a recording that `examine` has passed, in its own units."""
    values: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return values
