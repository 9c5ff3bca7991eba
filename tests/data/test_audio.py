"""A recording becomes the sound that was recorded, whatever holds it, or an error; never an accident."""

import contextlib
import io
import itertools
import math
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from ablate.data import audio, containers
from ablate.data.audio import POWER_FLOOR, decode_audio, decode_waveform
from ablate.data.errors import DataError
from encoders.media_spec import AudioSpec, samples_in

DRAW = np.random.Generator(np.random.PCG64(0))
KINDS = [
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "PCM_U8", 0.01),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "FLOAT", 0.0),
    ("WAV", "DOUBLE", 1e-7),
    ("WAVEX", "PCM_16", 1e-4),
    ("FLAC", "PCM_16", 1e-4),
    ("OGG", "VORBIS", 0.06),
    ("OGG", "OPUS", 0.06),
    ("MP3", "MPEG_LAYER_III", 0.06),
]
"""Format, coding and the largest error it may make away from the ends."""


def tone(rate: int, seconds: float = 1.0, pitch: float = 440.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def saved(wave: np.ndarray, rate: int = 16_000, form: str = "WAV", coding: str | None = "FLOAT") -> bytes:
    """``wave`` float32[n] or [n, channels] as libsndfile writes it."""
    out = io.BytesIO()
    soundfile.write(out, wave, rate, format=form, subtype=coding)
    return out.getvalue()


def muxed(
    wave: np.ndarray, rate: int, form: str, codec: str, layout: str = "mono", picture: bool = False
) -> bytes:
    """``wave`` float32[n], the same in every channel, as FFmpeg writes it."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as sink:
        if picture:
            film = sink.add_stream("mpeg4", rate=10)
            film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        stream = sink.add_stream(codec, rate=rate, layout=layout)
        channels = stream.layout.nb_channels
        if picture:
            for _ in range(10):
                sink.mux(film.encode(av.VideoFrame(32, 32, "yuv420p")))
            sink.mux(film.encode(None))
        frame = av.AudioFrame.from_ndarray(np.repeat(wave[None], channels, axis=0), "fltp", layout)
        frame.sample_rate, frame.pts = rate, 0
        cut = av.AudioResampler(stream.format.name, layout, rate, stream.codec_context.frame_size or 1024)
        for part in cut.resample(frame) + cut.resample(None):
            sink.mux(stream.encode(part))
        sink.mux(stream.encode(None))
    return out.getvalue()


def error_of(data: bytes, seconds: float = 0.5) -> str:
    with pytest.raises(DataError) as caught:
        decode_waveform(data, 16_000, seconds)
    return str(caught.value)


@pytest.mark.parametrize(("form", "coding", "error"), KINDS)
def test_every_format_gives_the_sound_that_was_recorded(form, coding, error):
    wave = tone(16_000)
    found = decode_waveform(saved(wave, 16_000, form, coding), 16_000, 1.0)
    assert found.dtype == np.float32
    assert found.shape == (16_000,)
    assert np.abs(found - wave)[1000:-1000].max() <= error


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [
        ("mp3", "libmp3lame", 44_100),
        ("mp4", "aac", 44_100),
        ("ipod", "aac", 16_000),
        ("webm", "libopus", 48_000),
        ("matroska", "flac", 32_000),
        ("matroska", "pcm_s16le", 44_100),
        ("mp4", "alac", 48_000),
        ("ogg", "libopus", 48_000),
    ],
)
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_every_container_rate_and_layout_gives_the_same_sound_at_the_rate_asked_for(
    form, codec, rate, layout
):
    data = muxed(tone(rate, 1.2), rate, form, codec, layout)
    found = decode_waveform(data, 16_000, 1.0)
    # One sample too late would make 0.05; an encoder needs some frames before it is exact.
    assert np.sqrt(np.mean((found - tone(16_000))[4000:] ** 2)) < 0.015


@pytest.mark.parametrize(("form", "codec", "rate"), [("mp4", "aac", 44_100), ("matroska", "libopus", 48_000)])
def test_the_sound_of_a_video_is_that_of_the_recording(form, codec, rate):
    data = muxed(tone(rate, 1.2), rate, form, codec, picture=True)
    found = decode_waveform(data, 16_000, 1.0)
    assert np.sqrt(np.mean((found - tone(16_000))[4000:] ** 2)) < 0.015


def test_channels_are_averaged():
    left, right = tone(16_000), tone(16_000, pitch=700)
    for form, coding in (("WAV", "FLOAT"), ("FLAC", "PCM_16")):
        both = decode_waveform(saved(np.stack([left, right], axis=1), 16_000, form, coding), 16_000, 1.0)
        assert np.abs(both - (left + right) / 2).max() < 1e-4
    five = decode_waveform(saved(np.stack([left, *[right * 0] * 4], axis=1)), 16_000, 1.0)
    assert np.abs(five - left / 5).max() < 1e-6


@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    st.sampled_from([8_000, 16_000, 22_050, 44_100]),
    st.floats(0.05, 0.4),
)
@settings(max_examples=25, deadline=None)
def test_what_is_read_first_does_not_depend_on_what_follows(rate, rate_hz, seconds):
    wave = DRAW.normal(0, 0.1, rate // 2).astype(np.float32)
    data = saved(wave, rate)
    first = decode_waveform(data, rate_hz, seconds)
    whole = decode_waveform(data, rate_hz, 0.5)
    assert len(first) == samples_in(seconds, rate_hz)
    assert np.abs(first - whole[: len(first)]).max() < 1e-5


def test_a_tone_above_what_the_rate_can_hold_is_removed_and_not_folded_down():
    high = saved(tone(48_000, pitch=11_000), 48_000)
    assert np.abs(decode_waveform(high, 16_000, 0.9)[100:]).max() < 0.004


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_shorter_recording_is_followed_by_silence(rate):
    found = decode_waveform(saved(tone(rate, 0.3), rate), 16_000, 1.0)
    assert found.shape == (16_000,)
    assert np.abs(found[:4800]).max() > 0.3
    assert not found[4801:].any()


def test_only_what_is_needed_is_decoded():
    """Damage behind what is read is not seen, so it was not read; the length is still checked."""
    data = bytearray(saved(tone(16_000, 20.0), 16_000, "OGG", "OPUS"))
    data[-20:-10] = bytes(10)
    assert decode_waveform(bytes(data), 16_000, 1.0).any()
    error_of(bytes(data), 20.0)


@pytest.mark.parametrize(("form", "coding"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_a_recording_without_samples_is_an_error(form, coding):
    data = saved(np.zeros(0, np.float32), 16_000, form, coding)
    assert "no samples" in error_of(data) or not data


@pytest.mark.parametrize("form", ["webm", "mp4"])
def test_a_file_without_sound_is_named(form):
    out = io.BytesIO()
    with av.open(out, "w", format=form) as sink:
        film = sink.add_stream("mpeg4" if form == "mp4" else "libvpx", rate=10)
        film.width, film.height, film.pix_fmt = 32, 32, "yuv420p"
        sink.mux(film.encode(av.VideoFrame(32, 32, "yuv420p")))
        sink.mux(film.encode(None))
    assert "no sound track" in error_of(out.getvalue())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_that_are_not_finite_or_absurd_are_refused(value):
    for rate in (16_000, 44_100):
        wave = tone(rate)
        wave[100] = value
        assert "not finite" in error_of(saved(wave, rate))


@pytest.mark.parametrize(("rate", "channels"), [(1_000, 1), (655_350, 1), (16_000, 17), (16_000, 255)])
def test_absurd_rates_and_channels_are_refused(rate, channels):
    data = saved(np.zeros((100, channels), np.float32), rate)
    assert "are decoded" in error_of(data)


def test_a_rate_that_divides_by_nothing_is_resampled_all_the_same():
    for rate in (44_057, 15_991, 48_017):
        found = decode_waveform(saved(tone(rate, 1.2), rate), 16_000, 0.1)
        assert np.abs(found - tone(16_000, 0.1)).max() < 0.1


# Files that are cut short or damaged


@pytest.mark.parametrize(("form", "coding"), sorted({(form, coding) for form, coding, _ in KINDS}))
def test_a_recording_cut_short_is_an_error_at_any_length_however_little_is_read(form, coding):
    data = saved(tone(16_000, 2.0), 16_000, form, coding)
    for cut in {1, 2, 100, *range(len(data) // 9, len(data), len(data) // 9), len(data) - 20, len(data)}:
        error_of(data[: len(data) - cut], 0.1)


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("mp3", "libmp3lame"), ("ogg", "libopus")]
)
def test_what_ffmpeg_reads_is_an_error_cut_at_any_length_too(form, codec):
    data = muxed(tone(48_000, 2.0), 48_000, form, codec)
    for cut in {1, 2, 100, *range(len(data) // 9, len(data), len(data) // 9), len(data) - 20}:
        error_of(data[:-cut], 0.1)


def test_an_ogg_that_ends_between_two_pages_is_cut_short():
    data = saved(tone(16_000, 6.0), 16_000, "OGG", "OPUS")
    last = data.rindex(b"OggS")
    assert "does not end the stream" in error_of(data[:last])


def test_a_wav_that_was_piped_states_no_length_and_is_read():
    wave = tone(16_000)
    data = bytearray(saved(wave, coding="PCM_16"))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert np.abs(decode_waveform(bytes(data), 16_000, 1.0) - wave).max() < 1e-4


def test_an_mp3_with_a_tag_before_it_is_read_and_a_tag_alone_is_not():
    data = saved(tone(16_000), 16_000, "MP3", None)
    tag = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    assert (decode_waveform(tag + data, 16_000, 1.0) == decode_waveform(data, 16_000, 1.0)).all()
    error_of(tag)
    assert "truncated MP3" in error_of((tag + data)[:-1])


@pytest.mark.parametrize(
    ("form", "coding"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", None)]
)
@given(place=st.integers(0, 100_000), value=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_flipped_byte_gives_finite_samples_or_a_data_error_and_nothing_else(form, coding, place, value):
    data = bytearray(RECORDINGS[form])
    data[place % len(data)] ^= value
    with contextlib.suppress(DataError):
        found = decode_waveform(bytes(data), 16_000, 0.25)
        assert found.shape == (4000,)
        assert np.isfinite(found).all()


RECORDINGS = {
    "WAV": saved(tone(16_000, 0.2), coding="PCM_16"),
    "FLAC": saved(tone(16_000, 0.2), 16_000, "FLAC", "PCM_16"),
    "OGG": saved(tone(16_000, 0.2), 16_000, "OGG", "OPUS"),
    "MP3": saved(tone(16_000, 0.2), 16_000, "MP3", None),
}


def test_a_page_of_opus_that_is_damaged_or_missing_is_an_error_wherever_it_is():
    data = saved(tone(16_000, 8.0), 16_000, "OGG", "OPUS")
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"] + [len(data)]
    assert len(pages) > 8
    for start, end in itertools.pairwise(pages[2:]):
        damaged = bytearray(data)
        damaged[end - 5] ^= 1
        error_of(bytes(damaged), 8.0)
        error_of(data[:start] + data[end:], 8.0)


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"not a sound", b"FORM\0\0\0\0AIFF", b"\xff\xf1\x50\x80", bytes(64)]
)
def test_other_formats_are_refused_whatever_their_name(data):
    assert "not a WAV" in error_of(data)


def test_a_codec_that_is_not_listed_never_runs():
    assert "the audio codec is" in error_of(muxed(tone(48_000), 48_000, "matroska", "mp2"))
    assert "mp2" not in containers.DECODERS["audio"]


def test_a_wav_without_data_or_with_chunks_of_every_length_is_read_or_refused():
    wave = tone(16_000, 0.1)
    data = saved(wave, coding="PCM_16")
    odd = data[:36] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[36:]
    assert np.abs(decode_waveform(odd, 16_000, 0.1) - wave).max() < 1e-4
    assert "no data chunk" in error_of(data[:36])


# The log-mel spectrogram

SPEC = AudioSpec(seconds=1.0, rate_hz=16_000, mels=40, window=400, hop=160)


@given(st.floats(0.05, 1.0), st.integers(1, 500), st.sampled_from([64, 100, 256, 401]))
@settings(max_examples=40, deadline=None)
def test_there_is_a_column_for_every_window_that_begins_within_the_waveform(seconds, hop, window):
    spec = AudioSpec(seconds, 8_000, 12, window, hop)
    found = decode_audio(saved(tone(8_000), 8_000), spec)
    assert found.shape == spec.shape == (12, len(range(0, spec.samples, hop)))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


RATES = [2_000, 8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000]


@given(
    st.integers(1, 20_000), st.sampled_from([1, 10, 100, 1000]), st.sampled_from([*RATES, 96_000, 192_000])
)
@example(3, 10, 44_100)
@example(3, 10, 11_025)
@example(7, 100, 44_100)
@settings(max_examples=300, deadline=None)
def test_a_length_in_decimals_is_the_samples_of_that_number_and_not_of_its_nearest_float(count, per, rate_hz):
    assert samples_in(count / per, rate_hz) == math.ceil(Fraction(count, per) * rate_hz)


@given(
    st.integers(1, 40).map(lambda n: n / 100) | st.floats(1e-4, 0.4),
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.integers(1, 3000),
)
@example(0.3, 44_100, 16_000, 1)
@example(0.3, 11_025, 44_100, 1)
@example(0.07, 44_100, 44_100, 1)
@settings(max_examples=100, deadline=None)
def test_the_spectrogram_and_the_waveform_agree_on_the_samples_at_every_rate_and_length(
    seconds, rate_hz, rate, recorded
):
    spec = AudioSpec(seconds, rate_hz, 4, 64, 16)
    data = saved(np.full(recorded, 0.1, np.float32), rate)
    assert decode_waveform(data, rate_hz, seconds).shape == (spec.samples,)
    assert decode_audio(data, spec).shape == spec.shape
    assert (spec.frames - 1) * spec.hop < spec.samples <= spec.frames * spec.hop


def test_the_values_are_logarithms_of_mel_power_by_definition():
    wave = DRAW.normal(0, 0.1, 16_000).astype(np.float32)
    found = decode_audio(saved(wave), SPEC)
    bank = MelSpectrogram(16_000, n_fft=400, hop_length=160, n_mels=40).mel_scale.fb.numpy()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    for column in (0, 41, 97):
        power = np.abs(np.fft.rfft(wave[column * 160 : column * 160 + 400] * hann)) ** 2
        assert np.abs(found[:, column] - np.log(power @ bank)).max() < 1e-3


def test_a_higher_tone_lies_in_a_higher_band_and_a_later_one_in_a_later_column():
    bands = [decode_audio(saved(tone(16_000, pitch=p)), SPEC).mean(axis=1).argmax() for p in (200, 900, 4000)]
    assert bands == sorted(set(bands))
    late = np.concatenate([np.zeros(8_000, np.float32), tone(16_000, 0.5)])
    columns = decode_audio(saved(late), SPEC).max(axis=0) > -5
    assert abs(int(columns.argmax()) - 50) <= 3
    assert columns[60:90].all()


def test_silence_and_what_follows_a_short_recording_are_at_the_floor():
    floor = np.float32(np.log(POWER_FLOOR))
    assert (decode_audio(saved(np.zeros(16_000, np.float32)), SPEC) == floor).all()
    found = decode_audio(saved(tone(16_000, 0.5)), SPEC)
    assert (found[:, 51:] == floor).all()
    assert found[:, :40].max() > 0


def test_the_same_sound_at_another_rate_and_loudness_differs_by_a_constant():
    quiet, loud = decode_audio(saved(tone(16_000)), SPEC), decode_audio(saved(tone(44_100) * 2, 44_100), SPEC)
    band = quiet.mean(axis=1).argmax()
    assert np.abs(loud[band, 2:95] - quiet[band, 2:95] - np.log(4)).max() < 0.05


def test_threads_and_grad_mode_of_the_caller_stay_as_they_are():
    threads = torch.get_num_threads()
    decode_audio(saved(tone(44_100), 44_100), SPEC)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert audio.MIN_RATE_HZ < 8_000
