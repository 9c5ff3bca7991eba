"""The rows of a sweep's report: mixtures, surfaces, held-out mixtures, compute, what is missing.

Each table for reading has a CSV of the same rows, unrounded.
"""

from collections.abc import Iterable, Sequence

from ablate.record import RunRecord
from ablate.report.compute import QUANTITIES
from ablate.report.contrast_tables import pairs_text
from ablate.report.sweep_analysis import SettingResult, SweepResult
from ablate.report.sweep_fits import SweepFit
from ablate.report.tables import (
    ABSENT,
    Cell,
    Table,
    endpoint_places,
    interval_text,
    number,
    p_text,
    run_names,
)
from ablate.stats.contrasts import Contrast
from ablate.stats.mixture_surface import Optimum, Surface
from ablate.stats.paired import Interval

SPENT = ("total_flops", "text_tokens")
"""Quantities beside every mixture."""


def places_of(result: SweepResult) -> dict[str, int]:
    """Endpoint to the decimal places that all settings are shown with."""
    return endpoint_places([one for setting in result.settings for one in setting.contrasts])


def points_table(result: SweepResult, primary: bool) -> Table:
    """Arms by settings, of the primary endpoint or of the others with a margin."""
    shares = result.sweep.components
    titles = [QUANTITIES[key].title for key in SPENT]
    columns = ["setting", "endpoint", "arm", *shares, "verdict", "grounding", "n", "gain", "95% CI"]
    table = Table([*columns, *titles, "role", "note"])
    places = places_of(result)
    for one in result.settings:
        for endpoint in one.endpoints[:1] if primary else one.endpoints[1:]:
            for arm in one.arms:
                runs = [run for run in one.records if run.arm == arm]
                point = result.point(arm)
                contrast = one.contrast(arm, endpoint)
                row: list[Cell] = [one.name, endpoint, arm]
                row += [f"{point.shares[name]:.4g}" if point else ABSENT for name in shares]
                row += _judged(one, contrast, places.get(endpoint, 4))
                row += [_spent(runs, key) for key in SPENT]
                row += [", ".join(role.replace("_", " ") for role in point.roles) if point else ABSENT]
                row += [contrast.note if contrast else ""]
                arms = (arm, contrast.reference) if contrast else (arm,)
                seeds = contrast.sample.seeds if contrast else [run.seed for run in runs]
                table.add(row, run_names([result.run_name(one.name, name) for name in arms], seeds))
    return table


def _judged(one: SettingResult, contrast: Contrast | None, places: int) -> list[Cell]:
    """Verdict, grounding, pairs, gain and interval; no average where a pair is missing."""
    if contrast is None:
        return [ABSENT] * 5
    grounding = one.contrast(contrast.arm, contrast.endpoint, "grounding")
    beside = grounding.printed_verdict if grounding else "not measured" if contrast.media else ABSENT
    shown: list[Cell] = [ABSENT, ABSENT]
    if contrast.complete:
        gain = number(contrast.estimate.mean_gain, places, signed=True)
        shown = [gain, interval_text(contrast.interval95, places)]
    return [contrast.printed_verdict or ABSENT, beside or ABSENT, pairs_text(contrast), *shown]


def _spent(runs: Sequence[RunRecord], key: str) -> str:
    values = [float(QUANTITIES[key].of(run.spent)) for run in runs]
    if not values:
        return ABSENT
    style = "flops" if key == "total_flops" else "count"
    low, high = (_counted(end, style) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _counted(value: float, style: str) -> str:
    return f"{value:.4g}".replace("e+", "e") if style == "flops" else f"{value:,.0f}"


def points_rows(result: SweepResult) -> Table:
    """The same rows of all endpoints for machines; a mean over fewer pairs than planned is left out."""
    shares = result.sweep.components
    columns = ["setting", "endpoint", "arm", *(f"share/{name}" for name in shares), "verdict", "grounding"]
    columns += ["n", "missing_seeds", "mean_gain", "ci95_low", "ci95_high", "p_difference_adjusted", "margin"]
    ends = [f"{key}_{end}" for key in SPENT for end in ("min", "max")]
    table = Table([*columns, *ends, "roles", "stopped", "note"])
    for one in result.settings:
        for endpoint in one.endpoints:
            for arm in one.arms:
                point, contrast = result.point(arm), one.contrast(arm, endpoint)
                row: list[Cell] = [one.name, endpoint, arm]
                row += [point.shares[name] if point else None for name in shares]
                row += _exact(one, contrast)
                runs = [run for run in one.records if run.arm == arm]
                for key in SPENT:
                    values = [QUANTITIES[key].of(run.spent) for run in runs]
                    row += [min(values), max(values)] if values else [None, None]
                row += [" ".join(point.roles) if point else "", contrast.stopped if contrast else ""]
                table.add([*row, contrast.note if contrast else ""])
    return table


def _exact(one: SettingResult, contrast: Contrast | None) -> list[Cell]:
    if contrast is None:
        return [""] * 2 + [None] * 7
    grounding = one.contrast(contrast.arm, contrast.endpoint, "grounding")
    low, high = _ends(contrast.interval95 if contrast.complete else None)
    mean = contrast.estimate.mean_gain if contrast.complete else None
    lost = " ".join(str(each.seed) for each in contrast.excluded)
    row: list[Cell] = [contrast.printed_verdict, grounding.printed_verdict if grounding else ""]
    row += [contrast.estimate.n, lost, mean, low, high]
    return [*row, contrast.p_difference_adjusted, contrast.margin]


def _ends(interval: Interval | None) -> Interval | tuple[None, None]:
    return interval or (None, None)


def optimum_table(fits: Sequence[SweepFit], places: dict[str, int]) -> Table:
    """Where the largest gain lies, and where it may lie."""
    columns = ["setting", "endpoint", "best mixture", "gain there", "95% band", "shares that may be best"]
    table = Table([*columns, "text-only may be best", "draws", "said"])
    for fit, surface, best in _optima(fits):
        digits = places.get(fit.endpoint, 4)
        row: list[Cell] = [fit.setting, fit.endpoint, mixture_text(surface.components, best.best)]
        row += [number(best.best_gain, digits, signed=True), interval_text(best.best_interval, digits)]
        row += [ranges_text(surface.components, best.ranges), "yes" if best.holds_baseline else "no"]
        table.add([*row, number(best.baseline_draws, 3), best.status])
    return table


def _optima(fits: Sequence[SweepFit]) -> Iterable[tuple[SweepFit, Surface, Optimum]]:
    for fit in fits:
        # An optimum of a surface that does not describe the data is no result.
        if fit.surface and fit.surface.optimum and fit.surface.optimum.status != "withheld":
            yield fit, fit.surface, fit.surface.optimum


def mixture_text(components: Sequence[str], shares: Sequence[float]) -> str:
    """A mixture in words, without the streams that it lacks."""
    return ", ".join(
        f"{name} {share:.2f}" for name, share in zip(components, shares, strict=True) if share > 1e-9
    )


def ranges_text(components: Sequence[str], ranges: Sequence[Interval]) -> str:
    """Least and greatest share of each stream, in words."""
    pairs = zip(components, ranges, strict=True)
    return ", ".join(f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in pairs)


def fit_table(fits: Sequence[SweepFit], places: dict[str, int]) -> Table:
    """How well each surface describes the mixtures."""
    columns = ["setting", "endpoint", "model", "parameters", "mixtures", "sd", "df", "error", "F lack of fit"]
    columns += ["p lack of fit", "misfit seen at 80%", "held out inside", "RMSE", "expected", "p held out"]
    table = Table([*columns, "problem"])
    for fit in fits:
        surface, digits = fit.surface, places.get(fit.endpoint, 4) + 1
        row: list[Cell] = [fit.setting, fit.endpoint]
        if surface is None or surface.fitted is None:
            table.add([*row, *[ABSENT] * 13, fit.problem])
            continue
        lack, held, error = surface.lack_of_fit, surface.held_out, surface.error
        measured = sum(not point.held_out and point.runs > 0 for point in surface.points)
        row += [(surface.model or "").replace("_", " "), len(surface.coefficients), measured]
        row += [number(error.sd, digits), f"{error.df:.3g}", error.source] if error else [ABSENT] * 3
        row += [number(lack.f, 2), p_text(lack.p_value)] if lack else ["not tested", ABSENT]
        seen = lack.detectable_sd if lack else None
        row += [ABSENT if seen is None else number(seen, digits)]
        if held:
            row += [
                f"{held.inside} of {held.of}",
                number(held.rmse, digits),
                number(held.expected_rmse, digits),
            ]
            row += [p_text(held.p_value)]
        else:
            row += ["none held out", *[ABSENT] * 3]
        table.add([*row, "; ".join(surface.notes)])
    return table


def candidate_table(fits: Sequence[SweepFit], places: dict[str, int]) -> Table:
    """The models that were considered, and how each predicts points that it did not see."""
    table = Table(["setting", "endpoint", "model", "parameters", "leave-one-out RMSE", "chosen", "problem"])
    for fit in fits:
        for one in fit.surface.choice if fit.surface else ():
            chosen = "yes" if fit.surface and one.model == fit.surface.model else ""
            rmse = number(one.rmse, places.get(fit.endpoint, 4) + 1)
            name = one.model.replace("_", " ")
            table.add([fit.setting, fit.endpoint, name, one.parameters, rmse, chosen, one.problem])
    return table


def coefficient_table(fits: Sequence[SweepFit], places: dict[str, int]) -> Table:
    """The parameters of every surface."""
    table = Table(["setting", "endpoint", "term", "estimate", "95% CI", "p"])
    for fit in fits:
        for one in fit.surface.coefficients if fit.surface else ():
            digits = places.get(fit.endpoint, 4)
            shown = [number(one.estimate, digits, signed=True), interval_text(one.interval, digits)]
            table.add([fit.setting, fit.endpoint, one.term, *shown, p_text(one.p_value)])
    return table


def coefficient_rows(fits: Sequence[SweepFit]) -> Table:
    """The same for machines."""
    table = Table(
        ["setting", "endpoint", "model", "term", "estimate", "se", "ci95_low", "ci95_high", "p_value"]
    )
    for fit in fits:
        for one in fit.surface.coefficients if fit.surface else ():
            model = fit.surface.model if fit.surface else ""
            ends = _ends(one.interval)
            table.add([fit.setting, fit.endpoint, model, one.term, one.estimate, one.se, *ends, one.p_value])
    return table


def held_out_table(fits: Sequence[SweepFit], places: dict[str, int]) -> Table:
    """Mixtures that the surface did not see: the gain that was found beside the one that was predicted."""
    table = Table(["setting", "endpoint", "mixture", "found", "predicted", "95% prediction", "inside"])
    for fit in fits:
        digits = places.get(fit.endpoint, 4)
        for one in fit.surface.held_out.points if fit.surface and fit.surface.held_out else ():
            inside = ABSENT if one.inside is None else "yes" if one.inside else "no"
            row: list[Cell] = [fit.setting, fit.endpoint, _arm_of(fit, one.shares)]
            row += [number(one.gain, digits, signed=True), number(one.predicted, digits, signed=True)]
            table.add([*row, interval_text(one.interval, digits), inside])
    return table


def held_out_rows(fits: Sequence[SweepFit]) -> Table:
    """The same for machines."""
    table = Table(["setting", "endpoint", "mixture", "found", "predicted", "pi95_low", "pi95_high", "inside"])
    for fit in fits:
        for one in fit.surface.held_out.points if fit.surface and fit.surface.held_out else ():
            ends = _ends(one.interval)
            row: list[Cell] = [fit.setting, fit.endpoint, _arm_of(fit, one.shares)]
            table.add([*row, one.gain, one.predicted, *ends, one.inside])
    return table


def _arm_of(fit: SweepFit, shares: Sequence[float]) -> str:
    """The arm that has these shares."""
    assert fit.surface is not None
    rows = abs(fit.surface.shares - shares).sum(axis=1)
    return fit.points[int(rows.argmin())].arm


def missing_rows(result: SweepResult) -> Table:
    """What is not there, setting by setting, and what was stopped. None of it is in an average."""
    table = Table(["setting", "what", "reason"])
    for one in result.settings:
        if one.problem:
            table.add([one.name, "all runs", one.problem])
        for what, why in one.missing:
            table.add([one.name, what, why])
        for arm, why in one.header.stopped.items() if one.header else ():
            table.add([one.name, f"{arm}, later seeds", why])
    return table


def setting_table(result: SweepResult) -> Table:
    """What each setting is, planned and spent."""
    factors = list(dict.fromkeys(name for one in result.settings for name in one.setting.levels))
    columns = [
        "setting",
        *factors,
        "parameters",
        "FLOPs of a baseline run",
        "runs planned",
        "finished",
        "diverged",
    ]
    table = Table([*columns, "missing", "stopped", "FLOPs spent"])
    for one in result.settings:
        own = one.setting
        planned = one.header.planned_runs if one.header else None
        row: list[Cell] = [one.name, *(own.levels.get(name, ABSENT) for name in factors)]
        row += [f"{own.parameters:,}" if own.parameters else ABSENT]
        row += [_counted(own.baseline_flops, "flops") if own.baseline_flops else ABSENT, planned]
        states = [run.status for run in one.records]
        row += [states.count("finished"), states.count("diverged")]
        if planned is None:
            table.add([*row, None, None, _counted(0.0, "flops")])
            continue
        there = {(run.arm, run.seed) for run in one.records}
        assert one.header is not None
        stopped = sum((arm, seed) not in there for arm in one.header.stopped for seed in one.header.seeds)
        row += [planned - len(there) - stopped, stopped]
        table.add([*row, _counted(float(sum(run.spent.total_flops for run in one.records)), "flops")])
    return table


def compute_summary(result: SweepResult) -> Table:
    """Runs and FLOPs of the whole sweep, and what sharing saved."""
    sweep = result.sweep
    # A run that several settings and arms have is one run.
    runs = {run.identity: run for one in result.settings for run in one.records}
    spent = float(sum(run.spent.total_flops for run in runs.values()))
    saved = sweep.planned_flops - sweep.distinct_flops
    share = f" ({saved / sweep.planned_flops:.1%})" if sweep.planned_flops else ""
    table = Table(["quantity", "runs", "FLOPs"])
    table.add(["planned, each on its own", sweep.planned_runs, _counted(sweep.planned_flops, "flops")])
    table.add(["planned, distinct", sweep.distinct_runs, _counted(sweep.distinct_flops, "flops")])
    table.add(
        ["saved by sharing", sweep.planned_runs - sweep.distinct_runs, f"{_counted(saved, 'flops')}{share}"]
    )
    table.add(["trained, distinct", len(runs), _counted(spent, "flops")])
    ended = {
        one.identity: one.flops
        for setting in result.settings
        for one in (setting.tuning.trials if setting.tuning else ())
        if one.status != "missing"
    }
    if ended:
        table.add(["trials of tuning, distinct", len(ended), _counted(float(sum(ended.values())), "flops")])
    return table
