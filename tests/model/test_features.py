"""Features of a frozen encoder are computed once, and stand for what the encoder would have made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import encoders.registry
from ablate.budget.plan import plan_study
from ablate.materials import Materials, build_mixture, prepare
from ablate.model import features
from ablate.model.build import build_model
from ablate.model.features import attach_features, cached_features, frozen_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.load import load_recipe
from encoders.base import Flops, linear_flops
from encoders.patches import Patches


class FrozenPatches(Patches):
    """A linear trunk that is frozen, and a linear map that trains: the smallest encoder with features."""

    seen = 0

    def __init__(self, config, width):  # type: ignore[no-untyped-def]
        super().__init__(config, width)
        self.feature_width = width
        self.output = nn.Linear(width, width, bias=False)
        for weight in (self.project.weight, self.place):
            weight.requires_grad_(False)

    def features(self, media: Tensor) -> Tensor:
        type(self).seen += len(media)
        with torch.no_grad():
            return Patches.forward(self, media)

    def from_features(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.output(features)
        return tokens

    def forward(self, media: Tensor) -> Tensor:
        return self.from_features(self.features(media))

    def trunk_flops_per_item(self) -> Flops:
        return Flops(linear_flops(self.tokens_per_item, self.target_width, self.width).forward, 0)

    def flops_per_item(self) -> Flops:
        own = linear_flops(self.tokens_per_item, self.width, self.width, input_gradient=False)
        return self.trunk_flops_per_item() + own


@pytest.fixture
def frozen(tiny_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(FrozenPatches, "seen", 0)
    monkeypatch.setitem(encoders.registry.ENCODERS, "frozen", f"{__name__}:FrozenPatches")

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
