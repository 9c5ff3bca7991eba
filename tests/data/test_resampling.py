"""Resampling by matrix products gives what torchaudio's `resample` gives."""

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from ablate.data.resampling import Resampler, Room

RATES = [
    (48_000, 16_000),
    (44_100, 16_000),
    (8_000, 16_000),
    (11_025, 16_000),
    (16_000, 44_100),
    (192_000, 2_000),
    (2_000, 48_000),
]


@pytest.mark.parametrize(("rate", "rate_hz"), RATES)
@pytest.mark.parametrize("seconds", [0.02, 0.31])
def test_the_samples_are_those_of_torchaudio_to_the_end(rate, rate_hz, seconds):
    wave = np.random.Generator(np.random.PCG64(rate)).normal(0, 1, int(rate * seconds)).astype(np.float32)
    theirs = resample(torch.from_numpy(wave), rate, rate_hz).numpy()
    resampler = Resampler(rate, rate_hz)
    for samples in (len(theirs) // 2, len(theirs), len(theirs) + 100):
        room = resampler.room(samples)
        for part in np.array_split(wave, 7):
            room.add(part)
        ours = resampler.resample(room, samples)
        assert ours.shape == (samples,)
        assert np.abs(ours[: len(theirs)] - theirs[:samples]).max() < 1e-5
        assert not ours[len(theirs) :].any()


def test_room_takes_what_fits_and_says_when_it_is_full():
    room = Room(10, lead=3)
    room.add(np.ones(6, np.float32))
    assert not room.is_full
    room.add(np.full(6, 2, np.float32))
    assert room.is_full
    assert room.padded.tolist() == [0] * 3 + [1] * 6 + [2] * 4


@pytest.mark.parametrize(
    ("rate", "rate_hz"), [(44_057, 16_000), (16_000, 44_057), (191_999, 2_001), (16_001, 16_000)]
)
def test_rates_without_a_simple_ratio_keep_pitch_within_one_in_a_thousand(rate, rate_hz):
    pitch = 0.02 * min(rate, rate_hz)
    wave = np.sin(2 * np.pi * pitch * np.arange(rate) / rate).astype(np.float32)
    resampler = Resampler(rate, rate_hz)
    room = resampler.room(rate_hz)
    room.add(wave)
    middle = resampler.resample(room, rate_hz)[rate_hz // 8 : -rate_hz // 8]
    crossings = np.flatnonzero((middle[:-1] < 0) & (middle[1:] >= 0))
    found = (len(crossings) - 1) / (crossings[-1] - crossings[0]) * rate_hz
    assert abs(found / pitch - 1) < 2e-3
