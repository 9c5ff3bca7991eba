"""What a planted world of several modalities promises: each shows facts that only it shows."""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

import ablate.data.planted as planted
from ablate.data.audio import decode_audio
from ablate.data.planted import PlantedError, planted_problems, planted_world, write_planted_world
from ablate.data.planted_draws import Draws
from ablate.data.planted_entities import make_entities
from ablate.data.planted_text import (
    ASKED,
    ATTRIBUTES,
    CHOICES,
    MOST_NAMES,
    asked,
    make_names,
    prose_vocabulary,
)
from ablate.data.series import decode_series
from ablate.data.tokenizer import train_tokenizer
from ablate.data.video import decode_video
from ablate.recipe.schema import PlantedConfig
from encoders.media_spec import AudioSpec, SeriesSpec, VideoSpec

ALL = PlantedConfig(modalities=["image", "audio", "video", "sensor"], images_per_entity=1, documents=4000)
SHARDS = {
    "image": ("pictures-000.tar", "png"),
    "audio": ("sounds-000.tar", "wav"),
    "video": ("clips-000.tar", "mp4"),
    "sensor": ("gestures-000.tar", "npy"),
}
VALUES = {word for words in ATTRIBUTES.values() for word in words}
TEXTS = {"text.jsonl", "prose-heldout.jsonl", "world.json"}

modalities = pytest.mark.parametrize("modality", list(ASKED))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "world"
    write_planted_world(ALL, folder)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truth(world: Path) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = json.loads((world / "world.json").read_text())["entities"]
    return entities


def members(world: Path, modality: str) -> dict[str, bytes]:
    with tarfile.open(world / SHARDS[modality][0]) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def captions(world: Path, modality: str) -> dict[str, list[str]]:
    found = members(world, modality)
    return {name[:-5]: json.loads(found[name])["captions"] for name in found if name.endswith(".json")}


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def files(modalities: list[str]) -> set[str]:
    shards = {SHARDS[modality][0] for modality in modalities}
    questions = {
        f"{kind}-{modality}.jsonl" for kind in ("questions", "known-questions") for modality in modalities
    }
    return TEXTS | shards | questions


def test_one_world_has_the_files_of_all_its_modalities(world: Path) -> None:
    assert {path.name for path in world.iterdir()} == files(list(ASKED))


@modalities
def test_a_world_of_any_one_modality_can_be_made(modality: str, tmp_path: Path) -> None:
    one = replace(ALL, modalities=[modality], entities=264, documents=200)
    folder = planted_world(one, tmp_path)
    expected = files([modality])
    if modality == "image":
        expected = TEXTS | {"pictures-000.tar", "questions.jsonl", "known-questions.jsonl"}
    assert {path.name for path in folder.iterdir()} == expected
    assert {len(entity["values"]) for entity in truth(folder)} == {4 if modality == "image" else 1}


def test_no_document_holds_a_held_out_name_and_a_value_of_any_modality(world: Path) -> None:
    held_out = {entity["name"].lower() for entity in truth(world) if entity["held_out"]}
    documents = [words(document["text"]) for document in lines(world / "text.jsonl")]
    assert [found for found in documents if found & held_out and found & VALUES] == []
    assert any(found & held_out for found in documents), "the check needs mentions of held-out names"


@modalities
def test_no_caption_holds_both_a_name_and_a_value(world: Path, modality: str) -> None:
    names = {entity["name"].lower() for entity in truth(world)}
    kinds = Counter(
        (bool(words(caption) & names), bool(words(caption) & VALUES))
        for texts in captions(world, modality).values()
        for caption in texts
    )
    assert set(kinds) == {(True, False), (False, True)}
    assert kinds[True, False] == kinds[False, True]


@modalities
def test_a_caption_names_its_own_item_or_states_its_asked_attribute(world: Path, modality: str) -> None:
    by_key = {entity["key"]: entity for entity in truth(world)}
    for key, texts in captions(world, modality).items():
        entity = by_key[key.rsplit("-", 1)[0]]
        own = {entity["name"].lower(), entity["values"][ASKED[modality]]}
        for caption in texts:
            assert words(caption) & own
            assert not words(caption) & VALUES - own


@modalities
def test_a_modality_shows_every_entity(world: Path, modality: str) -> None:
    shown = {
        name.rsplit("-", 1)[0] for name in members(world, modality) if name.endswith(SHARDS[modality][1])
    }
    assert shown == {entity["key"] for entity in truth(world)}


def test_the_text_states_every_asked_attribute_of_every_known_entity(world: Path) -> None:
    known = {entity["name"]: entity["values"] for entity in truth(world) if not entity["held_out"]}
    stated = set()
    for document in lines(world / "text.jsonl"):
        if document["domain"] != "facts":
            continue
        for sentence in re.split(r"(?<=\.) ", document["text"]):
            (name,) = set(re.findall(r"[A-Z][a-z]+", sentence)) & set(known)
            (value,) = words(sentence) & VALUES
            (attribute,) = (one for one in ASKED.values() if known[name][one] == value)
            stated.add((name, attribute))
    assert stated == {(name, attribute) for name in known for attribute in ASKED.values()}


@modalities
def test_each_modality_has_256_questions_with_exactly_balanced_answers(world: Path, modality: str) -> None:
    attribute = ASKED[modality]
    held_out = {entity["name"]: entity["values"][attribute] for entity in truth(world) if entity["held_out"]}
    questions = lines(world / f"questions-{modality}.jsonl")
    assert {item["entity"]: item["choices"][item["label"]] for item in questions} == held_out
    assert len(questions) == 256
    assert Counter(item["label"] for item in questions) == dict.fromkeys(range(8), 32)
    assert all(item["question"] == asked(attribute).replace("<name>", item["entity"]) for item in questions)
    known = lines(world / f"known-questions-{modality}.jsonl")
    assert {item["entity"] for item in known} == {e["name"] for e in truth(world) if not e["held_out"]}
    assert Counter(item["label"] for item in known) == dict.fromkeys(range(8), 32)


@modalities
def test_two_facts_in_five_have_the_asked_wording(world: Path, modality: str) -> None:
    values, known = set(ATTRIBUTES[ASKED[modality]]), {e["name"] for e in truth(world) if not e["held_out"]}
    documents = [line["text"] for line in lines(world / "text.jsonl") if line["domain"] == "facts"]
    facts = [one for text in documents for one in re.split(r"(?<=\.) ", text) if words(one) & values]
    plain = [one for one in facts if one.startswith(asked(ASKED[modality]).split("<")[0])]
    assert 0.34 < len(plain) / len(facts) < 0.54, "a quarter, and a share of the others"
    text = " ".join(plain)
    answered = {item["entity"]: item for item in lines(world / f"known-questions-{modality}.jsonl")}
    said = [name for name in known if answered[name]["question"] in text]
    assert len(said) > 230
    for name in said:
        item = answered[name]
        assert f"{item['question']} {item['choices'][item['label']]}." in text


def test_what_one_modality_shows_says_nothing_of_what_another_shows(world: Path) -> None:
    held_out = [entity["values"] for entity in truth(world) if entity["held_out"]]
    for one, other in permutations(ASKED.values(), 2):
        counts = Counter((values[one], values[other]) for values in held_out)
        assert max(counts.values()) < 4 + 5 * 4**0.5
        # The best guess from the other value, learned on one half of the entities.
        best = {
            value: Counter(v[one] for v in held_out[:128] if v[other] == value).most_common(1)[0][0]
            for value in ATTRIBUTES[other]
        }
        hits = sum(best[values[other]] == values[one] for values in held_out[128:])
        assert hits <= binom.ppf(0.9999, 128, 1 / 8)


def test_prose_holds_no_name_no_value_and_no_attribute(world: Path) -> None:
    names = {entity["name"].lower() for entity in truth(world)}
    prose = [line["text"] for line in lines(world / "text.jsonl") if line["domain"] == "prose"]
    assert not set.union(*map(words, prose)) & (names | VALUES | set(ATTRIBUTES))
    assert len(prose) == ALL.documents // 4


def test_the_new_words_push_no_name_out() -> None:
    every = make_names(MOST_NAMES, Draws(0, "planted/names"))
    assert len(every) == MOST_NAMES
    new = [word for attribute in ("sound", "motion", "gesture") for word in ATTRIBUTES[attribute]]
    assert not any(name.lower() in word for name in every for word in new)


def test_no_value_is_a_prefix_of_another_and_none_is_a_word_of_the_prose() -> None:
    for attribute in ASKED.values():
        assert len(ATTRIBUTES[attribute]) == CHOICES
        assert not any(first.startswith(second) for first, second in permutations(ATTRIBUTES[attribute], 2))
        assert not set(ATTRIBUTES[attribute]) & prose_vocabulary()
    assert len(VALUES) == sum(map(len, ATTRIBUTES.values())), "two attributes share a word"


def test_every_value_is_one_token_of_the_study_s_tokenizer(world: Path, tmp_path: Path) -> None:
    texts = [document["text"] for document in lines(world / "text.jsonl")]
    texts += [text for modality in ASKED for own in captions(world, modality).values() for text in own]
    tokenizer = train_tokenizer(texts, 2048, tmp_path, "planted")
    for attribute in ASKED.values():
        encoded = tokenizer.encode([f" {word}" for word in ATTRIBUTES[attribute]])
        assert {len(ids) for ids in encoded} == {1}
    names = tokenizer.encode([f" {entity['name']}" for entity in truth(world)])
    assert np.mean([len(ids) for ids in names]) < 2.2


@modalities
def test_nothing_beside_the_media_tells_the_answer(world: Path, modality: str) -> None:
    """Order of keys, letters of the name, lengths and number of naming captions, kind of the first one."""
    texts, entities = captions(world, modality), truth(world)
    rows = []
    for entity in entities:
        own = texts[f"{entity['key']}-0"]
        naming = [caption for caption in own if entity["name"] in caption]
        letters = [entity["name"].lower().count(chr(code)) for code in range(97, 123)]
        length = np.mean([len(caption) for caption in naming]) - len(entity["name"])
        rows.append([int(entity["key"][1:]), *letters, length, len(naming), entity["name"] in own[0]])
    features = np.array(rows, dtype=np.float64)
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    labels = [ATTRIBUTES[ASKED[modality]].index(entity["values"][ASKED[modality]]) for entity in entities]
    known = np.array([not entity["held_out"] for entity in entities])
    hits = round(_ridge_accuracy(features, np.array(labels), known) * 256)
    assert binom.ppf(0.001, 256, 1 / 8) <= hits <= binom.ppf(0.999, 256, 1 / 8)


def _ridge_accuracy(
    features: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> float:
    """Accuracy on held-out items of a ridge regression on one-hot labels, fitted on known ones."""
    flat = features.reshape(len(features), -1)
    flat = flat - flat[known].mean(0)
    gram = flat[known] @ flat[known].T
    ridge = 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram + ridge, np.eye(CHOICES)[labels[known]] - 1 / CHOICES)
    return float(((flat[~known] @ flat[known].T @ weights).argmax(1) == labels[~known]).mean())


AUDIO = AudioSpec(seconds=0.5, rate_hz=8000, mels=32, window=256, hop=125)
VIDEO = VideoSpec(frames=8, size=16)
SERIES = SeriesSpec(steps=32, channels=6)

DECODE: dict[str, Callable[[bytes], npt.NDArray[Any]]] = {
    "audio": lambda data: decode_audio(data, AUDIO),
    "video": lambda data: decode_video(data, VIDEO),
    "sensor": lambda data: decode_series(data, SERIES, 16.0),
}
"""As `recipes/planted_all.yaml` reads them."""


@pytest.mark.parametrize("modality", list(DECODE))
def test_the_answers_on_held_out_entities_are_in_the_media_for_a_linear_map(
    world: Path, modality: str
) -> None:
    by_key = {entity["key"]: entity for entity in truth(world)}
    extension = "." + SHARDS[modality][1]
    items = {name: data for name, data in members(world, modality).items() if name.endswith(extension)}
    entities = [by_key[name.rsplit("-", 1)[0]] for name in items]
    features = np.stack([DECODE[modality](data) for data in items.values()]).astype(np.float64)
    values = ATTRIBUTES[ASKED[modality]]
    labels = np.array([values.index(entity["values"][ASKED[modality]]) for entity in entities])
    known = np.array([not entity["held_out"] for entity in entities])
    assert _ridge_accuracy(features, labels, known) >= 0.98
    shuffled = np.random.default_rng(0).permutation(len(features))
    assert _ridge_accuracy(features[shuffled], labels, known) < 0.25, "the probe can fail"
    if modality == "video":
        assert _ridge_accuracy(features[:, -2:], labels, known) >= 0.95, "the last frames suffice"
        assert _ridge_accuracy(features[:, :1], labels, known) < 0.25, "the first frame says nothing"


@modalities
def test_no_two_items_are_equal(world: Path, modality: str) -> None:
    extension = "." + SHARDS[modality][1]
    items = [data for name, data in members(world, modality).items() if name.endswith(extension)]
    assert len(set(items)) == len(items) == ALL.entities


@modalities
def test_the_shards_are_laid_out_as_img2dataset_does(world: Path, modality: str) -> None:
    with tarfile.open(world / SHARDS[modality][0]) as tar:
        infos = tar.getmembers()
    keys = [info.name.split(".")[0] for info in infos]
    assert keys == sorted(keys)
    extensions = [SHARDS[modality][1], "txt", "json"]
    assert [info.name.split(".")[1] for info in infos] == extensions * (len(infos) // 3)
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, 0, "", "")}
    found = members(world, modality)
    for key, texts in captions(world, modality).items():
        assert found[f"{key}.txt"].decode() == texts[0]
        rate = json.loads(found[f"{key}.json"]).get("rate_hz")
        assert rate == (16 if modality == "sensor" else None)


def test_one_config_gives_the_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    small = replace(ALL, entities=264, documents=200)
    for name, config in {"one": small, "again": small, "other": replace(small, world_seed=1)}.items():
        write_planted_world(config, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "other" / path.name).read_bytes() != path.read_bytes()


def test_the_order_in_which_modalities_are_listed_changes_no_entity() -> None:
    other = replace(ALL, modalities=["sensor", "video", "image", "audio"])
    assert make_entities(other) == make_entities(ALL)


def test_a_world_with_clips_is_made_again_when_the_encoder_s_library_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(ALL, entities=264, modalities=["video"], documents=200)
    silent = replace(small, modalities=["audio"])
    first, heard = planted_world(small, tmp_path), planted_world(silent, tmp_path)
    monkeypatch.setattr(planted, "encoder_version", lambda: "libx264 of tomorrow")
    assert planted_world(small, tmp_path) != first
    assert planted_world(silent, tmp_path) == heard


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("modalities", [], "it must name one or more of image, audio, video, sensor"),
        ("modalities", ["audio", "audio"], "each once"),
        ("entities", 256 + 12, "a positive multiple of 8"),
        ("entities", 256, "leaves 0"),
        ("documents", 300, "stating the colour and sound and motion and gesture of 256 entities"),
    ],
)
def test_a_config_that_breaks_a_promise_is_refused_by_name(
    field: str, value: object, said: str, tmp_path: Path
) -> None:
    config = replace(ALL, **{field: value})  # type: ignore[arg-type]
    with pytest.raises(PlantedError, match=re.escape(said)) as refusal:
        write_planted_world(config, tmp_path / "world")
    assert f"{field} is {value}" in str(refusal.value)
    assert not (tmp_path / "world").exists()


def test_every_fault_is_named_at_once() -> None:
    faults = planted_problems(
        replace(ALL, modalities=["video", "video"], held_out=100, entities=4096, documents=1)
    )
    assert [fault.split()[0] for fault in faults] == [
        "modalities",
        "held_out",
        "entities",
        "entities",
        "documents",
    ]
    assert planted_problems(ALL) == []
