"""Rows of an arm: text stays where it is, media change nothing else, and ranks see the same rows."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ablate.data.batch import Batch
from ablate.data.errors import DataError
from ablate.data.mixture import Step
from ablate.materials import Materials, build_mixture
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import Arm


def arm_of(materials: Materials, name: str) -> Arm:
    return next(arm for arm in expand_arms(materials.recipe) if arm.name == name)


def step(
    materials: Materials, arm: str, number: int = 0, seed: int = 0, rank: int = 0, ranks: int = 1
) -> Step:
    return build_mixture(materials, arm_of(materials, arm), seed).step(number, rank, ranks)


def same(one: Batch, other: Batch) -> bool:
    names = ("tokens", "labels", "document", "position")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("number", [0, 1, 7, 40])
def test_an_arm_with_media_keeps_the_other_text_rows_where_they_are(
    materials: Materials, number: int
) -> None:
    text, image = step(materials, "text", number), step(materials, "image", number)
    shared = [column for column in image.row_digests if column.startswith("text/")]
    assert 0 < len(shared) < len(text.row_digests)
    for column in shared:
        assert text.row_digests[column] == image.row_digests[column]


def test_substitution_takes_the_last_columns_of_every_microbatch(materials: Materials) -> None:
    image = step(materials, "image")
    columns = [column for column in sorted(image.row_digests) if column.startswith("text/")]
    assert columns == ["text/0", "text/1", "text/4", "text/5"]
    assert sorted(step(materials, "text").row_digests) == [f"text/{column}" for column in range(8)]


def test_another_share_of_media_moves_no_text_row(prepared: Callable[..., Materials]) -> None:
    little = prepared("arms.image.mixture={text: 0.75, pictures: 0.25}")
    much = prepared()
    few, many = step(little, "image", 5), step(much, "image", 5)
    shared = {column for column in many.row_digests if column.startswith("text/")}
    assert shared < set(few.row_digests)
    assert all(few.row_digests[column] == many.row_digests[column] for column in shared)


def test_text_tokens_adds_media_rows_to_all_text_rows(prepared: Callable[..., Materials]) -> None:
    materials = prepared("budget.match=text_tokens")
    text, image = step(materials, "text", 3), step(materials, "image", 3)
    assert text.row_digests.items() < image.row_digests.items()
    assert image.microbatches[0].tokens.shape[0] == 2 * text.microbatches[0].tokens.shape[0]


def test_controls_differ_from_their_arm_in_media_alone(materials: Materials) -> None:
    real, blind, shuffled = (
        step(materials, name, 2).microbatches[0]
        for name in ("image", "image.captions_only", "image.shuffled")
    )
    assert torch.equal(real.tokens, blind.tokens)
    assert torch.equal(real.position, blind.position)
    assert blind.media == {}
    assert same(real, shuffled)
    pictures, others = real.media["pictures"], shuffled.media["pictures"]
    assert torch.equal(pictures.slots, others.slots)
    held = pictures.present
    assert not (pictures.values[held] == others.values[held]).flatten(1).all(dim=1).any()


def test_the_record_proves_that_controls_share_their_arms_captions(materials: Materials) -> None:
    real = step(materials, "image", 3).row_digests
    assert {column.split("/")[0] for column in real} == {"text", "pictures"}
    assert step(materials, "image.captions_only", 3).row_digests == real
    assert step(materials, "image.shuffled", 3).row_digests == real
    assert step(materials, "image", 4).row_digests.keys() == real.keys()
    assert step(materials, "image", 4).row_digests != real


def test_what_the_real_arm_scores_its_placebos_score_too(materials: Materials) -> None:
    counts = {
        name: step(materials, name, 4).counts for name in ("image", "image.captions_only", "image.shuffled")
    }
    assert len({one.values() for one in counts.values()}) == 1


def test_shapes_are_the_same_at_every_step(materials: Materials) -> None:
    shapes = set()
    for number in range(12):
        for batch in step(materials, "image", number).microbatches:
            media = batch.media["pictures"]
            shapes.add((batch.tokens.shape, media.values.shape, media.slots.shape, media.present.shape))
    assert len(shapes) == 1


def test_two_ranks_together_run_the_rows_of_one(materials: Materials) -> None:
    whole = step(materials, "image", 6)
    parts = [step(materials, "image", 6, rank=rank, ranks=2) for rank in (0, 1)]
    assert same(whole.microbatches[0], parts[0].microbatches[0])
    assert same(whole.microbatches[1], parts[1].microbatches[0])
    assert whole.row_digests == parts[0].row_digests | parts[1].row_digests
    assert whole.counts == parts[0].counts + parts[1].counts


def test_media_slots_hold_padding_tokens_in_the_rows_of_media(materials: Materials) -> None:
    batch = step(materials, "image").microbatches[0]
    media = batch.media["pictures"]
    slots = media.slots[media.present].flatten()
    assert (batch.tokens.flatten()[slots] == materials.tokenizer.pad).all()
    assert (slots // batch.tokens.shape[1] >= 2).all(), "the first two rows of a microbatch are text"
    assert (media.slots[~media.present] == batch.tokens.numel()).all()


def break_picture(materials: Materials, sample: int) -> None:
    """Let one sample decode as damaged ones do."""
    images = materials.media["pictures"].decoded["pictures"]
    original = images.get

    def get(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, ok = original(indices)
        return pixels, ok & (np.asarray(indices) != sample)

    images.get = get  # type: ignore[method-assign]


def test_a_picture_that_does_not_decode_stops_the_run(prepared: Callable[..., Materials]) -> None:
    materials = prepared()
    mixture = build_mixture(materials, arm_of(materials, "image"), 0)
    sample = int(mixture.media["pictures"].rows.documents(np.arange(1)).media["pictures"].shown[0])
    break_picture(materials, sample)
    with pytest.raises(DataError, match="max_skips allows 0"):
        mixture.step(0)


def test_a_skip_within_the_limit_is_counted_and_changes_no_other_row(
    prepared: Callable[..., Materials],
) -> None:
    reference = step(prepared("streams.pictures.max_skips=1"), "image")
    materials = prepared("streams.pictures.max_skips=1")
    mixture = build_mixture(materials, arm_of(materials, "image"), 0)
    break_picture(
        materials, int(mixture.media["pictures"].rows.documents(np.arange(1)).media["pictures"].shown[0])
    )
    skipped = mixture.step(0)
    assert skipped.skips == {"pictures/decode": 1}
    assert torch.equal(skipped.microbatches[0].tokens, reference.microbatches[0].tokens)
    assert skipped.counts.scored_positions == reference.counts.scored_positions
    held, before = (one.microbatches[0].media["pictures"].present.sum() for one in (skipped, reference))
    assert held == before - 1
