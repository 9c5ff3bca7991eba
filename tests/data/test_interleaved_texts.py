"""The texts of interleaved documents: what parts them, which count, and that held-out ones are found."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ablate.data.captions import build_caption_tokens
from ablate.data.errors import DataError
from ablate.data.heldout import refuse_training_overlap
from ablate.data.media import MediaSamples, open_media
from ablate.data.tokenizer import train_tokenizer


def opened(folder: Path, document: dict[str, Any]) -> MediaSamples:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    path = folder / "pages.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("a.0.png", picture.getvalue()), ("a.json", json.dumps(document).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return open_media([path], "captions", folder / "cache", documents="interleaved")


def mmc4(*texts: str, before: int = 0) -> dict[str, Any]:
    return {"text_list": texts, "image_info": [{"image_name": "0.png", "matched_text_index": before}]}


def test_sentences_that_follow_one_another_are_parted_by_a_space(tmp_path: Path) -> None:
    samples = opened(tmp_path, mmc4("Red fish.", "Blue fish.", " ", "Old fish.\n", "New fish.", "\tNo fish."))
    assert "".join(samples.texts(0)) == "Red fish. Blue fish. Old fish.\nNew fish.\tNo fish."


def test_a_picture_between_two_texts_parts_them_already(tmp_path: Path) -> None:
    assert opened(tmp_path, mmc4("Red fish.", "Blue fish.", before=1)).texts(0) == ["Red fish.", "Blue fish."]


def test_a_blank_text_counts_as_none(tmp_path: Path) -> None:
    document = {"texts": ["", "One fish.", " \n", "Two fish."], "images": [None, None, "0.png", None]}
    samples = opened(tmp_path, document)
    assert samples.texts(0) == ["One fish.", "Two fish."]
    assert samples.segments.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"texts": ["a", 7], "images": [None, None]}, "entry 1"),
        ({"texts": ["a", 0], "images": [None, None]}, "entry 1"),
        ({"texts": ["a", None], "images": [None, None]}, "entry 1"),
        ({"texts": ["a", None], "images": [None, ""]}, "names the medium ''"),
    ],
)
def test_a_blank_name_or_an_entry_that_is_no_string_is_still_refused(
    document: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path, document)


@pytest.mark.parametrize(
    "heldout", ["Red fish swim.\nBlue fish walk.", "Red fish swim.Blue fish walk.", "Blue fish walk."]
)
def test_a_heldout_text_that_a_picture_parts_in_training_is_found(heldout: str, tmp_path: Path) -> None:
    samples = opened(tmp_path, mmc4("Red fish swim.", "Blue fish walk.", before=1))
    tokenizer = train_tokenizer(samples.texts(0), 300, tmp_path / "cache", "fish")
    captions = build_caption_tokens(samples, tokenizer, tmp_path / "cache")
    with pytest.raises(DataError, match=r"prose:0 \(in pages\)"):
        refuse_training_overlap({"pages": captions.digests}, [("prose:0", heldout)])
    refuse_training_overlap({"pages": captions.digests}, [("prose:0", "Red fish walk.")])
