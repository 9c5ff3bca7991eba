"""Studies side by side: what each found, in what they differ, and what of them may not be compared.

Every number is the study's own. Nothing is pooled and no difference between studies is tested: they were
not randomised against one another.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ablate.record import RunRecord
from ablate.report.analysis import analyse
from ablate.report.comparability import (
    Limit,
    Study,
    arm_limits,
    digests,
    endpoint_limits,
    limits_in_words,
    margin_text,
)
from ablate.report.contrast_tables import pairs_text
from ablate.report.document import Section
from ablate.report.load import StudyError, load_records, read_header
from ablate.report.recipe_text import STATED_BLOCKS, leaves
from ablate.report.registration import read_registration
from ablate.report.tables import ABSENT, Cell, Table, endpoint_places, interval_text, number
from ablate.report.text import markdown_table, markdown_text
from ablate.stats.contrasts import Contrast

Key = tuple[str, str, str, str]
"""Endpoint, arm, reference, kind."""


@dataclass(frozen=True)
class Comparison:
    """Studies side by side."""

    names: list[str]
    sentences: list[str]
    """What may not be compared, and why; the rule that nothing is pooled comes last."""
    sections: list[Section]
    """Contrasts with a margin, the other ones, and what differs between the studies."""

    @property
    def markdown(self) -> str:
        """The comparison as GitHub Markdown."""
        parts = [f"# {markdown_text(' beside '.join(self.names))}"]
        parts.append("\n".join(f"- {markdown_text(sentence)}" for sentence in self.sentences))
        for section in self.sections:
            parts += [f"## {markdown_text(section.title)}", markdown_table(section.table).rstrip("\n")]
            parts += [markdown_text(section.legend)] if section.legend else []
        return "\n\n".join(parts) + "\n"


def compare(folders: Sequence[Path]) -> Comparison:
    """The studies in ``folders`` side by side, from their records; nothing is written.

    Raises:
        StudyError: fewer than two folders, one folder twice, or a folder that holds no sound study.
        RecordError: a record cannot be read, or two of one study disagree.
    """
    if len(folders) < 2:
        raise StudyError(f"a comparison takes two studies or more, not {len(folders)}")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise StudyError("a study is named twice; a comparison takes different ones")
    studies = _read(folders)
    limits = endpoint_limits(studies)
    rows = dict.fromkeys(_key(one) for study in studies for one in study.analysis.contrasts)
    judged = {name for study in studies for name in (study.header.primary, *study.header.margins)}
    sections = [
        Section(
            "contrasts",
            "Contrasts of endpoints with a margin",
            _contrast_table(studies, [key for key in rows if key[0] in judged], limits),
            "Gains are positive where the first arm is better. Intervals are 95%, as the study's own report "
            "has them. The last column says what of a row may be held against one another.",
        ),
        Section(
            "others",
            "Contrasts of other endpoints",
            _contrast_table(studies, [key for key in rows if key[0] not in judged], limits),
        ),
        Section("differences", "What differs between the studies", _difference_table(studies)),
    ]
    return Comparison(
        [study.name for study in studies],
        limits_in_words(studies, limits),
        [section for section in sections if section.table.rows],
    )


def _read(folders: Sequence[Path]) -> list[Study]:
    headers = [read_header(folder) for folder in folders]
    names = [header.study for header in headers]
    studies = []
    for folder, header in zip(folders, headers, strict=True):
        records = load_records(folder, header)
        analysis = analyse(header, records, read_registration(folder, header, records))
        name = header.study if names.count(header.study) == 1 else f"{header.study} ({folder})"
        studies.append(Study(name, analysis, flattened(header.recipe)))
    return studies


def flattened(recipe: str) -> dict[str, str]:
    """The leaves of a recipe's YAML by dotted key, values as JSON; nothing where it is no mapping."""
    found = leaves(recipe) or {}
    return {key: json.dumps(value, ensure_ascii=False, default=str) for key, value in found.items()}


def _key(one: Contrast) -> Key:
    return one.endpoint, one.arm, one.reference, one.kind


def _contrast_table(
    studies: Sequence[Study], keys: Sequence[Key], limits: Mapping[str, list[Limit]]
) -> Table:
    places = endpoint_places([one for study in studies for one in study.analysis.contrasts])
    columns = ["endpoint", "contrast", "kind"]
    columns += [f"{study.name}: {what}" for study in studies for what in ("gain", "n", "verdict")]
    table = Table([*columns, "comparable"])
    found = [{_key(one): one for one in study.analysis.contrasts} for study in studies]
    for key in keys:
        endpoint, arm, reference, kind = key
        row: list[Cell] = [endpoint, f"{arm} vs {reference}", kind]
        own = [contrasts.get(key) for contrasts in found]
        for one in own:
            row += _found(one, places[endpoint]) if one else [ABSENT] * 3
        table.rows.append([*row, _comparable(studies, own, limits.get(endpoint, []))])
    return table


def _comparable(studies: Sequence[Study], own: Sequence[Contrast | None], limits: Sequence[Limit]) -> str:
    """What of a row may not be compared, or `yes`."""
    there = [(study, one) for study, one in zip(studies, own, strict=True) if one]
    if len(there) < 2:
        return "in one study only"
    _, one = there[0]
    unlike = arm_limits([study for study, _ in there], one.arm, one.reference)
    return "; ".join([*(limit.short for limit in limits), *unlike]) or "yes"


def _found(one: Contrast, places: int) -> list[Cell]:
    gain = number(one.estimate.mean_gain, places, signed=True)
    interval = interval_text(one.interval95, places) if one.interval95 else "no interval"
    return [f"{gain} {interval}", pairs_text(one), one.printed_verdict or ABSENT]


def _difference_table(studies: Sequence[Study]) -> Table:
    """One row for everything in which the studies differ: what they state, read and spent."""
    table = Table(["what", *(study.name for study in studies)])
    asked: dict[str, Callable[[Study], str]] = {
        "question": lambda study: study.header.question,
        "baseline": lambda study: study.header.baseline,
        "held equal": lambda study: study.header.match,
        "seeds": lambda study: _seeds(study.header.seeds),
        "primary endpoint": lambda study: study.header.primary,
        "stopping": lambda study: study.header.rule,
        "plan": lambda study: "confirmatory" if study.analysis.registration.confirmatory else "exploratory",
        "baseline's FLOPs": lambda study: _spent(study, lambda run: run.spent.total_flops),
        "baseline's text tokens": lambda study: _spent(study, lambda run: run.spent.text_tokens),
    }
    for endpoint in dict.fromkeys(name for study in studies for name in study.header.margins):
        asked[f"margin of {endpoint}"] = partial(_margin, endpoint=endpoint)
    for key in sorted({key for study in studies for record in study.records for key in record.data_digests}):
        asked[f"digest of {key}"] = partial(_digest, key=key)
    for key in ("device", "versions"):
        asked[key] = partial(_origins, key=key)
    for key in _recipe_keys(studies):
        asked[f"recipe: {key}"] = partial(_recipe, key=key)
    for what, ask in asked.items():
        values = [ask(study) for study in studies]
        if len(set(values)) > 1:
            table.rows.append([what, *values])
    return table


def _recipe_keys(studies: Sequence[Study]) -> list[str]:
    """The keys of all recipes; of a stream, arm or task that one of them lacks, its name alone."""
    blocks: dict[str, set[str]] = {}
    for study in studies:
        for key in study.recipe:
            blocks.setdefault(_block(key), set()).add(study.name)
    partial_ones = {block for block, names in blocks.items() if block and len(names) < len(studies)}
    keys = {key for study in studies for key in study.recipe if key.partition(".")[0] not in STATED_BLOCKS}
    return sorted({_block(key) if _block(key) in partial_ones else key for key in keys})


def _block(key: str) -> str:
    """The stream, arm or task that a key of the recipe belongs to; empty for other keys."""
    root, _, rest = key.partition(".")
    return f"{root}.{rest.partition('.')[0]}" if root in ("streams", "arms", "tasks") else ""


def _recipe(study: Study, key: str) -> str:
    if key in study.recipe:
        return study.recipe[key]
    return "there" if any(name.startswith(f"{key}.") for name in study.recipe) else ABSENT


def _margin(study: Study, endpoint: str) -> str:
    return margin_text(study, endpoint) or ABSENT


def _digest(study: Study, key: str) -> str:
    return ", ".join(sorted(digests(study, key))) or ABSENT


def _origins(study: Study, key: str) -> str:
    """A part of the provenance of the records; of versions, torch's."""
    found = (record.provenance.get(key) for record in study.records)
    said = {f"torch {one.get('torch')}" if isinstance(one, dict) else str(one) for one in found if one}
    return ", ".join(sorted(said)) or ABSENT


def _seeds(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 12 else f"{len(seeds)}, {min(seeds)} to {max(seeds)}"


def _spent(study: Study, quantity: Callable[[RunRecord], float]) -> str:
    """What a run of the baseline spent, smallest to largest."""
    values = [quantity(record) for record in study.records if record.arm == study.header.baseline]
    if not values:
        return ABSENT
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
