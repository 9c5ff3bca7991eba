"""What shards hold, counted and measured; nothing that is wrong with a sample stops the count."""

import itertools
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ablate.data.errors import DataError
from ablate.data.tar_index import Member, TarIndex, index_tar
from ablate.shards.properties import examine, kind_of
from ablate.shards.sample import Failure, read_sample_text


@dataclass(frozen=True)
class Spread:
    """Smallest, middle and largest of some numbers."""

    smallest: float
    median: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """The spread of ``values``; None of none."""
        if not len(values):
            return None
        return cls(float(min(values)), float(np.median(values)), float(max(values)))


@dataclass
class Contents:
    """What one shard holds, or several together. Numbers are kept as they are, so that sums have medians."""

    name: str
    samples: int = 0
    sizes: dict[str, array] = field(default_factory=dict)
    """Extension to the bytes of each member."""
    numbers: dict[tuple[str, str], array] = field(default_factory=dict)
    """(kind, property) to its value in each medium that was decoded; see `Properties.numbers`."""
    formats: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, format) to media of it that were decoded."""
    decoded: int = 0
    """Media that were decoded or could not be."""
    several: Counter[str] = field(default_factory=Counter)
    """Kind to samples with more than one medium of it."""
    interleaved: int = 0
    """Samples that are interleaved documents; their pieces count as captions."""
    without_medium: int = 0
    without_caption: int = 0
    captions: array = field(default_factory=lambda: array("q"))
    """Captions of each sample."""
    characters: array = field(default_factory=lambda: array("q"))
    """Characters of each caption."""
    words: array = field(default_factory=lambda: array("q"))
    """Words of each caption, parted by white space."""
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(field, JSON type) of KEY.json to samples that have it."""
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Contents") -> None:
        """Count the contents of ``other`` too."""
        for name in ("samples", "decoded", "interleaved", "without_medium", "without_caption"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for extension, sizes in other.sizes.items():
            self.sizes.setdefault(extension, array("q")).extend(sizes)
        for key, values in other.numbers.items():
            self.numbers.setdefault(key, array("d")).extend(values)
        self.formats += other.formats
        self.several += other.several
        self.fields += other.fields
        self.captions.extend(other.captions)
        self.characters.extend(other.characters)
        self.words.extend(other.words)
        self.failures += [Failure(f"{other.name}: {one.member}", one.reason) for one in other.failures]


_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}


def open_shards(paths: Iterable[Path], cache: Path) -> list[TarIndex]:
    """Index every shard, in the order given.

    Raises:
        DataError: what `index_tar` refuses.
    """
    return [index_tar(path, cache) for path in paths]


def evenly_spaced(total: int, count: int) -> list[int]:
    """``count`` distinct numbers below ``total`` at equal distances; all of them if there are no more."""
    count = min(total, count)
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def chosen_samples(shards: Sequence[TarIndex], count: int | None) -> list[list[int]]:
    """For each shard, the samples that belong to ``count`` evenly spaced ones of all; all if it is None."""
    if count is None:
        return [list(range(len(shard))) for shard in shards]
    chosen = np.array(evenly_spaced(sum(len(shard) for shard in shards), count), dtype=np.int64)
    ends = np.cumsum([0, *(len(shard) for shard in shards)])
    return [
        (chosen[(chosen >= start) & (chosen < end)] - start).tolist()
        for start, end in itertools.pairwise(ends)
    ]


def inspect_shard(
    shard: TarIndex,
    decode: Collection[int] | None = None,
    captions_field: str = "captions",
    see: Callable[[], object] = lambda: None,
) -> Contents:
    """Count what ``shard`` holds and decode the media of the samples ``decode`` (None: of all).

    Members, captions and JSON fields are counted in all samples. ``see`` is called after each sample.
    """
    found = Contents(str(shard.source))
    wanted = None if decode is None else frozenset(decode)
    for number, members in enumerate(shard):
        found.samples += 1
        for member in members:
            found.sizes.setdefault(member.extension, array("q")).append(member.size)
        rate_hz = _count_text(shard, members, captions_field, found)
        media = [(kind, member) for member in members if (kind := kind_of(member.extension))]
        found.without_medium += not media
        found.several.update(kind for kind, count in Counter(kind for kind, _ in media).items() if count > 1)
        if wanted is None or number in wanted:
            for kind, member in media:
                _count_medium(shard, kind, member, rate_hz, found)
        see()
    return found


def _count_text(shard: TarIndex, members: list[Member], captions_field: str, found: Contents) -> float | None:
    text = read_sample_text(shard, members, captions_field)
    found.failures += text.failures
    found.interleaved += text.interleaved
    found.without_caption += not text.captions
    found.captions.append(len(text.captions))
    found.characters.extend(len(caption) for caption in text.captions)
    found.words.extend(len(caption.split()) for caption in text.captions)
    found.fields.update((name, _JSON_TYPES.get(type(value), "null")) for name, value in text.fields.items())
    return text.rate_hz


def _count_medium(shard: TarIndex, kind: str, member: Member, rate_hz: float | None, found: Contents) -> None:
    found.decoded += 1
    try:
        properties = examine(kind, shard.read(member), rate_hz)
    except DataError as error:
        found.failures.append(Failure(f"{member.key}.{member.extension}", str(error)))
        return
    found.formats[kind, properties.format] += 1
    for name, value in properties.numbers.items():
        found.numbers.setdefault((kind, name), array("d")).append(value)
