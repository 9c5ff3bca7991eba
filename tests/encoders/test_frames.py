"""Frames: an image encoder per frame, averaged over groups, with the groups' places in time."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small import SMALL, media_for

from encoders.base import Encoder
from encoders.registry import build_encoder

KINDS = ["frames", "frames frozen"]


def small(name: str, **changes: object) -> Encoder:
    torch.manual_seed(0)
    return build_encoder({**SMALL[name], **changes}, 24)


@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_the_group_means_of_the_image_encoders_tokens_plus_time(name: str) -> None:
    encoder = small(name)
    clips = media_for(encoder)
    groups, every = encoder.groups, encoder.config.every
    assert encoder.tokens_per_item == groups * encoder.encoder.tokens_per_item
    for group in range(groups):
        frames = [encoder.encoder(clips[:, group * every + i]) for i in range(every)]
        expected = torch.stack(frames).mean(dim=0) + encoder.time[group]
        there = encoder(clips).reshape(3, groups, -1, 24)[:, group]
        torch.testing.assert_close(there, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_order_is_kept_between_groups_and_lost_within_them(name: str) -> None:
    encoder = small(name)
    clips = media_for(encoder)
    every = encoder.config.every
    within = torch.cat([clips[:, :every].flip(1), clips[:, every:]], dim=1)
    torch.testing.assert_close(encoder(within), encoder(clips))
    assert (encoder(clips.flip(1)) - encoder(clips)).abs().max() > 1e-3
    moved = encoder(clips.flip(1)).reshape(3, encoder.groups, -1, 24).flip(1).reshape(3, -1, 24)
    assert (moved - encoder(clips)).abs().max() > 1e-3


def test_the_target_of_a_token_is_the_mean_of_the_frames_that_it_stands_for() -> None:
    encoder = small("frames")
    clips = media_for(encoder)
    means = clips.float().reshape(3, 2, 3, 3, 16, 16).mean(dim=2)
    targets = encoder.targets(clips).reshape(3, 2, 4, -1)
    for group in range(2):
        torch.testing.assert_close(targets[:, group], encoder.encoder.targets(means[:, group]))
    still = clips[:, :1].expand(-1, 6, -1, -1, -1)
    assert torch.equal(encoder.targets(still)[:, :4], encoder.encoder.targets(clips[:, 0]))


def test_a_trunk_is_charged_for_every_frame_and_what_follows_it_for_every_group() -> None:
    encoder = small("frames frozen", frames=8, every=4)
    image = encoder.encoder
    trunk = image.trunk_flops_per_item()
    assert encoder.trunk_flops_per_item() == trunk * 8
    after = image.flops_per_item().total - trunk.total
    assert encoder.flops_per_item().total == 8 * trunk.total + 2 * after


def test_what_the_image_encoder_was_pretrained_on_is_disclosed(tmp_path: Path) -> None:
    image = build_encoder({"name": "open_clip", "model": "tiny-vit", "tokens": "pooled"}, 24)
    save_file(image.trunk.state_dict(), tmp_path / "tower.safetensors")
    weights = {"weights": str(tmp_path / "tower.safetensors"), "pretrained_on": "LAION-2B, image and text"}
    encoder = small("frames frozen", encoder={"name": "open_clip", "model": "tiny-vit", **weights})
    assert encoder.pretraining == "LAION-2B, image and text"
    assert small("frames").pretraining == ""
