"""Patches of sensor recordings: stretches of time of all channels."""

import torch
from small import SMALL, media_for

from encoders.media_spec import SeriesSpec
from encoders.registry import build_encoder


def test_a_token_is_one_stretch_of_all_channels() -> None:
    encoder = build_encoder(SMALL["series_patches"], 24)
    media = media_for(encoder)
    for token in range(4):
        stretch = media[:, 16 * token : 16 * token + 16].reshape(3, -1)
        expected = encoder.project(stretch) + encoder.place[token]
        torch.testing.assert_close(encoder(media)[:, token], expected)


def test_values_are_taken_as_they_were_decoded() -> None:
    """They are normalised per channel already; a second scaling would undo what patches differ in."""
    encoder = build_encoder(SMALL["series_patches"], 24)
    media = media_for(encoder)
    once, twice = encoder(media) - encoder.place, encoder(2 * media) - encoder.place
    torch.testing.assert_close(twice, 2 * once)


def test_what_is_decoded_is_what_the_settings_say() -> None:
    settings = {"steps": 32, "channels": 5, "rate_hz": 50.0, "pad_channels": True, "patch_steps": 8}
    encoder = build_encoder({"name": "series_patches", **settings}, 24)
    assert encoder.spec == SeriesSpec(32, 5, 50.0, True)
    assert (encoder.tokens_per_item, encoder.target_width) == (4, 40)
