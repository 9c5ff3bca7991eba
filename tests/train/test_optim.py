"""The schedule is a function of the fraction of the budget; decay touches matrices only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ablate.recipe.schema import TrainConfig
from ablate.train.optim import build_optimizer, learning_rate
from encoders.registry import build_encoder

COSINE = TrainConfig(learning_rate=1.0, warmup=0.1, final_learning_rate=0.0)
WSD = TrainConfig(learning_rate=1.0, warmup=0.1, schedule="wsd", decay=0.2, final_learning_rate=0.1)


@given(st.integers(20, 3000), st.sampled_from([COSINE, WSD]))
def test_two_budgets_have_one_schedule_over_the_fraction(steps: int, config: TrainConfig) -> None:
    for fraction in (0.3, 0.5, 0.85):
        long = learning_rate(config, round(fraction * steps * 10), steps * 10)
        assert learning_rate(config, round(fraction * steps), steps) == pytest.approx(
            long, abs=2.5 / steps + 1e-9
        )


@given(st.integers(1, 500))
def test_the_rate_never_exceeds_its_peak_nor_falls_below_zero(steps: int) -> None:
    for config in (COSINE, WSD):
        rates = [learning_rate(config, step, steps) for step in range(steps)]
        assert all(0.0 < rate <= 1.0 for rate in rates)


def test_the_cosine_warms_up_and_ends_near_zero() -> None:
    rates = [learning_rate(COSINE, step, 1000) for step in range(1000)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] < 1e-5


def test_wsd_is_stable_between_warm_up_and_decay() -> None:
    rates = [learning_rate(WSD, step, 1000) for step in range(1000)]
    assert set(rates[110:790]) == {1.0}
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_decay_touches_matrices_only() -> None:
    encoder = build_encoder({"name": "patches", "image_size": 32, "patch_size": 16}, width=4)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.RMSNorm(4), encoder)
    optimizer = build_optimizer(model, TrainConfig(weight_decay=0.3))
    decay = {
        id(weight): group["weight_decay"] for group in optimizer.param_groups for weight in group["params"]
    }
    assert {name: decay[id(weight)] for name, weight in model.named_parameters()} == {
        "0.weight": 0.3,
        "1.weight": 0.3,
        "1.bias": 0.0,
        "2.weight": 0.0,
        "3.place": 0.0,
        "3.project.weight": 0.3,
    }
