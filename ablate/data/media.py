"""Shards of media paired with text, as img2dataset writes them: KEY.jpg, KEY.txt, KEY.json.

What is costly to know of a shard (captions, digests of the media) is worked out once per content.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.content import by_content, content_digest, digest_of, write_once
from ablate.data.documents import document_digest, missing_field
from ablate.data.errors import DataError
from ablate.data.tar_index import Member, TarIndex, index_tar
from ablate.data.token_file import open_tokens, write_tokens
from ablate.data.tokenizer import TextTokenizer

MEDIA: dict[str, tuple[str, ...]] = {
    "image": ("jpg", "jpeg", "png", "webp"),
    "audio": ("flac", "wav", "ogg", "opus", "mp3"),
    "video": ("mp4", "webm"),
    "sensor": ("npy",),
}
"""Kind of media to the extensions its members have."""

_FORMAT = "media-1"
_CAPTIONS_FORMAT = "caption-tokens-2"


class MediaSamples:
    """The samples of some shards, numbered in the order of the shards' content digests.

    It travels between processes as paths; each process opens the files for itself.
    """

    def __init__(self, shards: Sequence[TarIndex], folder: Path, digest: str) -> None:
        self._shards = list(shards)
        self._folder = folder
        self.digest = digest
        """Digest of the shards' contents, the captions field and the kind of media."""
        self.keys: list[str] = [key for shard in shards for key in shard.keys]
        """Key of each sample; two shards may use the same one."""
        try:
            load = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in _ARRAYS}
            self._text = np.memmap(folder / "captions.bin", dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder}: the cached captions are damaged ({error}); delete this folder"
            ) from error
        self._offset, self._size, self._text_offset = load["offset"], load["size"], load["text_offset"]
        self.first: np.ndarray = load["first"]
        """int64[samples + 1]: number of each sample's first caption."""
        self.media_digests: np.ndarray = load["media_digest"]
        """uint64[samples]: 64-bit BLAKE2b of the media bytes; copies share one."""
        self._start = np.cumsum([0, *(len(shard) for shard in shards)])

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaSamples, (self._shards, self._folder, self.digest)

    def __len__(self) -> int:
        return len(self.keys)

    def captions(self, sample: int) -> list[str]:
        """All captions of one sample."""
        return [self._caption(at) for at in range(self.first[sample], self.first[sample + 1])]

    def _caption(self, number: int) -> str:
        return self._text[self._text_offset[number] : self._text_offset[number + 1]].tobytes().decode()

    def read(self, sample: int) -> bytes:
        """The encoded media of one sample."""
        shard = self._shards[self._shard_of(sample)]
        member = Member(self.keys[sample], "media", int(self._offset[sample]), int(self._size[sample]))
        return shard.read(member)

    def name(self, sample: int) -> str:
        """Shard and key of one sample, for messages."""
        return f"{self._shards[self._shard_of(sample)].source}: {self.keys[sample]}"

    def _shard_of(self, sample: int) -> int:
        return int(np.searchsorted(self._start, sample, side="right")) - 1


_ARRAYS = ("offset", "size", "media_digest", "first", "text_offset")


def open_media(paths: Sequence[Path], captions_field: str, cache: Path, kind: str = "image") -> MediaSamples:
    """The samples of the shards ``paths``, each with one medium of ``kind`` and at least one caption.

    Captions are the list ``captions_field`` of KEY.json; without that field, the text of KEY.txt.
    Members that are neither media of ``kind`` nor captions are left alone.

    Raises:
        DataError: names shard and key: no or two media, no caption, a caption that is no text, or what
            `index_tar` refuses.
    """
    shards = [index_tar(path, cache) for path in by_content(paths, cache)]
    digest = digest_of(_FORMAT, content_digest(paths, cache), captions_field, kind)
    folder = cache / "media" / digest
    write_once(folder, lambda partial: _scan(shards, captions_field, kind, partial))
    return MediaSamples(shards, folder, digest)


def _scan(shards: Sequence[TarIndex], captions_field: str, kind: str, folder: Path) -> None:
    folder.mkdir()
    offset, size, first, text_offset = array("q"), array("q"), array("q", [0]), array("q", [0])
    media_digest = array("Q")
    with (folder / "captions.bin").open("wb") as out:
        for shard in shards:
            for members in shard:
                medium = _medium(shard, members, kind)
                offset.append(medium.offset)
                size.append(medium.size)
                media_digest.append(_digest(shard.read(medium)))
                captions = _captions(shard, members, captions_field)
                for caption in captions:
                    data = caption.encode()
                    out.write(data)
                    text_offset.append(text_offset[-1] + len(data))
                first.append(first[-1] + len(captions))
    tables = {"offset": offset, "size": size, "first": first, "text_offset": text_offset}
    for name, table in tables.items():
        np.save(folder / f"{name}.npy", np.frombuffer(table, dtype=np.int64))
    np.save(folder / "media_digest.npy", np.frombuffer(media_digest, dtype=np.uint64))


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _medium(shard: TarIndex, members: list[Member], kind: str) -> Member:
    found = [member for member in members if member.extension in MEDIA[kind]]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f".{member.extension}" for member in (found or members))
    problem = f"has {len(found)} {kind}s" if found else f"has no {kind} (.{', .'.join(MEDIA[kind])})"
    raise DataError(f"{shard.source}: {members[0].key} {problem}; it has {there}: keep one in each sample")


def _captions(shard: TarIndex, members: list[Member], field: str) -> list[str]:
    by_extension = {member.extension: member for member in members}
    key, listed = members[0].key, None
    fields: list[str] = []
    if "json" in by_extension:
        item = _json(shard, by_extension["json"])
        fields, listed = list(item), item.get(field)
    if listed is None:
        if "txt" not in by_extension:
            reason = f"its .json has {missing_field(field, fields)}" if "json" in by_extension else "no .json"
            raise DataError(
                f"{shard.source}: {key} has no caption: no .txt, {reason}; add one or drop the sample"
            )
        listed = [_text(shard, by_extension["txt"])]
        field = "its .txt"
    if not isinstance(listed, list) or not all(isinstance(caption, str) for caption in listed):
        raise DataError(f'{shard.source}: {key}: {field!r} is not a list of strings; write ["..."]')
    captions = [caption.strip() for caption in listed]
    if not captions or not all(captions):
        raise DataError(
            f"{shard.source}: {key}: caption missing: {field!r} is empty; add one or drop the sample"
        )
    for caption in captions:
        if any("\ud800" <= letter <= "\udfff" for letter in caption):
            raise DataError(f"{shard.source}: {key}: a caption has half a surrogate pair and no UTF-8 form")
    return captions


def _json(shard: TarIndex, member: Member) -> dict[str, Any]:
    try:
        item = json.loads(_text(shard, member))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{shard.source}: {member.key}.json: invalid JSON ({error})") from error
    if not isinstance(item, dict):
        raise DataError(f"{shard.source}: {member.key}.json: not a JSON object")
    return item


def _text(shard: TarIndex, member: Member) -> str:
    data = shard.read(member)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shard.source}: {member.key}.{member.extension}: not UTF-8 at byte {error.start} "
            f"({data[error.start : error.start + 1]!r}); convert it"
        ) from error


class CaptionTokens:
    """The captions of some samples, tokenised. It travels between processes as its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tokens, offsets, meta = open_tokens(folder)
        self.tokens: np.memmap = tokens
        """uint16 or uint32[tokens]: each caption's tokens followed by the end token."""
        self.offsets: np.ndarray = offsets
        """int64[captions + 1]: caption c is ``tokens[offsets[c]:offsets[c + 1]]``."""
        self.first: np.ndarray = np.load(folder / "first.npy", allow_pickle=False)
        """int64[samples + 1]: number of each sample's first caption."""
        self.digests: np.ndarray = np.load(folder / "digests.npy", allow_pickle=False)
        """uint64[captions]: `document_digest` of each caption."""
        self.digest: str = meta["digest"]
        """Digest of tokens and offsets."""

    def __reduce__(self) -> tuple[Any, ...]:
        return CaptionTokens, (self.folder,)


def build_caption_tokens(samples: MediaSamples, tokenizer: TextTokenizer, cache: Path) -> CaptionTokens:
    """Tokenise all captions of ``samples`` once per (content, tokenizer)."""
    folder = cache / "tokens" / digest_of(_CAPTIONS_FORMAT, samples.digest, tokenizer.digest)

    def build(partial: Path) -> None:
        digests = array("Q")

        def texts() -> Iterator[str]:
            for sample in range(len(samples)):
                for caption in samples.captions(sample):
                    digests.append(document_digest(caption))
                    yield caption

        write_tokens(partial, texts(), tokenizer)
        np.save(partial / "digests.npy", np.frombuffer(digests, dtype=np.uint64))
        np.save(partial / "first.npy", samples.first)

    return CaptionTokens(write_once(folder, build))
