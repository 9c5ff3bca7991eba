"""Patches of the log-mel spectrogram: in order of time, at a scale that is the same for every item."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from small import SMALL, media_for

from encoders.base import Encoder
from encoders.mel_patches import MelPatchesConfig, log_mel_spec, scaled_log_mel
from encoders.registry import build_encoder


def small() -> Encoder:
    return build_encoder(SMALL["mel_patches"], 24)


def test_tokens_are_in_order_of_time_then_from_low_bands_to_high() -> None:
    encoder = small()
    media = media_for(encoder)
    scaled, tokens = scaled_log_mel(media), encoder(media)
    for time in range(4):
        for band in range(2):
            patch = scaled[:, 8 * band : 8 * band + 8, 16 * time : 16 * time + 16]
            place = 2 * time + band
            expected = encoder.project(patch.reshape(3, -1)) + encoder.place[place]
            torch.testing.assert_close(tokens[:, place], expected)


def test_silence_after_a_sound_changes_no_token_of_the_sound() -> None:
    encoder = small()
    sound = media_for(encoder)
    padded = sound.clone()
    padded[:, :, 32:] = math.log(1e-10)
    assert torch.equal(encoder(padded)[:, :4], encoder(sound)[:, :4])
    assert torch.equal(encoder.targets(padded)[:, :4], encoder.targets(sound)[:, :4])
    assert encoder.targets(padded)[:, 4:].abs().max() < 1e-3


def test_loudness_is_heard() -> None:
    encoder = small()
    sound = media_for(encoder)
    assert (encoder(sound + math.log(100)) - encoder(sound)).abs().max() > 0.01


def test_silence_is_a_small_finite_number() -> None:
    silence = scaled_log_mel(torch.tensor([math.log(1e-10)]))
    assert -5 < silence.item() < -3


@given(
    frames=st.integers(1, 400),
    hop=st.integers(1, 500),
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    patch=st.integers(1, 32),
)
def test_the_length_that_a_refusal_proposes_is_accepted(frames: int, hop: int, rate: int, patch: int) -> None:
    settings = {"rate_hz": rate, "hop": hop, "patch_frames": patch}
    try:
        MelPatchesConfig(seconds=frames * hop / rate, **settings)
    except ValueError as error:
        proposed = float(str(error).split("use seconds ")[1].split(" ")[0])
        MelPatchesConfig(seconds=proposed, **settings)


def test_the_spectrogram_is_what_the_settings_say() -> None:
    spec = log_mel_spec(2.56, 16000, 64, 400, 160)
    assert (spec.shape, spec.window, spec.hop, spec.samples) == ((64, 256), 400, 160, 40960)
