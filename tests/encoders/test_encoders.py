"""Encoders: what each one promises, and that they know nothing of the framework."""

import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small import FROZEN, SMALL, counting, media_for
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from encoders.base import Encoder, linear_flops
from encoders.registry import ENCODERS, UnknownEncoderError, build_encoder, complete_settings, encoder_class

ROOT = Path(__file__).parents[2]
WIDTH = 48

every_encoder = pytest.mark.parametrize("name", SMALL)
every_frozen_one = pytest.mark.parametrize("name", FROZEN)


def small(name: str) -> Encoder:
    torch.manual_seed(0)
    return build_encoder(SMALL[name], WIDTH)


def test_every_registered_encoder_is_covered_here() -> None:
    assert {str(settings["name"]) for settings in SMALL.values()} == set(ENCODERS)


# --- Shapes


@every_encoder
def test_an_encoder_returns_the_tokens_it_promises(name: str) -> None:
    encoder = small(name)
    media = media_for(encoder)
    assert encoder(media).shape == (3, encoder.tokens_per_item, WIDTH)
    assert encoder.targets(media).shape == (3, encoder.tokens_per_item, encoder.target_width)
    assert encoder.spec.modality == encoder.modality == encoder_class(str(SMALL[name]["name"])).modality


@every_encoder
def test_tokens_do_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    encoder = small(name).train()
    media = media_for(encoder)
    torch.testing.assert_close(encoder(media)[1:2], encoder(media[1:2]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.targets(media)[1:2], encoder.targets(media[1:2]))


@every_encoder
def test_training_draws_nothing(name: str) -> None:
    """No dropout: what a step does is a function of weights and data."""
    encoder = small(name).train()
    media = media_for(encoder)
    before = torch.get_rng_state()
    assert torch.equal(encoder(media), encoder(media))
    assert torch.equal(torch.get_rng_state(), before)


@every_encoder
def test_an_encoder_works_in_bf16(name: str) -> None:
    encoder = small(name)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = encoder(media_for(encoder))
    tokens.float().sum().backward()
    assert torch.isfinite(tokens).all()


# --- Targets


@every_encoder
def test_next_patch_targets_are_normalised_per_patch(name: str) -> None:
    encoder = small(name)
    targets = encoder.targets(media_for(encoder))
    assert targets.mean(dim=-1).abs().max() < 1e-4
    assert (targets.var(dim=-1, unbiased=False) - 1).abs().max() < 2e-2


@every_encoder
def test_media_without_any_variation_stay_finite(name: str) -> None:
    """Spare places of a batch are zeros, and recordings are padded with silence."""
    encoder = small(name)
    for value in (0, 255) if encoder.spec.dtype == "uint8" else (0.0, -23.0):
        media = torch.full_like(media_for(encoder), value)
        assert encoder.targets(media).abs().max() < 1e-2
        assert encoder(media).abs().max() < 10


def test_a_patch_of_one_colour_keeps_its_hue_as_a_target() -> None:
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 200
    green = red.roll(1, dims=1)
    encoder = small("patches")
    assert (encoder.targets(red) - encoder.targets(green)).abs().max() > 1


@every_encoder
def test_no_token_holds_the_patch_that_a_later_token_is_asked_for(name: str) -> None:
    """Else a next-patch loss is solved by copying."""
    encoder = small(name).eval()
    media = media_for(encoder, items=1)
    rng = np.random.default_rng(0)
    asked = torch.arange(encoder.tokens_per_item) % encoder.context_tokens == 0
    assert int(asked.sum()) == encoder.regressed_tokens
    with torch.no_grad():
        tokens, targets = encoder(media), encoder.targets(media)
        for place in rng.integers(0, media.numel(), 24):
            other = media.clone()
            other.view(-1)[place] = other.view(-1)[place] / 2 + (100 if media.dtype == torch.uint8 else 3)
            moved = (encoder(other) - tokens).abs().amax(dim=(0, 2)) > 1e-6
            wanted = ((encoder.targets(other) - targets).abs().amax(dim=(0, 2)) > 1e-6) & asked
            if moved.any() and wanted.any():
                assert int(moved.nonzero()[0]) >= int(wanted.nonzero()[-1])


# --- Weights


@every_encoder
def test_weights_are_a_function_of_the_seed_of_torch_alone(name: str) -> None:
    def weights(seed: int, other: int) -> dict[str, torch.Tensor]:
        random.seed(other)
        np.random.seed(other)
        torch.manual_seed(seed)
        return build_encoder(SMALL[name], WIDTH).state_dict()

    one, again, two = weights(1, 7), weights(1, 8), weights(2, 7)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], two[key]) for key in one)


@every_encoder
def test_tokens_begin_at_the_scale_of_text_embeddings(name: str) -> None:
    encoder = small(name)
    spread = encoder(media_for(encoder)).std().item()
    assert 0.005 < spread < 0.1


@every_encoder
def test_every_parameter_that_is_trained_learns(name: str) -> None:
    encoder = small(name).train()
    media = media_for(encoder)
    (encoder(media) * torch.randn(media.shape[0], encoder.tokens_per_item, WIDTH)).sum().backward()
    idle = [key for key, weight in encoder.named_parameters() if weight.requires_grad and weight.grad is None]
    assert idle == []


# --- Frozen trunks


@every_frozen_one
def test_a_frozen_trunk_takes_no_gradient_and_never_leaves_eval_mode(name: str) -> None:
    encoder = small(name).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD([weight for weight in encoder.parameters() if weight.requires_grad], lr=1.0)
    encoder(media_for(encoder)).square().sum().backward()
    optimizer.step()
    moved = {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key, weight in encoder.named_parameters() if weight.requires_grad}
    assert {key.split(".")[-2] if "." in key else key for key in moved} <= {"project", "time"}
    trunks = [module for key, module in encoder.named_modules() if "trunk" in key]
    assert trunks
    assert not any(module.training for module in trunks)


@every_frozen_one
def test_features_then_the_rest_are_the_encoder(name: str) -> None:
    encoder = small(name)
    media = media_for(encoder)
    features = encoder.features(media)
    assert features.shape == (3, encoder.tokens_per_item, encoder.feature_width)
    assert (features.dtype, features.requires_grad) == (torch.float32, False)
    assert torch.equal(encoder.from_features(features), encoder(media))


@pytest.mark.parametrize("name", [name for name in SMALL if name not in FROZEN])
def test_what_is_trained_whole_has_no_features_to_keep(name: str) -> None:
    encoder = small(name)
    assert (encoder.feature_width, encoder.trunk_flops_per_item().total) == (0, 0)
    with pytest.raises(NotImplementedError, match="no frozen trunk"):
        encoder.features(media_for(encoder))
    with pytest.raises(NotImplementedError, match="no frozen trunk"):
        encoder.from_features(torch.zeros(1, encoder.tokens_per_item, 1))


# --- FLOPs


@pytest.mark.parametrize("registered", ENCODERS)
def test_structural_flops_are_those_of_the_counter_forward_and_backward_frozen_and_trained(
    registered: str,
) -> None:
    kinds = [name for name, settings in SMALL.items() if settings["name"] == registered]
    ways = {small(name).feature_width > 0 for name in kinds}
    can_be_frozen = encoder_class(registered).features is not Encoder.features
    assert ways == ({False, True} if can_be_frozen else {False}), "settings for each way have to be in SMALL"
    for name in kinds:
        encoder = small(name).train()
        media = media_for(encoder, 5)
        with counting() as counter:
            out = encoder(media)
            forward = counter.get_total_flops()
            out.sum().backward()
        cost = encoder.flops_per_item() * 5
        assert forward == pytest.approx(cost.forward, rel=0.01), name
        assert counter.get_total_flops() - forward == pytest.approx(cost.backward, rel=0.01), name


def test_the_fused_path_of_inference_would_hide_attention_from_the_counter() -> None:
    """Why `counting` turns it off: in eval mode without gradients it runs as one uncounted operator."""
    layer = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    tokens = torch.randn(1, 8, 16)
    with torch.no_grad():
        with FlopCounterMode(display=False) as fused:
            layer(tokens, tokens, tokens, need_weights=False)
        with counting() as counter:
            layer(tokens, tokens, tokens, need_weights=False)
    projections, scores = linear_flops(8, 16, 4 * 16), linear_flops(8, 16, 2 * 8)
    assert counter.get_total_flops() == projections.forward + scores.forward
    assert fused.get_total_flops() < counter.get_total_flops()


@every_frozen_one
def test_cached_features_save_what_the_trunk_costs(name: str) -> None:
    encoder = small(name)
    with counting() as counter:
        features = encoder.features(media_for(encoder, 5))
        trunk = counter.get_total_flops()
        encoder.from_features(features).sum().backward()
    saved = encoder.trunk_flops_per_item() * 5
    assert saved.backward == 0
    assert trunk == pytest.approx(saved.forward, rel=0.01)
    rest = encoder.flops_per_item().total * 5 - saved.total
    assert counter.get_total_flops() - trunk == pytest.approx(rest, rel=0.01)


# --- Settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "patches", "image_size": 30, "patch_size": 8}, "use image_size 32"),
        ({"name": "patches", "patch_size": 0}, "patch_size 0"),
        ({"name": "vit", "image_size": 32, "patch_size": 8, "width": 50, "heads": 4}, "multiple of heads 4"),
        ({"name": "vit", "image_size": 32, "patch_size": 8, "layers": 0}, "layers is 0; use 1 or more"),
        ({"name": "tubelets", "frames": 7}, "frames 7 is .* tubelet_frames 2; use frames 8"),
        ({"name": "tubelets", "image_size": 30}, "use image_size 32"),
        ({"name": "frames", "frames": 8, "every": 3}, "frames 8 is .* every 3; use frames 9"),
        ({"name": "frames", "encoder": {}}, "encoder has no name; use"),
        (
            {"name": "frames", "encoder": {"name": "tubelets"}},
            "tubelets reads video; use an encoder of images",
        ),
        ({"name": "frames", "encoder": {"name": "frames"}}, "frames reads video"),
        ({"name": "frames", "encoder": {"name": "vti"}}, "Did you mean 'vit'"),
        ({"name": "frames", "encoder": {"name": "vit", "layer": 3}}, "'layer'.*Did you mean 'layers'"),
        ({"name": "frames", "encoder": {"name": "vit", "layers": "3"}}, "layers is '3'; use a whole number"),
        (
            {"name": "frames", "encoder": {"name": "vit", "layers": True}},
            "layers is True; use a whole number",
        ),
        ({"name": "frames", "encoder": {"name": "vit", "layers": 0}}, "encoder: layers is 0; use 1"),
        ({"name": "mel_patches", "seconds": 0.0}, "seconds is 0.0; use a positive number"),
        ({"name": "mel_patches", "seconds": float("nan")}, "seconds is nan"),
        ({"name": "mel_patches", "seconds": 2.5}, r"250 frames.*patch_frames \(16\).*use seconds 2.56 "),
        ({"name": "mel_patches", "mels": 60}, "mels 60 is .* patch_mels 16; use mels 64"),
        ({"name": "mel_patches", "window": 100}, "mels 64 is more than half the window .100 samples."),
        ({"name": "mel_patches", "hop": 0}, "hop is 0; use 1 or more"),
        ({"name": "mel_conv", "tokens": 24}, r"256 frames.*2 x tokens \(48\).*use seconds 2.4 "),
        ({"name": "mel_conv", "width": 33, "heads": 3}, "width 33 is odd; use 34"),
        ({"name": "mel_conv", "tokens": 0}, "tokens is 0; use 1 or more"),
        ({"name": "series_patches", "steps": 250}, "steps 250 is .* patch_steps 16; use steps 256"),
        ({"name": "series_patches", "channels": 0}, "channels is 0; use 1 or more"),
        ({"name": "series_patches", "rate_hz": -1.0}, "rate_hz is -1.0; use steps a second, or 0"),
        ({"name": "open_clip", "model": "ViT-B-33"}, "'ViT-B-33' is no architecture.*ViT-B-32"),
        ({"name": "open_clip", "model": "hf-hub:someone/model"}, "no architecture of open_clip"),
        (
            {"name": "open_clip", "weights": "a.safetensors"},
            "pretrained_on is empty.*say what the weights saw",
        ),
        ({"name": "open_clip", "pretrained_on": "LAION"}, "weights is empty.*name the file or remove"),
        (
            {"name": "open_clip", "model": "ViT-L-14", "weights": "a", "pretrained_on": "b"},
            "pixels is auto.*ViT-L-14 disagree.*inception or openai",
        ),
    ],
)
def test_impossible_settings_are_refused_with_a_way_out(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_encoder(settings, WIDTH)


def test_an_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UnknownEncoderError, match="Did you mean 'patches'"):
        build_encoder({"name": "patchs"}, WIDTH)


def test_completed_settings_state_every_default() -> None:
    assert complete_settings({"name": "patches"}) == {"name": "patches", "image_size": 32, "patch_size": 8}
    nested = complete_settings({"name": "frames", "encoder": {"name": "patches", "patch_size": 16}})
    assert nested["encoder"] == {"name": "patches", "image_size": 32, "patch_size": 16}


@every_encoder
def test_settings_survive_a_record(name: str) -> None:
    complete = complete_settings(SMALL[name])
    assert complete_settings(json.loads(json.dumps(complete))) == complete


# --- Imports


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots


def test_encoders_never_import_ablate() -> None:
    files = sorted((ROOT / "encoders").glob("**/*.py"))
    assert len(files) > 3
    assert [path.name for path in files if "ablate" in imported_roots(path)] == []


def test_only_the_encoder_that_needs_open_clip_imports_it() -> None:
    program = (
        "import sys; from encoders.registry import ENCODERS, build_encoder\n"
        "for name in ENCODERS:\n"
        "    if name != 'open_clip': build_encoder({'name': name}, 32)\n"
        "sys.exit('open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
