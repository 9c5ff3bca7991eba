"""Which model describes the mixtures: what the design supports, what fits, and what each that fits says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ablate.stats.mixture_band import critical_value, scheffe_critical
from ablate.stats.mixture_blocks import Blocks, square_root
from ablate.stats.mixture_error import judge_fit
from ablate.stats.mixture_least_squares import LeastSquares, fit, left_out_errors
from ablate.stats.mixture_models import MODELS, MixtureModel, ModelName, support
from ablate.stats.mixture_optimum import find_optimum
from ablate.stats.mixture_region import Region, region_of
from ablate.stats.mixture_surface import LEVEL, Candidate, ErrorEstimate, Fitted, LackOfFit, Optimum
from ablate.stats.mixture_wording import named

Array = NDArray[np.float64]

ALPHA = 1.0 - LEVEL
DETERMINED = 30.0
"""Least F of the exponential law, against no effect, with which it is used."""


@dataclass(frozen=True, eq=False)
class MixtureData:
    """What the model is fitted to."""

    components: tuple[str, ...]
    shares: Array
    """float64[points, q]"""
    blocks: Blocks
    baseline: tuple[float, ...]
    """Shares of the baseline's mixture."""
    fits: dict[ModelName, LeastSquares] = field(default_factory=dict)
    """Models that were fitted already."""

    def model(self, name: ModelName) -> MixtureModel:
        return MixtureModel(name, self.components, self.baseline)

    def fit(self, name: ModelName) -> LeastSquares:
        if name not in self.fits:
            self.fits[name] = fit(self.model(name), self.shares, self.blocks)
        return self.fits[name]


@dataclass(frozen=True, eq=False)
class Judged:
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


def judge(data: MixtureData, name: ModelName, seed: int) -> Judged:
    """Fit the model ``name``; ``seed`` is of the directions behind critical values."""
    found = data.fit(name)
    fitted = _fitted(data.model(name), data, found)
    error, lack = judge_fit(fitted, found.misfit, data.shares, data.blocks)
    region = region_of(data.shares)
    critical = None
    if error is not None and error.sd > 0:
        gradient = fitted.model.jacobian(fitted.parameters, region.grid)
        critical = band_critical(fitted, gradient, error, seed)
    return Judged(fitted, error, lack, region, critical)


def disagreement(data: MixtureData, candidates: Sequence[Candidate], judged: Judged, seed: int) -> str:
    """What the exponential law says otherwise of the optimum, in words, where it fits as well as a polynomial
    that the design chose.

    Neither of the two contains the other. Measured on 4 mixtures of 2 streams at 3 seeds with the quadratic,
    whose one mixture to spare hardly checks it: of an exponential truth under which every mixture is worse
    than the baseline it claimed one that is better in 13 to 17% of studies.
    """
    able = any(one.model == "exponential" and not one.problem for one in candidates)
    if judged.fitted.model.name == "exponential" or not able or not _fits(data, "exponential"):
        return ""
    other = judge(data, "exponential", seed)
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


def choose(data: MixtureData, asked: ModelName | None) -> tuple[tuple[Candidate, ...], ModelName | None, str]:
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
        if _fits(data, one.model):
            said = f"{one.model}: lack of fit is seen in {rule} ({first.model}), and not in this one"
            return tuple(candidates), one.model, said
    return tuple(candidates), first.model, rule


def _as_asked(
    data: MixtureData, asked: ModelName, candidates: list[Candidate], able: bool
) -> tuple[tuple[Candidate, ...], ModelName | None, str]:
    """The model that was asked for, or a polynomial where the exponential law is not determined."""
    if not able:
        return tuple(candidates), None, f"{asked}, as asked for"
    if _determined(data, asked):
        return tuple(candidates), asked, f"{asked}, as asked for"
    others, instead, rule = choose(data, None)
    said = "exponential was asked for, but the effects are too small to determine its curvature; instead "
    return others, instead, said + rule


def _candidate(data: MixtureData, name: ModelName) -> Candidate:
    model = data.model(name)
    found = support(model, data.shares)
    spare = not found.problem and found.spare > 0
    errors = left_out_errors(model, data.shares, data.blocks, data.fit(name).parameters) if spare else None
    rmse = None if errors is None else float(np.sqrt((errors**2).mean()))
    return Candidate(name, found.parameters, rmse, found.problem)


def _fits(data: MixtureData, name: ModelName) -> bool:
    """Whether a point is to spare that checks the model, and nothing speaks against it."""
    spare = support(data.model(name), data.shares).spare
    return spare > 0 and _determined(data, name) and not _lack_is_seen(data, name)


def _lack_is_seen(data: MixtureData, name: ModelName) -> bool:
    found = data.fit(name)
    _, lack = judge_fit(_fitted(data.model(name), data, found), found.misfit, data.shares, data.blocks)
    return lack is not None and lack.seen


def _determined(data: MixtureData, name: ModelName) -> bool:
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


def _fitted(model: MixtureModel, data: MixtureData, found: LeastSquares) -> Fitted:
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
