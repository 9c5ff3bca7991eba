"""A recipe says one thing, or is refused with everything that is wrong with it."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig

from ablate.recipe.errors import Problem, RecipeError
from ablate.recipe.load import dump_recipe, header_comment, load_recipe, recipe_digest, resolve_paths
from ablate.recipe.schema import Recipe

GOOD = """\
# What it costs: nothing.
#
#     ablate run recipe.yaml

study: small
question: Does it help?
seeds: [0, 1, 2]
streams:
  text:
    modality: text
    paths: ["${data_root}/text/*.jsonl"]
  image:
    modality: image
    paths: ["${data_root}/image/*.tar"]
    encoder: {name: patches, patch_size: 16}
arms:
  text: {mixture: {text: 1.0}}
  image:
    mixture: {image: 0.25, text: 0.75}
    controls: [captions_only, shuffled]
    media_loss: 1
baseline: text
endpoints:
  primary: heldout/bits_per_byte
  margins: {heldout/bits_per_byte: 1e-2}
tasks:
  heldout:
    kind: bits_per_byte
    paths: ["${data_root}/heldout/*.jsonl"]
budget:
  steps: 100
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return written(tmp_path / "recipe.yaml", GOOD)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path, *overrides: str) -> list[Problem]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.problems
    return caught.value.problems


def the_problem(path: Path, *overrides: str) -> Problem:
    problems = problems_of(path, *overrides)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def plain_types_only(value: Any) -> bool:
    if isinstance(value, DictConfig | ListConfig):
        return False
    if dataclasses.is_dataclass(value):
        return all(plain_types_only(getattr(value, item.name)) for item in dataclasses.fields(value))
    if type(value) is dict:
        return all(type(key) is str and plain_types_only(item) for key, item in value.items())
    if type(value) is list:
        return all(map(plain_types_only, value))
    return value is None or type(value) in (str, int, float, bool)


# --- What a good recipe becomes


def test_a_recipe_becomes_plain_typed_values_with_every_default_written_out(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert plain_types_only(recipe)
    assert recipe.arms["image"].media_loss == 1.0
    assert type(recipe.arms["image"].media_loss) is float
    assert recipe.endpoints.margins == {"heldout/bits_per_byte": 0.01}
    assert recipe.model.layers == 6
    assert recipe.streams["image"].encoder == {"name": "patches", "image_size": 32, "patch_size": 16}
    assert recipe.tasks["heldout"] == {
        "kind": "bits_per_byte",
        "paths": ["${data_root}/heldout/*.jsonl"],
        "text_field": "text",
        "part": "1/1",
        "max_documents": 0,
        "max_bytes": 0,
        "words": {},
    }


def test_every_mixture_takes_the_order_of_the_streams(recipe_file: Path) -> None:
    assert list(load_recipe(recipe_file).arms["image"].mixture) == ["text", "image"]


def test_the_header_comment_is_the_leading_block_without_its_marks(recipe_file: Path, tmp_path: Path) -> None:
    assert header_comment(recipe_file) == "What it costs: nothing.\n\n    ablate run recipe.yaml"
    assert header_comment(written(tmp_path / "bare.yaml", "study: x\n# later\n")) == ""


# --- Overrides


def test_overrides_replace_single_values_of_every_kind(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        [
            "model.layers=4",
            "seeds=[0,1]",
            "arms.image.mixture.text=0.5",
            "arms.image.mixture.image=0.5",
            "data_root=../x",
            "train.learning_rate=3e-3",
            "train.clip=1_0",
            "model.tied=no",
            "note=",
            "streams.image.encoder={name: vit, patch_size: 16}",
        ],
    )
    assert (recipe.model.layers, recipe.seeds, recipe.data_root) == (4, [0, 1], "../x")
    assert recipe.arms["image"].mixture == {"text": 0.5, "image": 0.5}
    assert (recipe.train.learning_rate, recipe.train.clip) == (0.003, 10.0)
    assert recipe.model.tied is False
    assert recipe.note == ""
    assert recipe.streams["image"].encoder["layers"] == 2


def test_the_last_of_two_overrides_of_one_key_stands(recipe_file: Path) -> None:
    assert load_recipe(recipe_file, ["model.layers=4", "model.layers=2"]).model.layers == 2


def test_null_on_the_command_line_takes_an_arm_out(recipe_file: Path) -> None:
    assert list(load_recipe(recipe_file, ["arms.image=null"]).arms) == ["text"]


@pytest.mark.parametrize("override", ["model.layers", "=4", "model..layers=4"])
def test_an_override_that_is_no_assignment_is_named(recipe_file: Path, override: str) -> None:
    problem = the_problem(recipe_file, override)
    assert problem.where == "command line"
    assert repr(override) in problem.found
    assert problem.allowed == "key.path=value"


def test_an_override_that_is_not_yaml_is_named_with_its_key(recipe_file: Path) -> None:
    problem = the_problem(recipe_file, "seeds=[0,1")
    assert (problem.where, problem.key) == ("command line", "seeds")
    assert "not YAML" in problem.found


def test_a_base_cannot_come_from_the_command_line(recipe_file: Path) -> None:
    problem = the_problem(recipe_file, "base=other.yaml")
    assert problem.hint == "base belongs into the recipe file"


# --- Variants


def test_a_variant_is_its_base_plus_the_lines_that_differ(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    middle = "base: ../recipe.yaml\nmodel: {layers: 3, width: 96}\n"
    written(tmp_path / "sub" / "middle.yaml", middle)
    last = written(tmp_path / "last.yaml", "base: sub/middle.yaml\nmodel: {layers: 2}\nseeds: [7]\n")
    base, variant = load_recipe(recipe_file), load_recipe(last)
    expected = dataclasses.replace(base, seeds=[7], model=dataclasses.replace(base.model, layers=2, width=96))
    assert variant == expected


def test_null_in_a_variant_removes_what_the_base_gave(recipe_file: Path, tmp_path: Path) -> None:
    text = "base: recipe.yaml\narms: {image: null}\nstreams: {image: {encoder: {patch_size: null}}}\n"
    variant = load_recipe(written(tmp_path / "variant.yaml", text))
    assert list(variant.arms) == ["text"]
    assert variant.streams["image"].encoder["patch_size"] == 8


def test_null_that_removes_nothing_is_refused_as_a_typo(recipe_file: Path, tmp_path: Path) -> None:
    variant = written(tmp_path / "variant.yaml", "base: recipe.yaml\narms: {imgae: null}\n")
    problem = problems_of(variant)[0]
    assert problem.key == "arms.imgae"
    assert problem.found == "null"


def test_a_problem_names_the_file_and_line_of_the_chain_it_came_from(
    recipe_file: Path, tmp_path: Path
) -> None:
    variant = written(tmp_path / "variant.yaml", "base: recipe.yaml\nseeds: [x]\nmodel: {layers: none}\n")
    by_key = {
        problem.key: problem.where for problem in problems_of(variant, "train.rows=0", "budget.steps=-1")
    }
    assert by_key["model.layers"] == f"{variant}:3"
    assert by_key["seeds.0"] == f"{variant}:2"
    assert by_key["train.rows"] == "command line"
    written(recipe_file, GOOD.replace("heldout/bits_per_byte: 1e-2", "heldout/bits_per_byte: -1"))
    margins = {problem.key: problem.where for problem in problems_of(variant)}
    line = GOOD.split("\n").index("  margins: {heldout/bits_per_byte: 1e-2}") + 1
    assert margins["endpoints.margins.heldout/bits_per_byte"] == f"{recipe_file}:{line}"


def test_a_circle_of_bases_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "a.yaml", "base: b.yaml\n")
    written(tmp_path / "b.yaml", "base: a.yaml\n")
    problem = the_problem(tmp_path / "a.yaml")
    assert "a circle of bases: a.yaml -> b.yaml -> a.yaml" in problem.found


def test_a_missing_base_is_named_where_it_was_asked_for(recipe_file: Path, tmp_path: Path) -> None:
    variant = written(tmp_path / "variant.yaml", "\nbase: recpie.yaml\n")
    problem = the_problem(variant)
    assert (problem.where, problem.key) == (f"{variant}:2", "base")
    assert "recpie.yaml" in problem.found
    assert problem.hint == "did you mean 'recipe.yaml'?"


@pytest.mark.parametrize("base", ["https://host/x.yaml", "'pipe:cat x'", "3", "[a.yaml]"])
def test_a_base_is_a_local_file(tmp_path: Path, base: str) -> None:
    problem = the_problem(written(tmp_path / "variant.yaml", f"base: {base}\n"))
    assert problem.allowed == "the path of another recipe file"


# --- Files that are no recipes


def test_a_missing_recipe_is_named_with_its_nearest_neighbour(recipe_file: Path) -> None:
    problem = the_problem(recipe_file.with_name("recipes.yaml"))
    assert "no file" in problem.found
    assert problem.hint == "did you mean 'recipe.yaml'?"


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert "folder" in the_problem(tmp_path).found


def test_a_file_that_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"question: caf\xe9\n")
    problem = the_problem(path)
    assert "not UTF-8: byte 13 is 0xe9" in problem.found
    assert "UTF-8" in problem.hint


def test_a_file_that_is_not_yaml_is_named_with_the_line(tmp_path: Path) -> None:
    problem = the_problem(written(tmp_path / "bad.yaml", "study: x\nquestion: Well: does it?\n"))
    assert problem.where.endswith("bad.yaml:2")
    assert "not YAML" in problem.found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "an empty file"),
        ("# only a comment\n", "an empty file"),
        ("- a\n- b\n", "a list at the top"),
        ("just text\n", "'just text' (text) at the top"),
        ("study: a\n---\nstudy: b\n", "another document"),
    ],
)
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str, found: str) -> None:
    assert found in the_problem(written(tmp_path / "odd.yaml", text)).found


def test_a_file_too_large_for_a_recipe_is_not_read(tmp_path: Path) -> None:
    problem = the_problem(written(tmp_path / "large.yaml", "#" * (1 << 20) + "\nstudy: x\n"))
    assert "more than 1048576 bytes" in problem.found


def test_brackets_a_thousand_deep_are_refused(tmp_path: Path) -> None:
    problem = the_problem(written(tmp_path / "deep.yaml", "study: " + "[" * 500 + "]" * 500))
    assert "deep" in problem.found + problem.allowed


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 12)]
    problem = the_problem(written(tmp_path / "bomb.yaml", "\n".join(rows)))
    assert "too many values" in problem.found


def test_an_alias_within_itself_is_refused(tmp_path: Path) -> None:
    problem = the_problem(written(tmp_path / "loop.yaml", "seeds: &a [*a]\n"))
    assert "an alias within itself" in problem.found


# --- YAML's traps


def test_a_key_written_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "twice.yaml", GOOD + "study: other\n")
    problem = the_problem(path)
    assert problem.key == "study"
    assert f"first at {path}:5" in problem.found
    assert problem.where == f"{path}:{GOOD.count(chr(10)) + 1}"


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['touch {}']", "!!python/name:os.system", "!x 3"]
)
def test_a_yaml_tag_builds_nothing(tmp_path: Path, tag: str) -> None:
    mark = tmp_path / "executed"
    path = written(tmp_path / "tag.yaml", GOOD.replace("Does it help?", tag.format(mark)))
    problem = the_problem(path)
    assert problem.key == "question"
    assert "the YAML tag" in problem.found
    assert not mark.exists()


def test_a_yaml_merge_key_is_refused_and_base_is_offered(tmp_path: Path) -> None:
    path = written(tmp_path / "merge.yaml", GOOD + "model: {<<: {layers: 2}}\n")
    problem = the_problem(path)
    assert problem.found == "a YAML merge key"
    assert "base:" in problem.hint


def test_numbers_with_an_exponent_are_numbers_and_no_is_a_word(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file, ["train.learning_rate=1e-3", "question=no", "model.tied=off", "study=2024-01-02"]
    )
    assert recipe.train.learning_rate == 0.001
    assert (recipe.question, recipe.study) == ("no", "2024-01-02")
    assert recipe.model.tied is False


@pytest.mark.parametrize("value", ["1e-3", "1.5", "true"])
def test_text_that_yaml_reads_as_something_else_must_be_quoted(recipe_file: Path, value: str) -> None:
    problem = the_problem(recipe_file, f"question={value}")
    assert problem.allowed == "text"
    assert "quote it" in problem.hint
    assert load_recipe(recipe_file, [f"question='{value}'"]).question == value


def test_a_nul_character_is_refused(recipe_file: Path) -> None:
    assert "NUL" in the_problem(recipe_file, r'question="a\0b"').found


# --- Types


@pytest.mark.parametrize(
    ("override", "key", "found", "allowed", "hint"),
    [
        ("modle.layers=4", "modle", "the unknown key 'modle'", "study, question", "'model'"),
        ("model.layrs=4", "model.layrs", "the unknown key 'layrs'", "layers, width", "'layers'"),
        ("model.layers=four", "model.layers", "'four' (text)", "whole number", ""),
        ("model.layers=2.5", "model.layers", "2.5 (number)", "whole number", ""),
        ("train.rows=32.0", "train.rows", "32.0 (number)", "whole number", "write 32"),
        ("model.layers=true", "model.layers", "true (true or false)", "whole number", ""),
        ("model.tied=2", "model.tied", "2 (whole number)", "true or false", ""),
        ("model.tied=maybe", "model.tied", "'maybe' (text)", "true or false", ""),
        ("model=4", "model", "4 (whole number)", "a mapping with keys of layers", ""),
        ("seeds=3", "seeds", "3 (whole number)", "a list of whole numbers", ""),
        ("seeds=[0,x]", "seeds.1", "'x' (text)", "whole number", ""),
        ("seeds={a: 1}", "seeds", "a mapping", "a list", ""),
        ("study=[a]", "study", "a list", "text", ""),
        ("budget.match=flop", "budget.match", "'flop' (text)", "flops, text_tokens, positions", "'flops'"),
        ("arms.image.controls=[shufled]", "arms.image.controls.0", "'shufled'", "shuffled", "'shuffled'"),
        ("arms.image=3", "arms.image", "3 (whole number)", "a mapping with keys of mixture", ""),
        ("arms.image.mixture=[text]", "arms.image.mixture", "a list", "a mapping", ""),
        ("tasks.heldout=[text]", "tasks.heldout", "a list", "a mapping", ""),
        ("budget.flops=.nan", "budget.flops", "NaN", "number", "finite"),
        ("train.clip=.inf", "train.clip", "Infinity", "number", "finite"),
        (f"train.rows={2**70}", "train.rows", str(2**70), "whole number", "2**63"),
        ("model.layers='???'", "model.layers", "'???'", "whole number", "fill in"),
        ("streams.image.paths=null", "streams.image.paths", "nothing", "a list", "add paths"),
        ("streams.image.encoder.patch=4", "streams.image.encoder.patch", "patch", "image_size", "patch_size"),
        ("streams.image.encoder.patch_size=x", "streams.image.encoder.patch_size", "'x'", "whole number", ""),
        ("streams.image.encoder.name=pathces", "streams.image.encoder.name", "'pathces'", "patches, ", ""),
        ("streams.image.encoder.name=null", "streams.image.encoder.name", "missing", "ablate list", ""),
        ("streams.image.encoder.name=os:system", "streams.image.encoder.name", "os:system", "no encoder", ""),
        ("tasks.heldout.max_byte=4", "tasks.heldout.max_byte", "max_byte", "max_bytes", "'max_bytes'"),
        ("tasks.heldout.max_bytes=x", "tasks.heldout.max_bytes", "'x'", "whole number", ""),
        ("tasks.heldout.max_bytes=-1", "tasks.heldout", "max_bytes is -1", "BitsPerByteConfig accepts", ""),
        ("tasks.heldout.kind=bits_per_bite", "tasks.heldout.kind", "'bits_per_bite'", "bits_per_byte", ""),
        ("tasks.heldout.paths=null", "tasks.heldout.paths", "missing", "a list of text", "add paths"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_type_is_reported_alone_with_what_is_allowed(
    recipe_file: Path, override: str, key: str, found: str, allowed: str, hint: str
) -> None:
    problem = the_problem(recipe_file, override)
    assert problem.key == key
    assert found in problem.found
    assert allowed in problem.allowed
    assert hint in problem.hint
    assert problem.where in ("command line", *(f"{recipe_file}:{line}" for line in range(1, 40)))


@pytest.mark.parametrize(
    "key", ["study", "question", "seeds", "streams", "arms", "baseline", "endpoints", "tasks", "budget"]
)
def test_a_missing_key_is_one_problem_however_much_hangs_on_it(recipe_file: Path, key: str) -> None:
    problem = the_problem(recipe_file, f"{key}=null")
    assert problem.key == key
    assert problem.found == "nothing: the key is missing"
    assert problem.hint == f"add {key}:"


def test_everything_that_is_wrong_comes_in_one_report(recipe_file: Path) -> None:
    problems = problems_of(
        recipe_file,
        "modle.layers=4",
        "model.width=wide",
        "question=null",
        "arms.image.mixture.text=0.7",
        "baseline=txt",
        "endpoints.primary=heldut/bits_per_byte",
        "endpoints.margins.heldout/bits_per_byte=0",
        "budget.flops=1e12",
        "tasks.heldout.text_feild=body",
        "study=../up",
        "streams.text.paths=['pipe:cat /etc/hostname']",
        "note=${oc.env:HOME}",
    )
    keys = {problem.key for problem in problems}
    assert {
        "modle",
        "model.width",
        "question",
        "arms.image.mixture",
        "baseline",
        "endpoints.primary",
        "endpoints.margins.heldout/bits_per_byte",
        "budget",
        "tasks.heldout.text_feild",
        "study",
        "streams.text.paths.0",
        "note",
    } <= keys
    text = str(RecipeError(problems))
    assert f"the recipe has {len(problems)} problems" in text
    for problem in problems:
        assert f"{problem.where}: {problem.key}\n" in text
        assert problem.found in text
        assert problem.allowed in text
        assert problem.hint in text


# --- Interpolation


def test_a_key_of_the_recipe_can_stand_for_another_with_its_type(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        [
            "train.microbatch_rows=${train.rows}",
            "note=study ${study} at width ${model.width}",
            "planted.entities=300",
        ],
    )
    assert recipe.train.microbatch_rows == 32
    assert recipe.note == "study small at width 384"


def test_the_data_root_stays_a_name_until_the_paths_are_resolved(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, [f"data_root={tmp_path}", "tokenizer.path=${data_root}/tokenizer.json"])
    assert recipe.streams["text"].paths == ["${data_root}/text/*.jsonl"]
    resolved = resolve_paths(recipe, tmp_path)
    assert resolved.streams["text"].paths == [f"{tmp_path}/text/*.jsonl"]
    assert resolved.streams["image"].encoder == recipe.streams["image"].encoder
    assert resolved.tasks["heldout"]["paths"] == [f"{tmp_path}/heldout/*.jsonl"]
    assert resolved.tokenizer.path == f"{tmp_path}/tokenizer.json"
    assert "${" not in json.dumps(dataclasses.asdict(resolved))


def test_a_relative_data_root_is_relative_to_the_current_directory(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = resolve_paths(load_recipe(recipe_file), Path("../shards")).streams["text"].paths[0]
    assert os.path.normpath(path) == f"{tmp_path}/shards/text/*.jsonl"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("${oc.env:HOME}", "the resolver ${oc.env:HOME}"),
        ("${oc.decode:x}", "the resolver"),
        ("${anything:1,2}", "the resolver ${anything:1,2}"),
        ("a ${ oc.env:HOME } b", "the resolver"),
        ("${model.${study}}", "${model.${study}}"),
        ("${study", "${study"),
        ("${}", "no key of this recipe"),
        ("${.study}", "no key of this recipe"),
        ("${stduy}", "no key of this recipe"),
        ("${streams}", "a block"),
        ("${data_root}/x", "${data_root}/x"),
    ],
)
def test_an_interpolation_that_is_no_plain_key_is_refused(recipe_file: Path, value: str, said: str) -> None:
    problem = the_problem(recipe_file, f'note="{value}"')
    assert problem.key == "note"
    assert said in problem.found
    assert "${data_root}" in problem.allowed


def test_a_resolver_is_refused_wherever_it_hides(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABLATE_TEST_SECRET", "opensesame")
    secret = "${oc.env:ABLATE_TEST_SECRET}"
    for override in (
        f"streams.text.paths=['{secret}']",
        f"streams.image.encoder.patch_size={secret}",
        f"tasks.heldout.text_field={secret}",
        f"data_root={secret}",
        f"train.rows={secret}",
        f"seeds=['{secret}']",
    ):
        problem = the_problem(recipe_file, override)
        assert "the resolver ${oc.env:ABLATE_TEST_SECRET}" in problem.found
        assert "opensesame" not in str(problem)


def test_a_circle_of_interpolations_is_refused_once(recipe_file: Path) -> None:
    problem = the_problem(recipe_file, "note=${question}", "question=${study}", "study=${note}")
    assert "a circle of interpolations" in problem.found


def test_interpolations_that_multiply_are_refused(recipe_file: Path) -> None:
    text = GOOD + "note: ${planted.a0}\nplanted:\n" + f"  a12: {'x' * 100}\n"
    text += "".join(
        f"  a{i}: '{'${planted.a' + str(i + 1) + '}'}{'${planted.a' + str(i + 1) + '}'}'\n" for i in range(12)
    )
    problems = problems_of(written(recipe_file, text))
    assert any("grows too long" in problem.found for problem in problems)


def test_the_data_root_is_no_way_round_a_type(recipe_file: Path) -> None:
    problem = the_problem(recipe_file, "tasks.heldout.max_bytes=${data_root}")
    assert problem.key == "tasks.heldout.max_bytes"
    assert "'${data_root}' (text)" in problem.found


# --- Paths


@pytest.mark.parametrize("path", ["pipe:cat x", " PIPE:cat x", "https://host/x.tar", "s3://bucket/x.tar"])
@pytest.mark.parametrize("key", ["streams.text.paths", "tasks.heldout.paths", "data_root", "tokenizer.path"])
def test_commands_and_addresses_are_no_paths(recipe_file: Path, key: str, path: str) -> None:
    problem = the_problem(recipe_file, f"{key}=['{path}']" if key.endswith("paths") else f"{key}='{path}'")
    assert problem.key.startswith(key)
    assert repr(path) in problem.found
    assert problem.allowed == "a path of a local file"


# --- The digest


def test_the_digest_does_not_depend_on_where_the_data_lie(recipe_file: Path) -> None:
    digests = {
        recipe_digest(load_recipe(recipe_file, [f"data_root={root}"])) for root in ("planted", "../x", "/y")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 32


def test_a_default_written_out_does_not_move_the_digest(recipe_file: Path) -> None:
    plain = recipe_digest(load_recipe(recipe_file))
    written_out = [
        "model.layers=6",
        "streams.image.encoder.image_size=32",
        "tasks.heldout.max_bytes=0",
        "train.clip=1",
    ]
    assert recipe_digest(load_recipe(recipe_file, written_out)) == plain


@pytest.mark.parametrize(
    "override",
    ["model.layers=5", "streams.image.encoder.image_size=48", "tasks.heldout.max_bytes=9", "seeds=[0]"],
)
def test_whatever_changes_the_study_moves_the_digest(recipe_file: Path, override: str) -> None:
    assert recipe_digest(load_recipe(recipe_file, [override])) != recipe_digest(load_recipe(recipe_file))


def test_the_order_of_the_streams_is_part_of_the_study_that_of_other_keys_is_not(tmp_path: Path) -> None:
    text = "  b: {modality: text, paths: [b.jsonl]}\n"
    first = written(tmp_path / "a.yaml", GOOD.replace("streams:\n", f"streams:\n{text}"))
    second = written(tmp_path / "b.yaml", GOOD.replace("arms:\n", f"{text}arms:\n"))
    assert recipe_digest(load_recipe(first)) != recipe_digest(load_recipe(second))
    moved = GOOD.replace("baseline: text\n", "") + "baseline: text\n"
    swapped = moved.replace("{image: 0.25, text: 0.75}", "{text: 0.75, image: 0.25}")
    third = written(tmp_path / "c.yaml", swapped)
    assert recipe_digest(load_recipe(third)) == recipe_digest(load_recipe(written(tmp_path / "d.yaml", GOOD)))


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30).filter(
    lambda text: "${" not in text and text != "???"
)
TRICKY = st.sampled_from(
    [
        "no",
        "yes",
        "1e-3",
        "0.5",
        "007",
        "1_000",
        "true",
        "null",
        "~",
        "2024-01-01",
        "- a",
        "# x",
        "a: b",
        "''",
        "\ufeffa",
        "\x85",
        "\u2028",
        "1:30",
        ".inf",
        "<<",
        "=",
    ]
)


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    note=WORDS | TRICKY,
    field=WORDS | TRICKY,
    rate=st.floats(1e-12, 1e12),
    margin=st.floats(min_value=5e-324, allow_infinity=False),
    seeds=st.lists(st.integers(0, 2**62), min_size=1, max_size=4, unique=True),
    rows=st.integers(1, 64).map(lambda n: 4 * n),
    tied=st.booleans(),
)
def test_a_recipe_and_its_dump_are_the_same_recipe(
    recipe_file: Path,
    note: str,
    field: str,
    rate: float,
    margin: float,
    seeds: list[int],
    rows: int,
    tied: bool,
) -> None:
    base = load_recipe(recipe_file)
    changed: Recipe = dataclasses.replace(
        base,
        note=note,
        seeds=seeds,
        endpoints=dataclasses.replace(base.endpoints, margins={base.endpoints.primary: margin}),
        streams={name: dataclasses.replace(item, text_field=field) for name, item in base.streams.items()},
        model=dataclasses.replace(base.model, tied=tied),
        train=dataclasses.replace(base.train, learning_rate=rate, rows=rows),
    )
    again = load_recipe(written(recipe_file.with_name("dump.yaml"), dump_recipe(changed)))
    assert again == changed
    assert recipe_digest(again) == recipe_digest(changed)


KEYS = st.sampled_from(
    [
        "study",
        "seeds",
        "streams",
        "arms",
        "tasks",
        "model",
        "image",
        "mixture",
        "text",
        "encoder",
        "name",
        "kind",
        "heldout",
        "layers",
        "budget",
        "base",
        "paths",
        "baseline",
        "endpoints",
        "margins",
        "x.y",
    ]
) | st.just("")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | TRICKY | st.just("${study}")
TREES = st.recursive(
    SCALARS, lambda item: st.lists(item, max_size=3) | st.dictionaries(KEYS, item, max_size=4), max_leaves=12
)


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tree=st.dictionaries(KEYS, TREES, max_size=4))
def test_whatever_a_stranger_writes_is_a_recipe_or_a_recipe_error(
    recipe_file: Path, tree: dict[str, Any]
) -> None:
    path = recipe_file.with_name("strange.yaml")
    path.write_text(json.dumps({"base": "recipe.yaml", **tree}, ensure_ascii=True), encoding="utf-8")
    problems: list[Problem] = []
    try:
        assert plain_types_only(load_recipe(path))
    except RecipeError as error:
        problems = error.problems
    assert all(problem.found and problem.allowed and problem.where for problem in problems)
