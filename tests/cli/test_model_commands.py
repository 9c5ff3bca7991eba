"""`ablate export` and `ablate generate`: what they print, and what they refuse in one message."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from own_study import Ran
from tiny_checkpoint import edit_config, edit_weights, write_checkpoint

from ablate.materials import Materials
from ablate.recipe.schema import Recipe
from ablate.show_model import shown_text
from ablate.study.run import execute
from ablate.study.store import Store
from ablate.study.study import Places, prepare_study

Run = Callable[..., Ran]


@pytest.fixture
def folder(materials: Materials, tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "model", materials.tokenizer, rows=600)
    return tmp_path / "model"


@pytest.mark.parametrize("prompt", ["", "The colour of", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \U0001f642"])
def test_any_prompt_is_continued_the_same_way_each_time(ablate: Run, folder: Path, prompt: str) -> None:
    first = ablate("generate", folder, "--prompt", prompt, "--tokens", 5)
    again = ablate("generate", folder, "--prompt", prompt, "--tokens", 5)
    assert (first.code, first.err) == (0, "")
    assert first == again
    drawn = [
        ablate("generate", folder, "--prompt", prompt, "--temperature", 1, "--top-k", 50, "--seed", seed).out
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_long_prompt_loses_its_beginning_and_it_is_said(ablate: Run, folder: Path) -> None:
    long = ablate("generate", folder, "--prompt", "many " * 200 + "words", "--tokens", 8)
    assert long.code == 0
    assert "tokens of the prompt were cut" in long.err
    assert "context of 48 holds 40 beside BOS" in long.err
    ablate("generate", folder, "--tokens", 49).refuses("49 tokens do not fit a context of 48")


def test_escape_sequences_are_shown_and_not_obeyed() -> None:
    assert shown_text("a\x1b[2Jb\x07\r\x9b\u202e\x00") == "a\\x1b[2Jb\\x07\\r\\x9b\\u202e\\x00"
    assert (
        shown_text("na\u00efve\n\t\u6f22 \U0001f468\u200d\U0001f467")
        == "na\u00efve\n\t\u6f22 \U0001f468\u200d\U0001f467"
    )


def test_a_model_that_writes_escapes_cannot_reach_the_terminal(
    ablate: Run, folder: Path, materials: Materials
) -> None:
    tokenizer = materials.tokenizer
    (escape,) = tokenizer.encode(["\x1b"])[0]
    # The head reads a constant hidden state: the escape is always likeliest.
    head = torch.zeros(600, 32)
    embedding = torch.ones(600, 32)
    head[escape] = 1.0
    edit_weights(folder, lm_head__weight=head, model__embed_tokens__weight=embedding)
    ran = ablate("generate", folder, "--prompt", "x", "--tokens", 3)
    assert ran.out == "\\x1b\\x1b\\x1b\n"


def test_what_cannot_be_used_is_refused_in_one_message(ablate: Run, folder: Path, tmp_path: Path) -> None:
    ablate("generate", "meta-llama/Llama-3.2-1B").refuses("no such folder", "none is fetched by its name")
    ablate("generate", tmp_path / "no.json").refuses("no.json", "no record of a run")
    ablate("generate", folder, "--temperature", -1).refuses("temperature is -1")
    ablate("generate", folder, "--prompt", "\udcff").refuses("the prompt is not UTF-8 at character 0")
    ablate("export", folder, tmp_path / "out").refuses("no record of a run")
    edit_config(folder, model_type="gpt2", architectures=["GPT2LMHeadModel"])
    ablate("generate", folder).refuses("config.json", "'gpt2'")
    assert not (tmp_path / "out").exists()


def test_a_record_is_exported_and_continued(
    ablate: Run, tiny: Callable[..., Recipe], tiny_file: Path, cache: Path, tmp_path: Path
) -> None:
    few = ["budget.steps=2", "budget.match=positions", "seeds=[0]", "arms.image=null", "tasks.prose=null"]
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    (job,) = prepare_study(tiny(*few), places, threads=1).jobs
    Store(places.store).publish(execute(job), places.results)
    record, out, store = (
        places.results / "records/text-seed0.json",
        tmp_path / "out",
        ("--store", places.store),
    )
    said = ablate("export", record, out, *store)
    assert said.code == 0
    assert f"Written: {out}/README.md" in said.out
    ablate("export", record, out, *store).refuses("there is a model already")
    by_record = ablate("generate", record, *store, "--prompt", "The", "--tokens", 4)
    assert by_record == ablate("generate", out, "--prompt", "The", "--tokens", 4)
    continued = [*few, "model.layers=null", "model.width=null", "model.heads=null", f"model.init_from={out}"]
    checked = ablate("check", tiny_file, *continued, "--cache", cache)
    assert "1 layers of 32" in checked.out.replace("\n", " ")
    ablate("check", tiny_file, *continued, "model.layers=2", "--cache", cache).refuses(
        "model.layers is 2", "num_hidden_layers 1"
    )
