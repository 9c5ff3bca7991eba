"""The planted sounds: files any reader takes, timbres that differ, nothing clipped."""

import hashlib
import io

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ablate.data.planted_draws import AMPLITUDE, TURN, Draws, sine
from ablate.data.planted_sounds import RATE_HZ, SAMPLES, SOUNDS, encode_wav, synthesize
from ablate.data.planted_text import ATTRIBUTES

sounds = pytest.mark.parametrize("sound", list(SOUNDS))


def power(sound: str, seed: int) -> npt.NDArray[np.float64]:
    """Power spectrum normalised to 1, in bins of 2 Hz."""
    spectrum = np.abs(np.fft.rfft(synthesize(sound, Draws(seed, sound)).astype(np.float64))) ** 2
    share: npt.NDArray[np.float64] = spectrum / spectrum.sum()
    return share


def middle(sound: str, seed: int) -> float:
    """Mean frequency in Hz, weighted by power."""
    share = power(sound, seed)
    return float((share * np.arange(len(share)) * RATE_HZ / SAMPLES).sum())


def test_there_is_a_sound_for_each_word() -> None:
    assert tuple(SOUNDS) == ATTRIBUTES["sound"]


@given(sound=st.sampled_from(list(SOUNDS)), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_a_sound_fills_its_half_second_and_is_not_clipped(sound: str, seed: int) -> None:
    samples = synthesize(sound, Draws(seed, sound))
    assert samples.shape == (SAMPLES,)
    assert 7000 < np.abs(samples).max() < AMPLITUDE


@sounds
def test_a_wav_file_holds_the_samples_as_they_are(sound: str) -> None:
    samples = synthesize(sound, Draws(0, sound))
    data = encode_wav(samples)
    read, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    assert rate == RATE_HZ
    assert np.array_equal(read, samples)
    info = soundfile.info(io.BytesIO(data))
    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)


@sounds
def test_two_items_of_one_sound_differ_in_samples_and_level_but_not_in_timbre(sound: str) -> None:
    first, second = (synthesize(sound, Draws(seed, sound)) for seed in (1, 2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
    assert np.abs(first).max() != np.abs(second).max()
    assert abs(middle(sound, 1) / middle(sound, 2) - 1) < 0.1


def test_the_sounds_are_spread_over_the_spectrum() -> None:
    assert middle("hum", 0) < middle("horn", 0) < middle("flute", 0) < middle("siren", 0)
    assert middle("siren", 0) < middle("chime", 0) < middle("chirp", 0)
    loudest = power("flute", 0).argmax() * RATE_HZ / SAMPLES
    assert 820 <= loudest <= 860
    assert power("hiss", 0)[: SAMPLES // 8].sum() < 0.05, "a hiss has no low frequencies"


def test_another_word_is_refused() -> None:
    with pytest.raises(KeyError, match="thunder"):
        synthesize("thunder", Draws(0, "thunder"))


def test_the_table_of_sines_is_a_sine() -> None:
    phase = np.arange(-TURN, 2 * TURN)
    assert np.abs(sine(phase) - AMPLITUDE * np.sin(2 * np.pi * phase / TURN)).max() <= 0.5 + 1e-9


def test_the_bytes_are_those_of_every_platform() -> None:
    """Fixed value: a change here changes every world with sounds and must raise GENERATOR."""
    data = b"".join(encode_wav(synthesize(sound, Draws(0, sound))) for sound in SOUNDS)
    assert hashlib.sha256(data).hexdigest()[:16] == "535a7bfd6d6924e2"
