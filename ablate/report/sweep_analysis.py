"""What a sweep found, as numbers: every setting's study judged as it stands, and what lies across them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ablate.record import RunRecord
from ablate.report.analysis import analyse
from ablate.report.load import HEADER_FILE, StudyHeader, load_records, read_header
from ablate.report.recipe_text import leaves
from ablate.report.registration import UNREGISTERED, Registration, read_registration
from ablate.report.sweep_file import Point, Setting, SweepFile, read_sweep
from ablate.report.tables import missing_table
from ablate.report.tuning import Tuning, read_tuning
from ablate.stats.contrasts import Contrast
from ablate.stats.samples import endpoint_directions, index_runs

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SettingResult:
    """One setting: its study, or why there is none."""

    setting: Setting
    problem: str = ""
    """Why nothing can be said of it; empty where there are records."""
    header: StudyHeader | None = None
    records: list[RunRecord] = field(default_factory=list)
    contrasts: list[Contrast] = field(default_factory=list)
    """Of the primary endpoint and of those with a margin: the verdicts of the setting's own study."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """What is not there, and why; without runs that the plan's rule stopped."""
    registration: Registration = UNREGISTERED
    tuning: Tuning | None = None
    """What came before its runs; None where nothing was tuned."""

    @property
    def name(self) -> str:
        return self.setting.name

    @property
    def endpoints(self) -> list[str]:
        """The primary endpoint, then the others that have a margin."""
        return list(dict.fromkeys([self.header.primary, *self.header.margins])) if self.header else []

    @property
    def arms(self) -> list[str]:
        """The baseline and the arms that are contrasted with it, without placebos and rungs of a ladder."""
        if self.header is None:
            return []
        placebos = {name for names in self.header.controls.values() for name in names}
        return [arm for arm in self.header.arms if arm not in placebos and arm not in self.header.ladder]

    def contrast(self, arm: str, endpoint: str, kind: str = "total") -> Contrast | None:
        """``arm`` against the baseline, or its `grounding` contrast; None where there is none."""
        return next(
            (one for one in self.contrasts if (one.arm, one.endpoint, one.kind) == (arm, endpoint, kind)),
            None,
        )

    def higher_is_better(self, endpoint: str) -> bool:
        """Direction of ``endpoint``; higher where no run was scored."""
        return endpoint_directions(self.records).get(endpoint, True)

    def scores(self, arms: Sequence[str], endpoint: str) -> Floats:
        """float64[arms, seeds]: NaN where a run is missing, diverged, not scored, or no proven pair."""
        assert self.header is not None
        place = {seed: at for at, seed in enumerate(self.header.seeds)}
        found = np.full((len(arms), len(place)), np.nan)
        for row, arm in enumerate(arms):
            for seed, value in self._values(arm, endpoint):
                # The baseline may have further seeds, for a control variate.
                if seed in place:
                    found[row, place[seed]] = value
        return found

    def _values(self, arm: str, endpoint: str) -> Iterator[tuple[int, float]]:
        assert self.header is not None
        if arm != self.header.baseline:
            one = self.contrast(arm, endpoint)
            return iter(zip(one.sample.seeds, one.sample.treated, strict=True)) if one else iter(())
        own = (run for run in self.records if run.arm == arm and endpoint in run.scores)
        return ((run.seed, run.scores[endpoint].value) for run in own)


@dataclass(frozen=True)
class SweepResult:
    """A sweep, judged."""

    sweep: SweepFile
    settings: list[SettingResult]

    @property
    def several(self) -> bool:
        """Whether a setting has to be named to be told from the others."""
        return len(self.settings) > 1

    def point(self, arm: str) -> Point | None:
        """The mixture of ``arm``; None for an arm of the recipe's own."""
        return next((point for point in self.sweep.points if point.arm == arm), None)

    def run_name(self, setting: str, arm: str) -> str:
        """What an arm is called among those of all settings."""
        return f"{setting} {arm}" if self.several else arm


def read_results(folder: Path) -> SweepResult:
    """Read and judge the sweep in ``folder``; nothing is written.

    Raises:
        StudyError: there is no sweep, or a setting's study contradicts itself.
        RecordError: a record cannot be read, or two disagree.
    """
    sweep = read_sweep(folder)
    return SweepResult(sweep, [_read_setting(sweep, one, folder / one.folder) for one in sweep.settings])


def _read_setting(sweep: SweepFile, setting: Setting, folder: Path) -> SettingResult:
    if not (folder / HEADER_FILE).is_file():
        return SettingResult(setting, setting.problem or "it was not begun: there is no study in its folder")
    header = read_header(folder)
    tuning = read_tuning(folder)
    if strange := _strange(sweep, setting, header):
        return SettingResult(setting, setting.problem or f"its study is not of this sweep: {strange}")
    if not any((folder / "records").glob("*.json")):
        why = next(
            (f": {said}" for what, said in sweep.failed.items() if what.startswith(f"{setting.name}/")), ""
        )
        why = setting.problem or f"no run of it has ended{why}"
        return SettingResult(setting, why, header, tuning=tuning)
    records = load_records(folder, header)
    found = judged(setting, header, records, read_registration(folder, header, records))
    missing = [
        (what, _explained(why, sweep.failed.get(f"{setting.name}/{what}"))) for what, why in found.missing
    ]
    return replace(found, missing=missing, tuning=tuning)


def _strange(sweep: SweepFile, setting: Setting, header: StudyHeader) -> str:
    """How a study in a setting's folder contradicts the sweep: it is of an earlier form of it, or one of the
    two files was edited. Empty where it does not."""
    if header.study != setting.study:
        return f"it is called {header.study!r}"
    if header.baseline != sweep.baseline:
        return f"its baseline is {header.baseline!r}"
    stated = leaves(header.recipe) or {}
    for point in sweep.points:
        own = {name: stated.get(f"arms.{point.arm}.mixture.{name}", 0.0) for name in point.shares}
        known = any(own.values()) and all(isinstance(share, int | float) for share in own.values())
        if known and any(abs(own[name] - share) > 1e-6 for name, share in point.shares.items()):
            return f"the mixture of {point.arm!r} is another"
    return ""


def judged(
    setting: Setting, header: StudyHeader, records: Sequence[RunRecord], registration: Registration
) -> SettingResult:
    """One setting from its records: contrasts as its own study has them, and what is missing."""
    stated = {header.primary, *header.margins}
    # Contrasts on other endpoints are the study's own report's; to judge them all again would take long.
    needed = stated | {part for parts in header.differences.values() for part in parts}
    few = [
        replace(one, scores={name: score for name, score in one.scores.items() if name in needed})
        for one in records
    ]
    study = analyse(header, few, registration)
    found = [one for one in study.contrasts if one.endpoint in stated]
    runs = index_runs(study.records)
    spared = {
        f"{arm}, seed {seed}" for arm in header.stopped for seed in header.seeds if (arm, seed) not in runs
    }
    rows = [(str(what), str(why)) for what, why in missing_table(runs, header, found).rows]
    missing = [(what, why) for what, why in rows if what not in spared]
    return SettingResult(setting, "", header, study.records, found, missing, registration)


def _explained(why: str, failure: str | None) -> str:
    if why != "no record":
        return why
    return f"failed: {failure}" if failure else "no record: it has not ended"
