"""What overlaps with test items is counted in every study, and taken out of its training data when asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.budget.plan import plan_study
from ablate.data.decontaminated import training_data
from ablate.data.documents import document_digest, read_documents
from ablate.data.errors import DataError
from ablate.data.overlap import StreamTexts
from ablate.data.overlap_streams import media_stream
from ablate.data.overlap_summary import find_overlaps
from ablate.materials import Materials, build_mixture, find_study_overlaps, resolve_data_root
from ablate.recipe.arms import expand_arms
from ablate.recipe.schema import Recipe
from ablate.record import read_record
from ablate.study.identity import run_identity
from ablate.study.run import relabel
from ablate.tasks.registry import load_task

RESULTS = Path(__file__).parents[2] / "results"
Prepared = Callable[..., Materials]
REMOVE = "decontamination.remove=true"


def identities(materials: Materials) -> dict[str, str]:
    return {plan.arm.name: run_identity(materials, plan, 0) for plan in plan_study(materials)}


def training_documents(materials: Materials) -> list[str]:
    paths = [Path(path) for path in materials.recipe.streams["text"].paths]
    return [document.text for document in read_documents(paths, "text", paths[0].parent)]


@pytest.fixture
def leaked(prepared: Prepared, tmp_path: Path) -> tuple[str, str, str]:
    """Override that holds out words of a document and of a caption, the document, and the caption."""
    materials = prepared()
    document = max(training_documents(materials), key=lambda text: len(text.split()))
    assert len(document.split()) > 15
    caption = max(materials.media["pictures"].samples.texts(3), key=len)
    path = tmp_path / "leaked.jsonl"
    rows = [
        f"It is told: {' '.join(document.split()[:14])}!",
        f"So then, {caption}",
        "Nobody ever said this here.",
    ]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    return f"tasks.prose.paths=['{path}']", document, caption


def ngram(caption: str) -> str:
    return f"decontamination.ngram={len(caption.split())}"


def test_counting_makes_no_other_run(prepared: Prepared) -> None:
    """Nor does removing, where there is nothing to remove."""
    counted = prepared()
    assert not any(counted.overlaps.places(stream) for stream in ("text", "pictures"))
    for override in ("decontamination.count=false", "decontamination.ngram=9", REMOVE):
        assert identities(prepared(override)) == identities(counted)


def test_a_removed_document_is_in_no_row_of_any_arm_and_pairing_holds(
    prepared: Prepared, leaked: tuple[str, str, str]
) -> None:
    override, document, _ = leaked
    before, after = prepared(override), prepared(override, REMOVE)
    assert document_digest(document) in before.text["text"].digests
    assert document_digest(document) not in after.text["text"].digests
    gone = set(before.text["text"].digests.tolist()) - set(after.text["text"].digests.tolist())
    assert len(gone) == len(after.overlaps.removed("text"))
    assert len(after.text["text"]) == len(before.text["text"]) - len(gone)
    assert not set(identities(before).values()) & set(identities(after).values())
    rows = [build_mixture(after, arm, 0).step(1).row_digests for arm in expand_arms(after.recipe)]
    baseline = rows[0]
    for other in rows[1:]:
        shared = {column for column in other if column.startswith("text/")}
        assert shared
        assert {column: other[column] for column in shared} == {column: baseline[column] for column in shared}


def test_after_removal_nothing_overlaps(
    leaked: tuple[str, str, str], tiny: Callable[..., Recipe], cache: Path
) -> None:
    recipe = resolve_data_root(tiny(leaked[0], REMOVE, ngram(leaked[2])), cache)
    tasks = {name: load_task(name, one, cache) for name, one in recipe.tasks.items()}
    held = {name: list(task.texts()) for name, task in tasks.items()}
    data = training_data(recipe, held, cache)
    assert data.overlaps.removed("text")
    assert data.overlaps.removed("pictures")
    kept = [(0, number, document.text) for number, document in enumerate(data.documents("text"))]
    left = [
        media_stream("pictures", data.samples["pictures"]),
        StreamTexts("text", "documents", "kept", lambda: iter(kept), lambda file, number: f"{file}:{number}"),
    ]
    again = find_overlaps(recipe.decontamination, held, left, cache)
    assert not list(again.rows())
    assert not again.places("text") | again.places("pictures")


def test_a_record_says_what_the_streams_of_its_own_arm_share_with_tasks(
    prepared: Prepared, leaked: tuple[str, str, str]
) -> None:
    materials = prepared(leaked[0], ngram(leaked[2]))
    record = read_record(RESULTS / "quickstart" / "records" / "text-seed0.json")
    plans = {plan.arm.name: plan for plan in plan_study(materials)}
    told = {
        name: "\n".join(relabel(record, materials.recipe, plans[name], materials).notes)
        for name in ("text", "image", "image.shuffled")
    }
    shared = f"overlap: prose: 1 of 3 items share {len(leaked[2].split())} words in a row with stream"
    assert f"{shared} text" in told["text"]
    assert f"{shared} pictures" in told["image"] == told["image.shuffled"]
    assert "stream pictures" not in told["text"]
    assert told["text"] in told["image"]


def test_a_removed_caption_takes_its_picture_only_if_it_was_the_last(
    prepared: Prepared, leaked: tuple[str, str, str]
) -> None:
    override, _, caption = leaked
    after = prepared(override, REMOVE, ngram(caption))
    before, left = prepared(override).media["pictures"].samples, after.media["pictures"].samples
    removed = after.overlaps.removed("pictures")
    assert removed
    expected = [
        [text for number, text in enumerate(before.texts(at)) if (at, number) not in removed]
        for at in range(len(before))
    ]
    assert [left.texts(at) for at in range(len(left))] == [texts for texts in expected if texts]
    said = after.overlaps.notes(["pictures"])[-1]
    assert said.startswith(f"overlap: removed from stream pictures: {len(removed)} of ")
    assert (f"{len(before) - len(left)} samples" in said) == (len(left) < len(before))


def test_a_document_that_is_held_out_whole_is_refused_unless_it_is_removed(
    prepared: Prepared, leaked: tuple[str, str, str], tmp_path: Path
) -> None:
    path = tmp_path / "whole.jsonl"
    path.write_text(json.dumps({"text": leaked[1]}) + "\n", encoding="utf-8")
    override = f"tasks.prose.paths=['{path}']"
    with pytest.raises(DataError, match=r"occur in training.*decontamination\.remove=true"):
        prepared(override)
    assert prepared(override, REMOVE).overlaps.removed("text")


def test_what_would_leave_nothing_is_refused(prepared: Prepared) -> None:
    short = ["decontamination.ngram=1", "decontamination.shortest=1", REMOVE]
    with pytest.raises(DataError, match=r"stream 'text': all 200 documents .* leaves nothing"):
        prepared(*short)


def test_a_part_counts_its_own_documents(
    prepared: Prepared, leaked: tuple[str, str, str], tiny: Callable[..., Recipe], cache: Path
) -> None:
    override = leaked[0]
    found = [
        find_study_overlaps(tiny(override, f"streams.text.part={part}"), cache).found["text"]["prose"]
        for part in ("1/1", "1/2", "2/2")
    ]
    whole, *parts = ({tuple(place) for place in one.documents.tolist()} for one in found)
    assert parts[0] | parts[1] == whole
    assert not parts[0] & parts[1]
    assert found[0].total == found[1].total + found[2].total == 200
