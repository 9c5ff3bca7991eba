"""The response of every endpoint over the mixtures of a sweep, setting by setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ablate.report.sweep_analysis import SettingResult, SweepResult
from ablate.report.sweep_file import Point
from ablate.stats.mixture_fit import fit_surface
from ablate.stats.mixture_models import ModelName, SurfaceError
from ablate.stats.mixture_region import region_of
from ablate.stats.mixture_surface import Surface

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SweepFit:
    """The surface of one endpoint in one setting, or why there is none."""

    setting: str
    endpoint: str
    points: list[Point]
    """The mixtures that the surface was given, in its order: fitted and held out."""
    beyond: list[Point]
    """Mixtures outside the design, which the surface neither sees nor predicts."""
    surface: Surface | None
    problem: str = ""
    """Why no surface can be read; empty where one can."""

    @property
    def shown(self) -> list[Point]:
        """All mixtures that were measured."""
        return [*self.points, *self.beyond]

    @property
    def grid(self) -> Floats:
        """float64[n, components]: mixtures in the convex hull of the fitted ones."""
        assert self.surface is not None
        rows = [not point.held_out and point.runs > 0 for point in self.surface.points]
        return region_of(self.surface.shares[rows]).grid


def sweep_fits(result: SweepResult) -> list[SweepFit]:
    """Every endpoint that is primary or has a margin, in every setting with records; none for a sweep without
    mixtures."""
    if not result.sweep.components:
        return []
    return [
        _fit(result, one, endpoint)
        for one in result.settings
        if not one.problem
        for endpoint in one.endpoints
    ]


def _fit(result: SweepResult, setting: SettingResult, endpoint: str) -> SweepFit:
    sweep = result.sweep
    points = [one for one in sweep.points if {"fit", "held_out"} & set(one.roles)]
    beyond = [one for one in sweep.points if one not in points]
    arms = [one.arm for one in points]
    if sweep.baseline not in arms:
        problem = f"the baseline {sweep.baseline} is not among the mixtures, so that no gain can be told"
        return SweepFit(setting.name, endpoint, points, beyond, None, problem)
    assert setting.header is not None
    try:
        surface = fit_surface(
            sweep.components,
            np.array([[one.shares[name] for name in sweep.components] for one in points]),
            setting.scores(arms, endpoint),
            arms.index(sweep.baseline),
            ["fit" not in one.roles for one in points],
            setting.higher_is_better(endpoint),
            model=cast(ModelName, sweep.model) if sweep.model else None,
            margin=setting.header.margins.get(endpoint),
        )
    except SurfaceError as error:
        return SweepFit(setting.name, endpoint, points, beyond, None, str(error))
    return SweepFit(setting.name, endpoint, points, beyond, surface, surface.problem)


def marker(point: Point) -> str:
    """How figures mark a mixture: the baseline, fitted to, held out, beyond the design."""
    if "baseline" in point.roles:
        return "s"
    if "fit" in point.roles:
        return "o"
    return "D" if "held_out" in point.roles else "^"


def fit_of(fits: Sequence[SweepFit], setting: str, endpoint: str) -> SweepFit | None:
    """The fit of ``endpoint`` in ``setting``; None where there is none."""
    return next((one for one in fits if (one.setting, one.endpoint) == (setting, endpoint)), None)
