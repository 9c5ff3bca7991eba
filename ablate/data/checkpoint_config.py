"""`config.json` of a Llama-shaped model as the shapes of a backbone; what it cannot represent is refused."""

import sys
from pathlib import Path
from typing import Any

from ablate.data.errors import DataError
from ablate.recipe.schema import PretrainedModel, RotaryScaling

_TYPES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}
_LARGEST = 1 << 31
"""Above every size of a model."""
_LONGEST_SHOWN = 200
"""Most characters of a value that a message shows."""


def pretrained_model(config: dict[str, Any], path: Path) -> PretrainedModel:
    """The shapes that ``config`` states; where it leaves one out, transformers' default for the type.

    `context_length` is `max_position_embeddings`, or the sliding window if that is shorter: within one window
    a Mistral attends as a Llama does.

    Raises:
        DataError: names ``path`` and the key.
    """
    kind = _checked_type(config, path)
    width = _size(config, "hidden_size", path)
    heads = _size(config, "num_attention_heads", path)
    left_out = 8 if kind == "mistral" and "num_key_value_heads" not in config else heads
    kv_heads = _size(config, "num_key_value_heads", path, left_out)
    _check_heads(config, path, width, heads, kv_heads)
    _refuse_unlike(config, path)
    theta, scaling = _rotary(config, path)
    tied = config.get("tie_word_embeddings", False)
    if not isinstance(tied, bool):
        raise _wrong(path, "tie_word_embeddings", tied, "true or false")
    return PretrainedModel(
        layers=_size(config, "num_hidden_layers", path),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        mlp_width=_size(config, "intermediate_size", path),
        context_length=_context(config, path, kind),
        tied=tied,
        rope_theta=theta,
        norm_eps=_positive(config, "rms_norm_eps", path, 1e-6),
        vocabulary=_size(config, "vocab_size", path),
        scaling=scaling,
    )


def _checked_type(config: dict[str, Any], path: Path) -> str:
    kind = config.get("model_type")
    names = config.get("architectures") or [_TYPES.get(str(kind))]
    if not isinstance(kind, str) or kind not in _TYPES or names != [_TYPES[kind]]:
        known = " or ".join(_TYPES.values())
        raise DataError(
            f"{path}: model_type is {kind!r} and architectures {names!r}; model.init_from takes the "
            f"Llama-shaped {known}"
        )
    return kind


def _context(config: dict[str, Any], path: Path, kind: str) -> int:
    positions = _size(config, "max_position_embeddings", path, 2048 if kind == "llama" else 4096 * 32)
    # transformers gives a Mistral whose config has no such key a window of 4096.
    window = config.get("sliding_window", 4096 if kind == "mistral" else None)
    if kind != "mistral" or window is None:
        return positions
    return min(positions, _size({"sliding_window": window}, "sliding_window", path))


def _check_heads(config: dict[str, Any], path: Path, width: int, heads: int, kv_heads: int) -> None:
    if width % heads or width // heads % 2:
        allowed = f"a multiple of num_attention_heads ({heads}), with heads of an even number of dimensions"
        raise _wrong(path, "hidden_size", width, allowed)
    if heads % kv_heads:
        raise _wrong(path, "num_key_value_heads", kv_heads, f"a divisor of num_attention_heads ({heads})")
    size = config.get("head_dim")
    if size is not None and size != width // heads:
        allowed = f"hidden_size / num_attention_heads = {width // heads}"
        raise _wrong(path, "head_dim", size, allowed)


def _refuse_unlike(config: dict[str, Any], path: Path) -> None:
    """What changes the computation in ways that this backbone does not have."""
    for key in ("attention_bias", "mlp_bias"):
        if config.get(key, False) is not False:
            raise _wrong(path, key, config[key], "false: the backbone has no biases")
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise _wrong(path, "hidden_act", config["hidden_act"], "silu")
    if config.get("quantization_config") is not None:
        raise DataError(
            f"{path}: quantization_config: a quantised model cannot be trained further as it is; "
            "start from the weights it was made of"
        )


def _rotary(config: dict[str, Any], path: Path) -> tuple[float, RotaryScaling | None]:
    """Base and scaling, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`."""
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    held = config.get(key) or {}
    if not isinstance(held, dict):
        raise _wrong(path, key, held, "an object")
    if any(isinstance(value, dict) for value in held.values()):
        raise _wrong(path, key, held, "one rotary scaling for all layers")
    theta = _positive(held if "rope_theta" in held else config, "rope_theta", path, 10000.0)
    share = held.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    if share not in (None, 1, 1.0):
        raise _wrong(path, "partial_rotary_factor", share, "1: all dimensions of a head are turned")
    kind = held.get("rope_type", held.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RotaryScaling("linear", _positive(held, "factor", path))
    if kind == "llama3":
        low, high = (_positive(held, f"{side}_freq_factor", path) for side in ("low", "high"))
        if low >= high:
            raise _wrong(path, "low_freq_factor", low, f"less than high_freq_factor ({high:g})")
        limit = config.get("max_position_embeddings")
        first = _size(held, "original_max_position_embeddings", path, limit)
        return theta, RotaryScaling("llama3", _positive(held, "factor", path), low, high, first)
    raise _wrong(path, f"{key}.rope_type", kind, "default, linear or llama3")


def _size(held: dict[str, Any], key: str, path: Path, default: int | None = None) -> int:
    value = held.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < _LARGEST:
        raise _wrong(path, key, value, "a whole number of 1 or more")
    return value


def _positive(held: dict[str, Any], key: str, path: Path, default: float | None = None) -> float:
    value = held.get(key)
    if value is None and default is not None:
        return default
    # Any whole number is below infinity, and one beyond the largest float is no float.
    top = sys.float_info.max
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= top:
        raise _wrong(path, key, value, "a number above 0")
    return float(value)


def _wrong(path: Path, key: str, found: object, allowed: str) -> DataError:
    shown = "missing" if found is None else ascii(found)
    shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
    return DataError(f"{path}: {key} is {shown}; model.init_from takes {allowed}")
