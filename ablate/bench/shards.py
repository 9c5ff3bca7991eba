"""Made-up shards for benchmarks."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_shard(path: Path, extension: str, samples: Iterable[tuple[bytes, dict[str, Any]]]) -> None:
    """Write a tar of `KEY.<extension>` and `KEY.json` for every (medium, fields) of ``samples``."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (data, fields) in enumerate(samples):
            for kind, body in ((extension, data), ("json", json.dumps(fields).encode())):
                entry = tarfile.TarInfo(f"{number:06d}.{kind}")
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
