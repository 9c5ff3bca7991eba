"""Which samples the files of a folder make."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.data.errors import DataError
from ablate.shards.captions import CAPTION_FIELD, FILE_FIELD, read_captions
from ablate.shards.folder import Folder, extension_of, stem_of
from ablate.shards.properties import kind_of

NAMED = 10
"""Most files that one message names."""


@dataclass(frozen=True)
class GatherOptions:
    """What of a folder becomes a sample."""

    captions: Path | None = None
    """A file of captions; without it they are read from KEY.json or KEY.txt beside the medium."""
    file_field: str = FILE_FIELD
    caption_field: str = CAPTION_FIELD
    without_captions: bool = False
    """Whether media without a caption are packed; otherwise they are refused."""
    group: bool = False
    """Whether files that differ in their extension only form one sample; otherwise they are refused."""


@dataclass(frozen=True)
class Source:
    """A sample before it is packed."""

    key: str
    media: list[str]
    """Files relative to the folder, of distinct kinds."""
    captions: list[str]
    metadata: dict[str, Any]
    """What KEY.json beside the medium holds."""


def collect(folder: Folder, options: GatherOptions) -> tuple[list[Source], list[str]]:
    """The samples of ``folder`` in the order they are packed in, and the files that are left out.

    Raises:
        DataError: no media; captions without file or files without captions; two files of one key.
    """
    if not folder.media:
        raise DataError(f"{folder.path}: holds no media of a known extension; it has {_by_extension(folder)}")
    listed = _listed_captions(folder, options)
    used: set[str] = set()
    sources = [
        _source(folder, key, names, listed, used) for key, names in _grouped(folder, options.group).items()
    ]
    bare = [name for source in sources if not source.captions for name in source.media]
    if bare and not options.without_captions:
        where = (
            f"no line of {options.captions}" if options.captions else "no caption beside them (.txt or .json)"
        )
        raise DataError(
            f"{folder.path}: {len(bare)} of {len(folder.media)} files have {where}: {_some(bare)}; "
            "add captions, or pack them without (--without-captions)"
        )
    unused = [*folder.others, *(name for name in folder.sidecars.values() if name not in used)]
    if options.captions is not None:
        unused = [name for name in unused if not _same(folder.path / name, options.captions)]
    return sources, sorted(unused)


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more


def _by_extension(folder: Folder) -> str:
    names = [*folder.others, *folder.sidecars.values()]
    counts = Counter(f".{extension_of(name)}" if extension_of(name) else "none" for name in names)
    return ", ".join(f"{count} {extension}" for extension, count in counts.most_common(NAMED)) or "no files"


def _listed_captions(folder: Folder, options: GatherOptions) -> dict[str, list[str]] | None:
    if options.captions is None:
        return None
    listed = read_captions(options.captions, options.file_field, options.caption_field)
    missing = sorted(set(listed) - set(folder.media))
    if missing:
        raise DataError(
            f"{options.captions}: names {len(missing)} files that are no media of {folder.path}: "
            f"{_some(missing)}; write paths relative to the folder, or remove the lines"
        )
    return listed


def _grouped(folder: Folder, group: bool) -> dict[str, list[str]]:
    """Key to the files of one sample, in the order of their paths."""
    grouped: dict[str, list[str]] = {}
    for name in folder.media:
        grouped.setdefault(key_of(name), []).append(name)
    for key, names in grouped.items():
        kinds = {kind_of(extension_of(name)) for name in names}
        one_stem = len({stem_of(name) for name in names}) == 1
        if len(names) == 1 or (group and one_stem and len(kinds) == len(names)):
            continue
        hint = (
            ", or make one sample of files that differ in their extension only (--group)"
            if one_stem and len(kinds) == len(names)
            else ""
        )
        raise DataError(
            f"{folder.path}: {_some(names)} would share the key {key!r}; rename all but one{hint}"
        )
    return grouped


def key_of(name: str) -> str:
    """The key of a relative path: without its ending, folders joined by `__`, other signs replaced by `_`.

    Letters and digits of any script and `-` stay. Two paths may get one key; `collect` refuses that.
    """
    return "__".join(re.sub(r"[^\w-]", "_", part) for part in stem_of(name).split("/"))


def _source(
    folder: Folder, key: str, names: list[str], listed: dict[str, list[str]] | None, used: set[str]
) -> Source:
    stem = stem_of(names[0])
    metadata: dict[str, Any] = {}
    beside = folder.sidecars.get(f"{stem}.json")
    if beside is not None:
        metadata = _metadata(folder.path / beside)
        used.add(beside)
    if listed is not None:
        metadata.pop("captions", None)
        return Source(key, names, [caption for name in names for caption in listed.get(name, [])], metadata)
    captions = metadata.pop("captions", None)
    text = folder.sidecars.get(f"{stem}.txt")
    if captions is None and text is not None:
        captions = [_caption_text(folder.path / text)]
    if text is not None:
        # Where KEY.json lists captions, KEY.txt is the first of them, as in a shard.
        used.add(text)
    return Source(key, names, _checked_captions(folder.path / (beside or text or stem), captions), metadata)


def _metadata(path: Path) -> dict[str, Any]:
    try:
        item = json.loads(_caption_text(path))
        json.dumps(item)  # nested deeper than can be written again
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: invalid JSON ({error})") from error
    if not isinstance(item, dict):
        raise DataError(f"{path}: not a JSON object; write one, or move the file out of the folder")
    return item


def _caption_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _checked_captions(path: Path, captions: Any) -> list[str]:
    if captions is None:
        return []
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{path}: 'captions' is not a list of strings")
    if not captions or not all(caption.strip() for caption in captions):
        raise DataError(f"{path}: the caption is empty; write one, or remove the file")
    if any("\ud800" <= letter <= "\udfff" for caption in captions for letter in caption):
        raise DataError(f"{path}: a caption has half a surrogate pair and no UTF-8 form")
    return [caption.strip() for caption in captions]
