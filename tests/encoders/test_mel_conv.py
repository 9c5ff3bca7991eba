"""The convolutional audio encoder: tokens that stand for stretches of time."""

import torch
from small import SMALL, media_for

from encoders.base import Encoder
from encoders.mel_conv import sinusoids
from encoders.mel_patches import scaled_log_mel
from encoders.patches import normalised
from encoders.registry import build_encoder


def small() -> Encoder:
    torch.manual_seed(0)
    return build_encoder(SMALL["mel_conv"], 24)


def test_the_target_of_a_token_is_the_spectrogram_of_its_own_stretch() -> None:
    encoder = small()
    media = media_for(encoder)
    for token in range(8):
        stretch = scaled_log_mel(media)[:, :, 8 * token : 8 * token + 8]
        torch.testing.assert_close(encoder.targets(media)[:, token], normalised(stretch.reshape(3, -1)))


def test_a_token_hears_its_own_stretch_most() -> None:
    """Attention mixes stretches; the sum that a token averages is still its own."""
    encoder = small()
    media = media_for(encoder).requires_grad_()
    for token in (0, 3, 7):
        (gradient,) = torch.autograd.grad(encoder(media)[:, token].square().sum(), media)
        weight = gradient.square().sum(dim=(0, 1)).reshape(8, 8).sum(dim=1)
        assert weight.argmax() == token


def test_the_same_sound_at_another_time_is_another_token() -> None:
    encoder = small()
    steady = torch.randn(1, 16, 1).expand(1, 16, 64)
    tokens = encoder(steady)
    assert (tokens[:, 2] - tokens[:, 5]).abs().max() > 1e-3


def test_places_are_sines_and_cosines_of_falling_rates() -> None:
    places = sinusoids(50, 8)
    assert torch.equal(places[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(places[:, :4].square() + places[:, 4:].square(), torch.ones(50, 4))
    torch.testing.assert_close(places[:, 0], torch.arange(50).float().sin(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(places[:, 3], (torch.arange(50) / 10000).sin())
