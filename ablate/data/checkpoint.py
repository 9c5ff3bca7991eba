"""Hugging Face folders of Llama-shaped models, read by their headers: no tensor is loaded, nothing is run.

What the backbone cannot represent exactly is refused here, before anything is trained.
"""

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data.checkpoint_config import pretrained_model
from ablate.data.errors import DataError
from ablate.recipe.schema import PretrainedModel

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

MAX_JSON = 64 << 20
"""Most bytes of a config or an index."""
_FLOATS = ("F64", "F32", "F16", "BF16")
_NAMED = 4
"""Most tensors that a message names."""
# Older checkpoints hold the rotary frequencies, which follow from the config; transformers ignores them too.
_IGNORED = re.compile(r"model\.layers\.[0-9]+\.self_attn\.rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose config and tensors agree."""

    folder: Path
    files: list[Path]
    """The safetensors files, each once."""
    model: PretrainedModel
    """Its shapes; `context_length` is the folder's `max_position_embeddings`, `weights` is empty."""


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``, if a Llama-shaped backbone can take its weights as they are.

    Raises:
        DataError: names the file and the key or tensor: it is no folder, another architecture, pickled,
            quantised, has a rotary scaling that is not computed here, or tensors that are missing, too many
            or of another shape than the config says.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder (looked from {Path.cwd()}); a model is a local folder with "
            f"{CONFIG_FILE} and {WEIGHTS_FILE}: none is fetched by its name"
        )
    if (folder / "adapter_config.json").is_file() and not (folder / CONFIG_FILE).is_file():
        raise DataError(f"{folder}: an adapter without its model; merge the two and save the whole model")
    config = folder / CONFIG_FILE
    model = pretrained_model(read_object(config), config)
    files = _weight_files(folder)
    _check_tensors(model, files, config)
    return Checkpoint(folder, files, model)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        DataError: it cannot be read, is too large or is no JSON object.
    """
    try:
        # A device or a pipe says that it holds nothing, and never ends.
        if not stat.S_ISREG((status := path.stat()).st_mode):
            raise DataError(f"{path}: not a file; check model.init_from")
        if status.st_size > MAX_JSON:
            raise DataError(f"{path}: larger than {MAX_JSON:,} bytes, which no such file is")
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check model.init_from") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not JSON ({error}); fetch it again") from error
    if not isinstance(held, dict):
        raise DataError(f"{path}: not a JSON object; fetch it again")
    return held


def _weight_files(folder: Path) -> list[Path]:
    """The one file of weights, or the shards that the index names."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        pickled = sorted(path.name for path in folder.glob("*.bin")) + sorted(
            path.name for path in folder.glob("*.pt*")
        )
        if pickled:
            raise DataError(
                f"{folder / pickled[0]}: pickled weights are not read, as loading them may run code; save "
                "the model as safetensors: transformers' save_pretrained does"
            )
        raise DataError(f"{folder}: has neither {WEIGHTS_FILE} nor {INDEX_FILE}; check model.init_from")
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{index}: weight_map does not map tensors to files; fetch it again")
    for name in sorted(set(names.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{index}: weight_map names {name!r}, which is no safetensors file beside it")
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: missing, and {INDEX_FILE} names it; fetch it again")
    return [folder / name for name in sorted(set(names.values()))]


def tensor_shapes(model: PretrainedModel) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a `LlamaForCausalLM` with the shapes of ``model``."""
    width, hidden, head = model.width, model.mlp_width, model.width // model.heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (model.vocabulary, width)}
    block: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (model.kv_heads * head, width),
        "self_attn.v_proj": (model.kv_heads * head, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    for layer in range(model.layers):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    shapes["model.norm.weight"] = (width,)
    if not model.tied:
        shapes["lm_head.weight"] = (model.vocabulary, width)
    return shapes


def _check_tensors(model: PretrainedModel, files: list[Path], config: Path) -> None:
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for file in files:
        for name, (shape, dtype) in _headers(file).items():
            if name in found:
                raise DataError(f"{file}: holds {name!r}, which {found[name][0].name} holds too")
            if _IGNORED.fullmatch(name):
                continue
            if dtype not in _FLOATS:
                raise DataError(
                    f"{file}: {name!r} is of type {dtype}; weights are {', '.join(_FLOATS)}: a quantised "
                    "model cannot be trained further as it is"
                )
            found[name] = (file, shape)
    if model.layers > len(found):
        raise DataError(f"{config}: num_hidden_layers is {model.layers}, and there are {len(found)} tensors")
    wanted = tensor_shapes(model)
    optional = {"lm_head.weight": wanted["model.embed_tokens.weight"]} if model.tied else {}
    where = f"{files[0] if len(files) == 1 else files[0].parent}"
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{where}: lacks {_some(missing)}, which a model of {config} has")
    extra = [name for name in found if name not in wanted | optional]
    if extra:
        raise DataError(f"{where}: holds {_some(extra)}, which no Llama-shaped model of {config} has")
    for name, shape in (wanted | optional).items():
        if name in found and found[name][1] != shape:
            file, other = found[name]
            raise DataError(f"{file}: {name!r} has the shape {list(other)}, and {config} says {list(shape)}")


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Tensor to shape and type."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {name: (tuple(one.get_shape()), one.get_dtype()) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: not a whole safetensors file ({error}); fetch it again") from error


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
