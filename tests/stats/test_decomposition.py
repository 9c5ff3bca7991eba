"""A media arm's effect is split into parts that add up, and what cannot be split is named."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, ledger, run, runs
from hypothesis import given
from hypothesis import strategies as st

from ablate.record import Pairing, RunRecord
from ablate.report.load import load_records, read_header
from ablate.stats.contrasts import contrasts
from ablate.stats.decomposition import Decomposition, decompositions

RESULTS = Path(__file__).parents[2] / "results"
SUM = ["caption text", "extra positions and regularisation", "grounding"]


def split(
    values: Mapping[str, Sequence[float]],
    margins: Mapping[str, float] | None = None,
    endpoint: str = ACCURACY,
) -> Decomposition:
    records = runs(values, endpoint)
    (found,) = decompositions(records, header(records, margins, primary=endpoint))
    return found


def without(*arms: str) -> dict[str, list[float]]:
    return {arm: scores for arm, scores in PLANTED.items() if arm not in arms}


def names(found: Decomposition) -> list[str]:
    return [part.name for part in found.parts]


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.floats(-1e3, 1e3), min_size=n, max_size=n), min_size=4, max_size=4)
    ),
    st.sampled_from([ACCURACY, BITS]),
)
def test_the_parts_add_up_to_the_total_on_every_seed(scores: list[list[float]], endpoint: str) -> None:
    found = split(dict(zip(PLANTED, scores, strict=True)), {endpoint: 0.05}, endpoint)
    assert names(found) == SUM
    summed = sum(part.sample.gains for part in found.parts)
    assert summed == pytest.approx(found.total.sample.gains, abs=1e-9)
    assert sum(part.estimate.mean_gain or 0.0 for part in found.parts) == pytest.approx(
        found.total.estimate.mean_gain, abs=1e-9
    )


def test_a_planted_effect_is_all_grounding() -> None:
    found = split(PLANTED)
    by_name = {part.name: part.estimate for part in found.parts}
    assert by_name["grounding"].mean_gain == pytest.approx(0.808)
    for other in ("caption text", "extra positions and regularisation"):
        interval = by_name[other].interval95
        assert interval is not None
        assert interval[0] < 0 < interval[1]
    assert found.missing == ()
    assert found.further == ()


def test_every_part_is_the_paired_contrast_of_its_two_arms() -> None:
    records = runs(PLANTED)
    (found,) = decompositions(records, header(records))
    known = {(one.arm, one.reference): one.estimate for one in contrasts(records, header(records))}
    for part in (found.total, *found.parts):
        if (part.arm, part.reference) in known:
            assert part.estimate == known[part.arm, part.reference]
    assert [(part.arm, part.reference) for part in found.parts] == [
        ("image.captions_only", "text"),
        ("image.shuffled", "image.captions_only"),
        ("image", "image.shuffled"),
    ]


def test_bits_that_fall_are_a_gain() -> None:
    falling = {
        arm: [1.0 - 0.1 * place] * 3 for place, arm in enumerate(("text", *list(PLANTED)[2:], "image"))
    }
    found = split({arm: falling[arm] for arm in PLANTED}, {BITS: 0.02}, BITS)
    assert all((part.estimate.mean_gain or 0.0) == pytest.approx(0.1) for part in found.parts)
    assert found.margin == 0.02


def test_a_seed_missing_from_one_control_is_in_no_part_and_is_named_in_each() -> None:
    records = [r for r in runs(PLANTED) if (r.arm, r.seed) != ("image.shuffled", 3)]
    (found,) = decompositions(records, header(records))
    assert found.seeds == (0, 1, 2, 4)
    for part in (found.total, *found.parts):
        assert part.sample.seeds == found.seeds
        (lost,) = part.excluded
        assert (lost.seed, lost.reason, lost.refused) == (3, "image.shuffled has no record", False)
    summed = sum(part.estimate.mean_gain or 0.0 for part in found.parts)
    assert summed == pytest.approx(found.total.estimate.mean_gain)


def test_a_run_that_diverged_or_scored_no_number_is_named_by_what_happened() -> None:
    records = [
        dataclasses.replace(record, status="diverged", scores={})
        if (record.arm, record.seed) == ("text", 0)
        else run(record.arm, 2, {ACCURACY: float("nan")})
        if (record.arm, record.seed) == ("image", 2)
        else record
        for record in runs(PLANTED)
    ]
    (found,) = decompositions(records, header(records))
    assert found.seeds == (1, 3, 4)
    assert {lost.seed: lost.reason for lost in found.total.excluded} == {
        0: "text diverged",
        2: "image scored nan",
    }


def test_a_pair_that_cannot_be_proved_is_refused_in_every_part() -> None:
    records = [
        dataclasses.replace(record, pairing=Pairing("another backbone", record.pairing.text_rows))
        if (record.arm, record.seed) == ("image.captions_only", 1)
        else record
        for record in runs(PLANTED)
    ]
    (found,) = decompositions(records, header(records))
    assert found.seeds == (0, 2, 3, 4)
    (lost,) = found.total.excluded
    assert lost.refused
    assert "initial backbones differ" in lost.reason


def test_without_captions_only_caption_text_and_positions_are_one_part() -> None:
    found = split(without("image.captions_only"))
    assert names(found) == ["caption text + extra positions", "grounding"]
    assert found.missing == (
        "image has no captions_only control: caption text and extra positions cannot be told apart",
    )


def test_without_shuffled_positions_and_grounding_are_one_part() -> None:
    found = split(without("image.shuffled"))
    assert names(found) == ["caption text", "extra positions + grounding"]
    assert found.missing == (
        "image has no shuffled control: extra positions and grounding cannot be told apart",
    )


def test_an_arm_without_controls_has_its_total_and_the_reason_why_no_more() -> None:
    found = split(without("image.shuffled", "image.captions_only"))
    assert found.parts == ()
    assert found.total.estimate.n == 5
    (said,) = found.missing
    assert "neither a captions_only nor a shuffled control" in said


def test_a_planned_control_without_any_score_counts_as_missing_and_is_named() -> None:
    records = [record for record in runs(PLANTED) if record.arm != "image.captions_only"]
    (found,) = decompositions(records, header(runs(PLANTED)))
    assert names(found) == ["caption text + extra positions", "grounding"]
    assert found.missing[0] == (
        f"image.captions_only is planned, and no run of it has a score of {ACCURACY}: it counts as missing"
    )
    assert found.seeds == (0, 1, 2, 3, 4)


def test_other_placebos_estimate_grounding_again_and_stay_out_of_the_sum() -> None:
    values = PLANTED | {
        "image.noise": [0.1] * 5,
        "image.blank": [0.2] * 5,
        "image.repeat_text": [0.3] * 5,
        "image.captions_only_refill": [0.4] * 5,
    }
    records = [record for record in runs(values) if (record.arm, record.seed) != ("image.noise", 0)]
    (found,) = decompositions(records, header(runs(values)))
    assert names(found) == SUM
    assert found.seeds == (0, 1, 2, 3, 4)
    further = {part.reference: (part.name, part.sample.seeds) for part in found.further}
    assert further == {
        "image.noise": ("grounding, estimated against noise", (1, 2, 3, 4)),
        "image.blank": ("grounding, estimated against blank media", found.seeds),
        "image.repeat_text": ("beyond repeated text", found.seeds),
        "image.captions_only_refill": ("beyond refilled captions", found.seeds),
    }


def without_captions(values: Mapping[str, Sequence[float]]) -> list[RunRecord]:
    return [
        dataclasses.replace(record, spent=ledger(record.spent.media_positions, caption_tokens=0))
        for record in runs(values)
    ]


def test_media_without_captions_are_told_by_noise_blank_and_repeated_text() -> None:
    records = without_captions(
        {"text": [0.1, 0.2], "image": [0.5, 0.7], "image.noise": [0.1, 0.2], "image.repeat_text": [0.2, 0.3]}
    )
    (found,) = decompositions(records, header(records))
    assert found.parts == ()
    assert [part.name for part in found.further] == [
        "content of media, against noise",
        "beyond repeated text",
    ]
    (said,) = found.missing
    assert "the media of image have no captions" in said
    assert "noise, repeat_text stand beside it; blank is not there" in said


def test_one_seed_gives_parts_without_intervals() -> None:
    found = split({arm: scores[:1] for arm, scores in PLANTED.items()})
    assert names(found) == SUM
    for part in (found.total, *found.parts):
        assert part.estimate.mean_gain is not None
        assert part.estimate.interval95 is None
        assert part.estimate.remark == "one pair: no interval can be given"


def test_no_common_seed_leaves_empty_parts_and_every_reason() -> None:
    lacking = dict(enumerate(PLANTED))
    records = [
        record for record in runs(PLANTED) if lacking.get(record.seed) != record.arm and record.seed < 4
    ]
    (found,) = decompositions(records, header(runs(PLANTED), seeds=[0, 1, 2, 3]))
    assert found.seeds == ()
    assert len(found.total.excluded) == 4
    assert all(part.estimate.remark == "no complete pair" for part in (found.total, *found.parts))


def test_endpoints_with_a_margin_are_split_and_others_are_not() -> None:
    records = [
        run(arm, seed, {ACCURACY: value, BITS: 1.0 - value, "other/accuracy": value})
        for arm, scores in PLANTED.items()
        for seed, value in enumerate(scores)
    ]
    found = decompositions(records, header(records, {ACCURACY: 0.05, BITS: 0.02}))
    assert [one.endpoint for one in found] == [ACCURACY, BITS]


def test_a_rung_of_the_ladder_is_neither_split_nor_contrasted() -> None:
    rung = [run("text.x0.5", seed, {ACCURACY: 0.1}, control=None, mirrors=None) for seed in range(5)]
    plan = header(runs(PLANTED))
    plan = dataclasses.replace(plan, arms=[*plan.arms, "text.x0.5"], ladder={"text.x0.5": 0.5})
    records = [*runs(PLANTED), *rung]
    assert [one.arm for one in decompositions(records, plan)] == ["image"]
    assert not any("text.x0.5" in (one.arm, one.reference) for one in contrasts(records, plan))


@pytest.mark.parametrize("study", ["quickstart", "planted_all"])
def test_the_parts_of_a_published_study_add_up(study: str) -> None:
    folder = RESULTS / study
    plan = read_header(folder)
    found = decompositions(load_records(folder, plan), plan)
    assert found
    for one in found:
        assert names(one) == SUM
        assert one.missing == ()
        summed = sum(part.sample.gains for part in one.parts)
        assert summed == pytest.approx(one.total.sample.gains, abs=1e-12)
