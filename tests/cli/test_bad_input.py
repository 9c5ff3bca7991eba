"""Bad input ends in one message that names the file, key or sample and says what to do."""

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from own_study import OwnStudy, Ran, places, snapshot, write_tar

Run = Callable[..., Ran]
NOT_UTF8 = "café".encode("latin-1")


def test_the_study_that_is_spoiled_below_is_sound(check: Run) -> None:
    ran = check()
    assert (ran.code, ran.err) == (0, "")
    assert "12 samples, 12 captions" in ran.out


# --- The recipe


def test_every_error_of_a_recipe_is_told_at_once_with_line_and_nearest_name(
    check: Run, own: OwnStudy
) -> None:
    own.rewrite("layers: 1", "layer: 1")
    own.rewrite("rows: 8,", "rows: eight,")
    own.rewrite("pictures: 0.5", "pictures: 0.4")
    ran = check("seeds=[0, x]")
    ran.refuses("4 problems", "command line: seeds.1", "'x' (text)", f"{own.recipe}:", "arms.image.mixture")
    for found, allowed in (
        ("the unknown key 'layer'", "did you mean 'layers'?"),
        ("'eight' (text)", "whole number"),
        ("shares that add up to 0.9", "shares that add up to 1"),
    ):
        assert f"found:   {found}" in ran.err
        assert allowed in ran.err


def test_a_recipe_that_is_not_there_is_named_with_the_nearest_that_is(
    ablate: Run, own: OwnStudy, cache: Path
) -> None:
    missing = own.recipe.with_name("own.yml")
    for command in ("check", "plan", "run"):
        ablate(command, missing, "--cache", cache).refuses(str(missing), "did you mean 'own.yaml'?")


def test_a_recipe_that_is_not_utf8_is_refused(check: Run, own: OwnStudy) -> None:
    own.recipe.write_bytes(own.recipe.read_bytes() + b"note: " + NOT_UTF8)
    check().refuses(str(own.recipe), "not UTF-8", "0xe9", "save the file as UTF-8")


@pytest.mark.parametrize(
    "key", ["streams.text.paths.0", "tasks.prose.paths.0", "data_root", "tokenizer.path"]
)
def test_a_command_or_address_is_neither_run_nor_fetched(key: str, check: Run, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    block, _, place = key.rpartition(".")
    for address in (f"pipe:touch {trap}", "https://example.org/x.jsonl"):
        override = f'{block}=["{address}"]' if place == "0" else f"{key}={address}"
        check(override).refuses(key, address, "nothing is run or fetched")
    assert not trap.exists()


def test_a_secret_of_the_environment_does_not_get_into_a_study(
    check: Run, own: OwnStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_TEST_SECRET", "hunter2")
    own.rewrite("study: own", "study: own\nnote: ${oc.env:ABLATE_TEST_SECRET}")
    ran = check()
    ran.refuses(
        f"{own.recipe}:4: note", "the resolver ${oc.env:ABLATE_TEST_SECRET}", "write the value itself"
    )
    assert "hunter2" not in ran.err + ran.out


def test_shares_have_to_add_up_to_1_and_to_whole_rows(check: Run, own: OwnStudy) -> None:
    check("arms.image.mixture.pictures=0.4").refuses("arms.image.mixture", "add up to 0.9", "add up to 1")
    own.rewrite("text: 0.5, pictures: 0.5", "text: 0.9, pictures: 0.1")
    check().refuses("arms.image.mixture", "nearest shares that work: {text: 0.75, pictures: 0.25}")


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_budget_too_small_for_one_step_is_refused_before_anything_is_trained(
    command: str, ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    where = ["--cache", cache] if command == "plan" else places(tmp_path, cache)
    ran = ablate(command, own.recipe, "budget.steps=null", "budget.flops=1000", *where)
    ran.refuses("own: the budget pays for", "raise the budget")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("option", ["--slots", "--threads"])
def test_a_negative_number_of_processes_is_refused(option: str, ablate: Run, own: OwnStudy) -> None:
    ran = ablate("run", own.recipe, option, "-1")
    assert ran.code != 0
    assert option in ran.err


# --- The data


@pytest.mark.parametrize("name", ["text.jsonl", "pictures-000.tar", "heldout.jsonl", "questions.jsonl"])
def test_a_missing_file_is_named(name: str, check: Run, own: OwnStudy) -> None:
    (own.data / name).unlink()
    check().refuses(
        str(own.data / name.replace("000", "*")), "matches no file", "check the path and data_root"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty (0 bytes)"), (bytes(10240), "holds no samples")],
    ids=["bytes", "tar"],
)
def test_an_empty_shard_among_others_is_named(content: bytes, said: str, check: Run, own: OwnStudy) -> None:
    empty = own.data / "pictures-001.tar"
    empty.write_bytes(content)
    check().refuses(str(empty), said, "remove the empty shard")


def test_an_empty_text_file_is_named(check: Run, own: OwnStudy) -> None:
    (own.data / "text.jsonl").write_bytes(b"")
    check().refuses(str(own.data / "text.jsonl"), "holds no documents", "remove the file")


def test_a_truncated_tar_is_named_with_the_last_whole_member(check: Run, own: OwnStudy) -> None:
    whole = own.shard.read_bytes()
    with tarfile.open(own.shard) as tar:
        cut = tar.getmember("0005.jpg").offset_data + 10
    own.shard.write_bytes(whole[:cut])
    check().refuses(str(own.shard), "cut short inside 0005.jpg", "fetch or write it again")


def test_a_text_that_is_not_utf8_is_named_with_its_line(check: Run, own: OwnStudy) -> None:
    path = own.data / "text.jsonl"
    path.write_bytes(path.read_bytes() + b'{"text": "' + NOT_UTF8 + b'"}\n')
    check().refuses(str(path), "line 61", "not UTF-8 at byte", "iconv -t utf-8")


def test_a_question_that_is_not_utf8_is_named_with_its_line(check: Run, own: OwnStudy) -> None:
    path = own.data / "questions.jsonl"
    path.write_bytes(path.read_bytes() + b'{"question": "' + NOT_UTF8 + b'"}\n')
    check().refuses(f"{path}:9", "not UTF-8", "iconv -t utf-8")


def test_a_caption_that_is_missing_empty_or_not_utf8_is_named_with_its_sample(
    check: Run, own: OwnStudy
) -> None:
    for caption, said in ((None, "no caption"), (b" \n", "caption missing"), (NOT_UTF8, "not UTF-8")):
        own.put("0007.txt", caption)
        check().refuses(str(own.shard), "0007", said)


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_a_shard_is_refused_unread(check: Run, own: OwnStudy, tmp_path: Path) -> None:
    own.put("0007.pkl", pickle.dumps(Trap(tmp_path / "ran")))
    check().refuses(str(own.shard), "'0007.pkl'", "can run anything when read", "repack the shard without it")
    assert not (tmp_path / "ran").exists()


def test_a_task_without_items_is_named(check: Run, own: OwnStudy) -> None:
    (own.data / "questions.jsonl").write_text("\n", encoding="utf-8")
    check().refuses("task 'questions' has no items", str(own.data / "questions.jsonl"), "add items")


# --- Pictures that do not decode


def test_check_names_the_pictures_that_do_not_decode(check: Run, own: OwnStudy) -> None:
    own.put("0003.jpg", own.members()["0003.jpg"][:300])
    own.put("0008.jpg", b"not a picture at all")
    ran = check("streams.pictures.max_skips=1")
    ran.refuses("2 of 12 samples do not decode", "max_skips allows 1", "mend the shard or raise the limit")
    for key, why in (("0003", "truncated JPEG"), ("0008", "not a JPEG")):
        (line,) = [line for line in ran.err.splitlines() if line.startswith(f"  {own.shard}: {key}")]
        assert why in line
    assert "2 do not decode" in " ".join(ran.out.split())
    allowed = check("streams.pictures.max_skips=2")
    assert (allowed.code, allowed.err) == (0, "")
    assert "2 do not decode" in " ".join(allowed.out.split())


def test_of_many_damaged_pictures_some_are_named_and_all_are_counted(check: Run, own: OwnStudy) -> None:
    write_tar(
        own.shard, {name: b"-" if name.endswith(".jpg") else data for name, data in own.members().items()}
    )
    ran = check()
    ran.refuses("12 of 12 samples do not decode", "and 2 more")
    assert ran.err.count(f"  {own.shard}: ") == 10


def test_a_damaged_picture_is_refused_before_anything_is_trained_unless_skips_are_allowed(
    ablate: Run, own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    own.put("0003.jpg", own.members()["0003.jpg"][:300])
    command = ["run", own.recipe, *places(tmp_path, cache)]
    ablate(*command).refuses(f"{own.shard}: 0003: corrupt or truncated JPEG", "streams.pictures.max_skips")
    assert snapshot(tmp_path / "results", "records/*") == {}
    skipping = ablate(*command, "streams.pictures.max_skips=1")
    assert skipping.code == 0
    assert "pictures/decode" in (tmp_path / "results/table.md").read_text(encoding="utf-8")
