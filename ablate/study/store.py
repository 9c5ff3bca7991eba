"""The record store: one folder per run identity, shared by all studies.

STORE/ab/abcdef.../record.json   the record, written last: a run with a record is finished
                  /items.parquet  item-level scores
                  /model/         the checkpoint as a Hugging Face folder
                  /checkpoint.ckpt  while the run is under way
"""

import dataclasses
import shutil
from pathlib import Path

from ablate.record import RunRecord, read_record, write_record


class Store:
    """Finished and unfinished runs by identity."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, identity: str) -> Path:
        """Where the run lies, whether or not it exists."""
        return self.root / identity[:2] / identity

    def record(self, identity: str) -> RunRecord | None:
        """The record of a run that has ended, or None.

        Raises:
            RecordError: there is a record that cannot be read.
        """
        path = self.folder(identity) / "record.json"
        return read_record(path) if path.exists() else None

    def publish(self, record: RunRecord, results: Path) -> None:
        """Copy a finished run's record and item scores into a study's results folder."""
        name = f"{record.arm}-seed{record.seed}"
        for room in ("records", "items"):
            (results / room).mkdir(parents=True, exist_ok=True)
        write_record(record, results / "records" / f"{name}.json")
        items = self.folder(record.identity) / "items.parquet"
        if items.exists():
            partial = results / "items" / f".{name}.parquet.partial"
            shutil.copyfile(items, partial)
            partial.replace(results / "items" / f"{name}.parquet")


def relabelled(
    record: RunRecord, *, study: str, arm: str, mirrors: str | None, recipe_digest: str
) -> RunRecord:
    """``record`` under the names that another study gives to the same run."""
    return dataclasses.replace(record, study=study, arm=arm, mirrors=mirrors, recipe_digest=recipe_digest)
