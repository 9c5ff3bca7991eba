"""Training steps of an arm with media against the text arm, as runs take them, in turns, in one process."""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml

from ablate.bench.items import clip, pictures, recording, series
from ablate.bench.measurement import Measurement
from ablate.bench.needed import needed_flops
from ablate.bench.shards import write_shard
from ablate.bench.timing import StepBench, steps_per_second
from ablate.budget.plan import Plan, plan_study
from ablate.materials import Materials, build_mixture, prepare
from ablate.model.build import build_model
from ablate.model.features import attach_features
from ablate.recipe.schema import (
    ArmConfig,
    BudgetConfig,
    Control,
    EndpointsConfig,
    Modality,
    Recipe,
    StreamConfig,
    TokenizerConfig,
    TrainConfig,
)
from ablate.train.device import device_type
from encoders.base import Encoder
from encoders.media_spec import ImageSpec, SeriesSpec
from encoders.registry import build_encoder, complete_settings

_TEXT_WORDS = 1_000_000
_DOCUMENT_WORDS = 400
_CAPTION_WORDS = 12
"""Words of a caption, as those of photographs have."""
_COUNTED_STEPS = 8
"""Steps whose positions, pairs and media are counted."""
_ITEMS = {"image": 2048, "audio": 128, "video": 128, "sensor": 1024}


@dataclass(frozen=True)
class MediaBench:
    """What is timed beside the text arm."""

    step: StepBench = field(default_factory=StepBench)
    share: float = 0.25
    """Share of the rows that media take."""
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "patches"})
    """`name` of a registered encoder, which decides the modality, and its settings."""
    media_loss: float = 1.0
    """Weight of the next-patch regression."""
    controls: tuple[Control, ...] = ()
    """Controls of the arm that are timed too."""
    data_workers: int = 0
    """Processes that prepare batches."""


def measure_media(bench: MediaBench) -> list[Measurement]:
    """Positions and FLOPs a second of every arm, each against the text arm in the same run.

    The arms come out of a recipe over shards made here and are trained as a run trains them: decoded
    cache, rows, slots, transfer, encoder, media loss, accounts. FLOPs are those that the steps execute,
    from shapes, and those that they need (see `needed_flops`). Each value is the median over the rounds;
    every round takes the arms in the other order.
    """
    torch.set_num_threads(bench.step.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        materials = prepare(_recipe(bench, folder), folder / "cache")
        plans = plan_study(materials)
        arms = [_Arm(materials, plan, folder / "cache") for plan in plans]
        rates: dict[str, list[float]] = {plan.arm.name: [] for plan in plans}
        for number in range(bench.step.rounds):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                rates[arm.plan.arm.name].append(arm.steps_per_second(bench.step.steps))
        needed = {arm.plan.arm.name: needed_flops(arm.model, arm.mixture, _COUNTED_STEPS) for arm in arms}
    return _measurements(
        bench, plans, {name: statistics.median(found) for name, found in rates.items()}, needed
    )


def encoder_settings(name: str, changes: Sequence[str]) -> dict[str, Any]:
    """Settings of the encoder ``name`` with ``changes``, KEY=VALUE each.

    Raises:
        ValueError: no such encoder, a change that is none, or a key or value that the encoder refuses.
    """
    given: dict[str, Any] = {"name": name}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f"--setting {change}: write KEY=VALUE, such as image_size=64")
        try:
            given[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--setting {change}: {value} is no YAML value") from error
    return complete_settings(given)


def known_controls(names: Sequence[str]) -> tuple[Control, ...]:
    """``names`` as controls.

    Raises:
        ValueError: one of them is no control.
    """
    known: dict[str, Control] = {name: name for name in get_args(Control)}
    for name in names:
        if name not in known:
            raise ValueError(f"--control {name}: no such control; known: {', '.join(known)}")
    return tuple(known[name] for name in names)


class _Arm:
    """One arm, built once: the next measurement goes on with its model, which is compiled already."""

    def __init__(self, materials: Materials, plan: Plan, cache: Path) -> None:
        self.plan = plan
        self.config = materials.recipe.train
        self.model = build_model(materials.recipe, plan.arm, materials.vocabulary, seed=0)
        self.mixture = build_mixture(materials, plan.arm, seed=0)
        attach_features(self.model.to(device_type()), self.mixture, cache, media_loss=plan.arm.media_loss > 0)

    def steps_per_second(self, steps: int) -> float:
        return steps_per_second(
            self.model,
            self.mixture,
            self.config,
            steps,
            media_loss=self.plan.arm.media_loss,
            flops_per_step=sum(self.plan.flops_per_step.values()),
        )


def _measurements(
    bench: MediaBench, plans: list[Plan], rates: dict[str, float], needed: dict[str, float]
) -> list[Measurement]:
    """Of each arm its positions and its FLOPs a second; those of the others beside the first's."""
    found: list[Measurement] = []
    reference = (0.0, 0.0, 0.0)
    for plan in plans:
        name, rate = plan.arm.name, rates[plan.arm.name]
        positions, flops = rate * bench.step.positions, rate * plan.executed_per_step / 1e9
        useful = rate * needed[name] / 1e9
        found.append(Measurement(f"{name} arm", positions, "positions/s", reference[0]))
        found.append(Measurement(f"{name} arm, FLOPs", flops, "GFLOP/s", reference[1]))
        found.append(
            Measurement(
                f"{name} arm, FLOPs without padding and masked pairs", useful, "GFLOP/s", reference[2]
            )
        )
        reference = reference if any(reference) else (positions, flops, useful)
    return found


def _recipe(bench: MediaBench, folder: Path) -> Recipe:
    """A study of the text arm and one arm with media over shards that are written into ``folder``."""
    step = bench.step
    encoder = build_encoder(bench.encoder, step.width)
    modality: Modality = encoder.modality  # type: ignore[assignment]
    words = _words(step.vocabulary)
    _write_documents(folder / "text.jsonl", words, _text_words(step), seed=0)
    _write_documents(folder / "heldout.jsonl", words, _DOCUMENT_WORDS, seed=1)
    shard = folder / f"{modality}-000.tar"
    captions = _captions(words, _ITEMS[modality])
    samples = ((data, {"captions": [next(captions)], **more}) for data, more in _media(encoder))
    write_shard(shard, _EXTENSIONS[modality], samples)
    return Recipe(
        study="bench_media",
        question="Does an arm with media use the hardware as the text arm does?",
        seeds=[0],
        streams={
            "text": StreamConfig("text", [str(folder / "text.jsonl")]),
            modality: StreamConfig(modality, [str(shard)], encoder=bench.encoder),
        },
        arms={
            "text": ArmConfig({"text": 1.0}),
            modality: ArmConfig(
                {"text": 1.0 - bench.share, modality: bench.share}, list(bench.controls), bench.media_loss
            ),
        },
        baseline="text",
        endpoints=EndpointsConfig("heldout/bits_per_byte", {}),
        tasks={"heldout": {"kind": "bits_per_byte", "paths": [str(folder / "heldout.jsonl")]}},
        budget=BudgetConfig("positions", steps=step.steps),
        data_root=str(folder),
        model=step.model,
        tokenizer=TokenizerConfig(step.vocabulary),
        train=TrainConfig(rows=step.rows, data_workers=bench.data_workers),
    )


_EXTENSIONS = {"image": "jpg", "audio": "opus", "video": "mp4", "sensor": "npy"}


def _media(encoder: Encoder) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Made-up media that ``encoder`` reads, and what their KEY.json says beside the captions."""
    spec, count = encoder.spec, _ITEMS[encoder.modality]
    if isinstance(spec, ImageSpec):
        yield from ((data, {}) for data in pictures(count, spec.size))
    elif isinstance(spec, SeriesSpec):
        rate = {"rate_hz": spec.rate_hz or 10.0}
        yield from ((series(seed, spec.steps, spec.channels), rate) for seed in range(count))
    else:
        make = recording if encoder.modality == "audio" else clip
        yield from ((make(seed), {}) for seed in range(count))


def _text_words(step: StepBench) -> int:
    """Words of the text: every word of the vocabulary several times, and no more than the bench can read."""
    read = 2 * step.positions * (step.steps + 10)
    return max(4 * step.vocabulary, min(_TEXT_WORDS, read))


def _words(vocabulary: int) -> list[str]:
    """As many invented words as the tokenizer shall have tokens, so that it finds that many."""
    draw = np.random.Generator(np.random.PCG64(0))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words: dict[str, None] = {}
    while len(words) < vocabulary:
        words["".join(draw.choice(letters, draw.integers(3, 10)))] = None
    return list(words)


def _drawn(words: list[str], count: int, draw: np.random.Generator) -> list[str]:
    """``count`` words as often as their rank in ``words`` says (Zipf 1949), after each of them once."""
    weights = 1.0 / np.arange(1, len(words) + 1)
    often = draw.choice(len(words), max(0, count - len(words)), p=weights / weights.sum())
    return [words[number] for number in np.concatenate([draw.permutation(len(words)), often])[:count]]


def _write_documents(path: Path, words: list[str], count: int, seed: int) -> None:
    """JSON Lines of ``count`` words."""
    drawn = _drawn(words, count, np.random.Generator(np.random.PCG64(seed)))
    with path.open("w", encoding="utf-8") as out:
        for begin in range(0, count, _DOCUMENT_WORDS):
            out.write(json.dumps({"text": " ".join(drawn[begin : begin + _DOCUMENT_WORDS])}) + "\n")


def _captions(words: list[str], count: int) -> Iterator[str]:
    """``count`` captions of common words."""
    common = words[: max(1, len(words) // 10)]
    drawn = _drawn(common, count * _CAPTION_WORDS + len(common), np.random.Generator(np.random.PCG64(2)))
    for begin in range(len(common), len(drawn), _CAPTION_WORDS):
        yield " ".join(drawn[begin : begin + _CAPTION_WORDS])
