"""What a run's identity follows: decoders and encoder libraries where they matter, and nowhere else."""

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from frozen_patches import FrozenPatches

import encoders.base
import encoders.registry
from ablate.budget.plan import plan_study
from ablate.data import decoded
from ablate.materials import Materials
from ablate.model.features import frozen_digest
from ablate.study.identity import resolved_arm, run_identity
from encoders.registry import build_encoder

CONTROLS = "arms.image.controls=[captions_only, captions_only_refill, shuffled, noise, blank, repeat_text]"
WITHOUT_MEDIA = {"text", "image.captions_only", "image.captions_only_refill", "image.repeat_text"}


def identities(materials: Materials) -> dict[str, str]:
    return {plan.arm.name: run_identity(materials, plan, 0) for plan in plan_study(materials)}


def newer(package: str) -> Callable[[str], str]:
    return lambda name: "999" if name == package else version(name)


def test_another_decoder_is_another_run_of_the_arms_that_show_media_alone(
    prepared: Callable[..., Materials], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identities(prepared(CONTROLS))
    monkeypatch.setattr(decoded, "version", newer("pillow"))
    after = identities(prepared(CONTROLS))
    assert {name for name in before if before[name] == after[name]} == WITHOUT_MEDIA


class Borrowed(FrozenPatches):
    """An encoder whose code comes from a package."""

    libraries = ("pillow",)


def test_another_version_of_an_encoders_library_is_another_run_and_other_features(
    prepared: Callable[..., Materials], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoders.registry.ENCODERS, "borrowed", f"{__name__}:Borrowed")
    settings = {"name": "borrowed", "image_size": 32, "patch_size": 16}
    framed = {"name": "frames", "frames": 2, "every": 1, "encoder": settings}
    materials = prepared("streams.pictures.encoder.name=borrowed", CONTROLS)
    built = [build_encoder(own, 32) for own in (settings, framed)]
    before, digests = identities(materials), [frozen_digest(one) for one in built]
    monkeypatch.setattr(encoders.base, "version", newer("pillow"))
    after = identities(materials)
    assert {name for name in before if before[name] == after[name]} == WITHOUT_MEDIA
    assert not set(digests) & {frozen_digest(one) for one in built}


def test_open_clip_is_named_with_what_it_builds_on() -> None:
    assert encoders.registry.encoder_class("open_clip").libraries == ("open_clip_torch", "timm")
    assert encoders.registry.encoder_class("patches").libraries == ()


def test_weights_in_the_home_folder_are_digested_by_what_they_hold(
    materials: Materials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tower.bin").write_bytes(b"weights")
    plan = next(plan for plan in plan_study(materials) if plan.arm.name == "image")

    def resolved(weights: str) -> object:
        own = dataclasses.replace(
            materials.recipe.streams["pictures"], encoder={"name": "open_clip", "weights": weights}
        )
        recipe = dataclasses.replace(materials.recipe, streams=materials.recipe.streams | {"pictures": own})
        return resolved_arm(dataclasses.replace(materials, recipe=recipe), plan)

    assert resolved("~/tower.bin") == resolved(str(tmp_path / "tower.bin"))
