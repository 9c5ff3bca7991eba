"""Training: accumulation changes nothing, a restart changes nothing, divergence is said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ablate.data.mixture import Mixture, Step
from ablate.materials import Materials, build_mixture
from ablate.model.build import build_model
from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer, weights_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import ModelConfig, TrainConfig
from ablate.train.account import is_digest_step
from ablate.train.fit import Fit, fit
from ablate.train.module import PairedModule
from encoders.registry import build_encoder


def train(
    materials: Materials, folder: Path, *, arm: str = "image", steps: int = 12, mixture: Mixture | None = None
) -> tuple[FusedModel, Fit]:
    torch.set_num_threads(1)
    chosen = next(one for one in expand_arms(materials.recipe) if one.name == arm)
    model = build_model(materials.recipe, chosen, materials.tokenizer.vocabulary, 0)
    folder.mkdir(exist_ok=True)
    result = fit(
        model,
        mixture or build_mixture(materials, chosen, 0),
        materials.recipe.train,
        steps=steps,
        media_loss=chosen.media_loss,
        flops_per_step=1000,
        folder=folder,
    )
    return model, result


class StopsAt(Mixture):
    """A mixture whose process dies when a step is asked for."""

    last = 7

    def step(self, number: int, rank: int = 0, ranks: int = 1) -> Step:
        if number >= self.last:
            raise KeyError("killed")
        return super().step(number, rank, ranks)


def test_a_resumed_run_ends_in_the_same_weights_and_the_same_account(
    materials: Materials, tmp_path: Path
) -> None:
    whole, reference = train(materials, tmp_path / "whole")
    chosen = next(one for one in expand_arms(materials.recipe) if one.name == "image")
    inner = build_mixture(materials, chosen, 0)
    dying = StopsAt(inner.columns, inner.text, inner.media, inner.context_length)
    # Seven steps may take less time than passes between two checkpoints.
    often = replace(materials.recipe, train=replace(materials.recipe.train, checkpoint_every=1e-6))
    with pytest.raises(KeyError, match="killed"):
        train(replace(materials, recipe=often), tmp_path / "broken", mixture=dying)
    assert (tmp_path / "broken" / "checkpoint.ckpt").exists()
    resumed, account = train(materials, tmp_path / "broken")
    assert weights_digest(resumed) == weights_digest(whole)
    assert account.account.text_rows == reference.account.text_rows
    assert account.account.counts == reference.account.counts
    assert [point.loss for point in account.account.curve] == [
        point.loss for point in reference.account.curve
    ]
    assert account.account.steps == 12


def test_a_run_killed_after_its_last_step_is_not_trained_again(materials: Materials, tmp_path: Path) -> None:
    """Scoring comes after training; what kills it must not cost the training."""
    first, _ = train(materials, tmp_path)
    chosen = next(one for one in expand_arms(materials.recipe) if one.name == "image")
    inner = build_mixture(materials, chosen, 0)
    dead = StopsAt(inner.columns, inner.text, inner.media, inner.context_length)
    dead.last = 0
    again, result = train(materials, tmp_path, mixture=dead)
    assert weights_digest(again) == weights_digest(first)
    assert result.account.steps == 12


@pytest.mark.parametrize("arm", ["text", "image.captions_only"])
def test_batches_prepared_by_workers_are_the_same(
    prepared: Callable[..., Materials], tmp_path: Path, arm: str
) -> None:
    digests = [
        weights_digest(
            train(prepared(f"train.data_workers={workers}"), tmp_path / str(workers), arm=arm, steps=4)[0]
        )
        for workers in (0, 2)
    ]
    assert digests[0] == digests[1]


def test_weights_that_the_last_step_ruined_are_a_divergence(
    prepared: Callable[..., Materials], tmp_path: Path
) -> None:
    materials = prepared("train.learning_rate=1.0e30", "train.weight_decay=1.0e30")
    _, result = train(materials, tmp_path, arm="text", steps=1)
    assert result.diverged


def test_a_checkpoint_holds_plain_values_and_tensors_only(materials: Materials, tmp_path: Path) -> None:
    train(materials, tmp_path)
    loaded = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert 0 < loaded["account"]["steps"] <= 12


def test_training_twice_is_bit_identical(materials: Materials, tmp_path: Path) -> None:
    digests = [weights_digest(train(materials, tmp_path / name)[0]) for name in ("one", "two")]
    assert digests[0] == digests[1]


def test_microbatches_change_nothing_but_rounding(prepared: Callable[..., Materials], tmp_path: Path) -> None:
    """The loss is a sum over the global batch, so accumulation is not an average of averages."""
    split = prepared("train.microbatch_rows=4", "train.learning_rate=1.0e-3")
    whole = prepared("train.microbatch_rows=8", "train.learning_rate=1.0e-3")
    curves = [
        [point.loss for point in train(one, tmp_path / name, arm="text", steps=6)[1].account.curve]
        for name, one in (("split", split), ("whole", whole))
    ]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_two_arms_of_a_seed_read_the_same_text_rows(materials: Materials, tmp_path: Path) -> None:
    text, image = (train(materials, tmp_path / arm, arm=arm)[1].account.proof() for arm in ("text", "image"))
    assert set(text) == set(image) == {str(step) for step in range(1, 13) if is_digest_step(step)} | {"12"}
    for step, columns in image.items():
        shared = {column for column in columns if column.startswith("text/")}
        assert len(shared) == 4
        assert all(text[step][column] == columns[column] for column in shared)


def test_digest_steps_come_within_a_fifth_of_any_end() -> None:
    for end in range(8, 3000):
        assert any(is_digest_step(step) for step in range(int(end / 1.2), end + 1))


def test_a_diverging_run_is_said_to_diverge(prepared: Callable[..., Materials], tmp_path: Path) -> None:
    materials = prepared("train.learning_rate=1.0e30", "train.clip=0")
    _, result = train(materials, tmp_path, arm="text", steps=30)
    assert "the loss is" in result.diverged
    assert result.account.steps < 30


def test_the_loss_falls(materials: Materials, tmp_path: Path) -> None:
    recipe = replace(materials.recipe, train=replace(materials.recipe.train, log_every=1))
    _, result = train(replace(materials, recipe=recipe), tmp_path, steps=40)
    curve = result.account.curve
    assert curve[-1].loss < 0.8 * curve[0].loss
    assert curve[-1].media_loss is not None
    assert curve[0].media_loss is not None
    assert curve[-1].media_loss < curve[0].media_loss


def test_lightning_loggers_write_beside_the_run(prepared: Callable[..., Materials], tmp_path: Path) -> None:
    train(prepared("train.loggers=[csv]", "train.log_every=2"), tmp_path, steps=6)
    metrics = (tmp_path / "csv" / "metrics.csv").read_text(encoding="utf-8")
    assert "loss" in metrics.splitlines()[0]
    assert len(metrics.splitlines()) == 4


def test_each_encoder_is_clipped_alone() -> None:
    """A large gradient in one modality leaves another one's as it is."""
    config = ModelConfig(layers=1, width=32, heads=2, context_length=16)
    encoders = {name: build_encoder({"name": name}, 32) for name in ("patches", "series_patches")}
    model = FusedModel(Transformer(config, 300), encoders, media_loss=True, seed=0)
    for name, size in (("patches", 1e-4), ("series_patches", 10.0)):
        for weight in (*model.encoders[name].parameters(), *model.media_heads[name].parameters()):
            weight.grad = torch.full_like(weight, size)
    PairedModule(model, TrainConfig(rows=1, clip=1.0), 1, 1.0, 1)._clip()
    for part in (model.encoders["patches"], model.media_heads["patches"]):
        assert all((weight.grad == 1e-4).all() for weight in part.parameters())
    for part in (model.encoders["series_patches"], model.media_heads["series_patches"]):
        norms = [weight.grad.norm() for weight in part.parameters()]
        assert torch.stack(norms).norm().item() == pytest.approx(1.0, rel=1e-3)
