"""A study's data, indexed and tokenised: everything that training, planning and scoring read.

`prepare` reads files once and keeps what it derives in the cache, so each run of a study calls it again
at little cost.
"""

import dataclasses
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.data.captions import CaptionTokens, build_caption_tokens
from ablate.data.checkpoint import read_checkpoint
from ablate.data.content import digest_of, write_once
from ablate.data.controls import Moments, before_clipping
from ablate.data.decoded import DecodedMedia
from ablate.data.decontaminated import TrainingData, study_overlaps, training_data
from ablate.data.errors import DataError
from ablate.data.heldout import refuse_training_overlap
from ablate.data.initial_model import initial_model, initial_tokenizer, refuse_unknown_ids
from ablate.data.interleaved import Pieces, cut_documents
from ablate.data.media import MediaSamples
from ablate.data.media_rows import MediaRows, Medium
from ablate.data.mixture import Columns, MediaItemSource, MediaSource, Mixture
from ablate.data.overlap_summary import Overlaps
from ablate.data.planted import planted_world
from ablate.data.text_rows import TextRows
from ablate.data.token_file import TokenFile, build_token_file, capped_token_file
from ablate.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from ablate.recipe.arms import columns_per_microbatch, stream_encoders
from ablate.recipe.endpoint_checks import DIFFERENCE
from ablate.recipe.load import resolve_paths
from ablate.recipe.schema import Arm, Control, PretrainedModel, Recipe, StreamConfig, without_media
from ablate.seeding import stream_seed
from ablate.tasks.base import Task
from ablate.tasks.registry import load_task
from encoders.registry import build_encoder


@dataclass(frozen=True)
class MediaMaterial:
    """One media stream."""

    samples: MediaSamples
    captions: CaptionTokens | None
    """None for media without text."""
    decoded: dict[str, DecodedMedia]
    """By modality; see `ablate.recipe.arms.stream_encoders`."""
    keys: NDArray[np.uint64]
    """Digest of each sample's key."""
    tokens_per_item: dict[str, int]


@dataclass(frozen=True)
class Materials:
    """All streams and tasks of a recipe, ready to read."""

    recipe: Recipe
    """The recipe with its paths resolved, and with the shapes of its `init_from` folder."""
    tokenizer: TextTokenizer
    text: dict[str, TokenFile]
    media: dict[str, MediaMaterial]
    tasks: dict[str, Task]
    digests: dict[str, str]
    """`tokenizer`, `stream/<name>` and `task/<name>` to the digest of their contents."""
    overlaps: Overlaps
    """What the tasks share with the streams, as these were before removal."""

    @property
    def vocabulary(self) -> int:
        """Token ids of the model: those of the tokenizer, or all that a pretrained embedding has."""
        model = self.recipe.model
        return model.vocabulary if isinstance(model, PretrainedModel) else self.tokenizer.vocabulary


def resolve_data_root(recipe: Recipe, cache: Path) -> Recipe:
    """``recipe`` with `${data_root}` replaced, and the planted world written if it is asked for.

    With `model.init_from` the model becomes a `PretrainedModel`, and the folder's tokenizer the study's.

    Raises:
        DataError: the folder is refused, or contradicts a shape that the recipe states.
    """
    root = planted_world(recipe.planted, cache) if recipe.data_root == "planted" else Path(recipe.data_root)
    recipe = resolve_paths(recipe, root)
    if not recipe.model.init_from or isinstance(recipe.model, PretrainedModel):
        return recipe
    checkpoint = read_checkpoint(_from_home(recipe.model.init_from))
    model = initial_model(recipe.model, checkpoint, cache)
    own = dataclasses.replace(recipe.tokenizer, path=recipe.tokenizer.path or initial_tokenizer(checkpoint))
    return dataclasses.replace(recipe, model=model, tokenizer=own)


def _from_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"model.init_from: {path}: no such user's folder; write the path out") from error


def prepare(recipe: Recipe, cache: Path) -> Materials:
    """Read, index and tokenise every stream and task that the arms of ``recipe`` use.

    Args:
        recipe: as loaded; `${data_root}` is resolved here.
        cache: folder for everything derived from the data, shared by studies.

    Raises:
        DataError: a file is missing, empty or damaged; names it.
        TaskError: a task's items are refused.
    """
    recipe = resolve_data_root(recipe, cache)
    tasks = {name: load_task(name, settings, cache) for name, settings in recipe.tasks.items()}
    data = training_data(recipe, {name: task.texts() for name, task in tasks.items()}, cache)
    tokenizer = _tokenizer(recipe, data)
    if isinstance(recipe.model, PretrainedModel):
        refuse_unknown_ids(recipe, recipe.model, tokenizer)
    token_files = {name: _text(recipe, name, data, tokenizer, cache) for name in data.contents}
    media = {name: _media(recipe, name, found, tokenizer, cache) for name, found in data.samples.items()}
    training = {name: file.digests for name, file in token_files.items()}
    training |= {name: one.captions.digests for name, one in media.items() if one.captions is not None}
    for task in tasks.values():
        refuse_training_overlap(training, task.texts())
    task_digests = {name: task.digest for name, task in tasks.items()}
    for name, task in tasks.items():
        _check_once(task, task_digests[name], tokenizer, recipe.model.context_length, cache)
    _refuse_unknown_endpoints(recipe, tasks)
    digests = {
        "tokenizer": tokenizer.digest,
        **{f"stream/{name}": file.digest for name, file in token_files.items()},
        **{f"stream/{name}": material.samples.digest for name, material in media.items()},
        **{f"task/{name}": digest for name, digest in task_digests.items()},
    }
    return Materials(recipe, tokenizer, token_files, media, tasks, digests, data.overlaps)


def _check_once(task: Task, digest: str, tokenizer: TextTokenizer, context_length: int, cache: Path) -> None:
    """`Task.check`, unless the very same items passed it before: every run of a study prepares anew.

    Raises:
        TaskError: as `Task.check`.
    """
    asked = digest_of("task-check-1", digest, tokenizer.digest, str(context_length))
    passed = cache / "checked-tasks" / asked

    def check(partial: Path) -> None:
        task.check(tokenizer, context_length)
        partial.touch()

    write_once(passed, check)


def find_study_overlaps(recipe: Recipe, cache: Path) -> Overlaps:
    """What the tasks of ``recipe`` share with its streams; nothing is tokenised or decoded.

    Raises:
        DataError, TaskError: as `prepare`.
    """
    recipe = resolve_data_root(recipe, cache)
    tasks = {name: load_task(name, settings, cache) for name, settings in recipe.tasks.items()}
    return study_overlaps(recipe, {name: task.texts() for name, task in tasks.items()}, cache)


def _refuse_unknown_endpoints(recipe: Recipe, tasks: dict[str, Task]) -> None:
    """Refuse an endpoint that no task will score, such as a subset with a typo: only the items tell."""
    known = [endpoint for task in tasks.values() for endpoint in task.endpoints()]
    differences = {f"{DIFFERENCE}/{name}": parts for name, parts in recipe.endpoints.differences.items()}
    stated = [
        name for name in (recipe.endpoints.primary, *recipe.endpoints.margins) if name not in differences
    ]
    stated += [recipe.tune.endpoint] if recipe.tune.endpoint else []
    for name in (*stated, *(part for parts in differences.values() for part in parts)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise DataError(
                f"{recipe.study}: no task scores the endpoint {name!r}; near it: "
                f"{', '.join(near) or ', '.join(known[:8])}"
            )


def refuse_undecodable(materials: Materials) -> None:
    """Stop before anything is trained where more samples fail to decode than their stream admits.

    Streams too large for the decoded cache are decoded as they are read, and stop a run when it comes to it.

    Raises:
        DataError: names the stream, its limit and the first failure.
    """
    for name, material in materials.media.items():
        errors = [why for decoded in material.decoded.values() for why in decoded.errors.values()]
        limit = materials.recipe.streams[name].max_skips
        if len(errors) > limit:
            raise DataError(
                f"stream {name!r}: {errors[0]}; {len(errors)} failed and "
                f"streams.{name}.max_skips allows {limit}: mend the shards or raise the limit"
            )


def _tokenizer(recipe: Recipe, data: TrainingData) -> TextTokenizer:
    """The recipe's own tokenizer, or one trained on the training text and captions of all its arms."""
    if recipe.tokenizer.path:
        return load_tokenizer(Path(recipe.tokenizer.path))

    def corpus() -> Iterator[str]:
        for name in data.contents:
            for document in data.documents(name):
                yield document.text
        for found in data.samples.values():
            for index in range(len(found)):
                yield from found.texts(index)

    content = "/".join(
        [f"{content}:{recipe.streams[name].text_field}" for name, content in data.contents.items()]
        + [found.digest for found in data.samples.values()]
    )
    return train_tokenizer(corpus(), recipe.tokenizer.vocabulary, data.cache, content)


def _text(recipe: Recipe, name: str, data: TrainingData, tokenizer: TextTokenizer, cache: Path) -> TokenFile:
    stream = recipe.streams[name]
    content = f"{data.contents[name]}/{stream.text_field}"
    file = build_token_file(data.documents(name), tokenizer, cache, content, stream.part)
    return capped_token_file(file, stream.max_tokens, cache, name) if stream.max_tokens else file


def _media(
    recipe: Recipe, name: str, samples: MediaSamples, tokenizer: TextTokenizer, cache: Path
) -> MediaMaterial:
    stream = recipe.streams[name]
    captions = None
    if stream.documents != "media_only":
        captions = build_caption_tokens(samples, tokenizer, cache)
    encoders = {
        slot: build_encoder(settings, recipe.model.width)
        for slot, settings in stream_encoders(name, stream).items()
    }
    decoded = {slot: DecodedMedia(samples, encoder.spec, cache) for slot, encoder in encoders.items()}
    keys = np.asarray([stream_seed(0, key) for key in samples.keys], dtype=np.uint64)
    tokens = {slot: encoder.tokens_per_item for slot, encoder in encoders.items()}
    return MediaMaterial(samples, captions, decoded, keys, tokens)


def build_columns(recipe: Recipe, arm: Arm) -> Columns:
    """Which row columns each stream of ``arm`` fills."""
    modality = {name: stream.modality for name, stream in recipe.streams.items()}
    rows = recipe.train.microbatch_rows or recipe.train.rows
    return Columns(
        columns_per_microbatch(arm.mixture, modality, recipe.budget.match, rows),
        tuple(name for name in arm.mixture if modality[name] == "text"),
        recipe.train.rows // rows,
        recipe.budget.match,
    )


def build_mixture(materials: Materials, arm: Arm, seed: int) -> Mixture:
    """All rows of one arm and seed."""
    recipe, tokenizer = materials.recipe, materials.tokenizer
    columns = build_columns(recipe, arm)
    length = recipe.model.context_length
    text = {
        name: TextRows(materials.text[name], length, tokenizer.bos, tokenizer.pad, seed, name)
        for name in columns.text_streams
    }
    media = {
        name: _media_source(materials, arm, name, count, seed)
        for name, count in columns.per_microbatch.items()
        if name not in text
    }
    return Mixture(columns, text, media, length)


def _media_source(materials: Materials, arm: Arm, name: str, count: int, seed: int) -> MediaSource:
    """Rows and media of one stream, ``count`` rows a microbatch."""
    recipe, material = materials.recipe, materials.media[name]
    stream = recipe.streams[name]
    rows = MediaRows(
        captions=material.captions,
        keys=material.keys,
        media=tuple(
            Medium(slot, material.tokens_per_item[slot], material.samples.items[decoded.spec.modality].digest)
            for slot, decoded in material.decoded.items()
        ),
        context_length=recipe.model.context_length,
        items_per_row=stream.items_per_row,
        order=stream.order,
        bos=materials.tokenizer.bos,
        pad=materials.tokenizer.pad,
        seed=seed,
        name=name,
        control=arm.control,
        pieces=_pieces(material, stream, recipe.model.context_length),
    )
    items = {
        slot: MediaItemSource(
            decoded,
            places=0 if without_media(arm.control) else count * rows.items_per_row,
            instead=_instead(decoded, arm.control),
        )
        for slot, decoded in material.decoded.items()
    }
    return MediaSource(rows, items, stream.max_skips)


def _instead(decoded: DecodedMedia, control: Control | None) -> Moments | None:
    """What is drawn in the place of media: mean and standard deviation by channel."""
    if control not in ("noise", "blank"):
        return None
    mean, std = decoded.mean_and_std()
    if control == "blank":
        return mean, np.zeros_like(std)
    return before_clipping(mean, std) if decoded.spec.dtype == "uint8" else (mean, std)


def _pieces(material: MediaMaterial, stream: StreamConfig, context_length: int) -> Pieces | None:
    if stream.documents != "interleaved" or material.captions is None:
        return None
    (tokens,) = material.tokens_per_item.values()
    room = context_length - 1
    return cut_documents(material.samples, material.captions, tokens, room, stream.items_per_row)
