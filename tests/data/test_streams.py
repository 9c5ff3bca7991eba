"""Every modality is a stream: nothing else moves when one is added, and a control breaks one thing alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from clips_with_sound import write_clips

from ablate.data.batch import NO_DOCUMENT, Batch
from ablate.data.controls import REPEAT_LAG, repeated_rows
from ablate.data.mixture import Mixture
from ablate.materials import Materials, build_mixture, prepare
from ablate.model.build import build_model
from ablate.recipe.arms import expand_arms
from ablate.recipe.load import load_recipe

RECIPE = """
study: streams
question: Does each modality come in?
seeds: [0]
data_root: planted
baseline: text
planted: {modalities: [image, audio, video, sensor], entities: 288, images_per_entity: 1, documents: 600}
streams:
  text: {modality: text, paths: ["${data_root}/text.jsonl"]}
  pictures:
    modality: image
    paths: ["${data_root}/pictures-*.tar"]
    encoder: {name: patches, image_size: 32, patch_size: 16}
  sounds:
    modality: audio
    paths: ["${data_root}/sounds-*.tar"]
    encoder: {name: mel_patches, seconds: 0.5, rate_hz: 8000, mels: 32, window: 256, hop: 125, patch_mels: 32,
      patch_frames: 16}
  clips:
    modality: video
    paths: ["${data_root}/clips-*.tar"]
    encoder: {name: tubelets, frames: 8, image_size: 16, tubelet_frames: 4, patch_size: 16}
  gestures:
    modality: sensor
    paths: ["${data_root}/gestures-*.tar"]
    encoder: {name: series_patches, steps: 32, channels: 6, patch_steps: 16}
arms:
  text: {mixture: {text: 1.0}}
  all:
    mixture: {text: 0.5, pictures: 0.125, sounds: 0.125, clips: 0.125, gestures: 0.125}
    media_loss: 1.0
    controls: [captions_only, captions_only_refill, shuffled, noise, blank, repeat_text]
  pictures: {mixture: {text: 0.875, pictures: 0.125}}
model: {layers: 1, width: 32, heads: 2, context_length: 48}
tokenizer: {vocabulary: 512}
budget: {match: flops, steps: 200}
train: {rows: 8}
tasks:
  planted: {kind: multiple_choice, paths: ["${data_root}/questions-image.jsonl"], limit: 16}
endpoints:
  primary: planted/accuracy
  margins: {planted/accuracy: 0.1}
"""
MEDIA = ("pictures", "sounds", "clips", "gestures")


@pytest.fixture(scope="module")
def everything(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Materials]:
    path = tmp_path_factory.mktemp("recipes") / "streams.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return lambda *overrides: prepare(load_recipe(path, overrides), cache)


def mixture(materials: Materials, name: str) -> Mixture:
    arm = next(arm for arm in expand_arms(materials.recipe) if arm.name == name)
    return build_mixture(materials, arm, 0)


def batch(materials: Materials, name: str, number: int = 3) -> Batch:
    return mixture(materials, name).step(number).microbatches[0]


def same_text(one: Batch, other: Batch) -> bool:
    names = ("tokens", "labels", "document", "position")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_every_modality_reaches_the_batch_in_its_own_shape(everything: Callable[..., Materials]) -> None:
    media = batch(everything(), "all").media
    shapes = {name: (tuple(media[name].values.shape[1:]), media[name].slots.shape[1]) for name in MEDIA}
    assert shapes == {
        "pictures": ((3, 32, 32), 4),
        "sounds": ((32, 32), 2),
        "clips": ((8, 3, 16, 16), 2),
        "gestures": ((32, 6), 2),
    }
    assert all(media[name].present.any() for name in MEDIA)


def test_adding_modalities_moves_no_text_row_and_no_row_of_another_modality(
    everything: Callable[..., Materials],
) -> None:
    materials = everything()
    alone, together, text = (
        mixture(materials, name).step(5).row_digests for name in ("pictures", "all", "text")
    )
    assert {name: digest for name, digest in together.items() if name in text}.items() <= text.items()
    assert alone["pictures/0"] == together["pictures/0"]
    one, other = batch(materials, "pictures", 5), batch(materials, "all", 5)
    assert torch.equal(one.media["pictures"].values, other.media["pictures"].values)


@pytest.mark.parametrize("control", ["shuffled", "noise", "blank"])
def test_what_a_control_shows_changes_and_nothing_else(
    everything: Callable[..., Materials], control: str
) -> None:
    materials = everything()
    real, placebo = batch(materials, "all"), batch(materials, f"all.{control}")
    assert same_text(real, placebo)
    for name in MEDIA:
        one, other = real.media[name], placebo.media[name]
        assert torch.equal(one.slots, other.slots)
        assert torch.equal(one.present, other.present)
        shown, instead = one.values[one.present], other.values[other.present]
        assert not (shown == instead).flatten(1).all(dim=1).any()


def test_blank_media_are_all_alike_and_noise_is_redrawn_at_each_visit(
    everything: Callable[..., Materials],
) -> None:
    materials = everything()
    for name in MEDIA:
        blank = batch(materials, "all.blank").media[name]
        shown = blank.values[blank.present]
        assert (shown == shown[0]).all()
        noise = batch(materials, "all.noise").media[name]
        drawn = noise.values[noise.present].float()
        assert not (drawn[0] == drawn[1]).all()
    again = batch(materials, "all.noise")
    assert torch.equal(noise.values, again.media["gestures"].values)


def test_noise_has_the_mean_and_variance_of_the_stream(everything: Callable[..., Materials]) -> None:
    materials = everything()
    arm = next(arm for arm in expand_arms(materials.recipe) if arm.name == "all.noise")
    rows = build_mixture(materials, arm, 0)
    for name in MEDIA:
        drawn = []
        for number in range(40):
            media = rows.step(number).microbatches[0].media[name]
            drawn.append(media.values[media.present].double())
        decoded = materials.media[name].decoded[name]
        mean, std = (torch.from_numpy(one).double() for one in decoded.mean_and_std())
        whole = torch.cat(drawn)
        axes = [axis for axis in range(whole.ndim) if axis != 1 + decoded.spec.channel_axis]
        assert torch.allclose(whole.mean(axes), mean.flatten(), atol=0.03 * float(std.max()))
        assert torch.allclose(whole.std(axes), std.flatten(), rtol=0.03)


def test_refilled_rows_hold_more_captions_and_no_media(everything: Callable[..., Materials]) -> None:
    materials = everything()
    steps = [mixture(materials, f"all.{name}").step(2) for name in ("captions_only", "captions_only_refill")]
    kept, refilled = (step.counts for step in steps)
    assert refilled.caption_tokens > 1.2 * kept.caption_tokens
    assert refilled.media_positions == 0
    assert steps[1].microbatches[0].media == {}
    assert refilled.positions == kept.positions


def test_repeat_text_reads_rows_that_the_arm_has_read_before(everything: Callable[..., Materials]) -> None:
    materials = everything()
    rows = mixture(materials, "all.repeat_text")
    seen = {digest for name, digest in rows.step(0).row_digests.items() if name.startswith("text/")}
    for number in range(1, REPEAT_LAG + 8):
        step = rows.step(number)
        repeated = {digest for name, digest in step.row_digests.items() if not name.startswith("text/")}
        assert len(repeated) == 4
        assert repeated <= seen
        seen |= {digest for name, digest in step.row_digests.items() if name.startswith("text/")}
        assert step.counts.caption_tokens == step.counts.media_positions == 0
        assert step.counts.repeated_tokens > 0
    kept = mixture(materials, "all").step(9).row_digests
    placebo = rows.step(9).row_digests
    assert all(placebo[name] == digest for name, digest in kept.items() if name.startswith("text/"))


def test_with_as_many_media_rows_as_text_rows_every_row_recurs_once() -> None:
    """But for the rows of the first steps, which recur twice while the lag grows."""
    rows = [repeated_rows(np.arange(4 * step, 4 * step + 4), step, 4, 4) for step in range(200)]
    times = np.bincount(np.concatenate(rows), minlength=800)
    assert set(times[: 4 * REPEAT_LAG].tolist()) <= {2, 3}
    assert times[: 4 * REPEAT_LAG].sum() <= 4 * (2 * REPEAT_LAG + 1)
    assert set(times[4 * REPEAT_LAG : 4 * (200 - REPEAT_LAG)].tolist()) == {1}
    assert times[4 * (200 - REPEAT_LAG) :].sum() == 0


@pytest.mark.parametrize(("kept", "media"), [(6, 2), (2, 6), (4, 4), (1, 7)])
def test_a_repeated_row_was_read_in_an_earlier_step(kept: int, media: int) -> None:
    for step in range(1, 300):
        rows = repeated_rows(np.arange(media * step, media * (step + 1)), step, kept, media)
        assert rows.min() >= 0
        assert rows.max() < step * kept


def test_media_alone_bring_no_text_into_the_loss(everything: Callable[..., Materials]) -> None:
    materials = everything("streams.sounds.documents=media_only", "arms.all.controls=[noise]")
    made = batch(materials, "all")
    slots = made.media["sounds"].slots[made.media["sounds"].present]
    rows = (slots // 48).unique()
    assert (made.labels[rows] < 0).all()
    places = made.document[rows] != NO_DOCUMENT
    # BOS and the sound, nothing else
    assert int(places.sum()) == len(slots) * (1 + slots.shape[1])


def test_sound_and_picture_of_one_clip_stand_in_one_document(
    everything: Callable[..., Materials], tmp_path: Path
) -> None:
    write_clips(tmp_path / "talkies.tar", 40)
    materials = everything(
        f"streams.clips.paths=[{tmp_path}/talkies.tar]",
        "streams.clips.also={audio: {name: mel_patches, seconds: 0.5, rate_hz: 8000, mels: 32, window: 256, "
        "hop: 125, patch_mels: 32, patch_frames: 16}}",
        "arms.all.controls=[shuffled]",
    )
    made, shuffled = batch(materials, "all"), mixture(materials, "all.shuffled").media["clips"].rows
    found = shuffled.documents(np.arange(4)).media
    picture, sound = found["clips"], found["clips:audio"]
    assert (picture.shown != picture.item).all()
    assert np.array_equal(picture.shown, sound.shown), "a clip goes with its own sound, shuffled or not"
    seen, heard = made.media["clips"], made.media["clips:audio"]
    assert torch.equal(seen.present, heard.present)
    document = made.document.flatten()
    for one, other in zip(seen.slots[seen.present], heard.slots[heard.present], strict=True):
        assert document[one].unique().tolist() == document[other].unique().tolist()
        assert int(other[0]) == int(one[-1]) + 1


def test_the_patch_after_a_medium_that_does_not_decode_is_asked_of_a_place_that_is_there(
    everything: Callable[..., Materials], tmp_path: Path
) -> None:
    """Not of the padding where the clip would have stood, which has seen nothing of the document."""
    write_clips(tmp_path / "talkies.tar", 40)
    materials = everything(
        f"streams.clips.paths=[{tmp_path}/talkies.tar]",
        "streams.clips.also={audio: {name: mel_patches, seconds: 0.5, rate_hz: 8000, mels: 32, window: 256, "
        "hop: 125, patch_mels: 32, patch_frames: 16}}",
        "streams.clips.max_skips=40",
        "arms.all.controls=[noise]",
    )
    clips = materials.media["clips"].decoded["clips"]
    original = clips.get
    clips.get = lambda indices: (original(indices)[0], np.zeros(len(indices), dtype=bool))  # type: ignore[method-assign]
    made = batch(materials, "all")
    heard, document = made.media["clips:audio"], made.document.flatten()
    assert heard.present.any()
    assert not made.media["clips"].present.any()
    for slots, before in zip(heard.slots[heard.present], heard.before[heard.present], strict=True):
        assert document[slots[0] - 1] == NO_DOCUMENT
        assert document[before] == document[slots[0]]


@pytest.mark.parametrize("arm", ["all", "all.shuffled", "all.captions_only", "all.captions_only_refill"])
def test_step_shapes_never_change_so_that_a_model_compiles_once(
    everything: Callable[..., Materials], arm: str
) -> None:
    materials = everything()
    chosen = next(one for one in expand_arms(materials.recipe) if one.name == arm)
    model = build_model(materials.recipe, chosen, materials.tokenizer.vocabulary, 0)
    rows = mixture(materials, arm)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for number in (0, 1, 7, 30):
        compiled(rows.step(number).microbatches[0]).text.backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
