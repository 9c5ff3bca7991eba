"""Tubelets: pixels of a stretch of time, in order."""

import torch
from small import media_for

from encoders.registry import build_encoder


def test_a_token_is_the_pixels_of_its_tubelet_in_order_of_time_then_reading_order() -> None:
    encoder = build_encoder(
        {"name": "tubelets", "frames": 4, "image_size": 16, "tubelet_frames": 2, "patch_size": 8}, 24
    )
    media = media_for(encoder)
    tokens = encoder(media)
    for time in range(2):
        for row in range(2):
            for column in range(2):
                pixels = media[:, 2 * time : 2 * time + 2, :, 8 * row : 8 * row + 8, 8 * column :][..., :8]
                place = 4 * time + 2 * row + column
                expected = encoder.project(pixels.reshape(3, -1) / 127.5 - 1) + encoder.place[place]
                torch.testing.assert_close(tokens[:, place], expected)


def test_a_clip_of_one_frame_is_a_picture() -> None:
    torch.manual_seed(0)
    video = build_encoder({"name": "tubelets", "frames": 1, "tubelet_frames": 1}, 24)
    torch.manual_seed(0)
    image = build_encoder({"name": "patches"}, 24)
    clip = media_for(video)
    assert torch.equal(video(clip), image(clip[:, 0]))
    assert torch.equal(video.targets(clip), image.targets(clip[:, 0]))
    assert video.flops_per_item() == image.flops_per_item()
