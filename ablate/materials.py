"""A study's data, indexed and tokenised: everything that training, planning and scoring read.

`prepare` reads files once and keeps what it derives in the cache, so each run of a study calls it again
at little cost.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.data.content import content_digest, expand_paths
from ablate.data.documents import Document, read_documents
from ablate.data.errors import DataError
from ablate.data.heldout import refuse_training_overlap
from ablate.data.images import DecodedImages
from ablate.data.media import CaptionTokens, MediaSamples, build_caption_tokens, open_media
from ablate.data.media_rows import MediaRows
from ablate.data.mixture import Columns, MediaSource, Mixture
from ablate.data.planted import planted_world
from ablate.data.text_rows import TextRows
from ablate.data.token_file import TokenFile, build_token_file
from ablate.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from ablate.recipe.arms import columns_per_microbatch
from ablate.recipe.load import resolve_paths
from ablate.recipe.schema import Arm, Recipe
from ablate.seeding import stream_seed
from ablate.tasks.base import Task
from ablate.tasks.registry import load_task
from encoders.registry import build_encoder


@dataclass(frozen=True)
class MediaMaterial:
    """One media stream."""

    samples: MediaSamples
    captions: CaptionTokens
    images: DecodedImages
    keys: NDArray[np.uint64]
    """Digest of each sample's key."""
    tokens_per_item: int
    item_shape: tuple[int, ...]


@dataclass(frozen=True)
class Materials:
    """All streams and tasks of a recipe, ready to read."""

    recipe: Recipe
    """The recipe with its paths resolved."""
    tokenizer: TextTokenizer
    text: dict[str, TokenFile]
    media: dict[str, MediaMaterial]
    tasks: dict[str, Task]
    digests: dict[str, str]
    """`tokenizer`, `stream/<name>` and `task/<name>` to the digest of their contents."""


def resolve_data_root(recipe: Recipe, cache: Path) -> Recipe:
    """``recipe`` with `${data_root}` replaced, and the planted world written if it is asked for."""
    root = planted_world(recipe.planted, cache) if recipe.data_root == "planted" else Path(recipe.data_root)
    return resolve_paths(recipe, root)


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
    used = [name for name in recipe.streams if any(name in arm.mixture for arm in recipe.arms.values())]
    text = [name for name in used if recipe.streams[name].modality == "text"]
    samples = {
        name: open_media(expand_paths(recipe.streams[name].paths), recipe.streams[name].captions_field, cache)
        for name in used
        if name not in text
    }
    contents = {name: content_digest(expand_paths(recipe.streams[name].paths), cache) for name in text}
    tokenizer = _tokenizer(recipe, text, contents, samples, cache)
    token_files = {
        name: build_token_file(
            _documents(recipe, name, cache),
            tokenizer,
            cache,
            f"{contents[name]}/{recipe.streams[name].text_field}",
            recipe.streams[name].part,
        )
        for name in text
    }
    media = {name: _media(recipe, name, found, tokenizer, cache) for name, found in samples.items()}
    tasks = {name: load_task(name, settings, cache) for name, settings in recipe.tasks.items()}
    training = {name: file.digests for name, file in token_files.items()}
    training |= {name: material.captions.digests for name, material in media.items()}
    for task in tasks.values():
        refuse_training_overlap(training, task.texts())
        task.check(tokenizer, recipe.model.context_length)
    _refuse_unknown_endpoints(recipe, tasks)
    digests = {
        "tokenizer": tokenizer.digest,
        **{f"stream/{name}": file.digest for name, file in token_files.items()},
        **{f"stream/{name}": material.samples.digest for name, material in media.items()},
        **{f"task/{name}": task.digest for name, task in tasks.items()},
    }
    return Materials(recipe, tokenizer, token_files, media, tasks, digests)


def _refuse_unknown_endpoints(recipe: Recipe, tasks: dict[str, Task]) -> None:
    """Refuse an endpoint that no task will score, such as a subset with a typo: only the items tell."""
    known = [endpoint for task in tasks.values() for endpoint in task.endpoints()]
    for name in (recipe.endpoints.primary, *recipe.endpoints.margins):
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
        errors, limit = material.images.errors, materials.recipe.streams[name].max_skips
        if len(errors) > limit:
            raise DataError(
                f"stream {name!r}: {next(iter(errors.values()))}; {len(errors)} samples failed and "
                f"streams.{name}.max_skips allows {limit}: mend the shards or raise the limit"
            )


def _documents(recipe: Recipe, name: str, cache: Path) -> Iterator[Document]:
    stream = recipe.streams[name]
    return read_documents(expand_paths(stream.paths), stream.text_field, cache)


def _tokenizer(
    recipe: Recipe, text: list[str], contents: dict[str, str], samples: dict[str, MediaSamples], cache: Path
) -> TextTokenizer:
    """The recipe's own tokenizer, or one trained on the training text and captions of all its arms."""
    if recipe.tokenizer.path:
        return load_tokenizer(Path(recipe.tokenizer.path))

    def corpus() -> Iterator[str]:
        for name in text:
            for document in _documents(recipe, name, cache):
                yield document.text
        for found in samples.values():
            for index in range(len(found)):
                yield from found.captions(index)

    content = "/".join(
        [f"{contents[name]}:{recipe.streams[name].text_field}" for name in text]
        + [found.digest for found in samples.values()]
    )
    return train_tokenizer(corpus(), recipe.tokenizer.vocabulary, cache, content)


def _media(
    recipe: Recipe, name: str, samples: MediaSamples, tokenizer: TextTokenizer, cache: Path
) -> MediaMaterial:
    encoder = build_encoder(recipe.streams[name].encoder, recipe.model.width)
    captions = build_caption_tokens(samples, tokenizer, cache)
    images = DecodedImages(samples, encoder.item_shape[-1], cache)
    keys = np.asarray([stream_seed(0, key) for key in samples.keys], dtype=np.uint64)
    return MediaMaterial(samples, captions, images, keys, encoder.tokens_per_item, encoder.item_shape)


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
    media = {}
    for name in columns.per_microbatch:
        if name in text:
            continue
        stream, material = recipe.streams[name], materials.media[name]
        rows = MediaRows(
            captions=material.captions,
            keys=material.keys,
            media_digests=material.samples.media_digests,
            context_length=length,
            tokens_per_item=material.tokens_per_item,
            items_per_row=stream.items_per_row,
            order=stream.order,
            bos=tokenizer.bos,
            pad=tokenizer.pad,
            seed=seed,
            name=name,
            control=arm.control,
        )
        places = columns.per_microbatch[name] * rows.items_per_row
        media[name] = MediaSource(rows, material.images, material.item_shape, places, stream.max_skips)
    return Mixture(columns, text, media, length)
