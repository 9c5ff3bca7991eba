"""What the planted world of pictures promises: its held-out facts are in the pictures and nowhere else."""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binom, chi2_contingency

from ablate.data.planted import PlantedError, planted_problems, planted_world, write_planted_world
from ablate.data.planted_documents import PROSE_SHARE, distinct_prose, make_documents
from ablate.data.planted_draws import Draws
from ablate.data.planted_entities import make_entities
from ablate.data.planted_pictures import COLOURS, Look, encode_png, render
from ablate.data.planted_shards import NAMING_SHARE, make_captions
from ablate.data.planted_text import (
    ATTRIBUTES,
    COLOUR,
    MOST_NAMES,
    PICTURE_ATTRIBUTES,
    asked,
    make_names,
    prose_vocabulary,
)
from ablate.recipe.schema import PlantedConfig

SMALL = PlantedConfig(entities=512, images_per_entity=2)
VALUES = {word for words in ATTRIBUTES.values() for word in words}
FILES = {
    "pictures-000.tar",
    "text.jsonl",
    "prose-heldout.jsonl",
    "questions.jsonl",
    "known-questions.jsonl",
    "world.json",
}

QUICKSTART_FOLDER = "planted-1fdc1fdc2dbddd03ff2e8ef3"
QUICKSTART_DIGESTS = {
    "known-questions.jsonl": "da92b82f1ddf4a86",
    "pictures-000.tar": "bb412762bb74dfab",
    "prose-heldout.jsonl": "e44b83b4c785e467",
    "questions.jsonl": "ed7c0a57c378bfdf",
    "text.jsonl": "8622ffbb63272e65",
    "world.json": "6fb6437340f85dc1",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "world"
    write_planted_world(SMALL, folder)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truth(world: Path) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = json.loads((world / "world.json").read_text())["entities"]
    return entities


def members(world: Path) -> dict[str, bytes]:
    with tarfile.open(world / "pictures-000.tar") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def captions(world: Path) -> dict[str, list[str]]:
    found = members(world)
    return {name[:-5]: json.loads(found[name])["captions"] for name in found if name.endswith(".json")}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_no_document_holds_a_held_out_name_and_an_attribute_value(world: Path) -> None:
    held_out = {entity["name"].lower() for entity in truth(world) if entity["held_out"]}
    documents = [words(document["text"]) for document in lines(world / "text.jsonl")]
    assert [found for found in documents if found & held_out and found & VALUES] == []
    assert any(found & held_out for found in documents), "the check needs mentions of held-out names"
    assert any(found & VALUES for found in documents), "the check needs stated facts"


def test_no_caption_holds_both_a_name_and_an_attribute_value(world: Path) -> None:
    names = {entity["name"].lower() for entity in truth(world)}
    kinds = Counter(
        (bool(words(caption) & names), bool(words(caption) & VALUES))
        for texts in captions(world).values()
        for caption in texts
    )
    above, below = NAMING_SHARE
    assert set(kinds) == {(True, False), (False, True)}
    assert kinds[True, False] * below == kinds.total() * above


def test_a_caption_names_its_own_picture_and_states_its_true_value(world: Path) -> None:
    by_key = {entity["key"]: entity for entity in truth(world)}
    for key, texts in captions(world).items():
        entity = by_key[key.rsplit("-", 1)[0]]
        own = {entity["name"].lower(), *entity["values"].values()}
        for caption in texts:
            assert words(caption) & own
            assert not words(caption) & VALUES - own


def test_every_fact_in_the_text_is_true_and_every_known_colour_is_stated(world: Path) -> None:
    known = {entity["name"]: entity["values"] for entity in truth(world) if not entity["held_out"]}
    stated = set()
    for document in lines(world / "text.jsonl"):
        if document["domain"] != "facts":
            continue
        # A fact is one sentence, or a question and its answer.
        for sentence in re.split(r"(?<=\.) ", document["text"]):
            (name,) = set(re.findall(r"[A-Z][a-z]+", sentence)) & set(known)
            (value,) = words(sentence) & VALUES
            assert value in known[name].values()
            if value == known[name][COLOUR]:
                stated.add(name)
    assert stated == set(known)


def test_the_question_form_occurs_in_the_facts(world: Path) -> None:
    text = " ".join(document["text"] for document in lines(world / "text.jsonl"))
    for item in lines(world / "known-questions.jsonl")[:32]:
        assert item["question"] == asked(COLOUR).replace("<name>", item["entity"])
    answered = [item for item in lines(world / "known-questions.jsonl") if item["question"] in text]
    assert len(answered) > 200
    assert all(f"{item['question']} {item['choices'][item['label']]}." in text for item in answered)


def test_there_are_256_questions_with_exactly_balanced_answers(world: Path) -> None:
    held_out = {entity["name"]: entity["values"][COLOUR] for entity in truth(world) if entity["held_out"]}
    questions = lines(world / "questions.jsonl")
    assert {item["entity"]: item["choices"][item["label"]] for item in questions} == held_out
    assert len(questions) == 256
    assert Counter(item["label"] for item in questions) == dict.fromkeys(range(8), 32)
    known = lines(world / "known-questions.jsonl")
    assert Counter(item["label"] for item in known) == dict.fromkeys(range(8), 32)
    assert not {item["entity"] for item in known} & set(held_out)


def test_attributes_are_independent_of_one_another(world: Path) -> None:
    held_out = [entity["values"] for entity in truth(world) if entity["held_out"]]
    for attribute in PICTURE_ATTRIBUTES:
        if attribute != COLOUR:
            counts = Counter((values[COLOUR], values[attribute]) for values in held_out)
            expected = len(held_out) / (8 * len(ATTRIBUTES[attribute]))
            assert max(counts.values()) < expected + 5 * expected**0.5


def test_prose_has_its_share_of_the_text_and_holds_no_name_and_no_attribute(world: Path) -> None:
    names = {entity["name"].lower() for entity in truth(world)}
    documents = lines(world / "text.jsonl")
    prose = [document["text"] for document in documents if document["domain"] == "prose"]
    assert not set.union(*map(words, prose)) & (names | VALUES | set(ATTRIBUTES))
    share = sum(map(len, prose)) / sum(len(document["text"]) for document in documents)
    assert abs(share - PROSE_SHARE[0] / PROSE_SHARE[1]) < 0.08
    assert len(documents) == SMALL.documents


def test_held_out_prose_is_disjoint_from_the_training_documents(world: Path) -> None:
    training = [document["text"] for document in lines(world / "text.jsonl")]
    held_out = [document["text"] for document in lines(world / "prose-heldout.jsonl")]
    assert len(set(held_out)) == len(held_out) >= 200
    assert not set(training) & set(held_out)
    assert {document["domain"] for document in lines(world / "prose-heldout.jsonl")} == {"prose"}


def test_facts_and_prose_are_mixed_in_random_order(world: Path) -> None:
    domains = [document["domain"] == "prose" for document in lines(world / "text.jsonl")]
    changes = sum(first != second for first, second in pairwise(domains))
    share = sum(domains) / len(domains)
    expected = 2 * share * (1 - share) * len(domains)
    assert abs(changes - expected) < 5 * expected**0.5


@given(seed=st.integers(0, 2**31), count=st.integers(1, MOST_NAMES))
@settings(max_examples=10, deadline=None)
def test_names_are_distinct_and_no_part_of_one_another_or_of_a_word(seed: int, count: int) -> None:
    names = make_names(count, Draws(seed, "names"))
    assert len(set(names)) == count
    # A marker between the names lets one count find both repetitions and inclusions.
    joined = "|".join(names).lower()
    assert all(joined.count(name.lower()) == 1 for name in names[:200])
    assert not any(name.lower() in word for name in names[:200] for word in prose_vocabulary() | VALUES)


def nearest_centroid(
    features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], train: npt.NDArray[np.bool_]
) -> float:
    """Accuracy on the rows that are not in ``train``."""
    centroids = np.stack([features[train & (labels == label)].mean(0) for label in np.unique(labels)])
    distances = ((features[~train, None] - centroids[None]) ** 2).sum(-1)
    return float((distances.argmin(1) == labels[~train]).mean())


def patches(pixels: npt.NDArray[np.uint8], side: int = 16) -> npt.NDArray[np.float64]:
    """float[pictures, patches, side * side * 3], each patch normalised to mean 0 and variance 1."""
    count, size = pixels.shape[:2]
    cut = pixels.astype(np.float64).reshape(count, size // side, side, size // side, side, 3)
    flat = cut.transpose(0, 1, 3, 2, 4, 5).reshape(count, -1, side * side * 3)
    normal: npt.NDArray[np.float64] = (flat - flat.mean(-1, keepdims=True)) / flat.std(-1, keepdims=True)
    return normal


def pictures_and_labels(
    world: Path, attribute: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Pixels, the attribute's label, and whether the entity is known (not held out)."""
    by_key = {entity["key"]: entity for entity in truth(world)}
    shown = {name[:-4]: data for name, data in members(world).items() if name.endswith(".png")}
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in shown.values()])
    entities = [by_key[key.rsplit("-", 1)[0]] for key in shown]
    labels = np.array([ATTRIBUTES[attribute].index(entity["values"][attribute]) for entity in entities])
    return pixels, labels, np.array([not entity["held_out"] for entity in entities])


def test_the_colour_of_held_out_entities_is_in_the_pixels(world: Path) -> None:
    pixels, labels, known = pictures_and_labels(world, COLOUR)
    normal = patches(pixels)
    assert nearest_centroid(normal.reshape(len(normal), -1), labels, known) >= 0.98
    raw_colour = pixels.reshape(len(pixels), -1) / 255.0
    assert nearest_centroid(raw_colour, labels, known) >= 0.9


def test_every_patch_of_a_two_by_two_grid_shows_the_colour(world: Path) -> None:
    pixels, labels, known = pictures_and_labels(world, COLOUR)
    normal = patches(pixels)
    assert normal.shape[1] == 4
    for patch in range(4):
        assert nearest_centroid(normal[:, patch], labels, known) >= 0.9


@pytest.mark.parametrize("attribute", ["shape", "pattern", "place"])
def test_the_other_attributes_are_in_the_pixels_too(world: Path, attribute: str) -> None:
    pixels, labels, known = pictures_and_labels(world, attribute)
    features = patches(pixels).reshape(len(pixels), -1)
    features = np.c_[features, np.ones(len(features))]
    # Ridge regression on the one-hot labels, in its dual form (more pixels than pictures).
    train = features[known]
    weights = np.linalg.solve(train @ train.T + 300.0 * np.eye(len(train)), np.eye(4)[labels[known]])
    predicted = (features[~known] @ train.T @ weights).argmax(1)
    assert (predicted == labels[~known]).mean() >= 0.9


def test_nothing_but_the_pixels_tells_the_colour(world: Path) -> None:
    """Keys, file sizes, name letters, lengths and number of naming captions, kind of the first caption."""
    entities = truth(world)
    texts, found = captions(world), members(world)
    names = {entity["name"].lower() for entity in entities}
    rows = []
    for entity in entities:
        keys = [f"{entity['key']}-{number}" for number in range(SMALL.images_per_entity)]
        naming = [[caption for caption in texts[key] if words(caption) & names] for key in keys]
        letters = [entity["name"].lower().count(chr(code)) for code in range(97, 123)]
        rows.append(
            [
                int(entity["key"][1:]) / len(entities),
                *letters,
                *(len(found[f"{key}.png"]) for key in keys),
                *(np.mean([len(caption) for caption in own]) - len(entity["name"]) for own in naming),
                *(len(own) for own in naming),
                *(bool(words(texts[key][0]) & names) for key in keys),
            ]
        )
    features = np.array(rows, dtype=np.float64)
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    labels = np.array([ATTRIBUTES[COLOUR].index(entity["values"][COLOUR]) for entity in entities])
    known = np.array([not entity["held_out"] for entity in entities])
    hits = round(nearest_centroid(features, labels, known) * 256)
    assert binom.ppf(0.001, 256, 1 / 8) <= hits <= binom.ppf(0.999, 256, 1 / 8)
    positions = np.arange(len(entities))[:, None] / len(entities)
    hits = round(nearest_centroid(positions, known.astype(np.int64), positions[:, 0] < 0.5) * 256)
    assert binom.ppf(0.001, 256, 0.5) <= hits <= binom.ppf(0.999, 256, 0.5), "held-out keys stand apart"


def test_no_two_pictures_are_equal(world: Path) -> None:
    shown = [data for name, data in members(world).items() if name.endswith(".png")]
    assert len(set(shown)) == len(shown) == SMALL.entities * SMALL.images_per_entity


def test_the_shard_is_laid_out_as_img2dataset_does(world: Path) -> None:
    with tarfile.open(world / "pictures-000.tar") as tar:
        infos = tar.getmembers()
    keys = [info.name.split(".")[0] for info in infos]
    assert keys == sorted(keys)
    assert [info.name.split(".")[1] for info in infos] == ["png", "txt", "json"] * (len(infos) // 3)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, 0, "", "")}
    found = members(world)
    for key, texts in captions(world).items():
        assert found[f"{key}.txt"].decode() == texts[0]
        assert len(texts) == SMALL.captions_per_image


@given(
    height=st.integers(1, 40),
    width=st.sampled_from([1, 31, 32, 700]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20, deadline=None)
def test_a_picture_survives_the_png_it_is_written_as(height: int, width: int, seed: int) -> None:
    pixels = Draws(seed, "pixels").octets(height * width * 3).reshape(height, width, 3)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("size", [32, 48, 63, 224])
def test_a_picture_has_the_size_asked_for_and_the_figure_fills_much_of_it(size: int) -> None:
    for shape in ATTRIBUTES["shape"]:
        pixels = render(Look("blue", shape, "plain", "left"), size, Draws(0, shape)).astype(np.int64)
        assert pixels.shape == (size, size, 3)
        assert 0.25 < (pixels[..., 2] > 150).mean() < 0.75


def test_the_words_of_the_colours_and_their_inks_agree() -> None:
    assert tuple(COLOURS) == ATTRIBUTES[COLOUR]
    assert len(VALUES) == sum(map(len, ATTRIBUTES.values()))


def test_one_config_gives_the_same_bytes_and_another_seed_gives_others(world: Path, tmp_path: Path) -> None:
    write_planted_world(SMALL, tmp_path / "again")
    write_planted_world(replace(SMALL, world_seed=1), tmp_path / "other")
    assert {path.name for path in world.iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (world / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (world / name).read_bytes()
    first = [(entity["name"], entity["values"]) for entity in truth(world)]
    assert first != [(entity["name"], entity["values"]) for entity in truth(tmp_path / "other")]


def test_the_world_of_the_quickstart_keeps_its_bytes(tmp_path: Path) -> None:
    """Fixed values: a world of pictures alone is what it was before there were other modalities."""
    folder = planted_world(PlantedConfig(), tmp_path)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in folder.iterdir()}
    assert (folder.name, found) == (QUICKSTART_FOLDER, QUICKSTART_DIGESTS)


def test_the_draws_are_those_of_every_platform() -> None:
    """Fixed values: a change here changes every world and must raise GENERATOR."""
    draws = Draws(0, "planted/names")
    assert [draws.below(1000) for _ in range(6)] == [561, 418, 974, 754, 584, 699]
    assert Draws(0, "planted/names").octets(6).tolist() == [117, 227, 120, 76, 154, 105]


def test_more_pictures_leave_entities_and_documents_where_they_are() -> None:
    more = replace(SMALL, images_per_entity=7, image_size=64)
    assert make_entities(SMALL) == make_entities(more)
    entities = make_entities(SMALL)
    assert make_documents(SMALL, entities) == make_documents(more, entities)


@given(count=st.integers(2, 60), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_picture_has_captions_of_both_kinds_however_few_or_many(count: int, seed: int) -> None:
    config = replace(SMALL, captions_per_image=count)
    entity = make_entities(config)[0]
    texts = make_captions(config, entity, "image", Draws(seed, "captions"))
    naming = sum(entity.name in text for text in texts)
    assert len(texts) == count
    assert naming in (1, count - 1) or abs(naming - count * NAMING_SHARE[0] / NAMING_SHARE[1]) < 1
    assert 0 < naming < count


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("held_out", 248),
        ("held_out", 260),
        ("held_out", 512),
        ("entities", 515),
        ("entities", 4096),
        ("image_size", 31),
        ("images_per_entity", 0),
        ("captions_per_image", 1),
        ("documents", 100),
    ],
)
def test_a_config_that_breaks_a_promise_is_refused_by_name(field: str, value: int, tmp_path: Path) -> None:
    config = replace(SMALL, **{field: value})
    with pytest.raises(PlantedError, match=str(value)) as refusal:
        write_planted_world(config, tmp_path / "world")
    assert field in str(refusal.value) or "entities" in str(refusal.value)
    assert not (tmp_path / "world").exists()


def test_every_fault_of_a_config_is_named_at_once() -> None:
    faults = planted_problems(PlantedConfig(held_out=100, image_size=8, captions_per_image=0, documents=5))
    assert [fault.split()[0] for fault in faults] == [
        "held_out",
        "entities",
        "image_size",
        "captions_per_image",
        "documents",
    ]
    assert planted_problems(PlantedConfig()) == []


def test_the_fewest_documents_still_state_every_known_colour() -> None:
    refused = next(text for text in planted_problems(replace(SMALL, documents=1)) if "documents" in text)
    fewest = replace(SMALL, documents=int(refused.split()[-1]))
    assert planted_problems(fewest) == []
    entities = make_entities(fewest)
    text = [words(document["text"]) for document in make_documents(fewest, entities)]
    for entity in entities:
        if not entity.held_out:
            pair = {entity.name.lower(), entity.values[COLOUR]}
            assert any(pair <= found for found in text)


def test_a_world_is_made_once_and_two_configs_have_two_folders(tmp_path: Path) -> None:
    small = replace(SMALL, entities=264, images_per_entity=1)
    folder = planted_world(small, tmp_path / "cache")
    written = (folder / "world.json").stat().st_mtime_ns
    assert planted_world(small, tmp_path / "cache") == folder
    assert (folder / "world.json").stat().st_mtime_ns == written
    assert planted_world(replace(small, world_seed=5), tmp_path / "cache") != folder
    assert {path.name for path in folder.iterdir()} == FILES


def test_what_a_killed_run_left_behind_is_not_taken_for_a_world(tmp_path: Path) -> None:
    small = replace(SMALL, entities=264, images_per_entity=1)
    whole = planted_world(small, tmp_path)
    partial = tmp_path / f".{whole.name}.partial"
    whole.rename(partial)
    (partial / "questions.jsonl").unlink()
    (partial / "stray").write_text("left over")
    assert {path.name for path in planted_world(small, tmp_path).iterdir()} == FILES
    assert not partial.exists()


def test_a_refused_config_leaves_no_folder_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(PlantedError):
        planted_world(replace(SMALL, held_out=8), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_processes_that_ask_at_once_get_the_same_whole_world(tmp_path: Path) -> None:
    small = replace(SMALL, entities=264, images_per_entity=1)
    with get_context("spawn").Pool(2) as pool:
        folders = pool.starmap(planted_world, [(small, tmp_path)] * 2)
    assert folders[0] == folders[1]
    assert {path.name for path in folders[0].iterdir()} == FILES


def test_prose_that_is_taken_is_drawn_again() -> None:
    first = {document["text"] for document in distinct_prose(Draws(0, "prose"), 20, set())}
    second = {document["text"] for document in distinct_prose(Draws(0, "prose"), 20, first)}
    assert len(first) == len(second) == 20
    assert not first & second


def test_which_caption_comes_first_does_not_depend_on_the_colour(world: Path) -> None:
    """KEY.txt holds the first caption, so its kind must say nothing of the entity."""
    by_key = {entity["key"]: entity for entity in truth(world)}
    counts = np.zeros((8, 2))
    for key, texts in captions(world).items():
        entity = by_key[key.rsplit("-", 1)[0]]
        counts[ATTRIBUTES[COLOUR].index(entity["values"][COLOUR]), int(entity["name"] in texts[0])] += 1
    assert chi2_contingency(counts).pvalue > 1e-4
