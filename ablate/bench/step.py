"""Training steps under the framework against a bare loop with the same model, in turns, in one process."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from ablate.bench.data import Measurement
from ablate.bench.tokens import draw_tokens
from ablate.budget.flops import step_flops
from ablate.data.batch import UNSCORED, Batch
from ablate.data.mixture import Columns, Mixture, to_device
from ablate.data.text_rows import TextRows
from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig, TrainConfig
from ablate.seeding import seeded_init
from ablate.train.device import device_type
from ablate.train.fit import fit
from ablate.train.optim import build_optimizer


@dataclass(frozen=True)
class StepBench:
    """What is timed."""

    layers: int = 6
    width: int = 384
    heads: int = 6
    context_length: int = 256
    vocabulary: int = 8192
    rows: int = 8
    steps: int = 12
    """Steps of one measurement."""
    rounds: int = 3
    """Measurements of each side, in turns."""
    threads: int = 1


def measure_step(shape: StepBench) -> list[Measurement]:
    """Positions a second: the framework (data path, Lightning, accounts) against a bare loop.

    The bare loop runs the same backbone with the same document mask, precision and compilation on one
    prepared batch, with no Lightning, no data path, no clipping and no accounts. Each value is the
    median over the rounds.
    """
    torch.set_num_threads(shape.threads)
    config = ModelConfig(
        layers=shape.layers, width=shape.width, heads=shape.heads, context_length=shape.context_length
    )
    framework, bare, plain = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        drawn = draw_tokens(Path(folder) / "tokens.bin", 2_000_000, shape.vocabulary)
        text = TextRows(drawn, shape.context_length, bos=1, pad=0, seed=0, name="text")
        mixture = Mixture(
            Columns({"text": shape.rows}, ("text",), 1, "flops"), {"text": text}, {}, shape.context_length
        )
        for number in range(shape.rounds):
            # A folder of its own: a run that finds its last checkpoint trains nothing.
            place = Path(folder) / str(number)
            place.mkdir()
            framework.append(_framework(shape, config, mixture, place))
            bare.append(_bare(shape, config, mixture, masked=True))
            plain.append(_bare(shape, config, mixture, masked=False))
    reference = statistics.median(bare)
    flops = sum(step_flops(config, shape.vocabulary, shape.rows, {}, {}, media_loss=False).values())
    per_position = flops / (shape.rows * shape.context_length)
    return [
        Measurement("framework", statistics.median(framework), "positions/s", reference),
        Measurement("bare loop", reference, "positions/s", reference),
        Measurement("bare loop, no document mask", statistics.median(plain), "positions/s", reference),
        Measurement("framework, FLOPs", statistics.median(framework) * per_position / 1e9, "GFLOP/s", 0.0),
    ]


def _model(shape: StepBench, config: ModelConfig) -> FusedModel:
    with seeded_init(0, "init/backbone"):
        backbone = Transformer(config, shape.vocabulary)
    return FusedModel(backbone, {}, media_loss=False, seed=0)


def _framework(shape: StepBench, config: ModelConfig, mixture: Mixture, folder: Path) -> float:
    seen: list[tuple[float, int]] = []

    class Timed(Mixture):
        """Notes when each step is asked for."""

        def step(self, number: int, rank: int = 0, ranks: int = 1):  # type: ignore[no-untyped-def]
            seen.append((time.monotonic(), number))
            return super().step(number, rank, ranks)

    timed = Timed(mixture.columns, mixture.text, mixture.media, mixture.context_length)
    warm = 3
    result = fit(
        _model(shape, config),
        timed,
        TrainConfig(rows=shape.rows, log_every=10),
        steps=shape.steps + warm,
        media_loss=0.0,
        flops_per_step=1,
        folder=folder,
    )
    assert result.account.steps == shape.steps + warm
    # Lightning fetches one step ahead, so the gaps between fetches are the lengths of whole steps.
    (began, _), (ended, _) = seen[warm], seen[-1]
    return (len(seen) - 1 - warm) * shape.rows * shape.context_length / (ended - began)


def _bare(shape: StepBench, config: ModelConfig, mixture: Mixture, *, masked: bool) -> float:
    device = torch.device(device_type())
    model = _model(shape, config).backbone.to(device)
    optimizer = build_optimizer(model, TrainConfig())
    forward = torch.compile(model) if device.type == "cuda" else model
    batch = to_device(mixture.step(0).microbatches[0], device)
    warm, began = 3, 0.0
    for step in range(shape.steps + warm):
        if step == warm:
            _wait(device)
            began = time.monotonic()
        _bare_step(forward, optimizer, batch, device, masked)
    _wait(device)
    return shape.steps * shape.rows * shape.context_length / (time.monotonic() - began)


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


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
