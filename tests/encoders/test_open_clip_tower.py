"""Towers of open_clip: the library's own numbers, weights from local files, honest costs."""

import socket
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from small import TINY, counting, media_for
from torch import nn

from encoders.base import Encoder, linear_flops
from encoders.open_clip_tower import PIXELS, OpenClipConfig, measure, pixel_constants
from encoders.registry import build_encoder

SEEN = "LAION-2B, image and text"


def tower(model: str = "tiny-vit", **settings: object) -> Encoder:
    return build_encoder({"name": "open_clip", "model": model, **settings}, 24)


@pytest.fixture(scope="module")
def published() -> Any:
    """A whole model of the library, as its weights are published."""
    torch.manual_seed(5)
    return open_clip.create_model("tiny-vit", output_dict=False).eval()


@pytest.fixture
def weights(published: Any, tmp_path: Path) -> Path:
    save_file(published.state_dict(), tmp_path / "whole.safetensors")
    return tmp_path / "whole.safetensors"


def prepared(media: torch.Tensor) -> torch.Tensor:
    """Pixels as the library hands them to its towers."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXELS["openai"])
    return (media / 255 - mean) / std


# --- The library's own numbers


def test_a_pooled_token_is_the_librarys_image_embedding(published: Any, weights: Path) -> None:
    encoder = tower(tokens="pooled", frozen=True, weights=str(weights), pretrained_on=SEEN)
    media = media_for(encoder)
    with torch.no_grad():
        embedding = published.encode_image(prepared(media))
    torch.testing.assert_close(encoder.features(media)[:, 0], F.layer_norm(embedding, (24,)))


def test_patch_tokens_are_the_librarys_tokens_in_reading_order(published: Any, weights: Path) -> None:
    encoder = tower(frozen=True, weights=str(weights), pretrained_on=SEEN)
    media = media_for(encoder)
    published.visual.output_tokens = True
    with torch.no_grad():
        _, tokens = published.visual(prepared(media))
    published.visual.output_tokens = False
    # The library's last norm is at its start here: no scale, no shift.
    torch.testing.assert_close(encoder.features(media), tokens)


def test_the_target_of_a_patch_token_is_its_own_patch() -> None:
    encoder = tower("tiny-uneven")
    media = media_for(encoder, 1)
    changed = media.clone()
    changed[:, :, 8:16, 24:32] = 255 - changed[:, :, 8:16, 24:32]
    moved = (encoder.targets(media) - encoder.targets(changed)).abs().amax(dim=2)[0] > 0
    assert moved.nonzero().flatten().tolist() == [1 * 4 + 3]


def test_the_target_of_a_pooled_token_is_the_picture_from_afar() -> None:
    encoder = tower(tokens="pooled")
    media = media_for(encoder, 1)
    assert encoder.targets(media).shape == (1, 1, 3 * 16 * 16)
    means = media.float().reshape(1, 3, 16, 2, 16, 2).mean(dim=(3, 5)).flatten()
    correlation = torch.corrcoef(torch.stack([encoder.targets(media).flatten(), means]))[0, 1]
    assert correlation > 0.9999


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("tokens", ["patches", "pooled"])
def test_every_kind_of_tower_is_trained_whole_and_without_chance(model: str, tokens: str) -> None:
    """Transformers, residual networks and timm's, whose own settings ask for dropout."""
    encoder = tower(model, tokens=tokens).train()
    media = media_for(encoder, 2)
    kept = {name: value.clone() for name, value in encoder.named_buffers()}
    first = encoder(media)
    assert first.shape == (2, encoder.tokens_per_item, 24)
    assert torch.equal(encoder(media), first)
    torch.testing.assert_close(encoder(media[:1]), first[:1], rtol=1e-4, atol=1e-5)
    first.square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []
    assert all(torch.equal(value, kept[name]) for name, value in encoder.named_buffers())


# --- Weights from files


def test_the_tower_alone_and_the_whole_model_give_the_same_tokens(
    published: Any, weights: Path, tmp_path: Path
) -> None:
    save_file(published.visual.state_dict(), tmp_path / "tower.safetensors")
    trained = {f"module.{key}": value for key, value in published.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": trained}, tmp_path / "epoch_3.pt")
    outs = []
    for path in (weights, tmp_path / "tower.safetensors", tmp_path / "epoch_3.pt"):
        encoder = tower(weights=str(path), pretrained_on=SEEN, frozen=True)
        outs.append(encoder.features(media_for(encoder)))
        assert encoder.pretraining == SEEN
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])
    assert not torch.equal(outs[0], tower(frozen=True).features(media_for(encoder)))


def test_nothing_is_fetched(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    tower()
    tower(weights=str(weights), pretrained_on=SEEN)
    # Its text tower would take its settings from the Hugging Face Hub.
    with torch.device("meta"):
        tower("xlm-roberta-base-ViT-B-32")


def test_weights_of_another_architecture_are_refused_by_name_of_key(published: Any, tmp_path: Path) -> None:
    state = published.visual.state_dict()
    state["transformer.resblocks.2.ln_1.weight"] = state.pop("conv1.weight")
    state["positional_embedding"] = torch.zeros(50, 32)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="do not fit the image tower") as refused:
        tower(weights=str(tmp_path / "other.safetensors"), pretrained_on=SEEN)
    for part in (
        "missing: conv1.weight",
        "unexpected: transformer.resblocks.2.ln_1.weight",
        "of another shape: positional_embedding",
        "`model`",
    ):
        assert part in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pt: no such file; give a local file"):
        tower(weights=str(tmp_path / "absent.pt"), pretrained_on=SEEN)


class _Marks:
    """An object whose unpickling writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"conv1.weight": _Marks(tmp_path / "mark")}}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="neither safetensors nor tensors alone"):
        tower(weights=str(tmp_path / "evil.pt"), pretrained_on=SEEN)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_damaged_file_is_an_error_that_names_it(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"damaged\.{suffix}.*convert it to safetensors"):
        tower(weights=str(path), pretrained_on=SEEN)


def test_tensors_without_names_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no mapping of names to tensors"):
        tower(weights=str(tmp_path / "list.pt"), pretrained_on=SEEN)


# --- What is disclosed, and how pixels are normalised


def test_random_weights_are_disclosed_where_they_stay_random() -> None:
    assert tower().pretraining == ""
    assert tower(frozen=True).pretraining == "nothing (random weights, frozen)"


def test_pixels_are_normalised_as_for_the_weights_published_for_the_architecture() -> None:
    assert pixel_constants(OpenClipConfig("ViT-B-16-SigLIP")) == PIXELS["inception"]
    assert pixel_constants(OpenClipConfig("ViT-B-32")) == PIXELS["openai"]
    assert pixel_constants(OpenClipConfig("ViT-L-14")) == PIXELS["openai"]
    stated = OpenClipConfig("ViT-L-14", weights="a", pretrained_on="b", pixels="inception")
    assert pixel_constants(stated) == PIXELS["inception"]


def test_constants_reach_the_tower() -> None:
    torch.manual_seed(0)
    one = tower(frozen=True)
    torch.manual_seed(0)
    other = tower(frozen=True, pixels="none")
    assert (one.features(media_for(one)) - other.features(media_for(one))).abs().max() > 0.01


# --- FLOPs


def test_a_depthwise_convolution_costs_twice_its_forward_pass_backward() -> None:
    """PyTorch's own count takes the gradient of its weight for a dense one, 8 times as dear here."""
    trunk = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Flatten())
    shape, flops = measure(trunk, 16)
    assert shape == (1, 8 * 16 * 16)
    dense, depthwise = linear_flops(256, 3, 8, input_gradient=False), linear_flops(256, 9, 8)
    assert flops == dense + depthwise


@pytest.mark.parametrize("tokens", ["patches", "pooled"])
def test_the_counter_agrees_with_a_depthwise_tower_forward_and_overstates_its_backward_pass(
    tokens: str,
) -> None:
    """The charge is the sum over the layers; the counter's excess is the dense gradient of weights."""
    encoder = tower("tiny-convnext", tokens=tokens)
    macs, excess, first = [], [], []

    def note(layer: Any, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        macs.append(out.numel() // layer.weight.shape[0] * layer.weight.numel())
        first.append(macs[-1] if not inputs[0].requires_grad else 0)
        excess.append(macs[-1] * (getattr(layer, "groups", 1) - 1))

    for layer in encoder.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.register_forward_hook(note)
    media = media_for(encoder, 2)
    with counting() as counter:
        out = encoder(media)
        forward = counter.get_total_flops()
        out.sum().backward()
    backward = counter.get_total_flops() - forward
    cost = encoder.flops_per_item() * 2
    assert forward == cost.forward == 2 * sum(macs)
    assert cost.backward == 4 * sum(macs) - 2 * sum(first)
    assert backward == cost.backward + 2 * sum(excess)
    assert backward > 1.5 * cost.backward


def test_measuring_computes_and_changes_nothing() -> None:
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    state = torch.get_rng_state()
    measure(trunk, 8)
    assert torch.equal(torch.get_rng_state(), state)
    assert trunk[1].training
    assert all(weight.grad is None for weight in trunk.parameters())
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_a_frozen_tower_is_charged_its_forward_pass_and_a_trained_one_both() -> None:
    frozen, trained = tower(frozen=True), tower()
    assert frozen.flops_per_item().forward == trained.flops_per_item().forward
    project = linear_flops(frozen.tokens_per_item, 32, 24, input_gradient=False)
    assert frozen.flops_per_item().backward == project.backward
    assert trained.flops_per_item().backward > 1.7 * trained.flops_per_item().forward
