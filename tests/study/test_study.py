"""A study end to end: paired records, nothing trained twice, nothing lost when something is killed."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from ablate.executors.events import Event, Failed, Finished, Lost, Moved, Started
from ablate.executors.schedule import RETRIES
from ablate.recipe.schema import Recipe
from ablate.record import RunRecord, read_record
from ablate.report.study import render_study
from ablate.study.identity import run_identity
from ablate.study.run import execute
from ablate.study.store import Store
from ablate.study.study import Places, prepare_study, run_study
from encoders.patches import Patches


@dataclass(frozen=True)
class Done:
    """A finished study."""

    recipe: Recipe
    places: Places
    records: dict[tuple[str, int], RunRecord]


def records_in(results: Path) -> dict[tuple[str, int], RunRecord]:
    found = [read_record(path) for path in sorted((results / "records").glob("*.json"))]
    return {(record.arm, record.seed): record for record in found}


def run(recipe: Recipe, places: Places) -> list[Event]:
    seen: list[Event] = []
    failures = run_study(prepare_study(recipe, places, threads=1), places, 2, seen.append)
    assert failures == [event for event in seen if isinstance(event, Failed)]
    return seen


@pytest.fixture(scope="module")
def done(tiny: Callable[..., Recipe], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("study")
    places = Places(folder / "store", cache, folder / "results" / "tiny")
    recipe = tiny()
    run(recipe, places)
    return Done(recipe, places, records_in(places.results))


def test_every_arm_and_seed_has_a_record_with_scores(done: Done) -> None:
    arms = ("text", "image", "image.captions_only", "image.shuffled")
    assert set(done.records) == {(arm, seed) for arm in arms for seed in (0, 1)}
    for record in done.records.values():
        assert record.status == "finished"
        assert {"planted/accuracy", "prose/bits_per_byte"} <= set(record.scores)
        assert record.spent.steps == record.planned.steps
        assert record.spent.flops == record.planned.flops
        assert record.curve[-1].step == record.spent.steps


def test_runs_of_one_seed_are_pairs_with_proof(done: Done) -> None:
    for seed in (0, 1):
        pairs = [record.pairing for (_, number), record in done.records.items() if number == seed]
        assert len({pairing.backbone_init for pairing in pairs}) == 1
        base = done.records["text", seed].pairing.text_rows
        for pairing in pairs:
            shared = set(base) & set(pairing.text_rows)
            assert shared
            for step in shared:
                columns = set(base[step]) & set(pairing.text_rows[step])
                assert columns
                assert all(base[step][column] == pairing.text_rows[step][column] for column in columns)
    inits = {record.pairing.backbone_init for record in done.records.values()}
    assert len(inits) == 2


def test_the_ledgers_of_a_pair_agree_within_one_percent(done: Done) -> None:
    base = done.records["text", 0].spent.total_flops
    for record in done.records.values():
        assert abs(record.spent.total_flops / base - 1) <= 0.01


def test_planned_and_spent_tokens_agree(done: Done) -> None:
    for record in done.records.values():
        assert record.spent.positions == record.planned.positions
        assert record.spent.text_tokens == pytest.approx(record.planned.text_tokens, rel=0.005)
        for name in ("caption_tokens", "media_positions"):  # which captions are drawn differs between seeds
            planned, spent = getattr(record.planned, name), getattr(record.spent, name)
            assert spent == pytest.approx(planned, rel=0.05)


def test_the_report_is_rendered_from_the_records(done: Done) -> None:
    rendered = render_study(done.places.results)
    assert rendered.refusals == []
    for name in ("table.md", "contrasts.csv", "compute.csv", "forest.svg"):
        assert (done.places.results / name).stat().st_size > 100
    kinds = {(contrast.arm, contrast.reference) for contrast in rendered.contrasts}
    assert {("image", "text"), ("image", "image.captions_only"), ("image", "image.shuffled")} <= kinds


def test_finished_runs_are_not_trained_again(done: Done) -> None:
    assert run(done.recipe, done.places) == []
    assert records_in(done.places.results) == done.records


def test_another_study_shares_the_baseline(done: Done, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny("study=other", "arms.image.media_loss=0.25", "seeds=[0]")
    prepared = prepare_study(recipe, Places(done.places.store, done.places.cache, tmp_path), 1)
    # captions_only has no media to regress, so it is the same run whatever the weight.
    assert [(record.arm, record.study) for record in prepared.finished] == [
        ("text", "other"),
        ("image.captions_only", "other"),
    ]
    assert [job.arm for job in prepared.jobs] == ["image", "image.shuffled"]


def test_new_tasks_are_scored_from_the_checkpoint_without_training(
    done: Done, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny("tasks.planted.limit=24", "seeds=[0]", "arms.image.controls=[]", "study=rescored")
    places = Places(done.places.store, done.places.cache, tmp_path / "rescored")
    rescored = {event.job.arm: event.record for event in run(recipe, places) if isinstance(event, Finished)}
    assert set(rescored) == {"text", "image"}
    for arm, record in rescored.items():
        assert record.scores["planted/accuracy"].items == 24
        assert record.final_weights == done.records[arm, 0].final_weights
        assert record.provenance["started"] == done.records[arm, 0].provenance["started"]


def test_a_checkpoint_that_was_torn_is_as_good_as_none(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path
) -> None:
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    recipe = tiny("budget={match: positions, steps: 2}", "seeds=[0]", "arms.image.controls=[]")
    job = prepare_study(recipe, places, threads=1).jobs[0]
    folder = Store(places.store).folder(job.identity)
    folder.mkdir(parents=True)
    (folder / "checkpoint.ckpt").write_bytes(b"PK" + bytes(5000))
    assert execute(job).status == "finished"


def test_whoever_scores_a_run_again_and_is_killed_leaves_the_items_of_the_record_that_is_there(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(tmp_path / "store", cache, tmp_path / "results")

    def of(limit: int) -> Recipe:
        return tiny("budget={match: positions, steps: 2}", "seeds=[0]", f"tasks.planted.limit={limit}")

    job = prepare_study(of(8), places, threads=1).jobs[0]
    record = execute(job)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ablate.study.run.keep_record", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(prepare_study(of(16), places, threads=1).jobs[0])
    Store(places.store).publish(record, places.results)
    (items,) = (places.results / "items").glob("*.parquet")
    found = pd.read_parquet(items)
    assert len(found[found.task == "planted"].item.unique()) == record.scores["planted/accuracy"].items == 8


def test_what_an_encoder_was_pretrained_on_stays_disclosed_when_new_tasks_are_scored(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patches, "pretraining", "captions of the web")
    said = "the encoder of pictures was pretrained on captions of the web"
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    for limit in (8, 16):
        recipe = tiny("budget={match: positions, steps: 2}", "seeds=[0]", f"tasks.planted.limit={limit}")
        jobs = prepare_study(recipe, places, threads=1).jobs
        record = execute(next(job for job in jobs if job.arm == "image"))
        assert record.scores["planted/accuracy"].items == limit
        assert said in record.notes
    assert "scored_at_commit" in record.provenance, "the second time it was scored from its checkpoint"


def test_identity_follows_what_matters_and_nothing_else(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path
) -> None:
    def identity(*overrides: str) -> str:
        prepared = prepare_study(tiny(*overrides), Places(tmp_path, cache, tmp_path), 1)
        return run_identity(prepared.materials, prepared.plans[1], 0)

    reference = identity()
    same = [
        "study=other",
        "question=Why?",
        "train.log_every=3",
        "train.checkpoint_every=9.0",
        "seeds=[0, 1, 2]",
    ]
    assert {identity(one) for one in same} == {reference}
    other = [
        "train.learning_rate=0.02",
        "budget.steps=61",
        "arms.image.media_loss=1",
        "streams.pictures.order=text_first",
    ]
    assert len({reference, *(identity(one) for one in other)}) == len(other) + 1


@pytest.mark.slow
def test_a_killed_worker_goes_on_from_its_checkpoint_and_one_killed_each_time_fails_alone(
    done: Done, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny("seeds=[0]", "budget.steps=300", "arms.image.controls=[]", "study=killed")
    places = Places(tmp_path / "store", done.places.cache, tmp_path / "results")
    pids: dict[str, int] = {}
    kills = {"text": 1 + RETRIES, "image": 1}
    lost: list[str] = []

    def see(event: Event) -> None:
        if isinstance(event, Started):
            pids[event.job.arm] = event.pid
        if isinstance(event, Moved) and kills[event.job.arm] and event.job.arm in pids:
            kills[event.job.arm] -= 1
            os.kill(pids.pop(event.job.arm), signal.SIGKILL)
        if isinstance(event, Lost):
            lost.append(event.job.arm)

    failures = run_study(prepare_study(recipe, places, 1), places, 1, see)
    assert lost == ["text"] * RETRIES + ["image"]
    assert [(failure.job.arm, failure.attempts) for failure in failures] == [("text", 1 + RETRIES)]
    assert "SIGKILL" in failures[0].error
    assert set(records_in(places.results)) == {("image", 0)}
    assert run(recipe, places)
    assert set(records_in(places.results)) == {("text", 0), ("image", 0)}


def test_a_diverged_run_is_recorded_and_shown(
    done: Done, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny(
        "train.learning_rate=1.0e30", "train.clip=0", "seeds=[0]", "arms.image.controls=[]", "study=wild"
    )
    places = Places(tmp_path / "store", done.places.cache, tmp_path / "wild")
    run(recipe, places)
    assert {record.status for record in records_in(places.results).values()} == {"diverged"}
    assert "diverged" in render_study(places.results).files["table.md"]


def test_an_error_in_a_run_names_it_and_leaves_the_others(
    done: Done, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    places = Places(tmp_path / "store", done.places.cache, tmp_path / "results")
    recipe = tiny("seeds=[0]", "study=partly")
    prepared = prepare_study(recipe, places, 1)
    blocked = places.store / run_identity(prepared.materials, prepared.plans[0], 0)[:2]
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder has to go")
    failures = run_study(prepared, places, 2, lambda event: None)
    assert "text" in {failure.job.arm for failure in failures}
    assert all(str(blocked) in failure.error for failure in failures)
    assert json.loads((places.results / "study.json").read_text())["study"] == "partly"
