"""The contrast of a difference is the difference in differences; nothing stands in for what is missing."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from fabricated import header, run, write_study
from hypothesis import given
from hypothesis import strategies as st

from ablate.record import RecordError, Score
from ablate.report.load import StudyError, load_records, read_header
from ablate.stats.contrasts import contrasts
from ablate.stats.differences import difference, with_differences

CONCRETE, ABSTRACT = "heldout/bits_per_byte.concrete", "heldout/bits_per_byte.abstract"
GROUNDED = "difference/grounded"
DEFINED = {"grounded": [CONCRETE, ABSTRACT]}

bits = st.floats(0.5, 8.0)


def study(values: dict[str, list[tuple[float, float]]], margin: float = 0.05):
    """Records with the two scores of each arm and seed, and a header that judges their difference."""
    records = [
        run(arm, seed, {CONCRETE: first, ABSTRACT: second})
        for arm, pairs in values.items()
        for seed, (first, second) in enumerate(pairs)
    ]
    plan = header(records, {GROUNDED: margin}, primary=GROUNDED, differences=DEFINED)
    return records, plan


def the_contrast(records, plan, endpoint=GROUNDED, arm="image"):
    found = contrasts(with_differences(records, plan), plan)
    return next(one for one in found if (one.arm, one.reference, one.endpoint) == (arm, "text", endpoint))


@given(st.lists(st.tuples(st.tuples(bits, bits), st.tuples(bits, bits)), min_size=2, max_size=6))
def test_its_contrast_is_the_gain_on_the_first_less_the_gain_on_the_second_seed_by_seed(rows) -> None:
    records, plan = study({"text": [row[0] for row in rows], "image": [row[1] for row in rows]})
    gains = {
        endpoint: the_contrast(records, plan, endpoint).sample for endpoint in (GROUNDED, CONCRETE, ABSTRACT)
    }
    first, second = gains[CONCRETE], gains[ABSTRACT]
    assert gains[GROUNDED].seeds == first.seeds == tuple(range(len(rows)))
    for place in range(len(rows)):
        # Bits per byte: fewer are better, so a gain is the reference less the treated.
        expected = (first.reference[place] - first.treated[place]) - (
            second.reference[place] - second.treated[place]
        )
        found = gains[GROUNDED].reference[place] - gains[GROUNDED].treated[place]
        assert found == pytest.approx(expected, abs=1e-12)
    assert the_contrast(records, plan).estimate.mean_gain == pytest.approx(
        the_contrast(records, plan, CONCRETE).estimate.mean_gain
        - the_contrast(records, plan, ABSTRACT).estimate.mean_gain,
        abs=1e-12,
    )


def test_pictures_that_help_concrete_words_only_get_a_confirmatory_verdict_on_the_difference() -> None:
    text = [(2.00, 2.10), (2.02, 2.11), (1.99, 2.09), (2.01, 2.12), (2.00, 2.11)]
    image = [(a - 0.20 - 0.001 * seed, b - 0.01) for seed, (a, b) in enumerate(text)]
    found = the_contrast(*study({"text": text, "image": image}))
    assert found.confirmatory
    assert found.verdict == "helps"
    assert found.estimate.mean_gain == pytest.approx(0.192)


def test_pictures_that_help_all_words_alike_are_equivalent_on_the_difference_and_help_on_both() -> None:
    text = [(2.00, 2.10), (2.02, 2.11), (1.99, 2.09), (2.01, 2.12), (2.00, 2.11)]
    image = [(a - 0.30 + 0.001 * seed, b - 0.30 - 0.001 * seed) for seed, (a, b) in enumerate(text)]
    records, plan = study({"text": text, "image": image})
    plan = dataclasses.replace(plan, margins={GROUNDED: 0.05, CONCRETE: 0.05, ABSTRACT: 0.05})
    assert the_contrast(records, plan).verdict == "equivalent"
    assert the_contrast(records, plan, CONCRETE).verdict == "helps"
    assert the_contrast(records, plan, ABSTRACT).verdict == "helps"


def test_a_derived_score_has_the_direction_of_its_parts_the_fewer_items_and_no_chance() -> None:
    parts = {"a": Score(0.75, 40, True, 0.5), "b": Score(0.5, 30, True, 0.25)}
    assert difference(parts, "a", "b") == Score(0.25, 30, True, None)
    assert difference(parts, "b", "a") == Score(-0.25, 30, True, None)


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({CONCRETE: 2.0}, f"{ABSTRACT} has no score"),
        ({"heldout/bits_per_byte": 2.0}, f"{CONCRETE} has no score, {ABSTRACT} has no score"),
        ({CONCRETE: math.nan, ABSTRACT: 2.0}, f"{CONCRETE} scored nan"),
        ({CONCRETE: 2.0, ABSTRACT: math.inf}, f"{ABSTRACT} scored inf"),
        ({CONCRETE: 1.7e308, ABSTRACT: -1.7e308}, f"{CONCRETE} less {ABSTRACT} is inf"),
        (
            {CONCRETE: Score(2.0, 4, False), ABSTRACT: Score(2.0, 4, True)},
            f"of {CONCRETE} and {ABSTRACT}, higher is better in one and lower in the other",
        ),
    ],
)
def test_a_difference_without_its_parts_is_left_out_with_a_reason(scores, reason: str) -> None:
    records, plan = study({"text": [(2.0, 2.1)] * 3, "image": [(1.9, 2.1)] * 3})
    records[-1] = run("image", 2, scores)
    derived = with_differences(records, plan)
    assert GROUNDED not in derived[-1].scores
    assert derived[-1].notes == [f"{GROUNDED} is left out: {reason}"]
    assert derived[-1].scores == records[-1].scores or any(
        math.isnan(score.value) for score in records[-1].scores.values()
    )
    assert all(GROUNDED in record.scores and not record.notes for record in derived[:-1])
    # Records that disagree on a direction are refused as a whole; scores of 1e308 have no finite sd.
    if "higher is better" not in reason and " less " not in reason:
        found = the_contrast(records, plan)
        assert [exclusion.seed for exclusion in found.excluded] == [2]
        assert found.verdict == "inconclusive"


def test_a_diverged_run_is_left_as_it_is_and_named_as_diverged() -> None:
    records, plan = study({"text": [(2.0, 2.1)] * 3, "image": [(1.9, 2.1)] * 3})
    records[-1] = run("image", 2, {}, status="diverged")
    assert with_differences(records, plan)[-1] == records[-1]
    assert "image diverged" in the_contrast(records, plan).note


def test_records_are_not_changed_and_twice_is_as_once() -> None:
    records, plan = study({"text": [(2.0, 2.1)] * 2, "image": [(1.9, 2.1)] * 2})
    records[0] = run("text", 0, {CONCRETE: 2.0})
    before = repr(records)
    once = with_differences(records, plan)
    assert repr(records) == before
    assert with_differences(once, plan) == once
    assert with_differences(records, header(records)) == records


def test_a_recorded_score_under_the_name_of_a_difference_is_not_taken_for_it() -> None:
    record = run("text", 0, {CONCRETE: 2.0, ABSTRACT: 2.1, GROUNDED: 0.7})
    _, plan = study({"text": [(2.0, 2.1)]})
    with pytest.raises(RecordError, match=f"'text', seed 0: holds a score called '{GROUNDED}'"):
        with_differences([record], plan)


def test_a_header_keeps_its_differences_on_disk_and_refuses_what_is_none(tmp_path: Path) -> None:
    records, plan = study({"text": [(2.0, 2.1)] * 2, "image": [(1.9, 2.1)] * 2})
    folder = write_study(tmp_path / "study", records, plan)
    assert read_header(folder) == plan
    derived = with_differences(load_records(folder, plan), plan)
    assert [record.scores[GROUNDED].value for record in derived] == pytest.approx([-0.1, -0.1, -0.2, -0.2])
    raw = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    for wrong in ({"grounded": [CONCRETE]}, {"grounded": [1, 2]}, [CONCRETE, ABSTRACT]):
        (folder / "study.json").write_text(json.dumps(raw | {"differences": wrong}), encoding="utf-8")
        with pytest.raises(StudyError, match="differences does not map names to two endpoints each"):
            read_header(folder)
    del raw["differences"]
    (folder / "study.json").write_text(json.dumps(raw), encoding="utf-8")
    assert read_header(folder).differences == {}
