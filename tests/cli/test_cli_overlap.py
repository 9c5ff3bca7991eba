"""`ablate overlap` counts and lists; `ablate check` says it too."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

from own_study import OwnStudy, Ran, write_lines

SAID = "=cmd|' /C calc'!A0 and thirteen more words so that this long sentence can be told apart from others"


def test_overlap_is_counted_and_listed(
    ablate: Callable[..., Ran], own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    documents = (own.data / "text.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in documents]
    write_lines(own.data / "text.jsonl", [*({"text": text} for text in texts), {"text": f"Once {SAID}"}])
    questions = [{"question": SAID, "choices": ["yes", "no"], "label": 0}]
    write_lines(own.data / "questions.jsonl", questions)
    listing = tmp_path / "new" / "overlap.csv"
    ran = ablate("overlap", own.recipe, "--out", listing, "--cache", cache)
    assert (ran.code, ran.err) == (0, "")
    (row,) = [line for line in ran.out.splitlines() if line.startswith("│ text") and "questions" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["text", "questions", "1", "1", "0", f"1 of {len(texts) + 1} documents"]
    with listing.open(encoding="utf-8", newline="") as file:
        (found,) = [row for row in csv.DictReader(file) if row["task"] == "questions"]
    assert found["first in"] == f"text.jsonl:{len(texts)}"
    assert found["shared words"].startswith("cmd c calc a0 and thirteen more words")
    checked = ablate("check", own.recipe, "--cache", cache)
    assert "overlap: questions: 1 of 1 items share 13 words in a row with stream text" in checked.out


def test_a_listing_writes_no_formula(
    ablate: Callable[..., Ran], own: OwnStudy, cache: Path, tmp_path: Path
) -> None:
    """The key of a sample is text of strangers, as is the name of an item."""
    write_lines(own.data / "text.jsonl", [{"text": f"{SAID} {number}"} for number in range(60)])
    questions = [{"question": SAID, "choices": ["yes", "no"], "label": 0, "name": "=1+1"}]
    write_lines(own.data / "questions.jsonl", questions)
    listing = tmp_path / "overlap.csv"
    own.rewrite("questions: {kind", '"questions": {id_field: name, kind')
    assert ablate("overlap", own.recipe, "--out", listing, "--cache", cache).code == 0
    rows = list(csv.reader(listing.open(encoding="utf-8", newline="")))
    assert len(rows) > 1
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
