"""The training data of a study as its arms read them: without what overlaps with test items, if asked."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ablate.data.content import content_digest, expand_paths
from ablate.data.documents import Document
from ablate.data.errors import DataError
from ablate.data.media import MediaSamples, open_media
from ablate.data.media_subset import samples_without
from ablate.data.overlap_streams import content_without, documents_without, media_stream, text_stream
from ablate.data.overlap_summary import Overlaps, find_overlaps
from ablate.recipe.schema import Recipe, StreamConfig


@dataclass(frozen=True)
class TrainingData:
    """What the arms of a study may read."""

    streams: Mapping[str, StreamConfig]
    overlaps: Overlaps
    """What the tasks share with the streams, as these were before removal."""
    contents: dict[str, str]
    """Text stream to the digest of its contents."""
    samples: dict[str, MediaSamples]
    """Media stream to its samples."""
    cache: Path

    def documents(self, name: str) -> Iterator[Document]:
        """The documents of a text stream, of all its parts."""
        return documents_without(self.streams[name], self.overlaps.removed(name), self.cache)


def study_overlaps(recipe: Recipe, tasks: Mapping[str, Iterable[tuple[str, str]]], cache: Path) -> Overlaps:
    """What ``tasks`` share with the streams that arms of ``recipe`` use; see `find_overlaps`."""
    text, samples = _read(recipe, cache)
    return _overlaps(recipe, text, samples, tasks, cache)


def training_data(
    recipe: Recipe, tasks: Mapping[str, Iterable[tuple[str, str]]], cache: Path
) -> TrainingData:
    """The streams that arms of ``recipe`` use, its paths resolved.

    Args:
        tasks: (label, text) of all that each task holds out.

    Raises:
        DataError: a stream cannot be read, or removal leaves nothing of it.
    """
    text, samples = _read(recipe, cache)
    overlaps = _overlaps(recipe, text, samples, tasks, cache)
    for name in (*text, *samples):
        _refuse_empty(overlaps, name)
    kept = {name: samples_without(found, overlaps.removed(name), cache) for name, found in samples.items()}
    gone = {name: len(found) - len(kept[name]) for name, found in samples.items()}
    contents = {
        name: content_without(
            content_digest(expand_paths(recipe.streams[name].paths), cache), overlaps.removed(name)
        )
        for name in text
    }
    return TrainingData(recipe.streams, replace(overlaps, samples_gone=gone), contents, kept, cache)


def _read(recipe: Recipe, cache: Path) -> tuple[list[str], dict[str, MediaSamples]]:
    """The text streams, and the samples of the others."""
    used = [name for name in recipe.streams if any(name in arm.mixture for arm in recipe.arms.values())]
    text = [name for name in used if recipe.streams[name].modality == "text"]
    return text, {name: _samples(recipe.streams[name], cache) for name in used if name not in text}


def _samples(stream: StreamConfig, cache: Path) -> MediaSamples:
    kinds = (stream.modality, *stream.also)
    return open_media(
        expand_paths(stream.paths), stream.captions_field, cache, kinds=kinds, documents=stream.documents
    )


def _overlaps(
    recipe: Recipe,
    text: list[str],
    samples: Mapping[str, MediaSamples],
    tasks: Mapping[str, Iterable[tuple[str, str]]],
    cache: Path,
) -> Overlaps:
    streams = [text_stream(name, recipe.streams[name], cache) for name in text]
    streams += [media_stream(name, found) for name, found in samples.items()]
    return find_overlaps(recipe.decontamination, tasks, streams, cache)


def _refuse_empty(overlaps: Overlaps, name: str) -> None:
    removed = len(overlaps.removed(name))
    if removed and removed == next(iter(overlaps.found[name].values())).total:
        raise DataError(
            f"stream {name!r}: all {removed} {overlaps.streams[name].kind} share words with test items, so "
            "decontamination.remove leaves nothing; see `ablate overlap`, raise decontamination.ngram or "
            "leave the stream or the task out"
        )
