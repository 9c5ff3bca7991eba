"""How many runs share a device: what was measured decides, within the device's memory."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from works import Environment

from ablate.executors.placement import (
    MEMORY_SHARE,
    PlacementError,
    Shared,
    best_runs,
    cores,
    fitting,
    placement_key,
    places_per_device,
    read_placement,
    runs_here,
    write_placement,
)
from ablate.executors.registry import ExecutorError, build_executor
from ablate.recipe.schema import Recipe

MEASURED = st.builds(
    Shared,
    runs=st.integers(2, 8),
    threads=st.just(1),
    rate=st.floats(0.1, 10.0),
    peak_bytes=st.integers(1, 1000),
)


@given(
    st.floats(0.1, 10.0),
    st.integers(1, 1000),
    st.lists(MEASURED, unique_by=lambda one: one.runs),
    st.integers(1, 4000),
)
def test_the_fastest_number_of_runs_that_fits_is_taken(
    alone: float, peak: int, shared: list[Shared], memory: int
) -> None:
    measured = [Shared(1, 1, alone, peak), *shared]
    runs = best_runs(measured, memory)
    taken = next(one for one in measured if one.runs == runs)
    assert runs == 1 or runs * taken.peak_bytes <= MEMORY_SHARE * memory
    for one in measured:
        if one.runs * one.peak_bytes <= MEMORY_SHARE * memory:
            assert taken.rate >= one.rate


def test_of_equally_fast_ones_the_fewest_runs_are_taken() -> None:
    assert best_runs([Shared(1, 2, 1.0, 1), Shared(2, 1, 1.5, 1), Shared(4, 1, 1.5, 1)], 1000) == 2


def test_what_is_not_known_limits_nothing() -> None:
    assert fitting(0, 1 << 30) == fitting(1 << 20, 0) == 0
    assert fitting(1 << 40, 1 << 30) == 1, "one run is always tried"


def test_a_measurement_holds_for_recipes_of_its_shape_alone(
    tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny()
    unmeasured = runs_here([recipe], tmp_path)
    assert unmeasured == cores()
    found = [Shared(1, 1, 1.0, 1), Shared(7, 1, 3.0, 1)]
    write_placement(tmp_path, placement_key(recipe, 0), found)
    assert read_placement(tmp_path, placement_key(recipe, 0)) == found
    same = ["seeds=[5]", "study=other", "budget.steps=99", "train.learning_rate=0.5", "tasks.planted.limit=3"]
    for override in same:
        assert runs_here([tiny(override)], tmp_path) == 7, override
    for override in ("model.layers=2", "train.microbatch_rows=8", "arms.image.media_loss=0"):
        assert runs_here([tiny(override)], tmp_path) == unmeasured, override
    assert runs_here([recipe], tmp_path, threads=1) == unmeasured, "measured with other threads"
    assert runs_here([recipe, tiny("model.layers=2")], tmp_path) == min(7, unmeasured), "one pool for both"


def test_runs_over_several_devices_share_them_with_nobody(
    tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny()
    wide = replace(recipe, train=replace(recipe.train, devices=2))
    monkeypatch.setattr("ablate.executors.placement.visible_gpus", lambda: ["0", "1", "2", "3"])
    assert runs_here([recipe], tmp_path) == 4
    assert runs_here([wide], tmp_path) == 2
    write_placement(tmp_path, placement_key(recipe, 0), [Shared(1, 1, 1.0, 1), Shared(3, 1, 3.0, 1)])
    assert places_per_device([recipe, wide], tmp_path) == 3, "what was measured of those of one device"
    assert places_per_device([wide], tmp_path) == 1
    assert places_per_device([recipe, wide], tmp_path, slots=6) == 2


def test_a_measurement_that_cannot_be_read_is_named(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    path = write_placement(tmp_path, placement_key(tiny(), 0), [Shared(1, 1, 1.0, 1)])
    path.write_text("{")
    with pytest.raises(PlacementError, match=re.escape(str(path))):
        runs_here([tiny()], tmp_path)


def test_an_unknown_executor_or_a_stray_address_is_refused() -> None:
    with pytest.raises(ExecutorError, match="'slurm': expected local or ray"):
        build_executor("slurm", 1, 1, work=Environment())
    with pytest.raises(ExecutorError, match=r"10.0.0.1:6379 goes with --executor ray"):
        build_executor("local", 1, 1, "10.0.0.1:6379", work=Environment())
