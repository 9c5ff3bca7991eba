"""A sweep end to end: each distinct run once, every setting a study, what cannot run stops nothing else."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from ablate.executors.events import Event, Finished, Started
from ablate.record import read_record
from ablate.report.load import StudyError, load_records, read_header
from ablate.report.sweep_file import read_sweep, write_sweep
from ablate.study.study import Places
from ablate.sweep.load import Sweep, load_sweep
from ablate.sweep.plan import SweepPlan, plan_sweep, sweep_bytes, sweep_file
from ablate.sweep.run import run_sweep

ARM = "image: {mixture: {text: 0.5, pictures: 0.5}, media_loss: 0.5, controls: [captions_only, shuffled]}"
BLOCK = """
sweep:
  mixture: {streams: [text, pictures], design: list, points: [{pictures: 0.5}], controls: [shuffled]}
  across:
    note:
      plain: {train.log_every: 10}
      often: {train.log_every: 5}
    steps:
      short: {}
      long: {budget.steps: 24}
"""
"""Its levels of `note` change nothing that a run depends on: what differs is steps alone."""


@pytest.fixture(scope="module")
def written(tiny_file: Path) -> str:
    """A sweep over the tiny recipe."""
    tiny = tiny_file.read_text(encoding="utf-8").replace(ARM, "").replace("seeds: [0, 1]", "seeds: [0]")
    return tiny.replace("budget: {match: flops, steps: 60}", "budget: {match: positions, steps: 12}") + BLOCK


@dataclass(frozen=True)
class Swept:
    """A sweep that has run."""

    sweep: Sweep
    places: Places
    planned: SweepPlan
    events: list[Event]


@pytest.fixture(scope="module")
def swept(written: str, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.yaml").write_text(written, encoding="utf-8")
    sweep = load_sweep(folder / "sweep.yaml")
    places = Places(folder / "store", cache, folder / "results" / "tiny")
    planned = plan_sweep(sweep, places, threads=1)
    events: list[Event] = []
    assert run_sweep(planned, places, 2, events.append) == []
    return Swept(sweep, places, planned, events)


def test_a_run_that_several_settings_have_is_trained_once(swept: Swept) -> None:
    started = [event.job.identity for event in swept.events if isinstance(event, Started)]
    assert len(swept.planned.cells) == len(swept.planned.settings) * len(
        swept.planned.settings[0].prepared.plans
    )  # type: ignore[union-attr]
    assert len(started) == len(set(started)) == len(swept.planned.distinct) == len(swept.planned.cells) // 2
    file = read_sweep(swept.places.results)
    assert file.distinct_flops == pytest.approx(file.planned_flops / 2)


def test_every_setting_is_a_study_with_all_of_its_records(swept: Swept) -> None:
    file = read_sweep(swept.places.results)
    assert [setting.name for setting in file.settings] == [
        "plain.short",
        "plain.long",
        "often.short",
        "often.long",
    ]
    for setting in file.settings:
        folder = swept.places.results / setting.folder
        header = read_header(folder)
        records = load_records(folder, header)
        assert header.study == setting.study == f"tiny.{setting.name}"
        assert {record.arm for record in records} == set(header.arms)
        assert {"text", "pictures2", "pictures2.shuffled"} <= set(header.arms)
        assert {record.study for record in records} == {setting.study}


def test_notes_of_a_record_stand_once_in_every_setting(swept: Swept) -> None:
    for path in swept.places.results.glob("*/records/*.json"):
        notes = read_record(path).notes
        assert len(notes) == len(set(notes))


def test_the_same_command_again_trains_nothing(swept: Swept) -> None:
    again = plan_sweep(swept.sweep, swept.places, threads=1)
    assert all(cell.finished for cell in again.cells)
    assert sweep_bytes(again, slots=2) == 0
    events: list[Event] = []
    run_sweep(again, swept.places, 2, events.append)
    assert events == []


def test_only_what_is_missing_is_trained(swept: Swept, tmp_path: Path) -> None:
    lost = next(event.record for event in swept.events if isinstance(event, Finished))
    folder = swept.places.store / lost.identity[:2] / lost.identity
    (folder / "record.json").rename(tmp_path / "record.json")
    events: list[Event] = []
    run_sweep(plan_sweep(swept.sweep, swept.places, threads=1), swept.places, 2, events.append)
    assert [event.record.identity for event in events if isinstance(event, Finished)] == [lost.identity]
    assert read_record(folder / "record.json").final_weights == lost.final_weights


def test_settings_that_differ_in_their_tasks_share_runs_and_no_scores(
    swept: Swept, written: str, tmp_path: Path
) -> None:
    across = written.partition("\nsweep:")[0]
    across += "\nsweep: {across: {items: {few: {tasks.planted.limit: 8}, many: {tasks.planted.limit: 16}}}}\n"
    (tmp_path / "sweep.yaml").write_text(across, encoding="utf-8")
    places = dataclasses.replace(swept.places, store=tmp_path / "store", results=tmp_path / "results")
    planned = plan_sweep(load_sweep(tmp_path / "sweep.yaml"), places, threads=1)
    events: list[Event] = []
    assert run_sweep(planned, places, 2, events.append) == []
    assert len(planned.distinct) == len(planned.cells) / 2
    for name, limit in (("few", 8), ("many", 16)):
        paths = list((places.results / name / "records").glob("*.json"))
        assert len(paths) == len(planned.distinct)
        for path in paths:
            assert read_record(path).scores["planted/accuracy"].items == limit
        for path in (places.results / name / "items").glob("*.parquet"):
            found = pd.read_parquet(path)
            assert len(found[found.task == "planted"].item.unique()) == limit


def test_a_setting_that_cannot_run_is_named_and_the_others_go_on(
    swept: Swept, written: str, tmp_path: Path
) -> None:
    broken = written.replace(
        "long: {budget.steps: 24}", 'long: {streams.text.paths: ["${data_root}/none.jsonl"]}'
    )
    (tmp_path / "sweep.yaml").write_text(broken, encoding="utf-8")
    places = dataclasses.replace(swept.places, results=tmp_path / "results")
    planned = plan_sweep(load_sweep(tmp_path / "sweep.yaml"), places, threads=1)
    events: list[Event] = []
    assert run_sweep(planned, places, 2, events.append) == []
    problems = {setting.name: setting.problem for setting in read_sweep(places.results).settings}
    assert "none.jsonl" in problems["plain.long"]
    assert problems["plain.short"] == ""
    assert (places.results / "plain.short" / "records").is_dir()
    assert not (places.results / "plain.long").exists()


def test_a_sweep_of_which_nothing_can_run_is_refused(written: str, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(written, encoding="utf-8")
    sweep = load_sweep(tmp_path / "sweep.yaml", ["streams.text.paths=['${data_root}/none.jsonl']"])
    with pytest.raises(ValueError, match=r"no setting can be run: .*none\.jsonl"):
        plan_sweep(sweep, Places(tmp_path / "store", cache, tmp_path / "results"), threads=1)


def test_what_was_planned_is_read_as_it_was_written(swept: Swept, tmp_path: Path) -> None:
    file = sweep_file(swept.planned)
    write_sweep(file, tmp_path)
    assert read_sweep(tmp_path) == file


@pytest.mark.parametrize(
    "edit",
    [
        lambda raw: raw["points"][0]["shares"].update(text=0.5),
        lambda raw: raw["settings"][0].update(folder="../elsewhere"),
        lambda raw: raw["settings"][0].update(baseline_flops="many"),
        lambda raw: raw["settings"].append(raw["settings"][0]),
        lambda raw: raw.pop("components"),
        lambda raw: raw.update(sweep_format=99),
        lambda raw: raw["points"][0]["roles"].append("best"),
    ],
)
def test_a_plan_that_was_edited_into_nonsense_is_refused(
    swept: Swept, tmp_path: Path, edit: Callable[[dict[str, object]], object]
) -> None:
    raw = json.loads((swept.places.results / "sweep.json").read_text(encoding="utf-8"))
    edit(raw)
    (tmp_path / "sweep.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(StudyError, match=r"sweep\.json"):
        read_sweep(tmp_path)


def test_a_folder_without_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no sweep here"):
        read_sweep(tmp_path)
