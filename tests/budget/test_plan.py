"""The budget: pairs are matched before anything is trained, or refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.budget.plan import PlanError, expected_unique, plan_study
from ablate.materials import Materials
from ablate.model import build


def test_every_pair_is_within_one_percent_of_the_budget(prepared: Callable[..., Materials]) -> None:
    plans = plan_study(prepared("budget.steps=200"))
    base = plans[0].ledger.total_flops
    assert {plan.arm.name for plan in plans} == {"text", "image", "image.captions_only", "image.shuffled"}
    for plan in plans:
        assert abs(plan.ledger.total_flops / base - 1) <= 0.01


def test_a_control_inherits_the_steps_of_its_arm_and_its_charge(materials: Materials) -> None:
    plans = {plan.arm.name: plan for plan in plan_study(materials)}
    for control in ("image.captions_only", "image.shuffled"):
        assert plans[control].steps == plans["image"].steps
        assert plans[control].ledger.flops == plans["image"].ledger.flops
    assert plans["image.shuffled"].ledger.flops_executed == plans["image"].ledger.flops_executed
    assert plans["image.captions_only"].ledger.flops_executed < plans["image"].ledger.flops_executed


def test_an_encoder_is_paid_for_in_steps(prepared: Callable[..., Materials]) -> None:
    vit = "streams.pictures.encoder={name: vit, image_size: 32, patch_size: 16, width: 64, layers: 4}"
    plans = {plan.arm.name: plan for plan in plan_study(prepared("budget.steps=400", vit))}
    assert plans["image"].steps < 0.9 * plans["text"].steps
    assert plans["image"].flops_per_step["encoder/pictures"] > 0


def test_matching_positions_gives_every_arm_the_same_steps(prepared: Callable[..., Materials]) -> None:
    plans = plan_study(prepared("budget.match=positions"))
    assert {plan.steps for plan in plans} == {60}
    assert len({plan.ledger.positions for plan in plans}) == 1


def test_matching_text_tokens_gives_every_arm_the_same_text(prepared: Callable[..., Materials]) -> None:
    plans = plan_study(prepared("budget.match=text_tokens"))
    assert len({plan.ledger.text_tokens for plan in plans}) == 1
    assert plans[1].ledger.total_flops > 1.5 * plans[0].ledger.total_flops


def test_a_cap_on_unique_text_leaves_the_budget_and_shows_in_the_ledger(
    prepared: Callable[..., Materials],
) -> None:
    whole, capped = prepared(), prepared("streams.text.max_tokens=2000")
    there, kept = (len(one.text["text"].tokens) for one in (whole, capped))
    assert there > 3000 > 2000 >= kept > 1900
    assert whole.digests["tokenizer"] == capped.digests["tokenizer"]
    before, after = (plan_study(one)[0].ledger for one in (whole, capped))
    assert after.total_flops == before.total_flops
    assert after.unique_text_tokens <= 2000 * 1.1 < before.unique_text_tokens
    assert after.text_epochs == pytest.approx(before.text_epochs * there / kept, rel=0.05)


def test_a_pair_that_whole_steps_cannot_match_is_refused(prepared: Callable[..., Materials]) -> None:
    vit = "streams.pictures.encoder={name: vit, image_size: 32, patch_size: 16, width: 64, layers: 4}"
    with pytest.raises(PlanError, match=r"differ from text by more than 1%: image"):
        plan_study(prepared("budget.steps=3", vit))


def test_a_budget_too_small_for_one_step_says_what_a_step_costs(prepared: Callable[..., Materials]) -> None:
    with pytest.raises(PlanError, match="one step of the baseline costs"):
        plan_study(prepared("budget.steps=0", "budget.flops=1000.0"))


def test_a_budget_that_an_encoder_eats_up_says_whose_and_how_much(
    prepared: Callable[..., Materials],
) -> None:
    tower = "streams.pictures.encoder={name: vit, image_size: 64, patch_size: 8, width: 512, layers: 12}"
    with pytest.raises(
        PlanError, match=r"pays for 0\.\d+ steps of image; .* of them for its encoders: raise"
    ):
        plan_study(
            prepared("budget.steps=1", "streams.pictures.items_per_row=1", tower, "model.context_length=80")
        )


def test_flops_and_steps_state_the_same_budget(prepared: Callable[..., Materials]) -> None:
    by_steps = plan_study(prepared("budget.steps=100"))
    flops = float(by_steps[0].ledger.total_flops)
    by_flops = plan_study(prepared("budget.steps=0", f"budget.flops={flops}"))
    assert [plan.steps for plan in by_flops] == [plan.steps for plan in by_steps]


@given(st.floats(0.05, 1.0), st.floats(0.1, 5.0))
def test_expected_unique_text_is_exact_where_it_can_be(share: float, epochs: float) -> None:
    available = 1000.0
    advanced = epochs * available
    unique = expected_unique(share * advanced, advanced, available)
    assert unique <= available + 1e-6
    if epochs <= 1.0:
        assert unique == pytest.approx(share * advanced)
    if share == 1.0 and epochs >= 1.0:
        assert unique == pytest.approx(available)


def test_an_arm_that_shares_no_text_with_the_baseline_is_refused(prepared: Callable[..., Materials]) -> None:
    with pytest.raises(PlanError, match=r"only, only.shuffled share no row of text with text"):
        plan_study(prepared("arms.only={mixture: {pictures: 1.0}, controls: [shuffled]}"))


def test_encoders_are_built_once_for_all_arms_of_a_plan(
    materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, built = build.build_encoder, []

    def counted(settings, width):  # type: ignore[no-untyped-def]
        built.append(settings["name"])
        return original(settings, width)

    monkeypatch.setattr(build, "build_encoder", counted)
    assert len(plan_study(materials)) == 4
    assert built == ["patches"]


@pytest.mark.parametrize("match", ["flops", "text_tokens", "positions"])
def test_a_rung_of_the_ladder_spends_its_share_of_the_baseline_and_is_not_matched(
    prepared: Callable[..., Materials], match: str
) -> None:
    plans = {
        plan.arm.name: plan for plan in plan_study(prepared("ladder=[0.5, 1.5]", f"budget.match={match}"))
    }
    assert [plans[name].steps for name in ("text", "text.x0.5", "text.x1.5")] == [60, 30, 90]
    base = plans["text"].ledger
    for share in (0.5, 1.5):
        ledger = plans[f"text.x{share}"].ledger
        assert ledger.total_flops == share * base.total_flops
        assert ledger.text_tokens == pytest.approx(share * base.text_tokens, abs=1)
        assert ledger.media_positions == 0


def test_a_ladder_moves_no_other_arm_by_one_step(prepared: Callable[..., Materials]) -> None:
    plain = plan_study(prepared())
    laddered = [plan for plan in plan_study(prepared("ladder=[0.5]")) if plan.arm.budget_share == 1]
    assert laddered == plain


def test_a_ladder_does_not_excuse_an_arm_that_is_not_matched(prepared: Callable[..., Materials]) -> None:
    vit = "streams.pictures.encoder={name: vit, image_size: 32, patch_size: 16, width: 64, layers: 4}"
    with pytest.raises(PlanError, match=r"differ from text by more than 1%: image") as error:
        plan_study(prepared("budget.steps=3", "ladder=[2]", vit))
    assert "text.x2.0" not in str(error.value)


@pytest.mark.parametrize(("ladder", "other"), [("[1.001]", "text"), ("[0.5, 0.501]", "text.x0.5")])
def test_rungs_that_whole_steps_cannot_tell_apart_are_refused(
    prepared: Callable[..., Materials], ladder: str, other: str
) -> None:
    with pytest.raises(PlanError, match=rf"and {other} both come to \d+ steps"):
        plan_study(prepared(f"ladder={ladder}"))


def test_a_rung_below_one_step_or_beyond_all_steps_is_refused(prepared: Callable[..., Materials]) -> None:
    with pytest.raises(PlanError, match=r"pays for 0\.06 steps of text.x0.001"):
        plan_study(prepared("ladder=[0.001]"))
    with pytest.raises(PlanError, match=r"the budget of text.x1e\+308 is beyond any number"):
        plan_study(prepared("ladder=[1.0e+308]"))
