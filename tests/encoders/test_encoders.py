"""Encoders: shapes, contracts, costs, and that they know nothing of the framework."""

import ast
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from encoders.registry import ENCODERS, UnknownEncoderError, build_encoder, complete_settings

ROOT = Path(__file__).parents[2]
SMALL = {
    "patches": {"name": "patches", "image_size": 32, "patch_size": 8},
    "vit": {"name": "vit", "image_size": 32, "patch_size": 8, "layers": 2, "width": 64, "heads": 4},
}


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def test_every_registered_encoder_is_covered_here() -> None:
    assert set(SMALL) == set(ENCODERS)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_encoder_returns_the_tokens_it_promises(name: str) -> None:
    encoder = build_encoder(SMALL[name], width=48)
    assert encoder(images()).shape == (3, encoder.tokens_per_item, 48)
    assert encoder.targets(images()).shape == (3, encoder.tokens_per_item, encoder.target_width)
    assert encoder.item_shape == (3, 32, 32)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_next_patch_targets_are_normalised_per_patch(name: str) -> None:
    targets = build_encoder(SMALL[name], width=48).targets(images())
    assert targets.mean(dim=-1).abs().max() < 1e-4
    assert (targets.var(dim=-1, unbiased=False) - 1).abs().max() < 1e-2


def test_a_patch_of_one_colour_keeps_its_hue_as_a_target() -> None:
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 200
    green = red.roll(1, dims=1)
    encoder = build_encoder(SMALL["patches"], width=8)
    assert (encoder.targets(red) - encoder.targets(green)).abs().max() > 1
    grey = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    assert torch.isfinite(encoder.targets(grey)).all()


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_structural_flops_agree_with_the_counter_under_math_attention(name: str) -> None:
    encoder = build_encoder(SMALL[name], width=48)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        out = encoder(images(5))
        forward = counter.get_total_flops()
        out.sum().backward()
    cost = encoder.flops_per_item() * 5
    assert forward == pytest.approx(cost.forward, rel=0.01)
    assert counter.get_total_flops() - forward == pytest.approx(cost.backward, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "patches", "image_size": 30, "patch_size": 8}, "image_size 32"),
        ({"name": "vit", "image_size": 32, "patch_size": 8, "width": 50, "heads": 4}, "multiple of heads"),
        ({"name": "vit", "image_size": 32, "patch_size": 8, "layers": 0}, "layers"),
    ],
)
def test_impossible_settings_are_refused_with_a_way_out(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_encoder(settings, width=32)


def test_an_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UnknownEncoderError, match="Did you mean 'patches'"):
        build_encoder({"name": "patchs"}, width=8)


def test_completed_settings_state_every_default() -> None:
    assert complete_settings({"name": "patches"}) == {"name": "patches", "image_size": 32, "patch_size": 8}


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
