"""Mixtures of a design: points of a simplex of shares, and the whole rows nearest to them.

A mixture of q components is a point of the simplex {x: x_i >= l_i, sum x_i = 1}. Designs are made on the
simplex of pseudo-components z, with x_i = l_i + (1 - sum l) z_i (Cornell, Experiments with Mixtures, 2002,
section 4.2), so that lower bounds shrink a design and do not cut it.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, combinations, product
from math import comb, floor

import numpy as np
from numpy.typing import NDArray

from ablate.recipe.sweep_schema import MixtureConfig
from ablate.seeding import stream_rng, stream_seed

MOST_POINTS = 10_000
"""A design with more is refused: it was hardly meant."""
DRAWS_PER_POINT = 200
"""Mixtures drawn for each that is wanted before the rows are said not to hold as many."""

Shares = dict[str, float]
"""Stream to share, all streams of the simplex, in their order."""


class DesignError(ValueError):
    """A design that cannot be made; says what would work."""


def design_points(config: MixtureConfig) -> list[Shares]:
    """The mixtures that ``config`` asks for, without `held_out`; not yet in whole rows.

    Raises:
        DesignError: a setting of the design is missing or out of range.
    """
    if config.design == "list":
        return [_completed(point, config) for point in config.points]
    if config.design == "grid":
        return list(_grid(config))
    return [_bounded(z, config) for z in _pseudo(config)]


def drawn_points(config: MixtureConfig) -> Iterator[Shares]:
    """Mixtures drawn uniformly from the region of the design, without end."""
    rng = stream_rng(config.seed, "sweep/held_out")
    while True:
        yield _bounded(rng.dirichlet(np.ones(len(config.streams))), config)


def simplex_lattice(components: int, degree: int) -> NDArray[np.float64]:
    """The {q, m} simplex lattice (Scheffe 1958): float[n, q], n = comb(q + m - 1, m)."""
    bars = combinations(range(components + degree - 1), components - 1)
    edges = np.array([(-1, *bar, components + degree - 1) for bar in bars])
    return (np.diff(edges, axis=1) - 1) / degree


def simplex_centroid(components: int) -> NDArray[np.float64]:
    """The simplex centroid of Scheffe (1963): float[2**q - 1, q], equal shares of every set of components."""
    sets = chain.from_iterable(combinations(range(components), size) for size in range(1, components + 1))
    rows = [[1 / len(chosen) if place in chosen else 0.0 for place in range(components)] for chosen in sets]
    return np.array(rows)


def sobol_simplex(components: int, count: int, seed: int) -> NDArray[np.float64]:
    """Scrambled Sobol points (Owen 1998) carried to the simplex as spacings: float[count, q], uniform."""
    from scipy.stats import qmc

    # Sobol points are balanced in powers of two alone; the first of such a set are evenly spread as well.
    drawn = qmc.Sobol(components - 1, scramble=True, rng=stream_seed(seed, "sweep/sobol") % 2**32)
    cube = drawn.random_base2(max(0, (count - 1).bit_length()))[:count]
    edges = np.sort(cube, axis=1)
    spacings: NDArray[np.float64] = np.diff(edges, axis=1, prepend=0.0, append=1.0)
    return spacings


def whole_rows(shares: Mapping[str, float], rows: int, substituted: bool) -> dict[str, int]:
    """Rows of a microbatch nearest to ``shares``; every stream with a share gets one row or more.

    Args:
        shares: stream to share, first that of the baseline.
        rows: rows of a microbatch of the baseline.
        substituted: whether media rows take the place of text rows (`match: flops`, `positions`); else the
            first stream keeps ``rows`` and the others come on top, in the ratio of the shares.

    Raises:
        DesignError: the first stream has no share, or there are more streams than rows.
    """
    first, *others = shares
    if shares[first] <= 0.0:
        raise DesignError(
            f"the mixture {shown(shares)} leaves no row of {first}, so that no pair with the baseline could "
            f"be proved; set sweep.mixture.minimum.{first} to {1 / rows:.3g} or more"
        )
    present = [name for name in others if shares[name] > 0.0]
    if not substituted:
        found = {name: max(1, round(rows * shares[name] / shares[first])) for name in present}
        return {first: rows, **found}
    if len(present) + 1 > rows:
        raise DesignError(f"{len(present) + 1} streams need as many rows in a microbatch, which has {rows}")
    return _apportioned({name: shares[name] * rows for name in (first, *present)}, rows)


def _apportioned(exact: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers, 1 or more, that add up to ``total``: largest remainders, the earlier of equal ones."""
    # Shares of one third and the like miss whole numbers by rounding.
    found = {name: max(1, floor(value + 1e-9)) for name, value in exact.items()}
    while (missing := total - sum(found.values())) > 0:
        for name in sorted(found, key=lambda name: found[name] - exact[name])[:missing]:
            found[name] += 1
    while sum(found.values()) > total:
        name = max((name for name in found if found[name] > 1), key=lambda name: found[name] - exact[name])
        found[name] -= 1
    return found


def mixture_name(rows: Mapping[str, int], baseline: str) -> str:
    """What the arm of a mixture is called: `pictures8-sounds4`, the rows of all streams but the first."""
    return "-".join(f"{name}{count}" for name, count in list(rows.items())[1:]) or baseline


def shown(shares: Mapping[str, float]) -> str:
    """A mixture for a message."""
    return "{" + ", ".join(f"{name}: {share:.4g}" for name, share in shares.items()) + "}"


def _pseudo(config: MixtureConfig) -> NDArray[np.float64]:
    """float[n, q]: the design on the whole simplex."""
    components = len(config.streams)
    if config.design == "simplex_lattice":
        if config.degree < 1:
            raise DesignError("a simplex_lattice needs sweep.mixture.degree of 1 or more")
        _refuse_many(comb(components + config.degree - 1, config.degree))
        return simplex_lattice(components, config.degree)
    if config.design == "simplex_centroid":
        _refuse_many(2**components)
        return simplex_centroid(components)
    if config.count < 1:
        raise DesignError(f"{config.design} needs sweep.mixture.count of 1 or more")
    _refuse_many(config.count)
    if config.design == "sobol":
        return sobol_simplex(components, config.count, config.seed)
    if config.concentration <= 0.0:
        raise DesignError("sweep.mixture.concentration must be more than 0")
    rng = stream_rng(config.seed, "sweep/dirichlet")
    return rng.dirichlet(np.full(components, config.concentration), config.count)


def _refuse_many(count: int) -> None:
    if count > MOST_POINTS:
        raise DesignError(f"the design has {count:,} mixtures; at most {MOST_POINTS:,} are made")


def _bounded(z: NDArray[np.float64], config: MixtureConfig) -> Shares:
    """Pseudo-components as shares."""
    least = np.array([config.minimum.get(name, 0.0) for name in config.streams])
    shares = least + (1.0 - least.sum()) * np.asarray(z)
    return dict(zip(config.streams, shares.tolist(), strict=True))


def _completed(point: Mapping[str, float], config: MixtureConfig) -> Shares:
    """All streams in their order, the first with what the others leave unless it is given."""
    first, *others = config.streams
    rest = 1.0 - sum(point.get(name, 0.0) for name in others)
    found = {first: point.get(first, rest)} | {name: point.get(name, 0.0) for name in others}
    if min(found.values()) < 0.0 or abs(sum(found.values()) - 1.0) > 1e-6:
        raise DesignError(f"the mixture {shown(point)}: shares are 0 or more and add up to 1")
    return found


def _grid(config: MixtureConfig) -> Iterator[Shares]:
    """Every further stream at every share, as far as they leave the first its minimum."""
    if not config.shares:
        raise DesignError("a grid needs sweep.mixture.shares, such as [0.125, 0.25, 0.5]")
    first, *others = config.streams
    levels = sorted({0.0, *config.shares})
    _refuse_many(len(levels) ** len(others))
    least = config.minimum.get(first, 0.0)
    for given in product(levels, repeat=len(others)):
        rest = 1.0 - sum(given)
        if rest > 1e-9 and rest >= least - 1e-9:
            yield {first: rest, **dict(zip(others, given, strict=True))}
