"""Averages of weights: what they are the mean of, that a restart changes nothing, and that none costs
nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ablate.materials import Materials, build_mixture
from ablate.model.build import build_model
from ablate.model.fusion import FusedModel
from ablate.model.transformer import weights_digest
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import Average, TrainConfig
from ablate.train.averaging import (
    WeightAverage,
    averaged_steps,
    averaging_notes,
    idle_settings,
    weight_average,
)
from ablate.train.callbacks import Averaging
from ablate.train.fit import fit

shares = st.floats(0.0, 0.99)


def walk(average: WeightAverage, values: list[float], first: int = 1) -> nn.Linear:
    """A model of one weight that took ``values`` after steps ``first`` and on."""
    model = nn.Linear(1, 1, bias=False)
    for step, value in enumerate(values, start=first):
        nn.init.constant_(model.weight, value)
        average.enter(model, step)
    return model


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30), shares, st.integers(1, 12))
def test_last_k_is_the_mean_of_equally_spaced_weights(values: list[float], share: float, count: int) -> None:
    config = TrainConfig(average="last_k", average_from=share, average_checkpoints=count)
    steps = averaged_steps(config, len(values))
    average = weight_average(config, len(values))
    assert average is not None
    model = walk(average, values)
    average.copy_to(model)
    assert model.weight.item() == pytest.approx(np.mean([values[step - 1] for step in steps]), abs=1e-4)


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=30), shares, st.floats(0.01, 2.0))
def test_an_exponential_average_weighs_each_step_by_its_age_and_adds_up_to_one(
    values: list[float], share: float, half_life: float
) -> None:
    config = TrainConfig(average="ema", average_from=share, average_half_life=half_life)
    average = weight_average(config, len(values))
    assert average is not None
    model = walk(average, values)
    average.copy_to(model)
    steps = np.array(averaged_steps(config, len(values)))
    weights = 0.5 ** ((len(values) - steps) / (half_life * len(values)))
    wanted = (weights * np.array(values)[steps - 1]).sum() / weights.sum()
    assert model.weight.item() == pytest.approx(wanted, abs=1e-4)


@given(st.integers(1, 5000), shares, st.integers(1, 50), st.sampled_from(["ema", "last_k"]))
def test_the_steps_that_enter_rise_lie_after_the_stated_share_and_end_with_the_last(
    steps: int, share: float, count: int, kind: str
) -> None:
    chosen: Average = "ema" if kind == "ema" else "last_k"
    config = TrainConfig(average=chosen, average_from=share, average_checkpoints=count)
    entered = list(averaged_steps(config, steps))
    assert entered == sorted(set(entered))
    assert entered[-1] == steps
    assert entered[0] > min(int(share * steps), steps - 1)
    gaps = np.diff(entered)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


@given(st.lists(st.floats(-10, 10, width=32), min_size=4, max_size=20), st.integers(1, 3))
def test_an_average_that_was_saved_and_loaded_goes_on_bit_for_bit(values: list[float], cut: int) -> None:
    whole, halves = (WeightAverage(range(1, len(values) + 1), 0.9) for _ in range(2))
    one = walk(whole, values)
    walk(halves, values[:cut])
    resumed = WeightAverage(halves.steps, halves.decay)
    resumed.load_state_dict(halves.state_dict())
    two = walk(resumed, values[cut:], cut + 1)
    for average, model in ((whole, one), (resumed, two)):
        average.copy_to(model)
    assert torch.equal(one.weight, two.weight)


def test_frozen_weights_are_in_no_average() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    average = WeightAverage([1])
    average.enter(model, 1)
    assert set(average.means) == {"1.weight", "1.bias"}


def test_an_average_that_nothing_entered_is_not_taken_for_weights() -> None:
    with pytest.raises(ValueError, match="after 0 entries"):
        WeightAverage([5]).copy_to(nn.Linear(1, 1))


def test_settings_of_an_average_that_is_not_asked_for_have_no_effect() -> None:
    every = {"average", "average_from", "average_half_life", "average_checkpoints"}
    assert idle_settings(TrainConfig()) == every
    assert idle_settings(TrainConfig(average="ema")) == {"average_checkpoints"}
    assert idle_settings(TrainConfig(average="last_k")) == {"average_half_life"}


def test_a_record_says_which_weights_were_scored() -> None:
    assert averaging_notes(TrainConfig(), 400) == []
    (ema,) = averaging_notes(TrainConfig(average="ema"), 400)
    assert "half-life 20 steps" in ema
    (last,) = averaging_notes(TrainConfig(average="last_k", average_checkpoints=50), 100)
    assert "mean of 20 equally spaced weights, steps 81 to 100 of 100" in last


def train(materials: Materials, folder: Path, last: int | None = None, **average: object) -> FusedModel:
    """The image arm over 12 steps; with ``last`` the process dies as that step begins."""
    torch.set_num_threads(1)
    arm = next(one for one in expand_arms(materials.recipe) if one.name == "image")
    model = build_model(materials.recipe, arm, materials.tokenizer.vocabulary, 0)
    mixture = build_mixture(materials, arm, 0)
    if last is not None:
        inner, steps = mixture.step, mixture

        def dying(number: int, rank: int = 0, ranks: int = 1) -> object:
            if number >= last:
                raise KeyError("killed")
            return inner(number, rank, ranks)

        object.__setattr__(steps, "step", dying)
    folder.mkdir(exist_ok=True)
    config = replace(materials.recipe.train, checkpoint_every=0.01, **average)  # type: ignore[arg-type]
    fit(model, mixture, config, steps=12, media_loss=0.0, flops_per_step=1, folder=folder)
    return model


EMA = {"average": "ema", "average_from": 0.25}


def test_a_resumed_run_ends_in_the_same_average_and_the_last_weights_are_another(
    materials: Materials, tmp_path: Path
) -> None:
    """The average covers backbone and encoders; it changes no step of training."""
    whole = train(materials, tmp_path / "whole", **EMA)
    with pytest.raises(KeyError, match="killed"):
        train(materials, tmp_path / "broken", last=7, **EMA)
    resumed = train(materials, tmp_path / "broken", **EMA)
    assert weights_digest(resumed) == weights_digest(whole)
    plain = train(materials, tmp_path / "plain")
    kept = torch.load(tmp_path / "whole" / "checkpoint.ckpt", weights_only=True)["state_dict"]
    averaged = whole.state_dict()
    for name, weight in plain.state_dict().items():
        assert torch.equal(kept[f"model.{name}"], weight)
    moved = [name for name, weight in plain.state_dict().items() if not torch.equal(averaged[name], weight)]
    assert any(name.startswith("encoders.") for name in moved)
    assert any(name.startswith("backbone.") for name in moved)


def test_averages_that_only_watch_leave_the_run_as_it_is(materials: Materials, tmp_path: Path) -> None:
    """By which one trajectory gives the scores of several averages."""
    arm = next(one for one in expand_arms(materials.recipe) if one.name == "text")
    digests = []
    for watchers in ([], [Averaging(WeightAverage(range(3, 7)), str(which)) for which in range(2)]):
        folder = tmp_path / str(len(watchers))
        folder.mkdir()
        model = build_model(materials.recipe, arm, materials.tokenizer.vocabulary, 0)
        mixture = build_mixture(materials, arm, 0)
        options = {"steps": 6, "media_loss": 0.0, "flops_per_step": 1, "folder": folder}
        fit(model, mixture, materials.recipe.train, watching=watchers, **options)  # type: ignore[arg-type]
        digests.append(weights_digest(model))
        assert all(watcher.average.entered == 4 for watcher in watchers)
    assert digests[0] == digests[1]
