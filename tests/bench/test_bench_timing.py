"""What is timed is whole steps, and processor time of the thread that does the work."""

import time
from pathlib import Path

import pytest
import torch

from ablate.bench.measurement import rates_in_turns
from ablate.bench.step import measure_step
from ablate.bench.timing import StepBench, clock, steps_per_second
from ablate.bench.tokens import draw_tokens
from ablate.data.mixture import Columns, Mixture, Step
from ablate.data.text_rows import TextRows
from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer
from ablate.recipe.schema import TrainConfig
from ablate.train.device import device_type

TINY = StepBench(layers=1, width=16, heads=2, context_length=32, vocabulary=64, rows=2, steps=6, rounds=1)
HELD = 0.05
"""Seconds that each step of a `Held` mixture takes, whatever the model."""


class Held(Mixture):
    """Takes its time over every step, working."""

    def step(self, number: int, rank: int = 0, ranks: int = 1) -> Step:
        until = time.thread_time() + HELD
        while time.thread_time() < until:
            pass
        return super().step(number, rank, ranks)


class Asleep(Mixture):
    """Takes its time over every step, waiting."""

    def step(self, number: int, rank: int = 0, ranks: int = 1) -> Step:
        time.sleep(HELD)
        return super().step(number, rank, ranks)


def mixture(kind: type[Mixture], folder: Path) -> Mixture:
    drawn = draw_tokens(folder / "tokens.bin", 20_000, TINY.vocabulary)
    text = TextRows(drawn, TINY.context_length, bos=1, pad=0, seed=0, name="text")
    return kind(Columns({"text": TINY.rows}, ("text",), 1, "flops"), {"text": text}, {}, TINY.context_length)


def model() -> FusedModel:
    return FusedModel(Transformer(TINY.model, TINY.vocabulary), {}, media_loss=False, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_time_that_rows_take_is_in_the_time_of_a_step(tmp_path):
    rate = steps_per_second(model(), mixture(Held, tmp_path), TrainConfig(rows=TINY.rows), TINY.steps)
    assert 0.2 / HELD < rate < 1 / HELD


def test_waiting_for_loader_workers_is_in_the_time_of_a_step(tmp_path):
    config = TrainConfig(rows=TINY.rows, data_workers=1)
    rate = steps_per_second(model(), mixture(Asleep, tmp_path), config, TINY.steps)
    assert rate < 1.1 / HELD


def test_warm_up_steps_are_not_in_the_time(tmp_path):
    """The first steps take twenty times as long as the others and leave no trace."""

    class SlowAtFirst(Held):
        def step(self, number: int, rank: int = 0, ranks: int = 1) -> Step:
            for _ in range(20 if number == 0 else 1):
                found = super().step(number, rank, ranks)
            return found

    slow = mixture(SlowAtFirst, tmp_path)
    assert steps_per_second(model(), slow, TrainConfig(rows=TINY.rows), TINY.steps) > 0.2 / HELD


def test_one_model_can_be_measured_again(tmp_path):
    """Nothing of a measurement is left that the next one would take for its own checkpoint or count."""
    one, rows, config = model(), mixture(Held, tmp_path), TrainConfig(rows=TINY.rows)
    rates = [steps_per_second(one, rows, config, TINY.steps) for _ in range(2)]
    assert all(0.2 / HELD < rate < 1 / HELD for rate in rates)


def test_a_model_that_diverges_is_not_timed(tmp_path):
    broken = model()
    with torch.no_grad():
        broken.backbone.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged"):
        steps_per_second(broken, mixture(Mixture, tmp_path), TrainConfig(rows=TINY.rows), TINY.steps)


@pytest.mark.skipif(device_type() != "cpu", reason="a GPU is timed by the wall")
def test_processor_time_is_taken_only_where_one_thread_does_everything():
    assert clock() is time.process_time
    assert clock(data_workers=1) is time.monotonic
    torch.set_num_threads(2)
    assert clock() is time.monotonic


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 64 is no multiple of twice 3 heads; use 66"):
        StepBench(width=64, heads=3)


def test_the_framework_is_measured_beside_the_bare_loop():
    framework, bare, plain, flops = measure_step(TINY)
    assert [one.name for one in (framework, bare, plain, flops)] == [
        "framework", "bare loop", "bare loop, no document mask", "framework, FLOPs",
    ]  # fmt: skip
    assert framework.reference == plain.reference == bare.value > 0
    assert framework.value > 0
    # 3 x (2 x weights of the matrices) x positions, and 12 x length x width x layers for attention.
    matrices = 4 * 16 * 16 + 3 * 16 * 64 + 16 * 64
    assert flops.value * 1e9 == pytest.approx(framework.value * (6 * matrices + 12 * 32 * 16))


def test_rates_are_those_of_each_call():
    def busy(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    quick, slow = rates_in_turns([busy, lambda seconds: busy(2 * seconds)], [0.001, 0.003], 0.2)
    assert 300 < quick <= 1000
    assert 1.5 < quick / slow < 2.5


def test_a_rate_counts_items_however_many_there_are_between_two_looks_at_the_clock():
    seen = []
    (rate,) = rates_in_turns([seen.append], [1, 2, 3], 0.0, slices=2, at_a_time=5)
    assert seen[3:] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    assert rate > 5
