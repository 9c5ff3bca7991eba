"""Shards of media, as img2dataset writes them: KEY.jpg, KEY.txt, KEY.json; and what each sample holds.

What is costly to know of a shard (texts, digests of the media) is worked out once per content.
"""

import hashlib
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ablate.data.content import by_content, content_digest, digest_of, write_once
from ablate.data.errors import DataError
from ablate.data.sample_text import Texts, texts_of
from ablate.data.tar_index import Member, TarIndex, index_tar
from ablate.recipe.schema import Documents

MEDIA: dict[str, tuple[str, ...]] = {
    "image": ("jpg", "jpeg", "png", "webp"),
    "audio": ("flac", "wav", "ogg", "opus", "mp3", "m4a"),
    "video": ("mp4", "webm"),
    "sensor": ("npy",),
}
"""Kind of media to the extensions its members have."""

_FORMAT = "media-2"
_INTERLEAVED_FORMAT = "media-3"
"""Parts of a run's identity: raised when the same shards come to mean something else."""
_SCAN_FORMAT = "media-scan-3"
"""Of the cached scan alone; raised as well when shards come to be refused."""


@dataclass(frozen=True)
class MediaItems:
    """The media of one kind in some samples, in the order of the samples."""

    sample: NDArray[np.int64]
    """Which sample each belongs to."""
    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    digest: NDArray[np.uint64]
    """64-bit BLAKE2b of the bytes; copies share one."""
    rate_hz: NDArray[np.float64]
    """`rate_hz` of KEY.json, read for sensor recordings alone; NaN for all else."""

    def __len__(self) -> int:
        return len(self.sample)


class MediaSamples:
    """The samples of some shards, numbered in the order of the shards' content digests.

    It travels between processes as paths; each process opens the files for itself.
    """

    def __init__(self, shards: Sequence[TarIndex], folder: Path, digest: str, kinds: tuple[str, ...]) -> None:
        self._shards = list(shards)
        self._folder = folder
        self.digest = digest
        """Digest of the shards' contents, the kinds of media, and how the texts are read."""
        self.kinds = kinds
        keys = [key for shard in shards for key in shard.keys]
        try:
            kept = folder / "kept.npy"
            self.in_shards: np.ndarray = _load(folder, "kept") if kept.exists() else np.arange(len(keys))
            """int64[samples]: number of each sample among all those of the shards."""
            self._text = _open_texts(folder / "texts.bin")
            self._text_offset = _load(folder, "text_offset")
            self.first: np.ndarray = _load(folder, "first")
            """int64[samples + 1]: number of each sample's first text."""
            self.segment_first: np.ndarray = _load(folder, "segment_first")
            """int64[samples + 1]: number of each sample's first segment; see `segments`."""
            self.segments: np.ndarray = _load(folder, "segments")
            """int64: for interleaved documents, what follows what: t >= 0 is the sample's text number t,
            t < 0 its medium number -t - 1. Empty for others."""
            self.items = {
                kind: MediaItems(*(_load(folder, f"{kind}-{name}") for name in MediaItems.__annotations__))
                for kind in kinds
            }
            """Kind to the media of that kind."""
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: the cached index is damaged ({error}); delete this folder") from error
        whole = len(self.in_shards) == len(keys)
        self.keys: list[str] = keys if whole else [keys[number] for number in self.in_shards.tolist()]
        """Key of each sample; two shards may use the same one."""
        self._start = np.cumsum([0, *(len(shard) for shard in shards)])

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaSamples, (self._shards, self._folder, self.digest, self.kinds)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def interleaved(self) -> bool:
        """Whether a sample is a document of texts and media in an order of its own."""
        return len(self.segments) > 0

    def kept_in(self, folder: Path, digest: str) -> "MediaSamples":
        """Those of these samples that `ablate.data.media_subset` wrote into ``folder``."""
        return MediaSamples(self._shards, folder, digest, self.kinds)

    def texts(self, sample: int) -> list[str]:
        """All texts of one sample: its captions, or the pieces of an interleaved document in order."""
        return [self._piece(at) for at in range(self.first[sample], self.first[sample + 1])]

    def _piece(self, number: int) -> str:
        return self._text[self._text_offset[number] : self._text_offset[number + 1]].tobytes().decode()

    def read(self, kind: str, item: int) -> bytes:
        """The encoded bytes of medium ``item`` of one kind."""
        items = self.items[kind]
        sample = int(items.sample[item])
        member = Member(self.keys[sample], kind, int(items.offset[item]), int(items.size[item]))
        return self._shards[self._shard_of(sample)].read(member)

    def name(self, kind: str, item: int) -> str:
        """Shard and key of the sample that a medium belongs to, for messages."""
        sample = int(self.items[kind].sample[item])
        return f"{self._shards[self._shard_of(sample)].source}: {self.keys[sample]}"

    def place(self, sample: int) -> str:
        """Shard, without its folder, and key of a sample."""
        return f"{self._shards[self._shard_of(sample)].source.name}:{self.keys[sample]}"

    def _shard_of(self, sample: int) -> int:
        return int(np.searchsorted(self._start, self.in_shards[sample], side="right")) - 1


def _open_texts(path: Path) -> np.ndarray:
    if not path.stat().st_size:  # media without text; an empty file cannot be mapped
        return np.zeros(0, dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r")


def _load(folder: Path, name: str) -> np.ndarray:
    loaded: np.ndarray = np.load(folder / f"{name}.npy", allow_pickle=False)
    return loaded


def open_media(
    paths: Sequence[Path],
    captions_field: str,
    cache: Path,
    kinds: tuple[str, ...] = ("image",),
    documents: Documents = "captioned",
) -> MediaSamples:
    """The samples of the shards ``paths``.

    Captioned and media-only samples hold exactly one medium of each kind, told by the last ending of its
    name (`KEY.0.jpg` is a picture as well); sound is looked for in the
    video where no audio file lies beside it. Captions are the list ``captions_field`` of KEY.json or,
    without that field, the text of KEY.txt. An interleaved sample is read as `ablate.data.sample_text`
    says. Members that are neither are left alone.

    Raises:
        DataError: names shard and key: no or two media, no caption, a caption that is no text, or what
            `index_tar` refuses.
    """
    shards = [index_tar(path, cache) for path in by_content(paths, cache)]
    form = _INTERLEAVED_FORMAT if documents == "interleaved" else _FORMAT
    digest = digest_of(form, content_digest(paths, cache), captions_field, ",".join(kinds), documents)
    folder = cache / "media" / digest_of(_SCAN_FORMAT, digest)
    write_once(folder, lambda partial: _Scan(kinds, captions_field, documents).write(shards, partial))
    return MediaSamples(shards, folder, digest, kinds)


class _Scan:
    """One pass over all samples of some shards."""

    def __init__(self, kinds: tuple[str, ...], field: str, documents: Documents) -> None:
        self.kinds, self.field, self.documents = kinds, field, documents
        self.first, self.text_offset = array("q", [0]), array("q", [0])
        self.segment_first, self.segments = array("q", [0]), array("q")
        self.tables = {
            kind: {"sample": array("q"), "offset": array("q"), "size": array("q"), "digest": array("Q")}
            for kind in kinds
        }
        self.rates: dict[str, array[float]] = {kind: array("d") for kind in kinds}
        self.samples = 0

    def write(self, shards: Sequence[TarIndex], folder: Path) -> None:
        folder.mkdir()
        with (folder / "texts.bin").open("wb") as out:
            for shard in shards:
                for members in shard:
                    for text in self._sample(shard, members).texts:
                        data = text.encode()
                        out.write(data)
                        self.text_offset.append(self.text_offset[-1] + len(data))
        for name in ("first", "text_offset", "segment_first", "segments"):
            np.save(folder / f"{name}.npy", np.array(getattr(self, name), dtype=np.int64))
        for kind, table in self.tables.items():
            for name, values in table.items():
                dtype = np.uint64 if name == "digest" else np.int64
                np.save(folder / f"{kind}-{name}.npy", np.array(values, dtype=dtype))
            np.save(folder / f"{kind}-rate_hz.npy", np.array(self.rates[kind], dtype=np.float64))

    def _sample(self, shard: TarIndex, members: list[Member]) -> Texts:
        found = texts_of(shard, members, self.field, self.documents)
        if self.documents == "interleaved":
            media = [(self.kinds[0], _named(shard, members, name)) for name in found.media]
        else:
            media = [(kind, _medium(shard, members, kind)) for kind in self.kinds]
        for kind, member in media:
            table = self.tables[kind]
            table["sample"].append(self.samples)
            table["offset"].append(member.offset)
            table["size"].append(member.size)
            table["digest"].append(_digest(shard.read(member)))
            is_sensor = kind == "sensor"
            self.rates[kind].append(_rate(shard, members[0].key, found.fields) if is_sensor else float("nan"))
        self.first.append(self.first[-1] + len(found.texts))
        self.segments.extend(found.segments)
        self.segment_first.append(len(self.segments))
        self.samples += 1
        return found


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _rate(shard: TarIndex, key: str, fields: dict[str, Any]) -> float:
    rate = fields.get("rate_hz")
    if rate is None:
        return float("nan")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1e9:
        raise DataError(
            f"{shard.source}: {key}.json: rate_hz is {json.dumps(rate)[:40]}; write a number a second"
        )
    return float(rate)


def _medium(shard: TarIndex, members: list[Member], kind: str) -> Member:
    found = _of_kind(members, kind)
    if not found and kind == "audio":
        found = _of_kind(members, "video")  # its sound track
    if len(found) == 1:
        return found[0]
    there = ", ".join(f".{member.extension}" for member in (found or members))
    problem = f"has {len(found)} {kind}s" if found else f"has no {kind} (.{', .'.join(MEDIA[kind])})"
    raise DataError(f"{shard.source}: {members[0].key} {problem}; it has {there}: keep one in each sample")


def _of_kind(members: list[Member], kind: str) -> list[Member]:
    return [member for member in members if member.extension.rpartition(".")[2] in MEDIA[kind]]


def _named(shard: TarIndex, members: list[Member], name: str) -> Member:
    """The member that an interleaved document calls ``name``: its whole name, or what follows the key."""
    key = members[0].key
    base = name.rsplit("/", 1)[-1].lower()
    wanted = {base, base.removeprefix(f"{key.rsplit('/', 1)[-1]}.".lower())}
    for member in members:
        if member.extension in wanted:
            return member
    there = ", ".join(f"{key}.{member.extension}" for member in members)
    raise DataError(f"{shard.source}: {key} names the medium {name[:80]!r}, but holds {there}; add it")
