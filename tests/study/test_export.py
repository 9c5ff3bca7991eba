"""An exported folder is the run's model, whole, with a card that says what it is."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny_checkpoint import edit_weights

from ablate.data.tokenizer import load_tokenizer
from ablate.model.pretrained import load_pretrained
from ablate.model.transformer import weights_digest
from ablate.recipe.schema import Recipe
from ablate.record import Pairing, RunRecord, Score, of_whole_task, write_record
from ablate.report.load import write_header
from ablate.study.export import export_run
from ablate.study.model_card import model_card
from ablate.study.run import execute
from ablate.study.store import Store, StoreError
from ablate.study.study import Places, header_of, prepare_study
from ablate.study.trained import TrainedRun, find_run, load_run

QUESTION = "Do <b>pictures</b> | help?"


@dataclasses.dataclass(frozen=True)
class Ran:
    places: Places
    record: RunRecord
    folder: Path
    """In the store."""
    published: Path
    """In the study's folder."""


@pytest.fixture(scope="module")
def ran(tiny: Callable[..., Recipe], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One placebo run of few steps, published."""
    root = tmp_path_factory.mktemp("export")
    places = Places(root / "store", cache, root / "results/tiny")
    recipe = tiny("budget.steps=4", "budget.match=positions", "seeds=[3]", f"question={QUESTION}")
    prepared = prepare_study(recipe, places, threads=1)
    record = execute(next(job for job in prepared.jobs if job.arm == "image.shuffled"))
    write_header(header_of(recipe, prepared.plans), places.results)
    store = Store(places.store)
    store.publish(record, places.results)
    published = places.results / "records/image.shuffled-seed3.json"
    return Ran(places, record, store.folder(record.identity), published)


@pytest.fixture(scope="module")
def exported(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "model"
    export_run(find_run(ran.published, ran.places.store), out, with_media=True)
    return out


@pytest.fixture
def own(ran: Ran, tmp_path: Path) -> TrainedRun:
    """The run with a store folder of its own, to spoil."""
    folder = Path(shutil.copytree(ran.folder, tmp_path / "run"))
    return find_run(folder, tmp_path)


def test_the_folder_holds_the_model_and_nothing_half_written(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        *("README.md", "config.json", "generation_config.json", "media.safetensors"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    ]
    assert [path.name for path in exported.parent.iterdir()] == ["model"]


def test_the_weights_are_those_of_the_record(ran: Ran, exported: Path) -> None:
    assert weights_digest(load_pretrained(exported)) == ran.record.final_weights


def test_transformers_gives_the_same_logits_and_ids(exported: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the test extra is not installed")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    text, tokenizer = "The colour of Velora is rød 🙂.", load_tokenizer(exported)
    ids = [tokenizer.bos, *tokenizer.encode([text])[0]]
    assert transformers.AutoTokenizer.from_pretrained(exported)(text)["input_ids"] == ids
    with torch.no_grad():
        tokens = torch.tensor([ids])
        assert (load_pretrained(exported)(tokens) - theirs(tokens).logits).abs().max() < 1e-5
    assert theirs.generation_config.eos_token_id == tokenizer.eos


def test_record_and_run_folder_name_the_same_run(ran: Ran) -> None:
    by_record = find_run(ran.published, ran.places.store)
    by_folder = find_run(ran.folder, Path("nowhere"))
    assert (by_record.record.identity, by_record.model) == (by_folder.record.identity, by_folder.model)
    assert by_record.header is not None
    assert by_folder.header is None


def test_the_card_says_what_the_model_is(ran: Ran, exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    record = ran.record
    for said in (
        *("image.shuffled", "seed 3", "placebo of | image", record.recipe_digest, record.identity),
        *("the medium of another sample", record.pairing.backbone_init, record.final_weights),
        *(
            f"{record.spent.text_tokens:,}",
            f"{record.planned.total_flops:.4g}",
            str(record.provenance["commit"]),
        ),
        *record.data_digests.values(),
        *(name for name in record.scores if of_whole_task(name)),
        "more, of subsets and groups of items",
        *("AutoModelForCausalLM", "lm_eval --model hf", "media.safetensors"),
    ):
        assert said in card
    chance = record.scores["planted/accuracy"].chance
    assert f"| planted/accuracy | {record.scores['planted/accuracy'].value:.4f} | {chance:.4f} |" in card
    assert all(note.split("`")[0][:30] in card for note in record.notes)


def front_matter(card: str) -> dict[str, object]:
    _, matter, _ = card.split("---\n", 2)
    held: dict[str, object] = yaml.safe_load(matter)
    return held


def test_the_front_matter_is_what_a_hub_reads(ran: Ran, exported: Path) -> None:
    held = front_matter((exported / "README.md").read_text(encoding="utf-8"))
    assert (held["library_name"], held["pipeline_tag"]) == ("transformers", "text-generation")
    assert {"ablate", "arm:image.shuffled", "seed:3", "control:shuffled"} <= set(held["tags"])  # type: ignore[call-overload]
    (index,) = held["model-index"]  # type: ignore[misc]
    values = {
        f"{one['dataset']['name']}/{one['metrics'][0]['type']}": one["metrics"][0]["value"]
        for one in index["results"]
    }
    overall = {name: score.value for name, score in ran.record.scores.items() if name.count("/") == 1}
    assert values == overall


def test_text_of_a_recipe_stays_text_in_the_card(ran: Ran, exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "Do &lt;b&gt;pictures&lt;/b&gt; \\| help?" in card
    hostile = dataclasses.replace(
        ran.record,
        study="no",
        arm="---\n# owned",
        notes=["<script>x</script>"],
        pairing=Pairing("`\n# owned <script>", {}),
        scores={"no/a": Score(1.0, 1, True)},
    )
    card = model_card(TrainedRun(hostile, exported, None), {}, media="none")
    held = front_matter(card)
    assert "arm:--- # owned" in held["tags"]  # type: ignore[operator]
    assert held["model-index"][0]["results"][0]["dataset"]["name"] == "no"  # type: ignore[index]
    assert "\n# owned" not in card.split("---\n", 2)[2]
    assert "<script>" not in card


def test_a_model_that_is_there_is_replaced_by_force_alone(own: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(own, out, with_media=True)
    before = (out / "README.md").read_bytes()
    with pytest.raises(StoreError, match=r"there is a model already.*--force"):
        export_run(own, out)
    assert (out / "media.safetensors").is_file()
    export_run(own, out, force=True)
    assert not (out / "media.safetensors").exists()
    assert (out / "README.md").read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_folder_of_other_files_is_never_replaced(own: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("years")
    with pytest.raises(StoreError, match="holds files that are no model"):
        export_run(own, tmp_path / "home", force=True)
    with pytest.raises(StoreError, match="there is a file of this name"):
        export_run(own, tmp_path / "home/thesis.tex", force=True)
    assert (tmp_path / "home/thesis.tex").read_text() == "years"


def test_files_beside_a_model_are_never_lost_to_force(own: TrainedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(own, out)
    (out / ".git").mkdir()
    with pytest.raises(StoreError, match=r"holds '\.git', which an export does not write"):
        export_run(own, out, force=True)
    assert (out / ".git").is_dir()


def test_the_runs_own_model_is_never_replaced(own: TrainedRun, tmp_path: Path) -> None:
    for out in (own.model, own.model / "../model", own.model.parent / "copy"):
        with pytest.raises(StoreError, match="lies in the store's folder of the run"):
            export_run(own, out, force=True)
    assert (own.model / "media.safetensors").is_file()


@pytest.mark.parametrize("out", ["", ".", "/"])
def test_a_folder_without_a_name_of_its_own_is_refused(
    own: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(StoreError, match="name the folder to write"):
        export_run(own, Path(out), force=True)


def test_weights_that_were_changed_after_the_run_are_not_handed_on(own: TrainedRun, tmp_path: Path) -> None:
    edit_weights(own.model, model__norm__weight=torch.ones(32))
    with pytest.raises(StoreError, match="its weights are not those of the record"):
        export_run(own, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_another_tokenizer_than_the_runs_is_not_handed_on(own: TrainedRun) -> None:
    path = own.model / "tokenizer.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held["model"]["merges"].pop()
    path.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(StoreError, match="its tokenizer are not those of the record"):
        load_run(own)


def test_a_run_without_media_has_none_to_take_along(own: TrainedRun, tmp_path: Path) -> None:
    (own.model / "media.safetensors").unlink()
    with pytest.raises(StoreError, match="leave --with-media out"):
        export_run(own, tmp_path / "out", with_media=True)
    export_run(own, tmp_path / "out")


def test_a_run_that_is_not_there_or_diverged_is_refused(own: TrainedRun, ran: Ran, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no record of a run"):
        find_run(tmp_path / "missing.json", tmp_path)
    with pytest.raises(StoreError, match=r"the model of image\.shuffled seed 3 of tiny is not there"):
        find_run(ran.published, tmp_path / "another store")
    write_record(dataclasses.replace(own.record, status="diverged"), own.model.parent / "record.json")
    with pytest.raises(StoreError, match="diverged; there is no model"):
        find_run(own.model.parent, tmp_path)
