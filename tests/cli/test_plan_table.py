"""What the plan's tables say where a recipe asks for it, and leave out where it does not."""

import re
from collections.abc import Callable

import pytest
from frozen_patches import FrozenPatches

import encoders.registry
from ablate.budget.plan import plan_study
from ablate.materials import Materials
from ablate.show import count_shown, show_plans

ROW = r"│ ([\w.]+) +" + 9 * r"│ +(\S+(?: \w+)?) +" + "│"
"""A line of the plan's first table with a tenth column."""


def printed(materials: Materials, capsys: pytest.CaptureFixture[str]) -> str:
    plans = plan_study(materials)
    show_plans(materials.recipe, plans, {plan.arm.name: 1.0 for plan in plans}, 1)
    return capsys.readouterr().out


def test_text_that_is_repeated_has_a_column_where_an_arm_repeats_some(
    prepared: Callable[..., Materials], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "again" not in printed(prepared(), capsys)
    materials = prepared("arms.image.controls=[repeat_text]")
    plan = plan_study(materials)[-1]
    assert plan.ledger.repeated_tokens > 0
    shown = printed(materials, capsys)
    assert "again" in shown
    rows = {cells[0]: cells[1:] for cells in re.findall(ROW, shown)}
    assert rows["image.repeat_text"][4] == count_shown(plan.ledger.repeated_tokens)
    assert rows["text"][4] == "0"


def test_what_is_charged_once_is_said_beside_the_cost_of_a_step(
    prepared: Callable[..., Materials],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FrozenPatches.feature_width == 0
    monkeypatch.setitem(encoders.registry.ENCODERS, "frozen", "frozen_patches:FrozenPatches")
    frozen = "streams.pictures.encoder.name=frozen"
    assert "charged once" not in printed(prepared(frozen), capsys)
    materials = prepared(frozen, "budget.encoder_cost=once")
    once = next(plan for plan in plan_study(materials) if plan.arm.name == "image").flops_once
    said = f"image {count_shown(once['features/pictures'])} (features/pictures)"
    shown = " ".join(printed(materials, capsys).split())
    assert "FLOPs charged once, beside the steps:" in shown
    assert said in shown
    assert "text " not in shown.split("FLOPs charged once")[1].split(".")[0]


def test_the_time_of_a_study_counts_further_runs_of_the_baseline_and_says_what_devices_are_taken_to_share(
    prepared: Callable[..., Materials], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = " ".join(printed(prepared("arms.image.controls=[]", "seeds=[0,1,2]"), capsys).split())
    assert "2 arms x 3 seeds = 6 runs; about 6 s with 1 at a time, before" in plain
    more = ["endpoints.covariate=score", "endpoints.baseline_seeds=[7, 8, 9]", "train.devices=2"]
    said = " ".join(printed(prepared("arms.image.controls=[]", "seeds=[0,1,2]", *more), capsys).split())
    assert "6 runs, and 3 of the baseline alone; about 9 s with 1 at a time, as if 2 devices" in said
