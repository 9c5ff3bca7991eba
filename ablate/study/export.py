"""A run's model as a folder to hand on: what transformers and lm-eval load, and a card that explains it."""

import json
import shutil
from pathlib import Path

from ablate.data.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_object
from ablate.data.tokenizer import TextTokenizer
from ablate.model.huggingface import MEDIA_FILE
from ablate.study.model_card import CARD_FILE, model_card
from ablate.study.store import StoreError, disk_errors
from ablate.study.trained import TrainedRun, load_run

_GENERATION_FILE = "generation_config.json"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
_FILES = frozenset(
    (WEIGHTS_FILE, MEDIA_FILE, CONFIG_FILE, _GENERATION_FILE, CARD_FILE, *_TOKENIZER_FILES),
)
"""What an export writes, and so may replace."""


def export_run(run: TrainedRun, out: Path, *, with_media: bool = False, force: bool = False) -> list[str]:
    """Write the model of ``run`` with its tokenizer and card into ``out``; the names of the files.

    ``out`` appears whole or not at all.

    Args:
        with_media: encoders and media heads go along; transformers does not read them.
        force: a model that is there is replaced, if its folder holds nothing else.

    Raises:
        StoreError: ``out`` is there or in the run's own folder, or the run has no media parts, or its files
            are not its record's.
        DataError: the folder of the run is damaged.
    """
    _refuse_place(run, out)
    _refuse_occupied(out, force)
    _, tokenizer = load_run(run)
    media = run.model / MEDIA_FILE
    if with_media and not media.is_file():
        raise StoreError(f"{media}: this run has no media parts; leave --with-media out")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with disk_errors(out.parent):
            partial.mkdir(parents=True)
            for file in (WEIGHTS_FILE, CONFIG_FILE, *([MEDIA_FILE] if with_media else [])):
                shutil.copyfile(run.model / file, partial / file)
            tokenizer.save(partial)
            _write_generation(partial, tokenizer)
            card = model_card(run, read_object(partial / CONFIG_FILE), media=_media_of(media, with_media))
            (partial / CARD_FILE).write_text(card, encoding="utf-8")
            _replace(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return sorted(path.name for path in out.iterdir())


def _media_of(media: Path, with_media: bool) -> str:
    if not media.is_file():
        return "none"
    return MEDIA_FILE if with_media else "left out"


def _refuse_place(run: TrainedRun, out: Path) -> None:
    if out.name in ("", ".."):
        raise StoreError(f"{str(out)!r} has no name of its own; name the folder to write")
    if out.resolve().is_relative_to(run.model.parent.resolve()):
        raise StoreError(f"{out}: lies in the store's folder of the run; name a folder elsewhere")


def _refuse_occupied(out: Path, force: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise StoreError(f"{out}: there is a file of this name; name another folder")
    if not any(out.iterdir()):
        return
    if not (out / CONFIG_FILE).is_file() or not (out / WEIGHTS_FILE).is_file():
        raise StoreError(
            f"{out}: holds files that are no model, which are never replaced; name another folder"
        )
    if others := sorted(path.name for path in out.iterdir() if path.name not in _FILES):
        raise StoreError(
            f"{out}: beside a model it holds {others[0]!r}, which an export does not write, and would be "
            "lost with it; move it away, or name another folder"
        )
    if not force:
        raise StoreError(f"{out}: there is a model already; name another folder, or replace it with --force")


def _write_generation(folder: Path, tokenizer: TextTokenizer) -> None:
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    text = json.dumps({"do_sample": False, **ids}, indent=2) + "\n"
    (folder / _GENERATION_FILE).write_text(text, encoding="utf-8")


def _replace(partial: Path, out: Path) -> None:
    """Put ``partial`` in the place of ``out``: the old folder goes only once the new one is whole."""
    if not out.exists():
        partial.rename(out)
        return
    old = out.with_name(f".{out.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    try:
        partial.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old)
