"""Made-up shards for benchmarks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_shard(path: Path, extension: str, samples: Iterable[tuple[bytes, dict[str, Any]]]) -> None:
    """Write a tar of `KEY.<extension>` and `KEY.json` for every (medium, fields) of ``samples``."""
    from webdataset import TarWriter

    with path.open("wb") as file, TarWriter(file, encoder=False) as tar:
        for number, (data, fields) in enumerate(samples):
            described = json.dumps(fields).encode()
            tar.write({"__key__": f"{number:06d}", extension: data, "json": described})
