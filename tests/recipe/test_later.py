"""Keys that came after studies were published leave older recipes' digests and texts as they were."""

from pathlib import Path

import pytest

from ablate.recipe.checks import check_recipe
from ablate.recipe.later import GROUPS
from ablate.recipe.load import dump_recipe, load_recipe, recipe_digest
from ablate.recipe.schema import Recipe
from ablate.report.load import read_header

ROOT = Path(__file__).parents[2]
AA = ROOT / "recipes" / "aa.yaml"


def aa(*overrides: str) -> Recipe:
    return load_recipe(AA, overrides)


PINNED = {
    "quickstart": "0f0f897bedf26c17e1b8d79a896e0b4c",
    "calibration/aa": "f1ed05cbc82336d145cb56d0cc83b4e6",
}
"""Published study to the digest of its recipe before there was any later key."""


@pytest.mark.parametrize("study", PINNED)
def test_a_published_recipe_keeps_its_digest_and_gets_no_new_line(study: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(read_header(ROOT / "results" / study).recipe, encoding="utf-8")
    loaded = load_recipe(tmp_path / "recipe.yaml")
    assert recipe_digest(loaded) == PINNED[study]
    dumped = dump_recipe(loaded)
    assert not [name for _, _, names in GROUPS for name in names if f"  {name}:" in dumped]


def test_a_later_key_that_says_something_is_written_out_and_changes_the_digest(tmp_path: Path) -> None:
    asked = aa("train.average=ema")
    assert recipe_digest(asked) != recipe_digest(aa())
    assert "average_half_life" in dump_recipe(asked)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(asked), encoding="utf-8")
    assert recipe_digest(load_recipe(tmp_path / "recipe.yaml")) == recipe_digest(asked)


def test_every_later_key_is_a_key_with_a_default() -> None:
    for block, kind, names in GROUPS:
        assert names
        assert isinstance(getattr(aa(), block), kind)
        for name in names:
            assert hasattr(getattr(aa(), block), name)


FURTHER = "endpoints.baseline_seeds=[10,11,12]"


@pytest.mark.parametrize("name", ["score", "loss@0.1", "loss@.25", "loss@1"])
def test_a_covariate_of_the_baseline_with_further_seeds_is_accepted(name: str) -> None:
    recipe = aa(f"endpoints.covariate={name}", FURTHER, "endpoints.covariate_slope=-0.2")
    assert recipe.endpoints.covariate == name


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["endpoints.covariate=difference of loss@0.1", FURTHER], "what an arm can move"),
        (["endpoints.covariate=loss@0", FURTHER], "loss@SHARE"),
        (["endpoints.covariate=loss@1.5", FURTHER], "loss@SHARE"),
        (["endpoints.covariate=score"], "cancels from the mean gain"),
        (["endpoints.covariate=score", "endpoints.baseline_seeds=[4,10]"], "none of them among seeds"),
        (["endpoints.covariate=score", FURTHER, "stopping.rule=anytime"], "may stop early"),
        (["endpoints.covariate=score", FURTHER, "seeds=[0,1]"], "3 seeds or more"),
        ([FURTHER], "none without endpoints.covariate"),
        (["train.average_from=1.0"], "train.average_from"),
        (["train.average_half_life=0"], "train.average_half_life"),
        (["train.average_checkpoints=0"], "train.average_checkpoints"),
        (["train.average=ema", "train.strategy=fsdp", "train.devices=2"], "sharded weights are not averaged"),
        (["train.average=swa"], "train.average"),
    ],
)
def test_a_covariate_that_an_arm_can_move_and_one_that_cancels_are_refused(
    overrides: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        aa(*overrides)


def test_a_sound_recipe_has_no_findings() -> None:
    assert check_recipe(aa(), str(AA)) == []
