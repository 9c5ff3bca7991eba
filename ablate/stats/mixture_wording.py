"""What a surface says in words: its formula, what speaks against it, what a reader must know."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ablate.stats.mixture_blocks import Blocks
from ablate.stats.mixture_models import ModelName, mixing_law
from ablate.stats.mixture_surface import Candidate, ErrorEstimate, Fitted, LackOfFit, Surface

Array = NDArray[np.float64]


def law_of(fitted: Fitted, sign: float) -> str:
    """The formula, in the endpoint's unit and direction, for the mean over the seeds of the study.

    Args:
        sign: 1.0 where higher is better, else -1.0.
    """
    model, parameters = fitted.model, fitted.parameters
    if model.linear:
        at_zero = float(model.features(np.zeros((1, len(model.components))))[0] @ parameters)
        terms = [f"{sign * value:+.4g} {term}" for term, value in zip(model.terms, parameters, strict=True)]
        return " ".join([f"{sign * (fitted.level + at_zero):.4g}", *terms])
    if abs(parameters[-1]) * max(np.abs(parameters[:-1]).max(), 1e-300) < 1e-9:
        return "no curvature: the exponential law is the linear blend"
    c, k, t = mixing_law(model, parameters, fitted.level, sign)
    inner = " ".join(
        f"{value:+.4g} {name}"
        for place, (name, value) in enumerate(zip(model.components, t, strict=True))
        if place != model.reference
    )
    return f"{c:.4g} {k:+.4g} exp({inner})"


def doubts_of(surface: Surface) -> str:
    """Why no optimum is stated; empty where nothing speaks against the surface."""
    if surface.trusted:
        return ""
    said, lack, held = [], surface.lack_of_fit, surface.held_out
    if lack is not None and lack.seen:
        said.append(f"the {named(surface.model)} surface does not fit the points (p {lack.p_value:.2g})")
    if held is not None and held.p_value is not None and held.p_value < 0.05:
        said.append(f"the held-out mixtures do not lie on it (p {held.p_value:.2g})")
    if surface.error is not None and surface.error.is_unequal:
        said.append(
            "the runs of some mixtures scatter more than those of others "
            f"(p {surface.error.p_unequal:.2g}), so that no one noise holds for all"
        )
    if surface.disagreement:
        said.append(surface.disagreement)
    return " and ".join(said)


def unsupported(candidates: Sequence[Candidate], asked: ModelName | None) -> str:
    """Why no model, or not the one asked for, can be fitted."""
    concerned = [one for one in candidates if asked is None or one.model == asked]
    simplest = min(concerned, key=lambda one: one.parameters)
    return f"the design supports no {named(asked) if asked else 'model'}: {simplest.problem}"


def data_notes(scored: NDArray[np.bool_], held: NDArray[np.bool_], baseline: int) -> list[str]:
    """What is missing of bool[points, seeds]."""
    notes = []
    missing = int((~scored).sum())
    if missing:
        notes.append(
            f"{missing} of {scored.size} cells have no score; the others are compared within seeds, as if "
            "these had been lost for reasons that have nothing to do with their scores (what a rule for "
            "hopeless arms stopped was not: gains of stopped mixtures are a little too low)"
        )
    empty = int((~scored.any(axis=1)).sum())
    if empty:
        notes.append(f"{empty} mixtures have no score at all and are not in the fit")
    if held.any() and not scored[held].any():
        notes.append("no held-out mixture has a score: nothing checks predictions")
    if not scored[baseline].all() and scored[baseline].any():
        notes.append(f"the baseline has scores on {int(scored[baseline].sum())} of {scored.shape[1]} seeds")
    return notes


def fit_notes(
    fitted: Fitted, blocks: Blocks, lack: LackOfFit | None, error: ErrorEstimate | None, shares: Array
) -> list[str]:
    """What a reader of the fit must know.

    Args:
        shares: float64[points, q], fitted.
    """
    notes = []
    seeds = blocks.values.shape[1]
    if error is None:
        few = "1 seed" if seeds == 1 else f"{seeds} seeds with few runs in common"
        notes.append(f"{few}: noise cannot be told from misfit, and there are no intervals")
    elif not error.sd > 0:
        notes.append("all seeds agree exactly on every difference: without noise there are no intervals")
    elif lack is None:
        notes.append(
            "no mixture is to spare: the surface goes through the points, and nothing checks its form"
        )
    if error is not None and error.source == "surfaces of seeds":
        notes.append(
            "seeds differ in their surfaces by more than points scatter about them: intervals are made of "
            "the difference between seeds"
        )
    if error is not None and error.source == "misfit":
        notes.append(
            "lack of fit: intervals are widened to the scatter of the points about the surface, and are "
            "those of the nearest surface of this form"
        )
    far = [
        name
        for name, highest in zip(fitted.model.components, shares.max(axis=0), strict=True)
        if highest < 1.0 - 1e-9
    ]
    if far and fitted.model.linear:
        notes.append(f"coefficients of {', '.join(far)} extrapolate: no mixture is made of it alone")
    return notes


def named(model: ModelName | None) -> str:
    """A model's name in words: `special cubic`; empty for none."""
    return (model or "").replace("_", " ")
