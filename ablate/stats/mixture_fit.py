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
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ablate.stats.mixture_blocks import eliminate_seeds
from ablate.stats.mixture_check import check_held_out, point_gains
from ablate.stats.mixture_choice import MixtureData, choose, disagreement, judge
from ablate.stats.mixture_models import ModelName, SurfaceError
from ablate.stats.mixture_surface import LEVEL, Candidate, Coefficient, ErrorEstimate, Fitted, Surface
from ablate.stats.mixture_wording import data_notes, doubts_of, fit_notes, law_of, unsupported

Array = NDArray[np.float64]


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
    data = MixtureData(tuple(components), shares[used], blocks, baseline)
    candidates, chosen, rule = choose(data, model)
    if chosen is None:
        points = point_gains(shares, oriented, held, baseline_index, None)
        return _nothing(about, points, candidates, rule, unsupported(candidates, model), notes)
    judged = judge(data, chosen, seed)
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
        disagreement="" if model else disagreement(data, candidates, judged, seed),
    )
    doubts = "" if error is None else doubts_of(surface)
    return replace(surface, optimum=judged.optimum(doubts, margin, seed))


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
