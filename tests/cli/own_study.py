"""A small study of one's own files, to spoil, and what a command left behind."""

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

OWN = """
# A study of the reader's own files.
study: own
question: Do pictures help at all?
seeds: [0]
data_root: {data}
baseline: text
streams:
  text: {{modality: text, paths: ["${{data_root}}/text.jsonl"]}}
  pictures:
    modality: image
    paths: ["${{data_root}}/pictures-*.tar"]
    encoder: {{name: patches, image_size: 32, patch_size: 16}}
arms:
  text: {{mixture: {{text: 1.0}}}}
  image: {{mixture: {{text: 0.5, pictures: 0.5}}}}
model: {{layers: 1, width: 32, heads: 2, context_length: 48}}
tokenizer: {{vocabulary: 300}}
budget: {{match: positions, steps: 20}}
train: {{rows: 8, microbatch_rows: 4}}
tasks:
  questions: {{kind: multiple_choice, paths: ["${{data_root}}/questions.jsonl"]}}
  prose: {{kind: bits_per_byte, paths: ["${{data_root}}/heldout.jsonl"]}}
endpoints:
  primary: questions/accuracy
  margins: {{questions/accuracy: 0.1}}
"""

WORDS = [
    "a",
    "the",
    "red",
    "blue",
    "old",
    "small",
    "river",
    "stone",
    "bird",
    "house",
    "runs",
    "sings",
    "falls",
]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def refuses(self, *named: str) -> None:
        """One clear message on stderr that names all of ``named``, and an exit code other than 0."""
        assert self.code != 0, self.out
        assert self.err.startswith("ablate: ")
        assert self.err.count("ablate: ") == 1
        assert "Traceback" not in self.err
        for name in named:
            assert name in self.err


@dataclass(frozen=True)
class OwnStudy:
    """A sound recipe and its data, in files."""

    recipe: Path
    data: Path

    @property
    def shard(self) -> Path:
        return self.data / "pictures-000.tar"

    def rewrite(self, found: str, instead: str) -> None:
        """Replace ``found`` in the recipe, where it has to occur."""
        text = self.recipe.read_text(encoding="utf-8")
        assert found in text
        self.recipe.write_text(text.replace(found, instead), encoding="utf-8")

    def members(self) -> dict[str, bytes]:
        with tarfile.open(self.shard) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]

    def put(self, name: str, data: bytes | None) -> None:
        """Write a member of the shard anew, or take it out."""
        members = self.members()
        members.pop(name, None)
        write_tar(self.shard, members if data is None else {**members, name: data})


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_own_study(folder: Path, data: Path) -> OwnStudy:
    """A dozen pictures with captions, some text, questions and held-out prose; the same bytes each time."""
    random = np.random.default_rng(0)
    data.mkdir(parents=True)

    def sentence() -> str:
        return " ".join(random.choice(WORDS, 12)) + "."

    members: dict[str, bytes] = {}
    for number in range(12):
        picture = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(picture, "JPEG")
        members |= {f"{number:04d}.jpg": picture.getvalue(), f"{number:04d}.txt": sentence().encode()}
    write_tar(data / "pictures-000.tar", members)
    write_lines(data / "text.jsonl", [{"text": f"{sentence()} {sentence()}"} for _ in range(60)])
    write_lines(data / "heldout.jsonl", [{"text": sentence()} for _ in range(4)])
    question = {"question": "The bird is", "choices": ["red", "blue"]}
    write_lines(data / "questions.jsonl", [{**question, "label": number % 2} for number in range(8)])
    recipe = folder / "own.yaml"
    recipe.write_text(OWN.format(data=json.dumps(str(data))), encoding="utf-8")
    return OwnStudy(recipe, data)


ONE = ["--slots", 1, "--threads", 1]
"""One run at a time, on one thread."""


def snapshot(folder: Path, pattern: str) -> dict[str, bytes]:
    """Name and content of the files that ``pattern`` matches."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}


def places(folder: Path, cache: Path) -> list[object]:
    """Options of `ablate run` that keep everything but the cache in ``folder``."""
    return ["--store", folder / "store", "--results", folder / "results", "--cache", cache, *ONE]
