"""The sounds of the planted world: eight timbres with spectra that lie apart.

Direct digital synthesis in integers (phase accumulators and a table of sines), written as 16-bit PCM:
the files are the same on every platform.
"""

import io
import wave
from collections.abc import Callable

import numpy as np

from ablate.data.planted_draws import AMPLITUDE, TURN, Draws, Integers, sine

RATE_HZ = 8000
SAMPLES = 4000
"""Half a second."""

_FINE = 1 << 16
"""Parts of a phase step, so that frequencies are not rounded audibly."""

_LATEST_ONSET = RATE_HZ // 20
_QUIETEST, _LOUDEST = 8000, 28000
_NOISE = (50, 250)


def synthesize(sound: str, draws: Draws) -> Integers:
    """``sound`` as int64[SAMPLES] within 16 bits; pitch, phases, onset, level and noise come from ``draws``.

    Raises:
        KeyError: ``sound`` is none of `SOUNDS`.
    """
    clean = SOUNDS[sound](draws)
    onset = draws.below(_LATEST_ONSET)
    level = draws.between(_QUIETEST, _LOUDEST)
    scaled = np.zeros(SAMPLES, dtype=np.int64)
    scaled[onset:] = (clean * level // int(np.abs(clean).max()))[: SAMPLES - onset]
    noisy: Integers = scaled + _noise(draws) * draws.between(*_NOISE) // AMPLITUDE
    return noisy


def encode_wav(samples: Integers) -> bytes:
    """``samples`` int64[samples] within 16 bits as a WAV file: 16-bit PCM, one channel, `RATE_HZ`."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _tone(hertz: Integers | int, harmonics: dict[int, int], draws: Draws) -> Integers:
    """A tone of ``hertz``, constant or int64[SAMPLES]; ``harmonics`` gives the weight of each multiple.
    The pitch is off by 2% at most, and every harmonic begins at a phase of its own."""
    pitch = np.broadcast_to(np.asarray(hertz, dtype=np.int64), SAMPLES) * draws.between(980, 1020) // 1000
    turned = np.cumsum(pitch * (TURN * _FINE) // RATE_HZ)
    total = np.zeros(SAMPLES, dtype=np.int64)
    for multiple, weight in harmonics.items():
        total += weight * sine(turned * multiple // _FINE + draws.below(TURN))
    return total


def _noise(draws: Draws) -> Integers:
    """White noise, int64[SAMPLES] in [-`AMPLITUDE` - 1, `AMPLITUDE`]."""
    octets = draws.octets(2 * SAMPLES).astype(np.int64)
    values: Integers = octets[::2] * 256 + octets[1::2] - AMPLITUDE - 1
    return values


def _time() -> Integers:
    return np.arange(SAMPLES, dtype=np.int64)


def _chime(draws: Draws) -> Integers:
    """Three partials out of tune with one another that die away."""
    left = SAMPLES - _time()
    partials = _tone(1130, {1: 4}, draws) + _tone(1910, {1: 4}, draws) + _tone(3070, {1: 4}, draws)
    return partials * (left * left // SAMPLES) // SAMPLES


def _siren(draws: Draws) -> Integers:
    """A tone that climbs and falls back, 600 to 1800 Hz."""
    turned = _time() * TURN // SAMPLES - TURN // 4 + draws.between(-TURN // 32, TURN // 32)
    return _tone(1200 + sine(turned) * 600 // AMPLITUDE, {1: 4}, draws)


def _chirp(draws: Draws) -> Integers:
    """Five short rises from 2400 to 3600 Hz with gaps between them."""
    period = SAMPLES // 5
    within = _time() % period
    sounding = (2 * within < period).astype(np.int64)
    return sounding * _tone(2400 + within * 2400 // period, {1: 4}, draws)


def _buzz(draws: Draws) -> Integers:
    """All harmonics of 140 Hz up to 2.5 kHz, trembling 24 times a second."""
    tremble = AMPLITUDE + sine(_time() * 24 * TURN // RATE_HZ + draws.below(TURN)) * 3 // 4
    return _tone(140, dict.fromkeys(range(1, 19), 2), draws) * tremble // AMPLITUDE


def _hiss(draws: Draws) -> Integers:
    """Noise without its low frequencies (differences of neighbouring samples, twice)."""
    noise = _noise(draws)
    return np.diff(np.diff(noise, prepend=0), prepend=0)


SOUNDS: dict[str, Callable[[Draws], Integers]] = {
    "chime": _chime,
    "horn": lambda draws: _tone(310, {1: 3, 2: 4, 3: 4, 4: 2, 5: 1}, draws),
    "flute": lambda draws: _tone(840, {1: 8, 2: 1}, draws),
    "siren": _siren,
    "buzz": _buzz,
    "hiss": _hiss,
    "hum": lambda draws: _tone(95, {1: 4, 2: 3, 3: 1}, draws),
    "chirp": _chirp,
}
"""Value word to its synthesis, int64[SAMPLES] at any level."""
