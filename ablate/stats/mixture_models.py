"""Models of a score over the simplex of mixtures, as gains over the baseline's mixture.

Scheffe's canonical polynomials (Scheffe 1958, JRSS B 20:344; 1963, JRSS B 25:235) in the shares x_i:

    linear          sum b_i x_i
    quadratic       + sum_{i<j} b_ij x_i x_j
    special cubic   + sum_{i<j<k} b_ijk x_i x_j x_k

As the shares add up to 1, the linear terms hold the constant, which seeds shift. In gains it drops out: with
a reference component r (the largest of the baseline's mixture x0),

    g(x) = sum_{i != r} (b_i - b_r) (x_i - x0_i) + sum_{i<j} b_ij (x_i x_j - x0_i x0_j) + ...

The mixing law of Ye et al. (2024, *Data Mixing Laws*, arXiv 2403.16952) is L = c + k exp(sum t_i x_i). In
gains, with slopes a_i = k' t_i at the baseline and curvature s = 1 / k', where k' = k exp(sum t_i x0_i) and
t_r = 0,

    g(x) = (exp(s u) - 1) / s,    u = sum_{i != r} a_i (x_i - x0_i).

It is the same law; this form is regular at s = 0, where the law is the linear blend and k has no finite
value.

Models stand in the shares themselves. Pseudo-components (Cornell 2002, *Experiments with Mixtures*, section
4.2) span the same polynomials, so that lower bounds change no prediction; where a pure component lies outside
the design, its coefficient extrapolates.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ModelName = Literal["linear", "quadratic", "special_cubic", "exponential"]
MODELS: tuple[ModelName, ...] = ("linear", "exponential", "quadratic", "special_cubic")
"""From the fewest parameters to the most, for three components or more."""

CURVATURE = "curvature"
"""The last parameter of the exponential law: s, in the inverse of the endpoint's unit."""

STEEPEST = 30.0
"""Exponents are kept within this, so that a step of a fit that goes astray stays finite."""

RANK = 1e-7
"""Singular values below this share of the largest count as zero. Shares in whole rows are never closer."""


class SurfaceError(ValueError):
    """Data that no surface can be made of; says what was found and what is wanted."""


@dataclass(frozen=True)
class MixtureModel:
    """One model over named components, anchored at the baseline's mixture."""

    name: ModelName
    components: tuple[str, ...]
    baseline: tuple[float, ...]
    """Shares of the baseline's mixture."""

    @property
    def reference(self) -> int:
        """The component that others are compared with: the largest of the baseline, the first of equal
        ones."""
        return int(np.argmax(self.baseline))

    @property
    def linear(self) -> bool:
        """Whether the gain is linear in the parameters."""
        return self.name != "exponential"

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the d parameters: `pictures`, `text x pictures`."""
        names = [" x ".join(self.components[place] for place in one) for one in self._sets()]
        return (*names, *(() if self.linear else (CURVATURE,)))

    def _sets(self) -> list[tuple[int, ...]]:
        """Components that each term multiplies."""
        q = len(self.components)
        found: list[tuple[int, ...]] = [(place,) for place in range(q) if place != self.reference]
        if self.name in ("quadratic", "special_cubic"):
            found += combinations(range(q), 2)
        if self.name == "special_cubic":
            found += combinations(range(q), 3)
        return found

    def features(self, shares: Array) -> Array:
        """float64[n, terms]: the products of shares, less those of the baseline; without the curvature."""
        both = np.vstack([np.asarray(self.baseline, dtype=np.float64)[None, :], shares])
        products = np.stack([both[:, list(one)].prod(axis=1) for one in self._sets()], axis=1)
        found: Array = products[1:] - products[0]
        return found

    def gains(self, parameters: Array, shares: Array) -> Array:
        """Gains over the baseline.

        Args:
            parameters: float64[..., d].
            shares: float64[n, q].

        Returns: float64[..., n].
        """
        features = self.features(shares)
        if self.linear:
            return np.asarray(parameters @ features.T)
        return exponential_gains(parameters, features)

    def jacobian(self, parameters: Array, shares: Array) -> Array:
        """float64[..., n, d]: derivatives of the gains by the parameters."""
        features = self.features(shares)
        if self.linear:
            return np.broadcast_to(features, (*parameters.shape[:-1], *features.shape))
        return exponential_jacobian(parameters, features)


def exponential_gains(parameters: Array, features: Array) -> Array:
    """float64[..., n]: (exp(s u) - 1) / s for slopes and curvature ``parameters``[..., q], ``features``[n, q
    - 1]."""
    u = parameters[..., :-1] @ features.T
    w = np.clip(parameters[..., -1:] * u, -STEEPEST, STEEPEST)
    return np.asarray(u * _growth(w))


def exponential_jacobian(parameters: Array, features: Array) -> Array:
    """float64[..., n, q]: derivatives of `exponential_gains`."""
    u = parameters[..., :-1] @ features.T
    w = np.clip(parameters[..., -1:] * u, -STEEPEST, STEEPEST)
    by_slopes = np.exp(w)[..., None] * features
    by_curvature = u**2 * _growth_slope(w)
    return np.concatenate([by_slopes, by_curvature[..., None]], axis=-1)


def _growth(w: Array) -> Array:
    """(exp(w) - 1) / w, 1 at 0."""
    safe = np.where(w == 0.0, 1.0, w)
    return np.where(w == 0.0, 1.0, np.expm1(safe) / safe)


def _growth_slope(w: Array) -> Array:
    """Derivative of `_growth`: (w exp(w) - exp(w) + 1) / w^2, by its series near 0, where that cancels."""
    safe = np.where(np.abs(w) < 1e-3, 1.0, w)
    plain = (safe * np.exp(safe) - np.expm1(safe)) / safe**2
    return np.where(np.abs(w) < 1e-3, 0.5 + w / 3.0 + w**2 / 8.0, plain)


def mixing_law(
    model: MixtureModel, parameters: Array, level: float, sign: float
) -> tuple[float, float, Array]:
    """c, k and t of L = c + k exp(sum t_i x_i), in the endpoint's own direction; t of the reference is 0.

    Args:
        parameters: float64[q] of the exponential law, curvature not 0.
        level: oriented score of the baseline.
        sign: 1.0 where higher is better, else -1.0.
    """
    curvature = float(parameters[-1])
    slopes = np.insert(parameters[:-1], model.reference, 0.0)
    exponents = curvature * slopes
    k = float(np.exp(-exponents @ np.asarray(model.baseline))) / curvature
    return sign * (level - 1.0 / curvature), sign * k, exponents


@dataclass(frozen=True)
class Support:
    """Whether a set of mixtures can tell the parameters of a model apart."""

    parameters: int
    """Of the gain."""
    points: int
    """Distinct mixtures, the baseline's among them."""
    rank: int
    problem: str
    """Why not, naming what is aliased; empty where they can."""

    @property
    def spare(self) -> int:
        """Mixtures beyond those that the parameters use up: what checks the model."""
        return self.points - self.rank - 1


def support(model: MixtureModel, shares: Array) -> Support:
    """Check the mixtures float64[points, q] against ``model``."""
    distinct = np.unique(np.round(shares, 9), axis=0)
    features = model.features(distinct)
    if not model.linear:
        # Which exponents do not matter: a law that bends along a direction of no symmetry of the design.
        u = features @ (1.0 + 0.37 * np.arange(features.shape[1]))
        features = np.column_stack([features, u**2])
    features = features - features.mean(axis=0)
    size = np.linalg.norm(features, axis=0)
    scaled = features / np.where(size > 0, size, 1.0)
    _, singular, directions = np.linalg.svd(scaled, full_matrices=True)
    rank = int((singular > RANK * max(1.0, float(singular.max(initial=0.0)))).sum())
    d, points = features.shape[1], distinct.shape[0]
    problem = ""
    if points < d + 1:
        problem = (
            f"{d + 1} distinct mixtures are needed for {d} parameters and a level, and there are {points}"
        )
    elif rank < d:
        # Signs and order of null vectors are arbitrary; which terms they load on is not.
        loads = np.abs(directions[rank:]).max(axis=0) > 1e-6
        names = [term for term, loaded in zip(model.terms, loads, strict=True) if loaded]
        problem = f"these mixtures cannot tell apart {', '.join(names)} (aliased)"
    return Support(d, points, rank, problem)
