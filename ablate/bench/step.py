"""Training steps under the framework against a bare loop with the same model, in turns, in one process."""

import statistics
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F

from ablate.bench.measurement import Measurement
from ablate.bench.timing import WARM_UP, StepBench, clock, steps_per_second, wait
from ablate.bench.tokens import draw_tokens
from ablate.budget.flops import step_flops
from ablate.data.batch import UNSCORED, Batch
from ablate.data.mixture import Columns, Mixture, to_device
from ablate.data.text_rows import TextRows
from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer
from ablate.recipe.schema import TrainConfig
from ablate.seeding import seeded_init
from ablate.train.device import device_type
from ablate.train.optim import build_optimizer


def measure_step(shape: StepBench) -> list[Measurement]:
    """Positions a second: the framework (data path, Lightning, accounts) against a bare loop.

    The bare loop runs the same backbone with the same document mask, precision and compilation on one
    prepared batch, with no Lightning, no data path, no clipping and no accounts. Each value is the
    median over the rounds.
    """
    torch.set_num_threads(shape.threads)
    framework, bare, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw_tokens(Path(folder) / "tokens.bin", 2_000_000, shape.vocabulary)
        text = TextRows(drawn, shape.context_length, bos=1, pad=0, seed=0, name="text")
        mixture = Mixture(
            Columns({"text": shape.rows}, ("text",), 1, "flops"), {"text": text}, {}, shape.context_length
        )
        config = TrainConfig(rows=shape.rows, log_every=10)
        for _ in range(shape.rounds):
            rate = steps_per_second(_model(shape), mixture, config, shape.steps)
            framework.append(rate * shape.positions)
            bare.append(_bare(shape, mixture, masked=True))
            plain.append(_bare(shape, mixture, masked=False))
    reference = statistics.median(bare)
    flops = sum(step_flops(shape.model, shape.vocabulary, shape.rows, {}, {}, media_loss=False).values())
    per_position = flops / shape.positions
    return [
        Measurement("framework", statistics.median(framework), "positions/s", reference),
        Measurement("bare loop", reference, "positions/s", reference),
        Measurement("bare loop, no document mask", statistics.median(plain), "positions/s", reference),
        Measurement("framework, FLOPs", statistics.median(framework) * per_position / 1e9, "GFLOP/s", 0.0),
    ]


def _model(shape: StepBench) -> FusedModel:
    with seeded_init(0, "init/backbone"):
        backbone = Transformer(shape.model, shape.vocabulary)
    return FusedModel(backbone, {}, media_loss=False, seed=0)


def _bare(shape: StepBench, mixture: Mixture, *, masked: bool) -> float:
    """Positions a second of the bare loop."""
    device = torch.device(device_type())
    model = _model(shape).backbone.to(device)
    optimizer = build_optimizer(model, TrainConfig())
    forward = torch.compile(model) if device.type == "cuda" else model
    batch = to_device(mixture.step(0).microbatches[0], device)
    now, began = clock(), 0.0
    for step in range(shape.steps + WARM_UP):
        if step == WARM_UP:
            wait()
            began = now()
        _bare_step(forward, optimizer, batch, device, masked)
    wait()
    return shape.steps * shape.positions / (now() - began)


def _bare_step(
    forward: "torch.nn.Module | object",
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    device: torch.device,
    masked: bool,
) -> None:
    assert callable(forward)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        logits = forward(batch.tokens, batch.document if masked else None, batch.position if masked else None)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.labels.flatten(), ignore_index=UNSCORED)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
