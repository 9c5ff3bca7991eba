"""Any image tower of open_clip, frozen or trained. It is the one encoder that may have read text before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

import open_clip
import torch
import torch.nn.functional as F
from open_clip.constants import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INCEPTION_MEAN,
    INCEPTION_STD,
    OPENAI_DATASET_MEAN,
    OPENAI_DATASET_STD,
)
from open_clip.pretrained import get_pretrained_cfg
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from encoders.base import Encoder, Flops, linear_flops, weights_file
from encoders.media_spec import ImageSpec
from encoders.patches import EMBEDDING_STD, normalised, patchify, scaled

POOLED_TARGET_SIZE = 16
"""Pixels per side of the picture that a pooled token has as its target."""

PIXELS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "openai": (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD),
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "inception": (INCEPTION_MEAN, INCEPTION_STD),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of red, green and blue in 0..1, by the name open_clip has for them."""


@dataclass(frozen=True)
class OpenClipConfig:
    """Settings of `OpenClipTower`."""

    model: str = "ViT-B-32"
    """Architecture, as `open_clip.list_models()` names it. OpenAI's weights and some others need the one
    that ends in `-quickgelu`, which no check of the weights can tell."""
    weights: str = ""
    """Local file: safetensors, or what `torch.load(weights_only=True)` reads, of the whole model or the
    image tower alone; empty draws random weights. Nothing is ever fetched."""
    pretrained_on: str = ""
    """What the weights saw, in words, such as "LAION-2B, image and text"; required with `weights`. It stands
    in the record and in the tables."""
    frozen: bool = False
    """Whether only a linear map after the tower is trained."""
    tokens: Literal["patches", "pooled"] = "patches"
    """`patches`: a token for each place of the last grid; `pooled`: one, the tower's image embedding."""
    pixels: Literal["auto", "openai", "imagenet", "inception", "none"] = "auto"
    """Constants that pixels are normalised with; `auto`: those of the architecture's published weights."""

    def __post_init__(self) -> None:
        known = open_clip.list_models()
        if self.model not in known:
            near = get_close_matches(self.model, known, n=3) or known[:3]
            raise ValueError(
                f"model {self.model!r} is no architecture of open_clip; use one of "
                f"`open_clip.list_models()`, such as {', '.join(near)}"
            )
        if self.weights and not self.pretrained_on.strip():
            raise ValueError(
                f"pretrained_on is empty though weights is {self.weights!r}; say what the weights saw, "
                'such as "LAION-2B, image and text"'
            )
        if self.pretrained_on and not self.weights:
            raise ValueError(
                f"pretrained_on is {self.pretrained_on!r} though weights is empty, which draws random ones; "
                "name the file or remove pretrained_on"
            )
        pixel_constants(self)


def pixel_constants(config: OpenClipConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that pixels in 0..1 are normalised with.

    Raises:
        ValueError: weights are given, and the architecture's published weights do not agree on them.
    """
    if config.pixels != "auto":
        return PIXELS[config.pixels]
    published = {
        (tuple(found["mean"]), tuple(found["std"]))
        for tag in open_clip.list_pretrained_tags_by_model(config.model)
        if (found := get_pretrained_cfg(config.model, tag))
    }
    if len(published) == 1:
        return published.pop()
    if len(published) > 1 and config.weights:
        fitting = sorted(name for name, constants in PIXELS.items() if constants in published)
        raise ValueError(
            f"pixels is auto, and weights published for {config.model} disagree; use what yours were trained "
            f"with: {' or '.join(fitting)}"
        )
    return PIXELS["openai"]


def build_tower(model: str) -> nn.Module:
    """The image tower of ``model``, randomly drawn, with nothing random left in training.

    The whole model is not built: its text tower would cost memory, and some fetch its settings.
    """
    settings = open_clip.get_model_config(model)
    vision = {**settings["vision_cfg"], "output_tokens": False, "patch_dropout": 0.0}
    if "timm_model_name" in vision:
        # Dropout would make training depend on more than weights and data.
        vision |= {"timm_model_pretrained": False, "timm_drop": 0.0}
        vision |= {"timm_drop_path": 0.0} if vision.get("timm_drop_path") else {}
    tower: nn.Module = open_clip.model._build_vision_tower(
        settings["embed_dim"], vision, quick_gelu=settings.get("quick_gelu", False)
    )
    return tower


def load_tower(tower: nn.Module, weights: str) -> None:
    """Load the file ``weights`` of the whole model or of the image tower into ``tower``.

    Raises:
        ValueError: no such file, one that holds more than tensors, or keys or shapes that differ.
    """
    found = _read_weights(weights_file(weights))
    found = {key.removeprefix("module."): value for key, value in found.items()}
    visual = {key.removeprefix("visual."): found[key] for key in found if key.startswith("visual.")}
    given, wanted = visual or found, tower.state_dict()
    problems = [
        f"{word}: {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        for word, keys in (
            ("missing", sorted(wanted.keys() - given.keys())),
            ("unexpected", sorted(given.keys() - wanted.keys())),
            ("of another shape", [k for k in wanted if k in given and given[k].shape != wanted[k].shape]),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f"weights {weights} do not fit the image tower ({'; '.join(problems)}); "
            "name the architecture they were trained with in `model`"
        )
    tower.load_state_dict(given)


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights {path}: no such file; give a local file, nothing is fetched")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of strangers' files raise UnpicklingError, RuntimeError, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"weights {path}: neither safetensors nor tensors alone ({reason}); convert it to safetensors"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"weights {path}: no mapping of names to tensors; save the model's state_dict")
    return dict(found)


class LastGrid(nn.Module):
    """A tower cut off after its last block: float[items, 3, size, size] to float[items, places, channels].

    Places are in reading order. Pooling and what follows it are removed.
    """

    def __init__(self, tower: Any, model: str) -> None:
        super().__init__()
        if not hasattr(tower, "forward_intermediates"):
            raise ValueError(f"tokens is patches, but {model} has no grid; use tokens: pooled")
        for name in ("ln_post", "attn_pool", "attnpool", "head"):
            if hasattr(tower, name):
                setattr(tower, name, nn.Identity())
        if hasattr(tower, "proj"):
            tower.proj = None
        if hasattr(tower, "trunk"):
            tower.trunk.prune_intermediate_layers(1, prune_norm=True, prune_head=True)
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.tower.forward_intermediates(
            pixels, indices=1, normalize_intermediates=False, intermediates_only=True, output_fmt="NCHW"
        )
        grid: Tensor = found["image_intermediates"][-1]
        return grid.flatten(2).transpose(1, 2)


def patch_of(tower: Any, size: int, side: int) -> int:
    """Pixels per side of what a place of the grid stands for, ``side`` places across ``size`` pixels."""
    embedding = getattr(getattr(tower, "trunk", None), "patch_embed", None)
    for stated in (getattr(tower, "patch_size", None), getattr(embedding, "patch_size", None)):
        # Hierarchical towers state the patch of their first grid, not of their last.
        if isinstance(stated, tuple | list) and size // stated[0] == side:
            return int(stated[0])
    return size // side


def convolution_backward_flops(
    gradient: Sequence[int], media: Sequence[int], weight: Sequence[int], *others: Any, **_: Any
) -> int:
    """FLOPs of a convolution's backward pass, from shapes: each gradient asked for costs the forward pass.

    PyTorch's own formula (2.14) counts the gradient of a grouped weight as if it were dense, which makes
    the backward pass of depthwise towers (ConvNeXt, FastViT) 4 to 5 times as dear as it is.
    """
    input_wanted, weight_wanted, _bias_wanted = others[-1]
    forward = 2 * gradient[0] * math.prod(gradient[2:]) * math.prod(weight)
    return forward * (int(input_wanted) + int(weight_wanted))


def measure(trunk: nn.Module, size: int) -> tuple[torch.Size, Flops]:
    """Output shape and FLOPs of ``trunk`` for one picture.

    Structural, from shapes alone: the trunk is run on the meta device, which computes no numbers, under
    PyTorch's counter with the math kernel of attention. The counter is right about grouped and depthwise
    convolutions forward and wrong backward, where `convolution_backward_flops` takes its place.
    """
    was_training = trunk.training
    trunk.eval()
    held = (*trunk.named_parameters(), *trunk.named_buffers())
    # Weights that take gradients keep attention off a fused path that the counter does not know.
    shapes = {
        name: torch.empty_like(value, device="meta", requires_grad=value.is_floating_point())
        if isinstance(value, nn.Parameter)
        else torch.empty_like(value, device="meta")
        for name, value in held
    }
    picture = torch.empty(1, 3, size, size, device="meta")
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: convolution_backward_flops}
    )
    with counter, sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        out: Tensor = torch.func.functional_call(trunk, shapes, (picture,))
        forward = counter.get_total_flops()
        torch.autograd.backward(out.sum())
    trunk.train(was_training)
    return out.shape, Flops(forward, counter.get_total_flops() - forward)


class OpenClipTower(Encoder):
    """An image tower of open_clip (Ilharco et al. 2021), then one linear map.

    It maps uint8[items, 3, size, size] to the places of the last grid in reading order, or to one pooled
    token. The size is the tower's own; pictures are cut as for every encoder (shorter side resized, middle
    kept), whatever the weights' own preparation was. What the tower returns is layer-normalised without
    learned scale, so that tokens begin at one scale whatever the tower. Batch normalisation keeps its
    running statistics also in training, so that a picture's tokens do not depend on its batch.
    """

    Config: ClassVar[type] = OpenClipConfig
    modality: ClassVar[str] = "image"
    libraries: ClassVar[tuple[str, ...]] = ("open_clip_torch", "timm")

    def __init__(self, config: OpenClipConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.output_width = width
        tower = build_tower(config.model)
        if config.weights:
            load_tower(tower, config.weights)
        self.pretraining = config.pretrained_on or (
            "nothing (random weights, frozen)" if config.frozen else ""
        )
        sides: Any = tower.image_size
        size = sides if isinstance(sides, int) else max(sides)
        self.spec = ImageSpec(size)
        self.trunk = LastGrid(tower, config.model) if config.tokens == "patches" else tower
        mean, std = pixel_constants(config)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        shape, self._trunk_flops = measure(self.trunk, size)
        self.inner_width = shape[-1]
        self.tokens_per_item = shape[1] if config.tokens == "patches" else 1
        self.context_tokens = self.tokens_per_item
        self.side = round(self.tokens_per_item**0.5)
        self.patch_size = patch_of(tower, size, self.side)
        self.target_width = 3 * (self.patch_size if config.tokens == "patches" else POOLED_TARGET_SIZE) ** 2
        self.feature_width = self.inner_width if config.frozen else 0
        self.project = nn.Linear(self.inner_width, width, bias=False)
        nn.init.normal_(self.project.weight, std=EMBEDDING_STD / self.inner_width**0.5)
        if config.frozen:
            self.trunk.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "OpenClipTower":
        super().train(mode)
        if self.config.frozen:
            self.trunk.eval()
        for module in self.trunk.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def _seen(self, media: Tensor) -> Tensor:
        """What the trunk makes of ``media``: float[items, tokens_per_item, inner_width]."""
        found: Tensor = self.trunk((media.float() / 255.0 - self.mean) / self.std)
        tokens = found if self.config.tokens == "patches" else found.unsqueeze(1)
        return F.layer_norm(tokens.float(), (self.inner_width,))

    def forward(self, media: Tensor) -> Tensor:
        return self._projected(self.features(media) if self.config.frozen else self._seen(media))

    def features(self, media: Tensor) -> Tensor:
        if not self.config.frozen:
            return super().features(media)
        return self._seen(media)

    def from_features(self, features: Tensor) -> Tensor:
        if not self.config.frozen:
            return super().from_features(features)
        return self._projected(features)

    def _projected(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self.project(tokens)
        return projected

    def targets(self, media: Tensor) -> Tensor:
        """Pixels of each place of the grid; of a pooled token, the picture averaged to 16x16 pixels."""
        pixels = scaled(media)
        if self.config.tokens == "pooled":
            return normalised(F.adaptive_avg_pool2d(pixels, POOLED_TARGET_SIZE).flatten(1).unsqueeze(1))
        # A size that is no multiple of the patch leaves pixels at the right and below that no token sees.
        seen = self.patch_size * self.side
        return normalised(patchify(pixels[..., :seen, :seen].contiguous(), self.patch_size))

    def trunk_flops_per_item(self) -> Flops:
        return Flops(self._trunk_flops.forward, 0) if self.config.frozen else Flops(0, 0)

    def flops_per_item(self) -> Flops:
        project = linear_flops(
            self.tokens_per_item, self.inner_width, self.output_width, input_gradient=not self.config.frozen
        )
        return project + (self.trunk_flops_per_item() if self.config.frozen else self._trunk_flops)
