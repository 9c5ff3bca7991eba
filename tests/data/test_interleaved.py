"""Interleaved documents keep their texts and pictures in the order of the source, whatever the row length."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablate.data.captions import CaptionTokens, build_caption_tokens
from ablate.data.errors import DataError
from ablate.data.interleaved import cut_documents
from ablate.data.media import MediaSamples, open_media
from ablate.data.media_rows import MediaRows, Medium
from ablate.data.tokenizer import TextTokenizer, train_tokenizer
from ablate.materials import build_mixture, prepare
from ablate.recipe.arms import expand_arms
from ablate.recipe.load import load_recipe

TOKENS_PER_ITEM = 3
OBELICS = {"texts": ["One fish.", None, "Two fish.", None], "images": [None, "a.0.png", None, "1.png"]}
MMC4 = {
    "text_list": ["Red fish.", "Blue fish swims far away."],
    "image_info": [
        {"image_name": "0.png", "matched_text_index": 1},
        {"image_name": "b.1.png", "matched_text_index": 0},
    ],
}


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def shard(path: Path, documents: dict[str, dict[str, Any]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for number, (key, document) in enumerate(documents.items()):
            members = {
                "0.png": png(2 * number),
                "1.png": png(2 * number + 1),
                "json": json.dumps(document).encode(),
            }
            for extension, data in members.items():
                entry = tarfile.TarInfo(f"{key}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


def opened(path: Path) -> MediaSamples:
    return open_media([path], "captions", path.parent / "cache", documents="interleaved")


def tokenised(samples: MediaSamples, folder: Path) -> tuple[TextTokenizer, CaptionTokens]:
    texts = (text for sample in range(len(samples)) for text in samples.texts(sample))
    tokenizer = train_tokenizer(texts, 300, folder, "fish")
    return tokenizer, build_caption_tokens(samples, tokenizer, folder)


def rows_of(samples: MediaSamples, folder: Path, context_length: int) -> tuple[MediaRows, TextTokenizer]:
    tokenizer, captions = tokenised(samples, folder)
    pieces = cut_documents(samples, captions, TOKENS_PER_ITEM, context_length - 1, most_items=2)
    rows = MediaRows(
        captions=captions,
        keys=np.arange(len(samples), dtype=np.uint64),
        media=(Medium("pages", TOKENS_PER_ITEM, samples.items["image"].digest),),
        context_length=context_length,
        items_per_row=2,
        order="mixed",
        bos=tokenizer.bos,
        pad=tokenizer.pad,
        seed=0,
        name="pages",
        pieces=pieces,
    )
    return rows, tokenizer


def written(rows: MediaRows, tokenizer: TextTokenizer, numbers: int) -> list[list[str | int]]:
    """What each document of the first rows says: words as text, pictures as the number of their item."""
    found = rows.documents(np.arange(numbers))
    attended = {"pages": np.ones(len(found.media["pages"].item), dtype=bool)}
    laid = rows.assemble(found, numbers, attended)
    item_at = {
        int(places[0]): int(item)
        for places, item in zip(laid.slots["pages"], found.media["pages"].item, strict=True)
    }
    pictures = set(laid.slots["pages"].flatten().tolist())
    documents: list[list[str | int]] = []
    for number in range(len(found.row)):
        said: list[str | int] = []
        for place in np.flatnonzero(laid.rows.document.flatten() == number).tolist():
            token = int(laid.rows.tokens.flatten()[place])
            if place in pictures:
                said += [item_at[place]] if place in item_at else []
            elif token == tokenizer.bos:
                continue
            elif token == tokenizer.eos:
                said.append("</s>")
            elif said and isinstance(said[-1], str) and said[-1] != "</s>":
                said[-1] += tokenizer.decode([token])
            else:
                said.append(tokenizer.decode([token]))
        documents.append(said)
    return documents


@pytest.fixture
def samples(tmp_path: Path) -> MediaSamples:
    return opened(shard(tmp_path / "pages.tar", {"a": OBELICS, "b": MMC4}))


def test_texts_and_pictures_stay_in_the_order_of_the_source(samples: MediaSamples, tmp_path: Path) -> None:
    rows, tokenizer = rows_of(samples, tmp_path, context_length=64)
    first, second = written(rows, tokenizer, 2)
    expected = [
        ["One fish.", 0, "Two fish.", 1, "</s>"],
        [2, "Red fish.", 3, "Blue fish swims far away.", "</s>"],
    ]
    assert sorted([first, second], key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("context_length", [8, 11, 16, 24])
def test_a_long_document_is_cut_into_rows_and_loses_nothing(
    samples: MediaSamples, tmp_path: Path, context_length: int
) -> None:
    rows, tokenizer = rows_of(samples, tmp_path, context_length)
    pieces = written(rows, tokenizer, 30)
    order = rows.documents(np.arange(30)).unit.tolist()
    once = {unit: pieces[place] for place, unit in reversed(list(enumerate(order)))}
    assert rows.pieces is not None
    for sample, whole in ((0, "One fish.0Two fish.1</s>"), (1, "2Red fish.3Blue fish swims far away.</s>")):
        own = np.flatnonzero(rows.pieces.sample == sample).tolist()
        assert "".join(str(part) for unit in own for part in once[unit]) == whole


def test_every_text_token_is_scored_once_and_no_picture(samples: MediaSamples, tmp_path: Path) -> None:
    rows, _ = rows_of(samples, tmp_path, context_length=16)
    found = rows.documents(np.arange(8))
    for attended in (True, False):
        held = {"pages": np.full(len(found.media["pages"].item), attended)}
        laid = rows.assemble(found, 8, held)
        scored = sorted(laid.rows.labels[laid.rows.labels >= 0].tolist())
        is_picture = np.zeros(laid.rows.tokens.size, dtype=bool)
        is_picture[laid.slots["pages"].flatten()] = True
        text = (laid.rows.document.flatten() >= 0) & ~is_picture & (laid.rows.tokens.flatten() != rows.bos)
        assert scored == sorted(laid.rows.tokens.flatten()[text].tolist())


def uneven(path: Path) -> Path:
    """Eight documents of one picture and one with two in a row: more than an average row holds."""
    one = {"texts": ["One fish that swims far away.", None], "images": [None, "0.png"]}
    two = {"texts": [None, None, "Two fish."], "images": ["0.png", "1.png", None]}
    return shard(path, {f"d{number}": one for number in range(8)} | {"two": two})


def interleaved_recipe(folder: Path, control: str) -> Path:
    uneven(folder / "pages.tar")
    (folder / "text.txt").write_text("Some fish swim.\n" * 50, encoding="utf-8")
    (folder / "task.jsonl").write_text('{"text": "A fish that nobody has seen."}\n', encoding="utf-8")
    path = folder / "pages.yaml"
    path.write_text(
        f"""
study: pages
question: Do pages reach a row?
seeds: [0]
data_root: {folder}
baseline: text
streams:
  text: {{modality: text, paths: ["${{data_root}}/text.txt"]}}
  pages:
    modality: image
    documents: interleaved
    paths: ["${{data_root}}/pages.tar"]
    encoder: {{name: patches, image_size: 32, patch_size: 32}}
arms:
  text: {{mixture: {{text: 1.0}}}}
  pages: {{mixture: {{text: 0.5, pages: 0.5}}, controls: [{control}]}}
model: {{layers: 1, width: 32, heads: 2, context_length: 12}}
tokenizer: {{vocabulary: 300}}
budget: {{match: positions, steps: 4}}
train: {{rows: 4}}
tasks: {{held: {{kind: bits_per_byte, paths: ["${{data_root}}/task.jsonl"]}}}}
endpoints: {{primary: held/bits_per_byte, margins: {{held/bits_per_byte: 0.01}}}}
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("control", ["captions_only", "captions_only_refill", "shuffled"])
def test_documents_with_more_pictures_than_an_average_row_still_fill_rows(
    tmp_path: Path, control: str
) -> None:
    materials = prepare(load_recipe(interleaved_recipe(tmp_path, control), []), tmp_path / "cache")
    arms = {arm.name: build_mixture(materials, arm, 0) for arm in expand_arms(materials.recipe)}
    for number in range(6):
        real, placebo = (arms[name].step(number) for name in ("pages", f"pages.{control}"))
        assert real.microbatches[0].media["pages"].present.any()
        assert placebo.counts.positions == real.counts.positions
    if control == "captions_only_refill":
        assert placebo.counts.media_positions == 0


def test_a_shuffled_page_shows_no_picture_of_its_own_document(tmp_path: Path) -> None:
    materials = prepare(load_recipe(interleaved_recipe(tmp_path, "shuffled"), []), tmp_path / "cache")
    arm = next(arm for arm in expand_arms(materials.recipe) if arm.control == "shuffled")
    rows = build_mixture(materials, arm, 0).media["pages"].rows
    assert rows.pieces is not None
    sample = rows.pieces.sample_of_item
    found = rows.documents(np.arange(40)).media["pages"]
    assert (sample[found.shown] != sample[found.item]).all()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"texts": ["a", None], "images": [None]}, "`texts` has 2 and `images` 1"),
        ({"texts": ["a", None], "images": ["0.png", "1.png"]}, "entry 0"),
        ({"texts": ["a", None], "images": [None, "2.png"]}, "names the medium '2.png'"),
        ({"texts": ["a"], "images": [None]}, "needs a text and a medium"),
        ({"text_list": ["a"], "image_info": [{"image_name": "0.png", "matched_text_index": 1}]}, "0 to 0"),
        ({"captions": ["a"]}, "no interleaved document"),
    ],
)
def test_lists_that_do_not_fit_together_are_refused_by_name(
    document: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = shard(tmp_path / "pages.tar", {"a": OBELICS, "b": document})
    with pytest.raises(DataError, match=message) as caught:
        opened(path)
    assert f"{path}: b" in str(caught.value)
