"""An arm with media against the text arm, cached features against the live encoder, and the commands."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from ablate.bench import media as bench_media
from ablate.bench.features import measure_features
from ablate.bench.media import MediaBench, encoder_settings, known_controls, measure_media
from ablate.bench.needed import needed_flops
from ablate.bench.timing import StepBench
from ablate.budget.flops import media_head_flops
from ablate.cli import main
from ablate.data.batch import NO_DOCUMENT, Batch, MediaBatch
from ablate.data.mixture import Step, StepCounts
from ablate.materials import prepare
from ablate.model.fusion import FusedModel
from ablate.model.transformer import Transformer
from ablate.recipe.schema import ModelConfig
from encoders.registry import build_encoder

TINY = StepBench(layers=1, width=32, heads=2, context_length=128, vocabulary=320, rows=4, steps=2, rounds=2)
LINES = [
    f"{arm} arm{what}"
    for arm in ("text", "image")
    for what in ("", ", FLOPs", ", FLOPs without padding and masked pairs")
]
PATCHES = {"name": "patches", "image_size": 16, "patch_size": 8}


@pytest.fixture(autouse=True)
def few_items(monkeypatch):
    for modality in bench_media._ITEMS:
        monkeypatch.setitem(bench_media._ITEMS, modality, 12)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_arm_with_media_is_held_against_the_text_arm_of_the_same_run():
    found = measure_media(MediaBench(TINY, 0.25, PATCHES))
    assert [one.name for one in found] == LINES
    assert all(math.isfinite(one.value) and one.value > 0 for one in found)
    assert [one.reference for one in found[:3]] == [0.0, 0.0, 0.0]
    assert [one.reference for one in found[3:]] == [one.value for one in found[:3]]
    assert all(needed.value < flops.value for flops, needed in ((found[1], found[2]), (found[4], found[5])))


def test_flops_are_those_of_text_and_of_every_place_for_a_picture():
    """By hand: an encoder without input gradient costs two products, a regression of patches three."""
    found = measure_media(MediaBench(TINY, 0.25, PATCHES, media_loss=0.5))
    text, text_flops, _, image, image_flops, _ = found
    matrices = 4 * 32 * 32 + 3 * 32 * 128 + 32 * 320
    per_position = 6 * matrices + 12 * 128 * 32
    assert text_flops.value * 1e9 == pytest.approx(text.value * per_position)
    steps = image.value / TINY.positions
    media = image_flops.value * 1e9 / steps - per_position * TINY.positions
    per_item = 4 * (2 + 3) * 2 * 192 * 32
    assert media / per_item == pytest.approx(round(media / per_item), abs=1e-3)
    assert 1 <= round(media / per_item) <= 128 // 5


class Fixed:
    """A mixture of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def step(self, number: int) -> Step:
        return Step(number, [self.batch], StepCounts(), {}, {})


def test_needed_flops_leave_out_padding_masked_pairs_and_spare_places():
    """By hand: documents of 3 and 2 positions, 3 of padding; one picture of 4 tokens in two places."""
    config = ModelConfig(layers=2, width=16, heads=2, context_length=8)
    encoder = build_encoder(PATCHES, 16)
    model = FusedModel(Transformer(config, 50), {"image": encoder}, media_loss=True, seed=0)
    document = torch.tensor([[0, 0, 0, 1, 1, NO_DOCUMENT, NO_DOCUMENT, NO_DOCUMENT]])
    nothing = torch.zeros(1, 8, dtype=torch.long)
    slots = torch.tensor([[0, 1, 2, 3], [8, 8, 8, 8]])
    media = MediaBatch(
        values=torch.zeros(2, 3, 16, 16, dtype=torch.uint8),
        slots=slots,
        present=torch.tensor([True, False]),
        before=torch.zeros(2, dtype=torch.long),
    )
    batch = Batch(nothing, nothing, document, nothing, media={"image": media})
    matrices = 2 * (4 * 16 * 16 + 3 * 16 * 64) + 16 * 50
    pairs = 3 + 2 + 1 + 2 + 1
    expected = 6 * matrices * 5 + 2 * 12 * pairs * 16
    expected += 2 * 2 * 4 * 192 * 16 + media_head_flops(encoder, 16).total
    assert needed_flops(model, Fixed(batch), 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("encoder", "modality"),
    [
        ({"name": "vit", "image_size": 16, "patch_size": 8, "width": 16}, "image"),
        ({"name": "tubelets", "frames": 4, "image_size": 16, "tubelet_frames": 4, "patch_size": 8}, "video"),
        ({"name": "mel_patches", "mels": 16, "patch_mels": 16}, "audio"),
        ({"name": "series_patches", "steps": 32, "channels": 3}, "sensor"),
    ],
)
def test_every_modality_can_be_measured(encoder, modality):
    found = measure_media(MediaBench(TINY, 0.5, encoder))
    assert [one.name for one in found[3:]] == [line.replace("image", modality) for line in LINES[3:]]
    assert all(0 < one.value / one.reference < math.inf for one in found[3:])


def test_controls_are_measured_too_and_one_without_media_executes_none():
    bench = MediaBench(TINY, 0.25, PATCHES, controls=("noise", "captions_only"))
    found = {one.name: one.value for one in measure_media(bench)}
    arms = ["text", "image", "image.noise", "image.captions_only"]
    assert list(found) == [line.replace("text", arm) for arm in arms for line in LINES[:3]]
    per_position = {arm: found[f"{arm} arm, FLOPs"] / found[f"{arm} arm"] for arm in arms}
    assert per_position["image.captions_only"] == pytest.approx(per_position["text"])
    assert per_position["image.noise"] == pytest.approx(per_position["image"])
    assert per_position["image"] > per_position["text"] * 1.005


@pytest.mark.parametrize("vocabulary", [300, 2000])
def test_the_tokenizer_has_the_vocabulary_that_was_asked_for(vocabulary, tmp_path):
    bench = MediaBench(StepBench(**{**vars(TINY), "vocabulary": vocabulary}), 0.25, PATCHES)
    materials = prepare(bench_media._recipe(bench, tmp_path), tmp_path / "cache")
    assert materials.tokenizer.vocabulary == vocabulary


def test_settings_of_the_encoder_are_read_as_yaml_and_checked():
    assert encoder_settings("patches", ["image_size=64"]) == {
        "name": "patches", "image_size": 64, "patch_size": 8,
    }  # fmt: skip
    for changes, said in (
        (["image_size"], "write KEY=VALUE"),
        (["image_size=["], "no YAML value"),
        (["image_sise=64"], "Did you mean 'image_size'"),
        (["image_size=60"], "not a positive multiple"),
    ):
        with pytest.raises(ValueError, match=said):
            encoder_settings("patches", changes)
    with pytest.raises(ValueError, match="no encoder is called"):
        encoder_settings("patchs", [])


def test_an_unknown_control_is_refused():
    assert known_controls(["noise", "shuffled"]) == ("noise", "shuffled")
    with pytest.raises(ValueError, match="shufled: no such control; known: captions_only"):
        known_controls(["shufled"])


def test_cached_features_are_at_least_twenty_times_as_fast_as_the_live_encoder(tmp_path):
    (found,) = measure_features(tmp_path, 0.1, items=16)
    assert found.reference > 0
    assert found.value > 20 * found.reference


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["ablate", "bench", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code or 0


def lines_of(path: Path) -> dict[str, float]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert all(math.isfinite(row["value"]) and row["value"] > 0 for row in rows)
    return {row["name"]: row["value"] / row["reference"] for row in rows if row["reference"]}


def test_bench_media_prints_what_it_writes(monkeypatch, capsys, tmp_path):
    words = (
        "--layers 1 --width 32 --heads 2 --context-length 128 --vocabulary 320 --rows 4 --steps 2 --rounds 1"
    )
    out = tmp_path / "new" / "media.json"
    assert run(monkeypatch, "media", *words.split(), "--setting", "image_size=16", "--out", out) == 0
    ratios = lines_of(out)
    assert list(ratios) == LINES[3:]
    printed = capsys.readouterr().out
    assert "text arm" in printed
    assert all(f"{ratio:.3f}" in printed for ratio in ratios.values())


def test_bench_media_refuses_shares_that_are_no_whole_rows(monkeypatch, capsys):
    words = "--layers 1 --width 32 --heads 2 --vocabulary 320 --rows 4 --share 0.3"
    assert run(monkeypatch, "media", *words.split()) == 2
    assert "the nearest shares that work: {text: 0.75, image: 0.25}" in capsys.readouterr().err


@pytest.mark.slow
def test_bench_data_measures_every_decoder_and_the_features_cache(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "data", "--seconds", 0.05, "--out", tmp_path / "data.json") == 0
    ratios = lines_of(tmp_path / "data.json")
    assert [name.split(",")[0] for name in ratios] == [
        "text rows of 256",
        "text rows of 512",
        "text rows of 1024",
        "JPEG decoding",
        "JPEG decoding",
        "decoded cache",
        "Opus to 16 kHz",
        "Opus to 16 kHz",
        "mp4 decoding",
        "cached features to tokens",
    ]
    assert "mp4 decoding" in capsys.readouterr().out
