"""What the `sweep:` block of a recipe may say: the mixtures, and what they are crossed with.

A sweep is one study for each setting, a combination of the levels of `across`. The arms of every setting are
the recipe's own, and one for each mixture of the design.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from ablate.recipe.schema import Control

SurfaceModel = Literal["", "linear", "quadratic", "special_cubic", "exponential"]

Design = Literal["list", "grid", "simplex_lattice", "simplex_centroid", "dirichlet", "sobol"]


@dataclass(frozen=True)
class MixtureConfig:
    """Which mixtures of streams become arms. The baseline is always among them."""

    streams: list[str]
    """The components of the simplex, first the stream that the baseline reads alone."""
    design: Design
    """`list`: those of `points`. `grid`: `shares` of every further stream, crossed. `simplex_lattice`: all
    mixtures in steps of 1/`degree` (Scheffe 1958). `simplex_centroid`: equal parts of every set of streams
    (Scheffe 1963). `dirichlet`, `sobol`: `count` mixtures, drawn or evenly spread."""
    degree: int = 0
    """`simplex_lattice`: steps from one corner of the simplex to another."""
    shares: list[float] = field(default_factory=list)
    """`grid`: shares of each further stream, besides none of it; the first stream gets the rest."""
    points: list[dict[str, float]] = field(default_factory=list)
    """`list`: stream to share; what is missing to 1 goes to the first stream."""
    count: int = 0
    """`dirichlet`, `sobol`: number of mixtures."""
    concentration: float = 1.0
    """`dirichlet`: 1 is uniform over the simplex, more keeps to its middle, less to its edges."""
    seed: int = 0
    """Of what is drawn: `dirichlet`, `sobol`, and the mixtures of `held_out`."""
    minimum: dict[str, float] = field(default_factory=dict)
    """Least share of a stream in every mixture that is designed. The first stream needs at least one row, or
    no pair with the baseline could be proved; the others none, or the baseline would be left out."""
    held_out: int = 0
    """Further mixtures, drawn uniformly: they are trained like the others and left out of the fit, which has
    to predict them."""
    model: SurfaceModel = ""
    """Response surface that is fitted to every endpoint: a polynomial of Scheffe's, or the exponential mixing
    law (Ye et al. 2024). Left out, the design chooses: the richest polynomial that it can still check."""
    controls: list[Control] = field(default_factory=list)
    """Placebo arms of every mixture with media."""
    media_loss: float = 0.0
    """Weight of the next-patch regression in mixtures with media."""


@dataclass(frozen=True)
class HopelessConfig:
    """When a mixture gets no further seeds; stated before the first run."""

    after_seeds: int
    """Seeds after which mixtures are looked at, once."""
    below: float = 0.0
    """A mixture stops if all of the interval of its mean gain at the primary endpoint lies below this, in the
    endpoint's unit (a gain is positive where the mixture is better)."""
    confidence: float = 0.99
    """Level of that interval."""


@dataclass(frozen=True)
class SweepConfig:
    """Mixtures, crossed with settings."""

    mixture: MixtureConfig | None = None
    """The mixtures; without them the arms are those of the recipe."""
    across: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Factor to level to what the level changes in the recipe, as `key.path: value`: sizes, budgets, caps of
    unique text. Every combination of levels is a setting."""
    hopeless: HopelessConfig | None = None
    """A rule to stop mixtures early; without one all are trained on all seeds."""
