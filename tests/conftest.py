"""A small planted study on real shards, prepared once per session."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from recipe_shards import write_recipe_shards, write_recipe_tasks

from ablate.data.planted import write_planted_world
from ablate.materials import Materials, prepare
from ablate.recipe.load import load_recipe
from ablate.recipe.schema import PlantedConfig, Recipe

# How long an example takes says something about the machine, not about the claim.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

TINY = """
# A study small enough to train in a second.
study: tiny
question: Do pictures help at all?
seeds: [0, 1]
data_root: planted
baseline: text
streams:
  text: {modality: text, paths: ["${data_root}/text.jsonl"]}
  pictures:
    modality: image
    paths: ["${data_root}/pictures-*.tar"]
    encoder: {name: patches, image_size: 32, patch_size: 16}
arms:
  text: {mixture: {text: 1.0}}
  image: {mixture: {text: 0.5, pictures: 0.5}, media_loss: 0.5, controls: [captions_only, shuffled]}
planted: {entities: 264, held_out: 256, images_per_entity: 1, documents: 200}
model: {layers: 1, width: 32, heads: 2, context_length: 48}
tokenizer: {vocabulary: 512}
budget: {match: flops, steps: 60}
train: {rows: 8, microbatch_rows: 4, learning_rate: 1.0e-2, checkpoint_every: 0.05}
tasks:
  planted: {kind: multiple_choice, paths: ["${data_root}/questions.jsonl"], limit: 16}
  prose: {kind: bits_per_byte, paths: ["${data_root}/prose-heldout.jsonl"], max_documents: 4}
endpoints:
  primary: planted/accuracy
  margins: {planted/accuracy: 0.1}
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One cache for the whole session, as studies share one."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder = shared / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe as a file."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Callable[..., Recipe]:
    """The tiny recipe, with overrides."""
    return lambda *overrides: load_recipe(tiny_file, overrides)


@pytest.fixture(scope="session")
def prepared(tiny: Callable[..., Recipe], cache: Path) -> Callable[..., Materials]:
    """Its data, with overrides."""
    return lambda *overrides: prepare(tiny(*overrides), cache)


@pytest.fixture(scope="session")
def materials(prepared: Callable[..., Materials]) -> Materials:
    """The tiny study's data as they are."""
    return prepared()


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the recipes `text_vs_*` expect: text and pictures of the planted world, and small
    sounds, clips and recordings."""
    root = tmp_path_factory.mktemp("shards")
    world = root / "world"
    write_planted_world(PlantedConfig(entities=264, images_per_entity=1, documents=300), world)
    for folder in ("text", "image", "tasks"):
        (root / folder).mkdir(parents=True)
    for split, source in (("train", "text.jsonl"), ("heldout", "prose-heldout.jsonl")):
        with gzip.open(root / f"text/planted-{split}-000.jsonl.gz", "wb") as out:
            out.write((world / source).read_bytes())
    with gzip.open(root / "image/flickr8k-train-000.tar.gz", "wb") as out:
        out.write((world / "pictures-000.tar").read_bytes())
    with gzip.open(root / "tasks/wordnet_hypernyms.jsonl.gz", "wb") as out:
        out.write((world / "questions.jsonl").read_bytes())
    write_recipe_shards(root)
    write_recipe_tasks(root)
    return root
