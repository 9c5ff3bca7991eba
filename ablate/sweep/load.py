"""From a recipe with a `sweep:` block to the recipes of its settings; every error at once."""

import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ablate.recipe.checks import PART_NAME, findings
from ablate.recipe.errors import Problem, RecipeError, Report, listed, nearest
from ablate.recipe.layers import merge
from ablate.recipe.load import read_raw, recipe_digest, recipe_of
from ablate.recipe.schema import Recipe
from ablate.recipe.sweep_schema import MixtureConfig, SweepConfig
from ablate.recipe.typed import typed_fields
from ablate.sweep.design import DesignError, design_points, whole_rows

FIXED = (
    "study",
    "question",
    "baseline",
    "arms",
    "endpoints",
    "data_root",
    "sweep",
    "base",
    "note",
    "stopping",
)
"""Keys that settings share: a level that changed them would make another sweep."""
WHOLE = "all"
"""The setting of a sweep that crosses its mixtures with nothing."""


@dataclass(frozen=True)
class SettingRecipe:
    """One combination of levels."""

    name: str
    """The levels, joined by dots; `all` without any."""
    levels: dict[str, str]
    """Factor to level."""
    recipe: Recipe
    """With the recipe's own arms; those of the mixtures are added by `ablate.sweep.mixtures`."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was written."""

    name: str
    config: SweepConfig
    settings: list[SettingRecipe]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the first setting: what all settings share can be read there."""
        return self.settings[0].recipe


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read, merge and check a sweep.

    Args:
        path: the YAML file, a recipe with a `sweep:` block.
        overrides: ``key.path=value`` each, as of a recipe; they come before the levels, which may change the
            same keys.

    Raises:
        RecipeError: everything that is wrong with the recipe, a setting or the design, in one report.
    """
    seen = Report(str(path))
    raw = read_raw(Path(path), overrides, seen)
    block = raw.pop("sweep", None)
    if block is None:
        seen.report("sweep", "nothing", "mixtures or settings", f"`ablate run {path}` runs a study")
        raise RecipeError(seen.problems)
    config = SweepConfig(**typed_fields(SweepConfig, block, "sweep", seen))
    base = recipe_of(copy.deepcopy(raw), seen)
    problems = [Problem(seen.origin(key), key, *found) for key, *found in _faults(config, base)]
    if problems:
        raise RecipeError(problems)
    settings = list(_settings(config, raw, seen, problems))
    if not problems:
        late = (*_unequal_rows(config, settings), *_few_seeds(config, settings))
        problems = [Problem(seen.origin(key), key, *found) for key, *found in late]
    if problems:
        raise RecipeError(problems)
    return Sweep(base.study, config, settings)


def _settings(
    config: SweepConfig, raw: dict[str, Any], seen: Report, problems: list[Problem]
) -> Iterator[SettingRecipe]:
    """Every combination of levels that can be loaded; what is wrong with others goes to ``problems``."""
    for chosen in product(*(levels for levels in config.across.values())):
        levels = dict(zip(config.across, chosen, strict=True))
        name = ".".join(chosen) or WHOLE
        own, report = copy.deepcopy(raw), Report(seen.file, [], dict(seen.origins))
        for factor, level in levels.items():
            for key, value in config.across[factor][level].items():
                place = f"sweep.across.{factor}.{level}.{key}"
                report.origins[key] = seen.origin(place)
                merge(own, _nested(key, value), "")
        own["study"] = f"{raw['study']}.{name}"
        try:
            yield SettingRecipe(name, levels, recipe_of(own, report))
        except RecipeError as error:
            problems += [
                dataclasses.replace(one, key=f"{one.key} (setting {name})")
                for one in error.problems
                if one not in problems
            ]


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


_Fault = tuple[str, str, str, str]
"""key, found, allowed, hint."""


def _faults(config: SweepConfig, base: Recipe) -> Iterator[_Fault]:
    if config.mixture is None and not config.across:
        yield "sweep", "neither mixtures nor settings", "mixture:, across: or both", ""
    names: dict[str, str] = {}
    for factor, levels in config.across.items():
        key = f"sweep.across.{factor}"
        if not levels:
            yield key, "no level", "one level or more", ""
        for level, changes in levels.items():
            if not re.fullmatch(PART_NAME, level):
                yield f"{key}.{level}", repr(level), "letters, digits, `_`, `-`; at most 100", ""
            if names.setdefault(level, factor) != factor:
                yield (
                    f"{key}.{level}",
                    f"a level of {names[level]} too",
                    "each name once: it names folders",
                    "",
                )
            for changed in changes:
                if changed.split(".")[0] in FIXED:
                    yield (
                        f"{key}.{level}.{changed}",
                        "a key that settings share",
                        f"none of {listed(FIXED)}",
                        "",
                    )
    if config.mixture is not None:
        yield from _mixture_faults(config.mixture, base)
    if config.hopeless is not None and not 2 <= config.hopeless.after_seeds < len(base.seeds):
        found, allowed = (
            str(config.hopeless.after_seeds),
            f"2 or more, fewer than the {len(base.seeds)} seeds",
        )
        yield "sweep.hopeless.after_seeds", found, allowed, ""
    if config.hopeless is not None and not 0.5 < config.hopeless.confidence < 1.0:
        yield "sweep.hopeless.confidence", f"{config.hopeless.confidence:g}", "more than 0.5, less than 1", ""


def _mixture_faults(mixture: MixtureConfig, base: Recipe) -> Iterator[_Fault]:
    """What is wrong with a design, the mixtures that leave out the baseline before all."""
    key = "sweep.mixture"
    for name in mixture.streams:
        if name not in base.streams:
            yield (
                f"{key}.streams",
                repr(name),
                f"streams: {listed(base.streams)}",
                nearest(name, base.streams),
            )
    if len(mixture.streams) < 2 or len(set(mixture.streams)) < len(mixture.streams):
        yield f"{key}.streams", listed(mixture.streams), "two streams or more, each once", ""
        return
    first, *others = mixture.streams
    own = base.arms[base.baseline].mixture
    if own != {first: 1.0}:
        found = f"first {first!r}, where the baseline {base.baseline!r} reads {listed(own)}"
        yield f"{key}.streams", found, "first the stream that the baseline reads alone", ""
    for name, least in mixture.minimum.items():
        if name not in mixture.streams:
            yield f"{key}.minimum.{name}", repr(name), f"streams: {listed(mixture.streams)}", ""
        elif name in others and least > 0:
            found = f"{least:g}, which leaves out the baseline, {first} alone"
            yield f"{key}.minimum.{name}", found, "0: every effect is a gain over the baseline", ""
        elif not 0 <= least < 1:
            yield f"{key}.minimum.{name}", f"{least:g}", "0 or more, less than 1", ""
    unknown = {name for point in mixture.points for name in point} - set(mixture.streams)
    for name in sorted(unknown):
        yield (
            f"{key}.points",
            repr(name),
            f"streams: {listed(mixture.streams)}",
            nearest(name, mixture.streams),
        )
    if mixture.held_out < 0:
        yield f"{key}.held_out", str(mixture.held_out), "0 or more", ""
    media = [name for name in others if name in base.streams and base.streams[name].modality != "text"]
    if not media and (mixture.controls or mixture.media_loss):
        found = "controls or a media loss, and no stream with media"
        yield f"{key}.controls", found, "neither, in mixtures of text alone", ""
    if not unknown and all(name in base.streams for name in mixture.streams):
        yield from _rows_faults(mixture, base)


def _rows_faults(mixture: MixtureConfig, base: Recipe) -> Iterator[_Fault]:
    """Whether every mixture of the design can be put into whole rows."""
    rows = base.train.microbatch_rows or base.train.rows
    try:
        for shares in design_points(mixture):
            whole_rows(shares, rows, base.budget.match != "text_tokens")
    except DesignError as error:
        yield "sweep.mixture", str(error), "a design whose mixtures fit whole rows", ""


def _few_seeds(config: SweepConfig, settings: Sequence[SettingRecipe]) -> Iterator[_Fault]:
    """Levels may have seeds of their own: the look at hopeless arms comes before the last of each."""
    if config.hopeless is None:
        return
    looked = config.hopeless.after_seeds
    few = [one.name for one in settings if len(one.recipe.seeds) <= looked]
    if few:
        found = f"{looked}, no fewer than the seeds of {listed(few)}"
        yield "sweep.hopeless.after_seeds", found, "fewer than the seeds of every setting", ""


def _unequal_rows(config: SweepConfig, settings: Sequence[SettingRecipe]) -> Iterator[_Fault]:
    """Mixtures are whole rows of a microbatch: of one size in all settings, or they would differ."""
    if config.mixture is None:
        return
    held = {one.recipe.train.microbatch_rows or one.recipe.train.rows for one in settings}
    if len(held) > 1 or len({one.recipe.budget.match for one in settings}) > 1:
        found = f"microbatches of {listed(str(rows) for rows in sorted(held))} rows"
        allowed = "one number of rows in a microbatch, and one budget.match, for all settings"
        yield "sweep.across", found, allowed, "set train.microbatch_rows where train.rows differ"


def sweep_digest(sweep: Sweep) -> str:
    """BLAKE2b of the design and of the recipes of all settings, 32 hexadecimal digits."""
    recipes = {one.name: recipe_digest(one.recipe) for one in sweep.settings}
    text = json.dumps([dataclasses.asdict(sweep.config), recipes], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def checked(recipe: Recipe, file: str) -> Recipe:
    """``recipe`` with the arms of its mixtures, as `load_recipe` would have checked it.

    Raises:
        RecipeError: everything that is wrong with it.
    """
    problems = [finding.problem for finding in findings(recipe, file)]
    if problems:
        raise RecipeError(problems)
    return recipe
