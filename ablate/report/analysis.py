"""Everything a report says of a study, as numbers: from records and item scores to judged contrasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ablate.record import RunRecord
from ablate.report.items import ItemScores, read_items
from ablate.report.load import StudyHeader, load_records, read_header
from ablate.report.registration import UNREGISTERED, Registration, log_look, read_registration
from ablate.report.screen import screen_study, screened_endpoints
from ablate.report.tuning import Tuning, read_tuning
from ablate.report.tuning_table import Settings, is_tuned, settings_note, trained_settings, tuning_faults
from ablate.stats.bootstrap import crossed_bootstrap
from ablate.stats.contrasts import Contrast, contrasts
from ablate.stats.decomposition import Decomposition, decompositions
from ablate.stats.differences import PREFIX, with_differences
from ablate.stats.exchange import Equivalent, exchanges
from ablate.stats.screening import Screened


@dataclass(frozen=True)
class Analysis:
    """One study, judged."""

    header: StudyHeader
    records: list[RunRecord]
    """With the derived endpoints of `endpoints.differences`."""
    contrasts: list[Contrast]
    decompositions: list[Decomposition]
    equivalents: list[Equivalent]
    registration: Registration
    items: Mapping[str, ItemScores]
    """Endpoint to item scores: the primary endpoint and those with a margin."""
    faults: list[str]
    """What is wrong with the item scores, in words."""
    screening: list[Screened] = field(default_factory=list)
    """Every endpoint, where the study is a screen."""
    settings: Settings = field(default_factory=dict)
    """Arm to the settings of `train` in which arms differ; empty where they agree."""
    tuning: Tuning | None = None
    tuning_faults: list[str] = field(default_factory=list)
    """In what tuning and the runs after it are not what the recipe asks for, in words."""


def read_study(folder: Path, looked_at: str | None = None) -> Analysis:
    """Read and judge the study in ``folder``.

    Args:
        looked_at: the time, ISO 8601, under which to log the look; None looks without a trace, as a check
            of what is committed does.

    Raises:
        StudyError: no header or records, or they contradict each other.
        RecordError: a record cannot be read, or two disagree.
    """
    header = read_header(folder)
    records = load_records(folder, header)
    if looked_at is not None:
        log_look(folder, header, records, now=looked_at)
    items: dict[str, ItemScores] = {}
    faults: list[str] = []
    if (folder / "items").is_dir():
        # A difference has no items of its own: they are those of its parts.
        asked = [name for name in (header.primary, *header.margins) if not name.startswith(PREFIX)]
        read = records
        if header.purpose == "screen":
            # The smaller budgets are held against each other, not against chance.
            asked = screened_endpoints(records, header)
            read = [record for record in records if record.arm == header.baseline]
        items, faults = read_items(folder, read, asked)
    found = analyse(header, records, read_registration(folder, header, records), items, faults)
    if not is_tuned(header):
        return found
    tuning = read_tuning(folder)
    return replace(found, tuning=tuning, tuning_faults=tuning_faults(tuning, header, records))


def analyse(
    header: StudyHeader,
    records: Sequence[RunRecord],
    registration: Registration = UNREGISTERED,
    items: Mapping[str, ItemScores] | None = None,
    faults: Sequence[str] = (),
) -> Analysis:
    """Judge the records of a study; the same records give the same numbers."""
    scored = with_differences(records, header)
    judged = contrasts(scored, header, rests_on_adjusted=bool(header.covariate) and registration.confirmatory)
    settings = trained_settings(scored, header)
    found = [_with_items(_noted(one, settings), (items or {}).get(one.endpoint)) for one in judged]
    return Analysis(
        header,
        scored,
        found,
        decompositions(scored, header),
        exchanges(scored, header),
        registration,
        items or {},
        list(faults),
        screen_study(records, header, items or {}) if header.purpose == "screen" else [],
        settings,
    )


def _noted(contrast: Contrast, settings: Settings) -> Contrast:
    """``contrast`` with a note of how its arms were trained otherwise, where they were."""
    note = settings_note(contrast.arm, contrast.reference, settings)
    return replace(contrast, note="; ".join(filter(None, [contrast.note, note]))) if note else contrast


def _with_items(contrast: Contrast, scores: ItemScores | None) -> Contrast:
    """``contrast`` with seeds and items resampled together, where every pair has its item scores."""
    arms = (contrast.arm, contrast.reference)
    pairs = [[(arm, seed) for seed in contrast.sample.seeds] for arm in arms]
    if scores is None or not pairs[0] or not all(run in scores.values for runs in pairs for run in runs):
        return contrast
    treated, reference = (np.stack([scores.values[run] for run in runs]) for runs in pairs)
    name = f"{contrast.arm}/{contrast.reference}/{contrast.endpoint}"
    better = contrast.sample.higher_is_better
    found = crossed_bootstrap(treated, reference, scores.weights, scores.clusters, better, name)
    return replace(contrast, items=found)
