"""An arm is contrasted with each of its controls, whatever the control does to the media rows."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from ablate.recipe.schema import Control, Recipe
from ablate.stats.pairing import check_pair
from ablate.study.run import execute
from ablate.study.study import Places, prepare_study


@pytest.mark.parametrize("match", ["flops", "text_tokens"])
def test_a_media_arm_is_a_pair_with_each_of_its_controls(
    tiny: Callable[..., Recipe], cache: Path, tmp_path: Path, match: str
) -> None:
    controls = get_args(Control)
    recipe = tiny(
        f"arms.image.controls=[{', '.join(controls)}]",
        "seeds=[0]",
        f"budget.match={match}",
        "tasks.prose=null",
    )
    places = Places(tmp_path / "store", cache, tmp_path / "results")
    records = {job.arm: execute(job) for job in prepare_study(recipe, places, threads=1).jobs}
    assert set(records) == {"text", "image", *(f"image.{control}" for control in controls)}
    for control in controls:
        check_pair(records["image"], records[f"image.{control}"], match)
        check_pair(records[f"image.{control}"], records["text"], match)
