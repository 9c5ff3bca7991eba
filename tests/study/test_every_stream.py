"""Every kind of stream reaches the record: clips with their sound, pages, sounds alone, frozen features."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips_with_sound import write_clips
from frozen_patches import FrozenPatches
from PIL import Image

import encoders.registry
from ablate.recipe.load import load_recipe
from ablate.record import RunRecord
from ablate.report.analysis import analyse
from ablate.report.load import StudyHeader
from ablate.report.study import render
from ablate.stats.pairing import check_pair
from ablate.study.run import execute
from ablate.study.study import Places, header_of, prepare_study

RECIPE = """
study: streams
question: Does every kind of stream reach the record?
seeds: [0]
data_root: planted
baseline: text
planted: {entities: 264, images_per_entity: 1, documents: 200}
streams:
  text: {modality: text, paths: ["${data_root}/text.jsonl"]}
  talkies:
    modality: video
    paths: ["FOLDER/talkies.tar"]
    encoder: {name: tubelets, frames: 8, image_size: 16, tubelet_frames: 4, patch_size: 16}
    also: {audio: {name: mel_patches, seconds: 0.5, rate_hz: 8000, mels: 32, window: 256, hop: 125,
      patch_mels: 32, patch_frames: 16}}
    order: mixed
  pages:
    modality: image
    paths: ["FOLDER/pages.tar"]
    documents: interleaved
    encoder: {name: patches, image_size: 32, patch_size: 32}
  sounds:
    modality: audio
    paths: ["FOLDER/talkies.tar"]
    documents: media_only
    encoder: {name: mel_patches, seconds: 0.5, rate_hz: 8000, mels: 32, window: 256, hop: 125, patch_mels: 32,
      patch_frames: 16}
  pictures:
    modality: image
    paths: ["${data_root}/pictures-*.tar"]
    encoder: {name: frozen, image_size: 32, patch_size: 16}
arms:
  text: {mixture: {text: 1.0}}
  talkies:
    mixture: {text: 0.5, talkies: 0.5}
    media_loss: 0.5
    controls: [captions_only_refill, shuffled, noise]
  pages: {mixture: {text: 0.5, pages: 0.5}, controls: [captions_only_refill, shuffled, blank]}
  sounds: {mixture: {text: 0.5, sounds: 0.5}, media_loss: 1.0, controls: [noise, repeat_text]}
  pictures: {mixture: {text: 0.5, pictures: 0.5}}
model: {layers: 1, width: 32, heads: 2, context_length: 48}
tokenizer: {vocabulary: 512}
budget: {match: flops, steps: 110}
train: {rows: 8, microbatch_rows: 4, learning_rate: 1.0e-2, log_every: 1}
tasks:
  planted: {kind: multiple_choice, paths: ["${data_root}/questions.jsonl"], limit: 16}
endpoints: {primary: planted/accuracy, margins: {planted/accuracy: 0.1}}
"""


def write_pages(path: Path, count: int) -> None:
    """A shard of ``count`` documents with two pictures between three sentences, as OBELICS writes them."""
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            members = {"json": json.dumps({"texts": TEXTS, "images": IMAGES}).encode()}
            for name in ("0", "1"):
                out = io.BytesIO()
                Image.new("RGB", (32, 32), (6 * number, 100 * int(name), 0)).save(out, "PNG")
                members[f"{name}.png"] = out.getvalue()
            for extension, data in members.items():
                entry = tarfile.TarInfo(f"{number:03d}.{extension}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


TEXTS = ["First a shade.", None, "Then another.", None, "That was all."]
IMAGES = [None, "0.png", None, "1.png", None]


@pytest.fixture(scope="module")
def header_and_records(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StudyHeader, dict[str, RunRecord]]]:
    folder = tmp_path_factory.mktemp("every_stream")
    write_clips(folder / "talkies.tar", 24)
    write_pages(folder / "pages.tar", 24)
    path = folder / "streams.yaml"
    path.write_text(RECIPE.replace("FOLDER", str(folder)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(encoders.registry.ENCODERS, "frozen", "frozen_patches:FrozenPatches")
        patch.setattr(FrozenPatches, "seen", 0)
        # A cache of its own: another test may have computed the features of the same pictures.
        places = Places(folder / "store", folder / "cache", folder / "results")
        prepared = prepare_study(load_recipe(path, []), places, threads=1)
        header = header_of(prepared.recipe, prepared.plans)
        yield header, {job.arm: execute(job) for job in prepared.jobs}


@pytest.fixture
def records(header_and_records: tuple[StudyHeader, dict[str, RunRecord]]) -> dict[str, RunRecord]:
    return header_and_records[1]


def test_every_stream_and_control_is_trained_and_scored(records: dict[str, RunRecord]) -> None:
    assert len(records) == 13
    for name, record in records.items():
        assert record.status == "finished", name
        assert "planted/accuracy" in record.scores, name
        assert record.skips == {}, name


def test_every_arm_is_a_pair_with_text(records: dict[str, RunRecord]) -> None:
    for name, record in records.items():
        if name != "text":
            check_pair(record, records["text"], "flops")


def test_what_was_planned_is_what_was_read(records: dict[str, RunRecord]) -> None:
    for name, record in records.items():
        for quantity in ("steps", "flops", "flops_executed", "positions", "parameters"):
            assert getattr(record.spent, quantity) == getattr(record.planned, quantity), (name, quantity)
        media = pytest.approx(
            record.planned.media_positions, rel=0.05
        )  # an epoch's rows are the plan's sample
        assert record.spent.media_positions == media, name


def test_media_without_text_are_learned_from(records: dict[str, RunRecord]) -> None:
    """Sounds without captions bring no token into the text loss, and their own loss falls."""
    alone = records["sounds"]
    assert alone.spent.caption_tokens == alone.planned.caption_tokens == 0
    losses = [point.media_loss for point in alone.curve]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_a_frozen_trunk_sees_each_picture_once_however_often_a_run_reads_it(
    records: dict[str, RunRecord],
) -> None:
    read = records["pictures"].spent.media_positions // 4
    assert FrozenPatches.seen == 264 < read


def test_the_report_of_such_a_study_is_whole(
    header_and_records: tuple[StudyHeader, dict[str, RunRecord]],
) -> None:
    header, records = header_and_records
    rendered = render(analyse(header, list(records.values())))
    assert rendered.refusals == []
    assert all(name in rendered.files["compute.csv"] for name in records)
