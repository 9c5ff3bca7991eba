"""What is imported is a WebDataset: its own library reads the same samples back."""

import json
from pathlib import Path

import webdataset
from own_media import picture, tone, write_folder

from ablate.shards.gather import GatherOptions
from ablate.shards.importer import ShardOptions, import_folder


def test_webdataset_reads_every_sample_of_an_imported_folder(tmp_path: Path) -> None:
    files = {f"{number}.jpg": picture(shade=number) for number in range(5)} | {"5.wav": tone()}
    texts = {f"{number}.txt": f"Shade {number}." for number in range(6)}
    folder = write_folder(tmp_path / "media", {**files, **texts})
    done = import_folder(folder, tmp_path / "out", GatherOptions(), ShardOptions(name="x", per_shard=4))
    assert len(done.shards) == 2
    samples = list(webdataset.WebDataset([str(path) for path in done.shards], shardshuffle=False))
    found = {sample["txt"].decode(): sample["jpg" if "jpg" in sample else "wav"] for sample in samples}
    assert found == {f"Shade {name[0]}.": data for name, data in files.items()}
    for sample in samples:
        assert json.loads(sample["json"])["captions"] == [sample["txt"].decode()]
