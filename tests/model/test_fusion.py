"""Fusion: without media it is the plain model, and an encoder moves nothing that is not its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from ablate.data.batch import Batch
from ablate.materials import Materials, build_mixture
from ablate.model.build import build_backbone, build_model
from ablate.model.fusion import FusedModel
from ablate.model.transformer import weights_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import Arm


def arm_of(materials: Materials, name: str) -> Arm:
    return next(arm for arm in expand_arms(materials.recipe) if arm.name == name)


def model_of(materials: Materials, arm: str, seed: int = 0) -> FusedModel:
    return build_model(materials.recipe, arm_of(materials, arm), materials.tokenizer.vocabulary, seed)


def batch_of(materials: Materials, arm: str, number: int = 0) -> Batch:
    return build_mixture(materials, arm_of(materials, arm), 0).step(number).microbatches[0]


def test_adding_an_encoder_moves_no_backbone_weight(materials: Materials) -> None:
    digests = {
        arm: weights_digest(model_of(materials, arm).backbone) for arm in ("text", "image", "image.shuffled")
    }
    assert len(set(digests.values())) == 1
    assert weights_digest(model_of(materials, "text", seed=1).backbone) not in digests.values()


def test_a_larger_encoder_moves_no_backbone_weight(prepared: Callable[..., Materials]) -> None:
    reference = weights_digest(model_of(prepared(), "image").backbone)
    vit = "streams.pictures.encoder={name: vit, image_size: 32, patch_size: 8, width: 32}"
    assert weights_digest(model_of(prepared(vit), "image").backbone) == reference


def test_an_arm_and_its_shuffled_control_begin_with_the_same_encoder(materials: Materials) -> None:
    assert weights_digest(model_of(materials, "image")) == weights_digest(
        model_of(materials, "image.shuffled")
    )


def test_without_media_fused_and_plain_models_give_equal_logits(materials: Materials) -> None:
    batch = batch_of(materials, "text")
    fused = model_of(materials, "image")
    plain = build_backbone(materials.recipe, materials.tokenizer.vocabulary, 0)
    assert torch.equal(fused.logits(batch), plain(batch.tokens, batch.document, batch.position))


def test_pictures_change_the_logits_of_the_text_that_follows_them_only(materials: Materials) -> None:
    model, batch = model_of(materials, "image"), batch_of(materials, "image")
    media = batch.media["pictures"]
    darker = replace(batch, media={"pictures": replace(media, values=media.values // 4)})
    moved = (model.logits(batch) - model.logits(darker)).abs().amax(dim=-1).flatten() > 1e-7
    document = batch.document + 100 * torch.arange(batch.document.shape[0]).unsqueeze(1)
    slots = media.slots[media.present]
    first_slot = {int(document.flatten()[item[0]]): int(item[0]) for item in slots}
    for place in torch.nonzero(moved).flatten().tolist():
        assert place >= first_slot[int(document.flatten()[place])]
    assert moved.any()


def test_spare_places_change_nothing(materials: Materials) -> None:
    model, batch = model_of(materials, "image"), batch_of(materials, "image")
    media = batch.media["pictures"]
    values = torch.cat([media.values, torch.full_like(media.values[:2], 99)])
    beyond = torch.full((2, media.slots.shape[1]), batch.tokens.numel())
    padded = replace(
        media,
        values=values,
        slots=torch.cat([media.slots, beyond]),
        before=torch.cat([media.before, torch.zeros(2, dtype=torch.long)]),
        present=torch.cat([media.present, torch.zeros(2, dtype=torch.bool)]),
    )
    wider = replace(batch, media={"pictures": padded})
    assert torch.equal(model.logits(batch), model.logits(wider))
    assert torch.allclose(model(batch).media, model(wider).media)
    assert int(model(batch).media_positions) == int(model(wider).media_positions)


def test_a_media_loss_of_zero_leaves_parameters_and_init_as_they_are(
    prepared: Callable[..., Materials],
) -> None:
    with_loss, without = model_of(prepared(), "image"), model_of(prepared("arms.image.media_loss=0"), "image")
    assert weights_digest(with_loss) == weights_digest(without)
    batch = batch_of(prepared(), "image")
    assert without(batch).media.item() == 0.0
    assert with_loss(batch).media.item() > 0.0
    assert torch.equal(with_loss(batch).text, without(batch).text)


def test_the_next_patch_is_regressed_from_the_place_before_it(materials: Materials) -> None:
    """A media token must not see its own target: the error of a patch cannot depend on later patches."""
    model, batch = model_of(materials, "image"), batch_of(materials, "image")
    media = batch.media["pictures"]
    values = media.values.clone().requires_grad_(False)
    hidden = model.hidden(batch)
    before = hidden.flatten(0, 1)[media.slots[0, 0] - 1]
    changed = values.clone()
    changed[0] = 255 - changed[0]
    other = model.hidden(replace(batch, media={"pictures": replace(media, values=changed)}))
    assert torch.equal(before, other.flatten(0, 1)[media.slots[0, 0] - 1])


def test_sums_of_two_halves_are_the_sum_of_the_whole(materials: Materials) -> None:
    model, batch = model_of(materials, "text"), batch_of(materials, "text")
    halves = [
        Batch(batch.tokens[part], batch.labels[part], batch.document[part], batch.position[part])
        for part in (slice(0, 2), slice(2, 4))
    ]
    whole, parts = model(batch), [model(half) for half in halves]
    assert whole.text.item() == pytest.approx(sum(part.text.item() for part in parts), rel=1e-5)
    assert int(whole.text_positions) == sum(int(part.text_positions) for part in parts)
