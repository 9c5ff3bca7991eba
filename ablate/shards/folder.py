"""What a folder of media holds: media, captions beside them, and everything that is neither."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ablate.data.errors import DataError
from ablate.shards.properties import kind_of

SIDECARS = ("txt", "json")


@dataclass
class Folder:
    """The files below a folder, by their path relative to it."""

    path: Path
    media: list[str] = field(default_factory=list)
    """Media of a known extension, sorted."""
    sidecars: dict[str, str] = field(default_factory=dict)
    """``STEM.txt`` or ``STEM.json``, extension in lower case, to the file; some may have no medium."""
    others: list[str] = field(default_factory=list)
    """Files of an unknown extension and hidden files, sorted."""


def stem_of(name: str) -> str:
    """A relative path without its last ending."""
    return str(PurePosixPath(name).with_suffix(""))


def extension_of(name: str) -> str:
    """Its last ending in lower case, without the dot; empty if there is none."""
    return PurePosixPath(name).suffix[1:].lower()


def is_hidden(name: str) -> bool:
    """Whether the file or a folder on its path begins with a dot."""
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def scan_folder(folder: Path) -> Folder:
    """Sort the files below ``folder``; file links that stay within it are read, links to folders refused.

    Raises:
        DataError: it is no folder, cannot be read, or holds a link that leaves it, is broken or leads to a
            folder, a pipe, socket or device, a name that is not UTF-8, or two sidecars of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder that holds the media")
    found = Folder(folder)
    for name in sorted(_files(folder, folder.resolve(), "")):
        extension = extension_of(name)
        if is_hidden(name):
            found.others.append(name)
        elif extension in SIDECARS:
            key = f"{stem_of(name)}.{extension}"
            if key in found.sidecars:
                raise DataError(
                    f"{folder}: {found.sidecars[key]!r} and {name!r} differ in case only; keep one"
                )
            found.sidecars[key] = name
        elif kind_of(extension):
            found.media.append(name)
        else:
            found.others.append(name)
    return found


def _files(folder: Path, root: Path, prefix: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
    for entry in entries:
        name = f"{prefix}{entry.name}"
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{folder}: the name {name!r} is not UTF-8; rename the file") from error
        if entry.is_symlink():
            _check_link(Path(entry.path), root)
            yield name
        elif entry.is_dir():
            yield from _files(Path(entry.path), root, f"{name}/")
        elif entry.is_file():
            yield name
        else:
            raise DataError(f"{entry.path}: is a pipe, socket or device; remove it from the folder")


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: is a broken link; remove it from the folder") from error
    if not target.is_relative_to(root):
        raise DataError(f"{path}: is a link that leaves the folder (to {target}); copy the file here instead")
    if not target.is_file():
        raise DataError(f"{path}: is a link to a folder; remove it, or move the folder here")
