"""Arms expand with their placebos, and shares become whole rows or are refused with what would work."""

import re
from math import fsum

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ablate.recipe.arms import columns_per_microbatch, expand_arms
from ablate.recipe.schema import (
    Arm,
    ArmConfig,
    BudgetConfig,
    EndpointsConfig,
    Match,
    Modality,
    Recipe,
    StreamConfig,
)

MODALITY: dict[str, Modality] = {"text": "text", "other": "text", "image": "image", "photo": "image"}


def recipe_with(arms: dict[str, ArmConfig]) -> Recipe:
    return Recipe(
        study="s",
        question="q",
        seeds=[0],
        streams={name: StreamConfig(modality=kind, paths=["x"]) for name, kind in MODALITY.items()},
        arms=arms,
        baseline="text",
        endpoints=EndpointsConfig(primary="t/m", margins={"t/m": 1.0}),
        tasks={},
        budget=BudgetConfig(steps=1),
    )


def test_each_arm_is_followed_by_its_controls_in_the_order_of_the_recipe() -> None:
    mixture = {"text": 0.75, "image": 0.25}
    arms = expand_arms(
        recipe_with(
            {
                "zebra": ArmConfig(mixture, controls=["shuffled", "captions_only"], media_loss=0.5),
                "text": ArmConfig({"text": 1.0}),
            }
        )
    )
    assert arms == [
        Arm("zebra", mixture, 0.5),
        Arm("zebra.shuffled", mixture, 0.5, "shuffled", "zebra"),
        Arm("zebra.captions_only", mixture, 0.0, "captions_only", "zebra"),
        Arm("text", {"text": 1.0}),
    ]


def test_a_control_without_media_regresses_none() -> None:
    arms = expand_arms(
        recipe_with({"i": ArmConfig({"image": 1.0}, controls=["captions_only"], media_loss=2.0)})
    )
    assert [arm.media_loss for arm in arms] == [2.0, 0.0]


@pytest.mark.parametrize(
    ("match", "mixture", "rows", "columns"),
    [
        ("flops", {"text": 1.0}, 8, {"text": 8}),
        ("flops", {"image": 0.25, "text": 0.75}, 8, {"text": 6, "image": 2}),
        ("positions", {"photo": 0.25, "other": 0.25, "image": 0.25, "text": 0.25}, 4,
         {"other": 1, "text": 1, "photo": 1, "image": 1}),
        ("flops", {"image": 1.0}, 4, {"image": 4}),
        ("text_tokens", {"text": 1.0}, 8, {"text": 8}),
        ("text_tokens", {"text": 0.8, "image": 0.2}, 8, {"text": 8, "image": 2}),
        ("text_tokens", {"image": 0.5, "text": 0.25, "other": 0.25}, 4, {"text": 2, "other": 2, "image": 4}),
        ("flops", {"text": 0.6666666667, "image": 0.3333333333}, 48, {"text": 32, "image": 16}),
    ],
)  # fmt: skip
def test_shares_become_rows_with_text_first(
    match: Match, mixture: dict[str, float], rows: int, columns: dict[str, int]
) -> None:
    found = columns_per_microbatch(mixture, MODALITY, match, rows)
    assert list(found.items()) == list(columns.items())


def test_broken_rows_are_refused_with_the_nearest_shares() -> None:
    with pytest.raises(ValueError, match=r"would hold text 6\.4, image 1\.6") as caught:
        columns_per_microbatch({"text": 0.8, "image": 0.2}, MODALITY, "flops", 8)
    assert "{text: 0.75, image: 0.25} (6 + 2 rows)" in str(caught.value)


def test_a_share_too_small_for_one_row_is_refused_and_one_row_is_offered() -> None:
    with pytest.raises(ValueError, match=r"\{text: 0\.75, image: 0\.25\}"):
        columns_per_microbatch({"text": 1 - 1e-7, "image": 1e-7}, MODALITY, "flops", 4)


def test_a_media_row_is_offered_beside_the_text_rows_where_the_share_is_too_small_for_one() -> None:
    with pytest.raises(ValueError, match=r"\{text: 0\.8, image: 0\.2\} \(4 \+ 1 rows\)"):
        columns_per_microbatch({"text": 0.99, "image": 0.01}, MODALITY, "text_tokens", 4)


def test_more_streams_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 streams need at least 3 rows"):
        columns_per_microbatch({"text": 0.5, "image": 0.25, "photo": 0.25}, MODALITY, "flops", 2)


def test_matching_text_tokens_needs_text() -> None:
    with pytest.raises(ValueError, match="needs a text stream"):
        columns_per_microbatch({"image": 1.0}, MODALITY, "text_tokens", 4)


def test_shares_that_do_not_add_up_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 0\.75"):
        columns_per_microbatch({"text": 0.5, "image": 0.25}, MODALITY, "flops", 4)


ROWS = st.dictionaries(st.sampled_from(sorted(MODALITY)), st.integers(1, 200), min_size=1)
MATCH: st.SearchStrategy[Match] = st.sampled_from(["flops", "positions", "text_tokens"])


@given(rows=ROWS, match=MATCH)
def test_shares_made_from_rows_give_those_rows_back(rows: dict[str, int], match: Match) -> None:
    text = sum(count for name, count in rows.items() if MODALITY[name] == "text")
    total = sum(rows.values())
    assume(match != "text_tokens" or text)
    mixture = {name: count / total for name, count in rows.items()}
    microbatch = text if match == "text_tokens" else total
    assert columns_per_microbatch(mixture, MODALITY, match, microbatch) == rows


@given(
    weights=st.dictionaries(st.sampled_from(sorted(MODALITY)), st.floats(0.001, 1), min_size=1),
    match=MATCH,
    microbatch=st.integers(1, 64),
)
def test_columns_add_up_or_the_shares_named_instead_work(
    weights: dict[str, float], match: Match, microbatch: int
) -> None:
    total = fsum(weights.values())
    mixture = {name: weight / total for name, weight in weights.items()}
    filling = [name for name in mixture if match != "text_tokens" or MODALITY[name] == "text"]
    assume(filling)
    try:
        columns = columns_per_microbatch(mixture, MODALITY, match, microbatch)
    except ValueError as error:
        named = re.search(r"\{(.*)\} \(", str(error))
        if named is None:
            assert len(filling) > microbatch
            return
        mixture = {name: float(share) for name, share in (item.split(": ") for item in named[1].split(", "))}
        assert set(mixture) == set(weights)
        columns = columns_per_microbatch(mixture, MODALITY, match, microbatch)
    assert sum(columns[name] for name in filling) == microbatch
    assert min(columns.values()) >= 1
