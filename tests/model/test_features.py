"""Features of a frozen encoder are computed once, and stand for what the encoder would have made."""

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_patches import FrozenPatches
from torch import Tensor, nn

import ablate.data.decoded
import encoders.registry
from ablate.budget.plan import plan_study
from ablate.data.errors import DataError
from ablate.materials import Materials, build_mixture, prepare
from ablate.model import features
from ablate.model.build import build_model
from ablate.model.features import attach_features, cached_features, frozen_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.load import load_recipe
from encoders.registry import build_encoder


@pytest.fixture
def frozen(tiny_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(FrozenPatches, "seen", 0)
    monkeypatch.setitem(encoders.registry.ENCODERS, "frozen", "frozen_patches:FrozenPatches")

    def prepared(*overrides: str) -> Materials:
        own = "streams.pictures.encoder={name: frozen, image_size: 32, patch_size: 16}"
        return prepare(load_recipe(tiny_file, [own, *overrides]), cache)

    return prepared


def arm_of(materials: Materials, name: str):  # type: ignore[no-untyped-def]
    return next(arm for arm in expand_arms(materials.recipe) if arm.name == name)


def built(materials: Materials, folder: Path, name: str = "image", seed: int = 0):  # type: ignore[no-untyped-def]
    arm = arm_of(materials, name)
    model = build_model(materials.recipe, arm, materials.tokenizer.vocabulary, seed)
    mixture = build_mixture(materials, arm, seed)
    attach_features(model, mixture, folder, media_loss=arm.media_loss > 0)
    return model, mixture


@pytest.mark.parametrize("media_loss", [0.0, 0.5])
def test_cached_features_give_the_loss_of_the_live_encoder(frozen, tmp_path, media_loss) -> None:  # type: ignore[no-untyped-def]
    materials = frozen(f"arms.image.media_loss={media_loss}")
    model, cached = built(materials, tmp_path)
    live = build_mixture(materials, arm_of(materials, "image"), 0)
    one, other = (mixture.step(2).microbatches[0] for mixture in (cached, live))
    assert (one.media["pictures"].values is None) == (media_loss == 0)
    assert one.media["pictures"].features is not None
    with torch.no_grad():
        assert torch.allclose(model(one).text, model(other).text, rtol=1e-6)
        assert torch.allclose(model(one).media, model(other).media, rtol=1e-6)


def test_the_pass_is_made_once_for_all_arms_and_studies(frozen, tmp_path) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    built(materials, tmp_path)
    assert FrozenPatches.seen == len(materials.media["pictures"].samples)
    built(materials, tmp_path, "image.shuffled")
    built(frozen("budget.steps=70"), tmp_path)
    assert FrozenPatches.seen == len(materials.media["pictures"].samples)


def test_a_killed_pass_goes_on_where_it_stopped(frozen, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    decoded = materials.media["pictures"].decoded["pictures"]
    model, _ = built(materials, tmp_path / "whole")
    encoder = model.encoders["pictures"]
    whole = cached_features(encoder, decoded, tmp_path / "whole").get(np.arange(len(decoded)))[0]

    def killed(media: Tensor) -> Tensor:
        if FrozenPatches.seen > 3 * features.ITEMS_AT_A_TIME:
            raise KeyboardInterrupt
        return FrozenPatches.features(encoder, media)

    FrozenPatches.seen = 0
    monkeypatch.setattr(encoder, "features", killed)
    with pytest.raises(KeyboardInterrupt):
        cached_features(encoder, decoded, tmp_path / "again")
    done, FrozenPatches.seen = FrozenPatches.seen, 0
    monkeypatch.undo()
    monkeypatch.setattr(FrozenPatches, "seen", 0)
    again = cached_features(encoder, decoded, tmp_path / "again").get(np.arange(len(decoded)))[0]
    assert np.array_equal(whole, again)
    assert FrozenPatches.seen == len(decoded) - done


def test_other_frozen_weights_are_other_features_and_trained_ones_are_not(frozen, tmp_path) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    encoder = built(materials, tmp_path)[0].encoders["pictures"]
    before = frozen_digest(encoder)
    with torch.no_grad():
        encoder.output.weight.add_(1.0)
    assert frozen_digest(encoder) == before
    with torch.no_grad():
        encoder.project.weight.add_(1.0)
    assert frozen_digest(encoder) != before


def test_texts_and_the_place_of_weights_are_no_part_of_the_key(frozen, tmp_path) -> None:  # type: ignore[no-untyped-def]
    built(frozen(), tmp_path)
    seen = FrozenPatches.seen
    other = frozen("streams.pictures.captions_field=other")
    assert other.digests["stream/pictures"] != frozen().digests["stream/pictures"]
    built(other, tmp_path)
    assert FrozenPatches.seen == seen
    encoder = built(frozen(), tmp_path)[0].encoders["pictures"]
    keys = set()
    for weights in ("/home/a/tower.pt", "/home/b/tower.pt"):
        encoder.config = WithWeights(weights, {"name": "inner", "weights": weights})
        keys.add(frozen_digest(encoder))
    encoder.config = WithWeights("/home/a/tower.pt", {"name": "other"})
    assert len(keys) == 1
    assert frozen_digest(encoder) not in keys


@dataclass(frozen=True)
class WithWeights:
    """Settings that name files of weights."""

    weights: str
    encoder: dict[str, str]


def test_other_media_another_decoder_or_device_are_other_features(frozen, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    decoded = materials.media["pictures"].decoded["pictures"]
    model, _ = built(materials, tmp_path)
    before = decoded.values_digest()
    with monkeypatch.context() as changed:
        changed.setattr(ablate.data.decoded, "version", lambda name: "999")
        assert decoded.values_digest() != before
    changed_items = replace(decoded._items, digest=decoded._items.digest[::-1])
    with monkeypatch.context() as changed:
        changed.setattr(decoded, "_items", changed_items)
        assert decoded.values_digest() != before
    assert decoded.values_digest() == before
    with torch.device("meta"):
        meta = build_encoder(materials.recipe.streams["pictures"].encoder, 32)
    monkeypatch.setattr(features, "frozen_digest", lambda encoder: "same")
    monkeypatch.setattr(features, "_compute", lambda encoder, decoded, folder, shape: None)
    folders = set()
    for encoder in (model.encoders["pictures"], meta):
        with pytest.raises(DataError, match="damaged") as refused:  # nothing was computed
            cached_features(encoder, decoded, tmp_path / "devices")
        folders.add(str(refused.value).split(":")[0])
    assert len(folders) == 2


def test_a_full_disk_is_an_error_that_says_what_to_do(frozen, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    encoder = built(materials, tmp_path)[0].encoders["pictures"]

    def full(media: Tensor) -> Tensor:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(encoder, "features", full)
    with pytest.raises(DataError, match=r"the disk is full.*free some space"):
        cached_features(encoder, materials.media["pictures"].decoded["pictures"], tmp_path / "full")


def test_dropout_of_a_trunk_is_not_kept_in_the_cache(frozen, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    materials = frozen()
    decoded = materials.media["pictures"].decoded["pictures"]
    encoder = built(materials, tmp_path)[0].encoders["pictures"]
    encoder.dropout = nn.Dropout(0.5)
    encoder.kept = nn.Dropout(0.5).eval()
    plain = encoder.features

    def dropped(media: Tensor) -> Tensor:
        kept: Tensor = encoder.dropout(plain(media))
        return kept

    monkeypatch.setattr(encoder, "features", dropped)
    assert encoder.training
    indices = np.arange(len(decoded))
    one = cached_features(encoder, decoded, tmp_path / "dropped").get(indices)[0]
    assert np.array_equal(one, cached_features(encoder, decoded, tmp_path).get(indices)[0])
    assert (encoder.training, encoder.dropout.training, encoder.kept.training) == (True, True, False)


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "under frames"])
def test_features_in_a_step_under_autocast_are_those_of_the_cache(frozen, wrapped: bool) -> None:  # type: ignore[no-untyped-def]
    settings = {"name": "frozen", "image_size": 32, "patch_size": 16}
    frozen()
    if wrapped:
        settings = {"name": "frames", "frames": 2, "every": 2, "encoder": settings}
    encoder = build_encoder(settings, 32)
    media = torch.randint(0, 256, (3, *encoder.spec.shape), dtype=torch.uint8)
    plain = encoder.features(media)
    with torch.autocast("cpu", torch.bfloat16):
        live, whole = encoder.features(media), encoder(media)
        rest = encoder.from_features(plain)
    assert live.dtype == torch.float32
    assert torch.equal(live, plain)
    assert torch.equal(whole, rest)


def test_noise_has_no_cached_features(frozen, tmp_path) -> None:  # type: ignore[no-untyped-def]
    materials = frozen("arms.image.controls=[noise]")
    _, mixture = built(materials, tmp_path, "image.noise")
    assert mixture.step(0).microbatches[0].media["pictures"].features is None


def test_the_recipe_says_whether_a_cached_feature_is_charged_at_every_visit(frozen) -> None:  # type: ignore[no-untyped-def]
    visits = frozen()
    once = frozen("budget.encoder_cost=once")
    by_visit, by_pass = (
        {plan.arm.name: plan for plan in plan_study(materials)} for materials in (visits, once)
    )
    trunk = 2 * 4 * 768 * 32
    items = len(visits.media["pictures"].samples)
    assert by_pass["image"].ledger.flops["features/pictures"] == trunk * items
    assert "features/pictures" not in by_visit["image"].ledger.flops
    per_step = by_visit["image"].flops_per_step["encoder/pictures"]
    assert by_pass["image"].flops_per_step["encoder/pictures"] < per_step / 3
    assert by_visit["image"].ledger.flops_executed < by_visit["image"].ledger.total_flops
    for plans in (by_visit, by_pass):
        base = plans["text"].ledger.total_flops
        assert all(abs(plan.ledger.total_flops / base - 1) < 0.01 for plan in plans.values())
