"""Files that are written whole or not at all, whoever else writes the same one at the same moment."""

import secrets
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content``, text as UTF-8, to ``path``: a reader sees the old file or the new one, whole.

    Two drivers of one study may write one file at one moment: each has a partial file of its own, which is
    gone if it could not be written.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
