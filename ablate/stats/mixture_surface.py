"""What a response surface over mixtures says: the results that a report prints.

A *gain* is the difference to the baseline's mixture, positive where the mixture is better, whatever the
direction of the endpoint; it is zero at the baseline without error. Everything here is in gains, in the
endpoint's unit, unless it is called a score.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from ablate.stats.mixture_models import MixtureModel, ModelName
from ablate.stats.paired import Interval

Array = NDArray[np.float64]

LEVEL = 0.95
"""Of every interval and band."""

UNEQUAL = 0.01
"""Level at which mixtures are seen to differ in their noise."""

ErrorSource = Literal["points x seeds", "surfaces of seeds", "misfit"]
OptimumStatus = Literal["baseline", "mixture", "unknown", "withheld"]


@dataclass(frozen=True)
class PointGain:
    """One measured mixture. None where the data cannot give it."""

    shares: tuple[float, ...]
    runs: int
    """Cells with a score, of as many as there are seeds."""
    held_out: bool
    gain: float | None
    """Of the runs alone, no surface: adjusted for seeds (least squares of points and seeds), which is the
    mean paired gain where no run is missing."""
    fitted: float | None
    """Gain on the surface."""


@dataclass(frozen=True)
class Coefficient:
    """One parameter of the surface, as a gain."""

    term: str
    """`pictures`: the gain of the pure component over the pure reference component on the linear blend (for
    the exponential law: the gain per unit of share at the baseline). `text x pictures`: blending beyond
    it."""
    estimate: float
    se: float | None
    interval: Interval | None
    """Pointwise."""
    p_value: float | None
    """Two-sided p of zero."""


@dataclass(frozen=True)
class ErrorEstimate:
    """The noise that all intervals of the surface are made of."""

    sd: float
    """Standard deviation of one run about point and seed, in the endpoint's unit; with `surfaces of seeds`
    the largest that it may have in any direction."""
    df: float
    source: ErrorSource
    """`points x seeds`: pure error, all of the interaction of points with seeds. `surfaces of seeds`: the
    part of it by which the surfaces of seeds differ from one another, used where that part is larger than the
    rest (F test at the level `POOLING`). `misfit`: of the points about the surface, where lack of fit is
    seen."""
    pure_sd: float
    """Pure error, whichever was used."""
    p_seed_surfaces: float | None
    """P that the surfaces of seeds differ from one another by no more than noise; None where it cannot be
    told."""

    p_unequal: float | None
    """P that the runs of all mixtures scatter alike; None where it cannot be told."""

    @property
    def is_unequal(self) -> bool:
        """Whether some mixtures are seen to scatter more than others, so that `sd` is that of none."""
        return self.p_unequal is not None and self.p_unequal < UNEQUAL

    @property
    def holds_all(self) -> bool:
        """Whether Student's intervals made of `sd` hold all contrasts at once, see
        `mixture_error.seed_error`."""
        return self.source == "surfaces of seeds"


@dataclass(frozen=True)
class LackOfFit:
    """F test of the surface against pure error; both in squared units of the endpoint, for one run."""

    f: float
    df: float
    error_df: float
    p_value: float
    detectable_sd: float | None
    """Sd of the misfit of points that this test sees with probability 0.8, in the endpoint's unit."""

    @property
    def seen(self) -> bool:
        return self.p_value < 1.0 - LEVEL


@dataclass(frozen=True)
class HeldOutPoint:
    shares: tuple[float, ...]
    gain: float
    """Found: mean paired gain over the seeds that ran it and the baseline."""
    predicted: float
    interval: Interval | None
    """95% prediction interval for the found gain, pointwise: error of the surface, of the runs, of the
    baseline."""
    inside: bool | None


@dataclass(frozen=True)
class HeldOutCheck:
    """Mixtures that the surface did not see."""

    points: tuple[HeldOutPoint, ...]
    inside: int
    of: int
    """Points with a prediction interval."""
    rmse: float
    """Root mean square of found less predicted."""
    expected_rmse: float | None
    """The same if noise were all that separates them."""
    p_value: float | None
    """Joint F test that noise is all (with the covariance of the prediction errors)."""


@dataclass(frozen=True)
class Candidate:
    """One model, and how it predicts points that it did not see."""

    model: ModelName
    parameters: int
    """Of the gain: the level of the scores is not counted."""
    rmse: float | None
    """Leave-one-point-out: root mean square of (point mean less prediction), None where it cannot be had."""
    problem: str
    """Why the design does not support the model, with what is aliased; empty where it does."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """Where the largest gain lies, within the convex hull of the fitted mixtures."""

    status: OptimumStatus
    """`baseline`: all of the region is worse than the baseline, simultaneously. `mixture`: the simultaneous
    band lies above zero somewhere. `unknown`: neither. `withheld`: the surface does not describe the data."""
    statement: str
    """One sentence."""
    best: tuple[float, ...]
    """Shares of the largest estimated gain."""
    best_gain: float
    best_interval: Interval | None
    """Of the gain at `best`, from the simultaneous band, so that having picked it costs nothing."""
    largest_gain: Interval | None
    """Of the largest gain that any mixture of the region has; not below zero, as the baseline is one of them,
    where that lies in the region."""
    region: Array
    """float64[m, q]: mixtures that may be the optimum: 95% confidence region, on the grid."""
    region_share: float
    """Share of the grid that `region` is."""
    ranges: tuple[Interval, ...]
    """Least and greatest share of each component in `region`."""
    holds_baseline: bool
    better: Array
    """float64[m, q]: mixtures whose simultaneous interval lies above zero."""
    baseline_draws: float | None
    """Share of draws from the distribution of the coefficients in which the baseline is the optimum."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """The surface at n mixtures: float64[n] each, NaN where the data cannot give it."""

    gain: Array
    se: Array
    low: Array
    """Pointwise 95% t interval of the gain."""
    high: Array
    band_low: Array
    """Simultaneous 95% band of the gain over the whole region."""
    band_high: Array
    score: Array
    """Mean score over the seeds of the study, in the endpoint's own direction."""
    score_low: Array
    score_high: Array
    """Pointwise 95% t interval of that mean, these seeds given."""
    inside: NDArray[np.bool_]
    """Whether the mixture lies in the convex hull of the fitted mixtures. Outside it the numbers
    extrapolate."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted model, with what its intervals need."""

    model: MixtureModel
    parameters: Array
    """float64[d]"""
    unscaled: Array
    """float64[d, d]: covariance of the parameters for an error variance of 1."""
    level: float
    """Gain-oriented score of the baseline's mixture on the surface, mean over the seeds of the study."""
    centre: Array
    """float64[d]: gradient of the mean gain of the cells, seeds weighing the same."""
    level_variance: float
    """Of a mean over all cells, seeds weighing the same, for an error variance of 1."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A response surface over mixtures, fitted to one endpoint of one setting. `fit_surface` makes it."""

    components: tuple[str, ...]
    shares: Array
    """float64[points, q]: the measured mixtures."""
    baseline: int
    """Row of the baseline in `shares`."""
    higher_is_better: bool
    seeds: int
    """Columns with a score."""
    missing: int
    """Cells of fitted and held-out points without a score."""
    points: tuple[PointGain, ...]
    """In the order of `shares`."""
    choice: tuple[Candidate, ...]
    """All models that were considered."""
    rule: str
    """How the model was chosen, in words."""
    fitted: Fitted | None
    """None where no model can be fitted; `problem` says why."""
    coefficients: tuple[Coefficient, ...]
    covariance: Array | None
    """float64[d, d] of the coefficients; None without an error estimate."""
    law: str
    """The fitted formula in the endpoint's unit and direction."""
    error: ErrorEstimate | None
    critical: float | None
    """Half width of the simultaneous band in standard errors."""
    lack_of_fit: LackOfFit | None
    """None where no point is to spare or there is no pure error: then nothing checks the surface."""
    held_out: HeldOutCheck | None
    optimum: Optimum | None
    problem: str
    notes: tuple[str, ...]
    disagreement: str = ""
    """What another model that fits as well says of the optimum, where none was asked for; empty where it says
    the same."""

    @property
    def model(self) -> ModelName | None:
        return self.fitted.model.name if self.fitted else None

    @property
    def trusted(self) -> bool:
        """Whether nothing speaks against the surface: no lack of fit is seen, held-out mixtures lie on it,
        all mixtures scatter alike, and no other model that fits says otherwise."""
        if self.fitted is None or self.error is None or self.error.is_unequal or self.disagreement:
            return False
        held = self.held_out.p_value if self.held_out else None
        return not (self.lack_of_fit and self.lack_of_fit.seen) and (held is None or held >= 1.0 - LEVEL)

    def at(self, shares: Array) -> Predicted:
        """The surface at ``shares``, float64[n, q], rows that add up to 1.

        Raises:
            ValueError: no surface was fitted, or the shape is another.
        """
        from ablate.stats.mixture_region import region_of

        if self.fitted is None:
            raise ValueError(f"there is no surface to read: {self.problem}")
        shares = np.atleast_2d(np.asarray(shares, dtype=np.float64))
        if shares.shape[1] != len(self.components):
            raise ValueError(f"a mixture has {len(self.components)} shares, not {shares.shape[1]}")
        fit, sign = self.fitted, 1.0 if self.higher_is_better else -1.0
        gain = fit.model.gains(fit.parameters, shares)
        gradient = fit.model.jacobian(fit.parameters, shares)
        sd, t, critical = self._scales()
        se = sd * np.sqrt(quadratic_form(gradient, fit.unscaled))
        level_se = sd * np.sqrt(quadratic_form(gradient - fit.centre, fit.unscaled) + fit.level_variance)
        score, half = sign * (fit.level + gain), t * level_se
        fitted = self.shares[[not point.held_out and point.runs > 0 for point in self.points]]
        return Predicted(
            gain=gain,
            se=se,
            low=gain - t * se,
            high=gain + t * se,
            band_low=gain - critical * se,
            band_high=gain + critical * se,
            score=score,
            score_low=score - half,
            score_high=score + half,
            inside=region_of(fitted).holds(shares),
        )

    def _scales(self) -> tuple[float, float, float]:
        """Sd of a run, t quantile, critical value of the band; NaN without an error estimate."""
        if self.error is None or self.critical is None:
            return np.nan, np.nan, np.nan
        return self.error.sd, float(stdtrit(self.error.df, 0.5 + LEVEL / 2.0)), self.critical


def quadratic_form(rows: Array, matrix: Array) -> Array:
    """float64[n]: r' M r of each row, at least 0."""
    found: Array = np.maximum(np.einsum("ni,ij,nj->n", rows, matrix, rows), 0.0)
    return found
