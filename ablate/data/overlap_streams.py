"""The texts of streams, as overlap is looked for in them, and documents without those that overlap."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from ablate.data.content import by_content, content_digest, digest_of, expand_paths
from ablate.data.documents import Document, document_digest, read_documents
from ablate.data.media import MediaSamples
from ablate.data.overlap import StreamTexts
from ablate.data.token_file import parse_part
from ablate.recipe.schema import StreamConfig

Places = Collection[tuple[int, int]]
"""Texts of a stream by their two numbers, see `StreamTexts.read`."""


def text_stream(name: str, stream: StreamConfig, cache: Path) -> StreamTexts:
    """The documents of a text stream, of its part alone."""
    paths = expand_paths(stream.paths)
    which, parts = parse_part(stream.part)

    def read() -> Iterator[tuple[int, int, str]]:
        for file, document in _by_file(paths, stream.text_field, cache):
            if parts == 1 or document_digest(document.text) % parts == which - 1:
                yield file, document.number, document.text

    key = digest_of("text", content_digest(paths, cache), stream.text_field, f"{which}/{parts}")
    files = by_content(paths, cache)
    return StreamTexts(name, "documents", key, read, lambda file, number: f"{files[file].name}:{number}")


def documents_without(stream: StreamConfig, removed: Places, cache: Path) -> Iterator[Document]:
    """The documents of a text stream, of all its parts, but for those ``removed``."""
    for file, document in _by_file(expand_paths(stream.paths), stream.text_field, cache):
        if (file, document.number) not in removed:
            yield document


def content_without(content: str, removed: Places) -> str:
    """Digest of a stream's ``content`` once its texts ``removed`` are gone; ``content`` where none are."""
    return digest_of("without", content, *map(str, sorted(removed))) if removed else content


def _by_file(paths: Sequence[Path], text_field: str, cache: Path) -> Iterator[tuple[int, Document]]:
    """Documents as `read_documents` gives them, each with the number of its file."""
    for file, path in enumerate(by_content(paths, cache)):
        for document in read_documents([path], text_field, cache):
            yield file, document


def media_stream(name: str, samples: MediaSamples) -> StreamTexts:
    """The captions of a media stream, or its interleaved documents, whose texts are read as one."""

    def read() -> Iterator[tuple[int, int, str]]:
        for sample in range(len(samples)):
            own = samples.texts(sample)
            texts = [" ".join(own)] if samples.interleaved else own
            for number, text in enumerate(texts):
                yield sample, number, text

    kind = "documents" if samples.interleaved else "captions"
    return StreamTexts(name, kind, samples.digest, read, partial(_caption_place, samples))


def _caption_place(samples: MediaSamples, sample: int, number: int) -> str:
    place = samples.place(sample)
    return place if samples.interleaved else f"{place}:{number}"
