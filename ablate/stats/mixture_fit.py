"""A response surface over mixtures: model, error, checks, optimum.

How it is judged, in the order in which it is done:

1. Seeds are blocks (`mixture_blocks`). Pure error is the interaction of points and seeds.
2. The model is the one asked for, or the richest that the design can check; see `choose`. Neither held-out
   mixtures nor any verdict has a say in it.
3. The error of intervals is pure error, unless the surfaces of seeds differ more than points scatter about
   them (`seed_error`): then it is the difference between seeds.
4. Lack of fit is tested against pure error. Where it is seen, intervals are widened to the scatter of the
   points about the surface, with its degrees of freedom, and no optimum is stated: they then belong to the
   surface of this form that is nearest to the truth, and not to the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ablate.stats.mixture_band import critical_value, scheffe_critical
from ablate.stats.mixture_blocks import Blocks, eliminate_seeds, square_root
from ablate.stats.mixture_check import check_held_out, point_gains
from ablate.stats.mixture_error import judge_fit
from ablate.stats.mixture_least_squares import LeastSquares, fit, left_out_errors
from ablate.stats.mixture_models import MODELS, MixtureModel, ModelName, SurfaceError, support
from ablate.stats.mixture_optimum import find_optimum
from ablate.stats.mixture_region import Region, region_of
from ablate.stats.mixture_surface import (
    LEVEL,
    Candidate,
    Coefficient,
    ErrorEstimate,
    Fitted,
    LackOfFit,
    Optimum,
    Surface,
)
from ablate.stats.mixture_wording import data_notes, doubts_of, fit_notes, law_of, named, unsupported

Array = NDArray[np.float64]

ALPHA = 1.0 - LEVEL
DETERMINED = 30.0
"""Least F of the exponential law, against no effect, with which it is used."""


@dataclass(frozen=True, eq=False)
class _Data:
    """What the model is fitted to."""

    components: tuple[str, ...]
    shares: Array
    blocks: Blocks
    baseline: tuple[float, ...]

    fits: dict[ModelName, LeastSquares] = field(default_factory=dict)
    """Models that were fitted already."""

    def model(self, name: ModelName) -> MixtureModel:
        return MixtureModel(name, self.components, self.baseline)

    def fit(self, name: ModelName) -> LeastSquares:
        if name not in self.fits:
            self.fits[name] = fit(self.model(name), self.shares, self.blocks)
        return self.fits[name]


def fit_surface(
    components: Sequence[str],
    shares: Array,
    values: Array,
    baseline_index: int,
    held_out: Sequence[bool] | NDArray[np.bool_] | None = None,
    higher_is_better: bool = True,
    seed: int = 0,
    *,
    model: ModelName | None = None,
    margin: float | None = None,
) -> Surface:
    """Fit a response surface over a simplex of mixtures.

    Args:
        components: names of the q streams, two or more.
        shares: float64[points, q], rows that add up to 1.
        values: float64[points, seeds] scores in the endpoint's unit; NaN where a run failed, diverged or is
            missing. Missing cells are taken to be lost for reasons that have nothing to do with their scores.
        baseline_index: row of the mixture that gains are counted from.
        held_out: bool[points]: mixtures that the fit must not see.
        seed: of the directions and draws behind critical values.
        model: the model, stated beforehand; None chooses.
        margin: smallest gain of interest, for the statement on the optimum.

    Raises:
        SurfaceError: shapes do not agree, shares do not add up to 1, or the baseline is held out.
    """
    shares, values, held = _checked(components, shares, values, baseline_index, held_out)
    sign = 1.0 if higher_is_better else -1.0
    oriented = sign * values
    scored = np.isfinite(values)
    used = np.asarray(~held & scored.any(axis=1))
    columns = np.asarray(scored[used].any(axis=0))
    baseline = tuple(float(share) for share in shares[baseline_index])
    about: dict[str, Any] = {
        "components": tuple(components),
        "shares": shares,
        "baseline": baseline_index,
        "higher_is_better": higher_is_better,
        "seeds": int(scored.any(axis=0).sum()),
        "missing": int((~scored).sum()),
    }
    notes = data_notes(scored, held, baseline_index)
    blocks = eliminate_seeds(oriented[used][:, columns]) if used.any() else None
    if blocks is None or not blocks.connected or not scored[baseline_index].any():
        points = point_gains(shares, oriented, held, baseline_index, None)
        problem = "the baseline has no score" if blocks else "no mixture has a score"
        if blocks and not blocks.connected:
            problem = "some mixtures share no seed with the others, so that they cannot be compared"
        return _nothing(about, points, (), "", problem, notes)
    data = _Data(tuple(components), shares[used], blocks, baseline)
    candidates, chosen, rule = choose(data, model)
    if chosen is None:
        points = point_gains(shares, oriented, held, baseline_index, None)
        return _nothing(about, points, candidates, rule, unsupported(candidates, model), notes)
    judged = _judge(data, chosen, seed)
    fitted, error, lack = judged.fitted, judged.error, judged.lack
    points = point_gains(shares, oriented, held, baseline_index, fitted)
    check = check_held_out(shares, oriented, held, used, columns, baseline_index, fitted, blocks, error)
    notes += fit_notes(fitted, blocks, lack, error, data.shares)
    surface = Surface(
        **about,
        points=points,
        choice=candidates,
        rule=rule,
        fitted=fitted,
        coefficients=_coefficients(fitted, error),
        covariance=None if error is None else error.sd**2 * fitted.unscaled,
        law=law_of(fitted, sign),
        error=error,
        critical=judged.critical,
        lack_of_fit=lack,
        held_out=check,
        optimum=None,
        problem="",
        notes=tuple(notes),
        disagreement="" if model else _disagreement(data, candidates, judged, seed),
    )
    doubts = "" if error is None else doubts_of(surface)
    return replace(surface, optimum=judged.optimum(doubts, margin, seed))


@dataclass(frozen=True, eq=False)
class _Judged:
    """A model with the error that its intervals are made of."""

    fitted: Fitted
    error: ErrorEstimate | None
    lack: LackOfFit | None
    region: Region
    critical: float | None
    """Half width of the simultaneous band in standard errors."""

    def optimum(self, doubts: str, margin: float | None, seed: int) -> Optimum:
        return find_optimum(
            self.fitted, self.error, self.critical, self.region, doubts=doubts, margin=margin, seed=seed
        )


def _judge(data: _Data, name: ModelName, seed: int) -> _Judged:
    found = data.fit(name)
    fitted = _fitted(data.model(name), data, found)
    error, lack = judge_fit(fitted, found.misfit, data.shares, data.blocks)
    region = region_of(data.shares)
    critical = None
    if error is not None and error.sd > 0:
        gradient = fitted.model.jacobian(fitted.parameters, region.grid)
        critical = band_critical(fitted, gradient, error, seed)
    return _Judged(fitted, error, lack, region, critical)


def _disagreement(data: _Data, candidates: Sequence[Candidate], judged: _Judged, seed: int) -> str:
    """What the exponential law says otherwise of the optimum, in words, where it fits as well as a polynomial
    that the design chose.

    Neither of the two contains the other. Measured on 4 mixtures of 2 streams at 3 seeds with the quadratic,
    whose one mixture to spare hardly checks it: of an exponential truth under which every mixture is worse
    than the baseline it claimed one that is better in 13 to 17% of studies.
    """
    able = any(one.model == "exponential" and not one.problem for one in candidates)
    if judged.fitted.model.name == "exponential" or not able:
        return ""
    spare = support(data.model("exponential"), data.shares).spare
    if spare < 1 or not _determined(data, "exponential"):
        return ""
    other = _judge(data, "exponential", seed)
    if other.lack is None or other.lack.seen:
        return ""
    mine, theirs = (one.optimum("", None, seed).status for one in (judged, other))
    if mine == theirs:
        return ""
    said = {
        "mixture": "some mixture beats the baseline",
        "baseline": "none does",
        "unknown": "it cannot tell",
    }
    return (
        f"two models fit the points and disagree: by the {named(judged.fitted.model.name)} surface "
        f"{said[mine]}, by the exponential law {said[theirs]} (state sweep.mixture.model beforehand, or "
        "measure more mixtures)"
    )


def band_critical(fitted: Fitted, gradient: Array, error: ErrorEstimate, seed: int) -> float:
    """Half width of the simultaneous band in standard errors.

    For polynomials the simulated maximum over the region, which is tighter than Scheffe's value. For the
    exponential law Scheffe's: which contrasts the mixtures are depends on the parameters, and these are
    estimated. Where the error is that between seeds, Student's, see `mixture_error.seed_error`.
    """
    if error.holds_all:
        return float(stdtrit(error.df, 0.5 + LEVEL / 2.0))
    if fitted.model.linear:
        return critical_value(gradient, fitted.unscaled, error.df, ALPHA, seed)
    return scheffe_critical(len(fitted.unscaled), error.df, ALPHA)


def choose(data: _Data, asked: ModelName | None) -> tuple[tuple[Candidate, ...], ModelName | None, str]:
    """The models considered, with their leave-one-point-out errors; the one to use; how it was chosen, in
    words.

    The design chooses, not the scores: the richest polynomial whose coefficients can still be told after the
    loss of any one point. The model with the smallest leave-one-point-out error is not taken: a polynomial
    that lacks a term too small to be seen predicts best, and its band misses the truth. Where lack of fit is
    seen, the models that are not part of it follow, by that error.

    Measured at 3 seeds on the {3, 3} lattice, for a quadratic truth whose blending is half a run's noise:
    chosen by that error, the simultaneous 95% band held the whole surface in 211 of 400 simulated studies;
    chosen by the design, in 956 of 1,000. No choice makes up for a truth outside the model: for an
    exponential truth, at 4 seeds, the design's choice held it in 900 of 1,000, the exponential law, asked
    for, in 1,955 of 2,000.
    """
    candidates = [_candidate(data, name) for name in (MODELS if asked is None else (asked,))]
    able = [one for one in candidates if not one.problem]
    if asked is not None:
        return _as_asked(data, asked, candidates, bool(able))
    rule = "the richest polynomial that the design supports without any one of its mixtures"
    polynomials = [one for one in able if one.model != "exponential"]
    if not polynomials:
        return tuple(candidates), None, rule
    first = max(polynomials, key=lambda one: (one.rmse is not None, one.parameters * (1 if one.rmse else -1)))
    if first.rmse is None:
        rule = "the simplest polynomial: the design supports none without any one of its mixtures"
    if not _lack_is_seen(data, first.model):
        return tuple(candidates), first.model, rule
    # A polynomial with fewer terms cannot fit where this one does not.
    others = [one for one in able if one.model == "exponential" or one.parameters > first.parameters]
    for one in sorted(others, key=lambda one: (one.rmse is None, one.rmse or 0.0)):
        found = support(data.model(one.model), data.shares)
        if found.spare > 0 and _determined(data, one.model) and not _lack_is_seen(data, one.model):
            said = f"{one.model}: lack of fit is seen in {rule} ({first.model}), and not in this one"
            return tuple(candidates), one.model, said
    return tuple(candidates), first.model, rule


def _as_asked(
    data: _Data, asked: ModelName, candidates: list[Candidate], able: bool
) -> tuple[tuple[Candidate, ...], ModelName | None, str]:
    """The model that was asked for, or a polynomial where the exponential law is not determined."""
    if not able:
        return tuple(candidates), None, f"{asked}, as asked for"
    if _determined(data, asked):
        return tuple(candidates), asked, f"{asked}, as asked for"
    others, instead, rule = choose(data, None)
    said = "exponential was asked for, but the effects are too small to determine its curvature; instead "
    return others, instead, said + rule


def _candidate(data: _Data, name: ModelName) -> Candidate:
    model = data.model(name)
    found = support(model, data.shares)
    spare = not found.problem and found.spare > 0
    errors = left_out_errors(model, data.shares, data.blocks, data.fit(name).parameters) if spare else None
    rmse = None if errors is None else float(np.sqrt((errors**2).mean()))
    return Candidate(name, found.parameters, rmse, found.problem)


def _lack_is_seen(data: _Data, name: ModelName) -> bool:
    found = data.fit(name)
    _, lack = judge_fit(_fitted(data.model(name), data, found), found.misfit, data.shares, data.blocks)
    return lack is not None and lack.seen


def _determined(data: _Data, name: ModelName) -> bool:
    """Whether the gains are large enough, against noise, for intervals of the model that are linearised.

    The exponential law has no curvature where it has no effect, and its intervals are then far too narrow.
    """
    pure = data.blocks.pure_variance
    if name != "exponential" or not pure:
        return True
    root = square_root(data.blocks.information)
    total = float(((root @ data.blocks.means) ** 2).sum())
    found = data.fit(name)
    return (total - found.misfit) / len(found.parameters) >= DETERMINED * pure


def _fitted(model: MixtureModel, data: _Data, found: LeastSquares) -> Fitted:
    gains = model.gains(found.parameters, data.shares)
    sizes = data.blocks.observed.sum(axis=0)
    gradients = data.blocks.within(model.jacobian(found.parameters, data.shares))
    return Fitted(
        model=model,
        parameters=found.parameters,
        unscaled=found.unscaled,
        level=float(data.blocks.seed_levels(gains).mean()),
        centre=gradients.mean(axis=0),
        level_variance=float((1.0 / sizes).mean()) / len(sizes),
    )


def _coefficients(fitted: Fitted, error: ErrorEstimate | None) -> tuple[Coefficient, ...]:
    found = []
    variances = np.maximum(np.diagonal(fitted.unscaled), 0.0)
    for term, estimate, variance in zip(fitted.model.terms, fitted.parameters, variances, strict=True):
        value = float(estimate)
        if error is None or not error.sd > 0 or not variance > 0:
            found.append(Coefficient(term, value, None, None, None))
            continue
        se = error.sd * float(np.sqrt(variance))
        half = float(stdtrit(error.df, 0.5 + LEVEL / 2.0)) * se
        p_value = 2.0 * float(stdtr(error.df, -abs(value) / se))
        found.append(Coefficient(term, value, se, (value - half, value + half), p_value))
    return tuple(found)


def _checked(
    components: Sequence[str],
    shares: Array,
    values: Array,
    baseline_index: int,
    held_out: Sequence[bool] | NDArray[np.bool_] | None,
) -> tuple[Array, Array, NDArray[np.bool_]]:
    shares, values = np.asarray(shares, dtype=np.float64), np.asarray(values, dtype=np.float64)
    q = len(components)
    if q < 2 or len(set(components)) < q:
        raise SurfaceError(
            f"a surface is over two or more components of different names, not {list(components)}"
        )
    if shares.ndim != 2 or shares.shape[1] != q or values.ndim != 2 or len(values) != len(shares):
        raise SurfaceError(
            f"shares of shape [points, {q}] and values of shape [points, seeds] are wanted, "
            f"not {shares.shape} and {values.shape}"
        )
    wrong = [
        row for row, one in enumerate(shares) if not (one >= -1e-9).all() or not abs(one.sum() - 1.0) <= 1e-6
    ]
    if wrong:
        raise SurfaceError(
            f"row {wrong[0]} of shares is {shares[wrong[0]].tolist()}: not 0 or more, adding up to 1"
        )
    if len(np.unique(np.round(shares, 9), axis=0)) < len(shares):
        raise SurfaceError("two points have the same shares; give each mixture one row")
    if np.isinf(values).any():
        raise SurfaceError("a score is infinite; give NaN where a run has no score")
    held = np.zeros(len(shares), dtype=bool) if held_out is None else np.asarray(held_out, dtype=bool)
    if held.shape != (len(shares),):
        raise SurfaceError(f"held_out has shape {held.shape}, and there are {len(shares)} points")
    if not 0 <= baseline_index < len(shares) or held[baseline_index]:
        raise SurfaceError(f"the baseline, row {baseline_index}, is not among the points that are fitted")
    return shares, values, held


def _nothing(
    about: dict[str, Any],
    points: tuple[Any, ...],
    candidates: tuple[Candidate, ...],
    rule: str,
    problem: str,
    notes: list[str],
) -> Surface:
    """A surface that could not be fitted, with the points that were measured."""
    return Surface(
        **about,
        points=points,
        choice=candidates,
        rule=rule,
        fitted=None,
        coefficients=(),
        covariance=None,
        law="",
        error=None,
        critical=None,
        lack_of_fit=None,
        held_out=None,
        optimum=None,
        problem=problem,
        notes=tuple(notes),
    )
