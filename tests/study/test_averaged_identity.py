"""An average of the weights makes another run; settings of one that is not asked for make none."""

from dataclasses import replace
from typing import Any

from ablate.budget.plan import plan_study
from ablate.materials import Materials
from ablate.study.identity import resolved_arm, run_identity


def test_only_settings_that_take_effect_enter_the_identity(materials: Materials) -> None:
    plan = plan_study(materials)[0]

    def identity(**train: Any) -> str:
        recipe = replace(materials.recipe, train=replace(materials.recipe.train, **train))
        return run_identity(replace(materials, recipe=recipe), plan, 0)

    plain = identity()
    assert identity(average_from=0.5, average_checkpoints=3) == plain
    ema = identity(average="ema")
    assert ema != plain
    assert identity(average="ema", average_checkpoints=3) == ema
    assert identity(average="ema", average_from=0.5) != ema
    assert not [key for key in resolved_arm(materials, plan)["train"] if "average" in key]
