"""Sound decoded to a waveform or a log-mel spectrogram.

WAV, FLAC and Vorbis are read by libsndfile (soundfile), all else by FFmpeg (PyAV). FFmpeg decodes Opus faster
than libsndfile does, even with the resampling that follows because it gives 48 kHz (`ablate bench data`);
of Vorbis it loses the last block.
"""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ablate.data.containers import bound_decoder, check_whole, container_of, opened, opus_end
from ablate.data.errors import DataError
from ablate.data.resampling import Room, resampler
from encoders.media_spec import AudioSpec, samples_in

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from torchaudio.transforms import MelSpectrogram

MIN_RATE_HZ = 2_000
"""Lowest sampling rate that is decoded."""
MAX_RATE_HZ = 192_000
"""Highest sampling rate that is decoded."""
MAX_CHANNELS = 16
"""Most channels of a recording."""
MAX_AMPLITUDE = 1e6
"""Largest absolute sample value, full scale being 1, so that every power is finite in float32."""
POWER_FLOOR = 1e-10
"""Smallest mel power that is told from silence: its logarithm, -23.03, is what silence becomes."""


def decode_audio(data: bytes, spec: AudioSpec) -> np.ndarray:
    """Decode sound to float32[mels, frames]: the natural logarithm of the mel power spectrum.

    Windows begin at every ``hop`` samples from the first one on and none is centred; those that reach
    beyond the waveform see zeros. Mel bands are triangles on the HTK scale from 0 to half the rate
    (torchaudio's MelSpectrogram, power 2); powers below `POWER_FLOOR` are raised to it.

    Raises:
        DataError: as of `decode_waveform`.
    """
    import torch
    from torch.nn.functional import pad

    wave = torch.from_numpy(decode_waveform(data, spec.rate_hz, spec.seconds))
    whole = (spec.frames - 1) * spec.hop + spec.window
    with torch.inference_mode():
        power = _mel_spectrogram(spec.rate_hz, spec.window, spec.hop, spec.mels)(
            pad(wave, (0, whole - len(wave)))
        )
        log_mel: np.ndarray = power.clamp_(min=POWER_FLOOR).log_().numpy()
    return log_mel


def decode_waveform(data: bytes, rate_hz: int, seconds: float) -> np.ndarray:
    """Decode the first ``seconds`` of sound to float32[samples], full scale being 1.

    ``data`` is a WAV, FLAC, Ogg (Opus, Vorbis) or MP3, or an mp4, m4a or WebM whose first sound track
    counts. Channels are averaged, then resampled by windowed sinc interpolation (torchaudio's `resample`);
    a shorter recording is followed by zeros. Of samples there are `samples_in(seconds, rate_hz)`. Only what
    is needed is decoded.

    Raises:
        DataError: another format, no sound, a rate or number of channels beyond the limits above, samples
            that are not finite, or data that is corrupt or cut short.
    """
    container = container_of(data)
    if container is None:
        raise DataError(
            f"not a WAV, FLAC, Ogg, MP3, mp4 or WebM (begins with {data[:12]!r}); convert it or remove it"
        )
    check_whole(data, container)
    samples = samples_in(seconds, rate_hz)
    # The first page of an Ogg holds the header of the codec alone (RFC 7845, section 3).
    opus = container == "Ogg" and b"OpusHead" in data[:64]
    by_soundfile = container in ("WAV", "FLAC", "Ogg") and not opus
    read = _read_soundfile if by_soundfile else _read_ffmpeg
    room, rate = read(data, container, samples, rate_hz)
    wave = room.wave
    if not room.filled:
        raise DataError("the recording has no samples; remove it")
    # A NaN is not below the limit either.
    if not (wave.max() <= MAX_AMPLITUDE and wave.min() >= -MAX_AMPLITUDE):
        raise DataError(f"samples that are not finite or above {MAX_AMPLITUDE:g}; export the recording again")
    return wave if rate == rate_hz else resampler(rate, rate_hz).resample(room, samples)


def _read_soundfile(data: bytes, container: str, samples: int, rate_hz: int) -> tuple[Room, int]:
    """The mean of the channels, as far as ``samples`` at ``rate_hz`` need it, and its rate."""
    import soundfile  # type: ignore[import-untyped]

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as source:
            rate, stated = source.samplerate, source.frames
            room = _room(samples, rate, source.channels, rate_hz)
            wanted = min(len(room.wave), stated)
            values = source.read(wanted, dtype="float32", always_2d=True)
            whole = len(values) == wanted
            if whole and container == "FLAC" and wanted < stated:
                # FLAC states its samples, not its bytes: what is cut off shows at the end only.
                source.seek(stated - 1)
                whole = len(source.read(1)) == 1
    except DataError:
        raise
    except Exception as error:  # libsndfile's errors are RuntimeError; soundfile's TypeError, ValueError, ...
        raise DataError(f"corrupt or truncated {container} ({error}); replace the recording") from error
    if not whole:
        raise DataError(f"truncated {container}: it states {stated:,} samples and has fewer; fetch it again")
    room.add(values[:, 0] if values.shape[1] == 1 else values.mean(axis=1, dtype=np.float32))
    return room, rate


def _read_ffmpeg(data: bytes, container: str, samples: int, rate_hz: int) -> tuple[Room, int]:
    """As `_read_soundfile`, of the first sound track."""
    with opened(data, container) as source:
        if not source.streams.audio:
            raise DataError("no sound track; remove the file or use it as video")
        stream = source.streams.audio[0]
        bound_decoder(stream)
        rate = stream.sample_rate
        room = _room(samples, rate, stream.channels, rate_hz)
        done, end = 0, 0
        for frame in source.decode(stream):
            if frame.sample_rate != rate:
                raise DataError(f"the rate changes from {rate} to {frame.sample_rate} Hz; export it again")
            room.add(_mean_of_channels(frame))
            done += frame.samples
            if room.is_full:
                end = (frame.pts or 0) + frame.samples
                break
        if container == "Ogg":
            _check_gaps(done, end if room.is_full else opus_end(data))
        return room, rate


def _check_gaps(done: int, end: int) -> None:
    """Refuse Opus of which 10 ms or more are missing before ``end``, in samples at 48 kHz.

    A page of an Ogg that is lost or damaged is left out by the decoder, which says nothing.
    """
    if end - done >= 480:
        raise DataError(
            f"corrupt Ogg: {(end - done) / 48_000:.2f} s of sound are missing before {end / 48_000:.2f} s; "
            "fetch the file again"
        )


def _room(samples: int, rate: int, channels: int, rate_hz: int) -> Room:
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise DataError(f"{rate} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz are decoded: resample the recording")
    if not 1 <= channels <= MAX_CHANNELS:
        raise DataError(f"{channels} channels; 1 to {MAX_CHANNELS} are decoded: mix the recording")
    return Room(samples) if rate == rate_hz else resampler(rate, rate_hz).room(samples)


def _mean_of_channels(frame: "AudioFrame") -> np.ndarray:
    channels = frame.layout.nb_channels
    if channels == 1 and frame.format.name == "fltp":
        plane: memoryview = memoryview(frame.planes[0])  # type: ignore[arg-type]
        return np.frombuffer(plane, dtype=np.float32, count=frame.samples)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    mean: np.ndarray = values.mean(axis=0, dtype=np.float32 if values.dtype == np.float32 else np.float64)
    if values.dtype == np.uint8:
        mean = mean - 128
    if values.dtype.kind in "iu":
        mean = mean / float(1 << 8 * values.dtype.itemsize - 1)
    return mean.astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _mel_spectrogram(rate_hz: int, window: int, hop: int, mels: int) -> "MelSpectrogram":
    from torchaudio.transforms import MelSpectrogram

    return MelSpectrogram(rate_hz, n_fft=window, hop_length=hop, n_mels=mels, power=2.0, center=False)
