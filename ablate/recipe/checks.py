"""What a recipe's values must satisfy beyond their types. Pure: nothing is read from disk."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any, get_args

from ablate.recipe.arms import SHARE_TOLERANCE, columns_per_microbatch
from ablate.recipe.decontamination_checks import decontamination
from ablate.recipe.endpoint_checks import endpoints
from ablate.recipe.errors import Problem, listed, nearest
from ablate.recipe.ladder_checks import ladder
from ablate.recipe.rank_checks import ranks
from ablate.recipe.schema import ArmConfig, Modality, Recipe, StreamConfig
from ablate.recipe.stopping_checks import stopping
from ablate.recipe.tune_checks import arm_settings, tune

STUDY_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}"
PART_NAME = r"[A-Za-z0-9_-]{1,100}"
"""Streams, arms and tasks. Without dots: `<arm>.<control>` names a control, `a.b=1` an override."""
MEDIA_MODALITIES = tuple(name for name in get_args(Modality) if name != "text")
BYTES = 256
"""A byte-level vocabulary holds every byte."""

_AT_LEAST_ONE = "1 or more"
_NOT_NEGATIVE = "0 or more"
_POSITIVE = "more than 0"
_SHARE = "0 to 1"
_BELOW_ONE = "0 or more, less than 1"

_HOLDS: dict[str, Callable[[float], bool]] = {
    _AT_LEAST_ONE: lambda value: value >= 1,
    _NOT_NEGATIVE: lambda value: value >= 0,
    _POSITIVE: lambda value: value > 0,
    _SHARE: lambda value: 0 <= value <= 1,
    _BELOW_ONE: lambda value: 0 <= value < 1,
    "8 or more": lambda value: value >= 8,
    "1 to 100": lambda value: 1 <= value <= 100,
}

_RANGES: dict[str, str] = {
    "model.layers": _AT_LEAST_ONE,
    "model.width": _AT_LEAST_ONE,
    "model.heads": _AT_LEAST_ONE,
    "model.kv_heads": _NOT_NEGATIVE,
    "model.mlp_width": _NOT_NEGATIVE,
    "model.context_length": "8 or more",
    "model.rope_theta": _POSITIVE,
    "model.norm_eps": _POSITIVE,
    "train.rows": _AT_LEAST_ONE,
    "train.microbatch_rows": _NOT_NEGATIVE,
    "train.learning_rate": _POSITIVE,
    "train.final_learning_rate": _SHARE,
    "train.warmup": _SHARE,
    "train.decay": _SHARE,
    "train.weight_decay": _NOT_NEGATIVE,
    "train.beta1": _BELOW_ONE,
    "train.beta2": _BELOW_ONE,
    "train.clip": _NOT_NEGATIVE,
    "train.average_from": _BELOW_ONE,
    "train.average_half_life": _POSITIVE,
    "train.average_checkpoints": _AT_LEAST_ONE,
    "train.checkpoint_every": _POSITIVE,
    "train.log_every": _AT_LEAST_ONE,
    "train.data_workers": _NOT_NEGATIVE,
    "train.devices": _AT_LEAST_ONE,
    "train.nodes": _AT_LEAST_ONE,
    "decontamination.ngram": "1 to 100",
    "decontamination.shortest": _AT_LEAST_ONE,
    "planted.world_seed": _NOT_NEGATIVE,
    "planted.entities": _AT_LEAST_ONE,
    "planted.held_out": _NOT_NEGATIVE,
    "planted.image_size": _AT_LEAST_ONE,
    "planted.images_per_entity": _AT_LEAST_ONE,
    "planted.documents": _NOT_NEGATIVE,
    "planted.captions_per_image": _AT_LEAST_ONE,
    "budget.steps": _NOT_NEGATIVE,
    "budget.flops": _NOT_NEGATIVE,
    "budget.text_tokens": _NOT_NEGATIVE,
}


@dataclass(frozen=True)
class Finding:
    """A problem, and the other keys it was concluded from.

    The loader leaves it out if one of those keys was itself refused.
    """

    problem: Problem
    reads: tuple[str, ...] = ()


def check_recipe(recipe: Recipe, file: str) -> list[Problem]:
    """Everything wrong with the values of ``recipe``; ``file`` is named as the place."""
    return [finding.problem for finding in findings(recipe, file)]


def findings(recipe: Recipe, file: str) -> Iterator[Finding]:
    """As `check_recipe`, each problem with the keys it depends on."""

    def found(key: str, found: str, allowed: str, hint: str = "", reads: tuple[str, ...] = ()) -> Finding:
        return Finding(Problem(file, key, found, allowed, hint), reads)

    parts: tuple[Callable[[Recipe], Iterator[tuple[Any, ...]]], ...] = (
        *(_names, _ranges, _seeds, _model, _training, ranks, _budget, ladder, stopping),
        *(_streams, _arms, _tasks, endpoints, decontamination),
        *(partial(part, beyond=_beyond) for part in (arm_settings, tune)),
    )
    for part in parts:
        for arguments in part(recipe):
            yield found(*arguments)


_Found = Iterator[tuple[Any, ...]]
"""key, found, allowed, and optionally hint and the keys read."""


def _names(recipe: Recipe) -> _Found:
    if not re.fullmatch(STUDY_NAME, recipe.study):
        allowed = "a folder name: letters, digits, `_`, `-`, `.`, not starting with a dot, at most 100"
        yield "study", repr(recipe.study), allowed
    if not recipe.question.strip():
        yield "question", "nothing", "the question of the study in one sentence"
    blocks: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("streams", recipe.streams),
        ("arms", recipe.arms),
        ("tasks", recipe.tasks),
    )
    for block, names in blocks:
        if not names:
            yield block, "nothing", f"at least one of {block}"
        for name in names:
            if not re.fullmatch(PART_NAME, name):
                yield f"{block}.{name}", f"the name {name!r}", "letters, digits, `_`, `-`; at most 100"
    if recipe.data_root != "planted":
        yield from _paths("data_root", recipe.data_root)
    yield from _paths("tokenizer.path", recipe.tokenizer.path)
    yield from _paths("endpoints.screen", recipe.endpoints.screen)
    yield from _paths("model.init_from", recipe.model.init_from)


def names_a_command_or_address(text: str) -> bool:
    """Whether a data library might run ``text`` as a command or fetch it from a network."""
    return re.match(r"\s*(?:pipe:|[a-z][a-z0-9+.-]*://)", text, re.IGNORECASE) is not None


def _paths(key: str, value: Any) -> _Found:
    """Refuse commands and addresses, wherever they stand in ``value``."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _paths(f"{key}.{name}", item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _paths(f"{key}.{i}", item)
    elif isinstance(value, str) and names_a_command_or_address(value):
        hint = "nothing is run or fetched: download the file and give its path"
        yield key, repr(value), "a path of a local file", hint


def _beyond(key: str, value: Any) -> str:
    """What the numeric setting ``key`` may be, where ``value`` is not that; empty where it may be."""
    allowed = _RANGES.get(key, "")
    return allowed if allowed and not (math.isfinite(value) and _HOLDS[allowed](value)) else ""


def _ranges(recipe: Recipe) -> _Found:
    for key in _RANGES:
        block, _, name = key.partition(".")
        value = getattr(getattr(recipe, block), name)
        if allowed := _beyond(key, value):
            yield key, f"{value:g}" if isinstance(value, float) else str(value), allowed
    for name, stream in recipe.streams.items():
        for field in ("items_per_row", "max_skips", "max_tokens"):
            value = getattr(stream, field)
            if value < 0:
                yield f"streams.{name}.{field}", str(value), _NOT_NEGATIVE
    planted = recipe.planted
    if planted.held_out > planted.entities:
        found = f"{planted.held_out} of {planted.entities} entities"
        yield "planted.held_out", found, "at most planted.entities", "", ("planted.entities",)
    if not planted.modalities or len(set(planted.modalities)) < len(planted.modalities):
        yield "planted.modalities", listed(planted.modalities), "one or more kinds of media, each once"
    if not recipe.tokenizer.path and recipe.tokenizer.vocabulary <= BYTES:
        found, allowed = str(recipe.tokenizer.vocabulary), f"more than {BYTES}, one for each byte"
        yield "tokenizer.vocabulary", found, allowed, "", ("tokenizer.path",)


def _seeds(recipe: Recipe) -> _Found:
    if not recipe.seeds:
        yield "seeds", "an empty list", "one seed or more", "five pairs or more decide something"
    repeated = sorted(seed for seed, times in Counter(recipe.seeds).items() if times > 1)
    if repeated:
        yield "seeds", f"{listed(map(str, repeated))} more than once", "each seed once"
    negative = [seed for seed in recipe.seeds if seed < 0]
    if negative:
        yield "seeds", listed(map(str, negative)), "seeds of 0 or more"


def _model(recipe: Recipe) -> _Found:
    model = recipe.model
    if model.heads < 1 or model.width < 1 or model.init_from:
        return  # with init_from the folder gives what is not stated
    if model.width % model.heads:
        near = max(1, round(model.width / model.heads)) * model.heads
        found = f"{model.width}, with heads {model.heads}"
        yield "model.width", found, "a multiple of model.heads", f"such as {near}", ("model.heads",)
    elif model.width // model.heads % 2:
        found = f"{model.width}, so heads of {model.width // model.heads} dimensions"
        allowed = "heads of an even number of dimensions (rotary positions turn pairs)"
        yield "model.width", found, allowed, f"such as {model.width + model.heads}", ("model.heads",)
    if model.kv_heads > 0 and model.heads % model.kv_heads:
        divisors = [n for n in range(1, min(model.heads, 10_000) + 1) if model.heads % n == 0]
        allowed = f"a divisor of model.heads: {listed(map(str, divisors))}"
        yield "model.kv_heads", str(model.kv_heads), allowed, "", ("model.heads",)


def _training(recipe: Recipe) -> _Found:
    train = recipe.train
    if train.rows >= 1 and train.microbatch_rows >= 1 and train.rows % train.microbatch_rows:
        divisors = [n for n in range(1, min(train.rows, 10_000) + 1) if train.rows % n == 0]
        near = min(divisors, key=lambda n: abs(n - train.microbatch_rows))
        found = f"{train.microbatch_rows}, with rows {train.rows}"
        yield "train.microbatch_rows", found, "a divisor of train.rows", f"nearest {near}", ("train.rows",)
    if train.schedule == "wsd" and train.warmup + train.decay > 1 + SHARE_TOLERANCE:
        found = f"warmup {train.warmup:g} + decay {train.decay:g} of the steps"
        yield "train.decay", found, "at most 1 together", "", ("train.warmup", "train.schedule")
    if train.average != "none" and train.strategy == "fsdp" and train.devices * train.nodes > 1:
        found, reads = f"{train.average} with train.strategy fsdp", ("train.strategy", "train.devices")
        yield "train.average", found, "none, or strategy ddp: sharded weights are not averaged", "", reads
    for name in sorted({name for name in train.loggers if train.loggers.count(name) > 1}):
        yield "train.loggers", f"{name} more than once", "each logger once"


def _budget(recipe: Recipe) -> _Found:
    amounts = {name: getattr(recipe.budget, name) for name in ("steps", "flops", "text_tokens")}
    given = [name for name, amount in amounts.items() if amount > 0]
    reads = tuple(f"budget.{name}" for name in amounts)
    if len(given) != 1 and all(amount >= 0 for amount in amounts.values()):
        hint = "set those that a base gives to null" if given else "such as steps: 1000"
        found = listed(given) if given else "no amount"
        yield "budget", found, f"exactly one of {listed(amounts)}", hint, reads


def _streams(recipe: Recipe) -> _Found:
    for name, stream in recipe.streams.items():
        key = f"streams.{name}"
        if not stream.paths or not all(path.strip() for path in stream.paths):
            yield f"{key}.paths", "no path" if not stream.paths else "an empty path", "files or globs"
        yield from _paths(f"{key}.paths", stream.paths)
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", stream.part)
        if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
            yield f"{key}.part", repr(stream.part), "k/n with 1 <= k <= n, such as 1/2"
        elif int(numbers[2]) > 1 and stream.modality != "text":
            found, allowed = f"{stream.part} on a stream of {stream.modality}", "1/1: only text is parted"
            yield f"{key}.part", found, allowed, "", (f"{key}.modality",)
        if stream.max_tokens > 0 and stream.modality != "text":
            found = f"{stream.max_tokens} on a stream of {stream.modality}"
            yield f"{key}.max_tokens", found, "0: only text is capped", "", (f"{key}.modality",)
        yield from _media_stream(key, stream)


def _media_stream(key: str, stream: StreamConfig) -> _Found:
    """The encoders of a stream, and what only some streams may ask for."""
    reads = (f"{key}.modality",)
    if stream.modality == "text":
        for name, given in (("encoder", stream.encoder), ("also", stream.also)):
            if given:
                yield f"{key}.{name}", "an encoder", "none: text is not encoded", "", reads
        if stream.documents != "captioned":
            yield f"{key}.documents", stream.documents, "nothing, on a stream of text", "", reads
        return
    yield from _encoder(f"{key}.encoder", stream.encoder, stream.modality, reads)
    for modality, settings in stream.also.items():
        if modality not in MEDIA_MODALITIES or modality == stream.modality:
            others = listed(other for other in MEDIA_MODALITIES if other != stream.modality)
            yield f"{key}.also.{modality}", repr(modality), f"another modality: {others}", "", reads
            continue
        yield from _encoder(f"{key}.also.{modality}", settings, modality, reads)
    if stream.documents == "interleaved" and (stream.also or stream.modality != "image"):
        found = f"interleaved, with {listed((stream.modality, *stream.also))}"
        yield f"{key}.documents", found, "interleaved documents of images and text only", "", reads


def _encoder(key: str, given: Mapping[str, Any], modality: str, reads: tuple[str, ...]) -> _Found:
    from encoders.registry import encoder_class

    if not given.get("name"):
        yield key, "no encoder", "name: of a registered encoder", "such as {name: patches}", reads
        return
    yield from _paths(key, given)
    settings = {name: value for name, value in given.items() if name != "name"}
    try:
        encoder = encoder_class(str(given["name"]))
    except (ValueError, ImportError) as error:
        yield f"{key}.name", repr(given["name"]), str(error)
        return
    if encoder.modality != modality:
        found = f"{given['name']}, which reads {encoder.modality}"
        yield f"{key}.name", found, f"an encoder of {modality}", "", reads
    yield from _built(key, encoder.Config, settings)


def _built(key: str, config: type, settings: Mapping[str, Any]) -> _Found:
    """What a settings dataclass refuses by itself."""
    try:
        config(**settings)
    except (ValueError, TypeError) as error:
        yield key, str(error), f"what {config.__name__} accepts"


def _arms(recipe: Recipe) -> _Found:
    for name, arm in recipe.arms.items():
        key = f"arms.{name}"
        yield from _mixture(f"{key}.mixture", arm, recipe)
        for control, times in Counter(arm.controls).items():
            if times > 1:
                yield f"{key}.controls", f"{control} more than once", "each control once"
        if not (math.isfinite(arm.media_loss) and arm.media_loss >= 0):
            yield f"{key}.media_loss", f"{arm.media_loss:g}", _NOT_NEGATIVE
        if all(stream in recipe.streams for stream in arm.mixture):
            yield from _media(key, arm, recipe)
        if name == recipe.baseline and arm.controls:
            reads = (f"{key}.controls",)
            yield "baseline", f"{name!r}, which has controls", "an arm without controls", "", reads
    if recipe.baseline not in recipe.arms:
        reads = (f"arms.{recipe.baseline}",)
        hint = nearest(recipe.baseline, recipe.arms)
        yield "baseline", repr(recipe.baseline), f"an arm: {listed(recipe.arms)}", hint, reads


def _media(key: str, arm: ArmConfig, recipe: Recipe) -> _Found:
    """What only an arm with media may have, and what the baseline may not."""
    media = [name for name in arm.mixture if recipe.streams[name].modality != "text"]
    reads = (f"{key}.mixture", *(f"streams.{name}.modality" for name in arm.mixture))
    is_baseline = key == f"arms.{recipe.baseline}"
    if is_baseline and media:
        found = f"{recipe.baseline!r}, which has {listed(media)}"
        yield "baseline", found, "an arm of text streams only", "", reads
    if arm.controls and not media and not is_baseline:
        found = f"{listed(arm.controls)} on an arm without media"
        yield f"{key}.controls", found, "controls on arms with media only", "", reads
    if media and not recipe.model.document_mask:
        found = f"false, while {key} has {listed(media)}"
        why = "without the mask, text would attend to the empty slots of a placebo"
        yield "model.document_mask", found, "true where an arm has media", why, reads
    silent = [name for name in media if recipe.streams[name].documents == "media_only"]
    if silent:
        reads = (*reads, *(f"streams.{name}.documents" for name in silent))
        if not arm.media_loss > 0:
            found = f"{arm.media_loss:g}, while {listed(silent)} has no text"
            yield f"{key}.media_loss", found, "more than 0: media alone teach by the next patch", "", reads
        hollow = ["captions_only", "captions_only_refill"]
        # Beside captioned streams a shuffled one without captions changes nothing, and harms nothing.
        hollow += ["shuffled"] if len(silent) == len(media) else []
        for control in hollow:
            if control in arm.controls:
                found = f"{control}, while {listed(silent)} has no captions"
                yield f"{key}.controls", found, "noise, blank or repeat_text", "", reads
    if arm.media_loss > 0 and not media:
        found = f"{arm.media_loss:g} on an arm without media"
        yield f"{key}.media_loss", found, "0, or an arm with media", "", reads


def _mixture(key: str, arm: ArmConfig, recipe: Recipe) -> _Found:
    mixture = arm.mixture
    unknown = [name for name in mixture if name not in recipe.streams]
    for name in unknown:
        allowed, hint = f"a stream: {listed(recipe.streams)}", nearest(name, recipe.streams)
        yield f"{key}.{name}", f"the unknown stream {name!r}", allowed, hint, (f"streams.{name}",)
    wrong = [name for name, share in mixture.items() if not (math.isfinite(share) and share > 0)]
    for name in wrong:
        hint = "leave the stream out, or set it to null where the base gives it"
        yield f"{key}.{name}", f"{mixture[name]:g}", "a share of more than 0", hint
    if wrong:
        return
    total = fsum(mixture.values())
    if abs(total - 1) > SHARE_TOLERANCE:
        yield key, f"shares that add up to {total:.12g}", "shares that add up to 1"
        return
    rows = recipe.train.microbatch_rows or recipe.train.rows
    if unknown or rows < 1 or recipe.train.rows < 1 or recipe.train.rows % rows:
        return
    modality = {name: recipe.streams[name].modality for name in mixture}
    try:
        columns_per_microbatch(mixture, modality, recipe.budget.match, rows)
    except ValueError as error:
        reads = ("train.rows", "train.microbatch_rows", "budget.match")
        shares = listed(f"{name}: {share:g}" for name, share in mixture.items())
        allowed = "share x rows whole in every microbatch"
        yield key, shares, allowed, str(error), (*reads, *(f"streams.{name}.modality" for name in mixture))


def _tasks(recipe: Recipe) -> _Found:
    from ablate.tasks.registry import task_class

    for name, settings in recipe.tasks.items():
        key = f"tasks.{name}"
        yield from _paths(key, settings)
        try:
            config = task_class(str(settings.get("kind"))).Config
        except (ValueError, ImportError) as error:
            yield f"{key}.kind", repr(settings.get("kind")), str(error)
            continue
        yield from _built(key, config, {item: value for item, value in settings.items() if item != "kind"})
