"""From YAML, ``base:`` variants and command-line overrides to one checked `Recipe`.

Recipes are input from strangers: no YAML tag builds an object, no resolver runs, no key is ignored, and
every error of a recipe is reported at once.
"""

import dataclasses
import glob
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablate.recipe.checks import findings
from ablate.recipe.errors import RecipeError, Report
from ablate.recipe.initial import as_written, digested, written
from ablate.recipe.interpolation import DATA_ROOT, interpolated, mapped
from ablate.recipe.later import without_later_keys
from ablate.recipe.layers import merge, read_chain, read_override, read_text
from ablate.recipe.schema import DecontaminationConfig, Recipe
from ablate.recipe.tune_checks import typed_settings
from ablate.recipe.typed import complete, typed_fields
from ablate.recipe.yaml_source import dumped


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge and check a recipe.

    Args:
        path: the YAML file; its ``base:`` is followed, relative to the file.
        overrides: ``key.path=value`` each; the value is read as YAML, and null removes the key.

    Raises:
        RecipeError: everything that is wrong with the recipe, in one report.
    """
    seen = Report(str(path))
    raw = read_raw(Path(path), overrides, seen)
    if "sweep" in raw:
        del raw["sweep"]
        seen.report("sweep", "a sweep", "a recipe of one study", f"`ablate sweep {path}` runs a sweep")
    return recipe_of(raw, seen)


def read_raw(path: Path, overrides: Sequence[str], seen: Report) -> dict[str, Any]:
    """The file with its bases and ``overrides`` merged over it, as plain values, not yet interpolated.

    Raises:
        RecipeError: a file cannot be read. What else is wrong is noted in ``seen``.
    """
    raw = read_chain(path, seen, ())
    for override in overrides:
        merge(raw, read_override(override, seen), "")
    return raw


def recipe_of(raw: dict[str, Any], seen: Report) -> Recipe:
    """The recipe that ``raw`` says, which is as `read_raw` returned it.

    Raises:
        RecipeError: everything that is wrong with it, and what ``seen`` holds already.
    """
    raw = interpolated(raw, seen)
    recipe: Recipe = Recipe(**typed_fields(Recipe, raw, "", seen))
    recipe = typed_settings(complete(as_written(recipe, raw), seen), seen)
    for finding in findings(recipe, seen.file):
        if all(seen.trusts(key) for key in (finding.problem.key, *finding.reads)):
            where = seen.origin(finding.problem.key)
            seen.problems.append(dataclasses.replace(finding.problem, where=where))
    if seen.problems:
        raise RecipeError(seen.problems)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """``recipe`` as YAML, every default written out; loading it gives the same digest."""
    content = _content(recipe)
    content["model"] = written(recipe.model)
    return dumped(content)


def recipe_digest(recipe: Recipe) -> str:
    """BLAKE2b of the recipe's canonical JSON, 32 hexadecimal digits.

    ``recipe`` is as `load_recipe` returned it. Where the data lie (`data_root`) does not enter, nor
    does the order of keys, except the order of the streams, which decides the order of the rows; nor the
    shapes of a model that its `init_from` folder gives.
    """
    content = _content(recipe)
    content["model"] = digested(recipe.model)
    del content["data_root"]
    if not recipe.endpoints.screen:
        del content["endpoints"]["screen"]
    content["streams"] = list(content["streams"].items())
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _content(recipe: Recipe) -> dict[str, Any]:
    """``recipe`` as plain values; `decontamination` is left out where it is the default, for plans were
    locked and studies published before there was such a block; so are `later` keys."""
    content = dataclasses.asdict(recipe)
    without_later_keys(content)
    if recipe.decontamination == DecontaminationConfig():
        del content["decontamination"]
    return content


def resolve_paths(recipe: Recipe, data_root: Path) -> Recipe:
    """``recipe`` with ``${data_root}`` replaced, in every place that `load_recipe` admits it.

    These are the streams' paths and encoder settings, the paths of the tokenizer and of the model's folder,
    and all text under tasks.
    A relative ``data_root`` is relative to the current directory. Where the result is a glob (`...paths`),
    a data root with `[`, `*` or `?` in its name is escaped: only the recipe's own pattern matches.
    """
    root = str(data_root.absolute())

    def resolved(value: Any) -> Any:
        return mapped(value, lambda text: text.replace(DATA_ROOT, root))

    def globs(value: Any) -> Any:
        return mapped(value, lambda text: text.replace(DATA_ROOT, glob.escape(root)))

    streams = {
        name: dataclasses.replace(
            stream,
            paths=globs(stream.paths),
            encoder=resolved(stream.encoder),
            also=resolved(stream.also),
        )
        for name, stream in recipe.streams.items()
    }
    tasks = {
        name: {
            key: globs(value) if key.endswith("paths") else resolved(value) for key, value in settings.items()
        }
        for name, settings in recipe.tasks.items()
    }
    tokenizer = dataclasses.replace(recipe.tokenizer, path=resolved(recipe.tokenizer.path))
    model = dataclasses.replace(recipe.model, init_from=resolved(recipe.model.init_from))
    return dataclasses.replace(recipe, streams=streams, tasks=tasks, tokenizer=tokenizer, model=model)


def header_comment(path: Path) -> str:
    """The comment block a recipe file begins with, without its ``#``; empty if there is none.

    Raises:
        RecipeError: the file cannot be read.
    """
    lines: list[str] = []
    for line in read_text(Path(path)).splitlines():
        if line.startswith("#"):
            lines.append(line[1:].removeprefix(" ").rstrip())
        elif line.strip() or lines:
            break
    return "\n".join(lines)
