"""Pack a folder of media with captions into WebDataset shards, the same bytes from the same files."""

import contextlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from ablate.data.errors import DataError
from ablate.shards.folder import extension_of, scan_folder
from ablate.shards.gather import GatherOptions, Source, collect
from ablate.shards.properties import examine, kind_of


@dataclass(frozen=True)
class ShardOptions:
    """How samples are packed."""

    name: str = ""
    """Shards are called NAME-000000.tar and so on; empty takes the folder's name."""
    per_shard: int = 1000
    """Samples of a shard."""
    decode: bool = True
    """Whether every medium is decoded before it is packed."""
    max_skips: int = 0
    """Most samples that may be left out because they do not decode."""
    force: bool = False
    """Whether shards of this name are replaced."""


@dataclass
class Imported:
    """What an import wrote and what it did not."""

    shards: list[Path] = field(default_factory=list)
    samples: int = 0
    media: Counter[str] = field(default_factory=Counter)
    """Kind to media packed."""
    captions: int = 0
    without_caption: int = 0
    skipped: list[str] = field(default_factory=list)
    """What does not decode, with the reason."""
    unused: list[str] = field(default_factory=list)
    """Files that were not packed: unknown extensions, hidden files, captions of no medium."""


def import_folder(
    folder: Path,
    out: Path,
    gather: GatherOptions = GatherOptions(),
    options: ShardOptions = ShardOptions(),
    see: Callable[[int, int], object] = lambda done, total: None,
) -> Imported:
    """Pack the media below ``folder`` into ``out``/NAME-%06d.tar.

    A sample is KEY.<extension> (the file as it is), KEY.txt (its first caption) and KEY.json: `captions`,
    the fields of a KEY.json beside the medium, and, unless they have one, `source` (the file's path below
    ``folder``). Shards appear when all are written, or not at
    all. ``see`` is given samples done and in all.

    Raises:
        DataError: the folder, its captions or names are refused, more than `max_skips` samples do not
            decode, or shards of this name exist.
    """
    name = _shard_name(options.name or folder.resolve().name)
    if options.per_shard < 1:
        raise DataError(f"per-shard is {options.per_shard}; a shard holds at least one sample")
    _check_free(out, name, options.force)
    sources, unused = collect(scan_folder(folder), gather)
    imported = Imported(unused=unused)
    out.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(str(out / f".{name}.lock")):
        _check_free(out, name, options.force)
        # Only the holder of the lock uses this folder: what lies there was left by a killed import.
        partial = out / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            count = _pack(folder, sources, options, imported, partial, see)
            imported.shards = _publish(partial, out, name, count)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return imported


def _shard_name(name: str) -> str:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise DataError(f"{name!r} cannot name shards; give --name of letters, digits, '-', '_' and '.'")
    return name


def _existing(out: Path, name: str) -> list[Path]:
    pattern = re.compile(re.escape(name) + r"-\d{6,}\.tar")
    return sorted(path for path in out.glob("*.tar") if pattern.fullmatch(path.name)) if out.is_dir() else []


def _check_free(out: Path, name: str, force: bool) -> None:
    there = _existing(out, name)
    if there and not force:
        raise DataError(
            f"{there[0]} exists ({len(there)} shards of this name); choose another --name, or replace them "
            "with --force"
        )


def _pack(
    folder: Path,
    sources: list[Source],
    options: ShardOptions,
    imported: Imported,
    partial: Path,
    see: Callable[[int, int], object],
) -> int:
    """Write the shards 0, 1, ... into ``partial``; how many there are."""
    # Imported here because it imports torch.
    from webdataset import TarWriter

    shards = 0
    with contextlib.ExitStack() as opened:
        for done, source in enumerate(sources, start=1):
            members = _members(folder, source, options, imported)
            if members is not None:
                if imported.samples % options.per_shard == 0:
                    opened.close()
                    path = partial / f"{shards:06d}.tar"
                    file = opened.enter_context(path.open("xb"))
                    # No owner or time of this machine goes into the shard.
                    anonymous = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
                    tar = opened.enter_context(TarWriter(file, encoder=False, **anonymous))
                    shards += 1
                _count(source, imported)
                tar.write({"__key__": source.key, **members})
            see(done, len(sources))
    if not imported.samples:
        raise DataError(f"{folder}: not one sample decodes; {imported.skipped[0]}")
    return shards


def _count(source: Source, imported: Imported) -> None:
    imported.samples += 1
    imported.captions += len(source.captions)
    imported.without_caption += not source.captions
    imported.media.update(kind_of(extension_of(name)) or "" for name in source.media)


def _members(
    folder: Path, source: Source, options: ShardOptions, imported: Imported
) -> dict[str, bytes] | None:
    """Extension to bytes of a sample; None if it is skipped."""
    members = {}
    for name in source.media:
        data = (folder / name).read_bytes()
        if options.decode:
            try:
                examine(kind_of(extension_of(name)) or "", data, _rate(source.metadata))
            except DataError as error:
                _skip(f"{folder / name}: {error}", options, imported)
                return None
        members[extension_of(name)] = data
    return members | _texts(source)


def _rate(metadata: dict[str, Any]) -> float | None:
    rate = metadata.get("rate_hz")
    return float(rate) if isinstance(rate, (int, float)) and 0 < rate < float("inf") else None


def _skip(problem: str, options: ShardOptions, imported: Imported) -> None:
    imported.skipped.append(problem)
    if len(imported.skipped) > options.max_skips:
        allowed = f"; {options.max_skips} may be skipped" if options.max_skips else ""
        raise DataError(f"{problem}. Nothing was written{allowed}; mend the file or raise --max-skips")


def _texts(source: Source) -> dict[str, bytes]:
    captions = {"captions": source.captions} if source.captions else {}
    names: str | list[str] = source.media[0] if len(source.media) == 1 else source.media
    described = {"source": names, **source.metadata, **captions}
    first = {"txt": source.captions[0].encode()} if source.captions else {}
    return first | {"json": json.dumps(described, sort_keys=True).encode()}


def _publish(partial: Path, out: Path, name: str, count: int) -> list[Path]:
    """Move the shards to their names and remove those of an earlier import that they do not replace."""
    shards = [out / f"{name}-{number:06d}.tar" for number in range(count)]
    for number, shard in enumerate(shards):
        (partial / f"{number:06d}.tar").replace(shard)
    for old in _existing(out, name):
        if old not in shards:
            old.unlink()
    return shards
