"""The time a plan states is measured on what the runs will do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from frozen_patches import FrozenPatches
from torch import Tensor

import ablate.model.build
import encoders.registry
from ablate.budget.plan import plan_study
from ablate.materials import Materials
from ablate.model import fusion
from ablate.recipe.schema import Recipe
from ablate.study.estimate import TIMED_POSITIONS, estimate_seconds
from ablate.study.run import execute
from ablate.study.study import Places, prepare_study

FROZEN = "streams.pictures.encoder.name=frozen"


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Items that trunks see, a number a pass."""
    seen: list[int] = []
    original = FrozenPatches.features

    def features(self: FrozenPatches, media: Tensor) -> Tensor:
        seen.append(len(media))
        return original(self, media)

    monkeypatch.setattr(FrozenPatches, "features", features)
    monkeypatch.setitem(encoders.registry.ENCODERS, "frozen", "frozen_patches:FrozenPatches")
    return seen


@pytest.mark.parametrize("media_loss", [0.0, 0.5])
def test_a_step_is_timed_without_the_trunk_that_its_flops_leave_out(
    prepared: Callable[..., Materials], encoded: list[int], media_loss: float
) -> None:
    materials = prepared(FROZEN, f"arms.image.media_loss={media_loss}")
    assert all(seconds > 0 for seconds in estimate_seconds(materials, plan_study(materials)).values())
    assert encoded == []


def test_noise_and_blank_run_their_trunk_and_are_timed_for_themselves(
    prepared: Callable[..., Materials], encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    materials = prepared(FROZEN, "arms.image.controls=[shuffled, noise, blank]")
    timed: list[bool] = []
    original = fusion.FusedModel.forward

    def forward(self: fusion.FusedModel, batch):  # type: ignore[no-untyped-def]
        timed.append(bool(batch.media) and batch.media["pictures"].features is None)
        return original(self, batch)

    monkeypatch.setattr(fusion.FusedModel, "forward", forward)
    estimate_seconds(materials, plan_study(materials))
    # Two passes each: text, image (which stands for shuffled), noise, blank.
    assert timed == [False] * 4 + [True] * 4
    assert len(encoded) == 4


def test_on_a_cpu_a_large_step_is_timed_on_a_few_of_its_rows(
    prepared: Callable[..., Materials], monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 rows of a real model take minutes and gigabytes on one thread; two of them tell the rate."""
    size = ("train.rows=64", "train.microbatch_rows=0", "model.context_length=1024", "budget.steps=100")
    materials = prepared(*size)
    timed: set[int] = set()
    original = fusion.FusedModel.forward

    def forward(self: fusion.FusedModel, batch):  # type: ignore[no-untyped-def]
        timed.add(len(batch.tokens))
        return original(self, batch)

    monkeypatch.setattr(fusion.FusedModel, "forward", forward)
    found = estimate_seconds(materials, plan_study(materials))
    assert timed == {TIMED_POSITIONS // 1024}
    assert found["image"] > 0


def test_a_run_builds_its_encoders_once_for_the_plan_and_once_for_the_model(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    recipe = tiny("seeds=[0]", "budget={match: positions, steps: 2}")
    job = next(job for job in prepare_study(recipe, places, 1).jobs if job.arm == "image")
    built: list[str] = []
    original = ablate.model.build.build_encoder

    def build(settings, width):  # type: ignore[no-untyped-def]
        built.append(settings["name"])
        return original(settings, width)

    monkeypatch.setattr(ablate.model.build, "build_encoder", build)
    assert execute(job).status == "finished"
    assert built == ["patches", "patches"]


def test_two_devices_take_half_the_time_of_one(
    prepared: Callable[..., Materials], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.study.estimate._flops_per_second", lambda materials, plan: 1e9)
    one, two = (
        estimate_seconds(materials, plan_study(materials))
        for materials in (prepared(), prepared("train.devices=2"))
    )
    assert one == {arm: 2 * seconds for arm, seconds in two.items()}
