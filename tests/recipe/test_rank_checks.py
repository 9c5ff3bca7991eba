"""Rows are shared out among ranks in whole microbatches, and do not depend on the ranks."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.recipe.load import dump_recipe, recipe_digest
from ablate.recipe.rank_checks import ranks
from ablate.recipe.schema import (
    ArmConfig,
    BudgetConfig,
    EndpointsConfig,
    Recipe,
    StreamConfig,
    TrainConfig,
)


def recipe(**train: Any) -> Recipe:
    return Recipe(
        study="large",
        question="Does it help?",
        seeds=[0],
        streams={"text": StreamConfig("text", ["text.jsonl"])},
        arms={"text": ArmConfig({"text": 1.0})},
        baseline="text",
        endpoints=EndpointsConfig("heldout/bits_per_byte", {"heldout/bits_per_byte": 0.01}),
        tasks={"heldout": {"kind": "bits_per_byte", "paths": ["heldout.jsonl"]}},
        budget=BudgetConfig(steps=100),
        train=TrainConfig(**train),
    )


def refused(**train: Any) -> list[tuple[str, str]]:
    """Keys that are refused, each with the value that is named as nearest."""
    return [(key, hint) for key, _, _, hint, _ in ranks(recipe(**train))]


@given(st.integers(1, 200), st.integers(0, 50), st.integers(1, 4), st.integers(1, 3))
def test_what_is_let_through_gives_every_rank_whole_microbatches(
    rows: int, held: int, devices: int, nodes: int
) -> None:
    number = devices * nodes
    if number == 1 or refused(rows=rows, microbatch_rows=held, devices=devices, nodes=nodes):
        return
    # A microbatch that does not divide the rows is refused by the check of `train.microbatch_rows` itself.
    assert (held and rows % held) or (rows // held) % number == 0


@given(st.integers(1, 200), st.integers(0, 50), st.integers(2, 8))
def test_the_nearest_that_is_named_is_let_through(rows: int, held: int, devices: int) -> None:
    train = {"rows": rows, "microbatch_rows": held, "devices": devices}
    for _ in range(2):
        for key, hint in refused(**train):
            train[key.partition(".")[2]] = int(hint.removeprefix("nearest "))
    assert refused(**train) == []


def test_the_microbatch_is_stated_so_that_more_ranks_never_change_the_rows() -> None:
    assert refused(rows=32, devices=4) == [("train.microbatch_rows", "nearest 8")]
    assert refused(rows=32, devices=1) == []
    assert refused(rows=30, microbatch_rows=5, devices=4) == [("train.rows", "nearest 32")]


def test_an_average_of_sharded_weights_is_refused() -> None:
    held = {"rows": 8, "microbatch_rows": 4, "devices": 2, "average": "ema"}
    assert refused(**held) == []
    assert refused(**held, strategy="fsdp") == [("train.average", "or strategy: ddp")]


@pytest.mark.parametrize("key", ["devices", "nodes", "strategy"])
def test_a_recipe_that_says_nothing_of_ranks_keeps_its_digest_and_its_text(key: str) -> None:
    plain = recipe()
    assert f"{key}:" not in dump_recipe(plain)
    other = replace(plain, train=replace(plain.train, **{key: "fsdp" if key == "strategy" else 2}))
    assert recipe_digest(other) != recipe_digest(plain)
