"""The effect of every arm against compute, over the settings of a sweep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ablate.report.sweep_analysis import SettingResult, SweepResult
from ablate.report.tables import ABSENT, Cell, Table, interval_text, number, p_text
from ablate.stats.compute_trend import ComputeTrend, TwoFactors, fit_trend, fit_two_factors
from ablate.stats.contrasts import Contrast

SAME_COMPUTE = 0.01
"""Relative difference of FLOPs up to which two settings have the same compute."""

KINDS = {"total": "against the baseline", "grounding": "against shuffled media (grounding)"}
"""Contrasts that are followed over compute."""

MOST_SENTENCES = 8
"""Trends that are told in sentences; the table holds all."""


@dataclass(frozen=True)
class Rung:
    """One setting of a ladder."""

    setting: str
    flops: float
    """Training FLOPs of a run of the baseline."""
    parameters: int
    """Of its backbone."""
    contrast: Contrast

    @property
    def shown(self) -> bool:
        """Whether its mean gain may be printed."""
        return self.contrast.complete and self.contrast.estimate.mean_gain is not None


@dataclass(frozen=True)
class Ladder:
    """One arm over compute, in settings that differ in nothing else."""

    arm: str
    kind: str
    """`total`, against the baseline, or `grounding`, against shuffled media."""
    others: str
    """Levels that the settings share, of factors that change no compute."""
    endpoint: str
    margin: float | None
    rungs: list[Rung]
    """By rising compute: the settings that have a pair."""
    lost: list[str]
    """Settings without one."""
    trend: ComputeTrend
    factors: TwoFactors | None
    """Where sizes vary as well as compute."""

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return " ".join(filter(None, [self.arm, f"({self.others})" if self.others else ""]))


def sweep_trends(result: SweepResult) -> list[Ladder]:
    """Every arm over compute on the primary endpoint; none where all settings have the same compute."""
    return [one for group in _groups(result) for one in _ladders(result, *group)]


def _groups(result: SweepResult) -> Iterator[tuple[str, list[SettingResult]]]:
    """Settings that differ in compute alone, with the levels that they share."""
    factors = list(dict.fromkeys(name for one in result.settings for name in one.setting.levels))
    idle = [name for name in factors if _changes_no_compute(name, result.settings)]
    found: dict[tuple[str, ...], list[SettingResult]] = {}
    for one in result.settings:
        if one.setting.baseline_flops > 0.0:
            found.setdefault(tuple(one.setting.levels.get(name, "") for name in idle), []).append(one)
    for levels, members in found.items():
        flops = [one.setting.baseline_flops for one in members]
        if max(flops) > (1.0 + SAME_COMPUTE) * min(flops):
            words = ", ".join(f"{name} {level}" for name, level in zip(idle, levels, strict=True))
            yield words, sorted(members, key=lambda one: one.setting.baseline_flops)


def _changes_no_compute(factor: str, settings: Sequence[SettingResult]) -> bool:
    """Whether settings that differ in ``factor`` alone have the same compute."""
    found: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for one in settings:
        others = tuple(item for item in one.setting.levels.items() if item[0] != factor)
        if one.setting.baseline_flops > 0.0:
            found.setdefault(others, []).append(one.setting.baseline_flops)
    return all(max(flops) <= (1.0 + SAME_COMPUTE) * min(flops) for flops in found.values())


def _ladders(result: SweepResult, others: str, members: Sequence[SettingResult]) -> Iterator[Ladder]:
    headers = [one.header for one in members if one.header is not None]
    if not headers:
        return
    endpoint, margin = headers[0].primary, headers[0].margins.get(headers[0].primary)
    arms = dict.fromkeys(arm for one in members for arm in one.arms if arm != result.sweep.baseline)
    for arm in arms:
        for kind in KINDS:
            own = [(one, one.contrast(arm, endpoint, kind)) for one in members]
            rungs = [
                Rung(one.name, one.setting.baseline_flops, one.setting.parameters, contrast)
                for one, contrast in own
                if contrast is not None and contrast.sample.seeds
            ]
            lost = [one.name for one in members if one.name not in {rung.setting for rung in rungs}]
            if rungs:
                trend, factors = _fitted(rungs)
                yield Ladder(arm, kind, others, endpoint, margin, rungs, lost, trend, factors)


def _fitted(rungs: Sequence[Rung]) -> tuple[ComputeTrend, TwoFactors | None]:
    seeds = list(dict.fromkeys(seed for rung in rungs for seed in rung.contrast.sample.seeds))
    gains = np.full((len(rungs), len(seeds)), np.nan)
    for row, rung in enumerate(rungs):
        sample = rung.contrast.sample
        gains[row, [seeds.index(seed) for seed in sample.seeds]] = sample.gains
    flops = [rung.flops for rung in rungs]
    trend = fit_trend(flops, gains, [rung.setting for rung in rungs])
    sizes = [rung.parameters for rung in rungs]
    if min(sizes) <= 0 or len(set(sizes)) < 2:
        return trend, None
    return trend, fit_two_factors(sizes, flops, gains)


def trend_sentences(trends: Sequence[Ladder]) -> list[str]:
    """How each effect changes with compute, as plain text."""
    fitted = [one for one in trends if one.trend.slope is not None]
    said = []
    for one in fitted[:MOST_SENTENCES]:
        lead = f"{one.name} over compute, {KINDS[one.kind]}, {one.endpoint}"
        factors = one.factors.statement if one.factors and not one.factors.problem else ""
        lost = f"no pair in {', '.join(one.lost)}" if one.lost else ""
        said.append(f"{lead}: {'; '.join(filter(None, [one.trend.statement, factors, lost]))}.")
    if len(fitted) > MOST_SENTENCES:
        said.append(f"{len(fitted) - MOST_SENTENCES} further trends stand in the table of trends.")
    untold: dict[str, dict[str, None]] = {}
    for one in trends:
        if one.trend.slope is None:
            lost = f"; no pair in {', '.join(one.lost)}" if one.lost else ""
            untold.setdefault(f"{one.trend.statement}{lost}", {})[one.name] = None
    said += [f"Over compute, {', '.join(names)}: {statement}." for statement, names in untold.items()]
    return said


def slope_table(trends: Sequence[Ladder], places: dict[str, int]) -> Table:
    """The trend of every ladder, and of size and compute apart where both vary."""
    columns = ["arm", "contrast", "slope", "settings", "seeds", "per doubling", "95% CI", "p", "remark"]
    table = Table(columns)
    for one in trends:
        digits = places.get(one.endpoint, 4) + 1
        slopes = [one.trend.slope]
        if one.factors and not one.factors.problem:
            apart = (one.factors.size, one.factors.compute, one.factors.interaction)
            slopes += [slope for slope in apart if slope is not None]
        for slope in slopes:
            row: list[Cell] = [one.name, one.kind]
            row += [
                slope.name if slope else "gain per doubling of FLOPs",
                len(one.rungs),
                len(one.trend.seeds),
            ]
            if slope is None:
                table.add([*row, ABSENT, ABSENT, ABSENT, one.trend.problem])
                continue
            found = slope.estimate
            row += [number(found.mean_gain, digits, signed=True), interval_text(found.interval95, digits)]
            table.add([*row, p_text(found.p_difference), found.remark])
    return table


def slope_rows(trends: Sequence[Ladder]) -> Table:
    """The trend of every ladder for machines."""
    columns = [
        "arm",
        "contrast",
        "settings",
        "seeds",
        "flops_low",
        "flops_high",
        "slope",
        "ci95_low",
        "ci95_high",
    ]
    table = Table([*columns, "p_value", "problem"])
    for one in trends:
        found = one.trend.slope.estimate if one.trend.slope else None
        low, high = (found.interval95 if found else None) or (None, None)
        row: list[Cell] = [one.name, one.kind, len(one.rungs), len(one.trend.seeds)]
        row += [one.rungs[0].flops, one.rungs[-1].flops, found.mean_gain if found else None, low, high]
        table.add([*row, found.p_difference if found else None, one.trend.problem])
    return table


def trend_table(trends: Sequence[Ladder], places: dict[str, int]) -> Table:
    """The gain at every rung of every ladder."""
    table = Table(["arm", "contrast", "setting", "FLOPs", "n", "gain", "95% CI"])
    for one in trends:
        digits = places.get(one.endpoint, 4)
        for rung in one.rungs:
            found = rung.contrast.estimate
            row: list[Cell] = [
                one.name,
                one.kind,
                rung.setting,
                f"{rung.flops:.4g}".replace("e+", "e"),
                found.n,
            ]
            shown = rung.shown
            row += [number(found.mean_gain if shown else None, digits, signed=True)]
            table.add([*row, interval_text(rung.contrast.interval95 if shown else None, digits)])
    return table


def trend_rows(trends: Sequence[Ladder]) -> Table:
    """The same for machines."""
    table = Table(["arm", "contrast", "setting", "flops", "n", "mean_gain", "ci95_low", "ci95_high"])
    for one in trends:
        for rung in one.rungs:
            found = rung.contrast.estimate
            low, high = (rung.contrast.interval95 if rung.shown else None) or (None, None)
            mean = found.mean_gain if rung.shown else None
            table.add([one.name, one.kind, rung.setting, rung.flops, found.n, mean, low, high])
    return table
