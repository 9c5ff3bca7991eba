"""The trained model of a run, found by its record or by its folder in the store, and believed."""

from dataclasses import dataclass
from pathlib import Path

from ablate.data.tokenizer import TextTokenizer, load_tokenizer
from ablate.model.pretrained import load_pretrained
from ablate.model.transformer import Transformer, weights_digest
from ablate.record import RunRecord, read_record
from ablate.report.load import HEADER_FILE, StudyHeader, read_header
from ablate.study.store import Store, StoreError


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and where its model lies."""

    record: RunRecord
    model: Path
    """The Hugging Face folder that the run left."""
    header: StudyHeader | None
    """The study's header, where the record lies in a study's folder of results."""


def find_run(where: Path, store: Path) -> TrainedRun:
    """The run of a record (`results/<study>/records/<arm>-seed<k>.json`) or of a folder in the store.

    Raises:
        RecordError: the record cannot be read.
        StoreError: there is no record, the run diverged, or its model is not in the store.
    """
    path = where / "record.json" if where.is_dir() else where
    if not path.is_file():
        raise StoreError(
            f"{where}: no record of a run; name results/STUDY/records/ARM-seedK.json, or a run's folder in "
            "the store"
        )
    record = read_record(path)
    name = f"{record.arm} seed {record.seed} of {record.study}"
    if record.status == "diverged":
        raise StoreError(f"{path}: {name} diverged; there is no model to use")
    folder = where if where.is_dir() else Store(store).folder(record.identity)
    if not (folder / "model").is_dir():
        raise StoreError(
            f"{folder / 'model'}: the model of {name} is not there; name the store that the run wrote with "
            "--store, or run the study again"
        )
    header = path.parent.parent / HEADER_FILE
    return TrainedRun(record, folder / "model", read_header(header.parent) if header.is_file() else None)


def load_run(run: TrainedRun) -> tuple[Transformer, TextTokenizer]:
    """The trained backbone and its tokenizer.

    Raises:
        DataError: the folder is damaged.
        StoreError: its weights or its tokenizer are not those that the record names.
    """
    backbone, tokenizer = load_pretrained(run.model), load_tokenizer(run.model)
    for what, found, named in (
        ("weights", weights_digest(backbone), run.record.final_weights),
        ("tokenizer", tokenizer.digest, run.record.data_digests.get("tokenizer")),
    ):
        if found != named:
            raise StoreError(
                f"{run.model}: its {what} are not those of the record (digest {found}, the record has "
                f"{named}); they were changed after the run: run the study again into another store"
            )
    return backbone, tokenizer
