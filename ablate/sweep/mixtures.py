"""The mixtures of a sweep in whole rows, and the arms that they make of a recipe."""

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import islice

from ablate.materials import Materials
from ablate.recipe.schema import ArmConfig, Recipe
from ablate.recipe.sweep_schema import MixtureConfig
from ablate.report.sweep_file import Point, Role
from ablate.sweep.design import (
    DRAWS_PER_POINT,
    DesignError,
    Shares,
    design_points,
    drawn_points,
    mixture_name,
    whole_rows,
)


def text_of_streams(materials: Materials, streams: list[str]) -> dict[str, int]:
    """Text tokens that each stream holds, captions included, each counted once."""
    found: dict[str, int] = {}
    for name in streams:
        if name in materials.text:
            found[name] = len(materials.text[name].tokens)
        else:
            captions = materials.media[name].captions
            found[name] = 0 if captions is None else len(captions.tokens)
    return found


def sweep_points(config: MixtureConfig, recipe: Recipe, tokens: Mapping[str, int]) -> list[Point]:
    """Every mixture once: the baseline, the design, streams in the ratio of their text and in equal shares,
    and those that are held out.

    Mixtures that come to the same rows are one point, which plays the roles of all of them.

    Args:
        tokens: text tokens of each stream, see `text_of_streams`.

    Raises:
        DesignError: a mixture leaves no row to the baseline's stream, or the rows do not hold as many
            different mixtures as are to be held out.
    """
    found: dict[str, Point] = {}
    for shares, roles in _designed(config, tokens):
        point = _in_rows(shares, recipe, *roles)
        known = found.setdefault(point.arm, point)
        both = dict.fromkeys((*known.roles, *point.roles))
        found[point.arm] = dataclasses.replace(known, roles=list(both))
    designed = len(found)
    for shares in islice(drawn_points(config), config.held_out * DRAWS_PER_POINT):
        if len(found) == designed + config.held_out:
            break
        point = _in_rows(shares, recipe, "held_out")
        found.setdefault(point.arm, point)
    if len(found) < designed + config.held_out:
        raise DesignError(
            f"only {len(found) - designed} of {config.held_out} mixtures to hold out differ from the design "
            "in whole rows; lower sweep.mixture.held_out, or raise train.rows"
        )
    return list(found.values())


def _designed(config: MixtureConfig, tokens: Mapping[str, int]) -> Iterator[tuple[Shares, list[Role]]]:
    """Every mixture that is not drawn, with its roles; one outside of the design's region is not fitted."""
    first = config.streams[0]
    yield {name: float(name == first) for name in config.streams}, ["baseline", "fit"]
    for shares in design_points(config):
        yield shares, ["fit"]
    for shares, role in _reference_points(config, tokens):
        yield shares, [role, "fit"] if _within(shares, config) else [role]


def _reference_points(config: MixtureConfig, tokens: Mapping[str, int]) -> list[tuple[Shares, Role]]:
    """What a mixture is always compared with: as much of each stream as it has text, and equal shares."""
    total = sum(tokens.values())
    proportional = {name: tokens[name] / total for name in config.streams}
    return [(proportional, "proportional"), (_equal_shares(config), "stratified")]


def stratified_point(config: MixtureConfig, recipe: Recipe) -> Point:
    """The mixture of all streams in equal shares."""
    return _in_rows(_equal_shares(config), recipe, "stratified")


def _equal_shares(config: MixtureConfig) -> Shares:
    return dict.fromkeys(config.streams, 1 / len(config.streams))


def _within(shares: Shares, config: MixtureConfig) -> bool:
    return all(shares[name] >= least - 1e-9 for name, least in config.minimum.items())


def _in_rows(shares: Shares, recipe: Recipe, *roles: Role) -> Point:
    rows = recipe.train.microbatch_rows or recipe.train.rows
    whole = whole_rows(shares, rows, recipe.budget.match != "text_tokens")
    total = sum(whole.values())
    return Point(
        mixture_name(whole, recipe.baseline),
        dict(shares),
        {name: whole.get(name, 0) / total for name in shares},
        list(roles),
    )


def with_mixtures(recipe: Recipe, config: MixtureConfig, points: list[Point]) -> Recipe:
    """``recipe`` with an arm for every mixture, after its own.

    Raises:
        DesignError: the recipe has an arm of that name which is another mixture.
    """
    arms = dict(recipe.arms)
    for point in points:
        arm = _arm(recipe, config, point)
        if point.arm != recipe.baseline and arms.setdefault(point.arm, arm).mixture != arm.mixture:
            raise DesignError(f"arms.{point.arm} is the name of a mixture of the sweep; rename the arm")
    return dataclasses.replace(recipe, arms=arms)


def _arm(recipe: Recipe, config: MixtureConfig, point: Point) -> ArmConfig:
    order = list(recipe.streams)
    mixture = {name: share for name, share in point.shares.items() if share > 0}
    mixture = dict(sorted(mixture.items(), key=lambda item: order.index(item[0])))
    if all(recipe.streams[name].modality == "text" for name in mixture):
        return ArmConfig(mixture)
    return ArmConfig(mixture, list(config.controls), config.media_loss)
