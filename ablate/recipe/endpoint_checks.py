"""What the `endpoints` of a recipe must satisfy. Pure: nothing is read from disk."""

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ablate.recipe.errors import listed, nearest
from ablate.recipe.schema import Recipe

if TYPE_CHECKING:
    from ablate.tasks.base import MetricInfo

DIFFERENCE = "difference"
"""What stands in the place of the task in the name of a difference: `difference/<name>`."""

_NAME = r"[A-Za-z0-9_-]{1,100}"

_Found = Iterator[tuple[Any, ...]]
"""key, found, allowed, and optionally hint and the keys read."""


def endpoints(recipe: Recipe) -> _Found:
    """Everything wrong with `endpoints`, each problem with the keys it was concluded from."""
    stated = recipe.endpoints
    for name, parts in stated.differences.items():
        yield from _difference(name, parts, recipe)
    if stated.differences and DIFFERENCE in recipe.tasks:
        why = f"`{DIFFERENCE}/<name>` names the differences between endpoints"
        yield f"tasks.{DIFFERENCE}", f"a task called {DIFFERENCE!r}", "another name", why
    yield from _endpoint("endpoints.primary", stated.primary, recipe)
    for name, margin in stated.margins.items():
        yield from _endpoint(f"endpoints.margins.{name}", name, recipe)
        if not (math.isfinite(margin) and margin > 0):
            hint = "state the smallest effect of interest, in the endpoint's own unit"
            yield f"endpoints.margins.{name}", f"{margin:g}", "a margin of more than 0", hint
    if stated.primary not in stated.margins:
        found = f"no margin for the primary endpoint {stated.primary!r}"
        hint = nearest(stated.primary, stated.margins)
        yield "endpoints.margins", found, "its smallest effect of interest", hint, ("endpoints.primary",)
    yield from _covariate(recipe)
    if stated.screen and not stated.screen.endswith(".json"):
        hint = f"such as results/{recipe.study}_screen/screen.json"
        yield "endpoints.screen", repr(stated.screen), "the screen.json of an `ablate screen`", hint


def confirmatory_tasks(recipe: Recipe) -> list[str]:
    """Tasks whose endpoints are the primary one or have a margin, by themselves or in a difference."""
    stated = recipe.endpoints
    names = [stated.primary, *stated.margins]
    names += [part for name in names for part in stated.differences.get(name.partition("/")[2], [])]
    tasks = (name.partition("/")[0] for name in names)
    return [name for name in dict.fromkeys(tasks) if name in recipe.tasks]


def _covariate(recipe: Recipe) -> _Found:
    """A control variate is the baseline's alone, and known from more seeds than the pairs."""
    stated = recipe.endpoints
    name, seeds = stated.covariate, stated.baseline_seeds
    if not name:
        for key in ("covariate_slope", "baseline_seeds"):
            if getattr(stated, key):
                yield f"endpoints.{key}", str(getattr(stated, key)), "none without endpoints.covariate"
        return
    share = re.fullmatch(r"loss@((?:0?\.\d{1,9})|1(?:\.0{1,9})?)", name)
    if name != "score" and (share is None or float(share[1]) == 0):
        why = "what an arm can move, such as its own early loss, would take a part of its effect away"
        yield (
            "endpoints.covariate",
            repr(name),
            "score, or loss@SHARE such as loss@0.1: the baseline's own",
            why,
        )
        return
    reads = ("endpoints.covariate",)
    if len(seeds) < 2:
        why = "the runs of a pair share it, so that it cancels from the mean gain unless more seeds tell "
        "its mean"
        found = f"{len(seeds)} seeds" if seeds else "none"
        yield "endpoints.baseline_seeds", found, "2 or more seeds of the baseline alone", why, reads
    both = sorted({*seeds} & {*recipe.seeds})
    if both or len({*seeds}) < len(seeds) or min(seeds, default=0) < 0:
        allowed = "seeds of 0 or more, each once, none of them among seeds"
        yield "endpoints.baseline_seeds", listed(map(str, seeds)), allowed, "", (*reads, "seeds")
    if recipe.stopping.rule != "fixed":
        found, allowed = (
            f"{name} with stopping.rule {recipe.stopping.rule}",
            "none in a study that may stop early",
        )
        yield "endpoints.covariate", found, allowed, "", ("stopping.rule",)
    least = 3 if stated.covariate_slope is None else 2
    if len(recipe.seeds) < least:
        found, allowed = f"{name} with {len(recipe.seeds)} seeds", f"{least} seeds or more"
        yield "endpoints.covariate", found, allowed, "", ("seeds",)


def _endpoint(key: str, name: str, recipe: Recipe) -> _Found:
    """Refuse what is neither an endpoint of a task nor a difference that the recipe defines."""
    task, _, rest = name.partition("/")
    differences = recipe.endpoints.differences
    if task == DIFFERENCE and (differences or DIFFERENCE not in recipe.tasks):
        if rest not in differences:
            allowed = f"a difference: {listed(differences)}"
            reads = (f"endpoints.differences.{rest}",)
            yield key, f"the unknown difference {rest!r}", allowed, nearest(rest, differences), reads
    else:
        yield from task_endpoint(key, name, recipe)


def task_endpoint(key: str, name: str, recipe: Recipe) -> _Found:
    """Refuse what no task of the recipe scores."""
    from ablate.tasks.registry import TASKS, task_class

    task, *rest = name.split("/")
    if len(rest) not in (1, 2) or not task or not all(rest):
        yield key, repr(name), "task/metric or task/metric/subset"
    elif task not in recipe.tasks:
        allowed = f"a task: {listed(recipe.tasks)}"
        yield key, f"the unknown task {task!r}", allowed, nearest(task, recipe.tasks), (f"tasks.{task}",)
    elif (kind := recipe.tasks[task].get("kind")) in TASKS:
        metrics = metrics_of(recipe.tasks[task])
        # Which metrics a task of the harness has, its items tell; `prepare` looks.
        if rest[0] not in metrics and not getattr(task_class(str(kind)), "open_metrics", False):
            found, allowed = f"the unknown metric {rest[0]!r}", f"a metric of {kind}: {listed(metrics)}"
            reads = (f"tasks.{task}.kind", f"tasks.{task}.words")
            yield key, found, allowed, nearest(rest[0], metrics), reads


def metrics_of(settings: dict[str, Any]) -> "dict[str, MetricInfo]":
    """Every metric of a task with these ``settings``, those of its word lists (`metric.list`) included.

    Raises:
        UnknownTaskError: no task has its kind.
    """
    from ablate.tasks.registry import task_class

    found = task_class(str(settings.get("kind")))
    lists = settings.get("words") or {}
    groups = [*lists, *getattr(found, "word_groups", ())] if lists else []
    groups += getattr(found, "groups", ())
    return found.metrics | {
        f"{metric}.{group}": info for group in groups for metric, info in found.metrics.items()
    }


def _difference(name: str, parts: list[str], recipe: Recipe) -> _Found:
    key = f"endpoints.differences.{name}"
    if not re.fullmatch(_NAME, name):
        yield key, f"the name {name!r}", "letters, digits, `_`, `-`; at most 100"
        return
    if len(parts) != 2 or parts[0] == parts[1]:
        found = listed(parts) if parts else "an empty list"
        yield key, found, "two different endpoints", "the score is that of the first less that of the second"
        return
    refused = False
    for place, part in enumerate(parts):
        for problem in _part(f"{key}.{place}", part, recipe):
            refused = True
            yield problem
    if refused:
        return
    infos = [_info(part, recipe) for part in parts]
    first, second = infos
    if first is None or second is None:
        return
    reads = tuple(f"tasks.{part.partition('/')[0]}.kind" for part in parts)
    if first.higher_is_better != second.higher_is_better:
        better = {True: "higher", False: "lower"}
        directions = (
            f"{part}: {better[info.higher_is_better]} is better"
            for part, info in zip(parts, (first, second), strict=True)
        )
        yield key, listed(directions), "two endpoints of one direction", "", reads
    elif first.unit != second.unit:
        units = (f"{part} in {info.unit}" for part, info in zip(parts, (first, second), strict=True))
        yield key, listed(units), "two endpoints of one unit", "", reads


def _part(key: str, name: str, recipe: Recipe) -> _Found:
    if name.partition("/")[0] == DIFFERENCE:
        yield key, repr(name), "an endpoint of a task", "there are no differences of differences"
    else:
        yield from task_endpoint(key, name, recipe)


def _info(endpoint: str, recipe: Recipe) -> "MetricInfo | None":
    """What the metric of an endpoint means; None where its task is refused anyway."""
    from ablate.tasks.registry import TASKS

    task, metric = endpoint.split("/")[:2]
    settings = recipe.tasks[task]
    return metrics_of(settings).get(metric) if settings.get("kind") in TASKS else None
