"""A study whose records were spoiled is refused with one message, or its report says what is wrong."""

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from own_study import Ran

sys.path.insert(0, str(Path(__file__).parents[1] / "stats"))
sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from fabricated import ACCURACY, BITS, PLANTED, header, ledger, run, write_study
from large_study import write_large_study

import ablate.record
from ablate.record import RunRecord, Score, read_record, write_record
from ablate.report.registration import LOCK_FILE, LOOKS_FILE, lock_plan

Run = Callable[..., Ran]
Spoil = Callable[[dict[str, Any]], object]
ONE = "image-seed1.json"


def records(seeds: int = 3, values: dict[str, list[float]] = PLANTED) -> list[RunRecord]:
    return [
        run(arm, seed, {ACCURACY: value, BITS: 2.0 - value / 3})
        for arm, scores in values.items()
        for seed, value in enumerate(scores[:seeds])
    ]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A sound study, for a test to spoil."""
    return write_study(tmp_path / "results" / "study", records(), header(records()))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_study(tmp_path / "other", records(), header(records(), study="other"))


def change(study: Path, name: str = ONE, **changes: Any) -> None:
    """A record with other content and a seal that fits."""
    path = study / "records" / name
    write_record(dataclasses.replace(read_record(path), **changes), path)


def reseal(study: Path, spoil: Spoil, name: str = ONE) -> None:
    """The same by hand, for content that no record can have."""
    path = study / "records" / name
    raw = json.loads(path.read_text(encoding="utf-8"))
    del raw["seal"]
    spoil(raw)
    body = json.dumps(raw, indent=1, sort_keys=True) + "\n"
    path.write_text(f'{{\n "seal": "{ablate.record._digest(body)}",{body[1:]}', encoding="utf-8")


def edit_header(folder: Path, **changes: Any) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def refused_everywhere(ablate: Run, study: Path, sound: Path, *said: str) -> None:
    """Every command that reads the study refuses it in one message, and leaves nothing behind."""
    before = sorted(study.rglob("*"))
    for words in (["report", study], ["compare", study, sound], ["calibrate", study, "--out", sound / "c"]):
        ran = ablate(*words)
        assert ran.code == 2
        assert ran.err.startswith("ablate: ")
        assert ran.err.count("\n") == 1
        assert not [part for part in said if part not in ran.err]
    checked = ablate("report", "--check", study)
    assert checked.code == 1
    assert "cannot be rendered" in checked.out
    assert sorted(study.rglob("*")) == before


def table(ran: Ran, study: Path) -> str:
    assert (ran.code, ran.err) == (0, "")
    return (study / "table.md").read_text(encoding="utf-8")


# --- Records that are refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a run record"),
        (b"\0" * 99, "not a run record"),
        (b"[" * 200_000, "not a run record"),
        (b'{"record_format": ' + b"9" * 5000 + b"}", "not a run record"),
        (b"[]", "not a run record"),
        (b'{"record_format": 99}', "record_format is 99"),
    ],
    ids=["empty", "zeros", "deep", "digits", "list", "format"],
)
def test_a_file_that_is_no_record(ablate: Run, study: Path, sound: Path, content: bytes, said: str) -> None:
    (study / "records" / ONE).write_bytes(content)
    refused_everywhere(ablate, study, sound, f"records/{ONE}", said)


def test_a_record_edited_by_hand(ablate: Run, study: Path, sound: Path) -> None:
    path = study / "records" / ONE
    path.write_text(path.read_text(encoding="utf-8").replace("0.94", "0.99"), encoding="utf-8")
    refused_everywhere(ablate, study, sound, f"records/{ONE}", "edited after it was written")


SPOILT: dict[str, Spoil] = {
    "provenance is no mapping": lambda raw: raw.update(provenance=[]),
    "notes is not a list of texts": lambda raw: raw.update(notes="x"),
    "skips does not map": lambda raw: raw.update(skips={"a": "x"}),
    "data_digests does not map": lambda raw: raw.update(data_digests={"tokenizer": 5}),
    "identity is not text": lambda raw: raw.update(identity=[]),
    "pairing does not map": lambda raw: raw["pairing"].update(text_rows={"10": 5}),
    "spent.text_tokens is not a number": lambda raw: raw["spent"].update(text_tokens="many"),
    "spent.flops does not map": lambda raw: raw["spent"].update(flops=[1]),
    "curve holds something else": lambda raw: raw["curve"][0].update(loss="x"),
    "a huge number": lambda raw: raw["scores"][ACCURACY].update(value=10**400),
    "has value 1e+308": lambda raw: raw["scores"][ACCURACY].update(value=1e308),
    "has chance 'x'": lambda raw: raw["scores"][ACCURACY].update(chance="x"),
    "has 25.5 items": lambda raw: raw["scores"][ACCURACY].update(items=25.5),
    "and there are scores": lambda raw: raw.update(status="diverged"),
    "status is 'won'": lambda raw: raw.update(status="won"),
    "surrogates not allowed": lambda raw: raw.update(notes=["\ud800"]),
}


@pytest.mark.parametrize("said", SPOILT)
def test_a_sealed_record_of_other_types(ablate: Run, study: Path, sound: Path, said: str) -> None:
    reseal(study, SPOILT[said])
    refused_everywhere(ablate, study, sound, f"records/{ONE}", said)


def test_a_seed_that_is_no_whole_number(ablate: Run, study: Path, sound: Path) -> None:
    reseal(study, lambda raw: raw.update(seed=True))
    (study / "records" / ONE).rename(study / "records" / "image-seedTrue.json")
    refused_everywhere(ablate, study, sound, "seed is True, not a whole number")


def test_two_records_of_one_identity_that_disagree(ablate: Run, study: Path, sound: Path) -> None:
    other = read_record(study / "records" / "image.shuffled-seed1.json")
    copied = dataclasses.replace(
        read_record(study / "records" / "text-seed1.json"), arm="image", scores=other.scores
    )
    write_record(copied, study / "records" / ONE)
    refused_everywhere(ablate, study, sound, "text-seed1.json", "they disagree in scores")


def test_a_record_copied_under_another_arms_name_is_no_pair(ablate: Run, study: Path) -> None:
    copied = dataclasses.replace(read_record(study / "records" / "text-seed1.json"), arm="image")
    write_record(copied, study / "records" / ONE)
    said = table(ablate("report", study), study)
    assert "image and text, seed 1: one run (text/1) under two names, and no pair" in said
    assert "image is inconclusive" in said


def test_records_of_two_seeds_that_changed_places(ablate: Run, study: Path, sound: Path) -> None:
    first, second = (study / "records" / f"text-seed{seed}.json" for seed in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    refused_everywhere(ablate, study, sound, "and should be called text-seed1.json")


def test_a_baseline_of_other_data_is_no_pair(ablate: Run, study: Path) -> None:
    change(study, "text-seed1.json", data_digests={"tokenizer": "aa"})
    change(study, data_digests={"tokenizer": "bb"})
    said = table(ablate("report", study), study)
    assert "image and text, seed 1: digests of tokenizer differ" in said


# --- Headers, locks and logs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bogus": 1}, "unexpected keyword argument 'bogus'"),
        ({"header_format": 99}, "header_format is 99"),
        ({"study": "../x"}, "'../x' is not a usable name"),
        ({"study": "/x"}, "'/x' is not a usable name"),
        ({"study": "</script>"}, "'</script>' is not a usable name"),
        ({"study": "x\ud800"}, "surrogates not allowed"),
        ({"study": "x\x1b[31m"}, "is not a usable name"),
        ({"margins": {ACCURACY: 10**400}}, "margins does not map endpoints to numbers"),
        ({"margins": {ACCURACY: 1e-300}}, "has to be above zero"),
        ({"ladder": {"image": 10**400}}, "ladder does not map arms"),
        ({"rule": "group_sequential", "looks": [0, 3]}, "2 pairs or more"),
        ({"seeds": []}, "are empty or repeat"),
    ],
)
def test_a_header_that_makes_no_sense(
    ablate: Run, study: Path, sound: Path, changes: dict[str, Any], said: str
) -> None:
    edit_header(study, **changes)
    ran = ablate("compare", study, sound)
    ran.refuses(said)
    checked = ablate("report", "--check", study)
    assert checked.code == 1
    assert said in checked.out
    ablate("report", study).refuses(said)
    assert not (study / "table.md").exists()


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"{}", b"[1]"])
def test_a_header_that_is_none(ablate: Run, study: Path, sound: Path, content: bytes) -> None:
    (study / "study.json").write_bytes(content)
    refused_everywhere(ablate, study, sound, str(study / "study.json"))


def test_no_records(ablate: Run, study: Path, sound: Path) -> None:
    shutil.rmtree(study / "records")
    refused_everywhere(ablate, study, sound, "no records")
    (study / "records").mkdir()
    refused_everywhere(ablate, study, sound, "no records")


def test_a_recipe_that_is_no_yaml_is_compared_as_text(ablate: Run, study: Path, sound: Path) -> None:
    lock(study, recipe="a: 1")
    edit_header(study, recipe="[" * 20_000)
    assert ablate("compare", study, sound).code == 0
    edit_header(study, recipe="a: [\n b: {")
    assert ablate("compare", study, sound).code == 0
    assert "NOT confirmatory" in table(ablate("report", study), study)


def lock(study: Path, **changes: Any) -> None:
    """Lock the study's plan, as if before its first run."""
    (study / "records").rename(study / "away")
    lock_plan(header(records(), **changes), study, now="2000-01-01T00:00:00+00:00", commit="c0ffee")
    (study / "away").rename(study / "records")
    for path in (study / "records").glob("*.json"):
        change(study, path.name, provenance={"started": "2000-01-02T00:00:00+00:00"})


def test_a_lock_edited_by_hand(ablate: Run, study: Path) -> None:
    lock(study)
    assert "nothing of it changed: confirmatory" in table(ablate("report", study), study)
    path = study / LOCK_FILE
    path.write_text(path.read_text(encoding="utf-8").replace("0.05", "0.5"), encoding="utf-8")
    said = table(ablate("report", study), study)
    assert "plan.lock.json was edited after it was written" in said
    assert "NOT confirmatory" in said
    held = json.loads(path.read_text(encoding="utf-8"))
    held["plan"]["seeds"] = 5
    path.write_text(json.dumps(held), encoding="utf-8")
    ablate("report", study).refuses(LOCK_FILE, "seeds or looks of the locked plan are no list")
    path.write_text("[" * 200_000, encoding="utf-8")
    ablate("report", study).refuses(LOCK_FILE, "not a locked plan")


def test_a_log_of_looks_torn_in_half(ablate: Run, study: Path) -> None:
    lock(study)
    (study / LOOKS_FILE).write_text('{"at": "2000-01-01", "pairs": 2, "sta', encoding="utf-8")
    ablate("report", study).refuses(LOOKS_FILE, "not a log of looks", "a line cut short can be deleted")


# --- What is missing or undefined is said


def test_what_is_missing_is_named_and_decides_nothing(ablate: Run, study: Path) -> None:
    (study / "records" / "text-seed0.json").unlink()
    change(study, ONE, status="diverged", scores={})
    for name, value in (("image.shuffled-seed2.json", float("nan")), ("image-seed2.json", float("inf"))):
        change(study, name, scores={ACCURACY: Score(value, 256, True, 0.125)})
    edit_header(study, arms=[*PLANTED, "text.half"], ladder={"text.half": 0.5})
    said = table(ablate("report", study), study)
    for row in (
        "| text, seed 0 | no record |",
        "| image, seed 1 | diverged after step 90 |",
        "| image.shuffled, seed 2, planted/accuracy | score nan |",
        "| image, seed 2, planted/accuracy | score inf |",
        "| text.half, seed 0 | no record |",
    ):
        assert row in said
    assert "None of these is in an average." in said
    assert "helps" not in said.partition("##")[0]
    assert "image is inconclusive" in said
    assert (ablate("report", "--check", study).code, ablate("compare", study, study).code) == (0, 2)


@pytest.mark.parametrize("kind", ["one seed", "no variance", "all tied"])
def test_a_study_that_can_decide_nothing_says_so(ablate: Run, tmp_path: Path, kind: str) -> None:
    values = {arm: [0.5 if kind == "all tied" else scores[0]] * 3 for arm, scores in PLANTED.items()}
    found = records(1) if kind == "one seed" else records(3, values)
    study = write_study(tmp_path / "study", found, header(found))
    said = table(ablate("report", study), study)
    verdict = said.partition("**Verdict.**")[2].partition("\n")[0]
    assert verdict.startswith(" image is inconclusive")
    assert "interval +" not in verdict
    assert not re.search(r"\b(nan|inf)\b", said)
    assert ablate("report", "--check", study).code == 0


# --- Item scores


@pytest.fixture
def with_items(tmp_path: Path) -> Path:
    write_large_study(tmp_path / "large", 2, 4, rows=50)
    return tmp_path / "large"


def test_items_that_are_not_the_records(ablate: Run, with_items: Path) -> None:
    import pandas as pd

    items = with_items / "items"
    (items / "text-seed0.parquet").unlink()
    whole = (items / "text-seed1.parquet").read_bytes()
    (items / "text-seed1.parquet").write_bytes(whole[: len(whole) // 2])
    (items / "text-seed2.parquet").write_bytes(b"")
    frame = pd.read_parquet(items / "text-seed3.parquet")
    frame.loc[frame["task"] == "planted", "value"] = 1.0
    frame.to_parquet(items / "text-seed3.parquet", index=False)
    frame["value"] = float("nan")
    frame.to_parquet(items / "image1-seed0.parquet", index=False)
    said = table(ablate("report", with_items), with_items)
    for part in (
        "items/text-seed0.parquet: no such file",
        "items/text-seed1.parquet: not a file of item scores",
        "items/text-seed2.parquet: not a file of item scores",
        "items/text-seed3.parquet: planted/accuracy: the items give 1, the record says",
        "item scores are not finite numbers",
    ):
        assert part in said
    # The record's score stands, so the report may not say that nothing of it is in an average.
    assert "None of these is in an average." not in said
    assert "the score in the record of such a run stands, and is in the averages" in said


# --- Markup


def test_markup_in_every_name_is_text(ablate: Run, tmp_path: Path) -> None:
    arm, endpoint = '<img src=x onerror=alert(1)>$"|`=cmd', "<script>alert(1)</script>/acc\\input{x}"
    found = [
        run(name, seed, {endpoint: value + seed / 100, "=cmd|' /C calc'!A0/acc": value})
        for name, value in (("text", 0.1), (arm, 0.9), (f"{arm}.captions_only", 0.2))
        for seed in range(3)
    ]
    found = [dataclasses.replace(one, spent=ledger(400)) if one.arm == arm else one for one in found]
    plan = header(
        found,
        {endpoint: 0.05},
        study="=cmd<script>alert(1)",
        primary=endpoint,
        question="</script><script>alert(1)</script>\\input{x}",
        note="</style><b>\x1b]0;owned\x07",
        recipe='a: "</code></script><script>alert(1)"',
    )
    study = write_study(tmp_path / "results" / "study", found, plan)
    ran = ablate("report", study)
    said = table(ran, study)
    assert "\x1b" not in ran.out
    assert not re.search(r"<(script|img|b|/)", said)
    page = (study / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(img|b)\b|</style><b>|<script>alert", page)
    assert page.count("<script>") == 1
    assert re.search(r"script-src (&#39;|')sha256-", page)
    assert "\\input{x" not in (study / "table.tex").read_text(encoding="utf-8")
    for path in study.glob("*.csv"):
        assert not re.search(r"(^|,)\"?[=+@]", path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in study.glob("*.svg"):
        assert "<script" not in path.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
    compared = ablate("compare", study, write_study(tmp_path / "other", found, plan))
    assert compared.code == 0
    assert not re.search(r"<(script|img|b|/)", compared.out)


# --- report --check


def test_check_tells_every_study_and_calibration_and_stops_at_none(ablate: Run, study: Path) -> None:
    results = study.parent
    (study / "records" / ONE).write_bytes(b"")
    bad = results / "calibration"
    bad.mkdir()
    (bad / "settings.json").write_text("{", encoding="utf-8")
    ran = ablate("report", "--check", results)
    assert (ran.code, ran.err) == (1, "")
    assert f"{study}: cannot be rendered" in ran.out
    assert f"{bad}: cannot be rendered" in ran.out


def test_a_calibration_alone_can_be_checked(ablate: Run, tmp_path: Path) -> None:
    out = tmp_path / "calibration"
    assert ablate("calibrate", "--simulate-only", "--studies", 20, "--out", out).code == 0
    ran = ablate("report", "--check", out)
    assert (ran.code, ran.err) == (0, "")
    assert "0 studies and 1 calibrations are what their records give" in ran.out
    (out / "table.md").write_text("no", encoding="utf-8")
    assert "table.md: not what its settings and records give" in ablate("report", "--check", out).out


def test_stale_files_are_found_and_those_of_a_person_left_alone(ablate: Run, study: Path) -> None:
    assert ablate("report", study).code == 0
    (study / "old.csv").write_text("x", encoding="utf-8")
    (study / "README.md").write_text("why", encoding="utf-8")
    ran = ablate("report", "--check", study)
    assert ran.code == 1
    assert "old.csv: no rendering makes this file" in ran.out
    assert "README" not in ran.out


def test_a_folder_that_cannot_be_written(ablate: Run, study: Path) -> None:
    study.chmod(0o500)
    try:
        probe = study / "probe"
        try:
            probe.touch()
        except OSError:
            ablate("report", study).refuses("Permission denied", str(study))
        else:
            probe.unlink()
            pytest.skip("this user may write to a read-only folder: it is root")
    finally:
        study.chmod(0o700)
