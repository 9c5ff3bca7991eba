"""Steps from the budget: what every arm will spend, before anything is trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ablate.budget.flops import step_flops
from ablate.budget.ledger import Ledger
from ablate.data.mixture import Columns, Mixture
from ablate.materials import Materials, build_mixture
from ablate.model.build import build_stream_encoders
from ablate.recipe.arms import expand_arms, stream_encoders
from ablate.recipe.schema import Arm, Recipe, without_media
from encoders.base import Encoder

TOLERANCE = 0.01
"""Largest relative difference of the matched quantity within a pair."""


class PlanError(ValueError):
    """The budget cannot be spent as the recipe asks; says why and what would work."""


@dataclass(frozen=True)
class Plan:
    """What one arm will run."""

    arm: Arm
    steps: int
    flops_per_step: dict[str, int]
    """Charged FLOPs by component."""
    flops_once: dict[str, int]
    """Charged FLOPs that no step repeats: the one pass of frozen encoders, under `encoder_cost: once`."""
    executed_per_step: int
    """FLOPs really run in a step."""
    executed_once: int
    """FLOPs really run beside the steps."""
    ledger: Ledger
    libraries: dict[str, str]
    """Package to version, of those that the arm's encoders come from."""

    def flops(self, steps: int) -> dict[str, int]:
        """Charged FLOPs of ``steps`` steps by component."""
        return {name: cost * steps for name, cost in self.flops_per_step.items()} | self.flops_once


@dataclass(frozen=True)
class _Cost:
    charged: dict[str, int]
    once: dict[str, int]
    executed: int
    executed_once: int
    mixture: Mixture
    parameters: dict[str, int]
    libraries: dict[str, str]


def plan_study(materials: Materials) -> list[Plan]:
    """A plan for every arm, in the order of `expand_arms`.

    Raises:
        PlanError: the budget is too small for one step, a pair differs by more than 1%, or two rungs of
            the ladder come to the same number of steps.
    """
    recipe = materials.recipe
    arms = expand_arms(recipe)
    # Built once for all arms: costs and sizes are the same whatever the weights.
    encoders = build_stream_encoders(recipe, dict.fromkeys(name for arm in arms for name in arm.mixture), 0)
    costs = {arm.name: _cost(materials, arm, encoders) for arm in arms}
    baseline = costs[recipe.baseline]
    plans: dict[str, Plan] = {}
    for arm in arms:
        cost = costs[arm.name]
        steps = plans[arm.mirrors].steps if arm.mirrors else _steps(recipe, arm, cost, baseline)
        ledger = _ledger(materials, steps, cost)
        plans[arm.name] = Plan(
            arm,
            steps,
            cost.charged,
            cost.once,
            cost.executed,
            cost.executed_once,
            ledger,
            cost.libraries,
        )
    _refuse_unmatched(recipe, plans)
    _refuse_equal_rungs(recipe, plans)
    _refuse_unpaired(recipe, {name: cost.mixture.columns for name, cost in costs.items()})
    return list(plans.values())


def _cost(materials: Materials, arm: Arm, built: Mapping[str, Encoder]) -> _Cost:
    """What one step of ``arm`` costs. A control is charged for the media it leaves out.

    Args:
        built: the encoders of every stream.
    """
    recipe = materials.recipe
    encoders = _encoders_of(recipe, arm, built)
    mixture = build_mixture(materials, arm, recipe.seeds[0])
    paid, paid_mixture, paid_encoders = arm, mixture, encoders
    if arm.mirrors:
        paid = Arm(arm.mirrors, arm.mixture, recipe.arms[arm.mirrors].media_loss)
        paid_mixture = build_mixture(materials, paid, recipe.seeds[0])
        paid_encoders = _encoders_of(recipe, paid, built)
    once = recipe.budget.encoder_cost == "once"
    charged = _flops(materials, paid, paid_mixture, paid_encoders, with_trunks=not once)
    # Whoever pays, cached features are computed in one pass; what a control shows instead is encoded live.
    live = arm.control in ("noise", "blank")
    executed = _flops(materials, arm, mixture, encoders, with_trunks=live)
    return _Cost(
        charged,
        _trunk_flops(materials, paid_encoders) if once else {},
        sum(executed.values()),
        0 if live else sum(_trunk_flops(materials, encoders).values()),
        mixture,
        _parameters(materials, encoders),
        {name: found for one in encoders.values() for name, found in one.library_versions().items()},
    )


def _encoders_of(recipe: Recipe, arm: Arm, built: Mapping[str, Encoder]) -> dict[str, Encoder]:
    """Those of the encoders ``built`` that ``arm`` runs."""
    streams = () if without_media(arm.control) else arm.mixture
    names = (name for stream in streams for name in stream_encoders(stream, recipe.streams[stream]))
    return {name: built[name] for name in names if name in built}


def _trunk_flops(materials: Materials, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    """FLOPs of one pass of every frozen encoder over its stream."""
    trunks = {name: one.trunk_flops_per_item() for name, one in encoders.items()}
    items = {name: len(one) for media in materials.media.values() for name, one in media.decoded.items()}
    return {f"features/{name}": cost.total * items[name] for name, cost in trunks.items() if cost.total}


def _flops(
    materials: Materials, arm: Arm, mixture: Mixture, encoders: Mapping[str, Encoder], *, with_trunks: bool
) -> dict[str, int]:
    recipe, columns = materials.recipe, mixture.columns
    rows = columns.rows * columns.microbatches
    places = {
        name: item.places * columns.microbatches
        for source in mixture.media.values()
        for name, item in source.items.items()
    }
    vocabulary = materials.vocabulary
    return step_flops(
        recipe.model,
        vocabulary,
        rows,
        encoders,
        places,
        media_loss=arm.media_loss > 0,
        with_trunks=with_trunks,
    )


def _parameters(materials: Materials, encoders: Mapping[str, Encoder]) -> dict[str, int]:
    recipe = materials.recipe
    counted: dict[str, int] = {"backbone": backbone_parameters(recipe, materials.vocabulary)}
    for name, encoder in encoders.items():
        counted[f"encoder/{name}"] = _trainable(encoder)
        counted[f"media_head/{name}"] = (recipe.model.width + 1) * encoder.target_width
    return counted


def _trainable(encoder: Encoder) -> int:
    return sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)


def backbone_parameters(recipe: Recipe, vocabulary: int) -> int:
    """Trainable parameters of the backbone, counted on a model without storage."""
    import torch

    from ablate.model.transformer import Transformer

    with torch.device("meta"):
        return sum(weight.numel() for weight in Transformer(recipe.model, vocabulary).parameters())


def _steps(recipe: Recipe, arm: Arm, cost: _Cost, baseline: _Cost) -> int:
    """Steps of an arm that is no control; a rung of the ladder gets its share of the budget."""
    budget = recipe.budget
    base_step = sum(baseline.charged.values())
    text_per_step = (
        len(baseline.mixture.text) and baseline.mixture.columns.text_period * recipe.model.context_length
    )
    if budget.steps:
        base_steps = float(budget.steps)
    elif budget.flops:
        base_steps = budget.flops / base_step
    else:
        base_steps = budget.text_tokens / text_per_step
    base_steps *= arm.budget_share
    exact = base_steps
    if budget.match == "flops":
        exact = (base_steps * base_step - sum(cost.once.values())) / sum(cost.charged.values())
    if not math.isfinite(exact):
        raise PlanError(f"{recipe.study}: the budget of {arm.name} is beyond any number; lower its share")
    steps = round(exact)
    if steps < 1:
        raise PlanError(
            f"{recipe.study}: the budget pays for {max(0.0, exact):.3g} steps of {arm.name}; one step of the "
            f"baseline costs {base_step:.3g} FLOPs and {text_per_step} text positions"
            f"{_share_of_encoders(cost)}: raise the budget or lower train.rows"
        )
    return steps


def _share_of_encoders(cost: _Cost) -> str:
    """What an arm's encoders cost, said where they cost something."""
    each = sum(flops for part, flops in cost.charged.items() if part.startswith("encoder/"))
    once = sum(cost.once.values())
    step = sum(cost.charged.values())
    said = f", one of the arm {step:.3g}, {each:.3g} of them for its encoders" if each else ""
    return said + (f", and {once:.3g} once for features of frozen ones" if once else "")


def _ledger(materials: Materials, steps: int, cost: _Cost) -> Ledger:
    """The planned account; token counts are those of an average row."""
    mixture = cost.mixture
    columns = mixture.columns
    length = materials.recipe.model.context_length
    text = caption = media = repeated = 0.0
    available = unique = 0.0
    places = 0.0
    for name, rows in mixture.text.items():
        read = steps * columns.per_microbatch[name] * columns.microbatches
        text += read * rows.tokens_per_row
        places += read * (length - 1.0)
        available += rows.places_per_epoch
        unique += expected_unique(
            read * (length - 1.0), steps * columns.text_period * (length - 1.0), rows.places_per_epoch
        )
    for name, source in mixture.media.items():
        shown = steps * columns.per_microbatch[name] * columns.microbatches
        if source.rows.control == "repeat_text":
            repeated += shown * next(iter(mixture.text.values())).tokens_per_row
            continue
        caption += shown * source.rows.mean_caption_tokens_per_row()
        media += shown * source.rows.mean_items_per_row() * source.rows.tokens_per_item
    return Ledger(
        steps=steps,
        flops={name: flops * steps for name, flops in cost.charged.items()} | cost.once,
        flops_executed=cost.executed * steps + cost.executed_once,
        positions=steps * columns.rows * columns.microbatches * length,
        text_tokens=round(text),
        caption_tokens=round(caption),
        media_positions=round(media),
        scored_positions=0,
        unique_text_tokens=round(unique),
        text_epochs=places / available if available else 0.0,
        parameters=cost.parameters,
        repeated_tokens=round(repeated),
    )


def expected_unique(seen: float, advanced: float, available: float) -> float:
    """Distinct places of a text stream seen at least once.

    Args:
        seen: places the arm read.
        advanced: places the order moved on by; more than ``seen`` where an arm hands columns to media.
        available: places of one epoch.

    Within the first epoch no place is seen twice. Later epochs read an independent share of the places,
    so that a place stays unseen with the product of the chances that each epoch leaves it out.
    """
    if not advanced:
        return 0.0
    share = seen / advanced
    epochs, rest = divmod(advanced / available, 1.0)
    unseen: float = (1.0 - share) ** epochs * (1.0 - share * rest)
    return available * (1.0 - unseen)


def _refuse_unpaired(recipe: Recipe, columns: dict[str, Columns]) -> None:
    """Refuse an arm that shares no row of text with the baseline: nothing could prove it a pair."""

    def text_columns(arm: str) -> set[tuple[str, int]]:
        own = columns[arm]
        return {
            (stream, int(column))
            for stream in own.text_streams
            for microbatch in range(own.microbatches)
            for column in own.numbers(stream, microbatch)
        }

    base = text_columns(recipe.baseline)
    alone = [name for name in columns if not text_columns(name) & base]
    if alone:
        raise PlanError(
            f"{recipe.study}: {', '.join(alone)} share no row of text with {recipe.baseline}, so no pair "
            f"could be proved; give them a share of {' or '.join(recipe.arms[recipe.baseline].mixture)}"
        )


def _matched(recipe: Recipe, ledger: Ledger) -> float:
    """The quantity that the budget holds equal."""
    match = recipe.budget.match
    if match == "flops":
        return float(ledger.total_flops)
    return float(ledger.positions if match == "positions" else ledger.text_tokens)


def _refuse_unmatched(recipe: Recipe, plans: dict[str, Plan]) -> None:
    base = _matched(recipe, plans[recipe.baseline].ledger)
    off = {
        name: _matched(recipe, plan.ledger) / base - 1.0
        for name, plan in plans.items()
        if plan.arm.budget_share == 1
    }
    bad = {name: share for name, share in off.items() if abs(share) > TOLERANCE}
    if bad:
        listed = ", ".join(f"{name} {share:+.2%}" for name, share in bad.items())
        raise PlanError(
            f"{recipe.study}: {recipe.budget.match} of these arms differ from {recipe.baseline} by more than "
            f"{TOLERANCE:.0%}: {listed}; a larger budget makes whole steps fit more closely"
        )


def _refuse_equal_rungs(recipe: Recipe, plans: dict[str, Plan]) -> None:
    """Refuse a ladder whose rungs, in whole steps, are one run under two names."""
    rungs = [plan for plan in plans.values() if plan.arm.budget_share != 1]
    by_steps: dict[int, str] = {plans[recipe.baseline].steps: recipe.baseline}
    for plan in rungs:
        other = by_steps.setdefault(plan.steps, plan.arm.name)
        if other != plan.arm.name:
            raise PlanError(
                f"{recipe.study}: {plan.arm.name} and {other} both come to {plan.steps} steps; "
                "take shares of the ladder further apart, or raise the budget"
            )
