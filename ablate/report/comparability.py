"""What of several studies may not be held against one another, and why.

Two gains are of one quantity if the endpoint is defined and scored alike, on the same items, and if the arms
learned from the same data in the same mixture with the same thing held equal. What differs is looked for in
the records' digests and in the recipes that the headers hold. A key that one recipe lacks does not differ:
recipes are resolved, so that it was written before the key was thought of.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

from ablate.record import RunRecord
from ablate.report.analysis import Analysis
from ablate.report.load import StudyHeader

NO_POOLING = (
    "Each study stands alone: its interval, its adjustment for multiplicity, its verdict. No difference "
    "between studies is tested, and one that helps beside one that is inconclusive are not two that disagree."
)

CONDITIONS = ("budget.", "model.", "tokenizer.", "train.", "planted.")
"""Blocks of the recipe that say under which conditions all arms learn."""

INDIFFERENT = ("paths", ".controls", "train.checkpoint_every", "train.loggers", "train.data_workers")
"""Endings of keys that change no gain: what paths hold is known by digest."""


@dataclass(frozen=True)
class Study:
    """One of the studies that are compared."""

    name: str
    """Its own, or with its folder where two have the same."""
    analysis: Analysis
    recipe: Mapping[str, str]
    """Dotted key to value as JSON; empty where the header holds no recipe."""

    @property
    def header(self) -> StudyHeader:
        return self.analysis.header

    @property
    def records(self) -> list[RunRecord]:
        return self.analysis.records


def grouped(studies: Sequence[Study], value: Callable[[Study], Any]) -> str:
    """Who differs in ``value``, as `A and B against C`; nothing where all agree that have one.

    A study has none where ``value`` is None or empty.
    """
    groups: dict[str, list[str]] = {}
    for study in studies:
        own = value(study)
        if own:
            groups.setdefault(repr(sorted(own) if isinstance(own, set) else own), []).append(study.name)
    return " against ".join(" and ".join(names) for names in groups.values()) if len(groups) > 1 else ""


def digests(study: Study, key: str, arms: Sequence[str] = ()) -> set[str]:
    """The digests of the data ``key`` in the records of ``arms``, of all arms if none are named."""
    return {
        record.data_digests[key]
        for record in study.records
        if key in record.data_digests and (not arms or record.arm in arms)
    }


def margin_text(study: Study, endpoint: str) -> str | None:
    """The margin as text, which does not round; None without one."""
    margin = study.header.margins.get(endpoint)
    return None if margin is None else f"{margin:g}"


def unlike_settings(studies: Sequence[Study], prefix: str) -> list[str]:
    """The keys below ``prefix`` whose values differ between the recipes that have them."""
    keys = dict.fromkeys(key for study in studies for key in study.recipe if key.startswith(prefix))
    return [
        key for key in keys if not key.endswith(INDIFFERENT) and grouped(studies, partial(_setting, key=key))
    ]


def _setting(study: Study, key: str) -> str:
    return study.recipe.get(key, "")


def _tasks(study: Study, endpoint: str) -> list[str]:
    """The tasks that an endpoint is made of: its own, or those of the two that it is the difference of."""
    both = study.header.differences.get(endpoint.partition("/")[2], [])
    return [name.partition("/")[0] for name in both if endpoint.startswith("difference/")] or [
        endpoint.partition("/")[0]
    ]


def _items(study: Study, endpoint: str) -> set[str]:
    """Number and digests of the items that the endpoint is scored on."""
    scores = [record.scores[endpoint] for record in study.records if endpoint in record.scores]
    counts = {f"{score.items} items" for score in scores}
    return counts and counts.union(*(digests(study, f"task/{task}") for task in _tasks(study, endpoint)))


def _meaning(study: Study, endpoint: str) -> list[str]:
    """The direction, and of a difference the two endpoints. Chance is not in it: of bits per byte it depends
    on the tokenizer, of choices on the items."""
    scores = [record.scores[endpoint] for record in study.records if endpoint in record.scores]
    ways = sorted({f"higher is better: {score.higher_is_better}" for score in scores})
    return [*ways, *study.header.differences.get(endpoint.partition("/")[2], [])] if ways else []


@dataclass(frozen=True)
class Limit:
    """Something that may not be compared."""

    short: str
    """As a row of the table says it."""
    words: str
    """As a sentence goes on after naming the endpoints."""
    who: str
    """Which studies differ, see `grouped`."""


def endpoint_limits(studies: Sequence[Study]) -> dict[str, list[Limit]]:
    """Endpoint to what of it may not be compared, for those of which something may not."""
    endpoints = dict.fromkeys(one.endpoint for study in studies for one in study.analysis.contrasts)
    found = {endpoint: list(_limits_of(studies, endpoint)) for endpoint in endpoints}
    return {endpoint: limits for endpoint, limits in found.items() if limits}


def _limits_of(studies: Sequence[Study], endpoint: str) -> Iterable[Limit]:
    never = "neither scores nor gains may be compared"
    scored = [study for study in studies if _items(study, endpoint)]
    if who := grouped(scored, partial(_items, endpoint=endpoint)):
        yield Limit("not: other items", f"scored on other items, {never}", who)
    if who := grouped(scored, partial(_meaning, endpoint=endpoint)):
        yield Limit("not: other meaning", f"of another direction or difference, {never}", who)
    tasks = dict.fromkeys(task for study in scored for task in _tasks(study, endpoint))
    unlike = [key for task in tasks for key in unlike_settings(scored, f"tasks.{task}.")]
    if unlike:
        names = " and ".join(study.name for study in scored)
        yield Limit("not: other task settings", f"of other settings ({', '.join(unlike)}), {never}", names)
    if who := grouped(studies, partial(margin_text, endpoint=endpoint)):
        words = "judged by other margins, gains may be compared and verdicts may not"
        yield Limit("gains only: other margins", words, who)


def arm_limits(studies: Sequence[Study], arm: str, reference: str) -> list[str]:
    """What differs in two arms that all of ``studies`` have, so that their gain is another effect."""
    both = [arm, reference]
    found = []
    keys = dict.fromkeys(key for study in studies for key in data_keys(study))
    if any(grouped(studies, partial(digests, key=key, arms=both)) for key in keys):
        found.append("not: other training data")
    if any(_unlike_arm(studies, name) for name in both):
        found.append("not: other arms of that name")
    if grouped(studies, lambda study: study.header.match):
        found.append("not: other quantity held equal")
    return found


def _unlike_arm(studies: Sequence[Study], arm: str) -> bool:
    """Whether an arm has another mixture, objective, training or stream, itself or as a control's origin."""
    if _trained_otherwise(studies, arm):
        return True
    origins = {
        origin for study in studies for origin, controls in study.header.controls.items() if arm in controls
    } or {arm}
    for origin in origins:
        prefix = f"arms.{origin}."
        mixtures = f"{prefix}mixture."
        if grouped(studies, partial(_block, prefix=mixtures)) or unlike_settings(studies, prefix):
            return True
        streams = {key.removeprefix(mixtures) for study in studies for key in _block(study, mixtures)}
        if any(unlike_settings(studies, f"streams.{name}.") for name in streams):
            return True
    return False


def _trained_otherwise(studies: Sequence[Study], arm: str) -> bool:
    """Whether an arm has other values of the settings in which arms of one of ``studies`` differ."""
    names = {name for one in studies for own in one.analysis.settings.values() for name in own}

    def values(study: Study) -> list[str]:
        trained = [record.resolved.get("train", {}) for record in study.records if record.arm == arm]
        return sorted({f"{name}={train[name]}" for train in trained for name in names if name in train})

    return bool(names and grouped(studies, values))


def _block(study: Study, prefix: str) -> dict[str, str]:
    """What a recipe says below ``prefix``, by key."""
    return {key: value for key, value in sorted(study.recipe.items()) if key.startswith(prefix)}


def data_keys(study: Study) -> list[str]:
    """What the arms were trained on: streams and tokenizer."""
    keys = {key for record in study.records for key in record.data_digests}
    return sorted(key for key in keys if not key.startswith("task/"))


def limits_in_words(studies: Sequence[Study], limits: Mapping[str, list[Limit]]) -> list[str]:
    """What may not be compared, one sentence a reason, and that nothing is pooled."""
    said: dict[tuple[str, str], list[str]] = {}
    for endpoint, found in limits.items():
        for limit in found:
            said.setdefault((limit.words, limit.who), []).append(endpoint)
    sentences = [f"{_folded(names)}: {words} ({who})." for (words, who), names in said.items()]
    for key in dict.fromkeys(key for study in studies for key in data_keys(study)):
        if who := grouped(studies, partial(digests, key=key)):
            sentences.append(f"{key} is other data ({who}): gains of arms that read it may not be compared.")
    if who := grouped(studies, lambda study: study.header.match):
        sentences.append(f"Another quantity is held equal ({who}): the gains answer other questions.")
    unlike = [arm for arm in _shared_arms(studies) if _unlike_arm(studies, arm)]
    if unlike:
        sentences.append(
            f"{', '.join(unlike)} differ{'s' if len(unlike) == 1 else ''} in mixture, objective, training or "
            "streams: under one name these are other arms."
        )
    if not sentences:
        sentences.append("Items, endpoints, margins, data and what is held equal agree.")
    if who := grouped(studies, lambda study: study.header.primary):
        sentences.append(f"The primary endpoints differ ({who}).")
    other = [key for prefix in CONDITIONS for key in unlike_settings(studies, prefix)]
    if other:
        sentences.append(f"The gains are effects under other conditions: {', '.join(other)}.")
    if silent := [study.name for study in studies if not study.recipe]:
        sentences.append(
            f"Whether the recipe of {' and '.join(silent)} differs cannot be told: none is stored."
        )
    return [*sentences, *_shared_runs(studies), NO_POOLING]


def _shared_arms(studies: Sequence[Study]) -> list[str]:
    """The arms, controls left out, that more than one study has."""
    own = [{control for names in study.header.controls.values() for control in names} for study in studies]
    found = [
        [arm for arm in study.header.arms if arm not in controls]
        for study, controls in zip(studies, own, strict=True)
    ]
    every = dict.fromkeys(arm for arms in found for arm in arms)
    return [arm for arm in every if sum(arm in arms for arms in found) > 1]


def _shared_runs(studies: Sequence[Study]) -> Iterable[str]:
    for one, other in combinations(studies, 2):
        shared = {run.identity for run in one.records} & {run.identity for run in other.records}
        if shared:
            yield f"{one.name} and {other.name} share {len(shared)} runs: they are no independent evidence."


def _folded(endpoints: Sequence[str]) -> str:
    """Endpoints, with the subsets of one that is named counted and not named."""
    named = [one for one in endpoints if one.rpartition("/")[0] not in endpoints]
    counts = {one: sum(other.startswith(f"{one}/") for other in endpoints) for one in named}
    return ", ".join(one + (f" and {count} subsets" if count else "") for one, count in counts.items())
